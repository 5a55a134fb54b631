"""A script that searches, chooses and exports."""

from pathlib import Path

from tune_cnn import Export, Front, Study, StudySpec
from tune_cnn.errors import NothingFits
from tune_cnn.spec import load_spec


def chosen(front: Front, most_s: float) -> Export:
    """The most accurate that trains within that time, else the knee."""
    try:
        return front.best(max_time_s=most_s, where=["peak_memory_mib<=8000"])
    except NothingFits:
        return front.best(knee=True)


def main(folder: Path) -> str:
    """Search, confirm, write what was chosen and the report."""
    study = Study("stripes", home=folder)
    spec: StudySpec = load_spec("quickstart", ["study=stripes"])
    front = study.search(spec)
    accuracies: list[float] = [point.metrics["accuracy"] for point in front.points]
    print(len(front), max(accuracies), study.status()["state"])
    export = chosen(study.confirm(points=2, seeds=3), most_s=600)
    report: Path = study.report(folder / "report.html")
    print(report, export.config["space"], export.promise["metrics"])
    return export.to_yaml(folder / "best.yaml")


if __name__ == "__main__":
    main(Path("studies"))
