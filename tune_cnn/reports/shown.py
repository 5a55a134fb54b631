"""What the commands print for a reader, from plain data: a search's end, status, tables, trainings, dry runs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tune_cnn.objectives import METRICS, EpochPoint, Metric
from tune_cnn.reports.numbers import ABSENT, duration, number, quantity, setting, titled
from tune_cnn.reports.table import front_table

FIRST_POINTS = 12  # of a front, where it stands among other things
TRAINED = ("accuracy", "train_time_s", "total_time_s", "val_loss", "peak_memory_mib")
NEXT = {"export": "Export:", "train": "Train:", "ui": "MLflow:"}


class _Stream(Console):
    """A stream whose reader may leave early: what that means is for the command to say."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def line(text: str) -> None:
    """A line of progress on stderr. As Text: names and parameters may hold what rich takes for markup."""
    _plain(_Stream(stderr=True), text)


def front(
    points: Sequence[EpochPoint],
    objectives: Sequence[Metric],
    params: Mapping[int, Mapping[str, Any]],
    searched: Sequence[str],
    *,
    most: int | None = None,
) -> None:
    console = _Stream()
    console.print(front_table(points, objectives, params, searched, width=console.width, most=most))


def search_head(result: Mapping[str, Any]) -> None:
    """What stands above the front when a search has ended."""
    counts = _counts(result["trials"]) or "no trial"
    console = _Stream()
    _plain(console, f"\nStudy {result['study']} is {result['state']}: {counts}; {result['points']:,} epoch points.\n")


def search_foot(result: Mapping[str, Any]) -> None:
    """Where the report is, and the exact next commands."""
    console = _Stream()
    console.print()
    if result["report"]:
        _plain(console, f"{'Report:':8} {result['report']}")
    for key, label in NEXT.items():
        _plain(console, f"{label:8} {result['next'][key]}")


def status(status: Mapping[str, Any]) -> None:
    volume, trials = status["hypervolume"], dict(status["trials"])
    if status["state"] != "running":  # the next start goes on with them
        trials["unfinished"] = trials.pop("running")
    rows = {
        "trials": _counts(trials) or "none",
        "hypervolume": f"{volume:.4f}" if volume is not None else "none yet",
        "started": moment(status["started"]),
        "updated": moment(status["updated"]),
    }
    console = _Stream()
    _plain(console, f"{status['study']}: {status['state']}")
    for name, value in rows.items():
        _plain(console, f"  {name:12} {value}")


def studies(rows: Sequence[Mapping[str, Any]]) -> None:
    table = _table("study", "state", "started", "updated")
    for row in rows:
        table.add_row(
            *map(Text, (row["study"], row["state"], *(moment(str(row[key])) for key in ("started", "updated"))))
        )
    _Stream().print(table)


def recipes(rows: Sequence[Mapping[str, Any]]) -> None:
    """A paragraph a recipe: as columns, what it searches and its description fold into slivers."""
    console = _Stream()
    for at, row in enumerate(rows):
        if at:
            console.print()
        console.print(Text.assemble((row["name"], "bold"), f": {row['description']}"), highlight=False)
        _plain(console, f"  {row['data']}, {row['model']}; searches {', '.join(row['searched']) or 'nothing'}")
        _plain(console, f"  {row['file']}")


def training(result: Mapping[str, Any]) -> None:
    """Promised against achieved, and where the weights are."""
    promised, achieved = result["promised"], result["achieved"]
    own = [name for name in promised if name not in METRICS]
    table = _table("", *(["promised"] if promised else []), "achieved", right=True)
    for name in (*TRAINED, *own, "test_accuracy"):
        if name in promised or name in achieved:
            metric = METRICS.get("accuracy" if name == "test_accuracy" else name)
            label = name if metric is None or name == "test_accuracy" else titled(metric)
            kept = [number(of.get(name), metric) for of in ((promised, achieved) if promised else (achieved,))]
            table.add_row(*map(Text, (label, *kept)))
    console = _Stream()
    console.print(table)
    _plain(console, f"\nWeights and model card: {result['folder']}")


def dry_run(result: Mapping[str, Any]) -> None:
    console, info = _Stream(), result["info"]
    data, model = info["data"], info["model"]
    parameters = f"; {model['parameters']:,} parameters" if model else ""
    _plain(
        console,
        f"\n{result['study']}: {data['num_classes']} classes; {data['train_images']:,} training, "
        f"{data['validation_images']:,} validation and {data['test_images']:,} test images{parameters}",
    )
    for phase in result["phases"]:
        _phase(console, phase, result["searched"])
    _plain(console, "Nothing was stored; the same command without --dry-run starts the search.")


def moment(iso: str) -> str:
    """ "2026-11-21 11:25 UTC", from the ISO time of a store."""
    return f"{datetime.fromisoformat(iso):%Y-%m-%d %H:%M} UTC"


def promised(metrics: Mapping[str, float], objectives: Sequence[Metric]) -> str:
    return ", ".join(f"{m.name} {quantity(metrics[m.name], m)}" for m in objectives)


def _phase(console: Console, phase: Mapping[str, Any], searched: Sequence[str]) -> None:
    slots = phase["slots"]
    share = f", {phase['gpus_per_rank']:g} GPU a rank" if phase["gpus_per_rank"] else ""
    _plain(console, f"{slots} trial{'s' if slots != 1 else ''} at a time{share}\n")
    table = _table("fits", "step [ms]", "images/s", "memory [MiB]", "trial [s]", right=True)
    table.add_column("configuration", overflow="fold")
    for probe in phase["probes"]:
        cells = [probe[key] for key in ("step_time_ms", "images_per_s", "peak_memory_mib", "trial_s")]
        told = " ".join(f"{key}={setting(value)}" for key, value in probe["params"].items() if key in searched)
        told = told or "as the spec says"
        if not probe["fits"]:
            told += f": {probe['reason']}"
        shown = [ABSENT if cell is None else number(round(cell, 1)) for cell in cells]
        table.add_row(*map(Text, ("yes" if probe["fits"] else "no", *shown, told)))
    if phase["probes"]:
        console.print(table)
    if phase["trials_per_hour"]:
        hours = phase["budget_hours"]
        budget = f"; the budget takes {duration(hours * 3600)}" if hours is not None else ""
        _plain(
            console,
            f"\nAbout {phase['trials_per_hour']:,.0f} trials an hour{budget}. "
            "Probed one at a time: trials that share the hardware are slower.",
        )


def _counts(trials: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in trials.items() if count)


def _table(*headings: str, right: bool = False) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for at, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if right and at else "left", no_wrap=True)
    return table


def _plain(console: Console, text: str) -> None:
    console.print(Text(text), highlight=False, soft_wrap=True)
