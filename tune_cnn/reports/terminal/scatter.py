"""A scatter plot for a terminal: points as marks, a line in braille dots, axes with round numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.text import Text

from tune_cnn.reports.axes import Axis
from tune_cnn.reports.numbers import number

# Unicode's braille block: the bit of each of a cell's 4 rows × 2 columns of dots.
_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
SMALLEST_WIDTH, SMALLEST_HEIGHT = 24, 6


@dataclass(frozen=True, kw_only=True)
class Mark:
    x: float
    y: float
    sign: str
    style: str


Point = tuple[float, float]


def scatter(
    marks: Sequence[Mark],
    *,
    x: Axis,
    y: Axis,
    width: int,
    height: int,
    line: Sequence[Point] = (),
    dots: Sequence[Point] = (),
) -> Text:
    """The plot in `height` lines of `width` cells. `line` is joined, `dots` are faint; later marks hide earlier."""
    rows = height - 3  # the title of y above, the ticks and the title of x below
    y_ticks = {_row(y.at(v), rows): number(v) for v in y.ticks(rows // 2 + 1)}
    gutter = max(map(len, y_ticks.values()), default=0)
    columns = width - gutter - 2
    cells = _Cells(columns, rows)
    for dot in dots:
        cells.dot(x.at(dot[0]), y.at(dot[1]))
    for start, end in pairwise(line):
        cells.line((x.at(start[0]), y.at(start[1])), (x.at(end[0]), y.at(end[1])))
    for mark in marks:
        cells.mark(x.at(mark.x), y.at(mark.y), mark.sign, mark.style)
    text = Text(no_wrap=True, overflow="crop")
    text.append(_cut(y.title, width) + "\n", "dim")
    for row in range(rows):
        label = y_ticks.get(row, "")
        text.append(f"{label:>{gutter}} {'┤' if label else '│'}", "dim")
        text.append_text(cells.row(row)).append("\n")
    ticks, labels = _x_ticks(x, columns)
    text.append(f"{'':>{gutter}} └{ticks}\n", "dim")
    text.append(_under(labels, " " * (gutter + 2), x.title, width), "dim")
    return text


def _under(labels: str, indent: str, title: str, width: int) -> str:
    """The ticks' numbers, and the axis' title after the last of them where there is room."""
    line = indent + labels.rstrip()
    room = width - len(line) - 2
    return line + f"  {title}".rjust(room + 2) if room >= len(title) else _cut(line, width)


def _x_ticks(x: Axis, columns: int) -> tuple[str, str]:
    room = max(columns - len(x.title) - 2, columns // 2)  # the title stands at the right end of the same line
    for most in range(max(2, columns // 6), 0, -1):
        ticks, labels, free = ["─"] * columns, [" "] * columns, 0
        for value in x.ticks(most):
            text = number(value)
            at = min(round(x.at(value) * (columns - 1)), columns - 1)
            start = max(0, min(at - len(text) // 2, columns - len(text)))
            if start < free:
                break
            ticks[at] = "┬"
            if start + len(text) <= room or most <= 2:
                labels[start : start + len(text)] = text
            free = start + len(text) + 1
        else:
            return "".join(ticks), "".join(labels)[:columns]
    return "─" * columns, ""


def _row(share: float, rows: int) -> int:
    return min(max(rows - 1 - int(share * rows), 0), rows - 1)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


class _Cells:
    """The cells inside the frame: dots at 2 × 4 a cell, and marks over them."""

    def __init__(self, columns: int, rows: int) -> None:
        self._columns, self._rows = columns, rows
        self._bits = [[0] * columns for _ in range(rows)]
        self._joined = [[False] * columns for _ in range(rows)]
        self._marks: dict[tuple[int, int], tuple[str, str]] = {}

    def dot(self, x: float, y: float, *, joined: bool = False) -> None:
        across, down = round(x * (self._columns * 2 - 1)), round((1 - y) * (self._rows * 4 - 1))
        if 0 <= across < self._columns * 2 and 0 <= down < self._rows * 4:
            self._bits[down // 4][across // 2] |= _DOTS[down % 4][across % 2]
            self._joined[down // 4][across // 2] |= joined

    def line(self, start: Point, end: Point) -> None:
        steps = max(1, round(max(abs(end[0] - start[0]) * self._columns * 2, abs(end[1] - start[1]) * self._rows * 4)))
        for k in range(steps + 1):
            self.dot(
                start[0] + (end[0] - start[0]) * k / steps, start[1] + (end[1] - start[1]) * k / steps, joined=True
            )

    def mark(self, x: float, y: float, sign: str, style: str) -> None:
        column = min(max(int(x * self._columns), 0), self._columns - 1)
        self._marks[_row(y, self._rows), column] = (sign, style)

    def row(self, row: int) -> Text:
        text = Text()
        for column in range(self._columns):
            sign, style = self._marks.get((row, column), ("", ""))
            bits = self._bits[row][column]
            if not sign:
                sign = chr(_BRAILLE + bits) if bits else " "
                style = "cyan" if self._joined[row][column] else "bright_black"
            text.append(sign, style)
        return text
