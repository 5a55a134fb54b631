"""The front as a picture."""

from pathlib import Path

import pytest
from PIL import Image

from tune_cnn.front.dominance import front
from tune_cnn.metrics import METRICS, EpochPoint
from tune_cnn.reports.figures.picture import front_picture

BLUE = (0x2F, 0x6F, 0xED)


@pytest.mark.parametrize(
    "names", [["accuracy"], ["accuracy", "train_time_s"], ["accuracy", "train_time_s", "parameters"]]
)
def test_a_picture_shows_the_front_for_any_number_of_objectives(names: list[str], tmp_path: Path) -> None:
    """A panel for each pair; values that a log axis can't hold are drawn on a linear one."""
    objectives = [METRICS[name] for name in names]
    values = {"accuracy": (0.5, 0.7, 0.6), "train_time_s": (0.0, 5.0, 9.0), "parameters": (3e6, 2e5, 1e4)}
    points = [EpochPoint(trial=k, epoch=1, metrics={n: values[n][k] for n in names}) for k in range(3)]
    with Image.open(front_picture(tmp_path / "front.png", points, front(points, objectives), objectives)) as image:
        colours = {colour: count for count, colour in image.convert("RGB").getcolors(10**7) or []}
        assert colours.get(BLUE, 0) > 20
        assert image.width > 1.5 * image.height if len(names) == 3 else image.width < 1.6 * image.height


def test_a_study_without_points_has_a_picture_all_the_same(tmp_path: Path) -> None:
    """An empty panel rather than an error."""
    assert front_picture(tmp_path / "front.png", [], [], [METRICS["accuracy"], METRICS["train_time_s"]]).stat().st_size
