"""A drawn figure as a small PNG: bands that shine through one another make thousands of colours, of which few tell."""

import io
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

COLORS = 256  # what one byte a pixel can name: a fifth of the file, and no difference that the eye sees


def write_png(figure: Figure, path: Path) -> Path:
    """Write the figure by a palette of its own, so that a page that keeps it stays small."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    image = Image.open(drawn).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    return path
