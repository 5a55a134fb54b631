"""`train --register`: what is wrong is said before the training."""

import pytest

from tune_cnn.errors import InputError, TuneCnnError
from tune_cnn.study.training import registration


@pytest.mark.parametrize("name", ["", "a/b", "a:b", ".hidden", "two words", "🚀", "n" * 129])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """Slashes and colons would read as a version or an alias in models:/NAME/VERSION."""
    with pytest.raises(InputError, match="--register: a model's name has"):
        registration.check(name, "sqlite:///m.db")


def test_a_registry_that_is_away_is_said_before_hours_of_training() -> None:
    with pytest.raises(TuneCnnError, match=r"127\.0\.0\.1:9: server unreachable"):
        registration.check("m", "http://127.0.0.1:9")
