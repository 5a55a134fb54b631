"""What the dry run of a question promises of the command is what the command does."""

import pytest

from tune_cnn.reports.terminal.tables.profile import reckoned
from tune_cnn.study.commands.questions import show_dry_run
from tune_cnn.study.comparing.asked import Asked
from tune_cnn.study.comparing.comparison import Comparison
from tune_cnn.study.gradients.course import show_cost
from tune_cnn.study.questions.opening import over_limit

QUESTION = Comparison(Asked(over=("batch_size",), values={"batch_size": (32, 64)}))


def test_more_runs_than_the_limit_are_refused_with_their_number_and_time() -> None:
    assert over_limit(QUESTION, 6, 6, lambda: 60.0) is None
    assert over_limit(QUESTION, 7, None, lambda: 60.0) is None
    said = over_limit(QUESTION, 7, 6, lambda: 60.0)
    assert said == (
        "compare: 7 runs are more than --limit 6, which take some 60 s here; compare fewer values, or raise --limit"
    )
    assert "which take" not in str(over_limit(QUESTION, 7, 6, lambda: None))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"runs": 6}, "6 runs are left; that takes some 30 s. Without --dry-run the same command starts."),
        ({"runs": 1}, "1 run is left; that takes some 30 s."),
        ({"runs": 6, "then_at_most": 3}, "The winners together come on top, at most 3 runs. Without --dry-run"),
        ({"runs": 0}, "no run is left. Without --dry-run the same command shows the answer."),
        ({"runs": 6, "seconds": None}, "6 runs are left; how long that takes can't be told."),
        ({"runs": 6, "refused": "compare: 6 runs are more than --limit 5"}, "the command is refused: compare: 6 runs"),
    ],
)
def test_a_comparison_says_what_the_command_will_do(
    found: dict[str, object], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    show_dry_run({"study": "s", "seconds": 30.0, "refused": None, "then_at_most": 0, **found})
    assert said in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"runs": 2}, "2 trainings, measured before 3 epochs each; that takes some 30 s."),
        ({"runs": 1, "measured_epochs": [1]}, "1 training, measured before 1 epoch each;"),
        ({"runs": 0}, "no training is left. Without --dry-run the same command shows the answer."),
    ],
)
def test_gradients_say_what_the_command_will_do(
    found: dict[str, object], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    show_cost({"study": "s", "seconds": 30.0, "measured_epochs": [1, 2, 3], **found})
    assert said in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"runs": 6}, "2 cells; 6 measurements, some"),
        ({"runs": 4, "known": 1}, "2 cells, 1 of them known already; 3 measurements, some"),
        ({"runs": 1, "cells": 1}, "1 of 2 cells; 1 measurement, some"),
        ({"runs": 2, "known": 2}, "2 of them known already; nothing is left to measure. Without --dry-run"),
    ],
)
def test_a_profile_counts_what_is_measured(
    found: dict[str, object], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A cell that is known is taken over, and nothing of it is measured."""
    reckoned({"study": "s", "cells": 2, "in_all": 2, "known": 0, "seconds": 30.0, **found})
    assert said in " ".join(capfd.readouterr().out.split())
