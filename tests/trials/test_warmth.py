"""Trials follow one another in the same processes, and every slot is used all the time."""

from collections import Counter

from scripted_drivers import Script, cpu_slots, payload, trial

from tune_cnn.trials.tune_loop import run_trials


def test_few_processes_train_all_trials_side_by_side(one_ray):
    """Trials far shorter than a process's start lose no slot: all but the last few have company."""
    script = Script([trial(epochs=2, seconds=0.02) for _ in range(40)])
    run_trials(script, payload(), cpu_slots(2))
    assert script.states() == ["complete"] * 40
    assert len(script.pids()) == 2
    by_pid = Counter(point.pid for point in script.points)
    assert min(by_pid.values()) >= 20, f"one slot lay idle: {by_pid}"


def test_both_slots_train_at_the_same_time(one_ray):
    script = Script([trial(epochs=3, seconds=0.1) for _ in range(8)])
    run_trials(script, payload(), cpu_slots(2))
    company = [script.side_by_side(point) for point in script.points]
    assert max(company) == 2
    assert company.count(2) >= 16, f"of 24 epochs, these trained beside: {company}"


def test_the_first_trial_waits_until_all_slots_are_up(one_ray):
    """Else the cold starts of other slots would fall into its clock."""
    script = Script([trial(epochs=1, seconds=0.3) for _ in range(4)])
    run_trials(script, payload(loop="loops:StaggeredLoop"), cpu_slots(4))
    assert len(script.pids()) == 4
    began = [point.metrics["began"] for point in script.points]
    ended = [point.metrics["ended"] for point in script.points]
    assert max(began) < min(ended)


def test_a_trial_more_than_expected_slots_is_not_waited_for(one_ray):
    """A search that ends before every slot had a trial does not wait for the others to come up."""
    script = Script([trial()])
    run_trials(script, payload(), cpu_slots(4))
    assert script.states() == ["complete"]


def test_each_epoch_is_told_once_and_in_order(one_ray):
    script = Script([trial(epochs=3) for _ in range(4)])
    run_trials(script, payload(), cpu_slots(2))
    for number in range(4):
        assert [point.epoch for point in script.of(number)] == [1, 2, 3]


def test_cotenants_are_counted(one_ray):
    """While there are some; the one that goes on alone has none."""
    script = Script([trial(epochs=2, seconds=0.2), trial(epochs=8, seconds=0.1)])
    run_trials(script, payload(), cpu_slots(2))
    assert script.of(0)[-1].metrics["cotenants"] == 1.0
    assert [point.metrics["cotenants"] for point in script.of(1)][0::7] == [1.0, 0.0]


def test_an_empty_search_ends(one_ray):
    script = Script([])
    run_trials(script, payload(), cpu_slots(2))
    assert script.ends == {}
