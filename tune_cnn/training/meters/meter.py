"""What a meter is, and the time-weighted mean that several of them need."""

from collections.abc import Mapping


class Meter:
    """Measures over stretches of training. As it stands it measures nothing: the meter of absent hardware.

    Times are readings of one monotonic clock, in seconds. `sample` is called from a thread of its own, never while
    another method runs.
    """

    def begin(self) -> None:
        """A trial starts: everything to zero."""

    def enter(self, now_s: float) -> None:
        """A stretch of training starts."""

    def sample(self, now_s: float) -> None:
        """Some moment within a stretch."""

    def leave(self, now_s: float) -> None:
        """The stretch ends."""

    def read(self) -> dict[str, float]:
        """This rank's metrics by their names in `tune_cnn.metrics.METRICS`; absent where they can't be measured."""
        return {}

    def state_dict(self) -> dict[str, float]:
        """What must survive a restart of the trial."""
        return {}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from a former process's numbers; `state` is all meters' together."""

    def close(self) -> None:
        """Give back what the meter holds."""


class TimeMean:
    """A mean in which each value counts for the seconds that it stands for."""

    def __init__(self) -> None:
        self.weighted = 0.0
        self.seconds = 0.0

    def add(self, value: float, seconds: float) -> None:
        if seconds > 0:
            self.weighted += value * seconds
            self.seconds += seconds

    @property
    def mean(self) -> float | None:
        """None where nothing was measured."""
        return self.weighted / self.seconds if self.seconds > 0 else None
