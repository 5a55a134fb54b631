"""The sums of the table of times to the front; its runs are what the commands' own tests hold."""

import pytest
from contest import Epoch, Trace
from time_to_front import budgets, table, timed_by


def run(system: str, found: list[tuple[float, int, float]], *, budget_s: float = 100.0) -> Trace:
    """`found`: when, epoch and accuracy of each of its points."""
    epochs = [
        Epoch(trial=str(k), epoch=epoch, config={"batch_size": 32}, accuracy=accuracy, train_time_s=9.0, at_s=at_s)
        for k, (at_s, epoch, accuracy) in enumerate(found)
    ]
    return Trace(system=system, started_s=0.0, first_step_s=1.0, epochs=epochs, exit_code=0, budget_s=budget_s)


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
    told = rows(run("tune_cnn", OURS), run("r3+ours", [(30.0, 1, 0.5), (120.0, 2, 0.9)]))
    assert told["r3+ours"]["to 95%"] == "100 (100 … 100) s, 1 never"


def test_no_ratio_is_told_of_a_level_that_ours_never_reached() -> None:
    told = rows(run("tune_cnn", OURS), run("tune_cnn", OURS[:1]), run("r3+ours", [(30.0, 1, 0.5), (50.0, 2, 0.9)]))
    assert told["tune_cnn"]["to 95%"] == "60 (20 … 100) s, 1 never"
    assert told["r3+ours"]["× at 95%"] == "–"


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [(["180"], {"": 180.0}), (["180", "r1=600"], {"": 180.0, "r1": 600.0}), (["r1=600"], {"": 300.0, "r1": 600.0})],
)
def test_budgets(asked: list[str], seconds: dict[str, float]) -> None:
    assert budgets(asked) == seconds
