"""What the commands print for a reader, from plain data: a search's end, status, tables, trainings, dry runs."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tune_cnn.front.confirmed import Confirmed
from tune_cnn.metrics import METRICS, TEST, Direction, EpochPoint, Metric
from tune_cnn.reports.numbers import ABSENT, duration, number, quantity, setting, titled
from tune_cnn.reports.terminal.confirmed_table import confirmed_table
from tune_cnn.reports.terminal.front_table import front_table
from tune_cnn.untyped import Plain

FIRST_POINTS = 12  # of a front, where it stands among other things
TRAINED = ("accuracy", "train_time_s", "total_time_s", "val_loss", "peak_memory_mib")
NEXT = {"confirm": "Confirm:", "export": "Export:", "train": "Train:"}


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
    params: Mapping[int, Mapping[str, Plain]],
    searched: Sequence[str],
    *,
    most: int | None = None,
    confirmed: Collection[tuple[int, int]] = (),
) -> None:
    console = _Stream()
    table = front_table(points, objectives, params, searched, width=console.width, most=most, confirmed=confirmed)
    console.print(table)


def search_head(result: Mapping[str, Plain]) -> None:
    """What stands above the front when a search has ended."""
    counts = _counts(result["trials"]) or "no trial"
    console = _Stream()
    _plain(console, f"\nStudy {result['study']} is {result['state']}: {counts}; {result['points']:,} epoch points.\n")


def search_foot(result: Mapping[str, Plain]) -> None:
    """Where the report is, and the exact next commands."""
    console = _Stream()
    console.print()
    for told in result["failures"]:
        _plain(console, told)
    if result["failures"]:
        console.print()
    if result["report"]:
        _plain(console, f"{'Report:':8} {result['report']}")
    for key, label in NEXT.items():
        _plain(console, f"{label:8} {result['next'][key]}")
    ui, runs = result["next"]["ui"], result["next"]["runs"]
    if runs is not None and runs.startswith(ui):  # a server's page
        _plain(console, f"{'MLflow:':8} {runs}")
        return
    _plain(console, f"{'MLflow:':8} {ui}")
    if runs is not None:
        _plain(console, f"{'':8} which shows the runs at {runs}")


def status(status: Mapping[str, Plain]) -> None:
    if status["state"] is None:
        line(status["unread"])
    else:
        _studied(status)
    if status.get("job"):
        _plain(_Stream(), f"  {'job':12} {_job(status['job'])}")


def _job(job: Mapping[str, Plain]) -> str:
    return str(job["trouble"] or f"{job['submission']} is {job['status']}, at {job['jobs_url']}")


def _studied(status: Mapping[str, Plain]) -> None:
    volume, trials = status["hypervolume"], dict(status["trials"])
    if status["state"] != "running":  # the next start goes on with them
        trials["unfinished"] = trials.pop("running")
    rows = {
        "trials": _counts(trials) or "none",
        "hypervolume": f"{volume:.4f}" if volume is not None else "none yet",
        **({"confirmed": _confirming(status["confirm"])} if status.get("confirm") else {}),
        **({"MLflow": status["mlflow"]["said"].removeprefix("MLflow: ")} if status.get("mlflow") else {}),
        "started": moment(status["started"]),
        "updated": moment(status["updated"]),
    }
    console = _Stream()
    _plain(console, f"{status['study']}: {status['state']}")
    for name, value in rows.items():
        _plain(console, f"  {name:12} {value}")
    for told in (*status["failures"], *status["notes"]):
        _plain(console, told)


def nodes(found: Mapping[str, Plain]) -> None:
    """A row a node."""
    console = _Stream()
    if not found["nodes"]:
        _plain(console, f"{found['study']}: no node has ended a trial yet")
        return
    table = _table("node", "host", "trials", "lost", "moved", "time", "stands")
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
    table = _table("study", "state", "started", "updated")
    for row in rows:
        table.add_row(
            *map(Text, (row["study"], row["state"], *(moment(str(row[key])) for key in ("started", "updated"))))
        )
    _Stream().print(table)


def recipes(rows: Sequence[Mapping[str, Plain]]) -> None:
    """A paragraph a recipe: as columns, what it searches and its description fold into slivers."""
    console = _Stream()
    for at, row in enumerate(rows):
        if at:
            console.print()
        console.print(Text.assemble((row["name"], "bold"), f": {row['description']}"), highlight=False)
        _plain(console, f"  {row['data']}, {row['model']}; searches {', '.join(row['searched']) or 'nothing'}")
        _plain(console, f"  {row['file']}")


def strategies(rows: Sequence[Mapping[str, Plain]]) -> None:
    """A paragraph a strategy, like the recipes."""
    console = _Stream()
    for at, row in enumerate(rows):
        if at:
            console.print()
        console.print(Text.assemble((row["name"], "bold"), f": {row['summary']}"), highlight=False)
        _plain(console, f"  {row['paper']}; saves {row['saves']}; takes {', '.join(row['sites'])}")
        for name, knob in row["knobs"].items():
            allowed = knob["allowed"]
            ends = isinstance(allowed, Mapping)
            told = f"{allowed['low']} to {allowed['high']}" if ends else ", ".join(map(setting, allowed))
            _plain(console, f"  {name} ({told}; {setting(knob['default'])}): {knob['meaning']}")
        if row["needs"]:
            _plain(console, f"  needs {', '.join(row['needs'])}")
        if row["conflicts"]:
            _plain(console, f"  not with {', '.join(row['conflicts'])}")


def training(result: Mapping[str, Plain]) -> None:
    """Promised against achieved, and where the weights are."""
    promised, achieved = result["promised"], result["achieved"]
    own = [name for name in promised if name not in {*METRICS, *TEST}]
    intervals = result.get("intervals", {})
    held = ["95 % of fresh runs", ""] if intervals else []
    table = _table("", *(["promised"] if promised else []), "achieved", *held, right=True)
    for name in (*TRAINED, *own, "test_accuracy"):
        if name in promised or name in achieved:
            metric = METRICS.get("accuracy" if name == "test_accuracy" else name)
            label = name if metric is None or name == "test_accuracy" else titled(metric)
            kept = [number(of.get(name), metric) for of in ((promised, achieved) if promised else (achieved,))]
            kept += _held(intervals.get(name), achieved.get(name), metric) if intervals else []
            table.add_row(*map(Text, (label, *kept)))
    console = _Stream()
    console.print(table)
    _plain(console, f"\nWeights and model card: {result['folder']}")
    if registered := result.get("registered"):
        _plain(console, f"Registered: {registered['uri']} at {registered['server']}")


def _held(interval: Mapping[str, Plain] | None, value: float | None, metric: Metric | None) -> list[str]:
    if interval is None or value is None:
        return ["", ""]
    ends = f"{number(interval['low'], metric)} to {number(interval['high'], metric)}"
    if interval["inside"] or metric is None:
        return [ends, "inside" if interval["inside"] else "outside"]
    better = (value > interval["high"]) == (metric.direction is Direction.MAX)
    return [ends, f"outside, {'better' if better else 'worse'}"]


def dry_run(result: Mapping[str, Plain]) -> None:
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
    _plain(console, "Only these costs are kept; the same command without --dry-run starts the search.")


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
    console = _Stream()
    console.print()
    if found:
        console.print(confirmed_table(found, objectives))
    for (trial, epoch), reasons in failed.items():
        _plain(console, f"Trial {trial} at epoch {epoch} is not confirmed, every run failed: {reasons[0]}")


def _phase(console: Console, phase: Mapping[str, Plain], searched: Sequence[str]) -> None:
    slots = phase["slots"]
    share = f", {phase['gpus_per_rank']:g} GPU a rank" if phase["gpus_per_rank"] else ""
    held = f", GPUs held at {phase['power_limit_w']:g} W" if phase["power_limit_w"] else ""
    _plain(console, f"{slots} trial{'s' if slots != 1 else ''} at a time{share}{held}\n")
    table = _table("fits", "step [ms]", "images/s", "memory [MiB]", "trial [s]", right=True)
    table.add_column("configuration", overflow="fold")
    for probe in phase["probes"]:
        cells = [probe[key] for key in ("step_time_ms", "images_per_s", "peak_memory_mib", "trial_s")]
        told = " ".join(f"{key}={setting(value)}" for key, value in probe["params"].items() if key in searched)
        told = told or "as the spec says"
        if probe["reason"] or probe["note"]:
            told += f": {probe['reason'] or probe['note']}"
        shown = [ABSENT if cell is None else number(round(cell, 1)) for cell in cells]
        fits = {True: "yes", False: "no", None: "failed"}[probe["fits"]]
        table.add_row(*map(Text, (fits, *shown, told)))
    if phase["probes"]:
        console.print(table)
    if phase["sharing"]:
        _plain(console, f"\n{sharing(phase['sharing'])}")
    if phase["trials_per_hour"]:
        hours = phase["budget_hours"]
        budget = f"; the budget takes {duration(hours * 3600)}" if hours is not None else ""
        _plain(
            console,
            f"\nAbout {phase['trials_per_hour']:,.0f} trials an hour{budget}. "
            "This counts every trial to its horizon; a stopper that ends trials early makes room for more.",
        )


def sharing(found: Mapping[str, Plain]) -> str:
    """Whether trials should share a GPU, by the one configuration that was probed in both ways."""
    share, alone, shared = f"gpus_per_rank: {found['gpus_per_rank']:g}", found["alone"], found["shared"]
    if shared is None:
        return f"With {share} one configuration did not train: {found['reason']}"
    many, before = shared["trials_per_hour"], alone["trials_per_hour"]
    longer = shared["trial_s"] / alone["trial_s"]
    more = f"set {share} for more of them, whose times are then those of a shared GPU"
    return (
        f"With {share} one configuration makes {many:,.0f} trials an hour in place of {before:,.0f} "
        f"({many / before:.2g} times as many), each of which takes {longer:.2g} times as long: "
        f"{more if many > before else 'leave them a GPU each'}."
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
