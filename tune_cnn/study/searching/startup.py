"""How a search begins: what is left to do, its past, the costs that are known, and its driver."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tune_cnn.errors import InputError, SpecError
from tune_cnn.metrics import by_trial
from tune_cnn.records.rows import StudyRecord
from tune_cnn.records.store import Store
from tune_cnn.reports.terminal.live import LiveDisplay
from tune_cnn.search.search import Past, Search
from tune_cnn.spec import StudySpec, load_spec, parse_spec
from tune_cnn.spec.parts import Budget
from tune_cnn.spec.reading.loading import recipe_names, spec_of_export
from tune_cnn.spec.resources import Phase
from tune_cnn.spec.strategies import Cards
from tune_cnn.states import StudyState, TrialState
from tune_cnn.study.archive import read_archive
from tune_cnn.study.checks.accelerators import of_all_types, possible
from tune_cnn.study.checks.preflight import Checked, checked_with
from tune_cnn.study.checks.resume import search_on
from tune_cnn.study.export import read_config
from tune_cnn.study.front import Front
from tune_cnn.study.locations import Locations
from tune_cnn.study.machine import ACCELERATOR, of_phase, on_type
from tune_cnn.study.searching.budget import PhaseEnd
from tune_cnn.study.searching.costs import setup_of
from tune_cnn.study.searching.driver import SearchDriver
from tune_cnn.study.session.failures import is_paused, may_go_well
from tune_cnn.study.session.jobs import user_calls
from tune_cnn.study.session.session import Session
from tune_cnn.study.session.signals import ENDING, interruptible
from tune_cnn.training.messages import Inspection
from tune_cnn.trials.checkpoints import forget
from tune_cnn.trials.cluster.code import code_key
from tune_cnn.trials.cluster.machines import Slots
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


def search_of(session: Session, cards: Cards, warm: Sequence[Mapping[str, Plain]]) -> Search:
    """The search, rebuilt from what is past; a fresh study starts with its warm configurations."""
    store, spec = session.store, session.spec
    trials = store.trials(spec.study)
    points = by_trial(store.points(spec.study))
    past = [
        Past(
            params=t.params,
            state=t.state,
            points=points.get(t.number, []),
            gpu_share=t.extra.get("gpu_share", 0.0),
            power_limit_w=t.extra.get("power_limit_w"),
            accelerator=t.extra.get(ACCELERATOR),
        )
        for t in trials
        if t.state.has_ended
    ]
    record = store.study(spec.study)
    searcher = Search(spec, past=past, cards=cards, reference=record.reference if record is not None else None)
    if warm:
        taken = sum(searcher.queue(params) for params in warm)
        session.report(f"warm start: {taken} of {len(warm)} configurations lie in the space and are tried first")
    return searcher


def make_driver(
    session: Session,
    cards: Cards,
    slots: int,
    display: LiveDisplay,
    *,
    warm: Sequence[Mapping[str, Plain]] = (),
    over: str | None = None,
) -> SearchDriver:
    """The driver of a study's trials, where the study stands. `over`: as for `SearchDriver`."""
    checkpoints = session.locations.checkpoints(session.study)
    return SearchDriver(
        session,
        search_of(session, cards, warm),
        slots=slots,
        show=display.update,
        forget=lambda trial: forget(checkpoints, trial),
        over=over,
    )


def interrupt(driver: SearchDriver, session: Session) -> None:
    """The user's first signal."""
    driver.interrupted = True
    session.report(ENDING)
    session.leaving.hurry()


class Startup:
    """The start of a search, once the first slot has said what its node holds: open the study, make its driver.

    Tune's loop calls `open` while the other slots still start (`trials.tune_adapter.Opening`).
    """

    def __init__(
        self,
        session: Session,
        phases: Sequence[Slots],
        display: LiveDisplay,
        *,
        lease: ExitStack,
        warm: Sequence[Mapping[str, Plain]],
        over: str | None,
        is_new: bool,
        others: Mapping[str, Checked],
    ) -> None:
        """`lease` closes when the search ends. `over`: why nothing is left to search, where there is to confirm.

        `others`: what was found on the types of accelerator that come after the first phase's.
        """
        self.phases = phases
        self.shown = ExitStack()  # the display and the signals, from the first trial to the last
        self.driver: SearchDriver | None = None
        self.checked: Checked | None = None
        self._session, self._display, self._lease = session, display, lease
        self._warm, self._over, self._is_new, self._others = warm, over, is_new, others
        self._of_types: Mapping[str, Checked] = {}  # what each can train, where there are several

    @property
    def opened(self) -> SearchDriver:
        assert self.driver is not None, "the first slot has answered"
        return self.driver

    def open(self, inspection: Inspection) -> SearchDriver:
        """The driver of the trials to come; raises InputError where the node can't search this spec."""
        session, slots = self._session, self.phases[0]
        checked = checked_with(session.spec, slots, inspection)
        if self._others:
            self._of_types = {str(slots.accelerator): checked, **self._others}
            checked = of_all_types(session.spec, self._of_types)
        self.checked = checked
        for note in checked.notes:
            session.report(note)
        self._open_study(checked)
        session.begin_delivery()
        adapted = replace(session, spec=checked.spec)
        self.driver = driver = make_driver(
            adapted, checked.cards, slots.count, self._display, warm=self._warm, over=self._over
        )
        self.begin_phase(1)
        session.leaving.first(lambda: session.give_up(at_once=False))
        session.leaving.clear_screen = self._display.close
        self.shown.enter_context(self._display)
        self.shown.enter_context(interruptible(lambda: interrupt(driver, session), unheard=session.leaving.unheard))
        return driver

    def begin_phase(self, number: int) -> None:
        """The driver hands out the trials of this phase, from 1, and the search learns what is known of its costs."""
        assert self.checked is not None, "the study is open"
        spec, slots, driver = self._session.spec, self.phases[number - 1], self.opened
        here = self._of_types.get(str(slots.accelerator))
        driver.begin_phase(
            slots.gpu_share,
            slots.count,
            on=Phase(power_limit_w=slots.power_limit_w, accelerator=slots.accelerator),
            possible=None if here is None else possible(here.spec),
            end=PhaseEnd.of(spec.budget, number, len(self.phases)),
        )
        phase = of_phase(slots.count, slots.gpu_share, slots.power_limit_w, slots.accelerator)
        setup = setup_of(spec, on_type(self.checked.info, slots.accelerator), **phase)
        teach_costs(driver.search, self._session.store, setup)

    def _open_study(self, checked: Checked) -> None:
        store, spec = self._session.store, self._session.spec
        if self._is_new:
            store.create_study(spec.study, spec.model_dump(), info=checked.info)
            self._lease.enter_context(store.lease(spec.study))
            return
        info = search_on(self._session, checked.info)
        state = StudyState.RUNNING if self._over is None else StudyState.FINISHED  # what has ended a search stays
        store.update_study(spec.study, spec=spec.model_dump(), state=state, info=info)


def reopen_failed(session: Session, known: StudyRecord) -> None:
    """Let what failed be tried again, where the search was paused over it or the user's code has changed since."""
    store, spec = session.store, session.spec
    trials = store.trials(spec.study)
    changed = known.info.get("code") != code_key(spec.resources.code, user_calls(spec))
    if not changed and not is_paused(trials):
        return
    held = [trial for trial in trials if _holds(spec, trial.params)]
    for trial in trials:
        if not trial.state.has_ended and trial not in held:
            store.end_trial(spec.study, trial.number, TrialState.FAILED, "the spec was changed before it gave a point")
    again = [trial for trial in held if may_go_well(trial)]
    for trial in again:
        store.reopen_trial(spec.study, trial.number)
    if again:
        session.report(f"tried again, as they failed before: trials {', '.join(str(trial.number) for trial in again)}")


def _holds(spec: StudySpec, params: Mapping[str, Plain]) -> bool:
    """Whether the space, which may have changed, still has this configuration."""
    return all(spec.dimension(key).holds(params[key]) for key in spec.searched if key in params)


def teach_costs(searcher: Search, store: Store, setup: Mapping[str, Plain]) -> None:
    """What dry runs and other studies measured on this very data, model and hardware, in as many slots as these."""
    for known in store.costs.known(setup).values():
        searcher.learn_cost(known.params, known.cost, fits=known.reason is None)


def warm_params(source: str, locations: Locations) -> list[dict[str, Plain]]:
    """Configurations to start from: an export, a spec or recipe without a choice, or the front of another study."""
    if Path(source).expanduser().is_file():
        spec = parse_spec(spec_of_export(read_config(source).as_dict()), source)
        return [spec.configuration({}).params()]
    if source in recipe_names() and not (recipe := load_spec(source)).searched:
        return [recipe.configuration({}).params()]
    try:
        front = Front(read_archive(source, locations.home, locations.tracking_uri))
    except InputError as error:
        raise SpecError(f"warm_start: {source!r} is no file; {error}") from None
    seen = {point.trial: front.params(point) for point in front.points}
    return [front.spec.configuration(params).params() for params in seen.values()]
