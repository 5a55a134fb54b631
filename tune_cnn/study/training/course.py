"""`train`: keep the promise that an export made, and say how far it was kept."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import InputError, Interrupted, TrialError, TuneCnnError
from tune_cnn.files import write_whole
from tune_cnn.metrics import METRICS
from tune_cnn.records.mlflow.trained import Trained
from tune_cnn.reports.model_card import model_card
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.spec.reading.loading import spec_of_export
from tune_cnn.study.checks.preflight import check
from tune_cnn.study.export import Export, read_config
from tune_cnn.study.hints import again
from tune_cnn.study.locations import Locations
from tune_cnn.study.machine import differences, machine_of
from tune_cnn.study.session.jobs import job_template, loop_of, stalls_of
from tune_cnn.study.session.leaving import Leaving
from tune_cnn.study.session.session import Report, on_ray
from tune_cnn.study.session.signals import LEAVING, interruptible
from tune_cnn.study.training import registration
from tune_cnn.study.training.card import card_of
from tune_cnn.study.training.order import CARD, CHANGES, CONFIG, WEIGHTS, Order, Outcome, promised_by
from tune_cnn.study.training.promises import kept
from tune_cnn.training.messages import EpochResult, Program, TrainingJob
from tune_cnn.trials.checkpoints import remove
from tune_cnn.trials.cluster.machines import Slots, phase_slots
from tune_cnn.trials.dedicated import Dedicated, ProcessLost, alone, dedicated
from tune_cnn.trials.nodes.losses import Losses
from tune_cnn.trials.trainable import end_of
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    folder: str
    promised: Mapping[str, float]
    achieved: Mapping[str, float]
    intervals: Mapping[str, Mapping[str, Plain]]  # low, high, inside; of what was promised with an interval
    notes: list[str]
    registered: Mapping[str, str] | None = None  # name, version, uri, run_id, server


@left_as_found()
def train(
    source: str | Path,
    locations: Locations,
    *,
    output: Path | None = None,
    all_data: bool = False,
    register: str | None = None,
    report: Report,
) -> TrainResult:
    """Train an export to its stop epoch on its horizon; weights, model card and config go to `output`.

    `register`: a name in MLflow's registry, of which the model becomes the next version.
    """
    export = read_config(source)
    spec = parse_spec(spec_of_export(export.as_dict()), str(source))
    folder = (output or Path(f"{spec.study}-model")).absolute()
    order = Order(
        export=export,
        spec=spec,
        locations=locations,
        folder=folder,
        all_data=all_data,
        register=register,
        report=report,
    )
    _writable(folder)
    if register is not None:
        registration.check(register, locations.tracking_uri)
    trained = _run(order)
    card = _write(order, trained)
    return TrainResult(
        folder=str(folder),
        promised=promised_by(export),
        achieved=trained.achieved,
        # More images: another accuracy, measured on images that were trained on, and a longer time
        intervals={} if all_data else kept(export.promise, trained.achieved),
        notes=trained.notes,
        registered=_register(order, trained, card),
    )


def _run(order: Order) -> Outcome:
    """Train on Ray, alone on the hardware; TuneCnnError where the training fails."""
    spec, locations, report = order.spec, order.locations, order.report
    leaving, stopped = Leaving(), False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        report(LEAVING)
        leaving.hurry()

    with on_ray(spec, locations, report, leaving=leaving) as power:
        slots = phase_slots(spec.resources, spec.resources.phases[0], report=report)
        power.hold(slots.power_limit_w)
        checked = check(spec, replace(slots, count=1), cache_dir=locations.cache_dir)
        notes = _surprises(order.export, checked.info)
        for note in [*checked.notes, *notes]:
            report(note)
        found = {"data_key": checked.info["data"]["key"], "context_mib": checked.info["context_mib"]}
        job = replace(_job(order, checked.spec, slots), **found)
        horizon = job.configuration.horizon
        report(f"training {spec.model.name} on {spec.data.name} for {job.last_epoch} of {horizon} epochs")
        with interruptible(stop, unheard=leaving.unheard):
            trained = _to_the_end(order, job, slots, stopping=lambda: stopped)
    if trained.weights is None:
        notes.append(f"{spec.training} keeps its model to itself, so there are no weights; rank.track(model) shows it")
        report(notes[-1])
    return replace(trained, info=checked.info, notes=notes)


def _to_the_end(order: Order, job: TrainingJob, slots: Slots, *, stopping: Callable[[], bool]) -> Outcome:
    """Train, in another process from the last checkpoint where one is lost; Interrupted where the user stops it."""
    losses = Losses()  # as of a searched trial
    how = {**loop_of(order.locations), **stalls_of(order.spec, order.locations)}
    while True:
        try:
            with dedicated(job, alone(slots), leaving=stopping, **how) as training:
                return _trained(order, training, job, stopping)
        except ProcessLost as error:
            if stopping():
                raise _interrupted() from None
            if (given_up := losses.again(job.trial, error.loss, str(error))) is not None:
                raise TuneCnnError(f"the training failed: {given_up}") from None
            order.report(f"{error}; once more, from the last checkpoint")
        except (TrialError, MemoryError) as error:
            raise TuneCnnError(f"the training failed: {end_of(error)[1]}") from None


def _interrupted() -> Interrupted:
    return Interrupted(f"The training is interrupted; its checkpoint is kept.\nGo on with:  {again()}")


def _trained(order: Order, training: Dedicated, job: TrainingJob, stopping: Callable[[], bool]) -> Outcome:
    wants_program = order.register is not None
    if wants_program and job.training is None:
        training.check_program(job)
    is_checked = not wants_program or job.training is None

    def told(result: EpochResult) -> bool:
        nonlocal is_checked
        if not is_checked:
            _check_own_program(training, job)
            is_checked = True
        order.report(_line(result, job))
        return stopping()

    last = training.train(job, told)
    if stopping() and not last.done and last.epoch < job.last_epoch:
        raise _interrupted()
    changes, tested = training.changes(), training.test()
    weights = training.weights() if tested else None  # first: ranks that fail to make a program may be gone
    program, unexported = _program(training) if wants_program else (None, "")
    return Outcome(
        job=job,
        info={},
        notes=[],
        achieved={**last.metrics, **tested},
        changes=changes,
        weights=weights,
        program=program,
        unexported=unexported,
    )


def _check_own_program(training: Dedicated, job: TrainingJob) -> None:
    """After the first epoch, before which the user's own training has no model: the others may take hours."""
    _, why = _program(training)
    if why:
        raise InputError(
            f"--register: after the first epoch of {job.training} there is no model that can be registered: {why}; "
            "leave --register out to train it all the same"
        )


def _program(training: Dedicated) -> tuple[Program | None, str]:
    """The model as it is as a program, or why it can be none."""
    try:
        return training.program(), ""
    except ProcessLost:
        raise
    except TrialError as error:
        return None, str(error)


def _write(order: Order, trained: Outcome) -> str:
    """Write what was trained into its folder, the weights first; the model card."""
    folder = order.folder
    if trained.weights is not None:
        write_whole(folder / WEIGHTS, trained.weights)
    if trained.changes:
        write_whole(folder / CHANGES, json.dumps(trained.changes) + "\n")
    order.export.to_yaml(folder / CONFIG)
    remove(str(folder / "checkpoints"))
    card = model_card(card_of(order, trained))
    write_whole(folder / CARD, card)
    return card


def _register(order: Order, trained: Outcome, card: str) -> Mapping[str, str] | None:
    """Make the model the next version of its name in MLflow, where that is asked for."""
    if order.register is None:
        return None
    folder, origin = order.folder, order.export.origin
    if trained.program is None:
        raise TuneCnnError(f"the model is trained and lies in {folder}, but is not registered: {trained.unexported}")
    write_whole(folder / registration.PROGRAM, trained.program.pt2)
    entry = Trained(
        study=str(origin.get("study", order.spec.study)),
        params=trained.job.configuration.params(),
        metrics=trained.achieved,
        promised=promised_by(order.export),
        origin={k: v for k, v in origin.items() if isinstance(v, str | int | float | bool)},
        epoch=trained.job.last_epoch,
        card=card,
        files={name: folder / name for name in (CARD, CONFIG, WEIGHTS)},
        data=order.spec.data,
        facts=trained.info["data"],
    )
    return registration.register(
        order.register,
        trained.program,
        entry,
        tracking_uri=order.locations.tracking_uri,
        folder=folder,
        report=order.report,
    )


def _writable(folder: Path) -> None:
    """Before the training, not after it: hours may lie between."""
    if not folder.parent.is_dir():
        raise InputError(f"{folder}: its parent folder does not exist")
    probe = folder / ".written-by-tune-cnn"
    write_whole(probe, "")
    probe.unlink()


def _job(order: Order, spec: StudySpec, slots: Slots) -> TrainingJob:
    """`spec`: as this hardware can train it."""
    export, locations = order.export, order.locations
    return replace(
        job_template(spec, slots, locations),
        trial=int(export.origin.get("trial", 0)),
        configuration=spec.configuration({}),
        seed=int(export.config.get("trial_seed", spec.seed)),
        cache_dir=str(Path(locations.cache_dir).expanduser()),
        checkpoint_dir=str(order.folder / "checkpoints"),
        stop_epoch=export.config.get("stop_epoch"),
        all_data=order.all_data,
    )


def _surprises(export: Export, info: Mapping[str, Plain]) -> list[str]:
    """Why the promise may not be kept here: other images, other hardware, other versions."""
    notes = []
    promised_key = export.origin.get("data_key")
    if promised_key is not None and promised_key != info["data"]["key"]:
        notes.append("the images are not those of the search, so the promised accuracy may not be reached")
    here = machine_of(info)
    return notes + [f"not as it was promised: {difference}" for difference in differences(export.origin, here)]


def _line(result: EpochResult, job: TrainingJob) -> str:
    shown = [
        f"{name} {result.metrics[name]:.4g}{'' if METRICS[name].unit == '1' else ' ' + METRICS[name].unit}"
        for name in ("accuracy", "val_loss", "train_loss", "train_time_s")
        if name in result.metrics
    ]
    return f"epoch {result.epoch}/{job.last_epoch}: " + ", ".join(shown)
