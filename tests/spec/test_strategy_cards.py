"""Strategies in a spec: searched, on or off, with their knobs; who may go with whom; and what is refused."""

from typing import Any

import pytest

from tune_cnn.errors import SpecError
from tune_cnn.spec import Choice, Configuration, Fixed, Range, load_spec, parse_spec, to_yaml
from tune_cnn.spec.configuration import has_meaning, strategy_and_knob
from tune_cnn.spec.reading.yaml_text import read_yaml
from tune_cnn.spec.strategies import (
    Knob,
    Saves,
    Site,
    StrategyCard,
    check_strategies,
    conflict,
    in_order,
    may_join,
)


def card(name: str, site: Site, knobs: dict[str, Knob] | None = None, **more: Any) -> StrategyCard:
    return StrategyCard(
        name=name, paper="", summary="", saves=Saves.TIME, sites=frozenset({site}), knobs=knobs or {}, **more
    )


SHARE = Knob(allowed=Range(low=0.0, high=0.5), default=0.2, meaning="a share")
COUNT = Knob(allowed=Range(low=1, high=9), default=4, meaning="a count")
KIND = Knob(allowed=Choice(values=("edges", "colour")), default="edges", meaning="a kind", or_call=True)
CARDS = {
    one.name: one
    for one in (
        card("quantise", Site.NUMERICS),
        card("average", Site.AVERAGING, needs=frozenset({"quantise"})),
        card("prune", Site.SHAPE, {"share": SHARE, "count": COUNT, "kind": KIND}, follows=frozenset({"grow"})),
        card("grow", Site.SHAPE),
        card("replace", Site.SHAPE),
        card("norm", Site.NORM, forbids={"grow": "the norm would not grow"}),
    )
}


def spec(strategies: Any, **space: Any):
    return parse_spec(
        {
            "study": "s",
            "data": {"name": "digits"},
            "model": {"name": "lenet5"},
            "budget": {"trials": 1},
            "space": {"strategies": strategies, **space},
        }
    )


def check(strategies: Any) -> dict[str, Any]:
    return check_strategies(spec(strategies).space, CARDS)


def refused(strategies: Any) -> str:
    with pytest.raises(SpecError) as error:
        check(strategies)
    return str(error.value)


def test_a_mapping_of_knobs_searches_and_true_and_false_fix():
    """{} and nothing at all search a strategy; `use` fixes one that has knobs; a list is a choice, too."""
    space = spec(
        {"a": {}, "b": None, "c": True, "d": False, "e": {"use": True, "k": 3}, "f": [True, False], "g": {"k": [1, 2]}}
    ).space
    either = Choice(values=(False, True))
    assert space == {
        "strategies.a": either,
        "strategies.b": either,
        "strategies.c": Fixed(value=True),
        "strategies.d": Fixed(value=False),
        "strategies.e": Fixed(value=True),
        "strategies.e.k": Fixed(value=3),
        "strategies.f": Choice(values=(True, False)),
        "strategies.g": either,
        "strategies.g.k": Choice(values=(1, 2)),
    }


def test_a_spec_with_strategies_reads_back_from_its_yaml():
    """Gathered under one key; one of the user's own, with dots in its name, among them."""
    whole = spec({"prune": {"share": {"low": 0.1, "high": 0.3}}, "my.code:Own": {"use": True, "k": "x"}})
    raw = read_yaml(to_yaml(whole), "yaml")
    assert raw["space"]["strategies"]["my.code:Own"] == {"use": True, "k": "x"}
    assert parse_spec(raw) == whole
    flat = parse_spec({**raw, "space": {**whole.configuration({"strategies.prune": False}).params()}})
    assert flat.space["strategies.my.code:Own.k"] == Fixed(value="x")


def test_an_override_reaches_a_strategy(tmp_path):
    """--set space.strategies.NAME=… and its knobs."""
    file = tmp_path / "s.yaml"
    file.write_text(to_yaml(spec({"prune": {}})), encoding="utf-8")
    changed = load_spec(file, ["space.strategies.prune.share=0.3", "space.strategies.grow=true"])
    assert changed.space["strategies.prune.share"] == Fixed(value=0.3)
    assert changed.space["strategies.grow"] == Fixed(value=True)


def test_names_split_into_strategy_and_knob():
    """Dots before a colon belong to the user's module."""
    assert strategy_and_knob("strategies.prune") == ("prune", None)
    assert strategy_and_knob("strategies.prune.share") == ("prune", "share")
    assert strategy_and_knob("strategies.my.code:Own") == ("my.code:Own", None)
    assert strategy_and_knob("strategies.my.code:Own.k") == ("my.code:Own", "k")


def test_a_configuration_keeps_what_is_on_with_its_knobs():
    """Flat parameters come and go unchanged; knobs of what is off mean nothing."""
    params = {"strategies.prune": True, "strategies.prune.share": 0.1, "strategies.grow": False}
    configuration = Configuration.from_params(params)
    assert configuration.strategies_on == {"prune": {"share": 0.1}}
    assert {k: v for k, v in configuration.params().items() if k.startswith("strategies")} == params
    assert has_meaning("strategies.prune.share", params) and not has_meaning("strategies.grow.k", params)
    whole = spec({"prune": {"share": 0.1}})
    assert whole.configuration({"strategies.prune": False}).strategies_on == {}
    assert whole.configuration({"strategies.prune": True}).strategies_on == {"prune": {"share": 0.1}}
    for wrong in ({"prune.share": 0.1}, {"prune": False, "prune.share": 0.1}, {"prune": 1}):
        with pytest.raises(ValueError, match=r"strategies\.prune"):
            Configuration(strategies=wrong)


def test_knobs_left_out_get_their_defaults_so_that_every_record_says_them():
    """Only of strategies that may be on."""
    space = check({"prune": {"share": [0.1, 0.2]}, "grow": False})
    assert space["strategies.prune.count"] == Fixed(value=4) and space["strategies.prune.kind"] == Fixed(value="edges")
    assert space["strategies.prune.share"] == Choice(values=(0.1, 0.2))
    assert not any(key.startswith("strategies.grow.") for key in space)
    check({"prune": {"kind": "my.code:metric", "share": {"low": 0.0, "high": 0.5}}})


@pytest.mark.parametrize(
    ("strategies", "message"),
    [
        ({"prun": {}}, "space.strategies: unknown strategy 'prun'; did you mean 'prune'?"),
        ({"prune": {"shar": 0.1}}, "space.strategies.prune: unknown knob 'shar'; did you mean 'share'?"),
        ({"grow": {"share": 0.1}}, "space.strategies.grow: unknown knob 'share'; it has none"),
        ({"prune": {"share": 0.6}}, "space.strategies.prune.share: must be a number from 0 to 0.5, got 0.6"),
        ({"prune": {"share": True}}, "must be a number from 0 to 0.5, got true"),
        ({"prune": {"share": {"low": 0.1, "high": 0.9}}}, "must be a number from 0 to 0.5, got 0.9"),
        ({"prune": {"count": 2.5}}, "space.strategies.prune.count: must be a whole number from 1 to 9, got 2.5"),
        ({"prune": {"kind": "edge"}}, "must be 'edges', 'colour' or a function of yours, package.module:name, got"),
        ({"prune": {"kind": {"low": 1, "high": 2}}}, "got a range; give a list of them"),
        ({"grow": True, "replace": True}, "grow and replace can't be on together: both take the site shape; leave"),
        ({"grow": True, "replace": {}}, "grow and replace can't be on together: both take the site shape"),
        ({"norm": {}, "grow": True}, "norm and grow can't be on together: the norm would not grow"),
        ({"average": {}}, "space.strategies: average needs quantise beside it; add it"),
        ({"average": {}, "quantise": False}, "space.strategies: average needs quantise beside it; add it"),
    ],
    ids=str,
)
def test_what_cannot_be_is_said_with_its_reason(strategies, message):
    """Names with the nearest, knobs with what is allowed, pairs with the site that they share."""
    assert message in refused(strategies)


def test_pairs_that_are_only_searched_are_left_to_the_search():
    """Both may be tried, each by itself."""
    assert "strategies.replace" in check({"grow": {}, "replace": {}})


def test_who_conflicts_and_who_may_follow():
    """A shared site parts two, unless one follows the other; the order of asking doesn't count."""
    assert conflict(CARDS["prune"], CARDS["grow"]) is None is conflict(CARDS["grow"], CARDS["prune"])
    assert conflict(CARDS["prune"], CARDS["replace"]) == conflict(CARDS["replace"], CARDS["prune"]) is not None
    assert conflict(CARDS["grow"], CARDS["norm"]) == "the norm would not grow"
    assert may_join(CARDS["prune"], {"grow", "norm", "prune"}, CARDS)
    assert not may_join(CARDS["average"], {"grow"}, CARDS) and may_join(CARDS["average"], {"quantise"}, CARDS)


def test_hooks_run_in_the_order_of_the_slots_then_of_the_names():
    """grow before prune, the shape before its norms."""
    order = in_order(["norm", "average", "prune", "grow", "quantise"], CARDS)
    assert order == ["grow", "prune", "norm", "quantise", "average"]
