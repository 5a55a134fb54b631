"""A trained model in MLflow's registry. (That it loads and computes the same: tests/study/test_whole_way.py.)"""

from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.models import get_model_info
from records.outbox.delivered import runs, send

from tune_cnn.errors import TuneCnnError
from tune_cnn.records.mlflow import model
from tune_cnn.records.mlflow.model import ELSEWHERE, check_registry, register
from tune_cnn.records.mlflow.trained import Trained
from tune_cnn.records.store import Store
from tune_cnn.spec import DataSpec
from tune_cnn.training.messages import Program

PROGRAM = Program(
    pt2=b"a program",
    images_nchw=np.zeros((2, 1, 8, 8), np.uint8),
    logits_nk=np.zeros((2, 10), np.float32),
    torch_version="2.11.0+cpu",
)


@pytest.fixture
def trained(name: str, tmp_path: Path) -> Trained:
    (tmp_path / "config.yaml").write_text("a: 1")
    return Trained(
        study=name,
        params={"batch_size": 32},
        metrics={"accuracy": 0.9, "odd é/": 1.0},
        promised={"accuracy": 0.91},
        origin={"study": name, "trial": 1, "epoch": 3},
        epoch=3,
        card="# A card",
        files={"config.yaml": tmp_path / "config.yaml"},
        data=DataSpec(name="digits"),
        facts={"key": "0123", "classes": ["0", "1"]},
    )


def test_a_model_is_a_run_below_its_study_and_sent_twice_stays_one(
    store: Store, name: str, tracking: str, trained: Trained
) -> None:
    """Signature, example and requirements in it; the outbox, which comes again, takes it for no trial."""
    send(store, name, tracking)
    check_registry(tracking, name)
    first = register(tracking, name, PROGRAM, trained, "uid")
    assert register(tracking, name, PROGRAM, trained, "uid") == first and first.uri == f"models:/{name}/1"
    assert register(tracking, name, PROGRAM, trained, "another").version == "2"
    store.deliveries.queue_all(name)
    send(store, name, tracking)
    client = MlflowClient(tracking)
    run = client.get_run(first.run_id)
    assert (
        run.data.tags["mlflow.parentRunId"] == runs(tracking, name, "tags.`tune_cnn.kind` = 'study'")[name].info.run_id
    )
    assert (run.data.metrics["accuracy"], run.data.metrics["promised.accuracy"]) == (0.9, 0.91)
    assert client.get_model_version(name, "1").description == "# A card"
    info = get_model_info(client.get_model_version(name, "1").source)
    assert info.signature.inputs.inputs[0].shape == (-1, 1, 8, 8) and info.saved_input_example_info is not None
    assert set(info.flavors) == {"pytorch", "python_function"} and info.metadata["classes"] == ["0", "1"]


def test_a_model_whose_study_the_server_does_not_hold_has_a_place_too(
    name: str, tracking: str, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An experiment of its own, not one of the study's name, which the study's search would find taken. What fails
    leaves a failed run, which the next try takes up."""
    with monkeypatch.context() as patch:
        patch.setattr(model, "_save", lambda *args, **more: 1 / 0)
        with pytest.raises(TuneCnnError, match="division"):
            register(tracking, name, PROGRAM, trained, "uid")
    client = MlflowClient(tracking)
    elsewhere = client.get_experiment_by_name(ELSEWHERE)
    (failed,) = client.search_runs([elsewhere.experiment_id], "tags.`tune_cnn.training` = 'uid'")
    assert failed.info.status == "FAILED" and client.get_experiment_by_name(name) is None
    made = register(tracking, name, PROGRAM, trained, "uid")
    assert made.run_id == failed.info.run_id and client.get_run(made.run_id).info.status == "FINISHED"
