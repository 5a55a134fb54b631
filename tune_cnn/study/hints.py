"""The exact commands that a user types next: they name every place that is not where a command looks by itself."""

import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tune_cnn.records.mlflow.environment import DEFAULT_TRACKING_URI, is_server, secrets_of, shown_uri
from tune_cnn.started import as_started

HOME = Path("studies")


def again() -> str:
    """The very command that was given; for a search that was submitted, the one that was given there."""
    return os.environ.get("TUNE_CNN_AGAIN") or shlex.join([*as_started(), *sys.argv[1:]])


@dataclass(frozen=True, kw_only=True)
class NextCommands:
    """For a study that is kept, recorded, trained and checkpointed there; None where a command's default is meant.

    `started`: the words that start `tune-cnn`.
    """

    study: str
    home: Path
    tracking_uri: str | None = None
    address: str | None = None
    storage: str | None = None
    started: tuple[str, ...] = field(default_factory=as_started)

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

    def confirm_on(self, accelerator: str) -> str:
        """On nodes of this type."""
        places = _options({"--address": self.address, "--storage": self.storage})
        return self._typed("confirm", "--accelerator", accelerator, *places)

    def front_on(self, accelerator: str) -> str:
        return self._typed("front", "--accelerator", accelerator)

    @property
    def export(self) -> str:
        return self._typed("export", "-o", "best.yaml")

    def export_of(self, trial: int, epoch: int) -> str:
        """The command that exports this very point."""
        named = ["--trial", str(trial), "--epoch", str(epoch)]
        words = [*self.started, "export", self.study, *named, *self.options]
        return shlex.join([*words, "-o", f"{self.study}-{trial}-{epoch}.yaml"])

    @property
    def train(self) -> str:
        return shlex.join([*self.started, "train", "best.yaml", *_options({"--address": self.address})])

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

    @property
    def ui(self) -> str:
        """The tracking server, or the command that shows a database: MLflow's own lies beside ours."""
        uri = shown_uri(self.tracking_uri or DEFAULT_TRACKING_URI)
        by_module = self.started[-2:-1] == ("-m",)
        mlflow = "mlflow" if by_module else str(Path(self.started[-1]).with_name("mlflow"))
        return uri if is_server(uri) else shlex.join([*self.started[:-1], mlflow, "ui", "--backend-store-uri", uri])

    def _typed(self, command: str, *more: str) -> str:
        return shlex.join([*self.started, command, self.study, *self.options, *more])


def _options(given: dict[str, str | None]) -> list[str]:
    return [word for name, value in given.items() if value is not None for word in (name, value)]
