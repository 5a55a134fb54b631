"""What a comparison answers: from the store alone, as a table, a page, JSON and sentences."""

import json
from pathlib import Path

import pytest

from study.comparing.made_up_comparing import MadeUp, asked, compared_study, create, work_through
from study.made_up import Command, one_message
from tune_cnn.front.comparison.compared import Compared
from tune_cnn.records.document import read_document, write_document
from tune_cnn.reports.comparison_words import verdict
from tune_cnn.reports.figures.comparison_picture import curves_picture
from tune_cnn.study.archive import read_archive
from tune_cnn.study.comparing.answer import answer_of, notes_of
from tune_cnn.study.comparing.cells import cells_of
from tune_cnn.study.comparing.shown import document
from tune_cnn.study.questions.question import Run


def larger_is_faster_and_worse(run: Run) -> tuple[float, float]:
    size, block = run.params["batch_size"], run.extra["block"]
    return 0.9 - size / 1000 + 0.02 * block + (0.001 * (block % 2) if size > 32 else 0.0), 64 / size * (
        1 + 0.01 * block
    )


def of(found: Compared, cell: str) -> int:
    return [one.of.name for one in found.cells].index(cell)


def test_the_answer_holds_means_differences_and_chances(tmp_path: Path) -> None:
    """In pairs with the same seed a gain shows that the seeds' own spread would hide."""
    archive = compared_study(tmp_path, larger_is_faster_and_worse, seeds=4)
    base, other = answer_of(archive).cells
    assert base.is_baseline and not base.differences
    assert base.metrics["accuracy"].mean == pytest.approx(0.868 + 0.03)
    lost = other.differences["accuracy"]
    assert lost.value == pytest.approx(-0.032 + 0.0005, abs=1e-9)
    assert lost.is_sure
    assert other.differences["train_time_s"].value == pytest.approx(0.5)
    assert base.probability == other.probability == pytest.approx(1.0, abs=0.05)  # each is best in one objective
    assert base.curves["accuracy"].epochs == (1, 2, 3, 4)
    assert base.curves["accuracy"].seconds[-1] == pytest.approx(8 * 1.015)


def test_the_verdict_is_a_plain_sentence(tmp_path: Path) -> None:
    """What is best, whether that is sure, and what so many seeds would have shown."""
    archive = compared_study(tmp_path, larger_is_faster_and_worse, seeds=4)
    told = " ".join(verdict(answer_of(archive)))
    assert "batch_size 32 has the best accuracy, 0.8980; it is the baseline, surely better than 1 of 1 others." in told
    assert "batch_size 64 has the best train_time_s" in told and "0.5 times the baseline's" in told
    assert "With 4 seeds a difference of" in told


def test_it_is_the_same_from_points_json_on_any_machine(tmp_path: Path) -> None:
    """MLflow's file holds all that the answer needs."""
    archive = compared_study(tmp_path, larger_is_faster_and_worse, seeds=3)
    text = write_document(archive.study, archive.trials, archive.points)
    again = read_document(text, "points.json")
    assert document(again, answer_of(again)) == document(archive, answer_of(archive))


def test_its_document_is_json_with_the_promised_keys(tmp_path: Path) -> None:
    """As tune_cnn/study/README.md has it."""
    archive = compared_study(tmp_path, larger_is_faster_and_worse, seeds=3)
    plain = json.loads(json.dumps(document(archive, answer_of(archive)), allow_nan=False))
    assert plain["baseline"] == "batch_size 32"
    cell = plain["cells"][1]
    assert cell["params"] == {"batch_size": 64} and cell["n"] == 3
    assert set(cell["metrics"]["accuracy"]) == {"mean", "low", "high"}
    assert {"kind", "value", "low", "high", "p", "p_holm", "detectable"} <= set(cell["difference"]["accuracy"])


def test_failed_cells_are_shown_as_such(tmp_path: Path) -> None:
    """Not left out, and not on the front; a cell that failed once is compared by its other seeds."""

    def fails(run: Run) -> tuple[float, float]:
        accuracy, epoch_s = larger_is_faster_and_worse(run)
        return float("nan") if run.params["batch_size"] == 64 and run.extra["block"] < 2 else accuracy, epoch_s

    archive = compared_study(tmp_path, fails, seeds=4)
    found = answer_of(archive)
    cell = found.cells[of(found, "batch_size 64")]
    assert cell.of.failures == ("ValueError: made up",) * 2
    assert cell.differences["accuracy"].n == 2
    assert cell.probability is not None and cell.probability < 0.7
    assert any("batch_size 64: 2 of its runs failed" in note for note in notes_of(archive, found))


def test_a_rate_at_the_end_of_its_list_is_said(tmp_path: Path) -> None:
    """And that one rate for all cells may suit one of them better."""
    archive = compared_study(
        tmp_path / "one", lambda run: (run.params["learning_rate"], 1.0), "batch_size,learning_rate",
        "learning_rate=0.1,0.2,0.3", seeds=2,
    )  # fmt: skip
    told = notes_of(archive, answer_of(archive))
    assert sum("is the largest of the list" in note for note in told) == 2
    archive = compared_study(tmp_path / "two", larger_is_faster_and_worse, seeds=2)
    assert any("learning_rate is the same for all cells" in note for note in notes_of(archive, answer_of(archive)))


def test_a_schedule_that_need_not_have_decayed_is_shown(tmp_path: Path) -> None:
    """`plateau` lowers the rate when the loss stays."""
    archive = compared_study(
        tmp_path, lambda run: (0.9, 1.0), "batch_size,schedule", "schedule=cosine,plateau", seeds=2
    )
    found = answer_of(archive)
    assert [bool(cell.of.notes) for cell in found.cells] == [False, True, False, True]


def test_sets_of_images_are_compared_each_by_itself_and_ranked_over_all(tmp_path: Path) -> None:
    """Each with its own baseline; the order over all by mean rank."""

    def made(run: Run) -> tuple[float, float]:
        hard = run.extra["changes"]["data"]["name"] == "fashion_mnist"
        return (0.5 if hard else 0.9) + run.params["batch_size"] / 1000 + 0.001 * run.extra["block"], 1.0

    archive = compared_study(tmp_path, made, "data,batch_size", "data=digits,fashion_mnist", seeds=3)
    found = answer_of(archive)
    assert found.groups == ["digits", "fashion_mnist"]
    assert [cell.is_baseline for cell in found.cells] == [True, False, True, False]
    assert found.cells[3].differences["accuracy"].value == pytest.approx(0.032)
    assert found.ranks == {"batch_size 64": 1.0, "batch_size 32": 2.0}


def test_the_report_of_a_comparison_is_its_page(tmp_path: Path, command: Command) -> None:
    """`report` writes it from the store; `search`, `confirm` and `export` have nothing to do there."""
    compared_study(Path("studies"), larger_is_faster_and_worse, seeds=3)
    assert command("report", "made-up", "-o", "page.html").code == 0
    page = Path("page.html").read_text(encoding="utf-8")
    for text in ("What is better", "batch_size 64", "against the baseline", "p (Holm)", "Curves"):
        assert text in page
    assert command("report", "made-up", "-o", "page.md").code == 0
    assert "| 64 | 3 | 0." in Path("page.md").read_text(encoding="utf-8")
    for words in (("export", "made-up"), ("confirm", "made-up")):
        one_message(command(*words), 2, "answers a question of `compare`", "tune-cnn compare")
    assert "made-up" in command("list").out
    status = command("status", "made-up", "--json").document
    assert status["trials"]["complete"] == 6 and status["question"] == "compare"
    assert "hypervolume" not in command("status", "made-up").out


def test_curves_of_many_cells_are_drawn(tmp_path: Path) -> None:
    """Of more than the ten colours that come first; the report holds the same picture."""
    sizes = ",".join(str(8 * number) for number in range(1, 15))
    archive = compared_study(tmp_path, lambda run: (0.9, 1.0), "batch_size", f"batch_size={sizes}", seeds=2)
    cells = answer_of(archive).cells
    assert len(cells) == 14
    curves_picture(tmp_path / "curves.png", cells)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_comparison_half_done_shows_what_there_is(tmp_path: Path) -> None:
    """Intervals where there are two seeds, and how many runs are to come."""
    spec, what = asked("batch_size", seeds=3)
    create(tmp_path, spec, what, cells_of(what, spec, {}))
    begun = answer_of(read_archive("made-up", tmp_path, None))
    assert [cell.of.planned for cell in begun.cells] == [3, 3]
    assert verdict(begun) == []
    archive = work_through(tmp_path, spec, MadeUp(what, larger_is_faster_and_worse), most=1)
    found = answer_of(archive)
    assert sum(cell.of.planned for cell in found.cells) == 5
    assert document(archive, found)["cells"]
