"""Which training a study's `training` names: the user's own generator, or one of ours around a LightningModule."""

from collections.abc import Callable
from functools import partial

from tune_cnn.spec import StudySpec
from tune_cnn.spec.calls import LIGHTNING, find_call
from tune_cnn.training.user_code.lightning_modules.classes import check_space, find_module
from tune_cnn.training.user_code.lightning_modules.fit import lightning_training
from tune_cnn.untyped import Untyped


def find_training(name: str) -> Callable[..., Untyped]:
    """What is called with the Rank and gives a generator; SpecError where there is none."""
    if name.startswith(LIGHTNING):
        return partial(lightning_training, find_module(name))
    return find_call(name, where="training")


def check_training(spec: StudySpec) -> None:
    """Before a search: SpecError where the training isn't there, or would ignore a key of the space."""
    assert spec.training is not None
    if spec.training.startswith(LIGHTNING):
        check_space(spec, find_module(spec.training))
    else:
        find_training(spec.training)
