"""From files to specs: recipes, `extends:`, `--set`, exports, and errors that name file and key."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import get_args

from pydantic import BaseModel, ValidationError

from tune_cnn.errors import SpecError, TuneCnnError, nearest
from tune_cnn.spec.configuration import OPEN_PREFIXES, SPACE_KEYS
from tune_cnn.spec.messages import must_hold, shown
from tune_cnn.spec.reading.plain import plain
from tune_cnn.spec.reading.renamed import new_name
from tune_cnn.spec.reading.yaml_text import dump_yaml, read_yaml
from tune_cnn.spec.study import StudySpec
from tune_cnn.untyped import Plain, Untyped


def recipe_names() -> list[str]:
    return sorted(f.name.removesuffix(".yaml") for f in files("search_spaces").iterdir() if f.name.endswith(".yaml"))


def load_spec(source: str | Path, overrides: Sequence[str] = ()) -> StudySpec:
    """Load a spec from a file or a recipe's name, apply `key=value` overrides, and check it whole."""
    return parse_spec(*read_raw(source, overrides))


def read_raw(source: str | Path, overrides: Sequence[str] = ()) -> tuple[dict[str, Plain], str]:
    """The plain data of a spec with all that it extends and overrides, and how messages call it; not checked yet."""
    raw, where = _read(source)
    for override in overrides:
        _override(raw, override)
    return raw, where


def parse_spec(raw: Mapping[str, Plain], where: str = "spec") -> StudySpec:
    """A checked spec from plain data; raises SpecError with file, key, what must hold and what came."""
    if not isinstance(raw, Mapping):
        raise SpecError(f"{where}: a spec is a mapping of keys, got {shown(raw)}")
    try:
        whole = plain(raw)
        if "extends" in whole:
            whole, where = _extended(whole, where, None, ())
        whole = {key: value for key, value in whole.items() if value is not None}  # a section left empty
        return StudySpec.model_validate(whole)
    except ValidationError as error:
        raise SpecError("\n".join(f"{where}: {_sentence(e)}" for e in error.errors())) from None
    except TuneCnnError as error:
        message = str(error)
        raise SpecError(message if message.startswith(f"{where}: ") else f"{where}: {message}") from None
    except RecursionError:
        raise SpecError(f"{where}: not a spec: it is nested too deeply, or holds itself") from None


def to_yaml(spec: StudySpec) -> str:
    """YAML that loads as the same spec; what has its default is left out."""
    return dump_yaml(spec.model_dump(exclude_defaults=True))


def spec_of_export(export: Mapping[str, Plain]) -> dict[str, Plain]:
    """The spec of a search over an exported configuration alone."""
    config = export.get("config")
    if not isinstance(config, Mapping) or not isinstance(config.get("space", {}), Mapping):
        raise SpecError(f"config: must be the mapping that `tune-cnn export` writes, got {shown(config)}")
    spec = {k: v for k, v in config.items() if k not in {"stop_epoch", "trial_seed"}}
    # An export holds values: a list or mapping there is an argument's value, not a choice or a range.
    space = {
        k: [v] if isinstance(v, list | tuple | Mapping) and k.startswith(OPEN_PREFIXES) else v
        for k, v in config.get("space", {}).items()
    }
    return {"budget": {"trials": 1}, **spec, "space": space}


def merge(base: Mapping[str, Plain], change: Mapping[str, Plain]) -> dict[str, Plain]:
    """Lay one spec over another: sections merge key by key, the keys' values replace, null takes a key away."""
    merged = dict(base)
    for key, value in change.items():
        if isinstance(value, Mapping):
            under = merged.get(key)
            section = {**(under if isinstance(under, Mapping) else {}), **value}
            merged[key] = {k: v for k, v in section.items() if v is not None}
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


def _read(source: str | Path, seen: tuple[str, ...] = (), *, recipe: bool = False) -> tuple[dict[str, Plain], str]:
    """Raw data of a file or recipe with all that it extends, and how to call it in messages."""
    text, where, path = _recipe(str(source)) if recipe else _text(source)
    identity = str(path.resolve()) if path is not None else f"recipe {where}"
    if identity in seen:
        raise SpecError(f"{where}: extends goes round in a circle: {' → '.join((*seen, identity))}")
    raw = read_yaml(text, where)
    if not isinstance(raw, dict):
        what = "an empty file" if raw is None else shown(raw)
        raise SpecError(f"{where}: a spec is a mapping of keys, got {what}")
    if "promise" in raw and "config" in raw:
        try:
            raw = spec_of_export(raw)
        except SpecError as error:
            raise SpecError(f"{where}: {error}") from None
    return _extended(raw, where, path, (*seen, identity))


def _extended(
    raw: Mapping[str, Plain], where: str, path: Path | None, seen: tuple[str, ...]
) -> tuple[dict[str, Plain], str]:
    """Laid over what it extends: a file beside it, a file by its path, or a recipe; a recipe extends recipes only."""
    change = {key: value for key, value in raw.items() if key != "extends"}
    parent = raw.get("extends")
    if parent is None:
        return change, where
    if not isinstance(parent, str) or not parent:
        raise SpecError(f"{where}: extends: must be a recipe's name or a file, got {shown(parent)}")
    beside = path.parent / parent if path is not None else None
    try:
        if beside is not None and _is_file(beside):
            base, _ = _read(beside, seen)
        else:
            base, _ = _read(parent, seen, recipe=path is None and bool(seen))
    except SpecError as error:
        raise SpecError(f"{where}: extends: {error}") from None
    return merge(base, change), f"{where} (extends {parent})"


def _text(source: str | Path) -> tuple[str, str, Path | None]:
    """Text, name for messages, and the file where it is one."""
    name = str(source)
    try:
        path = Path(source).expanduser()
    except RuntimeError:  # ~somebody who has no home here
        path = Path(source)
    if _is_file(path):
        try:
            return path.read_text(encoding="utf-8-sig"), name, path  # -sig: an editor's byte order mark is no key
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SpecError(f"{name}: can't be read: {why}") from None
    if _is_folder(path):
        raise SpecError(f"{name}: is a folder; name a file in it")
    return _recipe(name)


def _recipe(name: str) -> tuple[str, str, None]:
    if name not in recipe_names():
        raise SpecError(f"{shown(name)[1:-1]}: no such file or recipe{nearest(name, recipe_names())}")
    return files("search_spaces").joinpath(f"{name}.yaml").read_text(encoding="utf-8"), name, None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that may not be entered
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _override(raw: dict[str, Plain], override: str) -> None:
    path, equals, text = override.partition("=")
    parts = _key_parts(path.strip())
    if not equals or not all(parts):
        raise SpecError(f"--set {override}: must be key=value, e.g. --set budget.trials=20")
    value = read_yaml(text, f"--set {path}")
    node = raw
    for at, part in enumerate(parts[:-1]):
        child = node.get(part)
        if child is None:
            child = {}
        if not isinstance(child, Mapping):
            held = ".".join(parts[: at + 1])
            raise SpecError(f"--set {override}: {held} is {shown(child)}, which has no keys; set {held} as a whole")
        node[part] = node = dict(child)  # a copy: `raw` may share its sections with a recipe's
    if value is None:
        node.pop(parts[-1], None)  # as null does in a file that extends another
    else:
        node[parts[-1]] = value


def _key_parts(path: str) -> list[str]:
    """`space.model.width` has two parts: `model.width` is one key of `space`."""
    section, _, rest = path.partition(".")
    if section == "space" and rest.startswith(OPEN_PREFIXES):
        prefix, argument, *deeper = rest.split(".")
        return [section, f"{prefix}.{argument}", *deeper]
    return path.split(".")


def _sentence(error: Untyped) -> str:
    """One of pydantic's errors as: key: what must hold, what came, what to do."""
    key = ".".join(str(part) for part in error["loc"])
    *section, name = (str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}" + (new_name(key) or _hint(section, name))
    renamed = new_name(key, error["input"]) if error["type"] == "literal_error" else ""
    return f"{key}: {must_hold(error, _keys(error['loc']))}{renamed}"


def _hint(section: list[str], name: str) -> str:
    if not section and name in SPACE_KEYS:
        return f"; it is a key of `space`: put it there, as space.{name}"
    if section == ["model"]:
        return f"; the arguments of a model stand in `space`, as model.{name}: …{nearest(name, ['name', 'weights'])}"
    return nearest(name, _keys(section))


def _keys(location: Sequence[str | int]) -> list[str]:
    """The keys of the section at this place of a spec; none where it is no section with fixed keys."""
    kind: Untyped = StudySpec
    for part in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field is not None else None
            if isinstance(kind, UnionType):  # a section that may be left out
                kind = next((one for one in get_args(kind) if _is_section(one)), kind)
        else:
            kind = next((a for a in reversed(get_args(kind)) if isinstance(a, type)), None)  # dict[str, Bound]
    return list(kind.model_fields) if _is_section(kind) else []


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
