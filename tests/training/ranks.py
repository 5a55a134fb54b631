"""Jobs on digits, small enough to train in a second, and processes that each are one rank."""

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from tune_cnn.spec import Configuration, DataSpec, ModelSpec, UserMetric
from tune_cnn.training.messages import EpochResult, TrainingJob
from tune_cnn.training.process.process_group import ProcessGroup
from tune_cnn.training.rank import RankTraining


def digits_job(
    folder: Path,
    *,
    model: str = "small_cnn",
    metrics: dict[str, UserMetric] | None = None,
    job: dict[str, Any] | None = None,
    **configuration: Any,
) -> TrainingJob:
    """A job on 600 images of digits; `job` sets its other fields, keywords the configuration."""
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 64, "learning_rate": 0.05} | configuration
    return TrainingJob(
        trial=0,
        configuration=Configuration(**settings),
        data=DataSpec(name="digits", subset=600),
        model=ModelSpec(name=model),
        metrics=metrics or {},
        cache_dir=str(folder / "cache"),
        **(job or {}),
    )


def train(rank: RankTraining, job: TrainingJob, epochs: int | None = None) -> tuple[list[EpochResult], dict[str, Any]]:
    """Begin, train to the end (or so many epochs), end; the results and the weights."""
    rank.begin(job)
    results = []
    while not (results and results[-1].done) and len(results) != epochs:
        results.append(rank.train_epoch())
    weights = rank.weights()
    rank.end()
    return results, weights


def same_bits(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


class Processes:
    """Fresh processes that stay warm: each runs what it is sent, function(number, *arguments), one after another."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes, self._processes = [], []
        for number in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(number, theirs), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def call(self, function: Callable[..., Any], *arguments: Any, timeout_s: float = 120.0) -> list[Any]:
        """What it returned in each process, by number; an error there is one here."""
        for pipe in self._pipes:
            pipe.send((function, arguments))
        found = []
        for number, pipe in enumerate(self._pipes):
            assert pipe.poll(timeout_s), f"process {number} hangs in {function.__name__}"
            value, error = pipe.recv()
            found.append(value)
            assert error is None, f"process {number} in {function.__name__}: {error}"
        return found

    def address(self) -> str:
        """Where process 0 waits for the others to join, once."""
        address: str = self.call(_listen)[0]
        return address

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


_LISTENING: list[ProcessGroup] = []  # of this process: each holds its port until another group of it has joined


def _listen(number: int) -> str:
    if number:
        return ""
    _LISTENING.append(ProcessGroup())
    return _LISTENING[-1].listen("127.0.0.1")


def _serve(number: int, pipe: Connection) -> None:
    torch.set_num_threads(1)
    while True:
        function, arguments = pipe.recv()
        try:
            pipe.send((function(number, *arguments), None))
        except Exception:
            pipe.send((None, traceback.format_exc()))
