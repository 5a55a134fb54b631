"""A driver that hands out a list of trials and notes what it is told."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tune_cnn.spec import DataSpec, ModelSpec
from tune_cnn.states import TrialState
from tune_cnn.training.messages import TrainingJob
from tune_cnn.trials.cluster.machines import Slots
from tune_cnn.trials.first_call import FirstCall
from tune_cnn.trials.nodes.node_health import Happened, NodeEvent
from tune_cnn.trials.trainable import Payload
from tune_cnn.trials.tune_adapter import Assignment

LOOP = "loops:SleepingLoop"


@dataclass(frozen=True, kw_only=True)
class Point:
    trial: int
    epoch: int
    metrics: Mapping[str, float]
    checkpoint: str | None

    @property
    def pid(self) -> int:
        return int(self.metrics["pid"])


@dataclass
class Script:
    """Plays its trials in order; stops those in `stop_at` at that epoch, drains after `drain_after` points."""

    trials: Iterable[Mapping[str, Any]]
    stop_at: Mapping[int, int] = field(default_factory=dict)
    drain_after: int | None = None
    secret: str = ""

    def __post_init__(self) -> None:
        self._left = list(enumerate(self.trials))
        self.points: list[Point] = []
        self.ends: dict[int, tuple[str, str | None]] = {}
        self.started: list[int] = []  # and again where it came back
        self.came_back: list[int] = []
        self.node_events: list[NodeEvent] = []
        self._params: dict[int, Mapping[str, Any]] = {}
        self.drained_at: int | None = None

    def next(self, without: Collection[int] = ()) -> Assignment | None:
        at = next((at for at, (trial, _) in enumerate(self._left) if trial not in without), None)
        if at is None or self.drained_at is not None:
            return None
        trial, params = self._left.pop(at)
        self._params[trial] = params
        self.started.append(trial)
        return Assignment(trial=trial, params=params, seed=trial)

    def point(self, trial: int, epoch: int, metrics: Mapping[str, float], checkpoint: str | None) -> bool:
        self.points.append(Point(trial=trial, epoch=epoch, metrics=metrics, checkpoint=checkpoint))
        return self.stop_at.get(trial) == epoch

    def end(self, trial: int, state: TrialState, reason: str | None) -> None:
        assert trial not in self.ends, f"trial {trial} ended twice"
        self.ends[trial] = (state, reason)

    def back(self, trial: int) -> None:
        self.came_back.append(trial)
        before = next((at for at, (left, _) in enumerate(self._left) if left not in self._params), len(self._left))
        self._left.insert(before, (trial, self._params[trial]))

    def on_node(self, event: NodeEvent) -> None:
        self.node_events.append(event)

    def past_nodes(self) -> Sequence[NodeEvent]:
        return ()

    def tick(self) -> bool:
        if self.drain_after is not None and len(self.points) >= self.drain_after and self.drained_at is None:
            self.drained_at = len(self.started)
        return self.drained_at is not None

    # What the tests ask

    def nodes_that(self, happened: Happened) -> list[str]:
        return [event.node for event in self.node_events if event.happened is happened]

    def states(self) -> list[str]:
        return [self.ends[trial][0] for trial in sorted(self.ends)]

    def pids(self) -> set[int]:
        return {point.pid for point in self.points}

    def of(self, trial: int) -> list[Point]:
        return [point for point in self.points if point.trial == trial]

    def side_by_side(self, point: Point) -> int:
        """Most trials of which an epoch was trained at the moment when this epoch was half done."""
        half = (point.metrics["began"] + point.metrics["ended"]) / 2
        return sum(other.metrics["began"] <= half <= other.metrics["ended"] for other in self.points)


def trial(epochs: int = 1, **training: Any) -> dict[str, Any]:
    """Flat parameters of a trial; keywords are arguments of the loop."""
    return {"epochs": epochs} | {f"training.{key}": value for key, value in training.items()}


def payload(
    *,
    ranks: int = 1,
    gpu_share: float = 0.0,
    loop: str = LOOP,
    checkpoints: str | None = None,
    first: FirstCall | None = None,
) -> Payload:
    job = TrainingJob(
        trial=-1,
        configuration=None,  # type: ignore[arg-type]  # each trial's own
        data=DataSpec(name="digits", subset=600),
        model=ModelSpec(name="small_cnn"),
        ranks=ranks,
        gpu_share=gpu_share,
        cache_dir="unused",
    )
    return Payload(job=job, coordinator=None, bundles=[], checkpoints=checkpoints, loop=loop, first=first)


def cpu_slots(count: int, *, ranks: int = 1, cpus: float = 1.0) -> Slots:
    return Slots(count=count, bundles=tuple({"CPU": cpus} for _ in range(ranks)), gpu_share=0.0, slots_per_gpu=1)
