"""The commands that stand in the recipes' heads can be asked as they stand there."""

import argparse
import re
import shlex
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

import search_spaces
from tune_cnn.spec.strategies import check_strategies, conflict
from tune_cnn.study.comparing.asked import NONE
from tune_cnn.study.comparing.cells import cells_of
from tune_cnn.study.comparing.course import Wanted, read
from tune_cnn.training.data.facts import DataFacts, check_batch
from tune_cnn.training.strategies.framework.registry import cards_of, find_strategies

FASHION = DataFacts(
    name="fashion_mnist",
    num_classes=10,
    in_channels=1,
    image_size=(28, 28),
    train_images=3000,
    validation_images=1000,
    test_images=10000,
    classes=tuple("0123456789"),
    key="made up",
    mean=(0.29,),
    std=(0.35,),
    notes=(),
)
FOLDER = Path(search_spaces.__file__).parent
COMMAND = re.compile(r"^# +tune-cnn (compare .*)$", re.MULTILINE)


def commands() -> list[str]:
    """Of `compare`, whole: a line that ends with \\ goes on; what stands behind several spaces is for the reader."""
    heads = [re.sub(r" \\\n# +", " ", path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yaml"))]
    return [re.split(r" {3,}", words)[0] for head in heads for words in COMMAND.findall(head)]


def options(command: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("compare")
    parser.add_argument("recipe")
    for name, kind in (("--over", str), ("--seeds", int), ("--limit", int), ("--equal", str), ("--study", str)):
        parser.add_argument(name, type=kind)
    for name in ("--values", "--set"):
        parser.add_argument(name, action="append", default=[])
    for name in ("--then-combine", "--beside"):
        parser.add_argument(name, action="store_true")
    return parser.parse_args(shlex.split(command))


def test_there_are_commands_to_hold() -> None:
    assert len(commands()) >= 6


@pytest.mark.parametrize("command", commands())
def test_a_recipes_comparison_has_cells_that_train_and_no_more_runs_than_it_may(command: str) -> None:
    """Each strategy takes the spec, each cell's strategies go together, and all runs are within --limit."""
    words = options(command)
    wanted = Wanted(
        over=words.over,
        values=words.values,
        seeds=words.seeds or 3,
        equal=words.equal or "epochs",
        then_combine=words.then_combine,
        beside=words.beside,
        limit=words.limit or 100,
    )
    spec, asked = read(words.recipe, words.set, wanted)
    names = [str(name) for name in asked.values.get("strategies", ()) if name != NONE]
    cards = cards_of(names)
    cells = cells_of(asked, spec, cards)
    assert len({cell.name for cell in cells}) == len(cells) >= 2
    for cell in cells:
        on = cell.of(spec).configuration(cell.params).strategies_on.keys()
        assert all(cards[name].needs <= on for name in on)
        assert all(conflict(cards[a], cards[b]) is None for a, b in combinations(on, 2))
    whole = spec.model_copy(update={"space": check_strategies(spec.space, cards)})
    for name in names:
        find_strategies()[name].check(whole, FASHION)
    trained_on = round((spec.data.subset or 60_000) * (1 - spec.data.validation))
    check_batch(replace(FASHION, train_images=trained_on), int(max(asked.values.get("batch_size", [1]))))
    assert wanted.limit is not None and len(cells) * wanted.seeds <= wanted.limit
