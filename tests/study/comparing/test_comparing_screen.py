"""A comparison in a terminal: whole figures whatever its width, and no column that says the same in every row."""

from pathlib import Path

import pytest

from study.comparing.made_up_comparing import compared_study
from tune_cnn.reports.comparison_words import difference_text, interval_text
from tune_cnn.reports.terminal.tables.comparison import show_comparison
from tune_cnn.study.comparing.answer import answer_of
from tune_cnn.study.questions.question import Run


def alike(run: Run) -> tuple[float, float]:
    return 0.5 + run.params["batch_size"] / 1000 + 0.01 * run.extra["block"], 1.0 + 0.1 * run.extra["block"]


@pytest.mark.parametrize("columns", [80, 240])
def test_no_figure_is_broken_and_no_line_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    """Of two sets of images, which stand above the tables and not in them."""
    archive = compared_study(tmp_path, alike, "data,batch_size", "data=digits,fashion_mnist", seeds=3)
    found = answer_of(archive)
    monkeypatch.setenv("COLUMNS", str(columns))
    show_comparison(found, [], None)
    printed = capsys.readouterr().out.splitlines()
    tables = printed[: next(at for at, line in enumerate(printed) if line.startswith("Mean over the seeds"))]
    assert max(map(len, tables)) <= columns
    text = "\n".join(tables)
    for cell in found.cells:
        for metric in found.objectives:
            assert interval_text(cell.metrics[metric.name], metric) in text
            assert difference_text(cell.differences.get(metric.name), metric, is_baseline=cell.is_baseline) in text
    below = [line for line in tables if not line.startswith("On ")]
    assert "On digits" in text and not any("digits" in line or "fashion" in line for line in below)
    assert len([line for line in tables if "seeds" in line]) == (2 if columns == 240 else 4)


def test_the_verdict_names_a_cell_within_its_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The set's name stands at the head of the sentence, once."""
    archive = compared_study(tmp_path, alike, "data,batch_size", "data=digits,fashion_mnist", seeds=3)
    show_comparison(answer_of(archive), [], None)
    printed = capsys.readouterr().out
    assert "On digits: batch_size 64 has the best accuracy" in printed
    assert "data digits, batch_size" not in printed
