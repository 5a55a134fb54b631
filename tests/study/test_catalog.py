"""`tune-cnn strategies`: every strategy with its paper, what it saves, its sites, knobs and conflicts."""

import json
from itertools import combinations

import optuna
import pytest
from typer.testing import CliRunner

from tune_cnn.cli.main import app
from tune_cnn.errors import SpecError
from tune_cnn.search.space import SearchSpace
from tune_cnn.spec.space import parse_space
from tune_cnn.spec.strategies import check_strategies
from tune_cnn.study.commands.catalog import strategies
from tune_cnn.training.strategies.framework.registry import cards_of, find_strategies


@pytest.fixture(scope="module")
def rows() -> dict[str, dict]:
    return {row["name"]: row for row in strategies()}


def test_every_strategy_is_listed_as_its_card_has_it(rows):
    """In the names that a spec takes, with values and defaults that it accepts."""
    assert set(rows) == set(find_strategies())
    for name, row in rows.items():
        card = find_strategies()[name].card()
        assert (row["paper"], row["saves"], row["summary"]) == (card.paper, str(card.saves), card.summary)
        assert row["sites"] == sorted(card.sites) and set(row["knobs"]) == set(card.knobs)
    assert rows["s3pool"]["knobs"]["grid"]["allowed"] == {"low": 2, "high": 64}
    assert rows["net2net"]["knobs"]["start_width"]["allowed"] == [0.25, 0.5, 0.75, 1.0]
    assert rows["minibatch_order"]["knobs"]["metric"]["default"] == "intensity"


def test_conflicts_are_mutual_and_have_a_reason(rows):
    """Also where only one of the two knows of it."""
    for name, row in rows.items():
        for other, why in row["conflicts"].items():
            assert why and rows[other]["conflicts"][name] == why
    assert set(rows["weight_norm"]["conflicts"]) >= {
        "dfp16",
        "early_bird",
        "kernel_rescaling",
        "layer_replacement",
        "lottery_ticket",
        "lookahead",
        "net2net",
        "prunetrain",
        "ssf",
        "whitening",
    }
    assert "prunetrain" not in rows["net2net"]["conflicts"]  # it follows, though both change the shape


def test_the_command_prints_all_of_it_for_people_and_for_scripts(rows):
    """JSON is the list itself; text names paper, saving, site, each knob and conflict."""
    runner = CliRunner()
    assert json.loads(runner.invoke(app, ["strategies", "--json"]).stdout) == list(rows.values())
    text = runner.invoke(app, ["strategies"]).stdout
    for name, row in rows.items():
        paragraph = next(part for part in text.split("\n\n") if part.startswith(f"{name}: "))
        assert f"{row['paper']}; saves {row['saves']}; takes {', '.join(row['sites'])}" in paragraph
        assert all(f"  {knob} (" in paragraph for knob in row["knobs"])
        assert all(other in paragraph for other in row["conflicts"])


SITES = {  # of each only one may be on
    "resolution": ("kernel_rescaling", "progressive_resizing", "efficient_train", "wavelet_stem", "lottery_ticket"),
    "pool": ("s3pool", "wavelet_pooling"),
    "norm": ("ghost_batch_norm", "standardization_loss"),
    "weight_param": ("weight_norm", "whitening", "ssf"),
    "conv_backward": ("gradient_approximation", "sparse_gradients", "dfp16"),
    "samples": ("minibatch_order", "info_batch", "selective_backprop", "lottery_ticket"),
    "averaging": ("ema", "lookahead", "swalp", "lottery_ticket"),
    "shape": ("prunetrain", "early_bird", "layer_replacement", "lottery_ticket"),
    "batch": ("batch_growth", "lottery_ticket"),
    "learning": ("layer_freezing", "lottery_ticket"),
    "horizon": ("regime_adaptation", "lottery_ticket"),
}
RULES = {  # beyond the sites
    ("prunetrain", "net2net"): (
        "weight_norm",
        "whitening",
        "ssf",
        "layer_freezing",
        "stochastic_depth",
        "standardization_loss",
    ),
    ("kernel_rescaling",): ("weight_norm", "whitening", "ssf"),
    ("lookahead",): ("weight_norm",),
    ("standardization_loss",): ("stochastic_depth",),
    ("wavelet_stem",): ("whitening", "net2net"),
    ("isgd",): ("minibatch_order", "info_batch", "selective_backprop", "standardization_loss"),
    ("sparse_gradients",): ("early_bird", "layer_replacement", "net2net"),
    ("gradient_approximation",): ("layer_replacement",),
    ("batch_growth",): ("prunetrain", "regime_adaptation", "minibatch_order"),
    ("net2net",): ("early_bird", "layer_replacement", "lottery_ticket"),
    ("dfp16",): ("weight_norm", "ssf", "isgd", "lookahead"),
    ("lottery_ticket",): ("weight_norm", "whitening", "ssf", "isgd"),
    ("early_bird",): (
        "weight_norm",
        "whitening",
        "ssf",
        "layer_freezing",
        "stochastic_depth",
        "standardization_loss",
    ),
    ("layer_replacement",): ("weight_norm", "ssf", "stochastic_depth", "kernel_rescaling"),
}
ALONE = {"regime_adaptation", "net2net", "prunetrain", "isgd", "batch_growth", "layer_freezing", "stochastic_depth"}
TABLED = sorted({name for names in SITES.values() for name in names} | ALONE)


def apart() -> set[frozenset[str]]:
    """All pairs that may not be on together, by the tables above."""
    pairs = {frozenset(pair) for names in SITES.values() for pair in combinations(names, 2)}
    return pairs | {frozenset((one, two)) for ones, twos in RULES.items() for one in ones for two in twos}


def test_the_tables_of_conflicts_hold_and_nothing_else(rows):
    """Every pair of what the tables name; the reason of those that share a site names it."""
    found = {frozenset((name, other)) for name in TABLED for other in rows[name]["conflicts"] if other in TABLED}
    assert found == apart()
    for site, names in SITES.items():
        for one, two in combinations(names, 2):
            assert rows[one]["conflicts"][two] == f"both take the site {site}"


def test_a_forbidden_pair_is_never_proposed():
    """Of a space with all of them on and off, and each is tried; a spec that turns such a pair on always is refused."""
    cards = cards_of(TABLED)
    space = SearchSpace(check_strategies(parse_space({"strategies": {name: {} for name in TABLED}}), cards), cards)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    tried = set()
    for number in range(400):
        params = space.suggest(study.ask(), space.shuffled_strategies(number))
        on = {name for name in TABLED if params[f"strategies.{name}"]}
        tried |= on
        assert not {frozenset(pair) for pair in combinations(sorted(on), 2)} & apart()
    assert tried == set(TABLED)
    for one, two in map(sorted, apart()):
        with pytest.raises(SpecError, match=f"{one} and {two} can't be on together|{two} and {one} can't be"):
            check_strategies(parse_space({"strategies": {one: True, two: True}}), cards)
