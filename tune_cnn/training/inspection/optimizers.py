"""Whether the optimizers of a spec can be had: the user's own are found, optional libraries installed."""

from tune_cnn.spec import StudySpec
from tune_cnn.spec.calls import find_call
from tune_cnn.spec.optimizers import is_own
from tune_cnn.training.step.optimizers.optional import check_installed


def check_optimizers(spec: StudySpec) -> None:
    """SpecError where one can't."""
    for name in spec.dimension("optimizer").values:
        check_installed(name)
        if is_own(name):
            find_call(name, where="space.optimizer")
