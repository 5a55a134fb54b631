"""The answer of `gradients`, from the store alone: as plain data for --json, and as what the page shows."""

import base64
import shlex
from collections.abc import Sequence

from tune_cnn.metrics import last_points
from tune_cnn.records.document import StudyArchive
from tune_cnn.reports.gradients_report import Finding, GradientsReport, MetricSeen, Noise, PhaseSeen, Verdict
from tune_cnn.spec import to_yaml
from tune_cnn.study.archive import spec_of
from tune_cnn.study.gradients.findings import findings
from tune_cnn.study.gradients.notes import notes
from tune_cnn.study.gradients.phases import Phase, phases
from tune_cnn.study.gradients.policies import compare_command, farthest, policies_spec
from tune_cnn.study.gradients.seen import Seen, metrics_seen, noise_seen, read
from tune_cnn.study.hints import NextCommands
from tune_cnn.study.questions.asked import QUESTION
from tune_cnn.training.gradients.measured import CONTROL
from tune_cnn.untyped import Plain

POLICIES = "policies.yaml"


def seen_of(archive: StudyArchive) -> Seen:
    """All that was measured, the metrics in the order in which they were asked for."""
    return read(archive.measurements, archive.study.info[QUESTION]["asked"]["metrics"])


def phases_of(archive: StudyArchive, seen: Seen) -> list[Phase]:
    """By the learning rates of the measured epochs; with a plateau's each training has drops of its own, and the first
    training's are taken."""
    configuration = spec_of(archive).configuration({})
    first = min((trial for trial, _ in seen.measured), default=0)
    rates = sorted({one.epoch: one.learning_rate for trial, one in seen.measured if trial == first}.items())
    return phases(rates, configuration.schedule, configuration.horizon)


def answer(archive: StudyArchive) -> dict[str, Plain]:
    """As --json prints it."""
    seen = seen_of(archive)
    of = phases_of(archive, seen)
    noise = noise_seen(seen)
    return {
        "study": archive.study.name,
        "metrics": {one.name: {"phases": [_phase(phase) for phase in one.phases]} for one in metrics_seen(seen, of)},
        "noise_scale": [{"epoch": one.epoch + 1, **one.images.as_dict()} for one in noise] or None,
        "findings": [
            {
                "metric": one.metric,
                "phase": one.phase,
                "claim": one.claim,
                "verdict": str(one.verdict),
                "difference": None if one.difference is None else one.difference.as_dict(),
                "why": one.why,
            }
            for one in findings(seen, of)
        ],
        "trainings": len({trial for trial, _ in seen.measured}),
    }


def _phase(of: PhaseSeen) -> dict[str, Plain]:
    return {
        "phase": of.number,
        "epochs": [epoch + 1 for epoch in of.measured],
        "mini_batches": int(of.heat.shape[1]),
        "correlation": {**of.correlation.as_dict(), "by_training": list(of.by_seed)},
        "quantiles": [{"from": part.begin, "to": part.end, **part.distance.as_dict()} for part in of.parts],
        "against_random": None if of.against_control is None else of.against_control.as_dict(),
        "class_entropy_correlation": of.by_value,
        "relative_l2": of.relative_l2,
        "cosine": of.cosine,
        "layers": {layer: list(values) for layer, values in of.layers.items()},
    }


def report_of(archive: StudyArchive, commands: NextCommands) -> GradientsReport:
    """What the page shows."""
    spec, study = spec_of(archive), archive.study
    seen = seen_of(archive)
    of = phases_of(archive, seen)
    metrics, noise, found = metrics_seen(seen, of), noise_seen(seen), findings(seen, of)
    fars = farthest(seen, of)
    typed = [commands.report, commands.status]
    if fars:
        typed.insert(0, shlex.join(compare_command(commands.started, POLICIES)))
    return GradientsReport(
        study=study.name,
        description=spec.description,
        state=str(study.state),
        facts=_facts(archive, seen),
        answer=sentences(metrics, noise, found, [far.words for far in fars]),
        metrics=metrics,
        noise=noise,
        findings=found,
        notes=[*study.info.get("data", {}).get("notes", ()), *notes(archive, seen, of)],
        policies=policies_spec(spec, fars[0]) if fars else None,
        spec_yaml=to_yaml(spec),
        commands=typed,
        hardware=study.info.get("hardware", {}),
        versions=study.info.get("versions", {}),
    )


def policies_of(archive: StudyArchive) -> str | None:
    """A spec for `compare` made from what was seen; None where nothing stands out."""
    seen = seen_of(archive)
    fars = farthest(seen, phases_of(archive, seen))
    return policies_spec(spec_of(archive), fars[0]) if fars else None


def sheets_of(archive: StudyArchive) -> dict[str, bytes]:
    """The nearest and the farthest mini-batches as PNGs, by the names of their files."""
    seen, found = seen_of(archive), {}
    for (metric, phase), content in seen.sheets.items():
        for side in ("nearest", "farthest"):
            for number, sheet in enumerate(content[side], start=1):
                name = f"sheets/{metric.replace(':', '.')}-phase{phase}-{side}{number}.png"
                found[name] = base64.b64decode(sheet["png"])
    return found


def sentences(
    metrics: Sequence[MetricSeen], noise: Sequence[Noise], found: Sequence[Finding], fars: Sequence[str]
) -> list[str]:
    """The answer in plain words."""
    said = []
    told = [one for one in found if one.difference is not None]
    if told:
        hold, dont, open_ = (sum(one.verdict is verdict for one in told) for verdict in Verdict)
        said.append(
            f"Of {len(told)} findings of the paper that could be looked at {hold} hold, {dont} don't, and {open_} "
            "can't be told."
        )
    said += [f"Farthest from the full gradient: {words}." for words in fars[:1]]
    said += [_trend(metric) for metric in metrics if metric.name != CONTROL and metric.phases]
    if noise:
        first, last = noise[0], noise[-1]
        said.append(
            f"The gradient noise scale, about the critical batch size, is {first.images.value:,.0f} images before "
            f"epoch {first.epoch + 1} and {last.images.value:,.0f} before epoch {last.epoch + 1}."
        )
    return said


def _trend(metric: MetricSeen) -> str:
    """A metric's in a sentence, phase by phase."""
    phases_, many = [str(phase.number) for phase in metric.phases], len(metric.phases) > 1
    signs = {phase.correlation.sign for phase in metric.phases}
    trend = {
        frozenset({1}): "the greater it is, the farther is a mini-batch",
        frozenset({-1}): "the greater it is, the nearer is a mini-batch",
        frozenset({0}): "no sure trend over the ranking",
    }.get(frozenset(signs), "no one trend over the ranking")
    values = ", ".join(f"{phase.correlation.value:+.2f}" for phase in metric.phases)
    beside = [f"{one.against_control.value:.2f}" for one in metric.phases if one.against_control is not None]
    random = f"; {', '.join(beside)} times as far as random mini-batches" if beside else ""
    where = f"in phases {', '.join(phases_)}" if many else f"in phase {phases_[0]}"
    return f"{metric.name}: {trend} (rank correlation {values} {where}){random}."


def _facts(archive: StudyArchive, seen: Seen) -> list[tuple[str, str]]:
    data, model = archive.study.info.get("data", {}), spec_of(archive).model.name
    trainings = len({trial for trial, _ in seen.measured})
    epochs = len({one.epoch for _, one in seen.measured})
    last = last_points(archive.points)
    accuracies = [f"{point.metrics['accuracy']:.3f}" for point in last.values() if "accuracy" in point.metrics]
    facts = [("model", model), ("images", f"{data.get('name', '?')}, {data.get('train_images', 0):,} for training")]
    if seen.measured:
        one = seen.measured[0][1]
        facts.append(("mini-batches", f"{len(one.l2)} of {one.batch_size}"))
    facts.append(("measured", f"{epochs} epochs of {trainings} training{'s' * (trainings != 1)}"))
    if accuracies:
        facts.append(("accuracy at the end", ", ".join(accuracies)))
    return facts
