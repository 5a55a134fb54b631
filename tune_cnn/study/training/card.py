"""The model card of what was trained, and the code that builds its model."""

from collections.abc import Mapping

from tune_cnn.reports.model_card import ModelCard
from tune_cnn.spec import Configuration, StudySpec
from tune_cnn.study.training.order import CHANGES, WEIGHTS, Order, Outcome, promised_by
from tune_cnn.training.messages import TrainingJob
from tune_cnn.untyped import Plain


def card_of(order: Order, trained: Outcome) -> ModelCard:
    export, spec, job = order.export, order.spec, trained.job
    info, data = trained.info, trained.info["data"]
    side = f"{data['in_channels']}×{data['image_size'][0]}×{data['image_size'][1]}"
    mean, std = (tuple(round(value, 4) for value in data[name]) for name in ("mean", "std"))
    return ModelCard(
        title=spec.study,
        summary=f"{spec.model.name} trained on {data['name']}, {job.last_epoch} of {job.configuration.horizon} epochs"
        + (" on the training and validation images." if job.all_data else "."),
        origin={**{k: v for k, v in export.origin.items() if k not in {"hardware", "versions"}}, "seed": job.seed},
        data={k: v for k, v in data.items() if k not in {"classes", "mean", "std", "notes"}},
        configuration=job.configuration.params(),
        promise=promised_by(export),
        achieved=trained.achieved,
        hardware=info["hardware"],
        versions=info["versions"],
        weights_file=WEIGHTS if trained.weights is not None else None,
        build_code=_build_code(spec, job, data, reshaped=bool(trained.changes)),
        metrics=spec.user_metrics,
        classes=data["classes"],
        inputs=f"float images of {side}: pixels in [0, 1], less the mean {mean}, over the deviation {std}, by channel"
        + _as_evaluated(job.configuration),
        notes=trained.notes,
    )


def _as_evaluated(configuration: Configuration) -> str:
    """What an evaluation made of the images beside, which the program does by itself; nothing where it made nothing."""
    c = configuration
    told = [f"of which the middle {c.eval_crop:g} of each side is seen"] if c.eval_crop < 1 else []
    told += [f"resized to {c.eval_image_size} pixels"] if c.eval_image_size else []
    told += ["logits averaged over the image and its mirror"] if c.flip_at_test else []
    return f"; evaluated so: {', '.join(told)}" if told else ""


def _build_code(spec: StudySpec, job: TrainingJob, data: Mapping[str, Plain], *, reshaped: bool) -> str:
    """Python that builds the model which the weights are of."""
    arguments = ", ".join(f"{key}={value!r}" for key, value in job.configuration.model.items())
    shape = (
        f"num_classes={data['num_classes']}, in_channels={data['in_channels']}, image_size={tuple(data['image_size'])}"
    )
    return (
        "from tune_cnn.training.models.registry import build_model\n"
        + ("from tune_cnn.training.strategies.framework.rebuild import rebuilt\n\n" if reshaped else "\n")
        + f"model = build_model({spec.model.name!r}, {shape}, arguments=dict({arguments}))"
        + (f"\nmodel = rebuilt(model, {CHANGES!r})  # what strategies have made of it" if reshaped else "")
    )
