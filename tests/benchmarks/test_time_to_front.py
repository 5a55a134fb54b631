"""The sums of the table of times to the front; its runs are what the commands' own tests hold."""

import pytest
from contest import Epoch, Trace
from time_to_front import budgets, table, timed_by


def run(
    system: str,
    found: list[tuple[float, int, float]],
    *,
    budget_s: float = 100.0,
    repeat: int = 0,
    exit_code: int = 0,
    started_s: float = 0.0,
) -> Trace:
    """`found`: when, epoch and accuracy of each of its points."""
    epochs = [
        Epoch(trial=str(k), epoch=epoch, config={"batch_size": 32}, accuracy=accuracy, train_time_s=9.0, at_s=at_s)
        for k, (at_s, epoch, accuracy) in enumerate(found)
    ]
    return Trace(
        system=system,
        repeat=repeat,
        started_s=started_s,
        exited_s=started_s + budget_s + 5.0,
        first_step_s=started_s + 1.0,
        epochs=epochs,
        exit_code=exit_code,
        budget_s=budget_s,
    )


ALONE_S = {timed_by(system, {"batch_size": 32}): seconds for system, seconds in {"tune_cnn": 1.0, "r1": 2.0}.items()}
OURS = [(10.0, 1, 0.5), (20.0, 2, 0.9)]


def rows(*traces: Trace) -> dict[str, dict[str, object]]:
    return {row["system"]: row for row in table(traces, ALONE_S)}


def test_times_count_from_the_command_and_are_compared_repeat_by_repeat() -> None:
    """r1's point is as accurate as ours and takes twice as long alone, so it comes to no level that our front sets."""
    told = rows(run("tune_cnn", OURS), run("r1", [(30.0, 1, 0.5), (50.0, 2, 0.9)], budget_s=300.0))
    assert told["tune_cnn"]["to 95%"] == "20 (20 … 20) s"
    assert told["tune_cnn"]["× at 95%"] == "1.0 (1.0 … 1.0)"
    assert (told["r1"]["budget"], told["r1"]["to 95%"]) == ("300 s", "300 (300 … 300) s, 1 never")
    assert told["r1"]["× at 95%"] == "≥ 15.0 (15.0 … 15.0)"


def test_a_rival_with_our_training_is_timed_by_it() -> None:
    told = rows(run("tune_cnn", OURS), run("r3+ours", [(30.0, 1, 0.5), (50.0, 2, 0.9)]))
    assert told["r3+ours"]["to 95%"] == "50 (50 … 50) s"
    assert told["r3+ours"]["× at 95%"] == "2.5 (2.5 … 2.5)"


def test_what_comes_after_the_budget_is_too_late() -> None:
    """Neither for a level nor for the hypervolume at the end."""
    told = rows(run("tune_cnn", OURS), run("r3+ours", [(30.0, 1, 0.5), (120.0, 2, 0.9)]))
    never = rows(run("tune_cnn", OURS), run("r3+ours", [(30.0, 1, 0.5)]))
    assert told["r3+ours"]["to 95%"] == "100 (100 … 100) s, 1 never"
    assert told == never


def test_late_points_set_no_reference() -> None:
    """A far better one, a second after the budget that counts from the command: ours stays at the whole of the best."""
    late = [(1030.0, 1, 0.5), (1101.0, 2, 0.99)]
    told = rows(run("tune_cnn", OURS), run("r3+ours", late, started_s=1000.0))
    assert told["tune_cnn"]["hypervolume at the end"] == "1.000 (1.000 … 1.000)"
    assert told["tune_cnn"]["to 95%"] == "20 (20 … 20) s"


def test_a_failed_run_is_counted_as_failed_and_nowhere_else() -> None:
    """Not as one that never reached a level, nor its points in the reference; the other repeats are paired."""
    theirs = [(30.0, 1, 0.5), (50.0, 2, 0.9)]
    told = rows(
        run("tune_cnn", OURS, repeat=0),
        run("r3+ours", [(5.0, 2, 0.99)], repeat=0, exit_code=1),
        run("tune_cnn", [(10.0, 1, 0.5), (25.0, 2, 0.9)], repeat=1),
        run("r3+ours", theirs, repeat=1),
        run("tune_cnn", [], repeat=2, exit_code=-9),
        run("r3+ours", theirs, repeat=2),
    )
    assert told["tune_cnn"]["n"] == told["r3+ours"]["n"] == "2, 1 failed"
    assert told["tune_cnn"]["to 95%"] == "22 (20 … 25) s"
    assert told["r3+ours"]["to 95%"] == "50 (50 … 50) s"
    assert told["r3+ours"]["× at 95%"] == "2.0 (2.0 … 2.0)"
    assert told["r3+ours"]["hypervolume at the end"] == "1.000 (1.000 … 1.000)"


def test_a_system_that_always_fails_has_no_figures() -> None:
    told = rows(run("tune_cnn", OURS), run("r3+ours", OURS, exit_code=1))
    assert told["r3+ours"]["n"] == "0, 1 failed"
    assert {told["r3+ours"][name] for name in ("hypervolume at the end", "to 95%", "× at 95%")} == {"–"}


def test_each_repeat_has_a_reference_of_its_own() -> None:
    """Its images are its own: what is found on others' says nothing of what could be found on these."""
    told = rows(run("tune_cnn", OURS, repeat=0), run("tune_cnn", OURS[:1], repeat=1))
    assert told["tune_cnn"]["hypervolume at the end"] == "1.000 (1.000 … 1.000)"


def test_no_ratio_is_told_of_a_level_that_ours_never_reached() -> None:
    theirs = [(30.0, 1, 0.5), (50.0, 2, 0.9)]
    told = rows(
        run("tune_cnn", OURS, repeat=0),
        run("r3+ours", theirs, repeat=0),
        run("tune_cnn", OURS[:1], repeat=1),
        run("r3+ours", theirs, repeat=1),
    )
    assert told["tune_cnn"]["to 95%"] == "60 (20 … 100) s, 1 never"
    assert told["r3+ours"]["× at 95%"] == "–"


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [(["180"], {"": 180.0}), (["180", "r1=600"], {"": 180.0, "r1": 600.0}), (["r1=600"], {"": 300.0, "r1": 600.0})],
)
def test_budgets(asked: list[str], seconds: dict[str, float]) -> None:
    assert budgets(asked) == seconds
