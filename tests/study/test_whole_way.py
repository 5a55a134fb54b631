"""From a spec to an exported configuration and a trained model, as a user types it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.commands import SECRET, SMALL, environment, points_of, run, run_json
from tune_cnn import Study
from tune_cnn.spec import parse_spec
from tune_cnn.study.machine import key_of, machine_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("whole-way")
    (place / "small.yaml").write_text(SMALL)
    return place


@pytest.fixture(scope="module")
def searched(folder: Path) -> Any:
    return run_json(folder, "search", "small.yaml")


def copy_of(folder: Path, below: Path) -> Path:
    """For what changes the study: other tests find it as the search left it."""
    return Path(shutil.copytree(folder, below / "copy"))


@pytest.fixture(scope="module")
def exported(folder: Path, searched: Any) -> Any:
    run(folder, "export", "small", "-o", "best.yaml")
    return yaml.safe_load((folder / "best.yaml").read_text())


def test_search_ends_with_every_trial_and_every_epoch_in_the_store(folder: Path, searched: Any) -> None:
    """Four trials of three epochs give twelve points, and the document tells the same as the store."""
    assert searched["study"] == "small"
    assert searched["state"] == "finished"
    assert searched["trials"] == {"complete": 4, "stopped": 0, "failed": 0, "infeasible": 0}
    points = points_of(folder, "small")
    assert sorted((trial, epoch) for trial, epoch, _ in points) == [(t, e) for t in range(4) for e in (1, 2, 3)]
    assert searched["points"] == 12
    for _, _, metrics in points:
        assert 0 <= metrics["accuracy"] <= 1
        assert 0 < metrics["train_time_s"] <= metrics["total_time_s"]


def test_a_search_never_trains_what_another_study_measured_as_too_large(
    folder: Path, searched: Any, tmp_path: Path
) -> None:
    """Lack of memory known of every batch of 128: all trials of a second study in this home take 64."""
    from tune_cnn.records.costs import KnownCost
    from tune_cnn.records.store import Store
    from tune_cnn.spec.costs import Cost
    from tune_cnn.study.searching.costs import setup_of

    folder = copy_of(folder, tmp_path)
    store = Store(folder / "studies")
    record = store.study("small")
    assert record is not None
    assert {trial.params["batch_size"] for trial in store.trials("small")} == {64, 128}
    spec = parse_spec(yaml.safe_load(SMALL), "small.yaml")
    too_large = [
        KnownCost(
            params={**spec.fixed, "batch_size": 128, "learning_rate": 0.1, "model.width": width},
            cost=Cost(),
            reason="no memory",
        )
        for width in (4, 8)
    ]
    store.costs.keep(setup_of(spec, record.info), too_large)
    store.close()
    run(folder, "search", "small.yaml", "--set", "study=careful", "--set", "budget.trials=3")
    store = Store(folder / "studies", create=False)
    assert [trial.params["batch_size"] for trial in store.trials("careful")] == [64, 64, 64]
    store.close()


def test_front_is_what_no_other_point_beats(folder: Path, searched: Any) -> None:
    """`front --json` gives exactly the non-dominated points of the store, by a slow check of its own."""
    points = points_of(folder, "small")

    def beaten(metrics: dict[str, float]) -> bool:
        a, t = metrics["accuracy"], metrics["train_time_s"]
        return any(
            m["accuracy"] >= a and m["train_time_s"] <= t and (m["accuracy"], m["train_time_s"]) != (a, t)
            for _, _, m in points
        )

    slow = {(trial, epoch) for trial, epoch, metrics in points if not beaten(metrics)}
    document = run_json(folder, "front", "small")
    assert {(p["trial"], p["epoch"]) for p in document["points"]} == slow
    assert [o["name"] for o in document["objectives"]] == ["accuracy", "train_time_s"]
    assert document["hypervolume"] == pytest.approx(searched["hypervolume"])


def test_export_promises_a_point_of_the_front(folder: Path, searched: Any, exported: Any) -> None:
    """The exported metrics are those of one stored point, and its configuration is whole."""
    origin = exported["origin"]
    stored = {(t, e): m for t, e, m in points_of(folder, "small")}
    assert exported["promise"]["metrics"] == stored[(origin["trial"], origin["epoch"])]
    assert exported["config"]["stop_epoch"] == origin["epoch"]
    assert exported["config"]["space"]["epochs"] == 3
    assert {"torch", "ray", "python"} <= set(origin["versions"])
    assert len(origin["data_key"]) == 64


def test_export_by_deadline_gives_the_most_accurate_inside(folder: Path, searched: Any) -> None:
    """A deadline that all meet gives the most accurate point of all; one that none meets, exit code 3."""
    best = json.loads(run(folder, "export", "small", "--max-time", "1000", "--format", "json").stdout)
    highest = max(metrics["accuracy"] for _, _, metrics in points_of(folder, "small"))
    assert best["promise"]["metrics"]["accuracy"] == highest
    none = run(folder, "export", "small", "--max-time", "0.0000001", code=3)
    assert "train_time_s" in none.stderr
    assert none.stdout == ""


@pytest.fixture(scope="module")
def trained(folder: Path, exported: Any) -> Any:
    return run_json(folder, "train", "best.yaml", "-o", "model", "--register", "small-digits")


def test_train_repeats_the_promise_bit_for_bit(folder: Path, exported: Any, trained: Any) -> None:
    """On the same CPU with the same threads, `train` reaches the very losses that the search saw."""
    promised, achieved = exported["promise"]["metrics"], trained["achieved"]
    for name in ("accuracy", "val_loss", "train_loss"):
        assert achieved[name] == promised[name]
    assert 0 <= achieved["test_accuracy"] <= 1
    assert (folder / "model" / "model.safetensors").stat().st_size > 1000
    assert "Configuration" in (folder / "model" / "README.md").read_text()
    assert not (folder / "model" / "checkpoints").exists()


LOAD = """
import sys
sys.modules["tune_cnn"] = None  # an import of ours is an error
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
images_nchw, schema = model.input_example, model.metadata.signature
assert str(images_nchw.dtype) == "uint8" and images_nchw.shape == (2, 1, 8, 8)
assert schema.inputs.inputs[0].shape == (-1, 1, 8, 8) and schema.outputs.inputs[0].shape == (-1, 10)
logits_nk = model.predict(images_nchw)
assert logits_nk.shape == (2, 10) and model.predict(images_nchw.repeat(5, axis=0)).shape == (10, 10)
assert mlflow.pytorch.load_model(sys.argv[1]) is not None
"""


def test_a_registered_model_has_signature_and_example_and_loads_without_our_code(folder: Path, trained: Any) -> None:
    """Nothing in it is a pickle; its run lies below the study's, with what was reached and promised."""
    import mlflow

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    assert trained["registered"]["uri"] == "models:/small-digits/1"
    env = environment(folder) | {"MLFLOW_TRACKING_URI": uri, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, "models:/small-digits/1"], env=env, capture_output=True, text=True, check=False
    )
    assert loaded.returncode == 0, loaded.stderr
    client = mlflow.MlflowClient(uri)
    version = client.get_model_version("small-digits", "1")
    told = client.get_run(trained["registered"]["run_id"])
    assert version.run_id == told.info.run_id and told.info.status == "FINISHED"
    assert told.data.metrics["accuracy"] == told.data.metrics["promised.accuracy"] == trained["achieved"]["accuracy"]
    parent = client.get_run(told.data.tags["mlflow.parentRunId"])
    assert parent.info.run_name == "small" and told.inputs.dataset_inputs[0].dataset.name == "digits"
    assert not list(folder.rglob("*.pkl"))


def test_mlflow_holds_a_parent_and_a_child_for_every_trial(folder: Path, searched: Any) -> None:
    """The outbox has delivered all: params, metrics by epoch, tags, the front and the parent's artifacts."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    page = f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
    assert searched["next"]["runs"] == page
    runs = client.search_runs([experiment.experiment_id])
    children = [r for r in runs if r.data.tags["tune_cnn.kind"] == "trial"]
    assert len(children) >= 4
    assert {r.info.status for r in runs} == {"FINISHED"}
    for child in children:
        assert {"batch_size", "learning_rate", "model.width"} <= set(child.data.params)
        assert len(client.get_metric_history(child.info.run_id, "accuracy")) == 3
    on_front = client.search_runs([experiment.experiment_id], "tags.front = 'true'")
    fronts = {p["trial"] for p in run_json(folder, "front", "small")["points"]}
    assert {int(r.data.tags["tune_cnn.trial"]) for r in on_front} == fronts
    (parent,) = [r for r in runs if r.data.tags["tune_cnn.kind"] == "study"]
    names = {f.path for f in client.list_artifacts(parent.info.run_id)}
    assert {"spec.yaml", "points.json", "report.html", "front.html"} <= names


def test_front_can_be_read_from_the_tracking_server_alone(folder: Path, searched: Any, tmp_path: Path) -> None:
    """Another machine with an empty home sees the same front by --tracking-uri."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    here = run_json(folder, "front", "small")["points"]
    there = run_json(tmp_path, "front", "small", "--tracking-uri", uri)["points"]
    assert [(p["trial"], p["epoch"], p["metrics"]) for p in there] == [
        (p["trial"], p["epoch"], p["metrics"]) for p in here
    ]


def test_status_list_report_and_python_tell_the_same(folder: Path, searched: Any) -> None:
    """The reading commands agree with each other and with `Study` in Python."""
    status = run_json(folder, "status", "small")
    assert status["state"] == "finished"
    assert status["trials"]["running"] == 0
    assert [row["study"] for row in run_json(folder, "list")] == ["small"]
    run(folder, "report", "small", "-o", "again.html")
    assert "small" in (folder / "again.html").read_text()
    study = Study("small", home=folder / "studies")
    assert {**study.status(), "job": None} == status, "the command tells of a submitted study's job too"
    assert [(p.trial, p.epoch) for p in study.front()] == [
        (p["trial"], p["epoch"]) for p in run_json(folder, "front", "small")["points"]
    ]


@pytest.fixture(scope="module")
def grown(folder: Path, searched: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the study goes on."""
    return copy_of(folder, tmp_path_factory.mktemp("grown"))


@pytest.fixture(scope="module")
def confirmed(grown: Path) -> Any:
    """The search again, with a larger budget and with a confirmation at its end."""
    larger = ["--set", "budget.trials=5", "--set", "confirm={points: 1, seeds: 1}"]
    before = points_of(grown, "small")
    again = run_json(grown, "search", "small.yaml", *larger)
    assert points_of(grown, "small")[:12] == before
    return again


def test_again_is_resume(grown: Path, confirmed: Any) -> None:
    """What the store holds stays as it is; a grown budget goes on where it ended."""
    assert confirmed["trials"]["complete"] == 5
    assert len(points_of(grown, "small")) == 15


@pytest.fixture(scope="module")
def one_seed(grown: Path, confirmed: Any) -> Any:
    """The point confirmed by the search."""
    (found,) = run_json(grown, "front", "small")["confirmed"]
    return found


def test_search_confirms_at_its_end_where_the_spec_says_so(confirmed: Any, one_seed: Any) -> None:
    """The knee, trained once more with another seed; one run has no interval, and no trial was added by it."""
    point = next(p for p in confirmed["front"] if (p["trial"], p["epoch"]) == (one_seed["trial"], one_seed["epoch"]))
    assert point["confirmed"]["seeds"] == one_seed["seeds"] == 1
    assert one_seed["metrics"]["accuracy"]["low"] is None
    assert 0 <= one_seed["metrics"]["test_accuracy"]["mean"] <= 1
    assert one_seed["metrics"]["cotenants"]["mean"] == 0
    assert one_seed["metrics"]["val_loss"]["mean"] != point["metrics"]["val_loss"]


@pytest.fixture(scope="module")
def two_seeds(grown: Path, one_seed: Any) -> Any:
    return run_json(grown, "confirm", "small", "--points", "1", "--seeds", "2")


def test_more_seeds_add_runs_to_what_is_confirmed(grown: Path, one_seed: Any, two_seeds: Any) -> None:
    """`confirm` trains the second seed alone; with nothing left it repeats nothing, and the export keeps the means."""
    assert two_seeds["runs"] == {"complete": 2, "failed": 0, "infeasible": 0, "planned": 0}
    (found,) = two_seeds["confirmed"]
    spread = found["metrics"]["val_loss"]
    one = one_seed["metrics"]["val_loss"]["mean"]
    other = 2 * spread["mean"] - one
    assert spread["std"] == pytest.approx(abs(one - other) / 2**0.5)
    assert spread["low"] < min(one, other) < max(one, other) < spread["high"]
    assert (
        "all of its runs have ended already" in run(grown, "confirm", "small", "--points", "1", "--seeds", "2").stderr
    )
    export = json.loads(run(grown, "export", "small", "--format", "json").stdout)
    assert export["promise"]["seeds"] == 2
    assert export["promise"]["metrics"]["val_loss"] == spread["mean"]
    assert not (grown / "studies" / "small" / "checkpoints" / "confirm").exists()


def test_a_confirmed_point_keeps_the_machine_of_its_promise(grown: Path, one_seed: Any) -> None:
    """Where its runs ended, which need not be where the search ran."""
    info = Study("small", home=grown / "studies").archive().study.info
    assert info["confirmed_on"] == {key_of(one_seed["trial"], one_seed["epoch"]): machine_of(info)}


def test_mlflow_and_other_machines_see_what_is_confirmed(grown: Path, two_seeds: Any, tmp_path: Path) -> None:
    """The trial's run has tags, means and interval; the parent the figure; points.json carries the runs."""
    import mlflow

    uri = f"sqlite:///{grown / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("small").experiment_id
    (found,) = run_json(tmp_path, "front", "small", "--tracking-uri", uri)["confirmed"]
    (child,) = client.search_runs([experiment], "tags.confirmed = 'true'")
    assert child.data.tags["tune_cnn.trial"] == str(found["trial"])
    assert child.data.tags["confirmed_epochs"] == str(found["epoch"])
    assert child.data.tags["confirmed_front"] == str(found["on_front"]).lower()
    told = {key: child.data.metrics[f"confirmed.accuracy.{key}"] for key in ("mean", "std", "low", "high")}
    assert told == pytest.approx(found["metrics"]["accuracy"])
    assert 0 <= child.data.metrics["confirmed.front_probability"] <= 1
    (parent,) = client.search_runs([experiment], "tags.`tune_cnn.kind` = 'study'")
    assert "confirmed.html" in {f.path for f in client.list_artifacts(parent.info.run_id)}
    assert parent.data.tags["confirmed_points"] == "1"
    assert f"| {found['trial']} | {found['epoch']} | 2 |" in parent.data.tags["mlflow.note.content"]


def test_no_secret_of_the_environment_is_in_any_file(folder: Path, grown: Path, trained: Any, confirmed: Any) -> None:
    """Store, MLflow's database and artifacts, reports, logs, exports, the model: none holds the server's password."""
    files = [path for place in (folder, grown) for path in place.rglob("*") if path.is_file()]
    assert {"studies.db", "mlflow.db", "outbox.log", "points.json", "best.yaml"} <= {path.name for path in files}
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
