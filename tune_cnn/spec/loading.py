"""YAML in and out: recipes, `extends:`, `--set`, the schema, and errors that name file and key."""

import difflib
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tune_cnn.errors import SpecError, TuneCnnError, nearest
from tune_cnn.spec.configuration import OPEN_PREFIXES, Configuration
from tune_cnn.spec.dimensions import LATER as SPACE_LATER
from tune_cnn.spec.study import StudySpec

LATER = {
    "confirm": "training front candidates again is not built yet",
    "patience": "ending a search by its expected gain is not built yet",
}


class _Yaml(yaml.SafeLoader):
    """Safe YAML with the floats of YAML 1.2 (1e-3 is a number) and without keys given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise SpecError(f"line {node.start_mark.line + 1}: the key {key!r} stands twice; leave one out")
        return super().construct_mapping(node, deep)


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def read_yaml(text: str, where: str) -> Any:
    """Parse YAML safely; errors name the file and the line."""
    try:
        return yaml.load(text, Loader=_Yaml)  # _Yaml is a SafeLoader
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None


def recipe_names() -> list[str]:
    return sorted(f.name.removesuffix(".yaml") for f in files("search_spaces").iterdir() if f.name.endswith(".yaml"))


def load_spec(source: str | Path, overrides: Sequence[str] = ()) -> StudySpec:
    """Load a spec from a file or a recipe's name, apply `key=value` overrides, and check it whole."""
    raw, where = _read(source)
    for override in overrides:
        _override(raw, override)
    return parse_spec(raw, where)


def parse_spec(raw: Mapping[str, Any], where: str = "spec") -> StudySpec:
    """A checked spec from plain data; raises SpecError with file, key, what must hold and what came."""
    if not isinstance(raw, Mapping):
        raise SpecError(f"{where}: a spec is a mapping of keys, got {type(raw).__name__}")
    for key, why in LATER.items():
        if key in raw:
            raise SpecError(f"{where}: {key}: {why}; leave it out")
    try:
        return StudySpec.model_validate(dict(raw))
    except ValidationError as error:
        raise SpecError("\n".join(f"{where}: {_sentence(e)}" for e in error.errors())) from None
    except TuneCnnError as error:
        raise SpecError(f"{where}: {error}") from None


def to_yaml(spec: StudySpec) -> str:
    return dump_yaml(spec.model_dump(exclude_defaults=True))


def dump_yaml(data: Mapping[str, Any]) -> str:
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)


def spec_schema() -> dict[str, Any]:
    """JSON schema of a spec, for editors."""
    schema = StudySpec.model_json_schema(mode="validation")
    space: dict[str, Any] = {}
    for key, value in Configuration.model_json_schema()["properties"].items():
        if f"{key}." in OPEN_PREFIXES:
            continue
        scalar = {k: v for k, v in value.items() if k not in {"title", "default", "description"}}
        numeric = scalar.get("type") in {"integer", "number"}
        ends = {"low": scalar, "high": scalar, "log": {"type": "boolean"}, "step": {"type": "number"}}
        a_range = {"type": "object", "properties": ends, "required": ["low", "high"], "additionalProperties": False}
        kinds = [scalar, {"type": "array", "items": scalar, "minItems": 1}, *([a_range] if numeric else [])]
        space[key] = {"description": value.get("description", ""), "default": value.get("default"), "anyOf": kinds}
    schema["properties"]["space"] = {
        "type": "object",
        "properties": space,
        "patternProperties": {r"^(model|training)\.": {}},
        "additionalProperties": False,
    }
    schema["properties"]["extends"] = {"type": "string", "description": "a recipe or a file that this one changes"}
    schema["properties"]["sampler"] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/SamplerSpec"}]}
    schema["properties"]["warm_start"] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    schema["required"] = []  # what a file leaves out may come from the one that it extends
    return schema


def _read(source: str | Path, seen: tuple[str, ...] = ()) -> tuple[dict[str, Any], str]:
    text, where, folder = _text(source)
    if where in seen:
        raise SpecError(f"{where}: extends goes round in a circle: {' → '.join((*seen, where))}")
    raw = read_yaml(text, where)
    if not isinstance(raw, dict):
        raise SpecError(f"{where}: a spec is a mapping of keys, got {type(raw).__name__}")
    if "promise" in raw and "config" in raw:
        raw = spec_of_export(raw)
    parent = raw.pop("extends", None)
    if parent is None:
        return raw, where
    if not isinstance(parent, str):
        raise SpecError(f"{where}: extends: must be a recipe's name or a file, got {parent!r}")
    beside = folder / parent if folder is not None else None
    base, _ = _read(beside if beside is not None and beside.is_file() else parent, (*seen, where))
    return merge(base, raw), where


def _text(source: str | Path) -> tuple[str, str, Path | None]:
    path = Path(source)
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8"), str(source), path.parent
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"{source}: can't be read: {error}") from None
    name = str(source)
    if name in recipe_names():
        return files("search_spaces").joinpath(f"{name}.yaml").read_text(encoding="utf-8"), name, None
    raise SpecError(f"{name}: no such file or recipe{nearest(name, recipe_names())}")


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one spec over another: sections merge key by key, the keys' values replace, null takes a key away."""
    merged = dict(base)
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = {k: v for k, v in {**merged[key], **value}.items() if v is not None}
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


def spec_of_export(export: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a search over an exported configuration alone."""
    config = {k: v for k, v in export["config"].items() if k not in {"stop_epoch", "trial_seed"}}
    return {"budget": {"trials": 1}, **config}


def _override(raw: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise SpecError(f"--set {override}: must be key=value, e.g. --set budget.trials=20")
    value = read_yaml(text, f"--set {path}")
    section, dot, key = path.partition(".")
    node = raw
    while dot:
        child = node.setdefault(section, {})
        if not isinstance(child, dict):
            raise SpecError(f"--set {override}: {section} is {child!r}, which has no keys")
        node = child
        if key.startswith(OPEN_PREFIXES):  # in `space`, model.width is one key
            section, dot, key = key, "", ""
        else:
            section, dot, key = key.partition(".")
    node[section] = value


def _sentence(error: Any) -> str:
    """One of pydantic's errors as: key: what must hold, what came, what to do."""
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        *section, name = (str(part) for part in error["loc"])
        known = _known(section)
        later = SPACE_LATER.get(name)
        return f"unknown key {key!r}" + (f": {later}" if later else nearest(name, known))
    if error["type"] == "missing":
        return f"{key}: is required and missing"
    message = error["msg"].removeprefix("Value error, ")
    return f"{key}: {message}, got {error['input']!r}" if error["type"] != "value_error" else f"{key}: {message}"


def _known(section: Sequence[str]) -> list[str]:
    model: Any = StudySpec
    for part in section:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field is not None else None
    known = list(getattr(model, "model_fields", {}))
    return sorted(known, key=lambda k: -difflib.SequenceMatcher(a=k, b=section[-1] if section else "").ratio())
