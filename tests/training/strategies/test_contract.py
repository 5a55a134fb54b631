"""What every strategy must hold, whatever it does: the same tests for all that are found."""

import json
import pickle
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from brisk import CARDS, EPOCHS, NAMES, finite, job_with, loads_again, trained
from ranks import COMPUTED, kept, left_within, same_bits, train
from torch import nn

from tune_cnn.errors import StrategyError
from tune_cnn.spec import Choice
from tune_cnn.spec.dimensions import Fixed
from tune_cnn.spec.strategies import check_strategies, in_order
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.framework.registry import find_strategies, find_strategy

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
every = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("strategies")


@pytest.fixture(scope="module")
def plain(folder):
    """Results and weights without any strategy."""
    return train(RankTraining(), job_with(folder))


@every
def test_it_trains_and_changes_what_comes_out(name, folder, plain):
    """Every metric is finite, and the weights are not those of a training without it."""
    results, weights, model, changes = trained(job_with(folder, name))
    assert finite(results)
    assert results[-1].metrics["train_loss"] < results[0].metrics["train_loss"]
    assert not same_bits(weights, plain[1])
    assert results[-1].metrics["parameters"] == sum(p.numel() for p in model.parameters())
    loads_again(model, weights, changes, folder)


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
