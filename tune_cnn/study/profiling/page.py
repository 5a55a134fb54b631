"""What a profile leaves to look at: its page, and its figures as pictures."""

from collections.abc import Sequence
from pathlib import Path

from tune_cnn.records.document import StudyArchive
from tune_cnn.reports.figures.profile_picture import heat_picture, speed_picture, utilisation_picture
from tune_cnn.reports.figures.profile_series import has_batches
from tune_cnn.reports.html.profile import write_profile
from tune_cnn.reports.profile_report import ProfiledCell, ProfileReport
from tune_cnn.spec import to_yaml
from tune_cnn.study.archive import spec_of
from tune_cnn.study.hints import NextCommands
from tune_cnn.study.profiling.answer import advice_of, cells_of, verdict_of
from tune_cnn.study.profiling.plan import REPEATS
from tune_cnn.study.profiling.rules import NEAR_PCT, in_words
from tune_cnn.study.questions.asked import QUESTION


def answer_files(archive: StudyArchive, folder: Path, *, commands: NextCommands) -> dict[str, Path]:
    """Write report.html and the pictures into the study's folder; by their names in MLflow."""
    files = {"report.html": write_page(archive, folder / "report.html", commands=commands)}
    cells = [cell for cell in cells_of(archive, spec_of(archive)) if cell.metrics]
    if has_batches(cells):
        pictures = {"utilisation": utilisation_picture, "images_per_s": speed_picture, "workers_batch": heat_picture}
        files |= {f"{name}.png": draw(folder / f"{name}.png", cells) for name, draw in pictures.items()}
    return files


def write_page(archive: StudyArchive, path: Path, *, commands: NextCommands) -> Path:
    """The page of a profile: the same of the same records, whoever writes it and wherever."""
    return write_profile(path, report_of(archive, commands))


def report_of(archive: StudyArchive, commands: NextCommands) -> ProfileReport:
    spec, study = spec_of(archive), archive.study
    question = study.info[QUESTION]
    cells = cells_of(archive, spec)
    return ProfileReport(
        study=study.name,
        description=spec.description,
        spec_yaml=to_yaml(spec),
        state=study.state,
        started=study.created,
        cells=cells,
        in_all=question["settled"]["in_all"],
        repeats=REPEATS,
        verdict=verdict_of(cells),
        advice=advice_of(cells),
        rules=in_words(),
        near_pct=NEAR_PCT,
        hardware=study.info.get("hardware", {}),
        versions=study.info.get("versions", {}),
        notes=[*_notes(cells), *study.info.get("data", {}).get("notes", ())],
        commands=[question["again"], commands.report] if question["again"] else [commands.report],
    )


def _notes(cells: Sequence[ProfiledCell]) -> list[str]:
    spreads = sorted(cell.spread_pct for cell in cells if cell.spread_pct is not None)
    if not spreads or spreads[len(spreads) // 2] <= NEAR_PCT:
        return []
    return [
        f"repeats of a cell differ by {spreads[len(spreads) // 2]:.0f} % in the median cell and by {spreads[-1]:.0f} % "
        "in the worst, as on a machine with other work; smaller differences between cells say nothing"
    ]
