"""Check a command of a page: run it where it only reads, else parse it by its own options and look up what it names."""

import ast
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from pages import ROOT
from study.comparing.made_up_comparing import RAW, compared_study
from study.made_up import PARAMS, make_study
from study.made_up import Command as Run

from mlflow_server.command import parser as server_options
from tune_cnn.cli.main import app
from tune_cnn.records.store import Store
from tune_cnn.spec import load_spec
from tune_cnn.spec.reading.loading import read_raw
from tune_cnn.study.commands.looking import spec_of
from tune_cnn.study.comparing.asked import asked_of
from tune_cnn.study.export import read_config
from tune_cnn.study.gradients.asked import asked_for, check_spec

READING = {"front", "export", "status", "list", "report", "recipes", "strategies", "delete"}  # run, on a made-up study
QUICK = (0.65, 0.4)  # accuracy and seconds of a point beside the made-up ones: the README's first study is that fast
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CODE = [*(ROOT / "tune_cnn").rglob("*.py"), *(ROOT / "mlflow_server").rglob("*.py")]


class Unknown(Exception):
    """A command that nobody taught the test to check."""


class Checker:
    """`folder` is where the commands are given; what earlier commands of a page would have made there is made."""

    def __init__(self, folder: Path, run: Run) -> None:
        self._folder = folder
        self._run = run
        self._kinds: Mapping[str, Callable[[list[str]], None]] = {
            "tune-cnn": self._tune_cnn,
            "uv": self._uv,
            "python": self._python,
            "python3": self._python,
            "pip": _install_uv,
            "pipx": _install_uv,
            "pytest": _pytest,
            "ruff": lambda words: _of_the_gate(["ruff", *words]),
            "mypy": lambda words: _of_the_gate(["mypy", *words]),
            ".ci/run": lambda words: _script(".ci/run", words),
            ".ci/other_processors": lambda words: _script(".ci/other_processors", words),
            "mlflow": lambda words: parse_click(import_module("mlflow.cli").cli, words),
            "ray": _ray,
            "sbatch": _sbatch,
            "scancel": _scancel,
            "kubectl": _kubectl,
            "export": _export,
            "umask": _umask,
            "openssl": _openssl,
            "nvidia-cuda-mps-control": _mps,
        }

    def check(self, words: Sequence[str]) -> None:
        """Raises where the command is wrong, and Unknown where it can't be said."""
        while re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            _known_variable(words[0])
            words = words[1:]
        word = words[0].removeprefix("~/.uv/bin/")
        if word not in self._kinds:
            raise Unknown(f"no check for {word!r}; teach {Path(__file__).name} how to run it or to parse it")
        self._kinds[word](list(words[1:]))

    def document(self, command: str) -> Any:
        """What --json prints, of the made-up study where the command wants one."""
        self._study("some")
        of_a_study = command in {"status", "front", "export"}
        return self._run(command, *(["some"] if of_a_study else []), "--json").document

    def _uv(self, words: list[str]) -> None:
        if words[0] == "run":
            self.check(words[1:])
        elif words[0] == "pip":
            assert words[1] == "install" and len(words) == 3, words  # what only a benchmark's rival needs
        else:
            assert words[0] == "sync", words
            for option, extra in zip(words[1::2], words[2::2], strict=True):
                assert option == "--extra" and extra in PROJECT["project"]["optional-dependencies"], extra

    def _python(self, words: list[str]) -> None:
        if not words:  # `uv run python`
            return
        if words[:2] == ["-m", "venv"]:
            assert len(words) == 3
        elif words[0] == "-m":
            assert words[1] == "mlflow_server", f"no check for the module {words[1]}"
            server_options("python -m mlflow_server").parse_args(words[2:])
        else:
            known = script_options(ROOT / words[0])
            wrong = [word for word in words[1:] if word.startswith("-") and word.partition("=")[0] not in known]
            assert not wrong, f"{words[0]} has no {', '.join(wrong)}; it has {', '.join(sorted(known))}"

    def _tune_cnn(self, words: list[str]) -> None:
        if words in ([], ["--version"]):
            return
        command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]  # the app is a group
        if words[0] == "server":
            server_options("tune-cnn server").parse_args(words[1:])
            return
        asked = command.make_context(words[0], words[1:]).params
        if words[0] == "gradients":
            spec = load_spec(asked["spec"], asked["overrides"] or [])
            check_spec(spec)
            asked_for(asked["metric"], spec, every=asked["every"], weights=asked["weights"])
            return
        if words[0] == "compare":
            asked_of(*read_raw(asked["spec"], asked["overrides"] or []), asked["over"], asked["values"] or [])
            return
        if words[0] == "profile":
            load_spec(asked["spec"], asked["overrides"] or [])
            return
        if words[0] == "report" and asked["output"].suffix == ".md":  # of a comparison alone
            compared_study(
                self._folder / "studies", lambda run: (0.9, 1.0), raw={**RAW, "study": asked["study"]}, seeds=2
            )
        elif "study" in asked:
            self._study(asked["study"])
        if words[0] in READING or asked.get("schema"):
            self._read(words)
        elif words[0] == "manifest":
            self._manifest(words[1:])
        elif words[0] in {"search", "submit"}:
            load_spec(asked["spec"], asked["overrides"] or [])
        elif words[0] == "data":
            spec_of(asked["of"], asked["overrides"] or [])
        elif words[0] == "doctor":  # it looks at the machine of the test, which may not be well
            load_spec(asked["of"] or "quickstart", [])
        elif words[0] == "train":
            self._study("exported")
            self._read(["export", "exported", "-o", "best.yaml"])
            read_config(asked["config"])
        else:
            assert words[0] in {"confirm", "transfer", "sync", "watch", "cancel", "logs"}, f"no check for {words[0]}"

    def _manifest(self, words: list[str]) -> None:
        """Written, where the page's command comes first; an earlier page may have asked for the same name."""
        if "-o" in words:
            Path(words[words.index("-o") + 1]).unlink(missing_ok=True)
        self._read(["manifest", *words])

    def _read(self, words: list[str]) -> None:
        ended = self._run(*words)
        assert ended.code == 0, ended.err

    def _study(self, name: str) -> None:
        home = self._folder / "studies"
        make_study(home, name)
        store = Store(home)
        try:
            store.add_trial(name, 3, PARAMS, seed=3, extra={"gpu_share": 0.0})
            store.add_point(name, 3, 1, {"accuracy": QUICK[0], "train_time_s": QUICK[1], "peak_memory_mib": 100.0})
            store.end_trial(name, 3, "complete")
        finally:
            store.close()


def _sbatch(words: list[str]) -> None:
    """Slurm may not be installed where the pages are checked; the options are those that its manual has."""
    *options, script = words
    assert {option.partition("=")[0] for option in options} <= {"--partition", "--time"}, options
    assert script.endswith(".sh"), script


def _scancel(words: list[str]) -> None:
    assert words == ["--batch", "--signal=TERM", "JOB"], words


def _kubectl(words: list[str]) -> None:
    assert words[:2] == ["apply", "-f"] and words[2].endswith(".yaml") and len(words) == 3, words


def parse_click(command: Any, words: list[str]) -> None:
    """By the options of the command itself: one that it hasn't, or a missing argument, raises."""
    while hasattr(command, "commands"):
        word, *words = words
        command = command.get_command(None, word)
        assert command is not None, f"no command {word}"
    command.make_context(command.name, words)


def _ray(words: list[str]) -> None:
    import_module("tune_cnn.trials.ray_settings")  # before ray, as ever: other tests start a Ray in this process
    parse_click(import_module("ray.scripts.scripts").cli, words)


def script_options(script: Path) -> set[str]:
    """The options that a script declares, read from its code: some import torch, which takes seconds."""
    assert script.is_file(), f"{script} is not there"
    calls = [node for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    named = [call.args for call in calls if getattr(call.func, "attr", "") == "add_argument"]
    values = [one.value for args in named for one in args if isinstance(one, ast.Constant)]
    return {value for value in values if isinstance(value, str) and value.startswith("-")}


def _install_uv(words: list[str]) -> None:
    assert words == ["install", "uv"], words


def _pytest(words: list[str]) -> None:
    """Paths that are there, and markers that are declared."""
    while words:
        word, *words = words
        if word == "-m":
            expression, *words = words
            declared = PROJECT["tool"]["pytest"]["ini_options"]["markers"]
            for marker in expression.split(" or "):
                assert any(one.startswith(f"{marker}:") for one in declared), f"{marker}: not among {declared}"
        elif word != "-n0":
            assert (ROOT / word).exists(), f"no {word}"


def _of_the_gate(words: list[str]) -> None:
    """What a contributor is told to run is what the gate runs."""
    assert f"uv run --no-sync {' '.join(words)}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8"), words


def _script(name: str, words: list[str]) -> None:
    assert not words and os.access(ROOT / name, os.X_OK), name


def _export(words: list[str]) -> None:
    for word in words:
        _known_variable(word)


def _known_variable(assigned: str) -> None:
    """NAME=VALUE: a variable that our code names, or one that numeric libraries, NVIDIA's daemon or Ray's GCS read."""
    name = assigned.partition("=")[0]
    rays = {"RAY_health_check_timeout_ms", "RAY_health_check_failure_threshold"}
    assert name in {"OMP_NUM_THREADS", "CUDA_MPS_LOG_DIRECTORY"} | rays or any(
        name in file.read_text(encoding="utf-8") for file in CODE
    ), name


def _umask(words: list[str]) -> None:
    assert words == ["077"], words


def _openssl(words: list[str]) -> None:
    assert words == ["rand", "-base64", "24"], words


def _mps(words: list[str]) -> None:
    assert words == ["-d"], words
