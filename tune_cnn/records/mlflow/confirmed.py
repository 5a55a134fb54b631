"""Confirmed points in MLflow: tags and metrics of their trials' runs, a table in the study's own words."""

import math
from collections.abc import Mapping, Sequence

from mlflow.entities import Metric

from tune_cnn.front.confirmed import Confirmed, SeedRun, failed_candidates
from tune_cnn.metrics import TEST, by_trial
from tune_cnn.records.front_history import confirmed_candidates
from tune_cnn.records.mlflow.client import Server
from tune_cnn.records.mlflow.description import odd_free
from tune_cnn.records.mlflow.runs import StudyRuns
from tune_cnn.records.rows import TrialRecord
from tune_cnn.spec import StudySpec
from tune_cnn.untyped import Plain

CONFIRMED, EPOCHS, FAILED = "confirmed", "confirmed_epochs", "confirm_failed"
ON_FRONT = "confirmed_front"
POINTS = "confirmed_points"  # on the parent: `confirmed` there would stand among the trials' runs in a filter
# Beside objectives, constraints and the user's own; the rest is in points.json and the report.
SENT = ("accuracy", "val_loss", *TEST, "train_time_s", "total_time_s", "peak_memory_mib")


def send_confirmed(
    server: Server,
    runs: StudyRuns,
    seed_runs: Sequence[SeedRun],
    trials: Mapping[int, TrialRecord],
    spec: StudySpec,
    stamp_ms: int,
    images: Mapping[str, Plain],
) -> None:
    """All of it at each change: how likely one is on the front depends on the others. Steps are the stop epochs.

    `images`: the study's facts about its data.
    """
    found = confirmed_candidates(seed_runs, spec, images)
    of_trial = by_trial(found)
    failed: dict[int, list[str]] = {}
    for (trial, epoch), reasons in failed_candidates(seed_runs).items():
        failed.setdefault(trial, []).append(f"epoch {epoch}: {reasons[0]}")
    once_failed = {run.trial for run in seed_runs if run.state.is_failure}
    names = dict.fromkeys([*spec.objectives, *spec.constraints, *SENT, *spec.user_metrics])
    for trial in sorted(of_trial.keys() | failed.keys()):
        mine = sorted(of_trial.get(trial, []), key=lambda one: one.epoch)
        tags = {}
        if mine:
            on_front = any(one.on_front for one in mine)
            tags = {CONFIRMED: "true", EPOCHS: ",".join(str(one.epoch) for one in mine)}
            tags[ON_FRONT] = "true" if on_front else "false"
        tags |= {FAILED: "; ".join(failed[trial])} if trial in failed else {}
        metrics = [m for one in mine for m in metrics_to_send(one, list(names), stamp_ms)]
        run_id = runs.of_trial(trials[trial])
        server.log(run_id, metrics=metrics, tags=tags)
        if trial in once_failed - failed.keys():  # a later seed went well
            server.delete_tags(run_id, [FAILED])
    server.log(runs.parent, tags={POINTS: str(len(found))})


def confirmed_words(found: Sequence[Confirmed], objectives: Sequence[str]) -> str:
    """A table in Markdown, for the description of the study; nothing where nothing is confirmed."""
    if not found:
        return ""
    names = [*objectives, *(name for name in TEST[:1] if any(name in one.predictions for one in found))]
    heads = ["trial", "epoch", "seeds", *(f"`{name}`" for name in names), "on the front"]
    rows = [
        [str(one.trial), str(one.epoch), str(one.seeds), *(_cell(one, name) for name in names), one.chance]
        for one in found
    ]
    table = [f"| {' | '.join(cells)} |" for cells in (heads, ["---:"] * len(heads), *rows)]
    return "\n".join(
        [
            "",
            "",
            "**Confirmed**, each trained again alone on its hardware: means over the seeds, and where a fresh run lies "
            f"95 times in 100. The figure is `confirmed.html`; filter the trials' runs by `tags.{CONFIRMED} = 'true'`.",
            "",
            *table,
        ]
    )


def _cell(one: Confirmed, name: str) -> str:
    of = one.predictions.get(name)
    if of is None:
        return ""
    return f"{of.mean:.4g}" + (f" [{of.low:.4g}, {of.high:.4g}]" if of.low is not None else "")


def metrics_to_send(one: Confirmed, names: Sequence[str], stamp_ms: int) -> list[Metric]:
    """Of a confirmed point, for its trial's run; the step is its stop epoch."""
    values: dict[str, float | None] = {"seeds": one.seeds, "front_probability": one.probability}
    for name in names:
        if name in one.predictions:
            values |= {f"{odd_free(name)}.{part}": value for part, value in one.predictions[name].as_dict().items()}
    if one.probability is None and one.seeds > 1:  # it may have had one; MLflow can't take a metric back
        values["front_probability"] = math.nan
    sent = {f"{CONFIRMED}.{name}": value for name, value in values.items() if value is not None}
    return [Metric(name, float(value), stamp_ms, one.epoch) for name, value in sent.items()]
