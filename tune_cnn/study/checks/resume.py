"""A study that goes on, perhaps on another machine: what must be as it was, and what is said where it is not."""

from collections.abc import Mapping, Sequence

from tune_cnn.errors import ResourceError, StudyError
from tune_cnn.front.confirmed import SeedRun
from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec
from tune_cnn.states import RunState
from tune_cnn.study.accelerators import TRANSFERRED
from tune_cnn.study.machine import CONFIRMED_ON, differences, key_of, machine_of, on_type
from tune_cnn.study.session.session import Report, Session
from tune_cnn.untyped import Plain


def search_on(session: Session, here: Mapping[str, Plain]) -> dict[str, Plain]:
    """What to store of the place where a search goes on, from what `preflight.check` found there.

    Raises StudyError where the images are others.
    """
    then = session.record.info
    if session.store.trials(session.study):
        check_same_images(session.spec, then, here)
        _report_differences("it was searched", machine_of(then), here, session.report)
    return {**here, **{name: then[name] for name in (CONFIRMED_ON, TRANSFERRED) if name in then}}


def keep_machine(session: Session, run: SeedRun, here: Mapping[str, Plain], *, there: str | None = None) -> None:
    """A run that confirms has ended here: its candidate's promise holds for this machine."""
    info = session.record.info
    machines = {**info.get(CONFIRMED_ON, {}), key_of(run.trial, run.epoch, there): machine_of(here)}
    session.store.update_study(session.study, info={**info, CONFIRMED_ON: machines})


def check_confirmable(
    session: Session,
    adapted: StudySpec,
    here: Mapping[str, Plain],
    planned: Sequence[SeedRun] | None = None,
    *,
    on: str | None = None,
    there: str | None = None,
) -> None:
    """Before points are trained again; `adapted` as for `check_precisions`, whose error it raises too.

    `planned`: the runs that are to be trained here (default: all), on the type `on` of those searched, or `there`, on
    one that was not. Raises StudyError where the images are not the search's; says what else is not as it was.
    """
    then = session.record.info
    check_same_images(session.spec, then, here)
    if there is None:  # elsewhere all else is meant to be another
        _report_differences("it was searched", machine_of(on_type(then, on)), here, session.report)
    earlier = then.get(CONFIRMED_ON, {})
    mine = None if planned is None else {run.key for run in planned}
    runs = session.store.confirmations.runs(session.study, on=there)
    left = [run for run in runs if run.state is RunState.PLANNED and (mine is None or run.key in mine)]
    for key in sorted({key_of(*run.key, there) for run in left} & earlier.keys()):
        _report_differences(f"when {key} was trained with its earlier seeds", earlier[key], here, session.report)
    check_precisions(session.store, session.spec, adapted, left)


def check_precisions(store: Store, spec: StudySpec, adapted: StudySpec, runs: Sequence[SeedRun] | None = None) -> None:
    """ResourceError where a point needs a precision that this hardware lacks: its runs would fail, and for good.

    `adapted`: the spec as this hardware can search it; `runs`: those that are to come (default: all where it was
    searched).
    """
    precisions = adapted.dimension("precision").values
    params = {trial.number: trial.params for trial in store.trials(spec.study)}
    for run in store.confirmations.runs(spec.study) if runs is None else runs:
        wanted = spec.configuration(params[run.trial]).precision
        if run.state is RunState.PLANNED and wanted not in precisions:
            raise ResourceError(
                f"study {spec.study!r}: trial {run.trial} was searched with precision {wanted}, which this hardware "
                "lacks; confirm it where there is such hardware"
            )


def check_same_images(spec: StudySpec, then: Mapping[str, Plain], now: Mapping[str, Plain]) -> None:
    """StudyError where a study was searched on other images: what they give can't be held against each other."""
    key = then.get("data", {}).get("key")
    if key is not None and key != now["data"]["key"]:
        raise StudyError(
            f"study {spec.study!r}: the images under {spec.data.root} are not those that it was searched on, so it "
            "can't go on here; put the same images there, or search anew under another name"
        )


def _report_differences(what: str, then: Mapping[str, Plain], here: Mapping[str, Plain], report: Report) -> None:
    for difference in differences(then, machine_of(here)):
        report(f"not as {what}: {difference}")
