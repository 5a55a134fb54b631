"""A study from Python: what the commands do, as methods."""

import logging
import os
from collections.abc import Mapping
from datetime import datetime
from html import escape
from pathlib import Path

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import InputError, StudyError, TuneCnnError
from tune_cnn.front.hypervolume import hypervolume, reference_point
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.mlflow.environment import DEFAULT_TRACKING_URI, make_quiet
from tune_cnn.records.outbox.handle import delivery_of
from tune_cnn.records.rows import StudyRecord
from tune_cnn.spec import StudySpec, load_spec, parse_spec
from tune_cnn.spec.parts import study_name
from tune_cnn.states import TrialState
from tune_cnn.study.accelerators import as_there, check_type, on_type_alone, prediction_of, searched_types
from tune_cnn.study.archive import as_it_stands, feasible_points, open_store, read_archive, spec_of
from tune_cnn.study.confirming.plan import progress
from tune_cnn.study.front import Front
from tune_cnn.study.hints import NextCommands
from tune_cnn.study.locations import Locations
from tune_cnn.study.nodes import notes, summaries
from tune_cnn.study.questions.asked import question_of
from tune_cnn.study.session.failures import failures
from tune_cnn.untyped import Plain, Untyped

log = logging.getLogger(__name__)
REPORTS = (".html", ".htm", ".md")  # endings of a report's file


class Study:
    """A named search: `Study("name").search("quickstart")`, then `.front().best(max_time_s=600).to_yaml(path)`.

    `home` is the folder of the studies' store, `tracking_uri` MLflow's (default: MLFLOW_TRACKING_URI, else
    sqlite:///mlflow.db), `address` a Ray cluster's (default: RAY_ADDRESS, else a Ray of its own on this machine).
    """

    def __init__(
        self,
        name: str,
        *,
        home: str | Path = "./studies",
        tracking_uri: str | None = None,
        address: str | None = None,
    ) -> None:
        self.name = study_name(name)
        self.home = Path(home).expanduser().absolute()
        self._given_uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        self.tracking_uri = self._given_uri or DEFAULT_TRACKING_URI
        self.address = address or os.environ.get("RAY_ADDRESS")

    def __repr__(self) -> str:
        return f"Study({self.name!r}, home={str(self.home)!r})"

    def search(self, spec: StudySpec | Mapping[str, Plain] | str | Path, *, storage: str | None = None) -> Front:
        """Search until the spec's budget is spent (a StudySpec, a mapping, a file or a recipe's name); the front.

        Called again, it goes on. Raises InputError for what is wrong with the input, Interrupted after Ctrl-C.
        """
        from tune_cnn.reports.terminal.live import LiveDisplay
        from tune_cnn.study.searching.course import search

        if isinstance(spec, str | Path):
            spec = load_spec(spec, [f"study={self.name}"])
        elif isinstance(spec, Mapping):
            spec = parse_spec({**spec, "study": self.name})
        if spec.study != self.name:
            raise StudyError(f"study {self.name!r}: the spec is named {spec.study!r}; give both one name")
        locations = Locations(home=self.home, tracking_uri=self.tracking_uri, address=self.address, storage=storage)
        display = LiveDisplay()
        return search(spec, locations, display).front

    def confirm(
        self,
        *,
        points: int | None = None,
        seeds: int | None = None,
        accelerator: str | None = None,
        storage: str | None = None,
    ) -> Front:
        """Train candidates of the front again, alone on their hardware, over several seeds; the front with that.

        `points`, `seeds`: instead of the spec's, or of 5 and 3. Called again, it goes on; more of either only add runs.
        `accelerator`: on nodes of this type.
        """
        from tune_cnn.reports.terminal.printed import line
        from tune_cnn.study.confirming.course import confirm

        locations = Locations(home=self.home, tracking_uri=self.tracking_uri, address=self.address, storage=storage)
        return confirm(self.name, locations, points=points, seeds=seeds, accelerator=accelerator, report=line).front

    def transfer(self, accelerator: str, *, source: str | None = None, probes: int = 5) -> dict[str, Plain]:
        """Predict the front on another type of accelerator by probing there what its points cost; `source`: the type
        that it is carried from, where the study was searched on several."""
        from tune_cnn.reports.terminal.printed import line
        from tune_cnn.study.transferring.course import transfer

        locations = Locations(home=self.home, tracking_uri=self.tracking_uri, address=self.address)
        return transfer(self.name, locations, accelerator=accelerator, source=source, probes=probes, report=line)

    @property
    def next_commands(self) -> NextCommands:
        """What is typed next, to find this study again."""
        return NextCommands(study=self.name, home=self.home, tracking_uri=self._given_uri, address=self.address)

    def archive(self) -> StudyArchive:
        """Record, trials and points; StudyError where there is no such study."""
        return read_archive(self.name, self.home, self._given_uri)

    def archive_on(self, accelerator: str | None) -> StudyArchive:
        """The same with its trials on one type of accelerator alone, or with what is known for a type that it was not
        searched on; InputError where nothing is."""
        archive = self.archive()
        if accelerator is None:
            return archive
        known = prediction_of(archive, accelerator) is not None or accelerator in archive.elsewhere
        if known and accelerator not in searched_types(archive):
            return as_there(archive, accelerator)
        check_type(archive, accelerator)
        return on_type_alone(archive, accelerator)

    def front(self, *, accelerator: str | None = None) -> Front:
        """The non-dominated epoch points; `accelerator`: of this type alone."""
        return Front(self.archive_on(accelerator), accelerator=accelerator)

    def status(self) -> dict[str, Plain]:
        """State, trials by state, hypervolume, what waits for MLflow, times (ISO 8601, UTC), and what the nodes did."""
        return {**status_of(self.archive()), "mlflow": self._delivery()}

    def _delivery(self) -> dict[str, Plain] | None:
        """How many changes wait for MLflow, why, and until when they are delivered in the background; None: none."""
        try:
            store = open_store(self.home)
        except StudyError:
            return None
        try:
            stands = None if store.study(self.name) is None else delivery_of(store, self.name)
        finally:
            store.close()
        if stands is None or not stands.pending:
            return None
        until = None if stands.until is None else stands.until.isoformat(timespec="seconds")
        return {"waiting": stands.pending, "error": stands.error, "until": until, "said": str(stands)}

    def nodes(self) -> list[dict[str, Plain]]:
        """How each node of the cluster did: trials, losses, whether it is set aside, and how long its trials take."""
        return [node.as_dict() for node in summaries(self.archive().nodes)]

    def report(self, path: str | Path) -> Path:
        """Write the report, one self-contained HTML file; of a comparison also Markdown, where the path ends in .md."""
        if Path(path).suffix not in REPORTS:
            raise InputError(f"report: {path}: a report is an HTML file; name it .html")
        archive = self.archive()
        question = question_of(archive.study)
        if Path(path).suffix == ".md" and (question is None or question["kind"] != "compare"):
            raise InputError(f"report: {path}: only a comparison is written as Markdown; name it .html")
        if question is not None:
            from tune_cnn.study.answers import write_answer

            return write_answer(archive, Path(path), commands=self.next_commands)
        from tune_cnn.study.report import report

        return report(archive, Path(path), commands=self.next_commands)

    def sync(self) -> int:
        """Deliver to MLflow what a search still holds; how many changes did. TuneCnnError where the server is away."""
        from tune_cnn.records.outbox.handle import sync

        store = open_store(self.home)
        try:
            return sync(store, self.name, self.tracking_uri, folder=self.home / self.name)
        finally:
            store.close()

    def delete(self) -> None:
        """Delete the study from the home: its record and its folder. MLflow keeps its runs."""
        import shutil

        store = open_store(self.home)
        try:
            store.delete_study(self.name)
        finally:
            store.close()
        shutil.rmtree(self.home / self.name, ignore_errors=True)

    def figure(self) -> Untyped:
        """The front as an interactive plotly figure."""
        return _figure(self.archive())

    def _repr_html_(self) -> str:
        """For notebooks: how the study stands, its front as a figure and as a table; nothing is fetched for it."""
        try:
            archive = self.archive()
        except StudyError as error:  # one that has not begun is a study all the same
            return f"<p><b>{escape(self.name)}</b>: {escape(str(error))}</p>"
        counted = f"{len(archive.trials)} trials, {len(archive.points)} points"
        head = f"<p><b>{escape(self.name)}</b>: {archive.study.state}, {counted}</p>"
        front = Front(archive)
        if not front.points:
            return head
        figure: str = _figure(archive).to_html(full_html=False, include_plotlyjs=True)
        return head + figure + front._repr_html_()


def _figure(archive: StudyArchive) -> Untyped:
    from tune_cnn.reports.figures.study import front_figure

    spec = spec_of(archive)
    params = {trial.number: trial.params for trial in archive.trials}
    return front_figure(feasible_points(archive, spec), Front(archive).points, spec.objective_metrics, params)


def status_of(archive: StudyArchive) -> dict[str, Plain]:
    study = archive.study
    counts = dict.fromkeys((*(s for s in TrialState if s.has_ended), TrialState.RUNNING), 0)
    for trial in archive.trials:
        counts[trial.state] += 1
    return {
        "study": study.name,
        "state": study.state,
        "trials": counts,
        "failures": failures(archive.trials, spec_of(archive)),
        "notes": notes(summaries(archive.nodes)),
        "question": None if (question := question_of(study)) is None else question["kind"],
        "hypervolume": hypervolume_of(archive),
        "confirm": progress(archive.confirmations),
        "started": study.started.isoformat(timespec="seconds"),
        "updated": study.updated.isoformat(timespec="seconds"),
    }


def hypervolume_of(archive: StudyArchive) -> float | None:
    """By the study's stored reference point, or by one taken from its points while none is stored."""
    if question_of(archive.study) is not None:  # nothing is searched, and points need not have the objectives
        return None
    spec = spec_of(archive)
    points = feasible_points(archive, spec)
    if not points:
        return None
    reference = archive.study.reference or reference_point(points, spec.objective_metrics)
    return hypervolume(points, spec.objective_metrics, reference) if reference else None


def list_studies(home: str | Path, tracking_uri: str | None = None) -> list[dict[str, Plain]]:
    """All studies of a home, the last changed first, and after them those that a tracking server alone holds.

    Of each {study, state, started, updated}; none where there is no store yet, and no server is named.
    """
    here = [_line(s.name, s.state, s.started, s.updated) for s in _stored(home)]
    if tracking_uri is None:
        return here
    known = {line["study"] for line in here}
    try:
        there = _on_server(tracking_uri)
    except TuneCnnError as error:
        if not here:
            raise
        log.warning("only the studies of %s are listed: %s", home, error)
        there = []
    return here + [line for line in there if line["study"] not in known]


def _on_server(tracking_uri: str) -> list[dict[str, Plain]]:
    with left_as_found():
        make_quiet(tracking_uri)
        from tune_cnn.records.mlflow.reader import list_studies as recorded  # imports mlflow, which takes seconds

        return [_line(s.name, s.state, s.started, s.updated) for s in recorded(tracking_uri)]


def _stored(home: str | Path) -> list[StudyRecord]:
    try:
        store = open_store(home)
    except StudyError:
        return []
    try:
        return [as_it_stands(store, record) for record in store.studies()]
    finally:
        store.close()


def _line(name: str, state: str, started: datetime, updated: datetime) -> dict[str, Plain]:
    moments = {"started": started, "updated": updated}
    return {"study": name, "state": state, **{k: m.isoformat(timespec="seconds") for k, m in moments.items()}}
