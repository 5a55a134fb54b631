"""What the commands do and print: results as plain data for --json, or shown to a reader."""

import shlex
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tune_cnn.errors import InputError, Interrupted
from tune_cnn.objectives import METRICS
from tune_cnn.records.outbox_process import sync as deliver
from tune_cnn.records.store import Store
from tune_cnn.reports.live import LiveDisplay
from tune_cnn.reports.numbers import duration, quantity, setting
from tune_cnn.reports.table import front_table
from tune_cnn.spec import StudySpec
from tune_cnn.study import face
from tune_cnn.study.exporting import Front, write_whole


def places(home: Path, tracking_uri: str | None, address: str | None, storage: str | None, *, debug: bool) -> Any:
    from tune_cnn.study.searching import Places  # with it comes Ray, which takes seconds

    return Places(
        home=home.expanduser().absolute(),
        tracking_uri=tracking_uri or face.TRACKING,
        address=address,
        storage=storage if storage is None or "://" in storage else str(Path(storage).expanduser().absolute()),
        debug=debug,
    )


def study(name: str, home: Path, tracking_uri: str | None) -> face.Study:
    return face.Study(name, home=home, tracking_uri=tracking_uri)


# search


def search(spec: StudySpec, places: Any, *, again: str) -> "FrontDocument":
    from tune_cnn.study.searching import SearchInterrupted
    from tune_cnn.study.searching import search as run

    display = LiveDisplay()
    try:
        result = run(spec, places, display=display, say=display.say)
    except SearchInterrupted as end:
        result = end.result
        raise Interrupted(
            f"Study {result.study} is interrupted after {sum(result.trials.values())} trials; nothing is lost.\n"
            f"Go on with:  {again}\nSo far:      {result.report}"
        ) from None
    document = {
        "study": result.study,
        "state": result.state,
        "trials": result.trials,
        "points": result.points,
        "hypervolume": result.hypervolume,
        "front": result.front.as_rows(),
        "report": result.report,
        "next": _next_commands(result.study, places),
    }
    return FrontDocument(result.front, document)


def show_search(result: "FrontDocument") -> None:
    console, next_commands = Console(), result["next"]
    shown = ", ".join(f"{count} {state}" for state, count in result["trials"].items() if count)
    console.print(f"\nStudy [bold]{result['study']}[/] is {result['state']}: {shown}; {result['points']} epoch points.")
    _print_front(console, result.front)
    console.print(f"\nReport:  {result['report']}", soft_wrap=True, highlight=False)
    for label in ("export", "train", "ui"):
        console.print(f"{label.capitalize() + ':':8} {next_commands[label]}", soft_wrap=True, highlight=False)


def _next_commands(name: str, places: Any) -> dict[str, str]:
    options = "" if places.home == Path("studies").absolute() else f" --home {shlex.quote(str(places.home))}"
    uri = places.tracking_uri
    ui = uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
    return {
        "export": f"tune-cnn export {name}{options} -o best.yaml",
        "train": "tune-cnn train best.yaml",
        "ui": ui,
    }


def _print_front(console: Console, front: Front, *, most: int | None = 12) -> None:
    params = {point.trial: front.params(point) for point in front.points}
    table = front_table(
        front.points, front.objectives, params, list(front.spec.searched), width=console.width, most=most
    )
    console.print(table)


def dry_run(spec: StudySpec, places: Any) -> dict[str, Any]:
    from tune_cnn.study.dry_run import dry_run as run

    console = Console(stderr=True)
    return run(spec, places, say=lambda line: console.print(Text(line), highlight=False, soft_wrap=True))


def show_dry_run(result: dict[str, Any]) -> None:
    console, info = Console(), result["info"]
    data, model = info["data"], info["model"]
    console.print(
        f"\n[bold]{result['study']}[/]: {data['num_classes']} classes; {data['train_images']:,} training, "
        f"{data['validation_images']:,} validation and {data['test_images']:,} test images"
        + (f"; {model['parameters']:,} parameters" if model else ""),
        highlight=False,
    )
    for phase in result["phases"]:
        share = f", {phase['gpus_per_rank']:g} GPU a rank" if phase["gpus_per_rank"] else ""
        console.print(f"{phase['slots']} trial(s) at a time{share}", highlight=False)
        headings = ("fits", "step [ms]", "images/s", "memory [MiB]", "trial [s]", "configuration")
        table = Table(*map(escape, headings), box=None)
        for probe in phase["probes"]:
            numbers = [probe[k] for k in ("step_time_ms", "images_per_s", "peak_memory_mib", "trial_s")]
            told = " ".join(f"{k}={setting(v)}" for k, v in probe["params"].items() if k in result["searched"])
            cells = ["–" if n is None else f"{n:,.1f}" for n in numbers]
            table.add_row("yes" if probe["fits"] else "no", *cells, Text(told if probe["fits"] else probe["reason"]))
        console.print(table)
        if phase["trials_per_hour"]:
            hours = phase["budget_hours"]
            console.print(
                f"About {phase['trials_per_hour']:,.0f} trials an hour"
                + (f"; the budget takes {duration(hours * 3600)}" if hours is not None else "")
                + ". Probed one at a time: trials that share the hardware are slower.",
                highlight=False,
            )


# status, list, front


def show_status(status: dict[str, Any]) -> None:
    console = Console()
    trials = ", ".join(f"{count} {state}" for state, count in status["trials"].items() if count) or "none"
    volume = f"{status['hypervolume']:.4f}" if status["hypervolume"] is not None else "none yet"
    console.print(f"[bold]{status['study']}[/]: {status['state']}", highlight=False)
    rows = (("trials", trials), ("hypervolume", volume), ("started", status["started"]), ("updated", status["updated"]))
    for name, value in rows:
        console.print(f"  {name:12} {value}", highlight=False)


def list_studies(home: Path) -> list[dict[str, Any]]:
    return [
        {
            "study": record.name,
            "state": record.state,
            "started": record.started.isoformat(timespec="seconds"),
            "updated": record.updated.isoformat(timespec="seconds"),
        }
        for record in face.list_studies(home)
    ]


def show_list(rows: list[dict[str, Any]]) -> None:
    if not rows:
        Console(stderr=True).print("No studies yet; start one with `tune-cnn search`.", highlight=False)
        return
    table = Table("study", "state", "started", "updated", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row.values()))
    Console().print(table)


def front(name: str, home: Path, tracking_uri: str | None) -> "FrontDocument":
    archive = study(name, home, tracking_uri).archive()
    found = Front(archive)
    return FrontDocument(
        found,
        {
            "study": name,
            "objectives": [{"name": m.name, "unit": m.unit, "direction": str(m.direction)} for m in found.objectives],
            "hypervolume": face.hypervolume_of(archive),
            "points": found.as_rows(),
        },
    )


class FrontDocument(dict[str, Any]):
    """What --json prints of a front, with the front itself for the table."""

    def __init__(self, front: Front, document: dict[str, Any]) -> None:
        super().__init__(document)
        self.front = front


def show_front(document: FrontDocument) -> None:
    if not document.front.points:
        Console(stderr=True).print(f"Study {document['study']} has no point yet.", highlight=False)
        return
    _print_front(Console(), document.front, most=None)


# export, train, sync


def export(
    of: face.Study,
    *,
    max_time_s: float | None,
    min_accuracy: float | None,
    where: list[str],
    knee: bool,
    point: tuple[int | None, int | None],
    form: str,
    output: Path | None,
) -> str | None:
    """The text to print, or None where it went into a file."""
    if form not in {"yaml", "json"}:
        raise InputError(f"--format: must be yaml or json, got {form!r}")
    front, (trial, epoch) = of.front(), point
    if (trial is None) != (epoch is None):
        raise InputError("--trial and --epoch name a point together; give both or neither")
    if trial is not None:
        named = next((p for p in of.archive().points if (p.trial, p.epoch) == (trial, epoch)), None)
        if named is None:
            raise InputError(f"study {of.name!r}: has no point of trial {trial} at epoch {epoch}")
        chosen = front.export(named)
    else:
        chosen = front.best(max_time_s=max_time_s, min_accuracy=min_accuracy, where=where, knee=knee)
    text = chosen.to_yaml() if form == "yaml" else chosen.to_json() + "\n"
    if output is None:
        return text
    write_whole(output, text)
    metrics = chosen.promise["metrics"]
    promised = ", ".join(f"{m.name} {quantity(metrics[m.name], m)}" for m in front.objectives)
    origin = chosen.origin
    Console(stderr=True).print(
        f"{output}: trial {origin['trial']} at epoch {origin['epoch']}, promises {promised} (searched, not confirmed)",
        highlight=False,
        soft_wrap=True,
    )
    return None


def train(config: str, places: Any, *, output: Path | None, all_data: bool) -> dict[str, Any]:
    from tune_cnn.study.training_runs import train as run

    console = Console(stderr=True)
    result = run(
        config,
        places,
        output=output,
        all_data=all_data,
        say=lambda line: console.print(Text(line), highlight=False, soft_wrap=True),
    )
    return {
        "folder": result.folder,
        "promised": dict(result.promised),
        "achieved": dict(result.achieved),
        "notes": result.notes,
    }


def show_train(result: dict[str, Any]) -> None:
    table = Table("", "promised", "achieved", box=None, pad_edge=False)
    names = [n for n in ("accuracy", "train_time_s", "total_time_s", "val_loss", "peak_memory_mib") if n in METRICS]
    own = [n for n in result["promised"] if n not in METRICS]
    for name in [*names, *own, "test_accuracy"]:
        promised, achieved = result["promised"].get(name), result["achieved"].get(name)
        if promised is not None or achieved is not None:
            table.add_row(name, *("–" if v is None else f"{v:.6g}" for v in (promised, achieved)))
    console = Console()
    console.print(table)
    console.print(f"\nWeights and model card: {result['folder']}", highlight=False, soft_wrap=True)


def sync(name: str, home: Path, tracking_uri: str | None) -> int:
    store = Store(home, create=False)
    try:
        return deliver(store, name, tracking_uri or face.TRACKING, folder=home.absolute() / name)
    finally:
        store.close()
