"""The pages' commands are ones that their scripts take; those that only simulate run, rehearse.py runs the others."""

import subprocess
import sys
from pathlib import Path

import pytest
import simulate
from rehearse import HERE, SMALL, Command, commands, commands_in, pages

SIMULATIONS = [command for command in commands() if command.script == "simulate.py"]


def test_every_command_of_the_pages_is_one_that_its_script_takes() -> None:
    """In a process of its own: the scripts import Ray, MLflow and torch as they need them."""
    done = subprocess.run([sys.executable, str(HERE / "rehearse.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nok") + done.stdout.startswith("ok") == len(commands())


def test_each_measurement_has_a_command_in_a_page() -> None:
    """So that the table of small forms has all, and none too much."""
    scripts = {path.name for path in HERE.glob("*.py") if "\ndef command_line()" in path.read_text(encoding="utf-8")}
    assert {command.script for command in commands()} == set(SMALL) == scripts - {"rehearse.py"}


@pytest.mark.parametrize("command", SIMULATIONS, ids=str)
def test_a_simulation_of_the_pages_runs(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Small: a seed, and few trials."""
    if any(word.endswith("@botorch") for word in command.words):
        pytest.importorskip("botorch", reason="a rival's library, and no dependency")
    words = command.small(tmp_path, tmp_path, tmp_path)
    words = ["hpobench-car" if word == "hpobench" else word for word in words]  # the front of each of eight takes 9 s
    monkeypatch.setattr(sys, "argv", ["simulate.py", *words])
    simulate.main()
    assert (tmp_path / "out.json").stat().st_size > 0
    assert "to 95%, s" in capsys.readouterr().out


def test_commands_are_found_as_pages_write_them() -> None:
    """Blocks with variables before and lines that go on, and inline code; names alone and other commands are none."""
    text = r"""
By `scale.py`; see `record_curves.py NAME --most 2` and `tune-cnn front`, and `pytest tests/test_types.py -x`.

    export OMP_NUM_THREADS=1
    OMP_NUM_THREADS=1 python tests/benchmarks/time_to_front.py --root ROOT \
        --repeats 3     # minutes
    nice -n 5 env A=1 python tests/benchmarks/at_rest.py

| a table | of `scale.py --repeats 2` |
"""
    found = [(command.script, *command.words) for command in commands_in(text, "x.md")]
    assert found == [
        ("time_to_front.py", "--root", "ROOT", "--repeats", "3"),
        ("at_rest.py",),
        ("record_curves.py", "NAME", "--most", "2"),
        ("scale.py", "--repeats", "2"),
    ]
    assert {"RESULTS.md", "SIMULATION.md", "README.md"} <= {page.name for page in pages()}


@pytest.mark.parametrize(
    ("words", "told"), [(("--ruckelt",), "--ruckelt"), (("--seeds", "many"), "--seeds"), (("--json",), "--json")]
)
def test_words_that_a_script_does_not_take_are_told(words: tuple[str, ...], told: str) -> None:
    from rehearse import wrong_words

    assert told in wrong_words(Command(page="x.md", script="simulate.py", words=words), Path("root"))
    assert "nowhere.py" in wrong_words(Command(page="x.md", script="nowhere.py", words=()), Path("root"))
