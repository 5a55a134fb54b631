"""The course of `confirm`: plan, connect, train what is left, tell MLflow; the same command again goes on."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import InputError, Interrupted, TuneCnnError
from tune_cnn.front.confirmed import SeedRun
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec
from tune_cnn.study.archive import open_store, read_archive, spec_of
from tune_cnn.study.confirm_plan import plan, settings
from tune_cnn.study.confirming import confirm_planned
from tune_cnn.study.exporting import Front
from tune_cnn.study.failures import nothing_confirmed
from tune_cnn.study.going_on import check_confirmable
from tune_cnn.study.interrupts import interruptible, terminable
from tune_cnn.study.places import Places, user_calls
from tune_cnn.study.preflight import check, check_measurable
from tune_cnn.study.reporting import report_files
from tune_cnn.study.searching import begin_delivery, drain
from tune_cnn.trials.cluster import connected, fit


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
    places: Places,
    *,
    points: int | None = None,
    seeds: int | None = None,
    say: Callable[[str], None],
) -> ConfirmResult:
    """Train candidates of a study's front again, over several seeds, or go on with it. Raises TuneCnnError.

    `points`, `seeds`: instead of the spec's. More of either later only add runs.
    """
    read_archive(study, places.home, None)  # says what is wrong, where there is no such study
    store = open_store(places.home)
    with ExitStack() as stack:
        stack.callback(store.close)
        stack.enter_context(store.lease(study))
        archive = read_archive(study, places.home, None)
        spec = spec_of(archive)
        runs = plan(archive, spec, settings(spec, points, seeds))
        store.confirmations.plan(study, runs)
        left = [run for run in store.confirmations.runs(study) if run.state == "planned"]
        if not left:
            say(f"study {study}: all of its runs have ended already; more with --points or --seeds")
            outbox = begin_delivery(store, study, places, say)
            result = _result(store, archive, places, say)
            drain(store, study, outbox, places, say)
        else:
            result = _run(stack, store, archive, spec, runs, places, say)
        if not result.front.confirmed:
            raise TuneCnnError(nothing_confirmed(store, spec))
        return result


def _run(
    stack: ExitStack,
    store: Store,
    archive: StudyArchive,
    spec: StudySpec,
    runs: list[SeedRun],
    places: Places,
    say: Callable[[str], None],
) -> ConfirmResult:
    say("starting Ray" if places.address is None else f"joining the Ray cluster at {places.address}")
    quiet = not places.debug
    stack.enter_context(connected(places.address, code=spec.resources.code, calls=user_calls(spec), quiet=quiet))
    stack.enter_context(terminable())
    found = _as_searched(store, archive, spec, runs, places, say)
    outbox = begin_delivery(store, spec.study, places, say)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        say("Ending at the epoch, checkpoints are kept. Ctrl-C again ends at once.")

    try:
        with interruptible(stop):
            whole = confirm_planned(store, spec, runs, places, found=found, stopping=lambda: stopped, say=say)
        result = _result(store, archive, places, say)
        drain(store, spec.study, outbox, places, say)
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
    places: Places,
    say: Callable[[str], None],
) -> Mapping[str, Any]:
    """Refuse other images than the search's, and hardware that can't; say what else is not as it was then.

    What was found here.
    """
    shares = {trial.number: float(trial.extra.get("gpu_share", 0.0)) for trial in archive.trials}
    for share in sorted({shares[run.trial] for run in runs}):
        slots = fit(spec.resources, share, say=say)
        check_measurable(spec, slots.gpu_share)
    checked = check(spec, slots, cache_dir=places.cache_dir)
    check_confirmable(store, spec, checked.spec, checked.info, say)
    return checked.info


def _result(store: Store, before: StudyArchive, places: Places, say: Callable[[str], None]) -> ConfirmResult:
    """What is confirmed so far, with the report and the figures written anew."""
    study = before.study.name
    archive = read_archive(study, places.home, None)
    report: str | None = None
    try:
        files = report_files(archive, places.folder(study), commands=places.commands(study))
        for name, path in files.items():
            store.add_artifact(study, path, name)
        report = str(files["report.html"])
    except (OSError, InputError) as error:
        say(f"the report is not written ({error}); `{places.commands(study).report}` writes it from the store")
    return ConfirmResult(study=study, front=Front(archive), report=report)
