"""A captured step computes what the step itself does, and is left out where that can't be promised.

The recorder here keeps the work and does it again on the same memory, as a CUDA graph does on a GPU: what these tests
hold is what is recorded and fed. That a graph gives the same digits is shown on a GPU, by tests/gpu/acceptance.py.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import digits_job, kept, left_within, same_bits, train

from tune_cnn.errors import OutOfMemory
from tune_cnn.spec.strategies import Saves, Site
from tune_cnn.training import supervised
from tune_cnn.training.process.faults import trial_faults
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.step.captured import Work, why_not_captured
from tune_cnn.training.step.context import Seen
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun


class Again:
    """Records work by keeping it; how often it was recorded and done."""

    def __init__(self) -> None:
        self.recorded = self.done = 0

    def record(self, work: Work) -> Work:
        self.recorded += 1

        def replay() -> None:
            self.done += 1
            work()

        return replay


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Again:
    """Every training captures its steps, on this CPU."""
    made = Again()
    monkeypatch.setattr(supervised, "needs_warm_up", lambda context: True)
    monkeypatch.setattr(supervised, "recorder_for", lambda device: made)
    return made


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "adamw", "schedule": "one_cycle"},
        {"gradient_clip": 0.1, "channels_last": True, "precision": "bf16"},
        {"batch_size": 90, "label_smoothing": 0.1, "augment": "crop_flip"},  # one size of batch
        {"strategies": {"weight_norm": True}, "momentum": 0.0},
        {"mixup": 0.2, "cutmix": 1.0, "loss": "bce"},  # labels are shares of the classes
        {"class_weights": "effective", "class_weights_beta": 0.9, "label_smoothing": 0.1},
        {"class_sampling": "balanced", "augment": "random_resized_crop"},
        {"norm_lr_ratio": 8.0, "decay_all": True, "decoupled": True, "schedule": "triangle"},
    ],
)
def test_captured_steps_train_to_the_same_bits(tmp_path: Path, recorder: Again, settings: dict[str, Any]) -> None:
    """Rate, batch, odd last batch and sums are those of every step anew, and every step is a captured one."""
    rank = RankTraining()
    job = digits_job(tmp_path, **settings)
    results, weights = train(rank, replace(job, capture_steps=False))
    assert recorder.recorded == 0
    again, captured_weights = train(rank, job)
    assert same_bits(weights, captured_weights)
    assert [one.metrics["train_loss"] for one in results] == [one.metrics["train_loss"] for one in again]
    size = job.configuration.batch_size
    assert recorder.done == 2 * -(-540 // size) and recorder.recorded == (1 if 540 % size == 0 else 2)


class Renews(Strategy):
    """Makes the optimizer anew for the second epoch."""

    paper = "Nobody, 2026"
    saves = Saves.TIME
    sites = frozenset({Site.SHAPE})
    capturable = True

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        if epoch == 1:
            run.replace_model(run.model, {}, by=self.name, change={"exported": False})

    def rebuild(self, model: torch.nn.Module, change: Change) -> torch.nn.Module:
        return model


@pytest.mark.parametrize(
    ("strategy", "recorded"), [("whitening", 2), ("lookahead", 2), ("s3pool", 2), (f"{__name__}:Renews", 4)]
)
def test_strategies_act_beside_captured_steps(tmp_path: Path, recorder: Again, strategy: str, recorded: int) -> None:
    """What they do before and after a step is not recorded; a model that one of them replaced is recorded anew."""
    rank = RankTraining()
    job = digits_job(tmp_path, model="small_cnn", strategies={strategy: True})
    _, weights = train(rank, replace(job, capture_steps=False))
    _, captured_weights = train(rank, job)
    assert same_bits(weights, captured_weights)
    assert recorder.recorded == recorded and recorder.done == 2 * 9


def test_a_resumed_training_captures_the_state_that_it_loaded(tmp_path: Path, recorder: Again) -> None:
    """The first recording was of an optimizer state that is another now."""
    rank = RankTraining()
    job = digits_job(tmp_path, epochs=4)
    _, whole = train(rank, job)
    job = replace(job, checkpoint_dir=str(tmp_path / "checkpoints"), checkpoint_every_s=0.0)
    train(rank, job, epochs=2)
    before = recorder.recorded
    _, resumed = train(rank, job)
    assert same_bits(whole, resumed)
    assert recorder.recorded - before == 4  # for both sizes of batch, at the start and once more for what was loaded


def test_captured_steps_go_on_within_an_epoch(tmp_path: Path, recorder: Again) -> None:
    """Their sums, which are the device's, go on too, and so does the odd last batch."""
    job = digits_job(tmp_path, strategies={"lookahead": True, "s3pool": True})
    results, whole = train(RankTraining(), job)
    assert recorder.recorded == 2
    left_results, left, _ = left_within(replace(job, **kept(tmp_path)))
    assert same_bits(whole, left)
    assert [one.metrics["train_loss"] for one in results] == [one.metrics["train_loss"] for one in left_results]
    assert recorder.done == 2 * 2 * 9


def test_a_batch_of_another_shape_is_not_replayed(tmp_path: Path, recorder: Again) -> None:
    """It is trained as it comes: no step is lost, none is taken on the wrong images."""
    rank = RankTraining()
    rank.begin(digits_job(tmp_path))
    training: Any = rank._current._training
    batch = next(training._loader.epoch(0))
    assert training._captured.replay(batch)
    assert not training._captured.replay(type(batch)(batch.images_nchw[:7], batch.labels_n[:7]))
    rank.end()


def test_an_evaluation_that_lacks_memory_ends_the_capturing(
    tmp_path: Path, recorder: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that fits without captured steps is not lost to what they hold. Without them the lack is the trial's."""
    lacking, real = [2], supervised.evaluate

    def evaluate(*arguments: Any) -> Any:
        lacking[0] -= 1
        if lacking[0] == 0:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(*arguments)

    monkeypatch.setattr(supervised, "evaluate", evaluate)
    rank = RankTraining()
    job = digits_job(tmp_path, epochs=3)
    results, weights = train(rank, job)
    assert recorder.done == 2 * 9 and len(results) == 3
    lacking[0] = 2
    with pytest.raises(OutOfMemory):
        train(rank, replace(job, capture_steps=False))
    lacking[0] = 0
    assert same_bits(weights, train(rank, job)[1])


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no room"), RuntimeError("operation not permitted")])
def test_steps_that_cannot_be_captured_are_taken_as_they_come(
    tmp_path: Path, recorder: Again, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    """With the same weights in the end."""
    rank = RankTraining()
    job = digits_job(tmp_path)
    _, weights = train(rank, job)

    class Refusing:
        def record(self, work: Work) -> Work:
            raise error

    monkeypatch.setattr(supervised, "recorder_for", lambda device: Refusing())
    assert same_bits(weights, train(rank, job)[1])


class Drawing(torch.nn.Linear):
    """A model that says of itself that its steps are alike."""

    capturable = True


@pytest.mark.parametrize(
    ("changes", "seen", "strategies", "said"),
    [
        ({}, Seen(), (), None),
        ({"capture_steps": False}, Seen(), (), "capture_steps"),
        ({}, Seen(draws_on_host=True), (), "random numbers on the CPU"),
        ({}, Seen(waits="called a synchronizing CUDA operation"), (), "waits for the GPU: called"),
        ({}, Seen(), ("s3pool",), "s3pool"),
    ],
)
def test_why_steps_are_not_captured(
    tmp_path: Path, changes: dict[str, Any], seen: Seen, strategies: Sequence[str], said: str | None
) -> None:
    """Each reason by itself."""
    context = made_context(tmp_path, seen, **changes)
    found = why_not_captured(context, torch.nn.Linear(1, 1), strategies)
    assert found is None if said is None else said in str(found)


def test_your_own_model_is_captured_where_its_class_says_that_it_can_be(tmp_path: Path) -> None:
    """What it does in a step beyond tensors' work can't be seen from outside."""
    context = made_context(tmp_path, Seen())
    own = replace(context, job=replace(context.job, model=context.job.model.model_copy(update={"name": "lab:net"})))
    assert "your own" in str(why_not_captured(own, torch.nn.Linear(1, 1), ()))
    assert why_not_captured(own, Drawing(1, 1), ()) is None


def made_context(folder: Path, seen: Seen, **changes: Any) -> Any:
    rank = RankTraining()
    with trial_faults("a test"):
        context = rank._context(digits_job(folder, job=changes))
    context.close()
    return replace(context, seen=seen)
