"""channels_last is on by default where the model is known to take it."""

import pytest

from tune_cnn.spec import parse_spec


@pytest.mark.parametrize(
    ("changes", "channels_last"),
    [
        ({}, True),
        ({"model": {"name": "resnet18"}}, True),
        ({"model": {"name": "mylab.parts:net"}}, False),
        ({"training": "mylab.parts:train"}, False),
        ({"model": {"name": "mylab.parts:net"}, "space": {"channels_last": True}}, True),
        ({"space": {"channels_last": False}}, False),
    ],
)
def test_on_unless_the_model_or_the_training_is_the_users(changes, channels_last):
    raw = {"study": "s", "data": {"name": "digits"}, "model": {"name": "lenet5"}, "budget": {"trials": 1}}
    assert parse_spec({**raw, **changes}).configuration({}).channels_last is channels_last
