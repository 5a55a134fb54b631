"""Confirming a front: what is planned, that nothing is trained twice, and what is refused."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from study.confirming.made_up_confirming import GIVEN, SPEC_OF, Training, confirm
from study.made_up import SPEC, Command, make_study, one_message, spec_with
from tune_cnn import Study
from tune_cnn.errors import InputError, SpecError
from tune_cnn.front.confirmed import SeedRun
from tune_cnn.records.store import Store
from tune_cnn.spec import parse_spec
from tune_cnn.study.archive import read_archive
from tune_cnn.study.checks.preflight import check_unchanged
from tune_cnn.study.confirming.plan import is_left, plan, settings
from tune_cnn.study.seeds import confirm_seed
from tune_cnn.study.session.signals import interruptible


def test_the_plan_is_the_same_at_every_start(home: Path) -> None:
    """Seed by seed over the candidates; seeds of their own, none of them the searched one's."""
    archive = read_archive("made-up", home, None)
    runs = plan(archive, SPEC_OF, settings(SPEC_OF, 2, 3))
    assert runs == plan(archive, SPEC_OF, settings(SPEC_OF, 2, 3))
    assert [run.number for run in runs] == [0, 0, 1, 1, 2, 2]
    assert len({run.seed for run in runs}) == 6
    assert {run.key for run in runs} <= set(GIVEN)
    assert plan(archive, SPEC_OF, settings(SPEC_OF, 3, 3))[0].seed in {run.seed for run in runs}


def test_seeds_never_repeat_the_searched_one() -> None:
    """And stay what a seed may be."""
    seeds = [confirm_seed(trial, epoch, number) for trial in range(30) for epoch in (1, 9) for number in range(9)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert not set(seeds) & set(range(30))


def test_what_was_asked_for_goes_before_the_spec() -> None:
    """The command's numbers, the spec's, 5 points and 3 seeds."""
    spec = spec_with(confirm={"points": 7, "seeds": 4})
    assert settings(spec, None, 2).model_dump() == {"points": 7, "seeds": 2}
    assert settings(SPEC_OF, 1, None).model_dump() == {"points": 1, "seeds": 3}
    for points, seeds in ((0, None), (None, -1)):
        with pytest.raises(InputError, match="must be at least 1"):
            settings(spec, points, seeds)


def test_killed_in_the_middle_it_goes_on_with_the_first_run_that_has_not_ended(home: Path) -> None:
    """Every run that ended is in the store; none is trained again."""
    first, second, third = Training(dies_at=4), Training(), Training()
    with pytest.raises(KeyboardInterrupt):
        confirm(home, first)
    assert confirm(home, second)
    assert len(first.asked) == 4
    assert sorted(first.asked + second.asked) == sorted((*key, n) for key in GIVEN for n in range(3))
    assert confirm(home, third)
    assert third.asked == []


def test_more_seeds_only_add_runs(confirmed: Path) -> None:
    """And fewer take none away."""
    more, fewer = Training(), Training()
    assert confirm(confirmed, more, seeds=4)
    assert sorted(more.asked) == [(*key, 3) for key in sorted(GIVEN)]
    assert confirm(confirmed, fewer, points=1, seeds=1)
    assert fewer.asked == []
    assert {one.seeds for one in Study("made-up", home=confirmed).front().confirmed} == {4}


def test_ctrl_c_ends_before_the_next_run(home: Path) -> None:
    """The first signal lets the run end; it says that something is left."""
    told, training = [], Training()

    def tell(line: str) -> None:
        told.append(line)
        if len(told) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    stopped: list[bool] = []
    with interruptible(lambda: stopped.append(True)):
        assert not confirm(home, training, report=tell, stopping=lambda: bool(stopped))
    assert len(training.asked) == 2
    assert "run 2 of 9: trial" in told[1]


def test_a_failed_run_is_recorded_and_shown(home: Path, command: Command) -> None:
    """A candidate of which every run failed is not confirmed, and export leaves it to the last."""
    told: list[str] = []
    assert confirm(home, Training(fails=(1, 2)), report=told.append)
    assert "trial 1 at epoch 2, seed 1: infeasible: out of memory" in told[2] + told[0] + told[1]
    assert "not confirmed, every run failed: out of memory" in command("front", "made-up").out
    found = Study("made-up", home=home).front()
    assert [one.key for one in found.confirmed] == [(0, 1), (0, 2)]
    with pytest.raises(Exception, match="none of"):
        found.best(min_accuracy=0.9)
    status = command("status", "made-up", "--json").document
    assert status["confirm"] == {
        "points": 3, "confirmed": 2, "runs": {"complete": 6, "failed": 0, "infeasible": 3, "planned": 0},
    }  # fmt: skip


def test_spec_of_a_study_may_change_how_it_is_confirmed() -> None:
    """More seeds or points on a resume are no other study; the rest still is."""
    before = spec_with(confirm={"points": 2, "seeds": 2}).model_dump()
    check_unchanged(before, spec_with(confirm={"points": 3, "seeds": 9}))
    check_unchanged(before, SPEC_OF)
    with pytest.raises(InputError, match="seed"):
        check_unchanged(before, spec_with(confirm={}, seed=5))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seeds": 0}, r"confirm.seeds: must be at least 1, got 0"),
        ({"points": 0}, r"confirm.points: must be at least 1, got 0"),
        ({"seed": 3}, r"unknown key 'confirm.seed'; did you mean 'seeds'"),
        (3, r"confirm: "),
    ],
)
def test_bad_confirm_in_a_spec_is_refused(given: Any, said: str) -> None:
    """With the key, what must hold and what came."""
    with pytest.raises(SpecError, match=said):
        parse_spec({**SPEC, "confirm": given})


def test_search_that_is_spent_goes_on_where_its_confirmation_is_not(home: Path) -> None:
    """The same command again trains what is left of it, and after that nothing."""
    spec = spec_with(confirm={"points": 3, "seeds": 3})
    assert is_left(read_archive("made-up", home, None), spec)
    assert not is_left(read_archive("made-up", home, None), SPEC_OF)
    assert confirm(home, Training())
    assert not is_left(read_archive("made-up", home, None), spec)


def test_confirm_without_a_front_is_refused(command: Command, home: Path, tmp_path: Path) -> None:
    """Exit 2 and what to do, before Ray is started: no point, none that meets the constraints, no such study."""
    make_study(home, "young", points=False)
    one_message(command("confirm", "young"), 2, "has no point yet, so there is nothing to confirm")
    make_study(home, "tight", constraints={"peak_memory_mib": {"max": 1}})
    one_message(command("confirm", "tight"), 2, "nothing to confirm", "peak_memory_mib", "nearest")
    one_message(command("confirm", "nowhere"), 2, "does not exist")
    one_message(command("confirm", "made-up", "--seeds", "0"), 2, "seeds must be at least 1, got 0")
    one_message(command("confirm", "made-up", "--points", "-3"), 2, "points must be at least 1, got -3")


def test_a_study_that_is_being_searched_is_not_confirmed(command: Command, home: Path) -> None:
    """The search's lease holds it off, and says who has it."""
    store = Store(home)
    with store.lease("made-up"):
        one_message(command("confirm", "made-up"), 2, "being searched", str(os.getpid()))
    store.close()
    assert store_runs(home) == []


def store_runs(home: Path) -> list[SeedRun]:
    store = Store(home)
    try:
        return store.confirmations.runs("made-up")
    finally:
        store.close()
