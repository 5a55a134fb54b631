"""The table of the front for the terminal."""

import io

import pytest
from reports.made_up_studies import SEARCHED, MadeUp, made_up
from rich.console import Console

from tune_cnn.front.choose import knee
from tune_cnn.reports.terminal.tables.front import front_table


def shown(study: MadeUp, width: int = 120, **options: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    table = front_table(study.front, study.objectives, study.params, list(SEARCHED), width=width, **options)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO


def test_every_point_stands_with_its_settings_and_the_knee_is_marked() -> None:
    """Trial, epoch, objectives with units, the settings that differ; one knee."""
    study = made_up(10)
    text = shown(study)
    best = knee(study.front, study.objectives)
    rows = [line.split() for line in text.splitlines()]
    assert "train_time_s [s] ↓" in text
    assert "batch_size" in text
    marked = [row for row in rows if row and row[0] == "◆" and row[1].isdigit()]
    assert [row[1:3] for row in marked] == [[str(best.trial), str(best.epoch)]]
    for point in study.front:
        assert point is best or any(row[:2] == [str(point.trial), str(point.epoch)] for row in rows)


@pytest.mark.parametrize("width", [200, 80, 50])
def test_a_narrow_table_loses_no_setting(width: int) -> None:
    """Where columns don't fit, the settings share one; nothing is cut off."""
    study = made_up(10)
    text = "".join(shown(study, width).split())
    assert all(len(line) <= width for line in shown(study, width).splitlines())
    for point in study.front:
        assert f"{study.params[point.trial]['learning_rate']:.4g}" in text


def test_what_all_share_stands_once() -> None:
    """A parameter with one value on the whole front is no column."""
    study = made_up(1)
    text = shown(study)
    assert text.count("batch_size") == 1
    assert "in all: batch_size=" in " ".join(text.split())


def test_an_empty_front_says_so_and_a_long_one_can_be_shortened() -> None:
    """No points: a sentence. Too many: the number that was asked for, and how many there are."""
    assert "no front" in " ".join(shown(made_up(0)).split())
    study = made_up(30, ("accuracy", "train_time_s", "peak_memory_mib"))
    assert f"5 of {len(study.front)} points shown" in shown(study, most=5)
