"""r3: plain Optuna: one process a slot on one SQLite study, training in-process, MLflow told by each."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import optuna
from settings import Settings
from training import train

NAME = "r3"


def objective(trial: optuna.Trial, settings: Settings) -> tuple[float, float]:
    config: dict[str, Any] = {
        key: trial.suggest_categorical(key, value)
        if isinstance(value, list)
        else trial.suggest_float(key, value["low"], value["high"], log=True)
        for key, value in settings.space.items()
    }
    with mlflow.start_run(run_name=str(trial.number)):
        mlflow.log_params(config)
        metrics: dict[str, float] = {}
        for epoch, metrics in enumerate(train(str(trial.number), config, settings), 1):
            mlflow.log_metrics(metrics, step=epoch)
    return metrics["accuracy"], metrics["train_time_s"]


def work(settings: Settings, process: int) -> None:
    """One process: takes trials until all are taken."""
    mlflow.set_tracking_uri(settings.tracking_uri)
    mlflow.set_experiment(NAME)
    study = optuna.load_study(
        study_name=NAME, storage=_storage(), sampler=optuna.samplers.TPESampler(seed=settings.seed + process)
    )
    stop = optuna.study.MaxTrialsCallback(settings.trials, states=None)
    # asked with `states=None` the callback counts running trials too, so that the processes end at the same number
    study.optimize(lambda trial: objective(trial, settings), timeout=settings.seconds, callbacks=[stop])


def _storage() -> str:
    return f"sqlite:///{Path(os.environ['BENCHMARK_FOLDER']) / 'optuna.db'}"


if __name__ == "__main__":
    asked = Settings.read(sys.argv[1])
    if len(sys.argv) == 3:
        work(asked, int(sys.argv[2]))
        sys.exit()
    optuna.create_study(study_name=NAME, storage=_storage(), directions=["maximize", "minimize"])
    mlflow.set_tracking_uri(asked.tracking_uri)
    mlflow.set_experiment(NAME)  # before the processes start, or they make it twice
    processes = []
    for number in range(asked.slots):
        processes.append(subprocess.Popen([sys.executable, __file__, sys.argv[1], str(number)]))
        time.sleep(0.05)
    sys.exit(max(abs(process.wait()) for process in processes))  # a process that was killed has a negative code
