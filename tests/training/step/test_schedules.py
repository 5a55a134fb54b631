"""Learning-rate schedules give the rates that torch's own schedulers give, and what the spec says of them."""

import numpy as np
import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR, ReduceLROnPlateau

from tune_cnn.spec import Configuration
from tune_cnn.training.step.schedules import Plateau, learning_rate_factor, scaled_learning_rate

STEPS, EPOCHS = 7, 8
TOTAL = STEPS * EPOCHS


def factors(schedule: str, warmup_epochs: float = 0.0, steps: int = STEPS, epochs: int = EPOCHS) -> list[float]:
    return [
        learning_rate_factor(schedule, step, steps_per_epoch=steps, epochs=epochs, warmup_epochs=warmup_epochs)
        for step in range(steps * epochs)
    ]


def rates_of(make_scheduler, peak: float) -> list[float]:
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    scheduler: LRScheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(("warmup_epochs", "rise"), [(0.0, 0.3), (2.0, 0.25), (1.0, 0.125)])
def test_one_cycle_is_torchs(warmup_epochs, rise):
    """It rises over the warm-up, or 30 % of the horizon without one."""

    def torchs(optimizer):
        return OneCycleLR(optimizer, max_lr=1.0, total_steps=TOTAL, pct_start=rise, cycle_momentum=False)

    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, expected = torchs(optimizer), []
    for step in range(TOTAL):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < TOTAL - 1:
            scheduler.step()
    assert factors("one_cycle", warmup_epochs) == pytest.approx(expected, rel=1e-9)


def test_cosine_is_torchs():
    """From the peak to nothing over the horizon."""
    expected = rates_of(lambda o: CosineAnnealingLR(o, T_max=TOTAL), 1.0)
    assert factors("cosine") == pytest.approx(expected, abs=1e-12)


def test_step_is_a_tenth_at_half_and_at_three_quarters():
    """As torch's MultiStepLR with those milestones, in steps."""
    expected = rates_of(lambda o: MultiStepLR(o, [TOTAL // 2, 3 * TOTAL // 4], gamma=0.1), 1.0)
    assert factors("step") == pytest.approx(expected)


@pytest.mark.parametrize(("warmup_epochs", "top"), [(0.0, int(0.3 * TOTAL)), (2.0, 2 * STEPS), (8.0, TOTAL)])
def test_triangle_rises_and_falls_in_straight_lines(warmup_epochs, top):
    """Through its start, its peak at the end of the rise, and towards its end, which the step after the last has."""
    found = [
        learning_rate_factor(
            "triangle", step, steps_per_epoch=STEPS, epochs=EPOCHS, warmup_epochs=warmup_epochs, ends=(0.2, 0.07)
        )
        for step in range(TOTAL)
    ]
    places, heights = ([0, top, TOTAL], [0.2, 1.0, 0.07]) if top < TOTAL else ([0, TOTAL], [0.2, 1.0])
    assert found == pytest.approx(np.interp(range(TOTAL), places, heights).tolist())


@pytest.mark.parametrize("schedule", ["cosine", "step", "plateau"])
def test_warm_up_is_linear_up_to_the_peak(schedule):
    """The last step of the warm-up has the peak rate; the schedule goes on from there."""
    found = factors(schedule, warmup_epochs=2)
    assert found[: 2 * STEPS] == pytest.approx([(step + 1) / (2 * STEPS) for step in range(2 * STEPS)])
    assert found[2 * STEPS] == 1.0
    assert max(found) == 1.0


@pytest.mark.parametrize("schedule", ["one_cycle", "triangle", "cosine", "step", "plateau"])
@pytest.mark.parametrize("warmup_epochs", [0.0, 0.01, 0.5, 1.0, 5.0])
@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (1, 2), (2, 1), (3, 5)])
def test_every_horizon_has_a_rate_for_every_step(schedule, warmup_epochs, steps, epochs):
    """Horizons of a single step and warm-ups longer than the horizon included."""
    found = factors(schedule, warmup_epochs, steps, epochs)
    assert len(found) == steps * epochs and all(0 <= factor <= 1 for factor in found)
    assert max(found) > 0


@pytest.mark.parametrize("epochs", [5, 20, 40])
def test_plateau_is_torchs(epochs):
    """A tenth when the loss has not fallen for a tenth of the epochs, at least one."""
    losses = torch.rand(60, generator=torch.Generator().manual_seed(0)).tolist()
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    # torch's patience is how many bad epochs are let pass; the one after them lowers the rate.
    patience = max(1, epochs // 10) - 1
    torchs = ReduceLROnPlateau(optimizer, factor=0.1, patience=patience, threshold=0.0, eps=0.0)
    plateau = Plateau.over(epochs)
    for loss in losses:
        torchs.step(loss)
        plateau.observe(loss)
        assert plateau.factor == pytest.approx(optimizer.param_groups[0]["lr"])
    assert plateau.factor < 1


def test_plateau_goes_on_from_its_state():
    """A resumed trial lowers its rate when the uninterrupted one would."""
    whole, first, resumed = Plateau.over(20), Plateau.over(20), Plateau.over(20)
    losses = [1.0, 0.9, 0.95, 0.95, 0.94, 0.8, 0.8]
    for at, loss in enumerate(losses):
        whole.observe(loss)
        if at < 3:
            first.observe(loss)
    resumed.load_state_dict(first.state_dict())
    for loss in losses[3:]:
        resumed.observe(loss)
    assert resumed == whole and whole.factor < 1


@pytest.mark.parametrize(("rule", "expected"), [("none", 0.1), ("sqrt", 0.2), ("linear", 0.4)])
def test_the_rule_carries_the_rate_to_the_batch(rule, expected):
    """learning_rate is meant for lr_base_batch images; four times as many here."""
    base = {} if rule == "none" else {"lr_base_batch": 64}
    batch_size = 512 if rule == "none" else 256
    configuration = Configuration(learning_rate=0.1, lr_rule=rule, batch_size=batch_size, **base)
    assert scaled_learning_rate(configuration) == pytest.approx(expected)
