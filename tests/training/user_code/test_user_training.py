"""The user's own training generator: what it is handed, what it may yield, and what its faults become."""

from pathlib import Path

import pytest
import torch
from ranks import digits_job, same_bits, train
from torch.nn import functional as F

from tune_cnn.errors import InputError, TrialError
from tune_cnn.training.messages import LeftEpoch
from tune_cnn.training.rank import RankTraining


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("user")


def users(folder: Path, name: str, job=None, **configuration):
    return digits_job(folder, job={"training": f"{__name__}:{name}"} | (job or {}), **configuration)


def trains(rank):
    """A plain loop with what it is handed; keeps its own clock, saves its state before each yield."""
    model = rank.build_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=rank.arguments["rate"], momentum=0.9)
    saved = rank.checkpoint.load()
    assert (saved is None) == (rank.first_epoch == 0)
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    for epoch in range(rank.first_epoch, rank.configuration.epochs):
        model.train()
        with rank.meters.training():
            for images_nchw, labels_n in rank.meters.watch(rank.train.epoch(epoch)):
                optimizer.zero_grad()
                with rank.autocast():
                    loss = F.cross_entropy(model(images_nchw), labels_n)
                loss.backward()
                if rank.ranks > 1:
                    for parameter in model.parameters():
                        torch.distributed.all_reduce(parameter.grad)
                        parameter.grad /= rank.ranks
                optimizer.step()
                rank.meters.step(len(labels_n))
        model.eval()
        with torch.no_grad():
            correct = sum((model(images).argmax(1) == labels).sum() for images, labels in rank.validation)
        rank.checkpoint.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
        yield {"accuracy": correct / rank.facts.validation_images * rank.ranks, "val_loss": 0.5, "sparsity": 0.0}


TRAINING = {"training": {"rate": 0.05}}


def test_it_trains_and_its_metrics_stand_beside_the_measured_ones(rank, folder):
    """Tensors of one element are numbers; meters, times and the tracked model's test are there."""
    rank.begin(users(folder, "trains", **TRAINING))
    first, last = rank.train_epoch(), rank.train_epoch()
    assert not first.done and last.done
    assert last.metrics["accuracy"] > 0.3 and last.metrics["sparsity"] == 0.0
    assert {"train_time_s", "total_time_s", "images_per_s", "step_time_ms", "peak_memory_mib"} <= set(last.metrics)
    assert last.metrics["train_time_s"] > first.metrics["train_time_s"]
    assert rank.test()["test_accuracy"] > 0.3 and "0.weight" in rank.weights()


def test_it_resumes_where_it_saved(rank, folder, tmp_path):
    """With the same bits as without the interruption, its clock going on."""
    _, expected = train(rank, users(folder, "trains", **TRAINING))
    job = users(folder, "trains", job={"checkpoint_dir": str(tmp_path), "checkpoint_every_s": 0.0}, **TRAINING)
    results, _ = train(rank, job, epochs=1)
    assert results[0].checkpoint is not None
    other = RankTraining()
    assert other.begin(job) == 1
    last = other.train_epoch()
    assert last.done and same_bits(other.weights(), expected)
    assert last.metrics["train_time_s"] > results[0].metrics["train_time_s"]
    other.end()


def test_it_is_left_between_epochs(rank, folder, tmp_path):
    """Its steps are its own: it is told at the yield, and its checkpoint is of the state that it saved there."""
    job = users(folder, "trains", job={"checkpoint_dir": str(tmp_path), "checkpoint_every_s": 1e-9}, **TRAINING)
    rank.begin(job)
    first = rank.train_epoch()
    rank.leave()
    assert rank.train_epoch() == LeftEpoch(epoch=1, step=0, checkpoint=first.checkpoint)
    assert rank.begin(job) == 1 and rank.train_epoch().done


def bare(rank):
    """Uses nothing that it is handed."""
    for epoch in range(rank.configuration.epochs):
        sum(range(100_000))
        yield {"accuracy": 0.1 * (epoch + 1)}


def test_a_model_that_is_not_shown_is_not_tested(rank, folder):
    """The test split tells nothing of it; asking for its weights says how they would be known."""
    rank.begin(users(folder, "bare"))
    rank.train_epoch()
    assert rank.test() == {}
    with pytest.raises(InputError, match=r"rank\.track"):
        rank.weights()


def test_without_a_clock_of_its_own_everything_between_yields_is_training(rank, folder):
    """And what only steps could tell is absent; a trial that saved no state has no checkpoint."""
    rank.begin(users(folder, "bare", job={"checkpoint_dir": str(folder / "none"), "checkpoint_every_s": 0.0}))
    first, last = rank.train_epoch(), rank.train_epoch()
    assert 0 < first.metrics["train_time_s"] < last.metrics["train_time_s"]
    assert "step_time_ms" not in last.metrics and "data_wait_s" not in last.metrics
    assert last.metrics["accuracy"] == pytest.approx(0.2)
    assert last.checkpoint is None and rank.checkpoint() is None
    with pytest.raises(InputError, match=r"rank.build_model\(\), or name it by rank.track"):
        rank.weights()


def has_its_own_time(rank):
    for _ in range(rank.configuration.epochs):
        yield {"train_time_s": 1234.5}


def test_its_own_time_goes_before_the_measured_one(rank, folder):
    """It may know better, a simulator say."""
    result = train_only(rank, users(folder, "has_its_own_time"))
    assert result.metrics["train_time_s"] == 1234.5


def train_only(rank, job):
    rank.begin(job)
    return rank.train_epoch()


def raises(rank):
    yield {"accuracy": 0.5}
    raise KeyError("mixup")


def ends_early(rank):
    yield {"accuracy": 0.5}


def yields_a_list(rank):
    yield [0.5]
    yield [0.5]


def yields_text(rank):
    yield {"accuracy": "good"}


def yields_nan(rank):
    yield {"accuracy": float("nan")}


def no_generator(rank):
    return {"accuracy": 0.5}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", r"raises raised KeyError: 'mixup' \(test_user_training.py, line \d+\)"),
        ("ends_early", "must yield once for each of 2 epochs, but ended after 1"),
        ("yields_a_list", "must yield a mapping of metrics, got list"),
        ("yields_text", "metric 'accuracy': must be a number, got str 'good'"),
        ("yields_nan", "metric 'accuracy': must be a finite number, got nan"),
        ("no_generator", "must be a generator function, one with `yield`, but it returned a dict"),
        ("not_there", "has no 'not_there'"),
    ],
)
def test_its_faults_end_its_trial_alone(rank, folder, name, said):
    """With the generator's name and what must hold; the next trial is as good as ever."""
    with pytest.raises(TrialError, match=said):
        train(rank, users(folder, name))
    assert train_only(rank, users(folder, "bare")).epoch == 1


CLOSED = []


def cleans_up(rank):
    try:
        for _ in range(rank.configuration.epochs):
            yield {"accuracy": 0.5}
    finally:
        CLOSED.append(rank.rank)


def test_it_is_closed_when_the_trial_ends_before_its_time(rank, folder):
    """Its `finally` runs, so that files and processes of its own don't stay."""
    train_only(rank, users(folder, "cleans_up"))
    rank.end()
    assert CLOSED == [0]


def on_two(number: int, address: str, job) -> object:
    rank = RankTraining(number)
    rank.join(ranks=2, init_method=address, cuda=False, timeout_s=60)
    rank.begin(job)
    result = rank.train_epoch()
    weights = {name: tensor.numpy() for name, tensor in rank.weights().items() if "running" not in name}
    rank.end()
    rank.join(ranks=1, init_method="", cuda=False)
    return result.metrics, weights


def test_on_two_ranks_each_runs_it_with_its_share(two_processes, folder):
    """torch.distributed is there for what they exchange; results are equal on both."""
    job = users(folder, "trains", job={"ranks": 2}, **TRAINING)
    (metrics, weights), (others, other_weights) = two_processes.call(on_two, two_processes.address(), job)
    assert metrics == others and metrics["images_per_s"] > 0
    assert all((weights[name] == other_weights[name]).all() for name in weights)
