"""The card of a strategy: what the spec, the search and the reports must know of it, without torch."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations

from tune_cnn.errors import SpecError, nearest
from tune_cnn.spec.configuration import STRATEGIES, strategy_and_knob
from tune_cnn.spec.dimensions import Choice, Dimension, Fixed, Range, dimension_of, fixed_of
from tune_cnn.spec.messages import shown
from tune_cnn.spec.optimizers import SCHEDULE_FREE, is_own
from tune_cnn.spec.space import USE
from tune_cnn.untyped import Plain


class Saves(StrEnum):
    """What a strategy claims to save."""

    TIME = "time"  # less wall-clock per run
    DATA = "data"  # better accuracy for the same data or time
    SIMULATED = "simulated"  # an effect that only special hardware turns into time: never to be shown as speed


class Site(StrEnum):
    """The part of training that a strategy takes for itself. Strategies run in the order of this list."""

    SHAPE = "shape"
    RESOLUTION = "resolution"
    POOL = "pool"
    NORM = "norm"
    WEIGHT_PARAM = "weight_param"
    CONV_BACKWARD = "conv_backward"
    NUMERICS = "numerics"
    SAMPLES = "samples"
    BATCH = "batch"
    LEARNING = "learning"  # which parameters learn
    STEP = "step"
    AVERAGING = "averaging"
    DEPTH = "depth"
    HORIZON = "horizon"


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One argument of a strategy: every value that it may take, and the one that it has unless a spec says another."""

    allowed: Choice | Range
    default: Plain
    meaning: str
    or_call: bool = False  # a function of the user's, package.module:name, will do too
    or_name: str = ""  # other names will do too: which, for the user; the strategy checks them


@dataclass(frozen=True, kw_only=True)
class StrategyCard:
    """A strategy as plain data."""

    name: str
    paper: str  # authors, year, link
    summary: str
    saves: Saves
    sites: frozenset[Site]
    knobs: Mapping[str, Knob] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()  # strategies that must be on beside it
    forbids: Mapping[str, str] = field(default_factory=dict)  # strategies that must be off beside it: the reason
    follows: frozenset[str] = frozenset()  # strategies whose site it may take when they are done with it

    @property
    def changes_cost(self) -> bool:
        """Whether later epochs may need other time and memory than the first: net, images or batch change size."""
        return not self.sites.isdisjoint({Site.SHAPE, Site.RESOLUTION, Site.BATCH, Site.LEARNING})


Cards = Mapping[str, StrategyCard]


def conflict(some: StrategyCard, other: StrategyCard) -> str | None:
    """Why two strategies can't be on together; None where they can."""
    for one, two in ((some, other), (other, some)):
        if two.name in one.forbids:
            return one.forbids[two.name]
    shared = some.sites & other.sites
    if shared and other.name not in some.follows and some.name not in other.follows:
        return f"both take the site {' and '.join(sorted(shared))}"
    return None


def may_join(card: StrategyCard, on: Iterable[str], cards: Cards) -> bool:
    """Whether a strategy may be turned on beside these."""
    names = set(on) - {card.name}
    return card.needs <= names and all(conflict(card, cards[name]) is None for name in names)


def in_order(names: Iterable[str], cards: Cards) -> list[str]:
    """As their hooks run: by their first site in `Site`'s order, then by name; what is needed before what needs it."""
    order = list(Site)
    found: list[str] = []

    def take(name: str) -> None:
        for needed in sorted(cards[name].needs & left):
            take(needed)
        if name not in found:
            found.append(name)

    left = set(names)
    for name in sorted(left, key=lambda n: (min(order.index(site) for site in cards[n].sites), n)):
        take(name)
    return found


@dataclass(frozen=True, kw_only=True)
class Clash:
    """Values of a key beside which no strategy that takes one of these sites can be on."""

    key: str
    clashes: Callable[[Plain], bool]
    sites: frozenset[Site]
    why: str


_MADE_ANEW = frozenset({Site.SHAPE, Site.LEARNING})
_WHOLE_BATCH = frozenset({Site.SAMPLES, Site.STEP})
_STAGES = "fine-tuning goes by the stages of the model as it is built, and it changes what learns"
CLASHES = (
    Clash(
        key="optimizer",
        clashes=lambda name: name not in ("sgd", "adamw", "sam"),
        sites=_MADE_ANEW,
        why="it has the optimizer made anew, and what that remembers can be carried over with sgd, adamw and sam alone",
    ),
    Clash(
        key="optimizer",
        clashes=lambda name: name in SCHEDULE_FREE or is_own(str(name)),
        sites=frozenset({Site.AVERAGING}),
        why="such an optimizer may keep averaged weights itself",
    ),
    Clash(
        key="optimizer",
        clashes=lambda name: name == "sam",
        sites=_WHOLE_BATCH | {Site.CONV_BACKWARD, Site.NUMERICS},
        why="sam takes each batch twice, and it acts on every pass",
    ),
    Clash(
        key="accumulate",
        clashes=lambda parts: parts > 1,
        sites=_WHOLE_BATCH,
        why="it needs the losses of a whole batch at once",
    ),
    Clash(
        key="class_sampling",
        clashes=lambda how: how == "balanced",
        sites=frozenset({Site.SAMPLES, Site.STEP}),
        why="it takes the choice of an epoch's images for itself",
    ),
    Clash(key="frozen_stages", clashes=lambda count: count > 0, sites=_MADE_ANEW, why=_STAGES),
    Clash(key="head_epochs", clashes=lambda epochs: epochs > 0, sites=_MADE_ANEW, why=_STAGES),
    Clash(key="layer_decay", clashes=lambda decay: decay < 1, sites=_MADE_ANEW, why=_STAGES),
    Clash(key="backbone_lr_ratio", clashes=lambda ratio: ratio != 1, sites=_MADE_ANEW, why=_STAGES),
)


def _check_keys(on: list[str], space: Mapping[str, Dimension], cards: Cards) -> None:
    """What could be drawn together must go together."""
    for name in on:
        for clash in CLASHES:
            values = [value for value in dimension_of(space, clash.key).ends if clash.clashes(value)]
            if values and not cards[name].sites.isdisjoint(clash.sites):
                raise SpecError(
                    f"space.strategies: {name} can't be on with {clash.key}={shown(values[0])}: {clash.why}; leave one "
                    "of them out"
                )


def check_strategies(space: Mapping[str, Dimension], cards: Cards) -> dict[str, Dimension]:
    """The space with the default of every knob that it leaves out; SpecError where its strategies don't hold."""
    whole = dict(space)
    asked = [strategy_and_knob(key)[0] for key in space if key.startswith(STRATEGIES)]
    for name in dict.fromkeys(asked):
        if name not in cards:
            raise SpecError(f"space.strategies: unknown strategy {name!r}{nearest(name, cards)}")
    on = [name for name in dict.fromkeys(asked) if dimension_of(space, STRATEGIES + name).holds(True)]
    for name in on:
        given = {key: dim for key, dim in space.items() if _is_knob_of(name, key)}
        for key, dimension in given.items():
            _check_knob(cards[name], str(strategy_and_knob(key)[1]), dimension)
        for knob, of in cards[name].knobs.items():
            whole.setdefault(f"{STRATEGIES}{name}.{knob}", Fixed(value=of.default))
    _check_pairs(on, space, cards)
    _check_keys(on, space, cards)
    return whole


def _is_knob_of(strategy: str, key: str) -> bool:
    if not key.startswith(STRATEGIES):
        return False
    name, knob = strategy_and_knob(key)
    return name == strategy and knob is not None


def _check_pairs(on: list[str], space: Mapping[str, Dimension], cards: Cards) -> None:
    """One that could never be tried is refused; two searched ones are simply never suggested together."""
    fixed = fixed_of(space)
    always = [name for name in on if STRATEGIES + name in fixed]
    for one, two in combinations(on, 2):
        why = conflict(cards[one], cards[two])
        if why is not None and (one in always or two in always):
            raise SpecError(f"space.strategies: {one} and {two} can't be on together: {why}; leave one of them out")
    for name in on:
        missing = cards[name].needs - set(on)
        if missing:
            raise SpecError(f"space.strategies: {name} needs {', '.join(sorted(missing))} beside it; add it")


def _check_knob(card: StrategyCard, name: str, dimension: Dimension) -> None:
    where = f"space.strategies.{card.name}.{name}"
    if name not in card.knobs:
        hint = nearest(name, [*card.knobs, USE]) if card.knobs else "; it has none"
        raise SpecError(f"space.strategies.{card.name}: unknown knob {name!r}{hint}")
    knob = card.knobs[name]
    if knob.allowed.is_listed and not dimension.is_listed:
        raise SpecError(f"{where}: must be {_told(knob)}, got a range; give a list of them")
    for value in dimension.ends:
        if not _allows(knob, value):
            raise SpecError(f"{where}: must be {_told(knob)}, got {shown(value)}")


def _allows(knob: Knob, value: object) -> bool:
    if isinstance(value, str) and (knob.or_name or (knob.or_call and ":" in value)):
        return True
    return knob.allowed.holds(value)


def _told(knob: Knob) -> str:
    others = ["a function of yours, package.module:name"] if knob.or_call else []
    others += [knob.or_name] if knob.or_name else []
    return " or ".join([str(knob.allowed), *others])
