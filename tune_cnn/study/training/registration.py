"""`train --register NAME`: the trained model in MLflow's registry."""

import re
import time
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

from tune_cnn.errors import InputError, TuneCnnError
from tune_cnn.records.mlflow.environment import make_quiet, shown_uri
from tune_cnn.records.mlflow.trained import Trained
from tune_cnn.study.session.session import Report
from tune_cnn.training.messages import Program

PROGRAM = "model.pt2"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
TRIES_AFTER_S = (2.0, 10.0, 30.0)  # a server that is away for a moment, after hours of training


def check(name: str, tracking_uri: str) -> None:
    """Before the training, not after it: hours may lie between."""
    if not NAME.fullmatch(name):
        raise InputError(f"--register: a model's name has 1 to 128 of A-Z a-z 0-9 . _ -, got {name!r}")
    make_quiet(tracking_uri)
    from tune_cnn.records.mlflow.model import check_registry  # imports mlflow, which takes seconds

    check_registry(tracking_uri, name)


def register(
    name: str, program: Program, trained: Trained, *, tracking_uri: str, folder: Path, report: Report
) -> dict[str, str]:
    """Name, version, uri, run_id, server of the new version; what is trained lies in `folder` whatever happens here."""
    from tune_cnn.records.mlflow.model import register as make  # imports mlflow, which takes seconds

    uid = uuid4().hex
    for wait_s in (*TRIES_AFTER_S, None):
        try:
            made = make(tracking_uri, name, program, trained, uid)
            return {**asdict(made), "uri": made.uri}
        except TuneCnnError as error:
            if wait_s is None or error.exit_code == InputError.exit_code:
                raise TuneCnnError(
                    f"the model is trained and lies in {folder}, but is not registered: {error}"
                ) from None
            report(f"{shown_uri(tracking_uri)}: not registered yet ({error}); once more in {wait_s:g} s")
            time.sleep(wait_s)
    raise AssertionError("the last try returns or raises")
