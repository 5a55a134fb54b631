"""Strategies by name: a file of the folder above each, or a class of the user's own."""

import importlib
import pkgutil
from collections.abc import Iterable

from tune_cnn.errors import SpecError, nearest
from tune_cnn.spec.calls import find_call
from tune_cnn.spec.strategies import StrategyCard
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
        raise SpecError(
            f"space.strategies: unknown strategy {name!r}{nearest(name, find_strategies())}; "
            "your own is named as package.module:Class"
        )
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
        raise SpecError(
            f"space.strategies: {name} must be a subclass of tune_cnn.training.strategies.framework.strategy.Strategy, "
            f"got {type(kind).__name__}"
        )
    kind.name = name
    return kind
