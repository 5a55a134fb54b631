"""Pictures that pages keep are small, and show what was drawn."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from tune_cnn.reports.figures.png import write_png


def crossing_bands() -> Figure:
    """Eight bands that shine through one another, in six panels, as a comparison of eight cells draws them."""
    figure = Figure(figsize=(9.2, 8.4), dpi=72, layout="constrained")
    xs = np.linspace(1, 6, 40)
    for number, panel in enumerate(figure.subplots(3, 2).flat):
        for cell in range(8):
            middle = np.sin(xs + cell + number) + cell / 4
            panel.plot(xs, middle, color=f"C{cell}")
            panel.fill_between(xs, middle - 0.5, middle + 0.5, color=f"C{cell}", alpha=0.15, linewidth=0)
    return figure


def test_a_picture_of_many_bands_stays_below_100_kb(tmp_path: Path) -> None:
    """And its colours are those of the figure as it was drawn, to a few levels of 255."""
    figure = crossing_bands()
    path = write_png(figure, tmp_path / "small.png")
    figure.savefig(tmp_path / "whole.png")
    assert path.stat().st_size < 100_000 < (tmp_path / "whole.png").stat().st_size
    small, whole = (np.asarray(Image.open(one).convert("RGB"), dtype=float) for one in (path, tmp_path / "whole.png"))
    assert small.shape == whole.shape
    assert np.abs(small - whole).mean() < 2
