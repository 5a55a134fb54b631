"""What the commands print for a reader, from plain data: a search's end, status, tables, trainings."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from rich.text import Text

from tune_cnn.front.confirmed import Confirmed
from tune_cnn.metrics import METRICS, TEST, Direction, EpochPoint, Metric
from tune_cnn.reports.numbers import ABSENT, number, quantity, setting, titled
from tune_cnn.reports.terminal.lines import Stream, plain, titled_columns
from tune_cnn.reports.terminal.tables.confirmed import confirmed_table
from tune_cnn.reports.terminal.tables.front import front_table
from tune_cnn.untyped import Plain

FIRST_POINTS = 12  # of a front, where it stands among other things
SHOWN = 8  # of the dimensions that a recipe searches: the strategies' has sixty
TRAINED = ("accuracy", "train_time_s", "total_time_s", "val_loss", "peak_memory_mib")
NEXT = {"confirm": "Confirm:", "export": "Export:", "train": "Train:"}


def line(text: str) -> None:
    """A line of progress on stderr. As Text: names and parameters may hold what rich takes for markup."""
    plain(Stream(stderr=True), text)


def front(
    points: Sequence[EpochPoint],
    objectives: Sequence[Metric],
    params: Mapping[int, Mapping[str, Plain]],
    searched: Sequence[str],
    *,
    most: int | None = None,
    confirmed: Collection[tuple[int, int]] = (),
) -> None:
    console = Stream()
    table = front_table(points, objectives, params, searched, width=console.width, most=most, confirmed=confirmed)
    console.print(table)


def search_head(result: Mapping[str, Plain]) -> None:
    """What stands above the front when a search has ended."""
    counts = _counts(result["trials"]) or "no trial"
    console = Stream()
    plain(console, f"\nStudy {result['study']} is {result['state']}: {counts}; {result['points']:,} epoch points.\n")


def search_foot(result: Mapping[str, Plain]) -> None:
    """Where the report is, and the exact next commands."""
    console = Stream()
    console.print()
    for told in result["failures"]:
        plain(console, told)
    if result["failures"]:
        console.print()
    if result["report"]:
        plain(console, f"{'Report:':8} {result['report']}")
    for key, label in NEXT.items():
        plain(console, f"{label:8} {result['next'][key]}")
    ui, runs = result["next"]["ui"], result["next"]["runs"]
    if runs is not None and runs.startswith(ui):  # a server's page
        plain(console, f"{'MLflow:':8} {runs}")
        return
    plain(console, f"{'MLflow:':8} {ui}")
    if runs is not None:
        plain(console, f"{'':8} which shows the runs at {runs}")


def status(status: Mapping[str, Plain]) -> None:
    volume, trials = status["hypervolume"], dict(status["trials"])
    if status["state"] != "running":  # the next start goes on with them
        trials["unfinished"] = trials.pop("running")
    searches = not status.get("question")  # a question has no front to cover
    rows = {
        "trials": _counts(trials) or "none",
        **({"hypervolume": f"{volume:.4f}" if volume is not None else "none yet"} if searches else {}),
        **({} if searches else {"asks": status["question"]}),
        **({"confirmed": _confirming(status["confirm"])} if status.get("confirm") else {}),
        **({"MLflow": status["mlflow"]["said"].removeprefix("MLflow: ")} if status.get("mlflow") else {}),
        "started": moment(status["started"]),
        "updated": moment(status["updated"]),
    }
    console, lines = Stream(), (f"  {name:12} {value}" for name, value in rows.items())
    for told in (f"{status['study']}: {status['state']}", *lines, *status["failures"], *status["notes"]):
        plain(console, told)


def nodes(found: Mapping[str, Plain]) -> None:
    """A row a node."""
    console = Stream()
    if not found["nodes"]:
        plain(console, f"{found['study']}: no node has ended a trial yet")
        return
    table = titled_columns("node", "host", "trials", "lost", "moved", "time", "stands")
    for node in found["nodes"]:
        ratio = ABSENT if node["time_ratio"] is None else f"{node['time_ratio']:.2f} ×"
        counts = (str(node[name]) for name in ("trials", "lost", "moved"))
        table.add_row(*map(Text, (node["node"][:8], node["host"], *counts, ratio, _standing(node))))
    console.print(table)


def _standing(node: Mapping[str, Plain]) -> str:
    """Whether it takes trials, and what to bear in mind."""
    told = ["gone"] if node["gone"] else []
    if node["aside_since"]:
        told.append(f"set aside since {moment(node['aside_since'])}: {node['why']}")
    if node["slower"]:
        told.append(f"slow: {node['slower']:.2f} times as long as elsewhere")
    return "; ".join(told) or "well"


def _confirming(progress: Mapping[str, Plain]) -> str:
    runs = _counts(progress["runs"])
    return f"{progress['confirmed']} of {progress['points']} points (trainings: {runs})"


def studies(rows: Sequence[Mapping[str, Plain]]) -> None:
    table = titled_columns("study", "state", "started", "updated")
    for row in rows:
        table.add_row(
            *map(Text, (row["study"], row["state"], *(moment(str(row[key])) for key in ("started", "updated"))))
        )
    Stream().print(table)


def recipes(rows: Sequence[Mapping[str, Plain]]) -> None:
    """A paragraph a recipe: as columns, what it searches and its description fold into slivers. `--json` has all."""
    console = Stream()
    for at, row in enumerate(rows):
        if at:
            console.print()
        console.print(Text.assemble((row["name"], "bold"), f": {row['description']}"), highlight=False)
        searched = list(row["searched"])
        more = len(searched) - SHOWN
        if more > 1:
            searched = [*searched[:SHOWN], f"and {more} more"]
        plain(console, f"  {row['data']}, {row['model']}; searches {', '.join(searched) or 'nothing'}")
        plain(console, f"  {row['file']}")


def strategies(rows: Sequence[Mapping[str, Plain]]) -> None:
    """A paragraph a strategy, like the recipes."""
    console = Stream()
    for at, row in enumerate(rows):
        if at:
            console.print()
        console.print(Text.assemble((row["name"], "bold"), f": {row['summary']}"), highlight=False)
        plain(console, f"  {row['paper']}; saves {row['saves']}; takes {', '.join(row['sites'])}")
        for name, knob in row["knobs"].items():
            allowed = knob["allowed"]
            ends = isinstance(allowed, Mapping)
            told = f"{allowed['low']} to {allowed['high']}" if ends else ", ".join(map(setting, allowed))
            plain(console, f"  {name} ({told}; {setting(knob['default'])}): {knob['meaning']}")
        if row["needs"]:
            plain(console, f"  needs {', '.join(row['needs'])}")
        if row["conflicts"]:
            plain(console, f"  not with {', '.join(row['conflicts'])}")


def training(result: Mapping[str, Plain]) -> None:
    """Promised against achieved, and where the weights are."""
    promised, achieved = result["promised"], result["achieved"]
    own = [name for name in promised if name not in {*METRICS, *TEST}]
    intervals = result.get("intervals", {})
    held = ["95 % of fresh runs", ""] if intervals else []
    table = titled_columns("", *(["promised"] if promised else []), "achieved", *held, right=True)
    for name in (*TRAINED, *own, "test_accuracy"):
        if name in promised or name in achieved:
            metric = METRICS.get("accuracy" if name == "test_accuracy" else name)
            label = name if metric is None or name == "test_accuracy" else titled(metric)
            kept = [number(of.get(name), metric) for of in ((promised, achieved) if promised else (achieved,))]
            kept += _held(intervals.get(name), achieved.get(name), metric) if intervals else []
            table.add_row(*map(Text, (label, *kept)))
    console = Stream()
    console.print(table)
    plain(console, f"\nWeights and model card: {result['folder']}")
    if registered := result.get("registered"):
        plain(console, f"Registered: {registered['uri']} at {registered['server']}")


def _held(interval: Mapping[str, Plain] | None, value: float | None, metric: Metric | None) -> list[str]:
    if interval is None or value is None:
        return ["", ""]
    ends = f"{number(interval['low'], metric)} to {number(interval['high'], metric)}"
    if interval["inside"] or metric is None:
        return [ends, "inside" if interval["inside"] else "outside"]
    better = (value > interval["high"]) == (metric.direction is Direction.MAX)
    return [ends, f"outside, {'better' if better else 'worse'}"]


def moment(iso: str) -> str:
    """ "2026-11-21 11:25 UTC", from the ISO time of a store."""
    return f"{datetime.fromisoformat(iso):%Y-%m-%d %H:%M} UTC"


def promised(promise: Mapping[str, Plain], objectives: Sequence[Metric]) -> str:
    """What an export promises, and what stands behind it."""
    metrics, intervals = promise["metrics"], promise.get("intervals", {})
    if not promise["confirmed"]:
        said = ", ".join(f"{m.name} {quantity(metrics[m.name], m)}" for m in objectives)
        return f"{said} (searched, not confirmed)"
    values = [f"{m.name} {quantity(metrics[m.name], m)}{between(intervals.get(m.name), m)}" for m in objectives]
    seeds, failed = promise["seeds"], len(promise.get("failed", ()))
    lost = f"; {failed} more failed" if failed else ""
    return f"{', '.join(values)} (confirmed over {seeds} seed{'s' if seeds > 1 else ''}{lost})"


def between(interval: Mapping[str, Plain] | None, metric: Metric) -> str:
    """ " [0.91, 0.93]": where a fresh run lies 95 times in 100; nothing where that is not known."""
    if interval is None or interval["low"] is None:
        return ""
    return f" [{quantity(interval['low'], metric)}, {quantity(interval['high'], metric)}]"


def confirmed(
    found: Sequence[Confirmed], objectives: Sequence[Metric], failed: Mapping[tuple[int, int], Sequence[str]]
) -> None:
    console = Stream()
    console.print()
    if found:
        console.print(confirmed_table(found, objectives))
    for (trial, epoch), reasons in failed.items():
        plain(console, f"Trial {trial} at epoch {epoch} is not confirmed, every run failed: {reasons[0]}")


def _counts(trials: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in trials.items() if count)
