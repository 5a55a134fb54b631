"""One trial of r4: the script that Syne Tune starts for it."""

import argparse
import os
from typing import Any

from settings import Settings
from syne_tune import Reporter
from training import train

NUMBERS = {"batch_size": int, "learning_rate": float, "loader_workers": int}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", required=True)
    arguments, rest = parser.parse_known_args()
    settings = Settings.read(arguments.settings)
    given = dict(zip(rest[::2], rest[1::2], strict=False))
    config: dict[str, Any] = {key: NUMBERS.get(key, str)(given[f"--{key}"]) for key in settings.space}
    report = Reporter()
    for epoch, metrics in enumerate(train(str(os.getpid()), config, settings), 1):
        report(epoch=epoch, error=1 - metrics["accuracy"], train_time_s=metrics["train_time_s"])
