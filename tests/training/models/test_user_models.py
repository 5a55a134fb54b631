"""Factories of the user's own."""

import pytest
import torch
from models_checked import facts, refused
from torch import nn

from tune_cnn.training.models.arguments import named_arguments
from tune_cnn.training.models.registry import build_model, find_model


def test_checking_leaves_the_global_generator_alone(users_module: str) -> None:
    """A check between a seed and a build changes nothing of the build."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    facts("small_cnn", 1, 8)
    facts("efficientnet_b0", 3, 32)
    facts(f"{users_module}:factory", 1, 8)
    assert torch.equal(torch.rand(3), expected)


def test_a_users_factory_is_built_and_measured(users_module: str) -> None:
    """A factory from the user's module: its class and its function, lazy layers shaped, arguments passed."""
    for name in (f"{users_module}:factory", f"{users_module}:Plain"):
        assert named_arguments(name, find_model(name)) == ("hidden",)
        checked = facts(name, 1, 8, arguments={"hidden": 6})
        assert checked.parameters == 64 * 6 + 6 + 6 * 10 + 10
        built = build_model(name, num_classes=10, in_channels=1, image_size=(8, 8))
        assert not any(isinstance(p, nn.UninitializedParameter) for p in built.parameters()) and built.training
        assert checked.inference_gflops == pytest.approx(2 * (64 * 6 + 60) / 1e9)
        assert "did you mean 'hidden'" in refused(name, 1, 8, arguments={"hiden": 6})
    assert named_arguments(f"{users_module}:greedy", find_model(f"{users_module}:greedy")) is None
    facts(f"{users_module}:greedy", 1, 8, arguments={"whatever": 1})


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("raises", "ValueError: no such luck"),
        ("nonsense", "must return an nn.Module, got str"),
        ("wrong_classes", "shape (2, 10), (batch, num_classes), got torch.float32 of shape (2, 11)"),
        ("tuple_output", "got tuple"),
        ("train_only_fails", "in training mode its forward raised RuntimeError: only in training"),
        ("frozen", "no parameter gets a gradient"),
        ("narrow", "doesn't take in_channels, image_size"),
        ("needy", "needs the argument depth"),
        ("not_callable", "got int"),
        ("factroy", "did you mean 'factory'"),
    ],
)
def test_a_users_factory_that_misbehaves_is_told_apart(users_module: str, attribute: str, said: str) -> None:
    """Whatever a user's factory does wrong, one message names it and says what must hold."""
    message = refused(f"{users_module}:{attribute}", 1, 8)
    assert said in message
    assert f"{users_module}:{attribute}" in message


def test_a_users_module_that_cannot_be_imported_is_named(users_module: str) -> None:
    """A missing module, one that raises, and a name without a module are three messages."""
    assert "PYTHONPATH" in refused("no_such_module_for_a_test:factory")
    assert "OSError: a disk of sand" in refused("users_broken_for_a_test:factory")
    assert "package.module:name" in refused(":factory")


def test_a_parameter_without_gradient_is_reported(users_module: str) -> None:
    """A layer that the forward never uses is listed: data-parallel training must know."""
    checked = facts(f"{users_module}:idle_layer", 1, 8)
    assert checked.unused_parameters == ("2.spare.weight", "2.spare.bias")
