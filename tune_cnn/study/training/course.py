"""`train`: keep the promise that an export made, and say how far it was kept."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import InputError, TrialError, TuneCnnError
from tune_cnn.metrics import METRICS
from tune_cnn.reports.model_card import model_card
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.spec.loading import spec_of_export
from tune_cnn.study.checks.machine import differences, machine_of
from tune_cnn.study.checks.preflight import check
from tune_cnn.study.front import Export, read_config, write_whole, write_whole_bytes
from tune_cnn.study.searching.course import Locations, job_template, user_calls
from tune_cnn.study.signals import terminable
from tune_cnn.study.training import registration
from tune_cnn.study.training.promises import kept
from tune_cnn.training.exported import Program
from tune_cnn.training.messages import EpochResult, TrainingJob
from tune_cnn.trials.checkpoints import remove
from tune_cnn.trials.cluster import Slots, connected, fit
from tune_cnn.trials.dedicated import alone, dedicated
from tune_cnn.trials.trainable import end_of
from tune_cnn.untyped import Plain

WEIGHTS, CARD, CONFIG, CHANGES = "model.safetensors", "README.md", "config.yaml", "changes.json"


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
    say: Callable[[str], None],
) -> TrainResult:
    """Train an export to its stop epoch on its horizon; weights, model card and config go to `output`.

    `register`: a name in MLflow's registry, of which the model becomes the next version.
    """
    export = read_config(source)
    spec = parse_spec(spec_of_export(export.as_dict()), str(source))
    folder = (output or Path(f"{spec.study}-model")).absolute()
    _writable(folder)
    if register is not None:
        registration.check(register, spec, locations.tracking_uri)
    program: Program | None = None
    with (
        connected(locations.address, code=spec.resources.code, calls=user_calls(spec), quiet=not locations.debug),
        terminable(),
    ):
        slots = fit(spec.resources, spec.resources.gpu_phases[0], say=say)
        checked = check(spec, slots, cache_dir=locations.cache_dir)
        notes = _surprises(export, checked.info)
        for note in [*checked.notes, *notes]:
            say(note)
        job = _job(export, checked.spec, slots, locations, folder, all_data=all_data)
        horizon = job.configuration.horizon
        say(f"training {spec.model.name} on {spec.data.name} for {job.last_epoch} of {horizon} epochs")
        try:
            with dedicated(job, alone(slots), **({"loop": locations.loop} if locations.loop else {})) as training:
                if register is not None:
                    training.check_program(job)
                last = training.train(job, lambda result: say(_line(result, job)))
                achieved = dict(last.metrics)
                changes = training.changes()
                tested = training.test()
                achieved |= tested
                if tested:
                    write_whole_bytes(folder / WEIGHTS, training.weights())
                    program = training.program() if register is not None else None
        except (TrialError, MemoryError) as error:
            raise TuneCnnError(f"the training failed: {end_of(error)[1]}") from None
    if not tested:
        notes.append(f"{spec.training} keeps its model to itself, so there are no weights; rank.track(model) shows it")
        say(notes[-1])
    promised = export.promise.get("metrics", {})
    card = _card(
        export, spec, job, promised, achieved, checked.info, notes, reshaped=bool(changes), weights=bool(tested)
    )
    if changes:
        write_whole(folder / CHANGES, json.dumps(changes) + "\n")
    write_whole(folder / CARD, card)
    export.to_yaml(folder / CONFIG)
    remove(str(folder / "checkpoints"))
    # More images: another accuracy, measured on images that were trained on, and a longer time
    intervals = {} if all_data else kept(export.promise, achieved)
    registered = None
    if register is not None and program is not None:
        write_whole_bytes(folder / registration.PROGRAM, program.pt2)
        registered = registration.register(
            register,
            program,
            study=spec.study,
            tracking_uri=locations.tracking_uri,
            folder=folder,
            origin=export.origin,
            say=say,
            params=job.configuration.params(),
            metrics=achieved,
            promised=promised,
            epoch=job.last_epoch,
            card=card,
            files={name: folder / name for name in (CARD, CONFIG, WEIGHTS)},
            data=spec.data,
            facts=checked.info["data"],
        )
    return TrainResult(
        folder=str(folder),
        promised=promised,
        achieved=achieved,
        intervals=intervals,
        notes=notes,
        registered=registered,
    )


def _writable(folder: Path) -> None:
    """Before the training, not after it: hours may lie between."""
    if not folder.parent.is_dir():
        raise InputError(f"{folder}: its parent folder does not exist")
    probe = folder / ".written-by-tune-cnn"
    write_whole(probe, "")
    probe.unlink()


def _job(
    export: Export, spec: StudySpec, slots: Slots, locations: Locations, folder: Path, *, all_data: bool
) -> TrainingJob:
    return replace(
        job_template(spec, slots, locations),
        trial=int(export.origin.get("trial", 0)),
        configuration=spec.configuration({}),
        seed=int(export.config.get("trial_seed", spec.seed)),
        cache_dir=str(Path(locations.cache_dir).expanduser()),
        checkpoint_dir=str(folder / "checkpoints"),
        stop_epoch=export.config.get("stop_epoch"),
        all_data=all_data,
    )


def _surprises(export: Export, info: Mapping[str, Plain]) -> list[str]:
    """Why the promise may not be kept here: other images, other hardware, other versions."""
    notes = []
    promised_key, here = export.origin.get("data_key"), info["data"]["key"]
    if promised_key is not None and promised_key != here:
        notes.append("the images are not those of the search: its accuracy promises nothing here")
    then = machine_of(export.origin)  # an earlier release told of slots there
    return notes + [f"not as it was promised: {difference}" for difference in differences(then, machine_of(info))]


def _line(result: EpochResult, job: TrainingJob) -> str:
    shown = [
        f"{name} {result.metrics[name]:.4g}{'' if METRICS[name].unit == '1' else ' ' + METRICS[name].unit}"
        for name in ("accuracy", "val_loss", "train_loss", "train_time_s")
        if name in result.metrics
    ]
    return f"epoch {result.epoch}/{job.last_epoch}: " + ", ".join(shown)


def _card(
    export: Export,
    spec: StudySpec,
    job: TrainingJob,
    promised: Mapping[str, float],
    achieved: Mapping[str, float],
    info: Mapping[str, Plain],
    notes: list[str],
    *,
    reshaped: bool,
    weights: bool,
) -> str:
    data = info["data"]
    arguments = "".join(f", {key}={value!r}" for key, value in job.configuration.model.items())
    shape = (
        f"num_classes={data['num_classes']}, in_channels={data['in_channels']}, image_size={tuple(data['image_size'])}"
    )
    return model_card(
        title=spec.study,
        summary=f"{spec.model.name} trained on {data['name']}, {job.last_epoch} of {job.configuration.horizon} epochs"
        + (" on the training and validation images." if job.all_data else "."),
        origin={**{k: v for k, v in export.origin.items() if k not in {"hardware", "versions"}}, "seed": job.seed},
        data={k: v for k, v in data.items() if k not in {"classes", "mean", "std", "notes"}},
        configuration=job.configuration.params(),
        promise=promised,
        achieved=achieved,
        hardware=info["hardware"],
        versions=info["versions"],
        weights_file=WEIGHTS if weights else None,
        build_code=(
            "from tune_cnn.training.models.registry import build_model\n"
            + ("from tune_cnn.training.strategies.framework.rebuild import rebuilt\n\n" if reshaped else "\n")
            + f"model = build_model({spec.model.name!r}, {shape}, arguments=dict({arguments.removeprefix(', ')}))"
            + (f"\nmodel = rebuilt(model, {CHANGES!r})  # what strategies have made of it" if reshaped else "")
        ),
        metrics=spec.user_metrics,
        classes=data["classes"],
        inputs=(
            f"float images of {data['in_channels']}×{data['image_size'][0]}×{data['image_size'][1]}: pixels in [0, 1], "
            f"less the mean {tuple(round(m, 4) for m in data['mean'])}, "
            f"over the deviation {tuple(round(s, 4) for s in data['std'])}, by channel"
        ),
        notes=notes,
    )
