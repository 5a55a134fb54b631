"""The working folder can't break an installed command: its modules come after the installed ones, in every process."""

import subprocess
import sys
from pathlib import Path

import pytest
from study.commands import environment

from tune_cnn.errors import SpecError
from tune_cnn.spec.calls import find_call

NAMES = ("random", "queue", "profile", "pandas", "test", "torch", "ray", "yaml", "secrets", "socket", "code", "token")
SPEC = """\
study: beside
data: {name: digits}
model: {name: "my_net:net"}
space: {epochs: 1, batch_size: 256, loader: [batched, stream], loader_workers: 1}
resources: {cpus_per_trial: 2, slots: 1}
budget: {trials: 2}
"""
NET = """\
from torch import nn

def net(num_classes, in_channels, image_size):
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * in_channels, num_classes))
"""


def test_scripts_named_as_installed_modules_stand_beside_a_search(tmp_path: Path) -> None:
    """In the command, Ray's workers, the loaders' processes, the delivery to MLflow; the user's own module is found."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('the {name} of the working folder')")
    for package in ("tune_cnn", "search_spaces", "mlflow_server", "tests"):
        (tmp_path / package).mkdir()
    (tmp_path / "search_spaces/__init__.py").write_text("raise RuntimeError('not ours')")
    (tmp_path / "my_net.py").write_text(NET)
    (tmp_path / "beside.yaml").write_text(SPEC)
    command = [str(Path(sys.executable).with_name("tune-cnn")), "search", "beside.yaml"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "2 complete" in ended.stdout or "1 complete, 1 stopped" in ended.stdout
    assert "MLflow: " not in ended.stderr


def test_the_module_form_of_the_command_looks_there_last_too(tmp_path: Path) -> None:
    """Where Python itself gets as far as our code: what it imports before comes from the working folder."""
    (tmp_path / "yaml.py").write_text("raise RuntimeError('the yaml of the working folder')")
    asked = [sys.executable, "-m", "tune_cnn", "recipes"]
    ended = subprocess.run(
        asked, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0 and "quickstart" in ended.stdout


@pytest.mark.parametrize("form", ["{}.py", "{}/__init__.py"])
@pytest.mark.parametrize("name", ["random", "queue", "sys"])
def test_a_module_of_the_users_that_another_hides_is_named(tmp_path, monkeypatch, name, form):
    own = tmp_path / form.format(name)
    own.parent.mkdir(exist_ok=True)
    own.write_text("def data(root): ...")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SpecError, match=rf"data: {name} has no 'data'; {name} is .* here, which hides your {own}: rename"
    ):
        find_call(f"{name}:data", where="data")


def test_a_missing_name_of_an_installed_module_gets_the_nearest(tmp_path, monkeypatch):
    """Nothing of the user's is hidden."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"random has no 'chioce'; did you mean 'choice'"):
        find_call("random:chioce", where="data")


BROKEN = [
    ("raise SystemExit(3)", "raised SystemExit: 3"),
    ("def data(root", "raised SyntaxError: "),
    ("import nothing_of_that_name", "raised ModuleNotFoundError: "),
    ("raise ValueError('\\x1b[31mred\\x1b[0m \\udce9')", r"raised ValueError: \\x1b\[31mred\\x1b\[0m \\xe9"),
]


@pytest.mark.parametrize(("source", "says"), BROKEN)
def test_a_module_that_cannot_be_imported_is_said_with_its_error(tmp_path, monkeypatch, source, says):
    name = f"broken_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SpecError, match=says):
        find_call(f"{name}:data", where="data")
