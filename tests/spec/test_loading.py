"""Recipes, extends, overrides, exports; and the way out to YAML and back."""

import json
from pathlib import Path

import pytest

from tune_cnn.errors import SpecError
from tune_cnn.spec import Choice, Fixed, Range, StudySpec, load_spec, parse_spec, to_yaml
from tune_cnn.spec.reading.loading import merge, recipe_names, spec_of_export
from tune_cnn.spec.reading.yaml_text import dump_yaml, read_yaml


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_survives_yaml_and_json(name, tmp_path):
    """Text and stored form load as the same spec."""
    spec = load_spec(name)
    assert spec.searched or spec.budget.trials == 1
    assert load_spec(written(tmp_path, "again.yaml", to_yaml(spec))) == spec
    assert parse_spec(json.loads(json.dumps(spec.model_dump()))) == spec


def test_the_recipes_are_what_they_say():
    """quickstart is small; joint searches the six keys together; multi_node is joint on whole GPUs."""
    quickstart, joint, multi_node = (load_spec(n) for n in ("quickstart", "joint", "multi_node"))
    assert quickstart.data.name == "digits" and quickstart.budget.trials == 20
    together = {"batch_size", "learning_rate", "lr_rule", "loader", "loader_workers", "precision"}
    assert together <= set(joint.searched)
    assert joint.space["precision"] == Choice(values=("fp32", "tf32", "bf16", "fp16"))
    assert together <= set(multi_node.searched)
    assert (multi_node.data.name, multi_node.model.name) == ("cifar10", "resnet20")
    assert (multi_node.resources.ranks, multi_node.resources.gpus_per_rank) == (1, 1)


def test_airbench_is_one_configuration_that_beat_airbench_starts_from():
    """Every value of the recipe lies in the space around it, whatever is changed there."""
    recipe, around = load_spec("airbench"), load_spec("beat_airbench")
    assert not recipe.searched and around.warm_start == ["airbench"]
    params = recipe.configuration({}).params()
    assert all(dimension.holds(params[key]) for key, dimension in around.searched.items())
    assert {key: params[key] for key in around.fixed} == around.fixed
    assert (recipe.data, recipe.model, recipe.objectives) == (around.data, around.model, around.objectives)


def test_values_keep_their_kind_on_the_way_out_and_back(spec, tmp_path):
    """Lists as values, booleans, numbers as text, small floats, ranges of each kind."""
    whole = spec(
        study="1e5",
        description="2026-01-01",
        space={
            "learning_rate": {"low": 1e-05, "high": 1, "log": True},
            "label_smoothing": [0, 0.1],
            "batch_size": {"low": 16, "high": 64, "step": 16},
            "channels_last": [True, False],
            "model.one_list": [[1, 2]],
            "model.lists": [[1, 2], [3]],
            "model.mapping": [{"a": {"b": 1}}],
            "model.width": {"low": 1, "high": 64, "log": True},
        },
        warm_start=["other-study", "~/best.yaml"],
    )
    assert whole.study == "1e5"
    assert whole.fixed["model.one_list"] == [1, 2] and whole.fixed["model.mapping"] == {"a": {"b": 1}}
    assert whole.space["model.lists"] == Choice(values=([1, 2], [3]))
    assert whole.space["label_smoothing"] == Choice(values=(0.0, 0.1))
    assert whole.space["model.width"] == Range(low=1, high=64, log=True) and whole.space["model.width"].integer
    assert not whole.space["learning_rate"].integer
    assert whole.warm_start == ["other-study", str(Path("~/best.yaml").expanduser())]
    assert load_spec(written(tmp_path, "again.yaml", to_yaml(whole))) == whole
    assert parse_spec(json.loads(json.dumps(whole.model_dump()))) == whole


def test_python_builds_a_spec_from_what_python_has(small):
    """Tuples, paths and dimensions are taken for lists, text and YAML's forms."""
    built = parse_spec(
        small(
            data={"name": "digits", "root": Path("somewhere")},
            objectives=("accuracy",),
            space={
                "batch_size": Choice(values=(16, 32)),
                "epochs": Fixed(value=2),
                "momentum": Range(low=0.5, high=0.9),
            },
        )
    )
    assert built.data.root == str(Path("somewhere").absolute())
    assert built.space["batch_size"] == Choice(values=(16, 32))
    assert built.space["momentum"] == Range(low=0.5, high=0.9)


def test_numbers_are_those_of_yaml_1_2(tmp_path):
    """1e-3 is a number, 1_000 too; 1:30 and a date are text, merge keys and anchors work."""
    read = read_yaml(
        "a: 1e-3\nb: -2E+4\nc: 1:30\nd: 2026-01-01\ne: .5\nf: 0x10\ng: &g {x: 1, y: 2}\nh: {<<: *g, y: 3}", "t"
    )
    assert read == {
        "a": 1e-3, "b": -2e4, "c": "1:30", "d": "2026-01-01", "e": 0.5, "f": 16, "g": {"x": 1, "y": 2},
        "h": {"y": 3, "x": 1},
    }  # fmt: skip
    assert all(type(read[k]) is float for k in "abe")
    assert load_spec("quickstart", ["space.learning_rate=1e-3"]).fixed["learning_rate"] == 1e-3


@pytest.mark.parametrize(
    "value", ["1e5", "0x1f", "yes", "null", "1:30", "~", "", "- x", "a: b", "#", "1.", "é\n", ".5", "+1"]
)
def test_dumped_text_is_read_back_as_text(value):
    """What looks like a number or a keyword is quoted."""
    assert read_yaml(dump_yaml({"key": value}), "t") == {"key": value}


def test_extends_lays_a_file_over_a_recipe_or_a_file_beside_it(tmp_path):
    """Sections merge, values replace, null takes a key away; a chain holds, from any working directory."""
    written(tmp_path, "base.yaml", "extends: quickstart\nstudy: base\nspace: {epochs: 3, model.width: 8}")
    child = written(
        tmp_path, "child.yaml", "extends: base.yaml\nstudy: child\nspace: {lr_rule: null, learning_rate: 0.1}\nseed: 4"
    )
    spec = load_spec(child)
    assert (spec.study, spec.seed, spec.budget.trials) == ("child", 4, 20)
    assert spec.fixed["epochs"] == 3 and spec.fixed["model.width"] == 8 and spec.fixed["learning_rate"] == 0.1
    assert "lr_rule" not in spec.space and "batch_size" in spec.searched


def test_extends_works_from_python_too(small):
    """A mapping may build on a recipe."""
    assert parse_spec({"extends": "quickstart", "study": "mine"}).study == "mine"


def test_extends_round_in_a_circle_is_refused(tmp_path):
    """However the files name each other."""
    written(tmp_path, "a.yaml", "extends: b.yaml")
    b = written(tmp_path, "b.yaml", f"extends: ../{tmp_path.name}/a.yaml")
    with pytest.raises(SpecError, match="extends goes round in a circle"):
        load_spec(b)


def test_a_mistake_under_extends_names_both(tmp_path):
    """The message says which file was read and what it builds on; a parent that is missing is named."""
    child = written(tmp_path, "child.yaml", "extends: quickstart\nseed: x")
    with pytest.raises(SpecError, match=r"child\.yaml \(extends quickstart\): seed: must be a whole number, got 'x'"):
        load_spec(child)
    lost = written(tmp_path, "lost.yaml", "extends: nowhere.yaml")
    with pytest.raises(SpecError, match=r"lost\.yaml: extends: nowhere\.yaml: no such file or recipe"):
        load_spec(lost)


def test_a_file_named_as_a_recipe_does_not_change_what_recipes_extend(tmp_path, monkeypatch):
    """multi_node builds on the recipe joint, whatever lies in the working directory."""
    written(tmp_path, "joint", "study: impostor")
    monkeypatch.chdir(tmp_path)
    assert "precision" in load_spec("multi_node").searched


def test_an_empty_section_is_as_good_as_none(tmp_path):
    """All its lines are commented out, say."""
    text = "study: s\ndata: {name: digits}\nmodel: {name: small_cnn}\nbudget: {trials: 1}\nresources:\nspace:\n"
    assert load_spec(written(tmp_path, "s.yaml", text)).resources.ranks == 1


def test_overrides_reach_every_depth():
    """Sections, arguments with dots, ends of a range, new sections; null takes away."""
    spec = load_spec(
        "quickstart",
        [
            "budget.trials=5",
            "budget.hours=0.5",
            "space.model.width=[2, 4]",
            "space.learning_rate.high=0.2",
            "space.lr_rule=null",
            "constraints.peak_memory_mib.max=900",
            "sampler=random",
            "study=other",
        ],
    )
    assert (spec.study, spec.budget.trials, spec.budget.hours) == ("other", 5, 0.5)
    assert spec.space["model.width"] == Choice(values=(2, 4))
    assert spec.space["learning_rate"] == Range(low=0.005, high=0.2, log=True)
    assert "lr_rule" not in spec.space
    assert spec.constraints["peak_memory_mib"].max == 900
    assert spec.sampler.name == "random"
    assert load_spec("quickstart").budget.trials == 20


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget.trials", "must be key=value"),
        ("=3", "must be key=value"),
        ("budget..trials=3", "must be key=value"),
        ("study.name=3", "study is 'quickstart', which has no keys; set study as a whole"),
        ("budget.trials=[1", "--set budget.trials: line 1: not valid YAML"),
        ("budget.trails=3", "quickstart: unknown key 'budget.trails'; did you mean 'trials'"),
        ("space.batch_size=x", "quickstart: space.batch_size: must be a whole number, got 'x'"),
    ],
)
def test_a_wrong_override_is_refused(override, message):
    """With what it should look like, or what is wrong with the spec that it makes."""
    with pytest.raises(SpecError) as refused:
        load_spec("quickstart", [override])
    assert message in str(refused.value)


def test_paths_are_made_absolute_and_home_is_known(spec, monkeypatch, tmp_path):
    """The default root too: a resumed search may start in another folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/somebody")
    assert spec().data.root == str(tmp_path / "data")
    assert spec(data={"name": "digits", "root": "~/images"}).data.root == "/somebody/images"
    assert spec(resources={"code": ["mine", "~/own"]}).resources.code == [str(tmp_path / "mine"), "/somebody/own"]
    assert spec(warm_start="best.yaml").warm_start == [str(tmp_path / "best.yaml")]


def test_an_export_is_a_spec_without_a_choice(spec, tmp_path):
    """List arguments stay values; its stop epoch and seed are the training's own; it may be searched further."""
    origin = spec(space={"epochs": 3, "model.sizes": [[1, 2], [3, 4]], "optimizer": ["sgd", "adamw"], "momentum": 0.8})
    configuration = origin.configuration({"model.sizes": [3, 4], "optimizer": "adamw"})
    assert "momentum" not in configuration.params()
    export = {
        "study": "s",
        "config": {
            **{k: v for k, v in origin.model_dump(exclude_defaults=True).items() if k != "budget"},
            "space": configuration.params(),
            "trial_seed": 7,
            "stop_epoch": 2,
        },
        "promise": {"metrics": {}},
        "origin": {},
    }
    loaded = parse_spec(spec_of_export(export))
    assert not loaded.searched
    assert loaded.configuration({}) == configuration
    file = written(tmp_path, "best.yaml", dump_yaml(export))
    assert load_spec(file) == loaded
    assert load_spec(file, ["space.batch_size=[32, 64]", "budget.trials=4"]).searched
    further = written(tmp_path, "further.yaml", "extends: best.yaml\nspace: {batch_size: [32, 64]}")
    assert set(load_spec(further).searched) == {"batch_size"}


def test_merge_leaves_both_sides_as_they_were():
    """It makes a new mapping."""
    base, change = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None, "e": 4}, "d": None}
    assert merge(base, change) == {"a": {"c": 2, "e": 4}}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3} and change == {"a": {"b": None, "e": 4}, "d": None}


def test_a_configuration_holds_only_what_means_something(spec):
    """A fixed key that another's drawn value makes void is left out of that trial."""
    whole = spec(
        space={"loader": ["device", "stream"], "loader_workers": 1, "optimizer": ["sgd", "adamw"], "momentum": 0.5}
    )
    params = whole.configuration({"loader": "device", "optimizer": "adamw"}).params()
    assert "loader_workers" not in params and "momentum" not in params
    params = whole.configuration({"loader": "stream", "optimizer": "sgd"}).params()
    assert params["loader_workers"] == 1 and params["momentum"] == 0.5


def test_a_spec_is_frozen(spec):
    """Checked once, trusted from there on."""
    with pytest.raises(ValueError, match="frozen"):
        spec().seed = 3
    assert isinstance(spec(), StudySpec)
