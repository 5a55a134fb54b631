"""The rooms of tune_cnn/README.md as a table: who may import whom and what, and every import that there is."""

import ast
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tune_cnn"
LONGEST_FILE = 300  # lines

# What each room may import of the others. `errors`, `untyped`, `as_found` and `started` stand below everything.
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "untyped": set(),
    "as_found": set(),
    "owner": set(),
    "started": set(),
    "text": set(),
    "states": set(),
    "urls": set(),
    "files": {"errors"},
    "metrics": {"errors", "untyped"},
    "spec": {"errors", "untyped", "started", "text", "urls", "metrics"},
    "front": {"errors", "untyped", "states", "metrics"},
    "search": {"errors", "untyped", "states", "metrics", "spec", "front"},
    "training": {"errors", "untyped", "files", "owner", "text", "urls", "metrics", "spec"},
    "trials": {"errors", "untyped", "as_found", "files", "owner", "states", "spec", "training"},
    "records": {"errors", "untyped", "owner", "states", "text", "urls", "metrics", "spec", "front", "training"},
    "reports": {"untyped", "text", "files", "states", "metrics", "spec", "front"},
}
BELOW["study"] = set(BELOW)
BELOW["cli"] = {*BELOW}
BELOW["__main__"] = {"cli"}
BELOW["__init__"] = set()

# Inside a room, from the ground up: a file or folder imports of the floors below its own alone.
FLOORS: dict[str, list[set[str]]] = {
    "spec": [
        {"addresses", "augmentation", "messages", "optimizers", "value_sets"},
        {"calls", "configuration"},
        {"costs", "dimensions", "parts"},
        {"mixing", "prices", "resources", "space"},
        {"strategies", "study"},
        {"reading"},
    ],
    "front": [
        {"dominance"},
        {"constraints", "hypervolume", "prediction"},
        {"choose", "confirmed", "transfer"},
        {"comparison", "representatives"},
    ],
    "search": [
        {"space", "samplers", "optuna_tell"},
        {"curve_model", "optuna_study"},
        {"stopper"},
        {"search"},
        {"importances"},
    ],
    "training": [
        {"progress"},
        {"data", "models", "meters", "process"},
        {"images_for_model", "messages", "power"},
        {"surgery", "image_scores", "export", "checkpoint", "reduction"},
        {"step"},
        {"strategies", "user_code"},
        {"between_steps", "loop"},
        {"within_epoch"},
        {"supervised"},
        {"trial"},
        {"rank"},
        {"gradients", "inspection", "profiling"},
    ],
    "trials": [
        {"checkpoints", "first_call", "ray_settings", "sealing"},
        {"nodes", "stalls", "waiting"},
        {"cluster", "coordinator"},
        {"coordinated", "power", "ranks"},
        {"trainable", "tune_adapter"},
        {"dedicated", "jobs", "tune_loop"},
    ],
    "records": [
        {"bulk", "file_system", "tables"},
        {"rows", "study_key"},
        {"database"},
        {"change_log", "lease", "costs", "document", "front_history"},
        {"confirmations", "deliveries", "measurements", "nodes"},
        {"store"},
        {"mlflow"},
        {"outbox"},
    ],
    "reports": [
        {"axes", "data_words", "gradients_report", "numbers", "profile_report", "progress", "study_report", "thinning"},
        {"comparison_words"},
        {"comparison_markdown"},
        {"figures", "model_card", "terminal"},
        {"html"},
    ],
    "cli": [
        {"options", "output"},
        {"catalog", "fleet", "questions", "studies"},
        {"main"},
    ],
    "study": [
        {"hints", "machine", "nodes", "seeds"},
        {"accelerators", "archive", "export", "locations", "manifests"},
        {"front"},
        {"report"},
        {"session"},
        {"checks", "doctoring"},
        {"questions"},
        {"confirming"},
        {"searching", "training"},
        {"comparing", "gradients", "profiling"},  # keep costs, or reckon with them, as a search does
        {"answers"},
        {"transferring"},
        {"study"},
        {"submitting"},
        {"commands"},
    ],
}
# The rooms in which a library is imported; elsewhere it is foreign.
ROOMS: dict[str, set[str]] = {
    "torch": {"training"},
    "torchvision": {"training"},
    "pynvml": {"training"},
    "safetensors": {"training"},
    "sklearn": {"training"},
    "PIL": {"training", "reports"},
    "timm": {"training"},
    "datasets": {"training"},
    "requests": {"training"},
    "ray": {"trials"},
    "joblib": {"trials"},
    "cryptography": {"trials"},
    "optuna": {"search"},
    "mlflow": {"records"},
    "sqlalchemy": {"records"},
    "moocore": {"front"},
    "scipy": {"front"},
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
    (
        "tune_cnn/trials/cluster/machines.py",
        "ray",
    ): "Ray's private names and its autoscaler: wanted on an autoscaling cluster "
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
