"""The progress of a search as plain lines, for logs and pipes: when something happened, and seldom otherwise."""

from tune_cnn.reports.numbers import duration, quantity
from tune_cnn.reports.progress import Progress
from tune_cnn.reports.terminal.frame import counts

QUIET_S = 1.0  # no two lines closer than this: what happens in between is told together
HEARTBEAT_S = 10.0


class PlainLines:
    """Decides which line a progress is worth, if any."""

    def __init__(self) -> None:
        self._told: Progress | None = None
        self._told_at = float("-inf")

    def line(self, progress: Progress, now_s: float, *, last: bool = False) -> str | None:
        """The line to print now, or None. `last`: the search ends, so what hasn't been told yet is told now."""
        news = self._news(progress)
        quiet = now_s - self._told_at
        if not news and (last or quiet < HEARTBEAT_S):
            return None
        if quiet < QUIET_S and not last:
            return None
        self._told, self._told_at = progress, now_s
        return " · ".join([*_state(progress), *news])

    def _news(self, progress: Progress) -> list[str]:
        """What changed since the last line, or what to say in the first."""
        told = self._told
        if told is None:
            return [f"study {progress.study}", *(text for text in _notes(progress) if text)]
        news = []
        if progress.trials_done != told.trials_done or progress.trials_failed != told.trials_failed:
            news.append(_ended(told, progress))
        grown = _front_changed(told, progress)
        if grown:
            news.append(grown)
        return news + [text for text, was in zip(_notes(progress), _notes(told), strict=True) if text and text != was]


def _state(progress: Progress) -> list[str]:
    state = [counts(progress), f"{len(progress.front)} on the front"]
    if progress.hypervolume is not None:
        state.append(f"hypervolume {progress.hypervolume:.4g}")
    state.append(f"{duration(round(progress.elapsed_s))} elapsed")
    if progress.time_left_s is not None:
        state.append(f"{duration(round(progress.time_left_s))} left")
    return state


def _ended(told: Progress, progress: Progress) -> str:
    ended, failed = progress.trials_done - told.trials_done, progress.trials_failed - told.trials_failed
    text = f"{ended} trial{'s' if ended != 1 else ''} ended"
    return text + (f", {failed} of them failed" if failed else "")


def _front_changed(told: Progress, progress: Progress) -> str | None:
    before = {(p.trial, p.epoch) for p in told.front}
    new = [p for p in progress.front if (p.trial, p.epoch) not in before]
    if not new:
        return None
    point = new[-1]
    values = ", ".join(f"{m.name} {quantity(point.metrics.get(m.name), m)}" for m in progress.objectives)
    more = f" and {len(new) - 1} more" if len(new) > 1 else ""
    return f"new on the front: trial {point.trial} epoch {point.epoch} ({values}){more}"


def _notes(progress: Progress) -> list[str | None]:
    mlflow = f"MLflow: {progress.mlflow}" if progress.mlflow else None
    return [progress.message, mlflow]
