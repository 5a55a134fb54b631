"""A rank trains what its job says, the same bits each time, whatever its process trained before."""

import math
import os
import weakref

import pytest
import torch
from ranks import Processes, digits_job, same_bits, train

from tune_cnn.errors import TrialError
from tune_cnn.metrics import METRICS, Where
from tune_cnn.training import supervised
from tune_cnn.training.data.loaders.through_dataloader import WorkerLoader
from tune_cnn.training.rank import RankTraining

ONLY_FP16 = {"skipped_steps", "grad_underflow_pct"}
ONLY_COMPILED = {"compile_cached_pct"}
ONLY_WITH_A_STRATEGY = {"simulated_parameters", "skippable_train_gflops"}
BY_CALLER = {"cotenants"}


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
