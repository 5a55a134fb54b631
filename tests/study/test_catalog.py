"""`tune-cnn strategies`: every strategy with its paper, what it saves, its sites, knobs and conflicts."""

import json

import pytest
from typer.testing import CliRunner

from tune_cnn.cli.main import app
from tune_cnn.study.catalog import strategies
from tune_cnn.training.strategies.framework.registry import find_strategies


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
