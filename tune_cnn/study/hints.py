"""The exact commands that a user types next: they name every place that is not where a command looks by itself."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.records.mlflow.environment import DEFAULT_TRACKING_URI, secrets_of

HOME = Path("studies")


@dataclass(frozen=True, kw_only=True)
class NextCommands:
    """For a study that is kept, recorded, trained and checkpointed there; None where a command's default is meant."""

    study: str
    home: Path
    tracking_uri: str | None = None
    address: str | None = None
    storage: str | None = None

    @property
    def options(self) -> list[str]:
        """Where the study is kept, and MLflow, from which a colleague without this home reads it.

        A URI with a password stays out of sight: it is in the environment.
        """
        home, uri = self.home.absolute(), self.tracking_uri
        at_home = home == HOME.absolute() and "TUNE_CNN_HOME" not in os.environ
        by_default = uri == DEFAULT_TRACKING_URI and "MLFLOW_TRACKING_URI" not in os.environ
        unsaid = uri is None or by_default or secrets_of(uri)
        return _options({"--home": None if at_home else str(home), "--tracking-uri": None if unsaid else uri})

    @property
    def confirm(self) -> str:
        return self._typed("confirm", *_options({"--address": self.address, "--storage": self.storage}))

    @property
    def export(self) -> str:
        return self._typed("export", "-o", "best.yaml")

    @property
    def train(self) -> str:
        return shlex.join(["tune-cnn", "train", "best.yaml", *_options({"--address": self.address})])

    @property
    def front(self) -> str:
        return self._typed("front")

    @property
    def report(self) -> str:
        return self._typed("report", "-o", "report.html")

    @property
    def status(self) -> str:
        return self._typed("status")

    @property
    def sync(self) -> str:
        return self._typed("sync")

    def _typed(self, command: str, *more: str) -> str:
        return shlex.join(["tune-cnn", command, self.study, *self.options, *more])


def _options(given: dict[str, str | None]) -> list[str]:
    return [word for name, value in given.items() if value is not None for word in (name, value)]
