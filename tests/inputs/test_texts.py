"""Text of strangers: bytes that are no UTF-8, control characters, markup, and errors without end."""

import pytest
from rich.console import Console
from study.made_up import commands_in, make_study

from tune_cnn.errors import TrialError
from tune_cnn.records.rows import LONGEST_TEXT, plain
from tune_cnn.reports.terminal import printed
from tune_cnn.text import printable
from tune_cnn.training.process.faults import LONGEST, trial_faults

TEXTS = [
    ("plain", "plain"),
    ("naïve 猫 🐱", "naïve 猫 🐱"),
    ("caf\udce9", r"caf\xe9"),
    ("\ud83d alone", r"\ud83d alone"),
    ("a\nb\tc\rd", r"a\nb\tc\rd"),
    ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
    ("nul\0", r"nul\x00"),
    ("left \u202egnp.exe", r"left \u202egnp.exe"),
    ("family 👩\u200d👩\u200d👧", "family 👩\u200d👩\u200d👧"),
    ("<script> [red] **bold** `code` | $(rm)", "<script> [red] **bold** `code` | $(rm)"),
    ("new \U0001f6ff and none \U0010ffff", r"new \U0001f6ff and none \U0010ffff"),
]


@pytest.mark.parametrize(("text", "shown"), TEXTS)
def test_what_cannot_be_shown_is_escaped_and_all_else_stays(text, shown):
    assert printable(text) == shown
    shown.encode()


def test_line_ends_may_stay():
    assert printable("a\nb\x07", keep="\n") == "a\nb\\x07"


def test_what_is_stored_is_text_of_a_bounded_length():
    assert plain("x" * LONGEST_TEXT) == "x" * LONGEST_TEXT
    assert plain("x" * 10**7) == "x" * LONGEST_TEXT + "… (10,000,000 characters)"
    assert plain("one\ntwo \udce9\0") == "one\ntwo \\xe9\\x00"


@pytest.mark.parametrize("said", ["\x1b[2J\udce9", "x" * 10**6, "[/]", "<b>", "a\nb"])
def test_an_error_of_the_users_code_is_one_short_line_that_can_be_shown(said):
    with pytest.raises(TrialError) as raised, trial_faults("training"):
        raise ValueError(said)
    told = str(raised.value)
    assert told.startswith("training raised ValueError: ") and "\n" not in told and len(told) < LONGEST + 200
    told.encode()
    assert "\x1b" not in told


def test_markup_in_texts_is_shown_and_not_obeyed(capsys, monkeypatch):
    """rich would take [/] for an error, and [red] for a colour."""
    monkeypatch.setattr(printed, "Stream", lambda **_: Console(file=None, width=200))
    status = {
        "study": "s", "state": "finished", "trials": {"failed": 1, "running": 0}, "hypervolume": None, "confirm": None,
        "failures": ["1 of 1 trials failed:", "  1 × ValueError: [/] [red] {x}"], "notes": [],
        "started": "2026-01-01T00:00:00+00:00", "updated": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    printed.status(status)
    assert "1 × ValueError: [/] [red] {x}" in capsys.readouterr().out


FOLDERS = ["with space", "100%20", "a#b?c=d&e", "naïve 🐱", "quote's \"", "line\nend", "-dash", "dots..", "[x]{y}"]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_home_of_any_name_is_read_and_written(tmp_path, monkeypatch, capfd, name):
    """SQLite's and MLflow's addresses have characters of their own."""
    home = tmp_path / name / "studies"
    home.mkdir(parents=True)
    make_study(home)
    with commands_in(tmp_path / name, monkeypatch, capfd) as command:
        (listed,) = command("list", "--json").document
        assert listed["study"] == "made-up"
        assert command("report", "made-up", "-o", f"{name}.html").code == 0
    assert (tmp_path / name / f"{name}.html").stat().st_size > 1000
