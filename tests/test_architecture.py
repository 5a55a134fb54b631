"""The rooms of tune_cnn/README.md: arrows run one way, a library has its room, light commands stay light."""

import ast
import subprocess
import sys
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tune_cnn"
LONGEST_FILE = 300  # lines
# Files that are longer all the same, each with its reason.
LONGER: dict[str, str] = {
    "cli.py": "a command each, with its options; split, one would look for a command in two places",
    "search/search.py": "one object that Optuna's ask and tell, the model and the memory of what was tried meet in",
    "records/store.py": "a method a transaction; all of them share one database, its leases and its change log",
}

# What each room may import of the others. `errors`, `untyped`, `as_found` and `started` stand below everything.
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "untyped": set(),
    "as_found": set(),
    "started": set(),
    "states": set(),
    "files": {"errors"},
    "metrics": {"errors", "untyped"},
    "spec": {"errors", "untyped", "started", "metrics"},
    "front": {"errors", "untyped", "states", "metrics"},
    "search": {"errors", "untyped", "states", "metrics", "spec", "front"},
    "training": {"errors", "untyped", "files", "metrics", "spec"},
    "trials": {"errors", "untyped", "as_found", "states", "spec", "training"},
    "records": {"errors", "untyped", "states", "metrics", "spec", "front", "training"},
    "reports": {"untyped", "files", "states", "metrics", "spec", "front"},
}
BELOW["study"] = set(BELOW)
BELOW["cli"] = {*BELOW}
BELOW["__main__"] = {"cli"}
BELOW["__init__"] = set()

# Inside a room, from the ground up: a file or folder imports of the floors below its own alone.
FLOORS: dict[str, list[set[str]]] = {
    "spec": [
        {"calls", "configuration", "messages", "renamed", "yaml_text"},
        {"costs", "dimensions", "parts"},
        {"plain", "space"},
        {"strategies", "study"},
        {"loading", "schema"},
        {"documentation"},
    ],
    "front": [
        {"dominance"},
        {"constraints", "hypervolume", "prediction"},
        {"choose", "confirmed"},
        {"representatives"},
    ],
    "search": [
        {"space", "samplers", "optuna_tell"},
        {"curve_model"},
        {"stopper"},
        {"search"},
        {"importances"},
    ],
    "training": [
        {"data", "models", "meters", "process"},
        {"messages"},
        {"surgery", "image_scores", "export", "checkpoint", "reduction"},
        {"step"},
        {"strategies", "user_code"},
        {"loop"},
        {"supervised"},
        {"trial"},
        {"rank"},
        {"inspection"},
    ],
    "trials": [
        {"checkpoints", "code", "first_call", "ray_settings", "tune_adapter"},
        {"coordinator", "ranks", "ray_output", "remote"},
        {"cluster", "trainable"},
        {"dedicated", "tune_loop"},
    ],
    "records": [
        {"bulk", "tables"},
        {"rows"},
        {"database"},
        {"change_log", "lease", "costs", "document", "front_history"},
        {"confirmations"},
        {"store"},
        {"mlflow"},
        {"outbox"},
    ],
    "reports": [
        {"numbers", "progress", "study_report", "axes", "thinning"},
        {"figures", "model_card", "terminal"},
        {"html"},
    ],
    "study": [
        {"hints", "signals", "machine", "seeds"},
        {"locations", "archive", "export", "failures", "catalog"},
        {"jobs", "front"},
        {"report"},
        {"session"},
        {"checks"},
        {"confirming"},
        {"searching", "training"},
        {"study"},
        {"commands"},
    ],
}
# The rooms in which a library is imported; elsewhere it is foreign.
ROOMS: dict[str, set[str]] = {
    "torch": {"training"},
    "torchvision": {"training"},
    "pynvml": {"training"},
    "safetensors": {"training"},
    "PIL": {"training"},
    "ray": {"trials"},
    "optuna": {"search"},
    "mlflow": {"records"},
    "sqlalchemy": {"records"},
    "moocore": {"front"},
    "plotly": {"reports"},
    "matplotlib": {"reports"},
    "rich": {"reports"},
    "pydantic": {"spec"},
    "yaml": {"spec"},
    "typer": {"cli"},
}
# Files outside its room that may import a library, each with its reason.
ALLOWED: dict[tuple[str, str], str] = {}
# Rooms whose files may import inside functions: the commands load what they need and no more.
LAZY = {"cli", "study"}
# Files that import inside a function all the same, each with its reason.
LATE: dict[tuple[str, str], str] = {
    ("tune_cnn/trials/cluster.py", "ray"): "Ray's private names and its autoscaler: wanted on an autoscaling cluster "
    "only, and a Ray that has moved them must not keep every other search from starting",
}
# Slow or large libraries that `--help`, `front` and `export` must do without.
HEAVY = ["torch", "ray", "mlflow", "optuna", "plotly", "sqlalchemy"]


@dataclass(frozen=True, kw_only=True)
class Import:
    """One imported module at one line."""

    file: str  # from the repository's root
    room: str
    line: int
    module: str  # absolute; for `from a import b`, a.b where that is a module of ours
    at_top: bool

    @property
    def of(self) -> str:
        """The module that imports."""
        return ".".join(Path(self.file).with_suffix("").parts).removesuffix(".__init__")

    @property
    def library(self) -> str:
        return self.module.partition(".")[0]

    @property
    def room_of_ours(self) -> str | None:
        parts = self.module.split(".")
        return parts[1] if parts[0] == "tune_cnn" and len(parts) > 1 else None

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def sources(folder: str = "tune_cnn") -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def room_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "tune_cnn" else parts[0]


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def imports_of(file: Path) -> list[Import]:
    """Every import of a file, wherever it stands. (`import_module` by path is how the user's code is found, and how
    trials reach training's code in the processes that need torch; it makes no arrow.)"""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    found: list[Import] = []
    for node in ast.walk(tree):
        for module in modules_of(node):
            where = str(file.relative_to(ROOT))
            found.append(
                Import(file=where, room=room_of(file), line=node.lineno, module=module, at_top=id(node) in top)  # type: ignore[attr-defined]  # an import has its line
            )
    return found


def modules_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        whole = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name.startswith("tune_cnn") and is_module(name) else str(node.module) for name in whole]
    return []


IMPORTS = [one for file in sources() for one in imports_of(file)]


def told(wrong: list[Import]) -> str:
    return "\n".join(str(one) for one in wrong)


def test_the_walk_sees_the_house():
    """Every room has files and imports: a check that sees nothing holds nothing."""
    assert {one.room for one in IMPORTS} >= set(BELOW) - {"errors", "__init__"}
    for library, rooms in ROOMS.items():
        seen = {one.room for one in IMPORTS if one.library == library}
        assert seen & rooms, f"{library} is imported nowhere in {rooms}"
    assert {room_of(file) for file in sources()} <= set(BELOW), "a room that tune_cnn/README.md doesn't know"


def test_arrows_run_one_way():
    """cli → study → trials, records, reports → search, training → front, spec, metrics → errors."""
    wrong = [
        one
        for one in IMPORTS
        if one.room_of_ours is not None and one.room_of_ours != one.room and one.room_of_ours not in BELOW[one.room]
    ]
    assert not wrong, told(wrong)


def test_every_allowed_arrow_is_used():
    """What a room may import is what it does import: a wall that nobody passes is closed."""
    used = {(one.room, one.room_of_ours) for one in IMPORTS}
    allowed = {(room, below) for room in set(BELOW) - {"study", "cli"} for below in BELOW[room]}
    assert allowed <= used, sorted(allowed - used)


def test_no_folder_has_a_circle():
    """Of the files and folders that lie side by side, none imports another that imports it, however far around."""
    for folder in sorted({file.parent for file in sources()}):
        inside = ".".join(folder.relative_to(ROOT).parts)
        arrows: dict[str, set[str]] = {}
        for one in IMPORTS:
            source, target = sibling(one.of, inside), sibling(one.module, inside)
            if source is not None and target is not None and source != target:
                arrows.setdefault(source, set()).add(target)
        try:
            TopologicalSorter(arrows).prepare()
        except CycleError as error:
            pytest.fail(f"{inside}: {' → '.join(reversed(error.args[1]))}")


def sibling(module: str, folder: str) -> str | None:
    """The file or folder of `folder` that a module lies in; None where it lies elsewhere."""
    return module.removeprefix(f"{folder}.").partition(".")[0] if module.startswith(f"{folder}.") else None


@pytest.mark.parametrize("room", sorted(FLOORS))
def test_arrows_inside_a_room_run_down(room):
    """From a floor to the floors below it; every file and folder of the room has its floor."""
    floor = {name: at for at, names in enumerate(FLOORS[room]) for name in names}
    there = {
        path.stem for path in (PACKAGE / room).iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert set(floor) == there - {"__init__"}
    wrong = [
        one
        for one in IMPORTS
        if (source := sibling(one.of, f"tune_cnn.{room}"))
        and (target := sibling(one.module, f"tune_cnn.{room}"))
        and source != target
        and floor[target] >= floor[source]
    ]
    assert not wrong, told(wrong)


def test_rays_settings_come_before_ray():
    """Ray reads some of them once, as it is imported."""
    for file in sources():
        lines = {one.module: one.line for one in sorted(imports_of(file), key=lambda one: -one.line)}
        first = min((line for module, line in lines.items() if module.partition(".")[0] == "ray"), default=None)
        if first is not None and file.name != "ray_settings.py":
            assert lines.get("tune_cnn.trials.ray_settings", first) < first, f"{file}: imports ray before ray_settings"


def test_a_library_is_imported_in_its_room_alone():
    """Other rooms talk to the room, not to its library."""
    wrong = [
        one
        for one in IMPORTS
        if one.library in ROOMS and one.room not in ROOMS[one.library] and (one.file, one.library) not in ALLOWED
    ]
    assert not wrong, told(wrong)


def test_every_exception_is_still_needed():
    """An exception that no file makes use of is taken off the list."""
    assert set(ALLOWED) <= {(one.file, one.library) for one in IMPORTS}
    assert set(LATE) <= {(one.file, one.library) for one in IMPORTS if not one.at_top}


def test_mlflow_server_knows_nothing_of_tune_cnn():
    """It starts a server for anyone."""
    wrong = [one for file in sources("mlflow_server") for one in imports_of(file) if one.library == "tune_cnn"]
    assert not wrong, told(wrong)


def test_imports_stand_at_the_top_of_the_file():
    """Only the commands and the study import libraries and rooms inside functions, for the sake of a quick start."""
    wrong = [
        one
        for one in IMPORTS
        if not one.at_top
        and one.room not in LAZY
        and one.library not in sys.stdlib_module_names
        and (one.file, one.library) not in LATE
    ]
    assert not wrong, told(wrong)


@pytest.mark.parametrize("file", sources(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_is_short_and_has_no_detour(file):
    """At most 300 lines, no TYPE_CHECKING, and a docstring that says what the module is for."""
    text = file.read_text(encoding="utf-8")
    name = file.relative_to(PACKAGE).as_posix()
    assert len(text.splitlines()) <= LONGEST_FILE or name in LONGER
    assert len(text.splitlines()) > LONGEST_FILE or name not in LONGER, "an exception that is no longer needed"
    assert "TYPE_CHECKING" not in text
    assert file.name == "__main__.py" or ast.get_docstring(ast.parse(text))


def loaded_after(code: str) -> set[str]:
    """Names of the top-level modules that a fresh process has loaded after this code."""
    report = "import sys; sys.stdout.write('|' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("|")[2].split())


HELP = """
import sys
from tune_cnn.cli import main
sys.argv = ["tune-cnn", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
"""


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import tune_cnn, tune_cnn.cli", HEAVY),
        (HELP, HEAVY),
        ("from tune_cnn.spec import load_spec; load_spec('quickstart')", [*HEAVY, "numpy"]),
        ("import tune_cnn.metrics, tune_cnn.front.choose, tune_cnn.front.hypervolume", HEAVY),
        ("import tune_cnn.search.search", ["torch", "ray", "mlflow"]),
        ("import tune_cnn.records.store, tune_cnn.records.document", ["torch", "ray", "mlflow", "optuna"]),
        ("import tune_cnn.study.commands", ["torch", "ray", "mlflow", "optuna"]),
        (f"import {', '.join(f'tune_cnn.{room}' for room in sorted(set(BELOW) - {'__main__', '__init__'}))}", HEAVY),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_light_stays_light(code, absent):
    """--help, front and export answer at once: no library is loaded that they don't need."""
    loaded = loaded_after(code)
    assert "tune_cnn" in loaded
    assert not loaded & set(absent)


def test_front_and_spec_are_free_of_torch_by_their_files():
    """Whatever a process loads: none of their files names torch or what brings it along."""
    low = [one for one in IMPORTS if one.room in {"front", "spec", "metrics", "errors", "untyped"}]
    assert {one.library for one in low if one.library not in sys.stdlib_module_names} <= {
        "tune_cnn", "numpy", "moocore", "pydantic", "yaml",
    }  # fmt: skip


def test_surgery_knows_nothing_of_strategies():
    """What changes a net's shape is below the methods that use it."""
    wrong = [one for one in IMPORTS if "/surgery/" in one.file and "tune_cnn.training.strategies" in one.module]
    assert not wrong, told(wrong)
