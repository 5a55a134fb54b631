"""The public face as a user's type checker sees it, and no silenced check without its reason."""

import ast
import json
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import tune_cnn
from tune_cnn.training.strategies.framework.registry import cards_of

ROOT = Path(__file__).parents[1]
PROJECT = Path(__file__).with_name("typed_project")
STUB = ROOT / "tune_cnn" / "__init__.pyi"
ASKED_FOR = {
    "Study", "StudySpec", "Front", "Export", "Strategy", "StrategyError", "Knob", "Range", "Choice", "Batch", "Rank",
}  # fmt: skip
Faults = set[tuple[str, int, str]]  # (file, line, kind of error)


def stub_names() -> dict[str, str]:
    """The module that the stub takes each name from."""
    imports = [node for node in ast.parse(STUB.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: str(node.module) for node in imports for alias in node.names}


def test_the_stub_and_the_names_loaded_at_run_time_are_one() -> None:
    """What type checkers see is what can be imported, from the same module, and dir() lists it."""
    assert stub_names() == tune_cnn._PUBLIC
    listed = re.search(r"__all__ = (\[.*?\])", STUB.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert listed and ast.literal_eval(listed[1]) == tune_cnn.__all__ == sorted(tune_cnn.__all__)
    assert set(tune_cnn.__all__) >= ASKED_FOR
    assert set(dir(tune_cnn)) >= set(tune_cnn.__all__)
    for name, module in tune_cnn._PUBLIC.items():
        assert getattr(tune_cnn, name).__module__ == module, f"{name} is not where it is made"
        assert getattr(tune_cnn, name) is getattr(import_module(module), name)
    with pytest.raises(AttributeError, match="has no attribute 'Studies'"):
        _ = tune_cnn.Studies  # type: ignore[attr-defined]  # on purpose


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project, outside the repository."""
    return Path(shutil.copytree(PROJECT, tmp_path_factory.mktemp("users") / "project"))


def expected(project: Path, column: int) -> Faults:
    """The lines that say what is wrong with them: mypy's name of it, then pyright's."""
    lines = enumerate((project / "wrong.py").read_text(encoding="utf-8").splitlines(), start=1)
    marked = ((number, line.partition("# wrong: ")[2].split()) for number, line in lines if "  # wrong: " in line)
    return {("wrong.py", number, kinds[column]) for number, kinds in marked}


def shown(faults: Faults, output: str) -> str:
    return "\n".join([*map(str, sorted(faults)), output])


def test_mypy_finds_a_users_project_clean_and_each_wrong_use_once(project: Path) -> None:
    """`mypy --strict`, as the project's own pyproject.toml says, in the project's folder."""
    cache = ROOT / ".mypy_cache" / "typed_project"  # most of its minute goes to reading torch, which stays the same
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--no-pretty", "--hide-error-context"]
    done = subprocess.run(
        [*command, "--cache-dir", str(cache), "."], capture_output=True, text=True, check=False, cwd=project
    )
    found = re.findall(r"^(\S+?):(\d+): error: .*\[([a-z-]+)\]$", done.stdout, flags=re.MULTILINE)
    faults = [(file, int(line), kind) for file, line, kind in found]
    assert len(faults) == len(set(faults)) == done.stdout.count(" error: "), done.stdout + done.stderr
    wanted = expected(project, 0)
    assert set(faults) == wanted, shown(set(faults) ^ wanted, done.stdout + done.stderr)


def test_pyright_finds_the_same(project: Path) -> None:
    """basedpyright, pyright with a Node of its own: what an editor shows is what mypy says."""
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project)
    told = json.loads(done.stdout)["generalDiagnostics"]
    faults = [
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1, one.get("rule", ""))
        for one in told
        if one["severity"] == "error"
    ]
    assert len(faults) == len(set(faults)), done.stdout
    wanted = expected(project, 1)
    assert set(faults) == wanted, shown(set(faults) ^ wanted, done.stdout)


def test_the_users_strategy_is_one_that_the_search_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What type-checks also has a card."""
    monkeypatch.syspath_prepend(str(PROJECT))
    card = cards_of(["mylab.cutout:Cutout"])["mylab.cutout:Cutout"]
    assert card.sites == {tune_cnn.Site.SAMPLES} and set(card.knobs) == {"side", "decay"}


PACKAGES = ("tune_cnn", "search_spaces", "mlflow_server")


def sources(*folders: str) -> list[Path]:
    return sorted(
        file for folder in folders for file in (ROOT / folder).rglob("*.py*") if file.suffix in {".py", ".pyi"}
    )


SWITCH = re.compile(r"#\s*(?:type:\s*ignore|noqa|pyright:\s*ignore|mypy:)(?:\[[\w, -]+\]|: [A-Z0-9, ]+[0-9])?")


def silenced() -> list[tuple[str, str]]:
    """(file:line, what stands behind it) of every check that is switched off, in the tests too."""
    found = []
    for file in sources(*PACKAGES, "tests"):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if switches := list(SWITCH.finditer(line)):
                found.append((f"{file.relative_to(ROOT)}:{number}", line[switches[-1].end() :]))
    return found


def test_every_silenced_check_has_its_reason_behind_it() -> None:
    """`# type: ignore[kind]  # reason`, `# noqa: RULE  (reason)`."""
    switches = silenced()
    assert switches, "a check that sees nothing holds nothing"
    bare = [place for place, behind in switches if len(re.findall(r"[A-Za-z']{2,}", behind)) < 2]
    assert not bare, "\n".join(bare)


def test_any_has_a_name_that_says_why() -> None:
    """`Any` stands in untyped.py alone; elsewhere stands what it is there: Plain or Untyped, or better a type."""
    bare = []
    for file in sources(*PACKAGES):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            imported = isinstance(node, ast.ImportFrom) and any(alias.name == "Any" for alias in node.names)
            if imported and file.name != "untyped.py":
                bare.append(str(file.relative_to(ROOT)))
            assert not (isinstance(node, ast.Attribute) and node.attr == "Any"), file
    assert not bare, "\n".join(bare)
