"""The epoch at which a net changes from a first form to its full one."""

from tune_cnn.errors import SpecError, StrategyError
from tune_cnn.spec import StudySpec

LEAST_EPOCHS = 2  # one in each form


def switching_epoch(share: float, epochs: int, *, name: str) -> int:
    """Number, from 0, of the first epoch in full form: that share of the epochs comes before it, and at least one."""
    if epochs < LEAST_EPOCHS:
        raise StrategyError(f"{name}: needs {LEAST_EPOCHS} epochs at least, got epochs={epochs}")
    return min(max(1, round(share * epochs)), epochs - 1)


def check_epochs(spec: StudySpec, *, name: str) -> None:
    """SpecError where a trial could be too short for a change."""
    least = spec.dimension("epochs").smallest
    if least < LEAST_EPOCHS:
        raise SpecError(f"space.epochs: {name} needs {LEAST_EPOCHS} epochs at least, got {least}; raise it")
