"""Precisions: where they exist, what they compute in, and what fp16 loses."""

import pytest
import torch
from torch import nn

from tune_cnn.training.step.gradient_underflow import gradient_underflow_pct
from tune_cnn.training.step.precision import PRECISIONS, supported_precisions
from tune_cnn.training.step.train_step import step_scaled

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "capability", "expected"),
    [
        (False, None, {"fp32", "bf16"}),
        (True, (6, 1), {"fp32"}),
        (True, (7, 5), {"fp32", "fp16"}),
        (True, (8, 0), {"fp32", "fp16", "tf32", "bf16"}),
        (True, (9, 0), {"fp32", "fp16", "tf32", "bf16"}),
    ],
)
def test_hardware_decides_what_can_be_trained_in(cuda, capability, expected):
    """tf32 and fp16 need a CUDA device with the arithmetic."""
    assert supported_precisions(cuda, capability) == expected


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_a_step_computes_in_its_precision(name, dtype):
    """Activations have the precision's type; weights and gradients stay float32."""
    layer = nn.Linear(4, 2)
    with PRECISIONS[name].autocast(CPU):
        output = layer(torch.ones(3, 4))
    output.float().sum().backward()
    assert output.dtype == dtype
    assert layer.weight.dtype == torch.float32 and layer.weight.grad.dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("fused", [True, False])
def test_a_skipped_step_is_counted_and_leaves_the_weights(fused):
    """An infinite gradient skips the step; the next one, finite, is taken and not counted."""
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1, fused=fused)
    scaler, skipped = PRECISIONS["fp16"].scaler(CPU), torch.zeros((), dtype=torch.int64)

    def step(factor: float) -> int:
        optimizer.zero_grad()
        scaler.scale((weight * factor).sum()).backward()
        step_scaled(scaler, optimizer, skipped)
        return int(skipped)

    assert step(float("inf")) == 1 and weight.tolist() == [1, 1, 1]
    assert step(1.0) == 1 and weight.tolist() == pytest.approx([0.9] * 3)
    assert step(float("inf")) == 2


def test_precisions_without_scaling_count_no_skips():
    """And take the step whatever the gradient is."""
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    skipped = torch.zeros((), dtype=torch.int64)
    step_scaled(PRECISIONS["bf16"].scaler(CPU), torch.optim.SGD([weight], lr=0.5), skipped)
    assert skipped == 0 and weight.item() == 0.5


class Shrinks(nn.Module):
    """Two heads: one whose gradient is as usual, one whose is far below float16's smallest number."""

    def __init__(self) -> None:
        super().__init__()
        self.usual = nn.Linear(4, 2, bias=False)
        self.tiny = nn.Linear(4, 2, bias=False)
        self.dead = nn.Linear(4, 2, bias=False)
        self.dropout = nn.Dropout(0.9)
        self.norm = nn.BatchNorm1d(4, affine=False)

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        x = self.dropout(self.norm(images_nchw.flatten(1)))
        small = self.tiny(x) * torch.tensor(1e-9, dtype=torch.float32)
        return self.usual(x) + small.to(x.dtype) + torch.relu(self.dead(x) - 1e3)


def underflow(loss_scale: float, model: nn.Module | None = None) -> float:
    torch.manual_seed(0)
    return gradient_underflow_pct(
        model or Shrinks(),
        torch.randn(40, 1, 2, 2),
        torch.randint(2, (40,)),
        precision=PRECISIONS["fp16"],
        loss_scale=loss_scale,
    )


def test_underflow_is_the_share_that_float32_would_keep():
    """Half of the living gradients underflow; a dead unit's zeros are nobody's loss."""
    assert underflow(1.0) == pytest.approx(50.0)


def test_a_larger_loss_scale_saves_gradients():
    """That is what loss scaling is for."""
    assert underflow(2.0**16) < underflow(1.0)


def test_measuring_underflow_leaves_no_trace():
    """Neither gradients, nor statistics, nor mode, nor random numbers."""
    model = Shrinks().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(0)
    expected = (torch.randn(40, 1, 2, 2), torch.randint(2, (40,)), torch.rand(1))[2]
    underflow(1.0, model)
    assert torch.equal(torch.rand(1), expected)
    assert model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
