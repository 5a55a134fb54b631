"""What `transfer` refuses and what it makes of probes; fronts by type; all on made-up studies, without Ray."""

import math
from pathlib import Path
from typing import Any

import pytest

from study.confirming.made_up_confirming import Training
from study.made_up import Command, make_study, one_message, session_of
from tune_cnn.errors import InputError
from tune_cnn.records.store import Store
from tune_cnn.reports.terminal.tables.transfer import transferred
from tune_cnn.spec.costs import Cost
from tune_cnn.study.accelerators import TRANSFERRED, as_there, check_type, predicted_on, transfer_notes
from tune_cnn.study.archive import read_archive, spec_of
from tune_cnn.study.confirming.plan import plan, settings
from tune_cnn.study.confirming.runs import confirm_runs
from tune_cnn.study.front import Front
from tune_cnn.study.transferring.carried import Probed, as_plain, carried_rows, check_objectives

OWN = {"unit": "1", "direction": "min", "call": "mine:f"}


def study_on(home: Path, name: str = "s", **changes: Any) -> None:
    """The made-up study, searched on A."""
    make_study(home, name, ran={"accelerator": "A"}, **changes)


def study_on_two(home: Path) -> None:
    """The same, and its best trial on C."""
    study_on(home)
    store = Store(home)
    params = {"epochs": 2, "batch_size": 64, "learning_rate": 0.1}
    store.add_trial("s", 3, params, seed=3, extra={"gpu_share": 0.0, "accelerator": "C"})
    store.add_point("s", 3, 1, {"accuracy": 0.99, "train_time_s": 0.5})
    store.close()


@pytest.mark.parametrize(
    ("study", "words", "said"),
    [
        ({}, ("--accelerator", "A"), "was searched on 'A' itself, so there is nothing to carry"),
        ({"points": False}, ("--accelerator", "B"), "none of its trials tells the type of accelerator"),
        ({}, ("--accelerator", "B", "--from", "C"), "--from: study 's' was not searched on 'C', but on A"),
        ({}, ("--accelerator", "B", "--probes", "0"), "transfer: probes must be at least 1, got 0"),
        (
            {"constraints": {"accuracy": {"min": 0.99}}},
            ("--accelerator", "B"),
            "its front is empty, so there is nothing to carry: ",
        ),
        (
            {"objectives": ["accuracy", "cpu_util_pct"], "costs": {"cpu_util_pct": 50.0}},
            ("--accelerator", "B"),
            "the objective cpu_util_pct is another on every card",
        ),
    ],
)
def test_what_cannot_be_carried_is_refused_before_anything_starts(
    command: Command, tmp_path: Path, study: dict[str, Any], words: tuple[str, ...], said: str
) -> None:
    study_on(tmp_path / "studies", **study)
    one_message(command("transfer", "s", *words), 2, said)


def test_a_study_without_recorded_types_is_refused(command: Command, home: Path) -> None:
    """Its trials ran on CPUs, or before types were recorded."""
    ended = command("transfer", "made-up", "--accelerator", "B")
    one_message(ended, 2, "none of its trials tells the type", "Name the type in resources.accelerator")


def test_of_several_types_one_is_named(command: Command, tmp_path: Path) -> None:
    study_on(tmp_path / "studies")
    store = Store(tmp_path / "studies")
    store.add_trial("s", 3, {"epochs": 1}, seed=3, extra={"accelerator": "C"})
    store.close()
    one_message(
        command("transfer", "s", "--accelerator", "B"), 2, "--from: study 's' was searched on A, C; name the one"
    )


def test_the_front_of_a_type(command: Command, tmp_path: Path) -> None:
    """Its own points alone, each with its type; a type that it has none of is refused, with those that there are."""
    study_on_two(tmp_path / "studies")
    whole = command("front", "s", "--json").document
    assert [(row["trial"], row["accelerator"]) for row in whole["points"]] == [(3, "C")]
    on_a = command("front", "s", "--accelerator", "A", "--json").document
    assert on_a["accelerator"] == "A"
    assert {row["accelerator"] for row in on_a["points"]} == {"A"} and len(on_a["points"]) == 3
    report = command("report", "s", "-o", "r.html")
    assert report.code == 0 and "<th>accelerator</th>" in Path("r.html").read_text()
    one_message(command("front", "s", "--accelerator", "D"), 2, "was not searched on 'D'; its trials ran on A, C")


def test_an_export_of_a_type_asks_for_it_and_promises_what_was_seen_there(command: Command, tmp_path: Path) -> None:
    """Of another type's point the message says so; without a type the export runs wherever there is room."""
    study_on_two(tmp_path / "studies")
    there = command("export", "s", "--accelerator", "A", "--json").document
    assert there["config"]["resources"]["accelerator"] == "A"
    assert there["origin"]["trial"] != 3 and "predicted" not in there["promise"]
    assert "accelerator" not in command("export", "s", "--json").document["config"].get("resources", {})
    gone = command("export", "s", "--accelerator", "A", "--trial", "3", "--epoch", "1")
    one_message(gone, 2, "has no point of trial 3 at epoch 1 on A")
    one_message(command("export", "s", "--accelerator", "D"), 2, "was not searched on 'D'; its trials ran on A, C")


def test_an_export_for_a_type_that_was_only_predicted_says_so(command: Command, tmp_path: Path) -> None:
    study_on(tmp_path / "studies")
    rows, store = carried(tmp_path / "studies"), Store(tmp_path / "studies")
    study = store.study("s")
    assert study is not None
    store.update_study("s", info={**study.info, TRANSFERRED: {"B": {"from": "A", "points": rows}}})
    store.close()
    there = command("export", "s", "--accelerator", "B", "--json").document
    assert there["config"]["resources"]["accelerator"] == "B"
    assert there["promise"]["predicted"] is True
    assert (there["origin"]["trial"], there["origin"]["epoch"]) == (1, 2)
    assert there["promise"]["metrics"]["train_time_s"] == pytest.approx(0.2)


def probed(seconds: float, *, epochs: float, probes: int = 3) -> Probed:
    """So long a step, ten steps an epoch, the same in every probe."""
    cost = Cost(step_time_s=seconds, steps_per_epoch=10, eval_time_s=0.1, peak_memory_mib=200.0, start_time_s=1.0)
    return Probed(costs=[cost] * probes, epochs=epochs)


def carried(home: Path, **changes: Any) -> list[dict[str, Any]]:
    """The front of the made-up study where trial 0 takes 0.5 s a step and trial 1 takes 0.01 s: its order turns."""
    archive = read_archive("s", home, None)
    spec, front = spec_of(archive), Front(archive)
    told = {(p.trial, p.epoch): probed(0.5 if p.trial == 0 else 0.01, epochs=p.epoch) for p in front.points}
    rows = carried_rows(archive, spec, front.points, {**told, **changes.pop("told", {})})
    return [as_plain(row, front.params(row.point), was_on_front=True) for row in rows]


def test_times_come_from_the_probes_and_accuracy_stays(tmp_path: Path) -> None:
    """The point that was slow is the fastest there, and the only one on the front."""
    study_on(tmp_path)
    rows = {(row["trial"], row["epoch"]): row for row in carried(tmp_path)}
    slow, fast = rows[0, 2], rows[1, 2]
    assert slow["predicted"]["train_time_s"]["value"] == pytest.approx(0.5 * 10 * 2)
    assert fast["predicted"]["train_time_s"]["value"] == pytest.approx(0.01 * 10 * 2)
    assert fast["predicted"]["train_time_s"]["low"] < 0.2 < fast["predicted"]["train_time_s"]["high"]
    assert fast["predicted"]["peak_memory_mib"]["value"] == pytest.approx(200.0)
    assert (slow["accuracy"]["value"], fast["accuracy"]["value"]) == (0.8, 0.95)
    assert fast["accuracy"]["low"] is None  # nothing was confirmed: its spread is not known
    assert [key for key, row in rows.items() if row["on_front"]] == [(1, 2)]
    assert fast["front_probability"] == 1.0 and slow["front_probability"] == 0.0


def test_a_confirmed_accuracy_is_carried_with_its_interval(tmp_path: Path) -> None:
    """And one that was only searched with the spread of those that were."""
    study_on(tmp_path)
    store = Store(tmp_path)
    archive = read_archive("s", tmp_path, None)
    runs = [run for run in plan(archive, spec_of(archive), settings(spec_of(archive), 3, 3)) if run.trial == 1]
    store.confirmations.plan("s", runs)
    assert confirm_runs(session_of(store, spec_of(archive), tmp_path), runs, Training(), stopping=lambda: False)
    store.close()
    rows = {(row["trial"], row["epoch"]): row["accuracy"] for row in carried(tmp_path)}
    assert rows[1, 2]["value"] == pytest.approx(0.94)
    assert rows[1, 2]["low"] < 0.94 < rows[1, 2]["high"]
    reach = 4.302653 * 0.01 * math.sqrt(2)
    assert (rows[0, 2]["low"], rows[0, 2]["high"]) == pytest.approx((0.8 - reach, 0.8 + reach))


def test_what_does_not_fit_there_is_shown_and_is_no_front(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    study_on(tmp_path)
    rows = carried(tmp_path, told={(1, 2): Probed(reason="out of memory")})
    gone = next(row for row in rows if row["trial"] == 1)
    assert (gone["on_front"], gone["reason"], gone["predicted"]) == (False, "out of memory", {})
    transferred(
        {
            "study": "s", "from": "A", "to": "B", "objectives": ["accuracy", "train_time_s"], "points": rows,
            "probes": 3, "allowance_pct": 15.0, "notes": ["a note"], "next": {"confirm": "tune-cnn confirm s"},
        }
    )  # fmt: skip
    out = capsys.readouterr().out
    assert "its front on A, predicted for B" in out
    assert "out of memory" in out and "a note" in out and "tune-cnn confirm s" in out


def test_an_own_metric_is_taken_to_be_the_same_and_a_constraint_of_the_card_is_not_held(tmp_path: Path) -> None:
    study_on(
        tmp_path,
        metrics={"mine": OWN},
        objectives=["accuracy", "mine"],
        costs={"mine": 1.0},
        constraints={"gpu_energy_j": {"max": 9}},
    )
    notes = check_objectives(spec_of(read_archive("s", tmp_path, None)), "B")
    assert any("mine is your own metric" in note for note in notes)
    assert any("the constraint on gpu_energy_j is not held" in note for note in notes)


def test_confirm_there_trains_what_is_predicted_there(tmp_path: Path) -> None:
    """Its runs stand beside those where it was searched, and change nothing of them."""
    study_on(tmp_path)
    store = Store(tmp_path)
    document = {"from": "A", "to": "B", "points": carried(tmp_path)}
    record = store.study("s")
    assert record is not None
    store.update_study("s", info={**record.info, TRANSFERRED: {"B": document}})
    archive = read_archive("s", tmp_path, None)
    spec = spec_of(archive)
    assert [(p.trial, p.epoch) for p in predicted_on(archive, spec, "B")] == [(1, 2)]
    runs = plan(archive, spec, settings(spec, 3, 2), on="B")
    assert [(run.trial, run.epoch, run.number) for run in runs] == [(1, 2, 0), (1, 2, 1)]
    assert len({run.key for run in plan(archive, spec, settings(spec, 3, 2), on="C")}) == 3  # nothing predicted: A's
    store.confirmations.plan("s", runs, on="B")
    training = Training()
    assert confirm_runs(session_of(store, spec, tmp_path), runs, training, stopping=lambda: False, there="B")
    assert confirm_runs(session_of(store, spec, tmp_path), runs, training, stopping=lambda: False, there="B")
    assert len(training.asked) == 2  # what has ended is not trained again
    store.close()
    archive = read_archive("s", tmp_path, None)
    assert not archive.confirmations
    assert "a front of 1 point, 1 confirmed there" in transfer_notes(archive)[0]
    there = Front(as_there(archive, "B"))
    assert [(one.key, one.seeds) for one in there.confirmed] == [((1, 2), 2)]
    assert [there.accelerator(p) for p in there.points] == ["B"]
    with pytest.raises(InputError, match="was not searched on 'B'"):
        check_type(archive, "B")
