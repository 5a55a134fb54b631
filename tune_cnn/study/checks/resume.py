"""A study that goes on, perhaps on another machine: what must be as it was, and what is said where it is not."""

from collections.abc import Callable, Mapping

from tune_cnn.errors import ResourceError, StudyError
from tune_cnn.front.confirmed import SeedRun
from tune_cnn.records.store import Store
from tune_cnn.spec import Choice, Fixed, StudySpec
from tune_cnn.states import RunState
from tune_cnn.study.checks.machine import CONFIRMED_ON, differences, key_of, machine_of
from tune_cnn.untyped import Plain


def search_on(
    store: Store, spec: StudySpec, found: Mapping[str, Plain], say: Callable[[str], None]
) -> dict[str, Plain]:
    """What to store of the place where a search goes on, from what `preflight.check` found there.

    Raises StudyError where the images are others.
    """
    then = _info(store, spec)
    if store.trials(spec.study):
        check_same_images(spec, then, found)
        _say_differences("it was searched", machine_of(then), found, say)
    return {**found, **{name: then[name] for name in (CONFIRMED_ON,) if name in then}}


def keep_machine(store: Store, spec: StudySpec, run: SeedRun, found: Mapping[str, Plain]) -> None:
    """A run that confirms has ended here: its candidate's promise holds for this machine."""
    info = _info(store, spec)
    machines = {**info.get(CONFIRMED_ON, {}), key_of(run.trial, run.epoch): machine_of(found)}
    store.update_study(spec.study, info={**info, CONFIRMED_ON: machines})


def check_confirmable(
    store: Store, spec: StudySpec, here: StudySpec, found: Mapping[str, Plain], say: Callable[[str], None]
) -> None:
    """Before points are trained again; `here` as for `check_precisions`, whose error it raises too.

    Raises StudyError where the images are not the search's; says what else is not as it was.
    """
    then = _info(store, spec)
    check_same_images(spec, then, found)
    _say_differences("it was searched", machine_of(then), found, say)
    earlier = then.get(CONFIRMED_ON, {})
    left = {key_of(*run.key) for run in store.confirmations.runs(spec.study) if run.state is RunState.PLANNED}
    for key in sorted(left & earlier.keys()):
        _say_differences(f"when {key} was trained with its earlier seeds", earlier[key], found, say)
    check_precisions(store, spec, here)


def check_precisions(store: Store, spec: StudySpec, here: StudySpec) -> None:
    """ResourceError where a point needs a precision that this hardware lacks: its runs would fail, and for good.

    `here`: the spec as this hardware can search it.
    """
    dimension = here.space.get("precision", Fixed(value="fp32"))
    precisions = dimension.values if isinstance(dimension, Choice) else (dimension.value,)
    params = {trial.number: trial.params for trial in store.trials(spec.study)}
    for run in store.confirmations.runs(spec.study):
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


def _say_differences(
    what: str, then: Mapping[str, Plain], found: Mapping[str, Plain], say: Callable[[str], None]
) -> None:
    for difference in differences(then, machine_of(found)):
        say(f"not as {what}: {difference}")


def _info(store: Store, spec: StudySpec) -> Mapping[str, Plain]:
    record = store.study(spec.study)
    assert record is not None, "the study exists"
    return record.info
