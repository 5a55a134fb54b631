"""The course of `confirm`: plan, connect, train what is left, tell MLflow; the same command again goes on."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import InputError, Interrupted, TuneCnnError
from tune_cnn.front.confirmed import SeedRun
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec
from tune_cnn.states import RunState
from tune_cnn.study.archive import open_store, read_archive, spec_of
from tune_cnn.study.checks.preflight import check, check_measurable
from tune_cnn.study.checks.resume import check_confirmable
from tune_cnn.study.confirming.plan import plan, settings
from tune_cnn.study.confirming.runs import confirm_planned
from tune_cnn.study.failures import nothing_confirmed
from tune_cnn.study.front import Front
from tune_cnn.study.locations import Locations, user_calls
from tune_cnn.study.report import report_files
from tune_cnn.study.searching.course import begin_delivery, drain
from tune_cnn.study.signals import interruptible, terminable
from tune_cnn.trials.cluster import connected, fit
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class ConfirmResult:
    study: str
    front: Front
    report: str | None  # None: it could not be written


class ConfirmInterrupted(Interrupted):
    """Confirming ended at the user's wish; `result` is what there is so far."""

    def __init__(self, result: ConfirmResult) -> None:
        super().__init__(f"study {result.study!r}: confirming is interrupted; the same command goes on")
        self.result = result


@left_as_found()
def confirm(
    study: str,
    locations: Locations,
    *,
    points: int | None = None,
    seeds: int | None = None,
    say: Callable[[str], None],
) -> ConfirmResult:
    """Train candidates of a study's front again, over several seeds, or go on with it. Raises TuneCnnError.

    `points`, `seeds`: instead of the spec's. More of either later only add runs.
    """
    read_archive(study, locations.home, None)  # says what is wrong, where there is no such study
    store = open_store(locations.home)
    with ExitStack() as stack:
        stack.callback(store.close)
        stack.enter_context(store.lease(study))
        archive = read_archive(study, locations.home, None)
        spec = spec_of(archive)
        runs = plan(archive, spec, settings(spec, points, seeds))
        store.confirmations.plan(study, runs)
        left = [run for run in store.confirmations.runs(study) if run.state is RunState.PLANNED]
        if not left:
            say(f"study {study}: all of its runs have ended already; more with --points or --seeds")
            outbox = begin_delivery(store, study, locations, say)
            result = _result(store, archive, locations, say)
            drain(store, study, outbox, locations, say)
        else:
            result = _run(stack, store, archive, spec, runs, locations, say)
        if not result.front.confirmed:
            raise TuneCnnError(nothing_confirmed(store, spec))
        return result


def _run(
    stack: ExitStack,
    store: Store,
    archive: StudyArchive,
    spec: StudySpec,
    runs: list[SeedRun],
    locations: Locations,
    say: Callable[[str], None],
) -> ConfirmResult:
    say("starting Ray" if locations.address is None else f"joining the Ray cluster at {locations.address}")
    quiet = not locations.debug
    stack.enter_context(connected(locations.address, code=spec.resources.code, calls=user_calls(spec), quiet=quiet))
    stack.enter_context(terminable())
    found = _as_searched(store, archive, spec, runs, locations, say)
    outbox = begin_delivery(store, spec.study, locations, say)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        say("Ending at the epoch, checkpoints are kept. Ctrl-C again ends at once.")

    try:
        with interruptible(stop):
            whole = confirm_planned(store, spec, runs, locations, found=found, stopping=lambda: stopped, say=say)
        result = _result(store, archive, locations, say)
        drain(store, spec.study, outbox, locations, say)
    except BaseException:
        if outbox is not None:
            outbox.kill()  # what it has not told yet, `sync` or the next start tells
        raise
    if not whole:
        raise ConfirmInterrupted(result)
    return result


def _as_searched(
    store: Store,
    archive: StudyArchive,
    spec: StudySpec,
    runs: list[SeedRun],
    locations: Locations,
    say: Callable[[str], None],
) -> Mapping[str, Plain]:
    """Refuse other images than the search's, and hardware that can't; say what else is not as it was then.

    What was found here.
    """
    shares = {trial.number: float(trial.extra.get("gpu_share", 0.0)) for trial in archive.trials}
    for share in sorted({shares[run.trial] for run in runs}):
        slots = fit(spec.resources, share, say=say)
        check_measurable(spec, slots.gpu_share)
    checked = check(spec, slots, cache_dir=locations.cache_dir)
    check_confirmable(store, spec, checked.spec, checked.info, say)
    return checked.info


def _result(store: Store, before: StudyArchive, locations: Locations, say: Callable[[str], None]) -> ConfirmResult:
    """What is confirmed so far, with the report and the figures written anew."""
    study = before.study.name
    archive = read_archive(study, locations.home, None)
    report: str | None = None
    try:
        files = report_files(archive, locations.folder(study), commands=locations.commands(study))
        for name, path in files.items():
            store.add_artifact(study, path, name)
        report = str(files["report.html"])
    except (OSError, InputError) as error:
        say(f"the report is not written ({error}); `{locations.commands(study).report}` writes it from the store")
    return ConfirmResult(study=study, front=Front(archive), report=report)
