"""`train --register`: what is wrong is said before the training."""

import pytest

from tune_cnn.errors import InputError, TuneCnnError
from tune_cnn.spec import parse_spec
from tune_cnn.study.training import registration

SPEC = {"study": "s", "data": {"name": "digits"}, "model": {"name": "lenet5"}, "budget": {"trials": 1}}


@pytest.mark.parametrize("name", ["", "a/b", "a:b", ".hidden", "two words", "🚀", "n" * 129])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """Slashes and colons would read as a version or an alias in models:/NAME/VERSION."""
    with pytest.raises(InputError, match="--register: a model's name has"):
        registration.check(name, parse_spec(SPEC), "sqlite:///m.db")


def test_a_training_of_ones_own_cannot_be_registered() -> None:
    """Its weights are not known."""
    own = {**SPEC, "training": "mylab.parts:training"}
    with pytest.raises(InputError, match="training of your own"):
        registration.check("m", parse_spec(own), "sqlite:///m.db")


def test_a_registry_that_is_away_is_said_before_hours_of_training() -> None:
    with pytest.raises(TuneCnnError, match=r"127\.0\.0\.1:9: server unreachable"):
        registration.check("m", parse_spec(SPEC), "http://127.0.0.1:9")
