"""CPU time of a rank and its loader workers per second of training."""

from collections.abc import Mapping

from tune_cnn.training.meters.meter import Meter
from tune_cnn.training.meters.processes import Family


class CpuUtil(Meter):
    """cpu_util_pct: CPU seconds (user and system) of this process and its descendants per second within stretches,
    over the whole trial; 100 is one core. Ranks: the sum. The kernel counts in ticks of some 10 ms, so a trial that
    trains for less tells nothing of use.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self.begin()

    def begin(self) -> None:
        self._cpu_time_s = 0.0
        self._wall_s = 0.0

    def enter(self, now_s: float) -> None:
        self._family.refresh()
        self._cpu_before_s = self._family.cpu_time_s()
        self._entered_s = now_s

    def leave(self, now_s: float) -> None:
        self._family.refresh()  # a worker started meanwhile counts from its start
        self._cpu_time_s += max(0.0, self._family.cpu_time_s() - self._cpu_before_s)
        self._wall_s += now_s - self._entered_s

    def read(self) -> dict[str, float]:
        return {"cpu_util_pct": 100 * self._cpu_time_s / self._wall_s} if self._wall_s > 0 else {}

    def state_dict(self) -> dict[str, float]:
        return {"cpu_time_s": self._cpu_time_s, "cpu_wall_s": self._wall_s}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self._cpu_time_s = state["cpu_time_s"]
        self._wall_s = state["cpu_wall_s"]
