"""A study from Python: what the commands do, as methods."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tune_cnn.errors import StudyError
from tune_cnn.front.hypervolume import hypervolume, reference_point
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.rows import StudyRecord
from tune_cnn.spec import StudySpec, load_spec, parse_spec
from tune_cnn.spec.study import study_name
from tune_cnn.study.archive import feasible_points, open_store, read_archive, spec_of
from tune_cnn.study.exporting import Front

TRACKING = "sqlite:///mlflow.db"


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
        self.tracking_uri = self._given_uri or TRACKING
        self.address = address or os.environ.get("RAY_ADDRESS")

    def __repr__(self) -> str:
        return f"Study({self.name!r}, home={str(self.home)!r})"

    def search(self, spec: StudySpec | Mapping[str, Any] | str | Path, *, storage: str | None = None) -> Front:
        """Search until the spec's budget is spent (a StudySpec, a mapping, a file or a recipe's name); the front.

        Called again, it goes on. Raises InputError for what is wrong with the input, Interrupted after Ctrl-C.
        """
        from tune_cnn.reports.live import LiveDisplay
        from tune_cnn.study.searching import Places, search

        if isinstance(spec, str | Path):
            spec = load_spec(spec, [f"study={self.name}"])
        elif isinstance(spec, Mapping):
            spec = parse_spec({**spec, "study": self.name})
        if spec.study != self.name:
            raise StudyError(f"study {self.name!r}: the spec is named {spec.study!r}; give both one name")
        places = Places(home=self.home, tracking_uri=self.tracking_uri, address=self.address, storage=storage)
        display = LiveDisplay()
        return search(spec, places, display=display, say=display.say).front

    def archive(self) -> StudyArchive:
        """Record, trials and points; StudyError where there is no such study."""
        return read_archive(self.name, self.home, self._given_uri)

    def front(self) -> Front:
        """The non-dominated epoch points."""
        return Front(self.archive())

    def status(self) -> dict[str, Any]:
        """State, trials by state, hypervolume and times (ISO 8601, UTC)."""
        return status_of(self.archive())

    def report(self, path: str | Path) -> Path:
        """Write the report, one self-contained HTML file."""
        from tune_cnn.study.reporting import report

        return report(self.archive(), Path(path))

    def delete(self) -> None:
        """Delete the study from the home: its record and its folder. MLflow keeps its runs."""
        import shutil

        store = open_store(self.home)
        try:
            store.delete_study(self.name)
        finally:
            store.close()
        shutil.rmtree(self.home / self.name, ignore_errors=True)

    def _repr_html_(self) -> str:
        return f"<p><b>{self.name}</b></p>{self.front()._repr_html_()}"


def status_of(archive: StudyArchive) -> dict[str, Any]:
    study = archive.study
    counts = dict.fromkeys(("complete", "stopped", "failed", "infeasible", "running"), 0)
    for trial in archive.trials:
        counts[trial.state] += 1
    return {
        "study": study.name,
        "state": study.state,
        "trials": counts,
        "hypervolume": hypervolume_of(archive),
        "started": study.started.isoformat(timespec="seconds"),
        "updated": study.updated.isoformat(timespec="seconds"),
    }


def hypervolume_of(archive: StudyArchive) -> float | None:
    """By the study's stored reference point, or by one taken from its points while none is stored."""
    spec = spec_of(archive)
    points = feasible_points(archive, spec)
    if not points:
        return None
    reference = archive.study.reference or reference_point(points, spec.objective_metrics)
    return hypervolume(points, spec.objective_metrics, reference) if reference else None


def list_studies(home: str | Path) -> list[StudyRecord]:
    """All studies of a home, the last changed first; none where there is no store yet."""
    try:
        store = open_store(home)
    except StudyError:
        return []
    try:
        return store.studies()
    finally:
        store.close()
