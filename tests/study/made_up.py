"""Studies in a store without a search, and commands run in this process."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tune_cnn.cli.main import main
from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.states import StudyState, TrialState
from tune_cnn.study.locations import Locations
from tune_cnn.study.session.session import Report, Session

SPEC: dict[str, Any] = {
    "study": "made-up",
    "data": {"name": "digits"},
    "model": {"name": "small_cnn"},
    "space": {"epochs": 2, "batch_size": [64, 128], "learning_rate": {"low": 0.01, "high": 0.3, "log": True}},
    "budget": {"trials": 3},
}
PARAMS = {"epochs": 2, "batch_size": 64, "learning_rate": 0.1}
CURVES = {0: [(0.5, 1.0), (0.8, 2.0)], 1: [(0.6, 4.0), (0.95, 8.0)], 2: [(0.4, 3.0), (0.7, 6.0)]}  # accuracy, seconds


def spec_with(**changes: Any) -> StudySpec:
    return parse_spec({**SPEC, **changes})


def make_study(
    home: Path,
    name: str = "made-up",
    *,
    points: bool = True,
    data_key: str | None = "k" * 64,
    ran: Mapping[str, Any] | None = None,
    costs: Mapping[str, float] | None = None,
    **changes: Any,
) -> None:
    """A finished study of three trials; trial 1's last epoch is the most accurate, trial 0's first the fastest.

    `data_key`: of the images that it was searched on; None where it is to go on with any. `ran`: what the trials ran
    on. `costs`: further metrics of every point.
    """
    store = Store(home)
    try:
        spec = spec_with(**changes, study=name)
        info = {"data": {"key": data_key}, "hardware": {"cpu": "some"}, "versions": {"torch": "0"}}
        store.create_study(name, spec.model_dump(), info=info)
        for trial, curve in CURVES.items() if points else ():
            store.add_trial(name, trial, PARAMS, seed=trial, extra={"gpu_share": 0.0, **(ran or {})})
            for epoch, (accuracy, seconds) in enumerate(curve, start=1):
                metrics = {"accuracy": accuracy, "train_time_s": seconds, "peak_memory_mib": 100.0 * (trial + 1)}
                metrics |= costs or {}
                store.add_point(name, trial, epoch, metrics)
            store.end_trial(name, trial, TrialState.COMPLETE)
        store.update_study(name, state=StudyState.FINISHED)
    finally:
        store.close()


def session_of(store: Store, spec: StudySpec, home: Path = Path(), report: Report = lambda line: None) -> Session:
    """A start of work on a study, as the commands have it, which tells no MLflow."""
    return Session(store=store, spec=spec, locations=Locations(home=home, tracking_uri=""), report=report)


@dataclass(frozen=True, kw_only=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


Command = Callable[..., Ended]


@contextmanager
def commands_in(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Run commands in `folder`; their code, stdout and stderr."""
    monkeypatch.chdir(folder)
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "TUNE_CNN_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str) -> Ended:
        monkeypatch.setattr("sys.argv", ["tune-cnn", *words])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        out, err = capfd.readouterr()
        return Ended(code=code, out=out, err=err)

    yield run


def one_message(ended: Ended, code: int, *said: str) -> None:
    """A clear refusal: its code, nothing on stdout, no traceback, and what was said."""
    assert ended.code == code, ended.err
    assert ended.out == ""
    assert "Traceback" not in ended.err
    for text in said:
        assert text in ended.err


def lines(text: str) -> Sequence[str]:
    return [line for line in text.splitlines() if line.strip()]
