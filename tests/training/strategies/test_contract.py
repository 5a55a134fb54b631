"""What every strategy must hold, whatever it does: the same tests for all that are found, and for their pairs."""

import hashlib
import json
import math
import pickle
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from brisk import CARDS, EPOCHS, MODEL, NAMES, PAIRS, job_with
from ranks import COMPUTED, Processes, kept, left_within, same_bits, train
from torch import nn

from tune_cnn.errors import StrategyError
from tune_cnn.spec import Choice
from tune_cnn.spec.dimensions import Fixed
from tune_cnn.spec.strategies import check_strategies, conflict, in_order
from tune_cnn.training.models.registry import build_model
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.framework.rebuild import rebuilt
from tune_cnn.training.strategies.framework.registry import find_strategies, find_strategy

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
every = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("strategies")


@pytest.fixture
def rank():
    training = RankTraining()
    yield training
    training.end()


@pytest.fixture(scope="module")
def plain(folder):
    """Results and weights without any strategy."""
    return train(RankTraining(), job_with(folder))


def trained(job):
    """Results, weights, the trained model and what rebuilds it. One process's ranks measure each model once."""
    ONE.begin(job)
    try:
        results = []
        while not (results and results[-1].done):
            results.append(ONE.train_epoch())
        return results, ONE.weights(), ONE._current.model, ONE.changes()
    finally:
        ONE.end()


ONE = RankTraining()


def finite(results) -> bool:
    return all(math.isfinite(value) for result in results for value in result.metrics.values())


def _largest_groups() -> list[list[str]]:
    """For each strategy, it and as many of the others as go with it."""
    groups = []
    for first in NAMES:
        group = [first]
        for name in NAMES:
            if name != first and all(conflict(CARDS[name], CARDS[one]) is None for one in group):
                group.append(name)
        groups.append(sorted(group))
    return [list(group) for group in dict.fromkeys(map(tuple, groups)) if len(group) > 1]


@every
def test_it_trains_and_changes_what_comes_out(name, folder, plain):
    """Every metric is finite, and the weights are not those of a training without it."""
    results, weights, model, changes = trained(job_with(folder, name))
    assert finite(results)
    assert results[-1].metrics["train_loss"] < results[0].metrics["train_loss"]
    assert not same_bits(weights, plain[1])
    assert results[-1].metrics["parameters"] == sum(p.numel() for p in model.parameters())
    _loads_again(model, weights, changes, folder)


def _loads_again(model, weights, changes, folder) -> None:
    """The factory's model, rebuilt by the recorded changes, takes the weights and gives the same answers."""
    path = folder / "changes.json"
    path.write_text(json.dumps(changes))
    fresh = rebuilt(build_model(MODEL, num_classes=10, in_channels=1, image_size=(8, 8)), path)
    fresh.load_state_dict(weights)
    images_nchw = torch.randn(7, 1, 8, 8)
    model.to(memory_format=torch.contiguous_format)  # as the fresh one: another layout may round otherwise
    with torch.inference_mode():
        assert torch.equal(fresh.eval()(images_nchw), model.eval()(images_nchw))


@every
def test_it_acts_or_raises(name, folder, plain):
    """On a model that is one linear layer, too: a strategy that does nothing would be credited for nothing."""
    model = f"{__name__}:linear"
    _, without = train(RankTraining(), job_with(folder, model=model))
    try:
        _, weights, *_ = trained(job_with(folder, name, model=model))
    except StrategyError as error:
        assert str(error).startswith(f"{name}: ")
    else:
        assert not same_bits(weights, without)


def linear(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))


@every
@pytest.mark.parametrize("epochs_before", [1, EPOCHS - 1])
def test_a_resumed_training_ends_in_the_same_bits(name, epochs_before, rank, folder, tmp_path):
    """Its random numbers, its state, the model's shape and the optimizer's momentum all go on."""
    job = job_with(folder, name)
    _, whole = train(rank, job)
    kept = replace(job, checkpoint_dir=str(tmp_path), checkpoint_every_s=0.0)
    train(rank, kept, epochs=epochs_before)
    fresh = RankTraining()
    assert fresh.begin(kept) == epochs_before
    while not fresh.train_epoch().done:
        pass
    resumed = fresh.weights()
    fresh.end()
    assert same_bits(resumed, whole)
    assert fresh.begin(kept) == kept.last_epoch  # what `finish` has done is in the checkpoint, too
    done = fresh.weights()
    fresh.end()
    assert same_bits(done, whole)


@every
def test_a_training_left_within_its_epochs_ends_in_the_same_bits(name, rank, folder, tmp_path):
    """After each step another process's object goes on: with what the epoch has drawn so far, watches and orders."""
    results, weights = train(rank, job_with(folder, name))
    left_results, left_weights, left = left_within(job_with(folder, name, job=kept(tmp_path)), {0, EPOCHS - 1})
    assert left > EPOCHS
    assert same_bits(left_weights, weights)
    for one, other in zip(results, left_results, strict=True):
        assert {key: one.metrics[key] for key in COMPUTED} == {key: other.metrics[key] for key in COMPUTED}


@pytest.mark.parametrize("group", _largest_groups(), ids="+".join)
def test_all_that_go_together_go_on_within_an_epoch(group, rank, folder, tmp_path):
    """Where one has changed what the other has made of the model."""
    _, weights = train(rank, job_with(folder, *group))
    assert same_bits(left_within(job_with(folder, *group, job=kept(tmp_path)))[1], weights)


def test_two_ranks_end_with_the_same_weights(two_processes: Processes, folder):
    """For each strategy, and for all that go together; one decision that a rank takes by itself would part them."""
    jobs = {name: job_with(folder, name, job={"ranks": 2}) for name in NAMES}
    jobs |= {"+".join(group): job_with(folder, *group, job={"ranks": 2}) for group in _largest_groups()}
    first, second = two_processes.call(digests, two_processes.address(), jobs, timeout_s=400.0)
    assert first == second
    assert len(set(first.values())) == len(jobs)


def digests(number: int, address: str, jobs) -> dict[str, str]:
    """Of the weights that each job ends with, on this rank."""
    rank = RankTraining(number)
    rank.join(ranks=2, init_method=address, cuda=False)
    found = {}
    for name, job in jobs.items():
        _, weights = train(rank, job)
        content = b"".join(key.encode() + weights[key].numpy().tobytes() for key in sorted(weights))
        found[name] = hashlib.sha256(content).hexdigest()
    return found


@pytest.mark.parametrize(("one", "two"), PAIRS, ids=lambda name: name)
def test_it_combines_with_every_other_that_it_does_not_conflict_with(one, two, folder):
    """Both at once train, and what they make of the model is built again from what they recorded."""
    results, weights, model, changes = trained(job_with(folder, one, two))
    assert finite(results)
    _loads_again(model, weights, changes, folder)


@pytest.mark.parametrize("group", _largest_groups(), ids="+".join)
def test_all_that_go_together_resume_together(group, rank, folder, tmp_path):
    """The changes of several strategies are made again in the order in which they came."""
    job = job_with(folder, *group)
    _, whole = train(rank, job)
    kept = replace(job, checkpoint_dir=str(tmp_path), checkpoint_every_s=0.0)
    train(rank, kept, epochs=kept.last_epoch // 2)
    assert same_bits(train(RankTraining(), kept)[1], whole)


@every
@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=[pytest.mark.gpu, needs_gpu])])
def test_it_trains_under_autocast(name, precision, rank, folder):
    """Half precision on hardware that has it."""
    job = job_with(folder, name, precision=precision)
    results, _ = train(rank, replace(job, gpu_share=1.0) if precision == "fp16" else job)
    assert finite(results)


@every
def test_it_trains_with_adamw(name, rank, folder):
    """Two moments and a step count to a parameter, where SGD has a momentum."""
    results, _ = train(rank, job_with(folder, name, optimizer="adamw", learning_rate=0.003))
    assert finite(results)


@every
def test_it_says_where_it_comes_from(name):
    """File and class name the paper with its link; the card is plain data that crosses processes and prints as JSON."""
    kind, card = find_strategies()[name], CARDS[name]
    told = [sys.modules[kind.__module__].__doc__, kind.__doc__]
    source = re.search(r"https://arxiv\.org/abs/(\S+)|\"(.+)\"", card.paper)  # a link, or the title of what has none
    assert source is not None, card.paper
    author = card.paper.split()[0].strip(",")
    assert all(author in text and (source[1] or source[2]) in text for text in told)
    assert card.sites and card.summary.endswith((".", "‖"))
    assert pickle.loads(pickle.dumps(card)) == card
    for knob in card.knobs.values():
        json.dumps(knob.default)
        assert knob.meaning
        if isinstance(knob.allowed, Choice):
            assert knob.default in knob.allowed.values
    whole = check_strategies({f"strategies.{name}": Fixed(value=True), **_needs(name)}, CARDS)
    assert {f"strategies.{name}.{knob}" for knob in card.knobs} <= set(whole)


def _needs(name: str) -> dict[str, Fixed]:
    return {f"strategies.{needed}": Fixed(value=True) for needed in CARDS[name].needs}


def test_what_a_strategy_names_of_others_exists_or_is_planned():
    """A name mistyped in `needs` or `follows` would never hold; who follows shares a site."""
    for card in CARDS.values():
        assert card.needs <= set(CARDS)
        for name in card.follows & set(CARDS):
            assert CARDS[name].sites & card.sites
    assert in_order(NAMES, CARDS) != NAMES or len(NAMES) < 2  # the order is the sites', not the alphabet's
    assert all(find_strategy(name).name == name for name in NAMES)
