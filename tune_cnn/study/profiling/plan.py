"""Where and for how long a profile's cells are measured, and what an earlier profile knows of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tune_cnn.errors import InputError, ResourceError
from tune_cnn.records.costs import KnownCost
from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec
from tune_cnn.spec.costs import Cost, cost_key
from tune_cnn.spec.resources import Phase
from tune_cnn.study.machine import of_phase
from tune_cnn.study.profiling.cells import Cell
from tune_cnn.study.profiling.ranks import with_ranks
from tune_cnn.study.searching.costs import setup_of
from tune_cnn.trials.cluster.machines import Slots, phase_slots
from tune_cnn.trials.dedicated import alone
from tune_cnn.untyped import Plain

REPEATS = 3  # blocks, each of every cell once
STEPS_S = 2.0  # of real steps
BESIDE_S = 0.7  # of the loader alone, and of each kind of resident steps: over the repeats it is 2 s too
RUN_S = 5.5  # of one measurement, its warm-up and start with it, where a step takes less than a tenth of a second
START_S = 25.0  # of Ray, the checks and the first process
CHANGE_S = 12.0  # of the processes of another number of ranks
MEASURES = 1  # grows when what is measured means something else: what was known before is measured anew


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the cells of one number of ranks are measured, alone."""

    spec: StudySpec  # with that number of ranks, and the cores that go with them
    slots: Slots
    setup: Mapping[str, Plain]  # all that decides a cost there


def place_of(spec: StudySpec, ranks: int, phase: Phase, info: Mapping[str, Plain]) -> Place:
    """ResourceError where so many ranks can't be had here; `info` is what `preflight.check` found."""
    mine = with_ranks(spec, ranks)
    share = phase.gpus_per_rank
    if ranks > 1 and share is not None and 0 < share < 1:
        raise InputError(
            f"profile: --ranks {ranks} needs whole GPUs, got resources.gpus_per_rank={share:g}; set it to 1"
        )
    try:
        slots = alone(phase_slots(mine.resources, phase))
    except ResourceError as error:
        raise ResourceError(f"profile: {ranks} ranks can't be had here: {error}") from None
    hardware = {key: value for key, value in info["hardware"].items() if key != "ranks"}
    if ranks > 1:
        hardware["ranks"] = "on one node" if slots.packed else "over several nodes"
    of_slots = of_phase(1, slots.gpu_share, slots.power_limit_w)
    return Place(spec=mine, slots=slots, setup=setup_of(mine, {**info, "hardware": hardware}, **of_slots))


def of_profiles(setup: Mapping[str, Plain]) -> dict[str, Plain]:
    """The setup under which a profile's own numbers are kept, beside what a search wants to know."""
    return {**setup, "profile": MEASURES}


def known_of(store: Store, places: Mapping[int, Place], cells: Sequence[Cell]) -> list[Mapping[str, float]]:
    """What an earlier profile measured of each cell; nothing where it is to be measured."""
    known = {ranks: store.costs.known(of_profiles(place.setup)) for ranks, place in places.items()}
    found = []
    for cell in cells:
        spec = places[cell.ranks].spec
        of_cell = known[cell.ranks].get(cost_key({**spec.fixed, **cell.params}))
        found.append(of_cell.measured if of_cell is not None else {})
    return found


def keep(
    store: Store, place: Place, cell: Cell, measured: Mapping[str, float], *, train_images: int, late: bool
) -> None:
    """Keep what a cell costs: for later profiles, and, unless a strategy changes the net later, for searches."""
    params = {**place.spec.fixed, **cell.params}
    batch = place.spec.configuration(cell.params).batch_size
    cost = Cost(
        step_time_s=measured["step_time_ms"] / 1000,
        steps_per_epoch=float(math.ceil(train_images / batch)),
        eval_time_s=measured.get("eval_time_s"),
        peak_memory_mib=measured.get("peak_memory_mib"),
        start_time_s=measured.get("compile_time_s", 0.0) + measured.get("loader_start_s", 0.0),
    )
    store.costs.keep(of_profiles(place.setup), [KnownCost(params=params, cost=cost, measured=measured)])
    if not late:
        store.costs.keep(place.setup, [KnownCost(params=params, cost=cost)])


def seconds_of(ranks_in_order: Sequence[int]) -> float:
    """How long measurements take, by the ranks of each in their order."""
    changes = sum(one != other for one, other in pairwise(ranks_in_order))
    return len(ranks_in_order) * RUN_S + CHANGE_S * changes


def cells_in(minutes: float, ranks: int) -> int:
    """How many cells so many minutes have room for, the start and the changes of ranks with them."""
    left_s = 60 * minutes - START_S - CHANGE_S * (ranks - 1) * REPEATS
    return max(0, int(left_s / (REPEATS * RUN_S)))
