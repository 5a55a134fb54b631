"""A metric of the user's sees the whole validation split, and a wrong one is the trial's fault, with its name."""

import pytest
import torch
from ranks import digits_job, train

from tune_cnn.errors import TrialError
from tune_cnn.spec import UserMetric


def metric(call: str) -> dict[str, UserMetric]:
    return {"mine": UserMetric(call=f"{__name__}:{call}", unit="1", direction="max")}


def mean_of_labels(model, loader) -> float:
    assert not model.training and not torch.is_grad_enabled()
    seen = [(model(images_nchw), labels_n) for images_nchw, labels_n in loader]
    again = sum(len(labels_n) for _, labels_n in loader)
    assert again == sum(len(logits) for logits, _ in seen)
    return again


def of_no_use(model, loader):
    return "high"


def raises(model, loader):
    raise KeyError("calibration")


def test_the_users_metric_sees_the_whole_validation_split(rank, folder):
    """Model in evaluation mode, a loader that can be gone through twice; the value stands among the metrics."""
    results, _ = train(rank, digits_job(folder, metrics=metric("mean_of_labels")), epochs=1)
    assert results[0].metrics["mine"] == 60


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("of_no_use", "metrics.mine: must be a number, got str 'high'"),
        ("raises", "metrics.mine raised KeyError: 'calibration'"),
    ],
)
def test_a_users_metric_that_gives_no_number_is_the_trials_fault(rank, folder, call, said):
    """With the metric's name."""
    rank.begin(digits_job(folder, metrics=metric(call)))
    with pytest.raises(TrialError, match=said):
        rank.train_epoch()


def test_a_users_metric_that_is_not_there_is_named_at_the_start(rank, folder):
    """With the nearest name."""
    with pytest.raises(TrialError, match=r"metrics.mine.call: .* has no 'raise'; did you mean 'raises'"):
        rank.begin(digits_job(folder, metrics=metric("raise")))
