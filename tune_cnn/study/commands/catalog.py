"""What ships with tune_cnn: recipes, which are search spaces, and training strategies that a space can search."""

from importlib.resources import files
from itertools import combinations

from tune_cnn.spec import load_spec
from tune_cnn.spec.reading.loading import recipe_names
from tune_cnn.spec.strategies import Knob, StrategyCard, conflict
from tune_cnn.untyped import Plain


def recipes() -> list[dict[str, Plain]]:
    """Each recipe: name, description, data, model and what it searches."""
    return [_recipe(name) for name in recipe_names()]


def _recipe(name: str) -> dict[str, Plain]:
    spec = load_spec(name)
    return {
        "name": name,
        "description": spec.description,
        "data": spec.data.name,
        "model": spec.model.name,
        "searched": list(spec.searched),
        "file": str(files("search_spaces").joinpath(f"{name}.yaml")),
    }


def strategies() -> list[dict[str, Plain]]:
    """Each strategy: name, paper, what it saves, sites, knobs, and which others it can't be on with."""
    from tune_cnn.training.strategies.framework.registry import (
        find_strategies,  # with it comes torch, which takes seconds
    )

    cards = {name: kind.card() for name, kind in find_strategies().items()}
    conflicts: dict[str, dict[str, str]] = {name: {} for name in cards}
    for one, two in combinations(cards, 2):
        why = conflict(cards[one], cards[two])
        if why is not None:
            conflicts[one][two] = conflicts[two][one] = why
    return [{**_row(card), "conflicts": conflicts[name]} for name, card in cards.items()]


def _row(card: StrategyCard) -> dict[str, Plain]:
    return {
        "name": card.name,
        "summary": card.summary,
        "paper": card.paper,
        "saves": str(card.saves),
        "sites": sorted(card.sites),
        "knobs": {name: _knob(knob) for name, knob in card.knobs.items()},
        "needs": sorted(card.needs),
    }


def _knob(knob: Knob) -> dict[str, Plain]:
    allowed = knob.allowed
    values: Plain = list(allowed.values) if allowed.is_listed else {"low": allowed.smallest, "high": allowed.largest}
    return {"allowed": values, "default": knob.default, "meaning": knob.meaning}
