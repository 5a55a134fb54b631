"""An epoch's sums are of that epoch alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tune_cnn.spec import Configuration
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.loop import new_sums, train_steps
from tune_cnn.training.meters.meters import Meters
from tune_cnn.training.step.hooks import StepHooks
from tune_cnn.training.step.optimizers.making import make_optimizer
from tune_cnn.training.step.precision import PRECISIONS
from tune_cnn.training.step.train_state import TrainState

CPU = torch.device("cpu")


def test_losses_and_skipped_steps_begin_anew_with_each_epoch() -> None:
    """Two of the first epoch's three steps overflow, none of the second's."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    state = TrainState(
        model=model,
        optimizer=make_optimizer(model, Configuration(), learning_rate=1.0),
        scaler=torch.amp.GradScaler("cpu", init_scale=8.0),
        precision=PRECISIONS["fp32"],
        device=CPU,
        learning_rate=lambda step: 1e-9,  # the model stays as it is
        label_smoothing=0.0,
        gradient_clip=0.0,
    )
    good = Batch(torch.randn(4, 3), torch.randint(2, (4,)))
    bad = Batch(torch.full((4, 3), torch.inf), good.labels_n)
    meters = Meters(CPU, gpu_share=0.0)

    first = new_sums(state)
    train_steps(state, [bad, good, bad], meters, StepHooks(), first, first_step=0)
    assert (int(first.skipped_steps), first.images, first.steps, first.captured) == (2, 12, 3, 0)
    second = new_sums(state)
    train_steps(state, [good, good], meters, StepHooks(), second, first_step=3)
    assert (int(second.skipped_steps), second.images, second.steps) == (0, 8, 2)
    expected = 2 * F.cross_entropy(model(good.images_nchw), good.labels_n, reduction="sum")
    assert second.loss.item() == pytest.approx(expected.item(), rel=1e-4)
    meters.close()
