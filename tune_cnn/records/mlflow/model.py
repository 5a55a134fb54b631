"""A trained model in MLflow's registry: a run with what it reached, a version with signature and example."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
from mlflow import pyfunc
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from tune_cnn.errors import TuneCnnError
from tune_cnn.records.mlflow.client import KIND, STUDY, Server
from tune_cnn.records.mlflow.description import odd_free, params_of
from tune_cnn.records.mlflow.environment import absolute_uri, check_uri, user_name
from tune_cnn.records.mlflow.trained import Trained
from tune_cnn.records.rows import now_ms
from tune_cnn.training.messages import Program

ELSEWHERE = "tune-cnn-train"  # the experiment of models whose study the server doesn't hold
TRAINING = "tune_cnn.training"  # the tag that tells one training from others
DATA = "program"  # a folder with the one file model.pt2, as mlflow.pytorch looks for it


@dataclass(frozen=True, kw_only=True)
class Registered:
    name: str
    version: str
    run_id: str
    server: str

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"


def check_registry(tracking_uri: str, name: str) -> None:
    """Before hours of training: whether the server is there and lets us write a model of this name."""
    server = _server(tracking_uri)
    with server.edge():
        try:
            server.client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise


def register(tracking_uri: str, name: str, program: Program, trained: Trained, uid: str) -> Registered:
    """Make the run and the model's next version; raises TuneCnnError, and then leaves no run that looks whole.

    `uid`: of this training; sent again with the same, the run and the version that there are stay the only ones.
    """
    server = _server(tracking_uri)
    mlflow.set_tracking_uri(absolute_uri(tracking_uri))
    run_id = _run(server, name, trained, uid)
    status = "FAILED"
    try:
        with server.edge():
            there = server.client.search_model_versions(f"run_id = '{run_id}'")
        if there:
            status = "FINISHED"
            return Registered(name=name, version=str(there[0].version), run_id=run_id, server=server.shown)
        with server.edge(), _modest_logging():
            info = Model.log(
                artifact_path=None,
                name="model",
                flavor=SimpleNamespace(__name__="pytorch", save_model=partial(_save, program=program)),
                run_id=run_id,
                registered_model_name=name,
                params=params_of(trained.params),
                metadata={"classes": list(trained.facts.get("classes", ())), "origin": dict(trained.origin)},
                step=trained.epoch,
                validate_serving_input=False,  # the program was compared with the model where it was made
            )
            version = str(info.registered_model_version)
            server.client.update_model_version(name, version, trained.card)
        status = "FINISHED"
    finally:
        with suppress(TuneCnnError), server.edge():
            server.client.set_terminated(run_id, status=status)
    return Registered(name=name, version=version, run_id=run_id, server=server.shown)


def _run(server: Server, name: str, trained: Trained, uid: str) -> str:
    """A run of the study's experiment, where the server holds it, below its parent."""
    with server.edge():
        study = server.client.get_experiment_by_name(trained.study)
    tags = {
        KIND: "model",
        "mlflow.user": user_name(),
        "mlflow.source.name": "tune-cnn train",
        "mlflow.source.type": "LOCAL",
    }
    tags |= {"mlflow.note.content": trained.card, "tune_cnn.origin_study": trained.study}
    tags |= {f"tune_cnn.origin_{key}": str(trained.origin[key]) for key in ("trial", "epoch") if key in trained.origin}
    if study is not None and STUDY in study.tags and study.lifecycle_stage == "active":
        experiment = str(study.experiment_id)
        parents = list(server.search(experiment, f"tags.`{KIND}` = 'study'"))
        tags |= {"mlflow.parentRunId": parents[0].info.run_id} if parents else {}
    else:
        experiment = _elsewhere(server)
    stamp_ms = now_ms()
    known = [run.info.run_id for run in server.search(experiment, f"tags.`{TRAINING}` = '{uid}'")]
    run_id = known[0] if known else server.create_run(experiment, f"{name} (train)", stamp_ms, tags | {TRAINING: uid})
    values = {odd_free(key): value for key, value in trained.metrics.items()}
    values |= {f"promised.{odd_free(key)}": value for key, value in trained.promised.items()}
    metrics = [Metric(key, float(value), stamp_ms, trained.epoch) for key, value in values.items()]
    server.log(run_id, metrics=metrics, params=params_of(trained.params))
    server.log_dataset(run_id, trained.facts, trained.data)
    for file, path in trained.files.items():
        server.upload(run_id, file, path)
    return run_id


def _elsewhere(server: Server) -> str:
    with server.edge():
        found = server.client.get_experiment_by_name(ELSEWHERE)
        if found is None:
            return str(server.client.create_experiment(ELSEWHERE, artifact_location=server.place_of(ELSEWHERE)))
        if found.lifecycle_stage == "deleted":
            server.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


def _save(path: str, mlflow_model: Model, *, program: Program, **_: object) -> None:
    """A model of MLflow's, that `mlflow.pytorch.load_model` and `mlflow.pyfunc.load_model` read."""
    shape = program.images_nchw.shape[1:]
    torch_version = program.torch_version.partition("+")[0]
    mlflow_model.signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *shape))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, program.logits_nk.shape[1]))]),
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / DATA
        folder.mkdir()
        (folder / "model.pt2").write_bytes(program.pt2)
        mlflow_model.add_flavor("pytorch", model_data=f"data/{DATA}", pytorch_version=program.torch_version, code=None)
        pyfunc.save_model(
            path,
            loader_module="mlflow.pytorch",
            data_path=str(folder),
            mlflow_model=mlflow_model,
            signature=mlflow_model.signature,
            input_example=program.images_nchw,
            pip_requirements=[f"mlflow=={mlflow.__version__}", f"torch=={torch_version}", f"numpy=={np.__version__}"],
            # A program stays on the device that it was made for, and MLflow would choose a GPU where there is one.
            model_config={"device": "cpu"},
        )


def _server(tracking_uri: str) -> Server:
    check_uri(tracking_uri)
    return Server(absolute_uri(tracking_uri))


@contextmanager
def _modest_logging() -> Iterator[None]:
    """Without MLflow's progress: the command reports what matters."""
    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
