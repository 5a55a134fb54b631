"""When a rank has stood still for too long, by the times that are fed in."""

import pytest

from tune_cnn.errors import STALLED
from tune_cnn.training.progress import Doing, Moved, Progress
from tune_cnn.trials.stalls.stalls import (
    COMPILE_S,
    FIRST_STEPS_S,
    LEAST_S,
    SILENT_S,
    START_S,
    WITHOUT_STEPS_S,
    Beat,
    Process,
    StallWatch,
    bound_s,
    frozen,
)


def beat(
    rank: int = 0,
    *,
    idle_s: float = 0.0,
    doing: Doing = Doing.TRAINING,
    longest_s: float | None = 1.0,
    compiles: bool = False,
    ranks: int = 1,
    pid: int = 7,
) -> Beat:
    return Beat(
        slot="a",
        trial=3 if rank == 0 else None,
        rank=rank,
        ranks=ranks,
        process=Process(node="n", host="host", pid=pid + rank, born="1"),
        moved=Moved(doing=doing, idle_s=idle_s, longest_s=longest_s, compiles=compiles),
    )


def looked(watch: StallWatch, until_s: int, *, since_s: int = 0) -> list[int]:
    """The seconds in which it suspects somebody, looking in every one."""
    return [now_s for now_s in range(since_s, until_s) if watch.look(float(now_s))]


@pytest.mark.parametrize(
    ("of", "timeout_s", "expected"),
    [
        (beat(longest_s=0.1), None, LEAST_S),
        (beat(longest_s=10.0), None, 200.0),
        (beat(longest_s=10.0), 30.0, 30.0),
        (beat(longest_s=None), None, FIRST_STEPS_S),
        (beat(longest_s=None), 5.0, FIRST_STEPS_S),
        (beat(compiles=True), None, COMPILE_S),
        (beat(doing=Doing.EVALUATING), 5.0, WITHOUT_STEPS_S),
        (beat(doing=Doing.CHECKPOINTING), 9000.0, 9000.0),
        (beat(doing=Doing.STARTING), None, START_S),
        (beat(doing=Doing.USERS_TRAINING, longest_s=None), None, START_S),
        (beat(doing=Doing.USERS_TRAINING, longest_s=200.0), None, 4000.0),
        (beat(doing=Doing.NOTHING), 5.0, None),
    ],
)
def test_what_is_allowed_depends_on_what_a_rank_does(of, timeout_s, expected):
    """Steps by the trial's own, at least a minute; what has no steps much longer; the user's bound is for steps."""
    assert bound_s(of.moved, timeout_s) == expected


def test_ranks_that_tell_of_no_progress_are_suspected_once_the_bound_is_over():
    """They are alive and tell so all the time."""
    watch = StallWatch()
    found = {}
    for now_s in range(100):
        if now_s % 2 == 0:
            watch.hear(beat(idle_s=float(now_s)), float(now_s))
        if suspicions := watch.look(float(now_s)):
            found[now_s] = suspicions[0]
    assert min(found) == LEAST_S + 1
    first = found[min(found)]
    assert (first.slot, first.trial, first.silent) == ("a", 3, ())
    assert first.why == (f"{STALLED} no progress for 61 s, where 60 are allowed; it is training on host, process 7")


def test_a_rank_that_is_busy_for_long_excuses_those_that_wait_for_it():
    """Rank 0 writes a checkpoint or is in the user's metrics; rank 1 sits in a collective and counts no steps."""
    watch = StallWatch()
    watch.hear(beat(0, doing=Doing.CHECKPOINTING, idle_s=300.0, ranks=2), 0.0)
    watch.hear(beat(1, idle_s=300.0, ranks=2), 0.0)
    assert watch.look(1.0) == []
    watch.hear(beat(0, idle_s=90.0, ranks=2), 2.0)
    (found,) = watch.look(2.0)
    assert "; rank 1 of 2 is training on host, process 8" in str(found.why), "the one that moved last is another"


def test_one_rank_that_moves_shows_that_all_do():
    """Collectives hold them together: whoever hangs stops all others within a step."""
    watch = StallWatch()
    watch.hear(beat(0, idle_s=1.0, ranks=2), 0.0)
    watch.hear(beat(1, idle_s=500.0, ranks=2), 0.0)
    assert watch.look(1.0) == []


def test_a_silent_rank_is_looked_at_early_and_then_left_alone_for_a_while():
    """It may be frozen. Where it is alive it is busy in a call that lets no other thread tell."""
    watch = StallWatch()
    watch.hear(beat(doing=Doing.STARTING), 0.0)
    (first, *_) = suspected = looked(watch, 30)
    assert first == SILENT_S + 1 and suspected[-1] == 29, "until somebody has looked"
    watch.found_alive("a", 30.0)
    assert looked(watch, 120, since_s=30)[0] == 91
    (found,) = watch.look(120.0)
    assert found.why is None and found.silent == (0,)


def test_only_what_the_kernel_has_stopped_is_frozen():
    """A busy or a waiting process is none; neither is one whose node did not answer."""
    watch = StallWatch()
    watch.hear(beat(0, ranks=2), 0.0)
    watch.hear(beat(1, ranks=2), 0.0)
    for second in range(22):
        found = watch.look(float(second))
    (suspicion,) = found
    assert frozen(suspicion, {0: "R (running)", 1: "S (sleeping)"}) is None
    assert frozen(suspicion, {}) is None
    assert frozen(suspicion, {0: "S (sleeping)", 1: "T (stopped)"}) == (
        f"{STALLED} rank 1 of 2 is frozen, in state T (stopped), on host, process 8: it was training"
    )


def test_a_watch_that_was_frozen_itself_blames_nobody():
    """Its process was stopped, or its whole machine: it has heard nobody, and all are given their time anew."""
    watch = StallWatch()
    watch.hear(beat(), 0.0)
    watch.look(1.0)
    assert watch.look(500.0) == []
    assert looked(watch, 600, since_s=501)[0] <= 500 + LEAST_S + 1


def test_ranks_that_were_made_anew_are_other_ones():
    """Their predecessors' silence is not theirs."""
    watch = StallWatch()
    for rank in (0, 1):
        watch.hear(beat(rank, ranks=2), 0.0)
    looked(watch, 10)
    watch.hear(beat(0, ranks=2, pid=100), 10.0)
    assert looked(watch, 30, since_s=10) == [], "rank 1 has not come yet, and its predecessor is forgotten"
    watch.forget("a")
    assert looked(watch, 300, since_s=30) == []


def test_many_ranks_tell_less_often():
    """The coordinator hears some hundreds a second, however many they are; a short bound wants more."""
    watch = StallWatch()
    for slot in range(800):
        watch.hear(Beat(**{**vars(beat()), "slot": str(slot)}), 0.0)
    watch.look(0.0)
    assert watch.beat_every_s == 4.0 and watch.silent_s == 20.0
    assert StallWatch(timeout_s=3.0).beat_every_s == 0.75
    assert StallWatch(timeout_s=3.0).silent_s == 3.0
    assert StallWatch().beat_every_s == 2.0


def test_progress_is_a_batch_or_the_next_phase_and_steps_are_timed_between_batches():
    """The time of an evaluation between two batches is none of a step."""
    clock = [0.0]
    progress = Progress(lambda: clock[0])
    progress.begin(compiles=True)
    with progress.doing(Doing.TRAINING):
        for clock[0] in (5.0, 6.0, 8.0):
            progress.moved()
        with progress.doing(Doing.EVALUATING):
            clock[0] = 100.0
            progress.moved()
            assert progress.now() == Moved(doing=Doing.EVALUATING, idle_s=0.0, longest_s=2.0, compiles=True)
        clock[0] = 103.0
        assert progress.now() == Moved(doing=Doing.TRAINING, idle_s=3.0, longest_s=2.0, compiles=True)
        progress.moved()
    clock[0] = 104.0
    assert progress.now() == Moved(doing=Doing.NOTHING, idle_s=1.0, longest_s=2.0, compiles=True)
    progress.begin(compiles=False)
    assert progress.now().longest_s is None
