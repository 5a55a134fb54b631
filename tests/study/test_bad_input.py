"""Wrong input at the command line: one message that says what to do, the right exit code, nothing lost."""

import os
import signal
import sqlite3
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from study.commands import SMALL, run, start
from study.made_up import SPEC, Command, make_study, one_message
from tune_cnn import Study
from tune_cnn.cli.main import main
from tune_cnn.errors import InputError, StudyError
from tune_cnn.records.store import Store


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    return tmp_path / "spec.yaml"


@pytest.mark.usefixtures("spec_file")
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("batch_size=5", "space.batch_size"),
        ("space.batchsize=5", "did you mean 'batch_size'"),
        ("space.batch_size=[]", "at least one value"),
        ("space.learning_rate=0", "more than 0"),
        ("space.learning_rate={low: 1, high: 0.1}", "low must be less than high"),
        ("space.epochs=abc", "whole number"),
        ("data.name=digit", "did you mean 'digits'"),
        ("objectives=[accuracy, traintime]", "did you mean 'train_time_s'"),
        ("resources.gpus_per_rank=2", "must be 0, a fraction or 1"),
        ("budget.trials=0", "at least 1"),
        ("study=a/b", "starts with a letter"),
        ("=3", "key=value"),
        ("nonsense", "key=value"),
        ("space={a: [", "--set"),
    ],
)
def test_wrong_spec_is_refused_at_once(command: Command, changed: str, said: str) -> None:
    """Exit 2 with key and remedy; no home is made, with --json stdout stays empty too."""
    one_message(command("search", "spec.yaml", "--set", changed, "--json"), 2, said)
    assert not Path("studies").exists()


def test_unknown_command_option_recipe_and_file(command: Command, tmp_path: Path) -> None:
    """What is mistyped is answered with what was meant."""
    one_message(command("frnt"), 2, "front")
    one_message(command("search", "--sett", "a=b"), 2, "--set")
    one_message(command("search", "quikstart"), 2, "did you mean 'quickstart'")
    one_message(command("search", str(tmp_path)), 2, "is a folder")
    (tmp_path / "bytes.yaml").write_bytes(bytes(range(128, 256)))
    one_message(command("search", "bytes.yaml"), 2, "not UTF-8")
    one_message(command("train", "bytes.yaml"), 2, "not UTF-8")
    one_message(command("train", "missing.yaml"), 2, "no such file")
    one_message(command("train", str(tmp_path)), 2, "is a folder")


@pytest.mark.usefixtures("home", "spec_file")
def test_changed_spec_is_refused_with_the_difference(command: Command) -> None:
    """Only a budget may change, and only grow."""
    named = ("search", "spec.yaml", "--set", "study=made-up")
    one_message(command(*named, "--set", "space.batch_size=[32, 64]"), 2, "space.batch_size: [64, 128] → [32, 64]")
    one_message(command(*named, "--set", "budget.trials=2"), 2, "budget.trials: 3 → 2", "only grow")


@pytest.mark.usefixtures("spec_file")
def test_second_search_is_refused_before_anything_starts(command: Command, home: Path) -> None:
    """Exit 2 at once, naming the process that searches."""
    store = Store(home)
    with store.lease("made-up"):
        ended = command("search", "spec.yaml", "--set", "study=made-up")
    store.close()
    one_message(ended, 2, "being searched", str(os.getpid()))
    assert "starting Ray" not in ended.err


def _corrupt(file: Path) -> None:
    file.write_bytes(os.urandom(5000))


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _cut(file: Path) -> None:
    os.truncate(file, 20_000)


def _newer(file: Path) -> None:
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("update tune_cnn_schema set version = 99")
    connection.close()


@pytest.mark.usefixtures("spec_file")
@pytest.mark.parametrize("spoil", [_corrupt, _folder, _cut, _newer])
def test_spoilt_store_is_named_and_left_alone(command: Command, home: Path, spoil: Any) -> None:
    """Exit 1, and the file stays as it is."""
    file = home / "studies.db"
    for beside in home.glob("studies.db-*"):
        beside.unlink()
    spoil(file)
    before = file.read_bytes() if file.is_file() else None
    for words in (("status", "made-up"), ("list",), ("search", "spec.yaml"), ("delete", "made-up", "--yes")):
        one_message(command(*words), 1, str(file))
    assert (file.read_bytes() if file.is_file() else None) == before


@pytest.mark.usefixtures("spec_file")
def test_home_that_is_a_file(command: Command, tmp_path: Path) -> None:
    """Neither read as an empty home nor overwritten."""
    (tmp_path / "file").write_text("mine")
    for words in (("status", "x"), ("list",), ("delete", "x", "--yes"), ("sync", "x"), ("search", "spec.yaml")):
        one_message(command(*words, "--home", "file"), 2, "is a file")
    assert (tmp_path / "file").read_text() == "mine"


def test_train_has_no_home_that_could_be_a_file(command: Command, tmp_path: Path) -> None:
    """It reads none, so a file named `studies` is none of its business: its own mistakes are what it tells of."""
    (tmp_path / "studies").write_text("mine")
    ended = command("train", "missing.yaml")
    one_message(ended, 2, "missing.yaml")
    assert "--home" not in ended.err


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--max-time", "0.5"), 3, "nearest"),
        (("--min-accuracy", "0.5", "--where", "accuracy<=0.1"), 2, "drop one of the two bounds"),
        (("--min-accuracy", "95"), 2, "0.95"),
        (("--max-time", "-1"), 2, "more than 0"),
        (("--max-time", "nan"), 2, "more than 0"),
        (("--max-time", "soon"), 2, "--max-time"),
        (("--where", "accuracy=5"), 2, "METRIC<=VALUE"),
        (("--where", "memory<=5"), 2, "no epoch point"),
        (("--trial", "1"), 2, "--epoch"),
        (("--trial", "9", "--epoch", "1"), 2, "no point of trial 9"),
        (("--trial", "1", "--epoch", "1", "--knee"), 2, "leave out"),
        (("--format", "xml"), 2, "yaml or json"),
        (("-o", "file/best.yaml"), 2, "file/best.yaml: can't be written"),
        (("-o", "."), 2, "can't be written"),
    ],
)
def test_export_refuses_what_it_cannot_do(
    command: Command, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    """Wrong input is 2, a preference that nothing meets is 3; nothing is written."""
    (tmp_path / "file").write_text("mine")
    one_message(command("export", "made-up", *words), code, said)
    assert (tmp_path / "file").read_text() == "mine"


def test_train_refuses_its_folder_before_it_trains(command: Command, home: Path, tmp_path: Path) -> None:
    """A folder that can't be written is told at once, not after hours of training."""
    Study("made-up", home=home).front().best().to_yaml(tmp_path / "best.yaml")
    (tmp_path / "file").write_text("mine")
    one_message(command("train", "best.yaml", "-o", "file/model"), 2, "file/model")
    one_message(command("train", "best.yaml", "-o", "file"), 2, "can't be written")
    one_message(command("train", "best.yaml", "-o", "no/such/model"), 2, "parent folder does not exist")


def test_a_fault_of_ours_is_one_message_and_a_traceback_only_with_debug(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 1 and what to do; --debug shows where."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("tune_cnn.study.commands.studies.list_studies", broken)
    one_message(command("list"), 1, "ZeroDivisionError: of all things", "--debug")
    with pytest.raises(ZeroDivisionError):
        command("list", "--debug")


def test_debug_shows_the_traceback_and_keeps_the_exit_code(command: Command) -> None:
    """A mistake of the user's keeps its code and message under --debug."""
    ended = command("status", "nope", "--debug")
    assert ended.code == 2
    assert "Traceback" in ended.err
    assert "Error: study 'nope'" in ended.err


def test_python_raises_exceptions_in_any_thread(tmp_path: Path) -> None:
    """From a notebook's thread: errors are ours, never SystemExit, and signals are left alone."""
    make_study(tmp_path)
    raised: list[BaseException] = []

    def use() -> None:
        for attempt in (
            lambda: Study("nope", home=tmp_path).front(),
            lambda: Study("a/b"),
            lambda: Study("made-up", home=tmp_path).search({**SPEC, "seed": -1}),
            lambda: Study("made-up", home=tmp_path).search({**SPEC, "seed": 7}),
        ):
            try:
                attempt()
            except BaseException as error:
                raised.append(error)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(raised) == 4
    assert all(isinstance(error, InputError) for error in raised), raised
    assert isinstance(raised[3], StudyError)
    assert signal.getsignal(signal.SIGTERM) is before


def test_main_in_a_thread_takes_no_signals(command: Command) -> None:
    """Commands can be called outside the main thread, where Python allows no signal handlers."""
    codes: list[object] = []

    def use() -> None:
        try:
            main()
        except SystemExit as end:
            codes.append(end.code)

    assert command("list").code == 0  # leaves sys.argv as it was given
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert codes == [0]


FACTORY = """\
def raises(root):
    raise RuntimeError("my own trouble")
"""


def test_users_factory_that_raises_is_told_and_leaves_no_study(tmp_path: Path) -> None:
    """Through Ray and back: one message with what it raised, exit 2, nothing stored under the name."""
    (tmp_path / "mine.py").write_text(FACTORY)
    (tmp_path / "small.yaml").write_text(SMALL.replace("digits", '"mine:raises"'))
    ended = run(tmp_path, "search", "small.yaml", "--json", code=2)
    assert ended.stdout == ""
    assert "mine:raises" in ended.stderr
    assert "RuntimeError: my own trouble" in ended.stderr
    assert "Traceback" not in ended.stderr
    store = Store(tmp_path / "studies", create=False)
    assert store.studies() == []
    store.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signal_during_the_start_ends_at_once(tmp_path: Path, number: signal.Signals) -> None:
    """Before the first trial there is nothing to wait for: 130, one line, no process left, no study begun."""
    (tmp_path / "small.yaml").write_text(SMALL)
    driver = start(tmp_path, "search", "small.yaml")
    started = _children_of(driver)
    driver.send_signal(number)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 130, err
    assert out == ""
    assert "Interrupted" in err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
    store = Store(tmp_path / "studies", create=False)
    assert store.studies() == []
    store.close()


def _children_of(driver: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Ray's first processes, as soon as there are some."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = psutil.Process(driver.pid).children(recursive=True)
        if children:
            return children
        time.sleep(0.05)
    raise AssertionError("Ray was not started within a minute")
