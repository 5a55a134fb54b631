"""Strategies by name: a file of the folder above each, or a class of the user's own."""

import importlib
import pkgutil
from collections.abc import Iterable, Mapping

from tune_cnn.errors import SpecError, nearest
from tune_cnn.spec.calls import find_call
from tune_cnn.spec.messages import shown
from tune_cnn.spec.strategies import Knob, Saves, Site, StrategyCard
from tune_cnn.training import strategies
from tune_cnn.training.strategies.framework.strategy import Strategy


def find_strategies() -> dict[str, type[Strategy]]:
    """All that come with tune_cnn, by name."""
    files = (module.name for module in pkgutil.iter_modules(strategies.__path__) if not module.ispkg)
    return {name: kind for name in files if (kind := _of_file(name)) is not None}


def find_strategy(name: str) -> type[Strategy]:
    """The class of that name; one of the user's own is package.module:Class. SpecError where there is none."""
    if ":" in name:
        return _users(name)
    known = {module.name for module in pkgutil.iter_modules(strategies.__path__) if not module.ispkg}
    kind = _of_file(name) if name in known else None
    if kind is None:
        near = nearest(name, find_strategies(), "your own is named as package.module:Class")
        raise SpecError(f"space.strategies: unknown strategy {name!r}{near}")
    return kind


def cards_of(names: Iterable[str]) -> dict[str, StrategyCard]:
    """The cards of the strategies of these names."""
    return {name: find_strategy(name).card() for name in names}


def _of_file(name: str) -> type[Strategy] | None:
    """The strategy that a file of the folder above holds; none where it holds what several of them use."""
    module = importlib.import_module(f"{strategies.__name__}.{name}")
    kinds = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    found = [kind for kind in kinds if issubclass(kind, Strategy) and kind is not Strategy]
    assert len(found) <= 1 and all(kind.name == name for kind in found), f"{name}.py: one strategy, of the file's name"
    return found[0] if found else None


def _users(name: str) -> type[Strategy]:
    kind = find_call(name, where="space.strategies")
    if not (isinstance(kind, type) and issubclass(kind, Strategy)):
        got = kind.__name__ if isinstance(kind, type) else type(kind).__name__
        raise SpecError(f"space.strategies: {name} must be a subclass of tune_cnn.Strategy, got {got}")
    _check_card(name, kind)
    kind.name = name
    return kind


def _check_card(name: str, kind: type[Strategy]) -> None:
    """SpecError where a class of the user's doesn't say what every strategy must say of itself."""
    where = f"space.strategies: {name}"
    paper, saves, sites, knobs = (_said(kind, key) for key in ("paper", "saves", "sites", "knobs"))
    if not isinstance(paper, str):
        raise SpecError(f"{where}: paper must be a text (authors, year, link), got {_given(paper)}; set it")
    if not isinstance(saves, Saves):
        members = " or ".join(f"Saves.{one.name}" for one in Saves)
        raise SpecError(f"{where}: saves must be {members}, got {_given(saves)}; set it")
    if sites is None and _said(kind, "slots") is not None:
        raise SpecError(f"{where}: sites must be set, got slots; rename it, and Slot to Site")
    if not (isinstance(sites, frozenset) and sites and all(isinstance(one, Site) for one in sites)):
        raise SpecError(
            f"{where}: sites must be a frozenset of the parts of training that it takes, got {_given(sites)}; set it, "
            "as in sites = frozenset({Site.SAMPLES})"
        )
    if not (isinstance(knobs, Mapping) and all(isinstance(one, Knob) for one in knobs.values())):
        raise SpecError(
            f"{where}: knobs must be a mapping of names to Knob, got {_given(knobs)}; set it, as in "
            'knobs = {"side": Knob(allowed=Range(low=1, high=224), default=8, meaning="…")}'
        )


def _said(kind: type[Strategy], key: str) -> object:
    return getattr(kind, key, None)


def _given(value: object) -> str:
    return "nothing" if value is None else shown(value)
