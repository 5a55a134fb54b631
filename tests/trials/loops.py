"""Training loops without torch, for tests of scheduling: they sleep instead of training."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tune_cnn.errors import DeviceLost, OutOfMemory, SpecError, TrialError
from tune_cnn.training.messages import EpochResult, LeftEpoch, TrainingJob
from tune_cnn.trials import ranks


class SleepingLoop:
    """One rank that sleeps `training.seconds` an epoch; `training.fault` makes rank `training.rank` fail by name."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.trials = 0  # that this process has begun
        self.aborted = False
        self.asked = threading.Event()  # to leave

    def leave(self, *, within_s: float = 0.0) -> None:
        self.within_s = within_s
        self.asked.set()

    def listen(self, host: str) -> str:
        return f"{host} of rank {self.rank}"

    def join(self, *, ranks: int, init_method: str, cuda: bool) -> None:
        self.ranks = ranks

    def begin(self, job: TrainingJob) -> int:
        self.job, self.epoch = job, 0
        self.asked.clear()
        self.arguments: dict[str, Any] = dict(job.configuration.training)
        self.trials += 1
        return 0

    def history(self) -> list[EpochResult]:
        return []

    def train_epoch(self) -> EpochResult | LeftEpoch:
        began, seconds = time.time(), self.arguments.get("seconds", 0.02)
        if self.arguments.get("leave_after") == self.epoch:
            threading.Timer(0.1, self.leave).start()
        if self.asked.wait(seconds):
            rest = max(0.0, seconds - (time.time() - began))
            if rest > self.within_s:
                return LeftEpoch(epoch=self.epoch, step=7, checkpoint=f"{self.job.checkpoint_dir}/{self.epoch}-7")
            time.sleep(rest)
        if self.rank == self.arguments.get("rank", 0):
            self._fail(self.arguments.get("fault", ""))
        self.epoch += 1
        metrics = {"began": began, "ended": time.time(), "pid": float(os.getpid()), "begun": float(self.trials)}
        return EpochResult(epoch=self.epoch, metrics=metrics, done=self.epoch >= self.job.last_epoch)

    def _fail(self, fault: str) -> None:
        if fault == "raise":
            raise TrialError("the loss became NaN")
        if fault == "bug":
            raise ZeroDivisionError("in the user's code")
        if fault == "memory":
            raise MemoryError("asked for too much")
        if fault == "device memory":
            raise OutOfMemory("training: out of memory: tried to allocate 2 GiB")
        if fault == "node full":  # as Ray's memory monitor says it of another process
            from ray.exceptions import OutOfMemoryError

            raise OutOfMemoryError("Task was killed due to the node running low on memory.")
        if fault == "cuda":
            raise DeviceLost("training: CUDA error: an illegal memory access was encountered")
        if fault == "die":
            os._exit(1)
        if fault == "die on a node":
            import ray

            if ray.get_runtime_context().get_node_id() == self.arguments["node"]:
                os._exit(1)
        if fault == "freeze":
            os.kill(os.getpid(), signal.SIGSTOP)
        if fault == "freeze once" and not Path(self.arguments["marker"]).exists():
            Path(self.arguments["marker"]).write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGSTOP)
        if fault == "die once" and not Path(self.arguments["marker"]).exists():
            Path(self.arguments["marker"]).touch()
            os._exit(1)

    def checkpoint(self) -> str | None:
        return f"{self.job.checkpoint_dir}/{self.epoch}"

    def weights(self) -> dict[str, object]:
        return {}

    def test(self) -> dict[str, float]:
        return {"test_accuracy": 0.5, "trials": float(self.trials)}

    def end(self) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


class HangingLoop(SleepingLoop):
    """Once, rank 1 dies and rank 0 waits for it in a call that no abort ends, as in a driver that hangs."""

    def __init__(self, rank: int) -> None:
        super().__init__(rank)
        ranks.ABORT_S = 0.5  # in this process

    def train_epoch(self) -> EpochResult | LeftEpoch:
        marker = Path(self.arguments["marker"])
        if marker.exists():
            return super().train_epoch()
        if self.rank == 1:
            marker.touch()
            os._exit(1)
        threading.Event().wait()
        raise AssertionError("nothing ends it")

    def abort(self) -> None:
        threading.Event().wait()


class StaggeredLoop(SleepingLoop):
    """Processes that start together are up one after another."""

    def __init__(self, rank: int) -> None:
        time.sleep(os.getpid() % 4)
        super().__init__(rank)


def place() -> dict[str, Any]:
    """Where a function called on a node runs."""
    return {"pid": os.getpid(), "file": __file__}


def fail() -> None:
    raise TrialError("as it was raised")


def own_pid() -> int:
    return os.getpid()


def executable() -> str:
    return sys.executable


def refuse() -> None:
    raise SpecError("space.model.width: no such thing")


def die() -> None:
    os._exit(1)


def die_once(marker: str) -> None:
    if not Path(marker).exists():
        Path(marker).touch()
        os._exit(1)
