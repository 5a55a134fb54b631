"""r1: Ray Tune's function trainable with OptunaSearch and MLflowLoggerCallback, as Ray's documentation shows them."""

import os
import sys
from typing import Any

from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.search.optuna import OptunaSearch
from settings import Settings
from training import train


def trainable(config: dict[str, Any], settings: Settings) -> None:
    for metrics in train(tune.get_context().get_trial_id(), config, settings):
        tune.report(metrics)


def space(settings: Settings) -> dict[str, Any]:
    """As Ray's search space: a list is a choice, whole bounds an integer range, others a range on a log scale."""
    return {
        key: tune.choice(value) if isinstance(value, list) else tune.loguniform(value["low"], value["high"])
        for key, value in settings.space.items()
    }


def search(settings: Settings, trained: Any) -> None:
    tuner = tune.Tuner(
        trained,
        param_space=space(settings),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(metric=["accuracy", "train_time_s"], mode=["max", "min"], seed=settings.seed),
            num_samples=settings.trials,
            max_concurrent_trials=settings.slots,
            time_budget_s=settings.seconds,
        ),
        run_config=tune.RunConfig(
            storage_path=os.environ["BENCHMARK_FOLDER"],
            callbacks=[MLflowLoggerCallback(tracking_uri=settings.tracking_uri, experiment_name="r1")],
            verbose=0,
        ),
    )
    tuner.fit()


if __name__ == "__main__":
    asked = Settings.read(sys.argv[1])
    search(asked, tune.with_resources(tune.with_parameters(trainable, settings=asked), {"cpu": 1}))
