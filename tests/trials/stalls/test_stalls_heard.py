"""What the driver hears of trials that stood still, of a coordinator that is asked every second."""

from pathlib import Path

from tune_cnn.trials.stalls.stall_round import Stall, Told
from tune_cnn.trials.stalls.stalls_heard import StallsHeard

import ray  # isort: skip


@ray.remote(num_cpus=0)
class Coordinator:
    """Tells of what it was handed."""

    def __init__(self) -> None:
        self._stalls: list[Stall] = []

    def add(self, stall: Stall) -> None:
        self._stalls.append(stall)

    def told(self, known: int) -> Told:
        return Told(incarnation="one", stalls=self._stalls[known:])


def test_a_stall_after_the_last_question_is_heard_where_its_process_is_lost(one_ray: None, tmp_path: Path) -> None:
    """The answer that is under way knows nothing of it yet; it was taken for the last word, and the reason was lost."""
    coordinator = Coordinator.remote()  # type: ignore[attr-defined]  # Ray's decorator adds it
    heard = StallsHeard(coordinator, str(tmp_path))
    heard._ask(0.0)
    ray.wait([heard._asked], timeout=60)
    ray.get(coordinator.add.remote(Stall(trial=3, why="stalled: its process is frozen", stacks="rank 0")), timeout=60)
    assert heard.why(3) == f"stalled: its process is frozen; all stacks: {tmp_path / 'trial-000003.txt'}"
    assert heard.why(3) is None
    assert heard.why(4) is None
    ray.kill(coordinator)
