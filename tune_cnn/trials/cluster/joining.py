"""Ray as a search joins or starts it: its processes known as this search's, and ended with it whatever happens."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from joblib import cpu_count  # by affinity and by a container's quota

from tune_cnn.errors import TuneCnnError, first_line
from tune_cnn.owner import write_owner
from tune_cnn.training.data.cache_quota import DISK_GB
from tune_cnn.trials import ray_settings  # (before ray)
from tune_cnn.trials.cluster.cards import show_slices
from tune_cnn.trials.cluster.code import carried_modules
from tune_cnn.trials.cluster.code_size import check_size
from tune_cnn.trials.cluster.guardian import guarded
from tune_cnn.trials.cluster.leftovers import PREFIX, VARIABLE
from tune_cnn.trials.cluster.sealed_environment import carry_sealed
from tune_cnn.untyped import Plain, Untyped

import ray  # isort: skip
from ray.job_config import JobConfig  # isort: skip
from ray._private import utils  # isort: skip  # private: Ray has no setting for the signals that it takes
from ray._raylet import Config  # type: ignore[attr-defined]  # Ray's own C++ has it, its stub doesn't


class _JobConfig(JobConfig):
    """Ray would have its workers look for every module in the working directory first: a `random.py` there would end
    them. They are told of it by us, and look there last."""

    def _runtime_env_has_working_dir(self) -> bool:
        return True


@contextmanager
def joined(address: str | None, carried: dict[str, Plain], *, quiet: bool) -> Iterator[None]:
    """Be in a cluster, with what is `carried` to its nodes, or in a Ray of our own; a guardian ends what is started."""
    started: dict[str, Untyped] = {"logging_level": "ERROR", "log_to_driver": not quiet, "configure_logging": True}
    started["job_config"] = _JobConfig()
    folder: Path | None = None
    if address is None:
        ray_settings.make_token()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_folder_for_sockets()))
        write_owner(folder)
        # "local": else RAY_ADDRESS, where it is set, would win.
        started |= {"address": "local", "_temp_dir": str(folder), "include_dashboard": False, "num_cpus": cpu_count()}
        started |= show_slices()
    else:
        started |= {"address": address, "runtime_env": carried}
        Config.initialize("")  # reads RAY_AUTH_MODE anew, as Ray does for a local one: it keeps what it read first
    with guarded(folder) as value:
        if address is not None:
            carried["env_vars"][VARIABLE] = value
            carry_sealed(carried)
        try:
            with _marked_as(value), _sigterm_left_alone():
                try:
                    ray.init(**started)
                except Exception as error:  # a node that is too slow to be up is no more than that, to Ray
                    where = f"the Ray cluster at {address}" if address else "a Ray on this machine"
                    raise TuneCnnError(f"{where} can't be reached or started: {first_line(error)}") from error
            yield
        finally:
            ray.shutdown()


@contextmanager
def _marked_as(value: str) -> Iterator[None]:
    """What is started meanwhile is known as this search's, and all that it starts in turn."""
    os.environ[VARIABLE] = value
    try:
        yield
    finally:
        del os.environ[VARIABLE]


@contextmanager
def _sigterm_left_alone() -> Iterator[None]:
    """The caller's handler of SIGTERM stays in place while Ray starts.

    Ray's own raises SystemExit, and Python drops what is raised within a callback, as it forks or in `__del__`: a
    search that was ended just then went on.
    """
    kept = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = kept


def carried_code(code: Sequence[str], calls: Sequence[str], leave_out: Sequence[str]) -> dict[str, Plain]:
    """What Ray brings to a cluster's nodes; SpecError where it is more than Ray carries."""
    modules = carried_modules(code, calls)
    check_size(modules, leave_out)
    quota = {DISK_GB: os.environ[DISK_GB]} if DISK_GB in os.environ else {}
    return {"py_modules": modules, "excludes": list(leave_out), "env_vars": {**ray_settings.HASH_SEED, **quota}}


def _folder_for_sockets() -> str:
    """Ray's sockets lie in its session folder, and a socket's path has at most 107 bytes, of which Ray adds 75."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= 16 else "/tmp"
