"""A training that is left, or lost, within an epoch goes on there, and nothing tells that it was."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from brisk import flat
from ranks import COMPUTED, Processes, digits_job, kept, leave_at, left_within, same_bits, train

from tune_cnn.spec.strategies import Saves, Site
from tune_cnn.training.messages import EpochResult, LeftEpoch
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.framework.strategy import Strategy


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("within")


class Centred(torch.nn.Module):
    """Its training reads what it has seen on its rank, as batch normalisation's doesn't."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(values))

    def forward(self, inputs):
        if self.training:
            self.centre.lerp_(inputs.detach().mean(0), 0.1)
        return inputs - self.centre


def with_dropout(*, num_classes, in_channels, image_size):
    pixels = in_channels * image_size[0] * image_size[1]
    layers = [torch.nn.Flatten(), torch.nn.Dropout(0.2), torch.nn.Linear(pixels, 16), torch.nn.BatchNorm1d(16)]
    return torch.nn.Sequential(*layers, Centred(16), torch.nn.Linear(16, num_classes))


DROPOUT = {"model": f"{__name__}:with_dropout"}
PROCESSES = {"loader_workers": 1, "job": {"cpus_per_rank": 2}}
VARIANTS = {
    "device": {"augment": "crop_flip", "shift_fill": "mirror"},
    "batched": {"loader": "batched", "augment": "crop_flip"},
    "stream": {"loader": "stream", "augment": "crop_flip", "flips": "alternating"},
    "batched_in_a_process": {"loader": "batched", "augment": "crop_flip", **PROCESSES},
    "stream_in_a_process": {"loader": "stream", "augment": "crop_flip", **PROCESSES},
    "last_batch_takes_what_is_left_over": {"batch_size": 49},  # 540 = 11 · 49 + 1
    "dropout": DROPOUT,
    "adamw": {"optimizer": "adamw", "learning_rate": 0.01, "gradient_clip": 1.0, "schedule": "one_cycle"},
    "bf16": {"precision": "bf16", "decoupled": True},
    "plateau": {"schedule": "plateau", "epochs": 3},
    "channels_last": {"channels_last": True, "model": "resnet20", "batch_size": 180},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_that_is_left_within_an_epoch_ends_in_the_same_bits(variant, rank, folder, tmp_path):
    """Whatever loads its images, draws its numbers or moves its weights; its metrics, too."""
    settings = dict(VARIANTS[variant])
    fields = settings.pop("job", {})
    job = digits_job(folder, **settings, job=fields)
    results, weights = train(rank, job)
    kept_job = replace(job, **kept(tmp_path))
    steps = []
    last = None
    while last is None or not last.done:
        rank.begin(kept_job)
        leave_at(rank, 2 if steps else 1)
        left = rank.train_epoch()
        if isinstance(left, EpochResult):
            last = left
            continue
        steps.append((left.epoch, left.step))
        rank.end()
        fresh = RankTraining()
        fresh.begin(kept_job)
        last = fresh.train_epoch()
        assert isinstance(last, EpochResult)
        assert {key: last.metrics[key] for key in COMPUTED} == {
            key: results[last.epoch - 1].metrics[key] for key in COMPUTED
        }
        left_weights = fresh.weights()
        fresh.checkpoint()
        fresh.end()
    assert [epoch for epoch, _ in steps] == list(range(len(results)))
    assert same_bits(left_weights, weights)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("capture_steps", [True, False])
def test_on_a_gpu_the_same_holds_of_deterministic_trainings(capture_steps, rank, folder, tmp_path):
    """With loss scaling, and dropout from the device's generator, captured or not."""
    fields = {"gpu_share": 1.0, "deterministic": True, "capture_steps": capture_steps}
    job = digits_job(folder, precision="fp16", augment="crop_flip", job=fields, **DROPOUT)
    results, weights = train(rank, job)
    left_results, left_weights, _ = left_within(replace(job, **kept(tmp_path)))
    assert same_bits(left_weights, weights)
    told = [[one.metrics[key] for key in (*COMPUTED, "skipped_steps")] for one in (*results, *left_results)]
    assert told[: len(results)] == told[len(results) :]


def one_of_two(number: int, address: str, jobs, folder: str) -> dict[str, object]:
    rank = RankTraining(number)
    rank.join(ranks=2, init_method=address, cuda=False, timeout_s=600)
    found: dict[str, object] = {}
    for name, job in jobs.items():
        results, weights = train(rank, job)
        own = replace(job, **kept(Path(folder) / name))
        rank.begin(own)
        if number == 0:
            leave_at(rank, 2)
        left = rank.train_epoch()
        assert isinstance(left, LeftEpoch), name
        rank.begin(own)
        again = [rank.train_epoch() for _ in results]
        same = same_bits(rank.weights(), weights)
        computed = [[[one.metrics[key] for key in COMPUTED] for one in each] for each in (results, again)]
        found[name] = (left, same, computed[0] == computed[1])
    rank.end()
    rank.join(ranks=1, init_method="", cuda=False)
    return found


def test_two_ranks_leave_after_the_same_step_and_go_on_alike(two_processes: Processes, folder, tmp_path):
    """Rank 0 alone is told. Running statistics, dropout and slow weights differ between the ranks within an epoch."""
    job, strategies = {"ranks": 2}, flat("lookahead", "s3pool", "minibatch_order")
    jobs = {
        "dropout": digits_job(folder, job=job, augment="crop_flip", **DROPOUT),
        "stream": digits_job(folder, job=job, loader="stream", batch_size=90),
        "strategies": digits_job(folder, job=job, batch_size=90, strategies=strategies),
    }
    first, second = two_processes.call(one_of_two, two_processes.address(), jobs, str(tmp_path), timeout_s=400.0)
    assert first == second
    for name, (left, same_weights, same_metrics) in first.items():
        assert (left.epoch, left.checkpoint is not None) == (0, True) and left.step >= 2, name
        assert same_weights and same_metrics, name


def test_checkpoints_come_within_an_epoch_where_it_is_long(rank, folder, tmp_path, monkeypatch):
    """With the last one a killed training goes on; where that is torn, with the one before. None of them is a point's.

    Its metrics of the epoch tell of all steps.
    """
    monkeypatch.setattr("tune_cnn.training.checkpoint.WRITING_SHARE", 1e9)  # one is due after every step
    job = digits_job(folder, batch_size=60)
    _, weights = train(rank, job)
    short = replace(job, checkpoint_dir=str(tmp_path), checkpoint_every_s=1e-9)
    rank.begin(short)
    stop_at(rank, 6)
    with pytest.raises(KeyboardInterrupt):
        rank.train_epoch()
    rank.end()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name[:24] for name in names] == ["checkpoint-000000-000004", "checkpoint-000000-000005"]
    (tmp_path / names[1]).write_bytes(b"torn")
    fresh = RankTraining()
    assert fresh.begin(replace(short, checkpoint_every_s=1e9)) == 0
    result = fresh.train_epoch()
    assert isinstance(result, EpochResult) and result.checkpoint is None
    assert result.metrics["images_per_s"] == pytest.approx(540 / (9 * result.metrics["step_time_ms"] / 1e3))
    fresh.train_epoch()
    assert same_bits(fresh.weights(), weights)
    fresh.end()


def stop_at(rank: RankTraining, step: int) -> None:
    """As if it was killed there."""
    between = rank._current._between
    then = between.then

    def stopping(now: int, of: int):
        if now == step:
            raise KeyboardInterrupt
        return then(now, of)

    between.then = stopping


def test_an_interval_of_nothing_means_each_epoch(rank, folder, tmp_path):
    """Not each step."""
    written = []
    rank.begin(digits_job(folder, job={"checkpoint_dir": str(tmp_path), "checkpoint_every_s": 0.0}))
    write = rank._current._checkpoints.write
    rank._current._checkpoints.write = lambda state, *at: written.append(at) or write(state, *at)
    rank.train_epoch()
    rank.train_epoch()
    assert written == [(1, 0), (2, 0)]


def test_writing_is_no_training(rank, folder, tmp_path):
    """Neither on the clock nor in any metric of a step; it has its own name."""
    rank.begin(digits_job(folder, batch_size=10, job={"checkpoint_dir": str(tmp_path), "checkpoint_every_s": 1e-9}))
    checkpoints = rank._current._checkpoints
    write, taken = checkpoints.write, threading.Event()

    def slowly(*args):
        if not taken.is_set():
            taken.set()
            checkpoints.checkpoint_time_s += 5.0
            assert not rank._current.context.meters._clock.running
        return write(*args)

    checkpoints.write = slowly
    result = rank.train_epoch()
    assert taken.is_set()
    assert result.metrics["checkpoint_time_s"] >= 5.0


class Forgetful(Strategy):
    """A user's own, whose author hasn't thought of going on within an epoch."""

    paper = "Nobody, 2026, https://arxiv.org/abs/0000.00000"
    saves = Saves.DATA
    sites = frozenset({Site.STEP})

    def start_epoch(self, run, epoch):
        self.factor = 1.0 + epoch

    def penalty(self, run, loss):
        return 0.01 * self.factor * loss


def test_with_a_strategy_that_cannot_go_on_within_an_epoch_it_is_left_between_them(rank, folder, tmp_path, caplog):
    """And said, once: what it made at the epoch's start would be missing in silence."""
    caplog.set_level("INFO", "tune_cnn")
    rank.begin(digits_job(folder, strategies={f"{__name__}:Forgetful": True}, job=kept(tmp_path)))
    leave_at(rank, 1)
    assert isinstance(rank.train_epoch(), EpochResult)
    rank.leave()
    left = rank.train_epoch()
    assert isinstance(left, LeftEpoch) and (left.epoch, left.step) == (1, 0) and left.checkpoint is not None
    assert "checkpoints are written between epochs alone" in caplog.text and "Forgetful" in caplog.text


def test_left_without_a_step_taken_since_the_checkpoint_it_names_that_one(rank, folder, tmp_path):
    """There is nothing to write; and without a folder there is none to name."""
    job = digits_job(folder)
    rank.begin(replace(job, **kept(tmp_path)))
    leave_at(rank, 3)
    first = rank.train_epoch()
    assert isinstance(first, LeftEpoch) and first.step == 3 and Path(str(first.checkpoint)).exists()
    rank.begin(replace(job, **kept(tmp_path)))
    rank.leave()
    assert rank.train_epoch() == first
    rank.begin(job)  # what it was told before is forgotten
    leave_at(rank, 2)
    assert rank.train_epoch() == LeftEpoch(epoch=0, step=2, checkpoint=None)


def test_an_epoch_that_ends_soon_is_trained_to_its_end(rank, folder, tmp_path):
    """As long as was said; the next one is left before it begins, with a checkpoint between epochs."""
    rank.begin(digits_job(folder, epochs=4, job=kept(tmp_path)))
    rank.leave(within_s=3600.0)
    assert rank.train_epoch().step == 0
    rank.begin(digits_job(folder, epochs=4, job=kept(tmp_path)))
    then = rank._current._between.then
    rank._current._between.then = lambda step, of: (rank.leave(within_s=3600.0), then(step, of))[1]
    assert isinstance(rank.train_epoch(), EpochResult)
    left = rank.train_epoch()
    assert isinstance(left, LeftEpoch) and (left.epoch, left.step) == (1, 0)
    assert rank.begin(digits_job(folder, epochs=4, job=kept(tmp_path))) == 1


def test_from_another_thread_an_epoch_is_left_while_it_is_trained(rank, folder, tmp_path):
    """As the watcher of a node tells it."""
    rank.begin(digits_job(folder, batch_size=2, loader="stream", job=kept(tmp_path)))
    threading.Timer(0.1, rank.leave).start()
    left = rank.train_epoch()
    assert isinstance(left, LeftEpoch) and left.checkpoint is not None
