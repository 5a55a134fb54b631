"""How often a lost trial is tried again depends on what it was lost to."""

import pytest

from tune_cnn.trials.nodes.losses import RETRIES, Loss, Losses, loss_of


@pytest.mark.parametrize("loss", list(RETRIES))
def test_a_trial_survives_so_many_losses_and_no_more(loss):
    losses = Losses()
    assert [losses.again(1, loss, "why") for _ in range(RETRIES[loss])] == [None] * RETRIES[loss]
    said = (
        f"given up after {RETRIES[loss] + 1} tries: why" if loss is not Loss.STALLED else "why; it was the second time"
    )
    assert losses.again(1, loss, "why") == said


def test_a_trial_may_move_for_ever():
    losses = Losses()
    assert {losses.again(1, Loss.MOVED, "its node is going") for _ in range(100)} == {None}
    assert [losses.again(1, Loss.PROCESS, "died") for _ in range(2)] == [None, None], "none of it was counted"


def test_losses_of_one_kind_do_not_count_for_another():
    losses = Losses()
    assert [losses.again(1, loss, "") for loss in (Loss.PROCESS, Loss.STALLED, Loss.NODE, Loss.PROCESS)] == [None] * 4
    assert losses.again(1, Loss.STALLED, "it stood still") == "it stood still; it was the second time"


def test_each_trial_has_its_own():
    losses = Losses()
    assert [losses.again(trial, Loss.STALLED, "") for trial in range(5)] == [None] * 5


def test_what_a_trial_was_lost_to():
    assert loss_of("stalled: no step for 60 s", node_is_gone=False) is Loss.STALLED
    assert loss_of("the worker died", node_is_gone=False) is Loss.PROCESS
    assert loss_of("the worker died", node_is_gone=True) is Loss.NODE
