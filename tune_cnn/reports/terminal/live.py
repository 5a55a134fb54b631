"""The live display of a search: a refreshing frame on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from tune_cnn.metrics import EpochPoint
from tune_cnn.reports.progress import Progress
from tune_cnn.reports.terminal.frame import frame
from tune_cnn.reports.terminal.plain import PlainLines

REFRESH_HZ = 2.0  # a frame costs some milliseconds of a core that the trials could use
_MOST_PAST = 400  # faint points kept: more would fill the plot


class LiveDisplay:
    """Shows what `update` is given, on stderr. Between updates the clock goes on and the frame refreshes itself."""

    def __init__(
        self,
        console: Console | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A frame where the console is a capable terminal, plain lines where it isn't."""
        self._console = console or Console(stderr=True)
        self._interactive = _capable(self._console)
        self._clock = clock
        self._progress: Progress | None = None
        self._updated_s = clock()
        self._past: dict[tuple[int, int], EpochPoint] = {}
        self._plain = PlainLines()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._interactive:
            # transient: the table of the front and the way to the report follow, and say more than the last frame.
            # What others print meanwhile, on either stream, goes above the frame.
            self._live = Live(_Frame(self), console=self._console, refresh_per_second=REFRESH_HZ, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was; in another thread too, where the one that shows is stuck."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        elif self._progress is not None:
            self._print(self._plain.line(self._progress, self._clock(), last=True))

    def update(self, progress: Progress) -> None:
        now_s = self._clock()
        self._past.update({(p.trial, p.epoch): p for p in progress.front})
        while len(self._past) > _MOST_PAST:
            del self._past[next(iter(self._past))]
        self._progress, self._updated_s = progress, now_s
        if self._live is None:
            self._print(self._plain.line(progress, now_s))

    def report(self, text: str) -> None:
        """A line of its own, above the frame."""
        self._print(text)

    def _print(self, text: str | None) -> None:
        if text is not None:
            # Text, not str: a study's names may hold what rich takes for markup
            self._console.print(Text(text), highlight=False, soft_wrap=True)

    def _now(self) -> Progress | None:
        """The last progress, its clocks moved on to now."""
        progress = self._progress
        if progress is None:
            return None
        since_s = self._clock() - self._updated_s
        left_s = progress.time_left_s
        return replace(
            progress,
            elapsed_s=progress.elapsed_s + since_s,
            time_left_s=None if left_s is None else max(0.0, left_s - since_s),
        )


class _Frame:
    """What rich asks for a frame, at each refresh, with the terminal's size of that moment."""

    def __init__(self, display: LiveDisplay) -> None:
        self._display = display

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        progress = self._display._now()
        if progress is None:
            yield Text("starting", "dim")
        else:
            past = list(self._display._past.values())
            # One line less than the terminal has: the cursor stands on a line of its own below the frame
            yield frame(progress, width=options.max_width, height=console.size.height - 1, past=past)


def _capable(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal and console.encoding.lower().startswith("utf")
