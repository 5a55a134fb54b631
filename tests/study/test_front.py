"""Exports, specs and studies go into each other's commands: search, train, warm_start."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from study.made_up import SPEC, Command, make_study, one_message
from tune_cnn import Study
from tune_cnn.errors import InputError, SpecError
from tune_cnn.search.search import Search
from tune_cnn.spec import load_spec, parse_spec
from tune_cnn.study.export import read_config, read_export
from tune_cnn.study.locations import Locations
from tune_cnn.study.searching.startup import warm_params
from tune_cnn.training.strategies.framework.registry import cards_of


@pytest.fixture
def exported(home: Path, tmp_path: Path) -> Path:
    Study("made-up", home=home).front().best(max_time_s=3).to_yaml(tmp_path / "best.yaml")
    return tmp_path / "best.yaml"


def locations(home: Path) -> Locations:
    return Locations(home=home, tracking_uri=f"sqlite:///{home}/mlflow.db")


def test_export_loads_as_a_spec_of_its_one_configuration(exported: Path) -> None:
    """`search exported.yaml` would train that configuration, under a name of its own."""
    spec = load_spec(exported)
    assert spec.study == "made-up-t0-e2"
    assert not spec.searched
    assert spec.configuration({}).learning_rate == 0.1
    assert spec.budget.trials == 1


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_train_reads_what_export_wrote(command: Command, home: Path, form: str) -> None:
    """YAML or JSON: the same export, whole."""
    out = home.parent / f"best.{form}"
    assert command("export", "made-up", "--format", form, "-o", str(out)).code == 0
    config = read_config(out)
    assert config == read_export(out)
    assert config.promise["metrics"]["train_time_s"] > 0
    assert config.config["stop_epoch"] == config.origin["epoch"]


def test_train_reads_a_spec_without_a_choice(tmp_path: Path) -> None:
    """It promises nothing; one with a choice is refused with the keys that are open."""
    fixed = {**SPEC, "space": {"epochs": 2}}
    (tmp_path / "fixed.yaml").write_text(yaml.safe_dump(fixed))
    assert read_config(tmp_path / "fixed.yaml").promise == {"metrics": {}}
    (tmp_path / "open.yaml").write_text(yaml.safe_dump(SPEC))
    with pytest.raises(SpecError, match="leaves batch_size, learning_rate open"):
        read_config(tmp_path / "open.yaml")


def test_what_is_no_export_names_the_command_that_makes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was started: here by its path, out of an environment that is not activated."""
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    monkeypatch.setattr("sys.argv", ["/opt/it/bin/tune-cnn", "train"])
    (tmp_path / "open.yaml").write_text(yaml.safe_dump(SPEC))
    (tmp_path / "cut.yaml").write_text("promise: {}\nconfig: {}\n")
    for name in ("open.yaml", "cut.yaml", "nowhere.yaml"):
        with pytest.raises(SpecError, match="`/opt/it/bin/tune-cnn export STUDY -o FILE`"):
            read_config(tmp_path / name)


def test_truncated_export_is_never_trained(exported: Path, tmp_path: Path) -> None:
    """Cut anywhere, an export is refused: without its stop epoch it would train something else."""
    text = exported.read_text()
    cut = tmp_path / "cut.yaml"
    for length in range(0, len(text) - 60, 40):
        cut.write_text(text[:length])
        with pytest.raises(SpecError, match=r"cut\.yaml"):
            read_config(cut)


def test_warm_start_takes_exports_specs_and_studies(exported: Path, home: Path, tmp_path: Path) -> None:
    """All of them give configurations that lie in the space and are asked first."""
    (tmp_path / "one.yaml").write_text(yaml.safe_dump({**SPEC, "space": {"epochs": 2, "learning_rate": 0.2}}))
    found = {
        source: warm_params(source, locations(home))
        for source in (str(exported), str(tmp_path / "one.yaml"), "made-up")
    }
    assert [len(params) for params in found.values()] == [1, 1, 2]
    for params in (params for several in found.values() for params in several):
        search = Search(parse_spec(SPEC))
        assert search.queue(params)
        assert search.ask(0)["learning_rate"] == params["learning_rate"]


def test_warm_start_takes_a_recipe_of_one_configuration(home: Path) -> None:
    """airbench is where beat_airbench starts; a recipe with a choice is taken for a study, and there is none."""
    spec = load_spec("beat_airbench")
    (params,) = warm_params("airbench", locations(home))
    search = Search(spec, cards=cards_of(["whitening", "lookahead"]))
    assert search.queue(params)
    found = search.ask(0)
    assert spec.configuration(found).params() == params
    with pytest.raises(SpecError, match="'joint' is no file"):
        warm_params("joint", locations(home))


def test_warm_start_that_leads_nowhere_is_told_before_the_study_exists(command: Command, tmp_path: Path) -> None:
    """Neither a file nor a study: exit 2, and no study is left behind under that name."""
    (tmp_path / "warm.yaml").write_text(yaml.safe_dump({**SPEC, "warm_start": ["nowhere"]}))
    one_message(command("search", "warm.yaml"), 2, "warm_start", "'nowhere' is no file")
    assert command("list", "--json").document == []


def test_names_stay_within_128_characters(tmp_path: Path) -> None:
    """An export of a study with the longest name is a spec with a name that is allowed."""
    name = "n" * 128
    make_study(tmp_path, name)
    first = Study(name, home=tmp_path).front().best(max_time_s=1).as_dict()
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(first))
    spec = load_spec(tmp_path / "long.yaml")
    assert len(spec.study) <= 128
    assert spec.study != name
    other = Study(name, home=tmp_path).front().best(max_time_s=3).as_dict()
    assert other["config"]["study"] != first["config"]["study"]


def test_an_export_has_the_power_limit_of_its_trial(tmp_path: Path) -> None:
    """Of the study's phases, the one in which the point was made: `train` holds the GPU there."""
    limits = {"power_limit_w": [200, 250]}
    make_study(tmp_path, "limited", ran={"gpu_share": 1.0, "power_limit_w": 250.0}, resources=limits)
    Study("limited", home=tmp_path).front().best(max_time_s=1).to_yaml(tmp_path / "limited.yaml")
    (phase,) = load_spec(tmp_path / "limited.yaml").resources.phases
    assert (phase.gpus_per_rank, phase.power_limit_w) == (1.0, 250.0)


def test_an_export_keeps_the_prices_that_its_objectives_are_reckoned_by(tmp_path: Path) -> None:
    """Else `train` would refuse it: `cost` needs a price."""
    objectives = ["accuracy", "train_time_s", "cost"]
    make_study(tmp_path, "priced", costs={"cost": 0.5}, objectives=objectives, prices={"per_gpu_hour": 2.0})
    text = Study("priced", home=tmp_path).front().best(max_time_s=1).to_yaml(tmp_path / "priced.yaml")
    spec = load_spec(tmp_path / "priced.yaml")
    assert spec.prices is not None and spec.prices.per_gpu_hour == 2.0, text


@pytest.mark.parametrize(
    ("preference", "said"),
    [
        ({"max_time_s": -1}, "more than 0"),
        ({"max_time_s": float("nan")}, "more than 0"),
        ({"min_accuracy": 95}, "95 % is 0.95"),
        ({"where": ["accuracy=1"]}, "METRIC<=VALUE"),
        ({"where": ["accurcy<=1"]}, "did you mean 'accuracy'"),
        ({"min_accuracy": 0.5, "where": ["accuracy<=0.1"]}, "drop one of the two bounds"),
    ],
)
def test_python_raises_what_the_commands_say(home: Path, preference: dict[str, Any], said: str) -> None:
    """Mistakes are exceptions of tune_cnn.errors in Python, never SystemExit."""
    with pytest.raises(InputError, match=said):
        Study("made-up", home=home).front().best(**preference)
