"""What a search begins with: its past, the costs that are known, warm configurations, and what is left to do."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tune_cnn.errors import InputError, SpecError
from tune_cnn.metrics import EpochPoint
from tune_cnn.records.rows import StudyRecord
from tune_cnn.records.store import Store
from tune_cnn.search.search import Past, Search
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.spec.loading import spec_of_export
from tune_cnn.spec.parts import Budget
from tune_cnn.spec.strategies import Cards
from tune_cnn.states import StudyState
from tune_cnn.study.archive import read_archive
from tune_cnn.study.front import Front, read_config
from tune_cnn.study.locations import Locations
from tune_cnn.study.searching.costs import setup_of
from tune_cnn.trials.cluster import Slots
from tune_cnn.untyped import Plain


def why_nothing_left(store: Store, record: StudyRecord, spec: StudySpec) -> str | None:
    """Why nothing is to be trained, and what would change that; None where something is."""
    if _is_spent(store, record, spec.budget):
        return "the budget is spent, so nothing is trained; a larger one goes on"
    before = Budget.model_validate(record.spec["budget"])
    same_growth = (
        spec.min_growth_pct_per_hour is not None
        and record.spec.get("min_growth_pct_per_hour") == spec.min_growth_pct_per_hour
    )
    if record.state is StudyState.FINISHED and same_growth and not _is_spent(store, record, before):
        return "min_growth_pct_per_hour has ended this search, so nothing is trained; a smaller one, or none, goes on"
    return None


def _is_spent(store: Store, record: StudyRecord, budget: Budget) -> bool:
    if budget.hours is not None and record.searched_s >= budget.hours * 3600:
        return True
    if budget.epochs is not None and len(store.points(record.name)) >= budget.epochs:
        return True
    trials = store.trials(record.name)
    if budget.trials is None or any(not trial.state.has_ended for trial in trials):
        return False
    return max((trial.number for trial in trials), default=-1) + 1 >= budget.trials


def search_of(
    store: Store, spec: StudySpec, cards: Cards, warm: Sequence[Mapping[str, Plain]], say: Callable[[str], None]
) -> Search:
    """The search, rebuilt from what is past; a fresh study starts with its warm configurations."""
    trials = store.trials(spec.study)
    points: dict[int, list[EpochPoint]] = {}
    for point in store.points(spec.study):
        points.setdefault(point.trial, []).append(point)
    ended = [t for t in trials if t.state.has_ended]
    past = [
        Past(
            params=t.params,
            state=t.state,
            points=points.get(t.number, []),
            gpu_share=t.extra.get("gpu_share", 0.0),
        )
        for t in ended
    ]
    record = store.study(spec.study)
    searcher = Search(spec, past=past, cards=cards, reference=record.reference if record is not None else None)
    if warm:
        taken = sum(searcher.queue(params) for params in warm)
        say(f"warm start: {taken} of {len(warm)} configurations lie in the space and are tried first")
    return searcher


def teach_costs(searcher: Search, store: Store, spec: StudySpec, info: Mapping[str, Plain], slots: Slots) -> None:
    """What dry runs and other studies measured on this very data, model and hardware, in as many slots as these."""
    for known in store.costs.known(setup_of(spec, info, slots=slots.count, gpus_per_rank=slots.gpu_share)).values():
        searcher.learn_cost(known.params, known.cost, fits=known.reason is None)


def warm_params(source: str, locations: Locations) -> list[dict[str, Plain]]:
    """Configurations to start from: an export, a spec without a choice, or the front of another study."""
    if Path(source).expanduser().is_file():
        spec = parse_spec(spec_of_export(read_config(source).as_dict()), source)
        return [spec.configuration({}).params()]
    try:
        front = Front(read_archive(source, locations.home, locations.tracking_uri))
    except InputError as error:
        raise SpecError(f"warm_start: {source!r} is no file; {error}") from None
    seen = {point.trial: front.params(point) for point in front.points}
    return [front.spec.configuration(params).params() for params in seen.values()]


def last_of_phase(spec: StudySpec, number: int, phases: int) -> int | None:
    """Phases share the budget of trials evenly; a study without one gives each phase all until time is up."""
    if phases == 1 or spec.budget.trials is None:
        return None
    return spec.budget.trials * number // phases
