"""The live display: frames that fit any terminal, few plain lines elsewhere."""

import dataclasses
import io
from collections.abc import Iterator

import pytest
from reports.made_up_studies import made_up
from rich.console import Console

from tune_cnn.metrics import EpochPoint
from tune_cnn.reports.progress import Progress, RunningTrial
from tune_cnn.reports.terminal.frame import frame, sparkline
from tune_cnn.reports.terminal.live import LiveDisplay
from tune_cnn.reports.thinning import best_few

STUDY = made_up(12)


def progress(**changes: object) -> Progress:
    whole = Progress(
        study="fashion[red]lenet",
        objectives=STUDY.objectives,
        trials_done=7,
        trials_running=2,
        trials_failed=1,
        trials_budget=30,
        elapsed_s=75.0,
        time_left_s=200.0,
        hypervolume=1.2345,
        hypervolume_trace=[0.5, 0.9, 1.1, 1.2345],
        points=len(STUDY.points),
        front=STUDY.front,
        running=[
            RunningTrial(number=8, epoch=2, epochs=5, params={"batch_size": 64}, metrics={"accuracy": 0.8123}),
            RunningTrial(number=9, epoch=0, epochs=5, params={"batch_size": 32}),
        ],
        slots=2,
        mlflow="12 waiting: server unreachable",
    )
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]  # changed by name


def drawn(shown: Progress, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(frame(shown, width=width, height=height, past=STUDY.points), end="")
    return console.file.getvalue().rstrip("\n").split("\n")  # type: ignore[attr-defined]  # it is a StringIO


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def plain(clock: Clock) -> Iterator[tuple[LiveDisplay, io.StringIO]]:
    file = io.StringIO()
    with LiveDisplay(Console(file=file), clock=clock) as display:
        yield display, file


def lines(file: io.StringIO) -> list[str]:
    return file.getvalue().splitlines()


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (60, 20), (40, 12), (24, 8), (12, 5), (3, 2), (1, 1)])
def test_a_frame_fits_the_terminal(size: tuple[int, int]) -> None:
    """No frame is wider or taller than it may be, down to one cell."""
    width, height = size
    shown = drawn(progress(), width, height)
    assert len(shown) <= height
    assert all(len(line) <= width for line in shown)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
def test_a_frame_shows_budget_front_and_running_trials(size: tuple[int, int]) -> None:
    """At 80 × 24 already: counts, time left, hypervolume with its sparkline, plot, table, running trials, MLflow."""
    text = "\n".join(drawn(progress(), *size))
    for wanted in (
        "fashion[red]lenet", "7/30 trials", "1 failed", "3 min 20 s left", "1.234", "▁",
        "accuracy ↑",
        "train_time_s [s] ↓",
        "◆", "●", "┤", "┬", "#8", "2/5", "0.8123", "batch_size=64", "starting", "12 waiting",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_a_frame_without_points_says_so() -> None:
    """Before the first epoch there is nothing to draw, and the frame says that rather than fail."""
    empty = progress(front=(), hypervolume=None, hypervolume_trace=(), points=0, message="waiting for 2 of 2 slots")
    text = "\n".join(drawn(empty, 80, 24))
    assert "no epoch point yet" in text
    assert "waiting for 2 of 2 slots" in text


@pytest.mark.parametrize(
    "names", [("accuracy",), ("accuracy", "train_time_s", "peak_memory_mib"), ("images_per_s", "val_loss")]
)
def test_a_frame_draws_any_number_of_objectives(names: tuple[str, ...]) -> None:
    """One objective is drawn over time, three by their first two; all three stand in the table."""
    study = made_up(9, names)
    shown = drawn(progress(objectives=study.objectives, front=study.front), 120, 30)
    assert all(any(name in line for line in shown) for name in names)


def test_many_running_trials_leave_room_for_the_front() -> None:
    """A hundred running trials don't push the front off the screen; the ones not shown are counted."""
    running = [RunningTrial(number=n, epoch=1, epochs=5) for n in range(100)]
    text = "\n".join(drawn(progress(running=running), 80, 24))
    assert "more running" in text
    assert "◆" in text


def test_the_sparkline_ends_at_the_last_value() -> None:
    """However many values there are, the last is shown, and it has the highest block where it is the largest."""
    assert sparkline(list(range(1000)), 10) == "▁▂▃▃▄▅▆▆▇█"
    assert sparkline([1.0], 10) == "▄"


def test_the_best_few_hold_ends_and_knee() -> None:
    """Of a long front the two ends and the knee always show."""
    front = [EpochPoint(trial=n, epoch=1) for n in range(50)]
    for knee in (0, 1, 17, 48, 49):
        few = best_few(front, front[knee], 5)
        assert len(few) == 5
        assert {0, knee, 49} <= {p.trial for p in few}


def test_a_terminal_gets_a_frame_that_goes_away() -> None:
    """On a terminal the frame is drawn and, at the end, wiped; what was said stays."""
    file = io.StringIO()
    with LiveDisplay(Console(file=file, width=80, height=24, force_terminal=True, color_system=None)) as display:
        display.update(progress())
        display.report("a line [bold]as it stands[/bold]")
    written = file.getvalue()
    assert "7/30 trials" in written
    assert "a line [bold]as it stands[/bold]" in written
    assert written.rstrip("\n").endswith("\x1b[2K"), "the last frame is erased"


def test_plain_lines_tell_what_happened(plain: tuple[LiveDisplay, io.StringIO], clock: Clock) -> None:
    """Off a terminal: a line when trials end or the front grows, with counts, hypervolume and time left."""
    display, file = plain
    display.update(progress(trials_done=0, trials_failed=0, front=STUDY.front[:1]))
    clock.now_s += 2
    display.update(progress(trials_done=2, trials_failed=1, front=STUDY.front[:2]))
    first, second = lines(file)
    assert "study fashion[red]lenet" in first
    assert "2 trials ended, 1 of them failed" in second
    assert f"new on the front: trial {STUDY.front[1].trial} epoch {STUDY.front[1].epoch}" in second
    assert "hypervolume 1.234" in second
    assert "3 min 20 s left" in second
    assert "\x1b" not in file.getvalue()


def test_plain_lines_are_few(plain: tuple[LiveDisplay, io.StringIO], clock: Clock) -> None:
    """A hundred trials in a second make one line, which tells of them all; silence makes one in ten seconds."""
    display, file = plain
    for done in range(100):
        display.update(progress(trials_done=done, trials_failed=0))
        clock.now_s += 0.0099
    assert len(lines(file)) == 1
    clock.now_s += 0.1
    for _ in range(250):  # 25 s
        display.update(progress(trials_done=100, trials_failed=0))
        clock.now_s += 0.1
    told = lines(file)
    assert "100 trials ended" in told[1]
    assert len(told) == 4


def test_what_was_not_told_yet_is_told_at_the_end(clock: Clock) -> None:
    """The last trials' line isn't lost to the limit of one a second."""
    file = io.StringIO()
    with LiveDisplay(Console(file=file), clock=clock) as display:
        display.update(progress(trials_done=8))
        display.update(progress(trials_done=30))
    assert "30/30 trials" in lines(file)[-1]


def test_a_changed_message_is_told_once(plain: tuple[LiveDisplay, io.StringIO], clock: Clock) -> None:
    """MLflow's trouble and the driver's message are news when they change, not at each update."""
    display, file = plain
    for message in (None, "waiting for 1 of 2 slots", "waiting for 1 of 2 slots", None):
        display.update(progress(message=message))
        clock.now_s += 2
    assert file.getvalue().count("waiting for 1 of 2 slots") == 1
