"""Models as a study names them, checked: what they are, or why they are refused."""

import pytest

from tune_cnn.errors import InputError
from tune_cnn.training.models.registry import check_model


def facts(name: str, channels: int = 3, side: int = 32, **more: object):
    return check_model(name, num_classes=10, in_channels=channels, image_size=(side, side), **more)


def refused(name: str, channels: int = 3, side: int = 32, **more: object) -> str:
    with pytest.raises(InputError) as raised:
        facts(name, channels, side, **more)
    return str(raised.value)
