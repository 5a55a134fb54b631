"""r2: the same search with a TorchTrainer inside each trial, as Ray's guide to tuning distributed training shows it.

Trials' drivers take a resource of their own and no CPU, as the guide has it ("Set Train driver resources"): were it a
share of a core each, their workers, which take whole ones, would have a core less.
"""

import os
import sys
from typing import Any

import ray
import ray.train
from r1_ray_tune import search
from ray import tune
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from settings import Settings
from training import train

DRIVER = "TRAIN_DRIVER_RESOURCE"


def per_worker(config: dict[str, Any]) -> None:
    settings = Settings(**config.pop("settings"))
    for metrics in train(config.pop("trial"), config, settings):
        ray.train.report(metrics)


def driver(config: dict[str, Any], settings: Settings) -> None:
    trial = tune.get_context().get_trial_id()
    TorchTrainer(
        per_worker,
        train_loop_config={**config, "settings": vars(settings), "trial": trial},
        scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(
            name=trial, storage_path=os.environ["BENCHMARK_FOLDER"], callbacks=[TuneReportCallback()]
        ),
    ).fit()


if __name__ == "__main__":
    asked = Settings.read(sys.argv[1])
    ray.init(resources={DRIVER: 1})
    share = {DRIVER: 1 / asked.slots}  # a driver only waits for its worker, which takes the trial's core
    search(asked, tune.with_resources(tune.with_parameters(driver, settings=asked), share))
