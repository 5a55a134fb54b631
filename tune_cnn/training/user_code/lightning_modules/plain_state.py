"""Whether a checkpoint can be read back: no code in a file is ever run, so objects of other classes can't."""

from collections.abc import Mapping

from torch import Tensor

from tune_cnn.errors import TrialError
from tune_cnn.untyped import Untyped


def check_plain(state: Mapping[str, Untyped]) -> None:
    """TrialError, with where it lies, of what is no tensor, number, text, None or container of them."""
    for name, value in state.items():
        _check(value, name)


def _check(value: Untyped, where: str) -> None:
    if isinstance(value, Mapping):
        for key, one in value.items():
            _check(one, f"{where}.{key}")
    elif isinstance(value, list | tuple | set):
        for one in value:
            _check(one, where)
    elif value is not None and type(value) not in (int, float, bool, str, bytes) and not isinstance(value, Tensor):
        raise TrialError(
            f"checkpoint: {where} holds a {type(value).__name__}, which can't be read back from a file that may run no "
            "code; keep tensors, numbers, texts and containers of them, or leave it out in on_save_checkpoint"
        )
