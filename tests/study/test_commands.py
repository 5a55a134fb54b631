"""The reading commands on made-up stores: the same for a reader and, with --json, for a script."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from study.commands import environment
from study.made_up import Command, make_study, one_message
from tune_cnn.records.store import Store
from tune_cnn.states import StudyState


def test_version_and_help(command: Command) -> None:
    """--version prints name and version; every command explains itself."""
    assert command("--version").out == f"tune-cnn {version('tune-cnn')}\n"
    for name in ("search", "status", "list", "front", "export", "train", "report", "delete", "sync", "recipes"):
        told = command(name, "--help")
        assert told.code == 0
        assert "--debug" in told.out


@pytest.mark.usefixtures("home")
def test_status_list_and_front_as_json(command: Command) -> None:
    """One document each, with the keys that tune_cnn/study/README.md promises."""
    status = command("status", "made-up", "--json").document
    assert status["trials"] == {"complete": 3, "stopped": 0, "failed": 0, "infeasible": 0, "running": 0}
    assert status["state"] == "finished"
    assert [row["study"] for row in command("list", "--json").document] == ["made-up"]
    front = command("front", "made-up", "--json").document
    assert [(p["trial"], p["epoch"]) for p in front["points"]] == [(0, 1), (0, 2), (1, 2)]
    assert front["hypervolume"] == status["hypervolume"]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("columns", ["80", "140"])
def test_shown_lines_keep_inside_the_terminal(command: Command, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status, list, recipes and front fit the terminal and name what they show."""
    monkeypatch.setenv("COLUMNS", columns)
    for words, said in {
        ("status", "made-up"): "3 complete",
        ("list",): "finished",
        ("front", "made-up"): "0.9500",
    }.items():
        shown = command(*words)
        assert shown.code == 0
        assert said in shown.out
        assert max(map(len, shown.out.splitlines())) <= int(columns)


@pytest.mark.usefixtures("home")
def test_times_are_shown_to_the_minute_in_utc(command: Command) -> None:
    """A reader gets "2026-01-31 12:00 UTC", a script the ISO form."""
    assert " UTC" in command("status", "made-up").out
    assert "+00:00" in command("status", "made-up", "--json").document["started"]


def test_export_into_a_file_says_what_it_promises(command: Command, home: Path) -> None:
    """-o writes the file and leaves stdout empty; with --json stdout carries the document too."""
    ended = command("export", "made-up", "--max-time", "3", "-o", "new/best.yaml")
    assert ended.out == ""
    assert "trial 0 at epoch 2" in ended.err
    written = yaml.safe_load((home.parent / "new" / "best.yaml").read_text())
    assert written["promise"]["metrics"]["accuracy"] == 0.8
    both = command("export", "made-up", "--max-time", "3", "-o", "best.yaml", "--json").document
    assert both["config"] == written["config"]


@pytest.mark.usefixtures("home")
def test_export_of_a_named_point(command: Command) -> None:
    """--trial and --epoch export that very point, on the front or not."""
    ended = command("export", "made-up", "--trial", "2", "--epoch", "1", "--json")
    assert ended.document["origin"]["trial"] == 2
    assert ended.document["config"]["stop_epoch"] == 1


@pytest.mark.usefixtures("home")
def test_report_is_written_anew(command: Command, tmp_path: Path) -> None:
    """`report` needs only the store."""
    assert command("report", "made-up", "-o", "r.html", "--json").document["report"].endswith("r.html")
    one_message(command("report", "made-up", "-o", "r.md"), 2, "only a comparison is written as Markdown", ".html")
    one_message(command("report", "made-up", "-o", "r.txt"), 2, "r.txt: a report is an HTML file; name it .html")
    assert not (tmp_path / "r.txt").exists()
    assert "made-up" in (tmp_path / "r.html").read_text()


def test_delete_forgets_the_study_and_its_folder(command: Command, home: Path) -> None:
    """--yes deletes; without a terminal to ask on, nothing is deleted."""
    (home / "made-up").mkdir()
    one_message(command("delete", "made-up"), 2, "--yes")
    assert command("status", "made-up").code == 0
    assert command("delete", "made-up", "--yes", "--json").document == {"study": "made-up", "deleted": True}
    assert not (home / "made-up").exists()
    one_message(command("status", "made-up"), 2, "does not exist")


def test_a_study_that_is_being_searched_is_not_deleted(command: Command, home: Path) -> None:
    """The lease of a search protects its study."""
    store = Store(home)
    with store.lease("made-up"):
        one_message(command("delete", "made-up", "--yes"), 2, "being searched")
    store.close()
    assert command("status", "made-up").code == 0


def test_without_studies_each_command_says_so(command: Command, tmp_path: Path) -> None:
    """No home yet: an empty list is no failure, a study in it is."""
    assert command("list", "--json").document == []
    assert "No studies in studies yet" in command("list").err
    one_message(command("status", "made-up"), 2, "does not exist", "tune-cnn search")
    assert not (tmp_path / "studies").exists()


def test_study_without_points(command: Command, tmp_path: Path) -> None:
    """Status and front show that nothing is there yet; there is nothing to export."""
    make_study(tmp_path / "studies", "young", points=False)
    assert "none yet" in command("status", "young").out
    assert "no point yet" in command("front", "young").err
    assert command("front", "young", "--json").document["points"] == []
    one_message(command("export", "young"), 2, "no point yet")


def test_points_that_the_constraints_leave_out(command: Command, tmp_path: Path) -> None:
    """`front` says which constraint none meets and how near they came, not that there is no point."""
    make_study(tmp_path / "studies", "tight", constraints={"peak_memory_mib": {"max": 1}})
    said = command("front", "tight").err
    assert "no point yet" not in said
    assert "peak_memory_mib" in said and "nearest" in said


def test_recipes_name_what_they_search(command: Command) -> None:
    """Each recipe with its data, model and searched keys, for a reader as for a script."""
    rows = command("recipes", "--json").document
    names = [row["name"] for row in rows]
    assert {"quickstart", "joint"} <= set(names)
    shown = command("recipes").out
    assert "lr_rule" in shown
    assert all(name in shown for name in names)
    most = max((row["searched"] for row in rows), key=len)
    assert f"{', '.join(most[:8])}, and {len(most) - 8} more\n" in shown


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", ["a/b", "../made-up", ".hidden", "a b", "🙂", "", "x" * 300, "[bold]x[/]"])
def test_impossible_names_are_refused_everywhere(command: Command, name: str) -> None:
    """Every command that takes a study refuses a name that no study can have, as input that is wrong."""
    for words in (["status"], ["front"], ["export"], ["report", "-o", "x.html"], ["delete", "--yes"], ["sync"]):
        one_message(command(words[0], name, *words[1:]), 2, "name")


@pytest.mark.usefixtures("home")
def test_mistyped_name_is_answered_with_the_nearest(command: Command) -> None:
    """All commands that look for a study name the one that was meant."""
    for words in (["status"], ["front"], ["export"], ["report", "-o", "x.html"], ["delete", "--yes"], ["sync"]):
        one_message(command(words[0], "madeup", *words[1:]), 2, "did you mean 'made-up'?")


@pytest.mark.usefixtures("home")
def test_mistyped_name_is_answered_with_the_nearest_where_mlflow_is_asked_too(command: Command, tmp_path: Path) -> None:
    """That MLflow doesn't know it either is said after it."""
    nowhere = f"sqlite:///{tmp_path}/nothing.db"
    for words in (["status"], ["front"], ["export"], ["report", "-o", "x.html"]):
        ended = command(words[0], "madeup", *words[1:], "--tracking-uri", nowhere)
        one_message(ended, 2, "did you mean 'made-up'? MLflow was asked too: ", "no such database")


def test_mistyped_data_is_answered_with_sets_and_recipes(command: Command) -> None:
    one_message(command("data", "fashon_mnist"), 2, "no file, folder, recipe or set of images", "'fashion_mnist'")
    one_message(command("data", "quickstrat"), 2, "did you mean 'quickstart'?")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("words", [("front", "made-up"), ("status", "made-up", "--json"), ("export", "made-up")])
def test_reader_that_leaves_early_is_no_failure_and_a_full_disk_is(tmp_path: Path, words: tuple[str, ...]) -> None:
    """`| head` of nothing ends with 0, quietly; a stdout that can't be written ends with 1 and says so."""
    whole = [sys.executable, "-m", "tune_cnn", *words]
    reader, writer = subprocess.Popen(["true"], stdin=subprocess.PIPE), None
    reader.wait()
    writer = subprocess.run(
        whole, cwd=tmp_path, env=environment(tmp_path), stdout=reader.stdin, stderr=subprocess.PIPE, text=True
    )
    assert (writer.returncode, writer.stderr) == (0, "")
    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full:
            ended = subprocess.run(
                whole, cwd=tmp_path, env=environment(tmp_path), stdout=full, stderr=subprocess.PIPE, text=True
            )
        assert ended.returncode == 1
        assert ended.stderr == "Error: stdout can't be written: No space left on device\n"


def test_unfinished_trials_are_not_called_running_once_the_search_has_ended(command: Command, home: Path) -> None:
    """A reader sees that they wait for the next start; a script keeps its key."""
    store = Store(home)
    store.add_trial("made-up", 3, {}, seed=3)
    store.update_study("made-up", state=StudyState.INTERRUPTED)
    store.close()
    assert "3 complete, 1 unfinished" in command("status", "made-up").out
    assert command("status", "made-up", "--json").document["trials"]["running"] == 1


def test_a_killed_search_is_not_said_to_run(command: Command, home: Path) -> None:
    """kill -9 leaves no time to write that it ended; whether a process holds the study tells."""
    store = Store(home)
    store.update_study("made-up", state=StudyState.RUNNING)
    with store.lease("made-up"):
        assert command("status", "made-up", "--json").document["state"] == "running"
    assert command("status", "made-up", "--json").document["state"] == "interrupted"
    assert [line["state"] for line in command("list", "--json").document] == ["interrupted"]
    store.close()
