"""The table of a spec's keys, made from the model."""

from collections.abc import Iterator, Mapping

from tune_cnn.spec.configuration import ONLY_ABOVE_0, ONLY_WHERE
from tune_cnn.spec.messages import shown
from tune_cnn.spec.reading.schema import space_properties
from tune_cnn.spec.study import StudySpec
from tune_cnn.spec.value_sets import told
from tune_cnn.untyped import Plain

Row = tuple[str, str, str, str, str]
HEAD: Row = ("key", "type", "default", "searchable", "meaning")

_OPEN: tuple[Row, ...] = (
    ("space.model.<argument>", "any", "the factory's", "yes", "argument of the model's factory, e.g. model.width"),
    ("space.training.<argument>", "any", "its own", "yes", "argument of your own training"),
    (
        "space.strategies",
        "mapping",
        "none on",
        "yes",
        "`name: {knobs}` searches a strategy on and off, `name: {use: true, knobs}` has it on; see Strategies",
    ),
)
_LIMITS = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))


def spec_table() -> str:
    """Markdown: key, type, default, whether it can be searched, meaning; for every key of a spec."""
    rows = [HEAD, ("---",) * 5, *spec_rows()]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows) + "\n"


def spec_rows() -> list[Row]:
    """The table's rows, in the order of the spec."""
    schema = StudySpec.model_json_schema()
    rows = [
        (
            "extends",
            "text",
            "",
            "no",
            "recipe or file that this one changes: sections merge, values replace, null takes a key away",
        )
    ]
    for key, field in schema["properties"].items():
        if key == "space":
            rows += [*_space_rows(), *_OPEN]
        else:
            rows += _rows(key, field, schema, required=key in schema["required"])
    return rows


def _space_rows() -> Iterator[Row]:
    for key, field in space_properties().items():
        only = ""
        if key in ONLY_WHERE:
            other, values = ONLY_WHERE[key]
            only = f"; exists only where {other} is {told(values)}"
        if key in ONLY_ABOVE_0:
            only = f"; exists only where {' and '.join(ONLY_ABOVE_0[key])} are above 0"
        yield f"space.{key}", _type(field), _default(field), "yes", field["description"] + only


def _rows(key: str, field: Mapping[str, Plain], schema: Mapping[str, Plain], *, required: bool) -> Iterator[Row]:
    """A key's own row; for a section, those of its keys."""
    part, prefix = _part(key, field, schema)
    if part is None:
        optunas = key.startswith("sampler.") and field.get("default") is None
        default = "required" if required else "Optuna's" if optunas else _default(field)
        yield key, _type(field), default, "no", field["description"]
        return
    if "anyOf" in field:  # may be left out as a whole
        yield key, "section", _default(field), "no", field["description"]
    for name, inner in part["properties"].items():
        yield from _rows(f"{prefix}.{name}", inner, schema, required=name in part.get("required", ()))


def _part(key: str, field: Mapping[str, Plain], schema: Mapping[str, Plain]) -> tuple[Mapping[str, Plain] | None, str]:
    of_each = field.get("additionalProperties")
    kinds = [field, *field.get("anyOf", ()), *([of_each] if isinstance(of_each, dict) else [])]
    reference = next((kind["$ref"] for kind in kinds if "$ref" in kind), None)
    if reference is None:
        return None, key
    prefix = f"{key}.<{'name' if key == 'metrics' else 'metric'}>" if of_each else key
    return schema["$defs"][reference.rpartition("/")[2]], prefix


def _type(field: Mapping[str, Plain]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(kind) for kind in field["anyOf"] if kind.get("type") != "null")
    if "enum" in field:
        return ", ".join(field["enum"])
    if "const" in field:
        return str(field["const"])
    if field["type"] == "array":
        return f"list of {_type(field['items'])}"
    name = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text"}[field["type"]]
    limits = [f"{sign} {field[limit]:g}" for limit, sign in _LIMITS if limit in field and field[limit] != 2**31]
    return " ".join([name, ", ".join(limits)]).strip()


def _default(field: Mapping[str, Plain]) -> str:
    default = field.get("default")
    if default is None or default in ("", [], {}):
        return ""
    return default if isinstance(default, str) else shown(default)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")
