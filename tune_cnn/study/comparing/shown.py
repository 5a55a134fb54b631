"""A comparison's answer as plain data, as a page, and as figures: the same of the same records, wherever."""

from collections.abc import Mapping
from pathlib import Path

from tune_cnn.files import write_whole
from tune_cnn.front.comparison.compared import Compared, ComparedCell
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.mlflow.environment import is_server, runs_page
from tune_cnn.reports.comparison_markdown import comparison_markdown
from tune_cnn.reports.comparison_words import ComparisonReport, verdict
from tune_cnn.reports.figures.comparison_picture import curves_picture
from tune_cnn.reports.html.comparison import write_comparison
from tune_cnn.spec import to_yaml
from tune_cnn.study.archive import spec_of
from tune_cnn.study.comparing.answer import answer_of, notes_of
from tune_cnn.study.hints import NextCommands
from tune_cnn.study.questions.asked import QUESTION
from tune_cnn.untyped import Plain


def document(archive: StudyArchive, found: Compared) -> dict[str, Plain]:
    """What --json prints, but for where the report is."""
    baselines = [cell.of.name for cell in found.cells if cell.is_baseline]
    return {
        "study": archive.study.name,
        "over": list(found.factors),
        "baseline": baselines[0],
        "cells": [_cell(cell) for cell in found.cells],
        "effects": {name: [effect.as_dict() for effect in of] for name, of in found.effects.items()},
        "ranks": dict(found.ranks),
        "verdict": verdict(found),
        "notes": notes_of(archive, found),
    }


def _cell(cell: ComparedCell) -> dict[str, Plain]:
    return {
        "cell": cell.of.name,
        "levels": dict(cell.of.levels),
        "params": dict(cell.of.params),
        "n": len(cell.of.runs),
        "failed": list(cell.of.failures),
        "notes": list(cell.of.notes),
        "metrics": {name: of.as_dict() for name, of in cell.metrics.items()},
        "difference": {name: of.as_dict() for name, of in cell.differences.items()},
        "on_front": cell.on_front,
        "front_probability": cell.probability,
    }


def write_page(archive: StudyArchive, path: Path, *, commands: NextCommands) -> Path:
    """As HTML, or as Markdown where the file's name ends so."""
    report = report_of(archive, commands)
    if path.suffix == ".md":
        write_whole(path, comparison_markdown(report))
        return path
    return write_comparison(path, report)


def report_of(archive: StudyArchive, commands: NextCommands) -> ComparisonReport:
    found, spec, study = answer_of(archive), spec_of(archive), archive.study
    question: Mapping[str, Plain] = study.info[QUESTION]
    data = study.info.get("data", {})
    return ComparisonReport(
        study=study.name,
        description=spec.description,
        state=study.state,
        started=study.created,
        compared=found,
        seeds=question["asked"]["seeds"],
        notes=[*notes_of(archive, found), *data.get("notes", ())],
        commands=[one for one in (question.get("again"), commands.report) if one],
        runs_page=_runs_page(archive),
        spec_yaml=to_yaml(spec),
        hardware=study.info.get("hardware", {}),
        versions=study.info.get("versions", {}),
    )


def write_files(archive: StudyArchive, folder: Path, commands: NextCommands) -> dict[str, Path]:
    """By their names in MLflow: the page, and the curves of each set of images as a picture."""
    files = {"report.html": write_page(archive, folder / "report.html", commands=commands)}
    found = answer_of(archive)
    for number, group in enumerate(found.groups):
        name = "curves.png" if number == 0 else f"curves-{number + 1}.png"
        files[name] = curves_picture(folder / name, [cell for cell in found.cells if cell.of.group == group])
    return files


def _runs_page(archive: StudyArchive) -> str | None:
    """At a server that others see too."""
    study = archive.study
    if study.tracking is None or study.experiment_id is None or not is_server(study.tracking):
        return None
    return runs_page(study.tracking, study.experiment_id)
