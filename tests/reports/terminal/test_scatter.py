"""The terminal's scatter plot and the numbers on it."""

import pytest

from tune_cnn.metrics import METRICS
from tune_cnn.reports.axes import axis
from tune_cnn.reports.numbers import duration, number, quantity, setting
from tune_cnn.reports.terminal.scatter import Mark, scatter


def plot(marks: list[Mark], *, log: bool = False, width: int = 40, height: int = 12) -> list[str]:
    x = axis("seconds", [m.x for m in marks], log=log)
    y = axis("share", [m.y for m in marks], log=False)
    return scatter(marks, x=x, y=y, width=width, height=height).plain.split("\n")


def test_marks_stand_where_their_values_are() -> None:
    """The smallest x is leftmost, the largest y topmost, and the plot has the size that was asked for."""
    shown = plot([Mark(x=1, y=0.1, sign="a", style=""), Mark(x=5, y=0.9, sign="b", style="")])
    rows = {sign: row for row, line in enumerate(shown) for sign in "ab" if sign in line.split("│")[-1].split("┤")[-1]}
    assert rows["b"] < rows["a"]
    assert shown[rows["a"]].rindex("a") < shown[rows["b"]].rindex("b")
    assert len(shown) == 12
    assert all(len(line) <= 40 for line in shown)


def test_a_log_axis_gives_each_decade_the_same_room() -> None:
    """1, 10 and 100 are equally far apart, and the axis names them where its title leaves room."""
    shown = plot([Mark(x=v, y=v, sign=s, style="") for v, s in ((1, "①"), (10, "②"), (100, "③"))], log=True)
    at = [next(line.index(s) for line in shown if s in line) for s in "①②③"]
    assert abs((at[2] - at[1]) - (at[1] - at[0])) <= 1
    assert {"1", "10"} <= set(shown[-1].split())


@pytest.mark.parametrize("values", [[0.5], [0.0], [-3.0, -3.0], [1e-9, 1e9], [0.97301, 0.97302]])
@pytest.mark.parametrize("log", [False, True])
def test_any_values_have_an_axis(values: list[float], log: bool) -> None:
    """One value, equal ones, far and near ones, and ones without a logarithm all lie inside their axis."""
    shown = axis("any", values, log=log)
    assert all(0 < shown.at(v) < 1 for v in values)
    assert 1 <= len(shown.ticks(5)) <= 5
    assert all(-1e-6 <= shown.at(t) <= 1 + 1e-6 for t in shown.ticks(5))


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (0.93, "accuracy", "0.9300"), (61706.0, "parameters", "61,706"), (12.3456, "train_time_s", "12.35"),
        (12345.6, "images_per_s", "12,346"), (None, "accuracy", "–"), (float("nan"), "val_loss", "nan"),
        (0.00001234, "val_loss", "1.23e-05"),
    ],
)  # fmt: skip
def test_numbers_have_few_digits(value: float | None, name: str, text: str) -> None:
    """Four digits say all; counts stand whole; what is absent is a dash."""
    assert number(value, METRICS[name]) == text


def test_quantities_carry_humane_units() -> None:
    """Seconds become minutes and hours, MiB GiB and J kJ, where that is shorter."""
    assert quantity(192.0, METRICS["train_time_s"]) == "3 min 12 s"
    assert quantity(2048.0, METRICS["peak_memory_mib"]) == "2 GiB"
    assert quantity(1500.0, METRICS["gpu_energy_j"]) == "1.5 kJ"
    assert [duration(s) for s in (0.42, 59.97, 3599.6, 7500, 90000, -5)] == [
        "0.42 s", "1 min 00 s", "1 h 00 min", "2 h 05 min", "1 d 01 h", "-5 s",
    ]  # fmt: skip


def test_settings_read_as_in_yaml() -> None:
    """Truth values as YAML has them, and a parameter that has no meaning in a trial as a dash."""
    assert [setting(v) for v in (True, None, 0.123456, "sgd", 64)] == ["true", "–", "0.1235", "sgd", "64"]
