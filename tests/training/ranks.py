"""Jobs on digits, small enough to train in a second, and processes that each are one rank."""

import multiprocessing
import traceback
from collections.abc import Callable, Container
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from tune_cnn.spec import Configuration, DataSpec, ModelSpec, UserMetric
from tune_cnn.training.between_steps import Then
from tune_cnn.training.messages import EpochResult, LeftEpoch, TrainingJob
from tune_cnn.training.process.process_group import ProcessGroup
from tune_cnn.training.rank import RankTraining

COMPUTED = ("train_loss", "val_loss", "accuracy", "train_gflops", "parameters")  # metrics that no clock decides


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


def leave_at(rank: RankTraining, step: int) -> None:
    """Have rank 0 told to leave the trial that has begun as it comes to the end of that step of an epoch, or later."""
    between = rank._current._between
    then = between.then

    def telling(now: int, of: int) -> Then:
        if now >= step:
            rank.leave()
        return then(now, of)

    between.then = telling  # type: ignore[method-assign]  # of this one alone


def left_within(
    job: TrainingJob, epochs: Container[int] | None = None
) -> tuple[list[EpochResult], dict[str, Any], int]:
    """Train, and after every step of these epochs (None: of all) leave, for a new rank to go on.

    The results, the weights at the end, and how often it was left.
    """
    results: list[EpochResult] = []
    left, steps = 0, [0, 0]
    while True:
        rank = RankTraining()
        assert rank.begin(job) == steps[0]
        if epochs is None or steps[0] in epochs:
            leave_at(rank, steps[1] + 1)
        result = rank.train_epoch()
        if isinstance(result, EpochResult):
            results.append(result)
            if result.done:
                weights = rank.weights()
                rank.end()
                return results, weights, left
            rank.leave()
            result = rank.train_epoch()  # it leaves before a step is taken
        assert isinstance(result, LeftEpoch) and result.checkpoint is not None
        steps, left = [result.epoch, result.step], left + 1
        rank.end()


def kept(folder: Path) -> dict[str, Any]:
    """A job's fields: a folder for checkpoints, which are written when it is left alone."""
    return {"checkpoint_dir": str(folder / "checkpoints"), "checkpoint_every_s": 1e9}


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
