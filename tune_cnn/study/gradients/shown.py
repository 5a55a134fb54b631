"""What `gradients` leaves to look at: its page, pictures, sheets of images, a spec for `compare`."""

from pathlib import Path

from tune_cnn.files import write_whole
from tune_cnn.records.document import StudyArchive
from tune_cnn.reports.figures.gradients_pictures import heat_picture, noise_picture, parts_picture
from tune_cnn.reports.html.gradients import gradients_page
from tune_cnn.study.gradients.answer import POLICIES, policies_of, report_of, sheets_of
from tune_cnn.study.hints import NextCommands


def write_files(archive: StudyArchive, folder: Path, commands: NextCommands) -> dict[str, Path]:
    """Into a study's folder; by name in MLflow."""
    report = report_of(archive, commands)
    files = {"report.html": gradients_page(folder / "report.html", report)}
    if report.metrics:
        files["gradients.png"] = heat_picture(folder / "gradients.png", report.metrics)
        files["quantiles.png"] = parts_picture(folder / "quantiles.png", report.metrics)
    if report.noise:
        files["noise_scale.png"] = noise_picture(folder / "noise_scale.png", report.noise)
    for name, png in sheets_of(archive).items():
        files[name] = folder / name
        files[name].parent.mkdir(parents=True, exist_ok=True)
        files[name].write_bytes(png)
    if (policies := policies_of(archive)) is not None:
        files[POLICIES] = folder / POLICIES
        write_whole(files[POLICIES], policies)
    return files


def write_page(archive: StudyArchive, path: Path, *, commands: NextCommands) -> Path:
    """The page alone: the same of the same records, whoever writes it and wherever."""
    return gradients_page(path, report_of(archive, commands))
