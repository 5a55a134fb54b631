"""A strategy class of the user's own that doesn't say what every strategy says of itself is refused in words."""

import pytest

from tune_cnn.errors import SpecError
from tune_cnn.spec.strategies import Saves, Site
from tune_cnn.training.strategies.framework.registry import cards_of, find_strategy
from tune_cnn.training.strategies.framework.strategy import Strategy


class Whole(Strategy):
    """Says all that it must."""

    paper = "Nobody, 2026, https://arxiv.org/abs/0000.00000"
    saves = Saves.DATA
    sites = frozenset({Site.STEP})


class WithoutSites(Strategy):
    paper = Whole.paper
    saves = Whole.saves


class WithSlots(WithoutSites):
    slots = Whole.sites  # its name before


class NoSites(Whole):
    sites = frozenset()


class SitesByText(Whole):
    sites = frozenset({"step"})


class OneSite(Whole):
    sites = Site.STEP


class WithoutPaper(Strategy):
    saves = Whole.saves
    sites = Whole.sites


class WithoutSaves(Strategy):
    paper = Whole.paper
    sites = Whole.sites


class SavesByText(Whole):
    saves = "data"


class BareKnob(Whole):
    knobs = {"size": 8}  # noqa: RUF012  (as a user may write it)


class NotAStrategy:
    pass


WRONG = {
    "WithoutSites": "sites must be a frozenset of the parts of training that it takes, got nothing; set it, as in "
    "sites = frozenset({Site.SAMPLES})",
    "WithSlots": "sites must be set, got slots; rename it, and Slot to Site",
    "NoSites": "sites must be a frozenset of the parts of training",
    "SitesByText": "sites must be a frozenset of the parts of training",
    "OneSite": "sites must be a frozenset of the parts of training",
    "WithoutPaper": "paper must be a text (authors, year, link), got nothing; set it",
    "WithoutSaves": "saves must be Saves.TIME or Saves.DATA or Saves.SIMULATED, got nothing; set it",
    "SavesByText": "saves must be Saves.TIME or Saves.DATA or Saves.SIMULATED, got 'data'; set it",
    "BareKnob": "knobs must be a mapping of names to Knob",
    "NotAStrategy": "must be a subclass of tune_cnn.Strategy, got NotAStrategy",
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_a_class_leaves_out_is_named(kind: str) -> None:
    """Where, what must hold, what came, what to do; never an AttributeError."""
    name = f"{__name__}:{kind}"
    with pytest.raises(SpecError) as caught:
        cards_of([name])
    assert str(caught.value).startswith(f"space.strategies: {name}")
    assert WRONG[kind] in str(caught.value)


def test_a_class_that_says_all_is_taken() -> None:
    """By its name as the spec has it."""
    name = f"{__name__}:Whole"
    assert find_strategy(name) is Whole and cards_of([name])[name].sites == {Site.STEP}
