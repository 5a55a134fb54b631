"""The rooms of tune_cnn/README.md: arrows run one way, a library has its room, light commands stay light."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest
from rooms import (
    ALLOWED,
    BELOW,
    FLOORS,
    HEAVY,
    IMPORTS,
    LATE,
    LAZY,
    LONGEST_FILE,
    PACKAGE,
    ROOMS,
    ROOT,
    imports_of,
    room_of,
    sources,
    told,
)


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
    assert len(text.splitlines()) <= LONGEST_FILE
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
from tune_cnn.cli.main import main
sys.argv = ["tune-cnn", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
"""


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import tune_cnn, tune_cnn.cli.main", HEAVY),
        (HELP, HEAVY),
        ("from tune_cnn.spec import load_spec; load_spec('quickstart')", [*HEAVY, "numpy"]),
        ("import tune_cnn.metrics, tune_cnn.front.choose, tune_cnn.front.hypervolume", HEAVY),
        ("import tune_cnn.search.search", ["torch", "ray", "mlflow"]),
        ("import tune_cnn.records.store, tune_cnn.records.document", ["torch", "ray", "mlflow", "optuna"]),
        ("import tune_cnn.study.commands.studies", ["torch", "ray", "mlflow", "optuna"]),
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
        "tune_cnn", "numpy", "moocore", "scipy", "pydantic", "yaml",
    }  # fmt: skip


def test_surgery_knows_nothing_of_strategies():
    """What changes a net's shape is below the methods that use it."""
    wrong = [one for one in IMPORTS if "/surgery/" in one.file and "tune_cnn.training.strategies" in one.module]
    assert not wrong, told(wrong)
