"""The schema for editors and the table for search_spaces/README.md, both made from the model."""

from importlib.resources import files

import jsonschema
import pytest

from tune_cnn.spec import Configuration, StudySpec, spec_schema
from tune_cnn.spec.parts import DATA_KINDS, DATA_NAMES, SAMPLER_ARGUMENTS, SamplerSpec
from tune_cnn.spec.reading.documentation import spec_rows, spec_table
from tune_cnn.spec.reading.loading import recipe_names
from tune_cnn.spec.reading.yaml_text import read_yaml


def accepts(document):
    return jsonschema.Draft202012Validator(spec_schema()).is_valid(document)


def test_the_schema_is_one():
    """Valid by the draft that it names."""
    jsonschema.Draft202012Validator.check_schema(spec_schema())


@pytest.mark.parametrize("name", recipe_names())
def test_the_schema_accepts_every_recipe(name):
    """As its file stands, `extends` and all."""
    raw = read_yaml(files("search_spaces").joinpath(f"{name}.yaml").read_text(encoding="utf-8"), name)
    jsonschema.Draft202012Validator(spec_schema()).validate(raw)


@pytest.mark.parametrize(
    "good",
    [
        {"sampler": "gp"},
        {"stopper": "none"},
        {"stopper": {"boldness": 0.2}},
        {"sampler": {"name": "tpe", "n_startup_trials": 4}},
        {"warm_start": "best.yaml"},
        {"data": {"subset": 100}},
        {"space": {"model.width": [4, 8], "model.sizes": [[1, 2]], "model.rate": {"low": 0, "high": 1}}},
        {"space": {"learning_rate": {"low": 1, "high": 2, "log": True}, "channels_last": [True, False]}},
        {"space": {"strategies": {"s3pool": {}, "prunetrain": {"lpr": {"low": 0.1, "high": 0.3}}, "net2net": True}}},
        {"space": {"strategies": {"mine:Own": {"use": True, "kind": ["a", "b"]}}, "strategies.s3pool": False}},
        {"constraints": {"accuracy": {"min": 0.5}}},
        {"resources": {"gpus_per_rank": [0.25, 1]}},
    ],
    ids=str,
)
def test_the_schema_accepts_what_a_file_may_say(good):
    """Short forms, and parts that leave the rest to what they extend."""
    assert accepts(good)


@pytest.mark.parametrize(
    "junk",
    [
        {"budgte": {}},
        {"data": "digits"},
        {"data": {"rot": "x"}},
        {"space": {"batchsize": 3}},
        {"space": {"batch_size": "many"}},
        {"space": {"batch_size": []}},
        {"space": {"batch_size": {"low": 3}}},
        {"space": {"learning_rate": -1}},
        {"space": {"precision": [{"low": 1, "high": 2}]}},
        {"space": {"precision": {"low": 1, "high": 2}}},
        {"space": {"precision": ["fp32", "fp32"]}},
        {"space": {"model.": 3}},
        {"space": {"strategies": {"s3pool": 3}}},
        {"space": {"strategies": {"s3pool": {"use": "yes"}}}},
        {"space": {"strategies": {"s3pool": {"grid": {"low": 3}}}}},
        {"space": {"model.width": {"lo": 3}}},
        {"sampler": "tpee"},
        {"sampler": {"nothing": 1}},
        {"budget": {"trials": 0}},
        [],
    ],
    ids=str,
)
def test_the_schema_refuses_junk(junk):
    """Unknown keys, wrong types, values out of bounds."""
    assert not accepts(junk)


def test_the_table_has_every_key_once_with_its_meaning():
    """All keys of the spec, of its parts and of `space`; nothing without a meaning."""
    rows = spec_rows()
    keys = [row[0] for row in rows]
    assert len(set(keys)) == len(keys)
    assert all(cell for row in rows for cell in (row[0], row[1], row[4])), [row for row in rows if not row[4]]
    for key in StudySpec.model_fields:
        assert any(k == key or k.startswith(f"{key}.") for k in keys), key
    for key in set(Configuration.model_fields) - {"model", "training"}:
        assert f"space.{key}" in keys
    searchable = {row[0] for row in rows if row[3] == "yes"}
    assert searchable == {key for key in keys if key.startswith("space.")}
    lines = spec_table().splitlines()
    assert len(lines) == len(rows) + 2
    assert all(line.replace("\\|", "").count("|") == 6 for line in lines)


def test_every_argument_of_a_sampler_belongs_to_one():
    """No argument that no sampler takes, none that the spec doesn't know."""
    taken = {argument for arguments in SAMPLER_ARGUMENTS.values() for argument in arguments}
    assert taken == set(SamplerSpec.model_fields) - {"name"}


def test_the_data_sets_that_a_spec_knows_are_those_that_there_are():
    """The names and kinds in the spec and the readers in training are kept together by this."""
    from tune_cnn.spec.calls import KINDS as RESERVED
    from tune_cnn.training.data.sources.registry import KINDS, data_names

    assert set(DATA_NAMES) == set(data_names())
    assert set(DATA_KINDS) == set(KINDS) == RESERVED - {"timm"}
