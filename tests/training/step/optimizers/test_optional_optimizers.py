"""Optimizers of other libraries: theirs step by step, averaged where that is their way, and refused where missing."""

import sys

import pytest
import torch
from ranks import digits_job, same_bits, train
from torch import nn

from tune_cnn.errors import SpecError, TrialError
from tune_cnn.spec import Configuration, parse_spec
from tune_cnn.training.inspection.optimizers import check_optimizers
from tune_cnn.training.models.small_cnn import small_cnn
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.step.optimizers.averaging import averaged_weights
from tune_cnn.training.step.optimizers.making import make_optimizer
from tune_cnn.training.step.schedules import factor_in_training


def spec_with(optimizer: str, **space: object):
    raw = {"study": "s", "data": {"name": "digits"}, "model": {"name": "small_cnn"}, "budget": {"trials": 1}}
    return parse_spec({**raw, "space": {"optimizer": optimizer, **space}})


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("lars", "timm", "timm"), ("schedule_free_sgd", "schedulefree", "schedule-free")]
)
def test_one_whose_library_is_missing_is_refused_with_the_command_that_brings_it(name, package, extra, monkeypatch):
    """Before any trial."""
    check_optimizers(spec_with(name))
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(SpecError, match=f"{name} needs the package {package}.*`uv sync --extra {extra}`"):
        check_optimizers(spec_with(name))


def test_layers_step_in_proportion_to_their_norms():
    """LARS: ‖step‖ = rate · 0.001 · ‖weights‖ without decay or momentum, by the paper's equation 6; biases as SGD."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    configuration = Configuration(optimizer="lars", momentum=0.0, weight_decay=1e-12)
    optimizer = make_optimizer(layer, configuration, learning_rate=0.5)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    layer(torch.randn(8, 6)).square().sum().backward()
    assert layer.weight.grad is not None and layer.bias.grad is not None
    optimizer.step()
    expected = weight - 0.5 * 0.001 * weight.norm() * layer.weight.grad / layer.weight.grad.norm()
    assert torch.allclose(layer.weight, expected, atol=1e-6)
    assert torch.allclose(layer.bias, bias - 0.5 * layer.bias.grad, atol=1e-6)


def test_lamb_is_not_clipped_behind_the_users_back():
    """`gradient_clip` alone says so; timm's own default would clip the norm of all gradients to 1."""
    optimizer = make_optimizer(nn.Linear(6, 4), Configuration(optimizer="lamb"), learning_rate=0.5)
    assert optimizer.defaults["max_grad_norm"] is None


def test_schedule_free_weights_to_evaluate_are_the_mean_of_all_that_were_stepped_to():
    """x of the paper's equation 4 under a constant rate, in float64; the weights that learn stay to the bit."""
    layer = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
    configuration = Configuration(optimizer="schedule_free_sgd", weight_decay=0.0)
    optimizer = make_optimizer(layer, configuration, learning_rate=0.1)
    z = x = layer.weight.detach().double()
    for number in range(1, 6):
        y = 0.1 * z + 0.9 * x  # momentum 0.9
        assert torch.allclose(layer.weight.double(), y, atol=1e-6)
        optimizer.zero_grad()
        (layer.weight**4).sum().backward()
        optimizer.step()
        z = z - 0.1 * 4 * y**3
        x = (1 - 1 / number) * x + z / number
    before = layer.weight.detach().clone()
    averaged = averaged_weights(layer, optimizer)
    assert torch.allclose(averaged["weight"].double(), x, atol=1e-6)
    assert torch.equal(layer.weight, before)


def test_the_average_is_evaluated_and_exported_with_statistics_of_its_own(tmp_path, monkeypatch):
    """Each epoch's evaluation sees it; training goes on as if nobody had looked."""
    shown, learned = [], []
    from tune_cnn.training.step.evaluation import evaluate as real

    def noted(model, context, images):
        shown.append({k: v.clone() for k, v in model.state_dict().items()})
        return real(model, context, images)

    monkeypatch.setattr("tune_cnn.training.supervised.evaluate", noted)
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, optimizer="schedule_free_sgd", learning_rate=1.0, epochs=2))
    rank.train_epoch()
    learned = {k: v.clone() for k, v in rank._current.model.state_dict().items()}
    rank.train_epoch()
    weights = rank.weights()
    rank.end()
    differing = {name for name in learned if not torch.equal(shown[0][name], learned[name])}
    assert {"0.weight", "1.running_mean", "12.bias"} <= differing
    assert same_bits(weights, shown[1])


def test_without_a_schedule_there_is_a_warm_up_and_a_constant_rate():
    """A schedule means nothing there, and is refused; searched beside others, it is left out for them."""
    configuration = Configuration(optimizer="schedule_free_adamw", epochs=4, warmup_epochs=1)
    factors = [factor_in_training(configuration, step, steps_per_epoch=4) for step in range(16)]
    assert factors == [0.25, 0.5, 0.75] + [1.0] * 13
    with pytest.raises(SpecError, match="schedule: has no meaning unless optimizer is none of schedule_free_adamw"):
        spec_with("schedule_free_sgd", schedule="step")
    searched = spec_with(["sgd", "schedule_free_sgd"], schedule="step")  # type: ignore[arg-type]  # a choice of two
    assert "schedule" not in searched.configuration({"optimizer": "schedule_free_sgd"}).params()
    assert searched.configuration({"optimizer": "sgd"}).schedule == "step"


def returns_text(groups: object, lr: float, weight_decay: float) -> str:
    return "sgd"


def forgets_groups(groups: list[dict[str, list[nn.Parameter]]], lr: float, weight_decay: float) -> torch.optim.SGD:
    return torch.optim.SGD([p for group in groups for p in group["params"]], lr=lr)


def takes_nothing() -> None:
    return None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("returns_text", "must return a torch.optim.Optimizer, got str"),
        ("forgets_groups", "must hold the groups that it is given"),
        ("takes_nothing", r"called as takes_nothing\(groups, lr=0.1, weight_decay=0.0005\) it raised TypeError"),
    ],
)
def test_what_is_wrong_with_an_optimizer_of_the_users_is_said(name, says):
    """By name, with what must hold."""
    configuration = Configuration(optimizer=f"{__name__}:{name}")
    with pytest.raises(TrialError, match=f"optimizer {__name__}:{name}: {says}"):
        make_optimizer(small_cnn(num_classes=2, in_channels=1, image_size=(8, 8)), configuration, learning_rate=0.1)


def test_one_of_the_users_that_is_not_there_is_found_out_before_a_search():
    """As a metric or a model is."""
    with pytest.raises(SpecError, match=r"space.optimizer: importing nowhere_at_all raised ModuleNotFoundError"):
        check_optimizers(spec_with("nowhere_at_all:Lion"))


def test_muon_gets_hidden_matrices_alone(tmp_path):
    """Neither the first layer nor the last, no norm, no bias and no grouped kernels; its step is torch's."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 6, 3, bias=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
        nn.Linear(5, 2),
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    configuration = Configuration(optimizer="muon", momentum=0.0, weight_decay=0.0)
    optimizer = make_optimizer(model, configuration, learning_rate=0.5)
    named = {id(p): name for name, p in model.named_parameters()}
    assert {named[id(p)] for g in optimizer.param_groups if g["muon"] for p in g["params"]} == {"3.weight", "6.weight"}
    before = model[3].weight.detach().clone()
    model(torch.randn(16, 1, 9, 9)).square().sum().backward()
    optimizer.step()
    matrix = nn.Parameter(before.flatten(1))
    assert model[3].weight.grad is not None
    matrix.grad = model[3].weight.grad.flatten(1)
    torch.optim.Muon(
        [matrix], lr=0.5, weight_decay=0, momentum=0, nesterov=False, adjust_lr_fn="match_rms_adamw"
    ).step()
    moved = (model[3].weight - before).flatten(1)
    assert torch.allclose(moved, matrix - before.flatten(1), atol=0.05 * moved.abs().max().item())  # it's in bfloat16
    with pytest.raises(TrialError, match="optimizer muon: the model has no hidden weight matrix"):
        make_optimizer(nn.Linear(3, 2), configuration, learning_rate=0.1)


def test_training_with_them_leaves_no_other_training_changed(tmp_path):
    """A default training before and after is the same to the bit: nothing of theirs is global."""
    one = train(RankTraining(), digits_job(tmp_path, epochs=1))[1]
    train(RankTraining(), digits_job(tmp_path, epochs=1, optimizer="schedule_free_adamw", learning_rate=0.01))
    assert same_bits(train(RankTraining(), digits_job(tmp_path, epochs=1))[1], one)
