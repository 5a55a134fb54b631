"""Strategies in a search: on or off, knobs only when on, and never two that conflict."""

from collections import Counter
from typing import Any

import numpy as np
import optuna
import pytest

from tune_cnn.metrics import EpochPoint
from tune_cnn.search.curve_model.candidates import Candidates
from tune_cnn.search.search import Search
from tune_cnn.search.space import SearchSpace
from tune_cnn.spec import Range, parse_spec
from tune_cnn.spec.space import parse_space
from tune_cnn.spec.strategies import Knob, Saves, Site, StrategyCard, check_strategies, may_join
from tune_cnn.states import TrialState


def card(name: str, site: Site, **more: Any) -> StrategyCard:
    return StrategyCard(name=name, paper="", summary="", saves=Saves.TIME, sites=frozenset({site}), **more)


SHARE = Knob(allowed=Range(low=0.0, high=0.5), default=0.2, meaning="a share")
CARDS = {
    one.name: one
    for one in (
        card("prune", Site.SHAPE, knobs={"share": SHARE}, follows=frozenset({"grow"})),
        card("grow", Site.SHAPE),
        card("replace", Site.SHAPE),
        card("norm", Site.NORM, forbids={"grow": "no"}),
        card("average", Site.AVERAGING, needs=frozenset({"norm"})),
    )
}
STRATEGIES = {"average": {}, "norm": {}, "replace": {}, "prune": {"share": {"low": 0.1, "high": 0.3}}, "grow": {}}


@pytest.fixture
def space() -> SearchSpace:
    raw = {"batch_size": [32, 64], "strategies": STRATEGIES}
    return SearchSpace(check_strategies(parse_space(raw), CARDS), CARDS)


def on(params) -> frozenset[str]:
    return frozenset(key.removeprefix("strategies.") for key, value in params.items() if value is True)


def test_all_that_may_be_together_is_drawn_and_nothing_else(space):
    """Every allowed combination comes; none with a shared site, a forbidden pair or a missing need."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [space.suggest(study.ask()) for _ in range(400)]
    allowed = set()
    for shape in ({"prune"}, {"grow"}, {"replace"}, {"prune", "grow"}, set()):
        for rest in (set(), {"norm"}, {"norm", "average"}):
            if not ("norm" in rest and "grow" in shape):
                allowed.add(frozenset(shape | rest))
    assert {on(params) for params in drawn} == allowed
    for params in drawn:
        assert {f"strategies.{name}" for name in CARDS} <= set(params)  # off, or not drawn: a record says either
        assert ("strategies.prune.share" in params) == params["strategies.prune"]


MANY = {
    **{f"early{number}": card(f"early{number}", Site.SHAPE, forbids={"late": "no"}) for number in range(5)},
    **{f"other{number}": card(f"other{number}", Site.NORM, forbids={"late": "no"}) for number in range(5)},
    "late": card("late", Site.AVERAGING),
}


@pytest.fixture
def crowded() -> SearchSpace:
    """Ten strategies before one that can be on beside none of them."""
    raw = {"epochs": [1, 2, 3], "strategies": {name: {} for name in MANY}}
    return SearchSpace(check_strategies(parse_space(raw), MANY), MANY)


def test_a_strategy_that_many_exclude_is_tried_too(crowded: SearchSpace) -> None:
    """Drawn last of one order it would be on once in 2,000 draws; by either way to draw it is on in one of eleven."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    candidates = Candidates(crowded, lambda params: 1)
    rng = np.random.default_rng(0)
    for drawn in (
        [crowded.suggest(study.ask(), crowded.shuffled_strategies(number)) for number in range(600)],
        [crowded.decode(candidates.draw(rng))[0] for _ in range(600)],
    ):
        counts = Counter(name for params in drawn for name in on(params))
        assert counts["late"] > 600 / 20, counts
        assert set(counts) == set(MANY)
        assert all(on(params) <= {"late"} or "late" not in on(params) for params in drawn)


def test_a_neighbour_that_turns_a_strategy_on_turns_off_what_excludes_it(crowded: SearchSpace) -> None:
    """Else a strategy late in the order could not be reached from a good configuration that has an early one."""
    good = {"epochs": 2, **{f"strategies.{name}": name == "early0" for name in MANY}}
    candidates = Candidates(crowded, lambda params: 1)
    found = candidates.around([crowded.encode(good)[0]], np.random.default_rng(0))
    assert {frozenset({"late"}), frozenset({"early1"}), frozenset({"early0", "other3"})} <= {
        on(one.params) for one in found
    }


def test_what_a_strategy_changes_later_is_not_judged_by_first_epochs() -> None:
    """Stopped before it grows it says neither what a whole trial takes nor that it fits; one that went through does."""
    raw = {"batch_size": [32, 64, 128], "epochs": 4, "strategies": {"grow": {}, "norm": {}}}
    whole = {"study": "s", "data": {"name": "digits"}, "model": {"name": "small_cnn"}, "budget": {"trials": 9}}
    spec = parse_spec({**whole, "space": raw})
    spec = spec.model_copy(update={"space": check_strategies(spec.space, CARDS)})
    off = {"strategies.grow": False, "strategies.norm": False}
    metrics = {"accuracy": 0.5, "train_time_s": 1.0, "peak_memory_mib": 10.0}

    def taught(state: TrialState, strategy: str) -> tuple[bool, float | None]:
        """Whether what failed once is tried again since, and what a candidate's epoch is known to take."""
        search = Search(spec, cards=CARDS)
        params = {"batch_size": 64, "epochs": 4, **off, f"strategies.{strategy}": True}
        point = EpochPoint(trial=1, epoch=1, metrics=metrics)
        for number, (end, points) in enumerate(((TrialState.INFEASIBLE, []), (state, [point]))):
            search.resume(number, params, points)
            search.finish(number, end, points)
        candidate = search._candidates.of(search._space.encode(params)[0])
        too_large = search._here.memory.too_large(candidate.row_d[None])[0]
        return bool(too_large), search._known_epoch_time_s(candidate)

    assert taught(TrialState.STOPPED, "grow") == (True, None)
    assert taught(TrialState.COMPLETE, "grow") == (False, None)
    assert taught(TrialState.STOPPED, "norm") == (False, 1.0)


def test_what_was_drawn_encodes_to_what_the_sampler_drew(space):
    """A strategy that could not be drawn is no parameter of the sampler's."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(60):
        trial = study.ask()
        params = space.suggest(trial)
        encoded, distributions = space.encode(params)
        assert encoded == trial.params and distributions == trial.distributions


def test_a_configuration_with_a_conflict_lies_outside_the_space(space):
    """From a warm start, say: it says which strategy can't be on."""
    off = dict.fromkeys([f"strategies.{name}" for name in CARDS], False)
    both = {"batch_size": 32, **off, "strategies.grow": True, "strategies.replace": True}
    with pytest.raises(ValueError, match=r"strategies\.replace can't be on beside the others"):
        space.encode(both)
    with pytest.raises(ValueError, match=r"strategies\.average can't be on beside the others"):
        space.encode({"batch_size": 32, **off, "strategies.average": True})


def test_one_that_is_fixed_on_parts_the_searched_ones():
    """It is in every configuration with its knobs, and what conflicts with it is refused before."""
    raw = {"strategies": {"norm": {"use": True}, "average": {}, "prune": {"use": True, "share": 0.3}}}
    space = SearchSpace(check_strategies(parse_space(raw), CARDS), CARDS)
    assert space.searched == ["strategies.average"]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [space.suggest(study.ask()) for _ in range(20)]
    assert {params["strategies.average"] for params in drawn} == {True, False}
    assert all(params["strategies.prune.share"] == 0.3 and params["strategies.norm"] is True for params in drawn)


@pytest.mark.parametrize("sampler", ["curve_ehvi", "tpe", "nsga2", "qmc"])
def test_no_sampler_ever_proposes_what_conflicts(sampler):
    """Through `Search` itself, its models taught by points: each asked configuration lies inside the space."""
    raw = {"batch_size": [32, 64], "learning_rate": {"low": 0.01, "high": 0.1}, "strategies": STRATEGIES}
    spec = parse_spec(
        {
            "study": "s",
            "data": {"name": "digits"},
            "model": {"name": "small_cnn"},
            "objectives": ["accuracy", "train_time_s"],
            "space": raw,
            "sampler": sampler,
            "budget": {"trials": 30},
        }
    )
    search = Search(spec.model_copy(update={"space": check_strategies(spec.space, CARDS)}), cards=CARDS)
    seen = set()
    for number in range(24):
        params = search.ask(number)
        seen.add(on(params))
        for name in on(params):
            assert may_join(CARDS[name], on(params), CARDS)
            assert all(f"strategies.{name}.{knob}" in params for knob in CARDS[name].knobs)
        assert all(params.get(key.rpartition(".")[0], True) for key in params if key.count(".") == 2)
        gain = 0.01 * len(on(params)) + params["learning_rate"]
        points = [
            EpochPoint(
                trial=number, epoch=e, metrics={"accuracy": 0.5 + gain + 0.01 * e, "train_time_s": e * (1 + gain)}
            )
            for e in (1, 2)
        ]
        for point in points:
            search.observe(point)
        search.finish(number, TrialState.COMPLETE, points)
    assert len(seen) > 2


def test_every_strategy_is_on_in_some_trial() -> None:
    """Thirty, of which six fill each site: a model says nothing of one that it has never seen, however good it is."""
    sites = (Site.SHAPE, Site.NORM, Site.AVERAGING, Site.SAMPLES, Site.POOL)
    cards = {f"{site}{number}": card(f"{site}{number}", site) for site in sites for number in range(6)}
    whole = {"study": "s", "data": {"name": "digits"}, "model": {"name": "small_cnn"}, "budget": {"trials": 60}}
    spec = parse_spec({**whole, "space": {"epochs": 3, "strategies": {name: {} for name in cards}}})
    spec = spec.model_copy(update={"space": check_strategies(spec.space, cards)})
    gains = dict(zip(cards, np.random.default_rng(0).normal(0.0, 0.03, len(cards)), strict=True))
    search = Search(spec, cards=cards)
    seen: set[str] = set()
    for number in range(60):
        params = search.ask(number)
        seen |= on(params)
        worth = 0.5 + sum(gains[name] for name in on(params))
        points = [
            EpochPoint(trial=number, epoch=epoch, metrics={"accuracy": worth * epoch / 3, "train_time_s": float(epoch)})
            for epoch in (1, 2, 3)
        ]
        for point in points:
            search.observe(point)
        search.finish(number, TrialState.COMPLETE, points)
    assert seen == set(cards)
