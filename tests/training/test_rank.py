"""A rank trains what its job says, the same bits each time, alone or among others, resumed or not."""

import math
import os
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ranks import Processes, digits_job, same_bits, train

from tune_cnn.errors import PeerLost, TrialError
from tune_cnn.metrics import METRICS, Where
from tune_cnn.spec import UserMetric
from tune_cnn.training import supervised
from tune_cnn.training.data.loaders.through_dataloader import WorkerLoader
from tune_cnn.training.rank import RankTraining

ONLY_FP16 = {"skipped_steps", "grad_underflow_pct"}
ONLY_COMPILED = {"compile_cached_pct"}
ONLY_WITH_A_STRATEGY = {"simulated_parameters", "skippable_train_gflops"}
BY_CALLER = {"cotenants"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("rank")


@pytest.fixture
def rank():
    training = RankTraining()
    yield training
    training.end()


def metric(call: str) -> dict[str, UserMetric]:
    return {"mine": UserMetric(call=f"{__name__}:{call}", unit="1", direction="max")}


def test_a_small_cnn_learns_digits(rank, folder):
    """Within three epochs, and better from epoch to epoch."""
    results, _ = train(rank, digits_job(folder, epochs=3, batch_size=32))
    assert [r.epoch for r in results] == [1, 2, 3] and [r.done for r in results] == [False, False, True]
    assert results[-1].metrics["accuracy"] > 0.8
    assert results[-1].metrics["train_loss"] < results[0].metrics["train_loss"]


def test_every_metric_of_the_table_is_there_where_it_can_be_measured(rank, folder):
    """On a CPU: all but a GPU's, fp16's, a compiler's, a strategy's own, and what the caller knows."""
    results, _ = train(rank, digits_job(folder), epochs=1)
    elsewhere = ONLY_FP16 | ONLY_COMPILED | ONLY_WITH_A_STRATEGY | BY_CALLER
    expected = {n for n, m in METRICS.items() if m.where is Where.ANYWHERE} - elsewhere
    metrics = results[0].metrics
    assert set(metrics) == expected
    assert all(math.isfinite(value) for value in metrics.values())
    images = 600 - 60
    assert metrics["train_gflops"] > metrics["inference_gflops"] * images * 2
    assert metrics["total_time_s"] >= metrics["train_time_s"] + metrics["eval_time_s"]


def test_weights_and_test_tell_of_the_trained_model(rank, folder):
    """The weights load into a fresh model; the test split is its own."""
    rank.begin(digits_job(folder))
    rank.train_epoch()
    tested, weights = rank.test(), rank.weights()
    assert 0 < tested["test_accuracy"] <= 1 and tested["test_loss"] > 0
    rank.train_epoch()
    assert not same_bits(weights, rank.weights())  # a copy: training goes on without it


def with_dropout(*, num_classes, in_channels, image_size):
    pixels = in_channels * image_size[0] * image_size[1]
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.2), torch.nn.Linear(pixels, num_classes))


VARIANTS = {
    "one_cycle": {"schedule": "one_cycle", "warmup_epochs": 1.0},
    "step": {"schedule": "step"},
    "plateau": {"schedule": "plateau", "epochs": 4},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.01, "gradient_clip": 1.0},
    "bf16": {"precision": "bf16"},
    "augmented": {"augment": "crop_flip", "label_smoothing": 0.1},
    "in_turn": {"augment": "crop_flip", "flips": "alternating", "shift": 0.2, "shift_fill": "mirror"},
    "own_rates": {"schedule": "triangle", "decoupled": True, "decay_all": True, "norm_lr_ratio": 8.0},
    "channels_last": {"channels_last": True, "model": "resnet20", "batch_size": 256},
    "batched": {"loader": "batched"},
    "stream": {"loader": "stream"},
    "dropout": {"model": f"{__name__}:with_dropout"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_trial_ends_with_the_same_bits(rank, folder, tmp_path, variant):
    """Interrupted after an epoch and resumed by another rank: weights and results as without the interruption."""
    job = digits_job(folder, **VARIANTS[variant])
    results, expected = train(rank, job)
    job = replace(job, checkpoint_dir=str(tmp_path / "checkpoints"), checkpoint_every_s=1e9)
    rank.begin(job)
    assert rank.train_epoch().checkpoint is None
    path = rank.checkpoint()
    assert path is not None and Path(path).exists()
    other = RankTraining()
    assert other.begin(job) == 1
    last = other.train_epoch()
    while not last.done:
        last = other.train_epoch()
    assert same_bits(other.weights(), expected)
    for name in ("val_loss", "accuracy", "train_loss", "train_gflops"):
        assert last.metrics[name] == results[-1].metrics[name]
    other.end()


def test_times_go_on_over_a_resume(rank, folder, tmp_path):
    """What was spent before counts, the time in between doesn't."""
    job = digits_job(
        folder, epochs=3, loader="batched", job={"checkpoint_dir": str(tmp_path), "checkpoint_every_s": 0.0}
    )
    results, _ = train(rank, job, epochs=2)
    assert results[1].checkpoint is not None and Path(results[1].checkpoint).exists()
    assert rank.begin(job) == 2
    result = rank.train_epoch()
    for name in ("train_time_s", "total_time_s", "eval_time_s", "data_wait_s"):
        assert result.metrics[name] > results[1].metrics[name], name
    assert result.metrics["checkpoint_time_s"] > 0


def test_another_configurations_checkpoint_is_refused(rank, folder, tmp_path):
    """Its weights might even fit."""
    place = {"checkpoint_dir": str(tmp_path), "checkpoint_every_s": 0.0}
    train(rank, digits_job(folder, job=place), epochs=1)
    with pytest.raises(TrialError, match="another configuration"):
        rank.begin(digits_job(folder, job=place, learning_rate=0.04))


def in_a_fresh_process(number: int, job) -> dict[str, object]:
    _, weights = train(RankTraining(), job)
    return {name: tensor.numpy() for name, tensor in weights.items()}


def test_other_trials_leave_no_trace_in_a_warm_process(rank, folder):
    """After bf16, other threads, channels_last, another model and one that failed: bits as in a fresh process."""
    job = digits_job(folder)
    process = Processes(1)
    (fresh,) = process.call(in_a_fresh_process, job)
    process.end()
    expected = {name: torch.from_numpy(array) for name, array in fresh.items()}
    _, first = train(rank, job)
    train(rank, digits_job(folder, precision="bf16", job={"cpus_per_rank": 2}), epochs=1)
    train(rank, digits_job(folder, model="resnet20", batch_size=256, channels_last=True, optimizer="adamw"), epochs=1)
    with pytest.raises(TrialError):
        train(rank, digits_job(folder, learning_rate=1e30))
    _, last = train(rank, job)
    assert same_bits(first, expected)
    assert same_bits(last, expected)


def test_another_seed_gives_other_weights(rank, folder):
    """The seed reaches weights and order."""
    _, one = train(rank, digits_job(folder), epochs=1)
    _, other = train(rank, digits_job(folder, job={"seed": 1}), epochs=1)
    assert not same_bits(one, other)


def test_a_trial_stops_where_it_is_told_on_its_horizon(rank, folder):
    """The schedule is the whole horizon's: the first epoch is the same as of the longer trial."""
    long, _ = train(rank, digits_job(folder, epochs=4), epochs=1)
    short, _ = train(rank, digits_job(folder, epochs=4, job={"stop_epoch": 1}))
    assert len(short) == 1 and short[0].done
    assert short[0].metrics["val_loss"] == long[0].metrics["val_loss"]


def test_diverging_is_the_trials_fault(rank, folder):
    """Said at the end of its epoch, and the next trial is as good as ever."""
    rank.begin(digits_job(folder, learning_rate=1e30))
    with pytest.raises(TrialError, match=r"(train|val)_loss became (nan|inf) in epoch 1"):
        rank.train_epoch()
    results, _ = train(rank, digits_job(folder))
    assert results[-1].done


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ({"precision": "fp16"}, "precision fp16: this cpu device has bf16, fp32"),
        ({"batch_size": 4096}, "batch_size: must be between 1 and the 540 training images"),
        ({"model": "lenet5"}, "lenet5"),
    ],
)
def test_what_cannot_be_trained_is_the_trials_fault(rank, folder, configuration, said):
    """Said before the first epoch, in the words of whoever found it."""
    with pytest.raises(TrialError, match=said):
        rank.begin(digits_job(folder, **configuration))


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


def leave(rank: RankTraining) -> None:
    rank.end()
    rank.join(ranks=1, init_method="", cuda=False)


def one_of_two(number: int, address: str, job, resumed) -> object:
    rank = RankTraining(number)
    rank.join(ranks=2, init_method=address, cuda=False, timeout_s=600)
    results, weights = train(rank, job)
    train(rank, resumed, epochs=1)
    rank.begin(resumed)
    last = rank.train_epoch()
    again = rank.weights()
    tested = rank.test()
    leave(rank)
    plain = {name: tensor.numpy() for name, tensor in weights.items()}
    return results, plain, same_bits(weights, again), last.epoch, tested


def test_two_ranks_are_one_training(two_processes, rank, folder, tmp_path):
    """Equal weights and results on both, also after a resume; as one rank's but for rounding and batch statistics."""
    job = digits_job(folder, epochs=2, job={"ranks": 2, "cpus_per_rank": 1})
    resumed = replace(job, checkpoint_dir=str(tmp_path), checkpoint_every_s=0.0)
    found = two_processes.call(one_of_two, two_processes.address(), job, resumed)
    (results, weights, same_again, epoch, tested), (other_results, other_weights, *rest) = found
    assert [r.metrics for r in results] == [r.metrics for r in other_results]
    assert all((weights[name] == other_weights[name]).all() for name in weights)
    assert same_again and epoch == 2 and rest == [same_again, epoch, tested]
    alone, _ = train(rank, digits_job(folder, epochs=2))
    assert results[0].metrics["train_gflops"] == pytest.approx(alone[0].metrics["train_gflops"], rel=0.01)
    assert results[-1].metrics["accuracy"] == pytest.approx(alone[-1].metrics["accuracy"], abs=0.2)


def fails_on_rank_1(*, num_classes, in_channels, image_size):
    class Failing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(in_channels * image_size[0] * image_size[1], num_classes)

        def forward(self, images_nchw):
            in_a_batch = torch.distributed.is_initialized() and len(images_nchw) > 2  # the check before it takes 2
            if in_a_batch and torch.distributed.get_rank() == 1:
                raise ZeroDivisionError("on rank 1 alone")
            return self.head(images_nchw.flatten(1))

    return Failing()


def survives_a_peers_fault(number: int, address: str, next_address: str, failing, job) -> object:
    rank = RankTraining(number)
    rank.join(ranks=2, init_method=address, cuda=False, timeout_s=600)
    rank.begin(failing)
    if number == 0:
        threading.Timer(3.0, rank.abort).start()
    said = ""
    try:
        rank.train_epoch()
    except (TrialError, PeerLost) as error:
        said = f"{type(error).__name__}: {error}"
    if number == 1:
        threading.Event().wait(4.0)  # stays in the group, so that only abort can free rank 0
    rank.end()
    rank.join(ranks=2, init_method=next_address, cuda=False, timeout_s=600)
    results, _ = train(rank, job)
    leave(rank)
    return said, results[-1].metrics["accuracy"]


def test_a_rank_that_raises_does_not_hang_the_other(two_processes, folder):
    """The one is told of its fault, the other freed by abort; both train the next trial together."""
    failing = digits_job(folder, model=f"{__name__}:fails_on_rank_1", job={"ranks": 2})
    job = digits_job(folder, job={"ranks": 2})
    found = two_processes.call(survives_a_peers_fault, two_processes.address(), two_processes.address(), failing, job)
    (lost, accuracy), (fault, same_accuracy) = found
    assert lost.startswith("PeerLost")
    assert fault.startswith("TrialError: training raised ZeroDivisionError: on rank 1 alone")
    assert accuracy == same_accuracy > 0.1


def test_a_trial_that_fails_at_its_start_keeps_nothing(rank, folder, monkeypatch):
    """Neither its loader processes nor its model, though the error, and what it was raised in, are still held."""
    made = []
    real = supervised.built_model

    def frozen(context):
        model = real(context).requires_grad_(False)
        made.append(weakref.ref(model))
        return model

    monkeypatch.setattr(supervised, "built_model", frozen)
    loaders: list[WorkerLoader] = []
    start = WorkerLoader.start

    def noting(loader):
        loaders.append(loader)
        start(loader)
        assert loader._context is not None

    monkeypatch.setattr(WorkerLoader, "start", noting)
    with pytest.raises(TrialError, match="no parameter that learns") as caught:
        rank.begin(digits_job(folder, loader="batched", loader_workers=2, job={"cpus_per_rank": 3}))
    assert made[0]() is None and caught.value is not None
    assert loaders == [loaders[0]] and loaders[0]._context is None  # its processes have ended


def test_a_trial_begins_with_its_own_images_alone_on_the_device(rank, folder):
    """Training and validation split: a test of the trial before brought a third part, which would count as memory."""
    train(rank, digits_job(folder, epochs=1))
    rank.begin(digits_job(folder, epochs=1))
    rank.train_epoch()
    rank.test()
    assert len(rank._resident._sets) == 3
    rank.begin(digits_job(folder, epochs=1))
    assert len(rank._resident._sets) == 2
    rank.begin(digits_job(folder, epochs=1, loader="batched"))
    assert not rank._resident._sets


def test_a_trial_compiles_into_the_nodes_cache_on_its_own_cores(rank, folder, monkeypatch):
    """And a point says how much of its code lay there."""
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TORCHINDUCTOR_COMPILE_THREADS"):
        monkeypatch.setenv(name, "")  # what the trial sets is taken back after the test
        monkeypatch.delenv(name)
    rank.begin(digits_job(folder, epochs=1, job={"cpus_per_rank": 3}))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder / "cache" / "compiled")
    assert os.environ["TORCHINDUCTOR_COMPILE_THREADS"] == "3"
    rank._current.context.seen.cached_pct = 50.0  # as a warm-up that compiles finds it
    assert rank.train_epoch().metrics["compile_cached_pct"] == 50.0
