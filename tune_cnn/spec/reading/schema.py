"""The JSON schema of a spec, for editors that complete and check YAML."""

from tune_cnn.spec.configuration import OPEN_PREFIXES, STRATEGIES, Configuration
from tune_cnn.spec.space import USE
from tune_cnn.spec.study import StudySpec
from tune_cnn.untyped import Plain


def spec_schema() -> dict[str, Plain]:
    """JSON schema (draft 2020-12) of a spec as a file holds it."""
    schema = StudySpec.model_json_schema(mode="validation")
    properties = schema["properties"]
    properties["space"] = {
        "type": "object",
        "description": properties["space"]["description"],
        "properties": {
            **{key: _dimension(field) for key, field in space_properties().items()},
            "strategies": _strategies(),
        },
        "patternProperties": {r"^(model|training|strategies)\.[A-Za-z_][\w.:]*$": _open_dimension()},
        "additionalProperties": False,
    }
    properties["extends"] = {"type": "string", "description": "a recipe or a file that this one changes"}
    warm = properties["warm_start"]
    for key, of in (("sampler", "SamplerSpec"), ("stopper", "StopperSpec")):  # a name alone will do
        section, names = properties[key], schema["$defs"][of]["properties"]["name"]["enum"]
        properties[key] = {**_told(section), "anyOf": [{"type": "string", "enum": names}, _untold(section)]}
    properties["warm_start"] = {**_told(warm), "anyOf": [{"type": "string"}, _untold(warm)]}
    # What a file leaves out may come from the one that it extends.
    for part in (schema, schema["$defs"]["DataSpec"], schema["$defs"]["ModelSpec"]):
        part.pop("required", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def space_properties() -> dict[str, Plain]:
    """The schema of each key of `space` as a single value, with its default and meaning."""
    properties = Configuration.model_json_schema()["properties"]
    return {key: value for key, value in properties.items() if f"{key}." not in (*OPEN_PREFIXES, STRATEGIES)}


def _dimension(field: dict[str, Plain]) -> dict[str, Plain]:
    scalar = {k: v for k, v in field.items() if k not in {"title", "default", "description"}}
    kinds = [scalar, {"type": "array", "items": scalar, "minItems": 1, "uniqueItems": True}]
    if scalar.get("type") in {"integer", "number"}:
        kinds.append(_range(scalar, {"type": scalar["type"], "exclusiveMinimum": 0}))
    return {"description": field["description"], "default": field["default"], "anyOf": kinds}


def _open_dimension() -> dict[str, Plain]:
    scalar = {"type": ["string", "number", "boolean"]}
    values = {"type": "array", "minItems": 1, "uniqueItems": True}
    return {"anyOf": [scalar, values, _range({"type": "number"}, {"type": "number", "exclusiveMinimum": 0})]}


def _strategies() -> dict[str, Plain]:
    """By name: their knobs, or true or false alone."""
    switch = {"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "boolean"}, "minItems": 1}]}
    knobs = {"type": "object", "properties": {USE: switch}, "additionalProperties": _open_dimension()}
    description = Configuration.model_fields["strategies"].description
    of_each = {"anyOf": [*switch["anyOf"], knobs, {"type": "null"}]}
    return {"type": "object", "description": description, "additionalProperties": of_each}


def _range(end: dict[str, Plain], step: dict[str, Plain]) -> dict[str, Plain]:
    return {
        "type": "object",
        "properties": {"low": end, "high": end, "log": {"type": "boolean"}, "step": step},
        "required": ["low", "high"],
        "additionalProperties": False,
    }


def _told(field: dict[str, Plain]) -> dict[str, Plain]:
    return {k: v for k, v in field.items() if k in {"description", "default", "title"}}


def _untold(field: dict[str, Plain]) -> dict[str, Plain]:
    return {k: v for k, v in field.items() if k not in {"description", "default", "title"}}
