"""Candidates: the whole of a small space, draws and neighbours in a larger one, and what lies beside the front."""

import tracemalloc

import numpy as np
import pytest

from tune_cnn.metrics import EpochPoint
from tune_cnn.search.curve_model.candidates import WHOLE, Candidates
from tune_cnn.search.search import Search
from tune_cnn.search.space import SearchSpace
from tune_cnn.states import TrialState

GRID = {"batch_size": [32, 64, 128], "learning_rate": [0.01, 0.1, 1.0], "epochs": [2, 8]}


def candidates(whole) -> Candidates:
    return Candidates(SearchSpace(whole.space), lambda params: whole.configuration(params).horizon)


def test_a_small_space_is_looked_at_as_a_whole(spec):
    """Every configuration once; dimensions that mean nothing beside the others make no second one."""
    rng = np.random.default_rng(0)
    assert len(candidates(spec(GRID)).among([], rng)) == 18
    conditional = candidates(spec({"optimizer": ["sgd", "adamw"], "momentum": [0.5, 0.9], "batch_size": [32, 64]}))
    offered = conditional.among([], rng)
    assert len(offered) == len({c.key for c in offered}) == 2 * 2 + 2
    assert {c.horizon for c in candidates(spec(GRID)).among([], rng)} == {2, 8}


def test_a_large_space_is_drawn_from_and_searched_near_what_is_good(spec):
    """Every draw is a valid configuration; neighbours differ in at most two dimensions."""
    whole = spec()
    offered = candidates(whole).among([], np.random.default_rng(0))
    for one in offered:
        whole.configuration(one.params)
    good = next(c.encoded for c in offered if "loader_workers" not in c.encoded)
    near = candidates(whole).among([good], np.random.default_rng(0))[len(offered) :]
    assert near
    changed = [sum(c.encoded.get(k) != v for k, v in good.items()) for c in near]
    assert max(changed) <= 2
    assert len(offered) < WHOLE


@pytest.mark.parametrize(
    ("bounds", "step"),
    [
        ({"low": 1, "high": 1_000_000}, 1),
        ({"low": 1, "high": 1_000_000, "log": True}, 1),
        ({"low": 32, "high": 3_200_000, "step": 32}, 32),
    ],
)
def test_a_wide_range_of_whole_numbers_is_never_laid_out(spec, bounds, step):
    """Its values are counted, not listed: a list of them would take 32 MB, and 4 GB for a hundred times as many."""
    whole = spec({"batch_size": bounds, "epochs": [2, 4, 8]})
    tracemalloc.start()
    try:
        made, rng = candidates(whole), np.random.default_rng(0)
        offered = made.among([], rng)
        good = [one.encoded for one in offered[:3]]
        found = [*offered, *made.among(good, rng), *made.around(good, rng)]
        most_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most_bytes < 3_000_000
    values = [one.params["batch_size"] for one in found]
    assert len(offered) < WHOLE and len(set(values)) > 100
    assert all(bounds["low"] <= value <= bounds["high"] and value % step == bounds["low"] % step for value in values)
    middle = 1_000 if "log" in bounds else bounds["high"] / 2
    assert 0.3 < np.mean([one.params["batch_size"] < middle for one in offered]) < 0.7


def test_neighbours_beyond_an_end_of_a_range_are_reflected(spec):
    """None piles up at the end, which all clipped ones would share."""
    made = candidates(spec({"learning_rate": {"low": 0.001, "high": 1.0, "log": True}, "batch_size": 32}))
    near = made.among([{"learning_rate": 0.99}], np.random.default_rng(0))[-80:]
    places = [c.row_d[0] for c in near]
    assert len(set(places)) == 80 and sum(place > 0.999 for place in places) < 8
    assert min(places) >= 0 and max(places) < 1


def test_rows_lie_between_nought_and_one(spec):
    """Numbers in their order, by the logarithm where the range is; choices in a column each."""
    space = {"learning_rate": {"low": 0.001, "high": 1.0, "log": True}, "lr_rule": ["none", "sqrt", "linear"]}
    made = candidates(spec(space))
    row = made.row({"learning_rate": 10**-1.5, "lr_rule": 1})
    assert row == pytest.approx([0.5, 0, 0.7, 0])
    assert made.row({"lr_rule": 1})[0] == 0.5  # absent: in the middle
    rows = np.stack([c.row_d for c in made.among([], np.random.default_rng(1))])
    assert rows.min() >= 0 and rows.max() <= 1


def test_beside_a_configuration_lies_what_is_one_step_away_in_one_dimension(spec):
    """Numbers by a step to either side, choices by any other, each once."""
    made = candidates(spec({**GRID, "schedule": ["cosine", "step", "one_cycle"]}))
    middle = next(
        c.encoded
        for c in made.among([], np.random.default_rng(0))
        if (c.params["batch_size"], c.params["learning_rate"], c.params["epochs"]) == (64, 0.1, 2)
    )
    found = made.around([middle, middle], np.random.default_rng(0))
    assert len(found) == len({c.key for c in found})
    of = made.of(middle).params
    changed = [{k: c.params[k] for k in of if c.params[k] != of[k]} for c in found]
    assert sorted(map(repr, changed)) == sorted(
        map(
            repr,
            [
                *({"batch_size": value} for value in (32, 128)),
                *({"learning_rate": value} for value in (0.01, 1.0)),
                {"epochs": 8},
                *({"schedule": value} for value in ("cosine", "step", "one_cycle") if value != of["schedule"]),
            ],
        )
    )


def test_beside_a_real_number_lie_draws_and_beside_a_choice_what_it_brings_along(spec):
    """In a space that is too large to be looked at as a whole; every one of them is valid."""
    whole = spec({"learning_rate": {"low": 0.001, "high": 1.0, "log": True}, "optimizer": ["sgd", "adamw"],
                  "momentum": [0.5, 0.9], "batch_size": {"low": 1, "high": 4096, "log": True}})  # fmt: skip
    made, rng = candidates(whole), np.random.default_rng(0)
    good = next(e for e in (made.draw(rng) for _ in range(50)) if "momentum" not in e)
    found = made.around([good], rng)
    for one in found:
        whole.configuration(one.params)
    moved = [{k for k in one.encoded if one.encoded.get(k) != good.get(k)} for one in found]
    assert moved.count({"learning_rate"}) == 2 and moved.count({"batch_size"}) == 2
    assert moved.count({"optimizer", "momentum"}) == 1 and len(moved) == 5
    assert max(abs(one.row_d - made.row(good))[0] for one in found) < 0.8


def test_every_other_proposal_lies_beside_the_front(spec):
    """Once there is something to learn from: one step in one dimension from a configuration of the front."""
    space = {"batch_size": [16, 32, 64, 128, 256], "learning_rate": [0.001 * 2**at for at in range(10)], "epochs": 8}
    search = Search(spec(space, stopper="none", sampler={"n_startup_trials": 6}))
    beside = others = 0
    for number in range(24):
        known = search._observations
        on_front = {point.trial for point in known.tracker.points}
        front = [k.encoded for k in known.all if k.curve.points[0].trial in on_front]
        untried = {c.key for c in search._candidates.around(front, np.random.default_rng(0))} - set(search._here.tried)
        params = search.ask(number)
        encoded = known.all[-1].encoded
        steps = min((sum(abs(encoded[k] - one[k]) for k in one) for one in front), default=0)
        if number >= 6 and number % 2 and untried:
            assert steps == 1
            beside += 1
        else:
            others += steps > 1
        for epoch in range(1, params["epochs"] + 1):
            off = abs(np.log10(params["learning_rate"] / params["batch_size"]) + 3)  # from the rate that fits the batch
            top = 0.9 - 0.1 * off - 0.05 * np.log2(params["batch_size"] / 16)
            metrics = {"accuracy": top * (1 - 0.5**epoch), "train_time_s": epoch * 100 / params["batch_size"]}
            search.observe(EpochPoint(trial=number, epoch=epoch, metrics=metrics))
        search.finish(number, TrialState.COMPLETE, known.all[-1].curve.points)
    assert beside >= 6 and others > 3
