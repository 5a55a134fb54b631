"""The course of a search: check, connect, run the phases, close; the same command again goes on."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune_cnn.errors import InputError, Interrupted, SpecError, StoreError, StudyError, TuneCnnError
from tune_cnn.objectives import EpochPoint
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.outbox_process import Outbox, start_outbox
from tune_cnn.records.store import Store
from tune_cnn.reports.live import LiveDisplay
from tune_cnn.search.search import Past, Search
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.spec.configuration import Configuration
from tune_cnn.spec.loading import spec_of_export
from tune_cnn.study.archive import open_store, read_archive
from tune_cnn.study.conductor import Conductor
from tune_cnn.study.exporting import Front, read_config
from tune_cnn.study.interrupts import interruptible, terminable
from tune_cnn.study.preflight import Checked, check, check_measurable, check_unchanged
from tune_cnn.study.reporting import report_files
from tune_cnn.training.job import TrainingJob
from tune_cnn.trials.checkpoints import forget
from tune_cnn.trials.cluster import Slots, connected, fit
from tune_cnn.trials.trainable import Payload
from tune_cnn.trials.tuning import run_trials

log = logging.getLogger(__name__)

CACHE = "~/.cache/tune_cnn"
DRAIN_S = 60.0  # what MLflow may still take at the end; the rest waits for `sync` or the next start
AWAY_S = 3.0  # the same while its server doesn't answer


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a search works."""

    home: Path
    tracking_uri: str
    address: str | None = None
    storage: str | None = None  # checkpoints: a folder that all nodes share, or a URI; default: in the home
    loop: str | None = None  # another training than ours, package.module:Class
    debug: bool = False

    @property
    def cache_dir(self) -> str:
        return os.environ.get("TUNE_CNN_CACHE", CACHE)

    def folder(self, study: str) -> Path:
        return self.home / study

    def checkpoints(self, study: str) -> str:
        root = self.storage or str(self.home.absolute())
        return f"{root.rstrip('/')}/{study}/checkpoints"


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    study: str
    state: str  # finished or interrupted
    trials: dict[str, int]
    points: int
    hypervolume: float | None
    front: Front
    report: str | None  # None: it could not be written


def search(spec: StudySpec, places: Places, *, display: LiveDisplay, say: Callable[[str], None]) -> SearchResult:
    """Search until the budget is spent, or go on with a search that was interrupted. Raises TuneCnnError."""
    store = open_store(places.home, create=True)
    with ExitStack() as stack:
        stack.callback(store.close)
        known = store.study(spec.study)
        if known is not None:
            check_unchanged(known.spec, spec)
            stack.enter_context(store.lease(spec.study))
        fresh = known is None or not store.trials(spec.study)
        warm = [params for source in spec.warm_start for params in warm_params(source, places)] if fresh else []
        say("starting Ray" if places.address is None else f"joining the Ray cluster at {places.address}")
        calls = user_calls(spec)
        code = spec.resources.code
        stack.enter_context(connected(places.address, code=code, calls=calls, quiet=not places.debug))
        stack.enter_context(terminable())
        phases = [fit(spec.resources, share, say=say) for share in spec.resources.gpu_phases]
        for slots in phases:
            check_measurable(spec, slots.gpu_share)
        say("checking data, model and hardware")
        checked = check(spec, phases[0], cache_dir=places.cache_dir)
        for note in checked.notes:
            say(note)
        if known is None:
            store.create_study(spec.study, spec.model_dump(), info=checked.info)
            stack.enter_context(store.lease(spec.study))
        else:
            store.update_study(spec.study, spec=spec.model_dump(), state="running", info=checked.info)
        return _run(store, checked, phases, places, warm, display=display, say=say)


def user_calls(spec: StudySpec) -> list[str]:
    """Every package.module:name of the user's that a spec names."""
    named = [spec.data.name, spec.model.name, spec.training or "", *(m.call or "" for m in spec.metrics.values())]
    return [name for name in named if ":" in name]


def _run(
    store: Store,
    checked: Checked,
    phases: Sequence[Slots],
    places: Places,
    warm: Sequence[Mapping[str, Any]],
    *,
    display: LiveDisplay,
    say: Callable[[str], None],
) -> SearchResult:
    spec = checked.spec
    searcher = _search(store, spec, warm, say)
    outbox = _start_outbox(store, spec.study, places, say)
    conductor = Conductor(
        store,
        spec,
        searcher,
        slots=phases[0].count,
        show=display.update,
        mlflow=lambda: _delivery(outbox),
        forget=lambda trial: forget(places.checkpoints(spec.study), trial),
    )
    try:
        with display, interruptible(lambda: _interrupt(conductor, display)):
            for number, slots in enumerate(phases, start=1):
                last = _last_of_phase(spec, number, len(phases))
                conductor.begin_phase(slots.gpu_share, slots.count, last_number=last)
                if conductor.trials_to_run != 0 and not conductor.stopping:
                    payload = _payload(spec, slots, places)
                    run_trials(conductor, payload, slots, at_most=conductor.trials_to_run)
            conductor.finish()
        return _close(store, spec, searcher, conductor, outbox, places, say)
    except BaseException as end:
        _give_up(store, spec.study, outbox, at_once=isinstance(end, KeyboardInterrupt))
        raise


def _search(store: Store, spec: StudySpec, warm: Sequence[Mapping[str, Any]], say: Callable[[str], None]) -> Search:
    """The search, rebuilt from what is past; a fresh study starts with its warm configurations."""
    trials = store.trials(spec.study)
    points: dict[int, list[EpochPoint]] = {}
    for point in store.points(spec.study):
        points.setdefault(point.trial, []).append(point)
    ended = [t for t in trials if t.state not in {"running", "interrupted"}]
    searcher = Search(spec, past=[Past(params=t.params, state=t.state, points=points.get(t.number, [])) for t in ended])
    if warm:
        taken = sum(searcher.queue(params) for params in warm)
        say(f"warm start: {taken} of {len(warm)} configurations lie in the space and are tried first")
    return searcher


def warm_params(source: str, places: Places) -> list[dict[str, Any]]:
    """Configurations to start from: an export, a spec without a choice, or the front of another study."""
    if Path(source).expanduser().is_file():
        spec = parse_spec(spec_of_export(read_config(source).as_dict()), source)
        return [spec.configuration({}).params()]
    try:
        front = Front(read_archive(source, places.home, places.tracking_uri))
    except InputError as error:
        raise SpecError(f"warm_start: {source!r} is no file; {error}") from None
    seen = {point.trial: front.params(point) for point in front.points}
    return [front.spec.configuration(params).params() for params in seen.values()]


def _last_of_phase(spec: StudySpec, number: int, phases: int) -> int | None:
    """Phases share the budget of trials evenly; a study without one gives each phase all until time is up."""
    if phases == 1 or spec.budget.trials is None:
        return None
    return spec.budget.trials * number // phases


def job_template(spec: StudySpec, slots: Slots, places: Places) -> TrainingJob:
    """What all trials of a phase share; a trial adds its number, configuration, seed and checkpoint folder."""
    return TrainingJob(
        trial=0,
        configuration=Configuration(),
        data=spec.data,
        model=spec.model,
        metrics=spec.metrics,
        training=spec.training,
        ranks=spec.resources.ranks,
        gpu_share=slots.gpu_share,
        slots_per_gpu=slots.slots_per_gpu,
        cpus_per_rank=int(min(bundle["CPU"] for bundle in slots.bundles)),
        split_seed=spec.seed,
        deterministic=spec.resources.deterministic,
        cache_dir=places.cache_dir,
        checkpoint_every_s=spec.resources.checkpoint_every_s,
    )


def _payload(spec: StudySpec, slots: Slots, places: Places) -> Payload:
    loop: dict[str, Any] = {"loop": places.loop} if places.loop else {}
    job = job_template(spec, slots, places)
    return Payload(job=job, board=None, bundles=[], checkpoints=places.checkpoints(spec.study), **loop)


def _start_outbox(store: Store, study: str, places: Places, say: Callable[[str], None]) -> Outbox | None:
    try:
        return start_outbox(store, study, places.tracking_uri, folder=places.folder(study))
    except StoreError as error:
        say(f"MLflow is not told for now, the study keeps all: {error}")
        return None


def _delivery(outbox: Outbox | None) -> str | None:
    if outbox is None:
        return None
    status = outbox.status()
    return str(status).removeprefix("MLflow: ") if status.error or status.pending > 50 else None


def _interrupt(conductor: Conductor, display: LiveDisplay) -> None:
    conductor.interrupted = True
    display.say("Ending at the epoch, checkpoints are kept. Ctrl-C again ends at once.")


def _close(
    store: Store,
    spec: StudySpec,
    searcher: Search,
    conductor: Conductor,
    outbox: Outbox | None,
    places: Places,
    say: Callable[[str], None],
) -> SearchResult:
    conductor.raise_failure()
    counts = conductor.counts
    state = "interrupted" if conductor.interrupted else "finished"
    nothing = state == "finished" and not conductor.front and sum(counts.values()) > 0
    store.update_study(spec.study, state="failed" if nothing else state)  # type: ignore[arg-type]
    archive = read_archive(spec.study, places.home, None)
    files = _report(archive, places, searcher, say)
    for name, path in files.items():
        store.add_artifact(spec.study, path, name)
    if outbox is not None and (pending := store.pending(spec.study)):
        say(f"telling MLflow the last {pending} changes")
    why = outbox.status().error if outbox is not None else None
    waiting = outbox.finish(AWAY_S if why else DRAIN_S) if outbox is not None else store.pending(spec.study)
    if waiting:
        say(
            f"MLflow: {waiting} changes wait{f' ({why})' if why else ''}; nothing is lost: "
            f"`tune-cnn sync {spec.study}` delivers them"
        )
    if nothing:
        raise TuneCnnError(_why_nothing(store, spec.study))
    result = SearchResult(
        study=spec.study,
        state=state,
        trials=counts,
        points=len(archive.points),
        hypervolume=conductor.hypervolume,
        front=Front(archive),
        report=str(files["report.html"]) if files else None,
    )
    if conductor.interrupted:
        raise SearchInterrupted(result)
    return result


def _report(archive: StudyArchive, places: Places, searcher: Search, say: Callable[[str], None]) -> Mapping[str, Path]:
    """The files to look at. A search whose points are all stored has not failed because a file could not be written."""
    study = archive.study.name
    try:
        return report_files(archive, places.folder(study), importances=searcher.importances())
    except (OSError, InputError) as error:
        say(f"the report is not written ({error}); `tune-cnn report {study} -o FILE` writes it from the store")
        return {}


class SearchInterrupted(Interrupted):
    """The search ended at the user's wish; `result` is what there is so far."""

    def __init__(self, result: SearchResult) -> None:
        super().__init__(f"study {result.study!r}: interrupted; the same command goes on")
        self.result = result


def _why_nothing(store: Store, study: str) -> str:
    """All trials failed: how many of what."""
    reasons: dict[str, int] = {}
    trials = store.trials(study)
    for trial in trials:
        reason = trial.reason or trial.state
        reasons[reason] = reasons.get(reason, 0) + 1
    lines = [f"  {count} × {reason}" for reason, count in sorted(reasons.items(), key=lambda r: -r[1])[:5]]
    return f"study {study!r}: none of {len(trials)} trials gave a point that counts:\n" + "\n".join(lines)


def _give_up(store: Store, study: str, outbox: Outbox | None, *, at_once: bool) -> None:
    """Leave things as they are after a failure: what is stored is stored, MLflow hears of it later."""
    try:
        record = store.study(study)
        if record is not None and record.state == "running":  # one that has ended keeps the state it ended in
            store.update_study(study, state="interrupted")
        if outbox is not None and at_once:
            outbox.kill()
        elif outbox is not None:
            outbox.finish(5.0)
    except (StoreError, StudyError) as error:
        log.debug("the study's state could not be written, or MLflow not told: %s", error)
