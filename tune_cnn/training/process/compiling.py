"""torch.compile's own settings: its cache is the node's, its threads are the trial's."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from tune_cnn.untyped import Untyped

# Read whenever code is looked up; and when inductor is imported, which happens at the first compile.
_CACHE, _THREADS = "TORCHINDUCTOR_CACHE_DIR", "TORCHINDUCTOR_COMPILE_THREADS"


def set_up_compiler(*, cache_dir: str, threads: int) -> None:
    """Compiled code is kept beside the decoded images, for all slots of the node and for later searches.

    The first compile of a small net takes a minute or two on a CPU, one that finds its code there seconds. Its own
    default lies in /tmp, where it ends with the container, and where another user may have made the folder.
    `threads`: that compile at a time.
    """
    os.environ.setdefault(_CACHE, str(Path(cache_dir).expanduser() / "compiled"))
    os.environ[_THREADS] = str(threads)
    config: Untyped = sys.modules.get("torch._inductor.config")
    if config is not None:
        config.compile_threads = threads


def cached_pct() -> Callable[[], float | None]:
    """From now on: what share of the code that was asked for lay in the cache, in per cent; None where none was."""
    hits, misses = _looked_up()

    def read() -> float | None:
        now = _looked_up()
        found, missed = now[0] - hits, now[1] - misses
        return 100.0 * found / (found + missed) if found + missed else None

    return read


def _looked_up() -> tuple[int, int]:
    utils: Untyped = sys.modules.get("torch._dynamo.utils")
    counted: Untyped = utils.counters["inductor"] if utils is not None else {}
    return int(counted.get("fxgraph_cache_hit", 0)), int(counted.get("fxgraph_cache_miss", 0))
