"""What the commands do: results as plain data, for --json or for `reports.terminal.printed`."""

from pathlib import Path

from tune_cnn.errors import InputError, Interrupted
from tune_cnn.records.mlflow.environment import DEFAULT_TRACKING_URI
from tune_cnn.reports.terminal import printed
from tune_cnn.reports.terminal.live import LiveDisplay
from tune_cnn.spec import StudySpec
from tune_cnn.spec.parts import study_name
from tune_cnn.study.accelerators import prediction_of
from tune_cnn.study.archive import read_archive
from tune_cnn.study.confirming.plan import progress
from tune_cnn.study.front import Front
from tune_cnn.study.hints import HOME
from tune_cnn.study.locations import Locations
from tune_cnn.study.machine import ACCELERATOR
from tune_cnn.study.study import Study, hypervolume_of
from tune_cnn.study.study import list_studies as known_studies
from tune_cnn.untyped import Plain


def locations(
    home: Path | None, tracking_uri: str | None, address: str | None, storage: str | None, *, debug: bool
) -> Locations:
    """`home`: None for a command without one, which a file in its place doesn't concern."""
    return Locations(
        home=(HOME if home is None else _folder(home)).expanduser().absolute(),
        tracking_uri=tracking_uri or DEFAULT_TRACKING_URI,
        address=address,
        storage=storage if storage is None or "://" in storage else str(Path(storage).expanduser().absolute()),
        debug=debug,
    )


def study(name: str, home: Path, tracking_uri: str | None) -> Study:
    return Study(name, home=_folder(home), tracking_uri=tracking_uri)


def known_study(name: str, home: Path) -> Study:
    """A study that this home holds; StudyError where it doesn't."""
    of = study(name, home, None)
    read_archive(of.name, of.home, None)
    return of


def _folder(home: Path) -> Path:
    if home.exists() and not home.is_dir():
        raise InputError(f"--home: {home} is a file; name the folder that holds the studies")
    return home


# search


def search(spec: StudySpec, locations: Locations, *, again: str) -> "FrontDocument":
    from tune_cnn.study.searching.course import SearchInterrupted
    from tune_cnn.study.searching.course import search as run

    display = LiveDisplay()
    try:
        result = run(spec, locations, display)
    except SearchInterrupted as end:
        result = end.result
        raise Interrupted(
            f"Study {result.study} is interrupted after {sum(result.trials.values())} trials; nothing is lost.\n"
            f"Go on with:  {again}" + (f"\nSo far:      {result.report}" if result.report else "")
        ) from None
    document = {
        "study": result.study,
        "state": result.state,
        "trials": result.trials,
        "points": result.points,
        "hypervolume": result.hypervolume,
        "front": result.front.as_rows(),
        "failures": list(result.failures),
        "report": result.report,
        "next": {**_next_commands(result.study, locations), "runs": result.runs_page},
    }
    return FrontDocument(result.front, document)


def _next_commands(name: str, locations: Locations) -> dict[str, str]:
    typed = locations.commands(name)
    return {"confirm": typed.confirm, "export": typed.export, "train": typed.train, "ui": typed.ui}


def dry_run(spec: StudySpec, locations: Locations) -> dict[str, Plain]:
    from tune_cnn.study.searching.dry_run import dry_run as run

    return run(spec, locations, report=printed.line)


# status, list, front


def list_studies(home: Path, tracking_uri: str | None) -> list[dict[str, Plain]]:
    return known_studies(_folder(home), tracking_uri)


def confirm(
    name: str,
    locations: Locations,
    *,
    points: int | None,
    seeds: int | None,
    again: str,
    accelerator: str | None = None,
) -> "FrontDocument":
    study_name(name)
    from tune_cnn.study.confirming.course import ConfirmInterrupted
    from tune_cnn.study.confirming.course import confirm as run

    try:
        result = run(name, locations, points=points, seeds=seeds, accelerator=accelerator, report=printed.line)
    except ConfirmInterrupted as end:
        done = progress(end.result.front.runs) or {}
        raise Interrupted(
            f"Confirming study {name} is interrupted, {done['runs']['planned']} of its trainings are left; nothing is "
            f"lost.\nGo on with:  {again}"
        ) from None
    stands = progress(result.front.runs) or {}
    document = {
        "study": name,
        "accelerator": accelerator,
        **stands,
        "confirmed": confirmed_rows(result.front),
        "report": result.report,
    }
    return FrontDocument(result.front, document)


def show_confirm(document: "FrontDocument") -> None:
    printed.confirmed(document.front.confirmed, document.front.objectives, document.front.failed)
    if document["report"]:
        printed.line(f"Report: {document['report']}")


def confirmed_rows(found: Front) -> list[dict[str, Plain]]:
    """Every confirmed point, those among them that the front has lost since."""
    return [
        {"trial": one.trial, "epoch": one.epoch, "params": found.params(one.point), **one.as_dict()}
        for one in found.confirmed
    ]


def transfer(
    name: str, locations: Locations, *, accelerator: str, source: str | None, probes: int, configurations: int
) -> dict[str, Plain]:
    from tune_cnn.study.transferring.course import transfer as run

    return run(
        study_name(name),
        locations,
        accelerator=accelerator,
        source=source,
        probes=probes,
        configurations=configurations,
        report=printed.line,
    )


def front(name: str, home: Path, tracking_uri: str | None, *, accelerator: str | None = None) -> "FrontDocument":
    of = study(name, home, tracking_uri)
    archive = of.archive_on(accelerator)
    found = Front(archive, accelerator=accelerator)
    return FrontDocument(
        found,
        {
            "study": name,
            "accelerator": accelerator,
            "predicted": accelerator is not None and prediction_of(archive, accelerator) is not None,
            "objectives": [{"name": m.name, "unit": m.unit, "direction": str(m.direction)} for m in found.objectives],
            "hypervolume": hypervolume_of(archive),
            "points": found.as_rows(),
            "confirmed": confirmed_rows(found),
        },
        status=of.next_commands.status,
    )


class FrontDocument(dict[str, Plain]):
    """What --json prints of a front, with the front itself for the table."""

    def __init__(self, front: Front, document: dict[str, Plain], *, status: str = "") -> None:
        """`status`: the command that says how the study stands."""
        super().__init__(document)
        self.front, self.status = front, status


def show_search(document: "FrontDocument") -> None:
    printed.search_head(document)
    _show_points(document.front, most=printed.FIRST_POINTS)
    _show_confirmed(document.front)
    printed.search_foot(document)


def show_front(document: "FrontDocument") -> None:
    if document.front.points:
        _show_points(document.front, most=None)
        if document["predicted"]:
            printed.line(
                f"Predicted for {document['accelerator']} by `transfer`; what is confirmed there stands below."
            )
        _show_confirmed(document.front)
    else:
        why = document.front.why_empty() or "has no point yet"
        printed.line(f"Study {document['study']}: {why}; `{document.status}` says how it stands.")


def _show_confirmed(front: Front) -> None:
    if front.confirmed or front.failed:
        printed.confirmed(front.confirmed, front.objectives, front.failed)


def _show_points(front: Front, *, most: int | None) -> None:
    params = {p.trial: {**front.params(p), ACCELERATOR: front.accelerator(p)} for p in front.points}
    columns = [*front.spec.searched, ACCELERATOR]
    keys = [one.key for one in front.confirmed]
    printed.front(front.points, front.objectives, params, columns, most=most, confirmed=keys)


# train, sync


def train(
    config: str, locations: Locations, *, output: Path | None, all_data: bool, register: str | None = None
) -> dict[str, Plain]:
    from tune_cnn.study.training.course import train as run

    result = run(config, locations, output=output, all_data=all_data, register=register, report=printed.line)
    return {
        "folder": result.folder,
        "promised": dict(result.promised),
        "achieved": dict(result.achieved),
        "intervals": dict(result.intervals),
        "notes": result.notes,
        "registered": result.registered,
    }


def sync(name: str, home: Path, tracking_uri: str | None) -> int:
    return study(name, home, tracking_uri).sync()
