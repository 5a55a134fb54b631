"""One configuration trained alone, as `train` does."""

import os
import time
from dataclasses import replace

import pytest
from loops import fail, place
from scripted_drivers import LOOP, cpu_slots, payload

from tune_cnn.errors import TrialError
from tune_cnn.spec import Configuration
from tune_cnn.training.messages import TrainingJob
from tune_cnn.trials.cluster.machines import Slots
from tune_cnn.trials.cluster.remote import call_on_node
from tune_cnn.trials.dedicated import ProcessLost, alone, dedicated
from tune_cnn.trials.nodes.losses import Loss


def job(*, ranks: int = 1, epochs: int = 3, stop_epoch: int | None = None, **training: object) -> TrainingJob:
    configuration = Configuration(epochs=epochs, training=training)
    return replace(payload(ranks=ranks).job, trial=0, configuration=configuration, stop_epoch=stop_epoch)


@pytest.mark.parametrize("ranks", [1, 2])
def test_it_trains_to_the_last_epoch_and_tells_of_each(one_ray, ranks):
    told = []
    one = job(ranks=ranks)
    with dedicated(one, cpu_slots(1, ranks=ranks), loop=LOOP) as training:
        last = training.train(one, lambda result: told.append(result.epoch))
        assert training.test()["test_accuracy"] == 0.5
    assert told == [1, 2, 3]
    assert last is not None
    assert last.done


def test_it_keeps_the_stop_epoch(one_ray):
    one = job(epochs=9, stop_epoch=2)
    with dedicated(one, cpu_slots(1), loop=LOOP) as training:
        last = training.train(one, lambda result: None)
    assert last is not None
    assert last.epoch == 2


def test_one_process_trains_one_job_after_another(one_ray):
    """Also after one that failed; where it is told to stop, the result is not done."""
    one = job(epochs=3)
    with dedicated(one, cpu_slots(1), loop=LOOP) as training:
        assert training.train(one, lambda result: None).done
        with pytest.raises(TrialError, match="the loss became NaN"):
            training.train(job(fault="raise", rank=0), lambda result: None)
        stopped = training.train(job(epochs=5), lambda result: result.epoch == 2)
        assert (stopped.epoch, stopped.done) == (2, False)
        assert training.train(job(epochs=2), lambda result: None).epoch == 2


def test_alone_reserves_whole_devices_and_leaves_the_share():
    """Nobody else gets onto the device; the trial keeps the cap of its share."""
    bundle = {"CPU": 2.0, "GPU": 0.25, "accelerator_type:A": 0.001}
    shared = Slots(count=4, bundles=(bundle,), gpu_share=0.25, slots_per_gpu=4)
    whole = alone(shared)
    assert whole.bundles == ({**bundle, "GPU": 1.0},)
    assert (whole.count, whole.gpu_share, whole.slots_per_gpu) == (1, 0.25, 4)
    assert alone(cpu_slots(2)).bundles == cpu_slots(2).bundles


@pytest.mark.parametrize(
    ("fault", "rank", "said"),
    [("raise", 0, "the loss became NaN"), ("raise", 1, "the loss became NaN"), ("die", 0, "process was lost")],
)
def test_a_fault_is_raised_as_the_trials(one_ray, fault, rank, said):
    one = job(ranks=2, fault=fault, rank=rank)
    with pytest.raises(TrialError, match=said), dedicated(one, cpu_slots(1, ranks=2), loop=LOOP) as training:
        training.train(one, lambda result: None)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_node_without_memory_left_is_lack_of_memory(one_ray, rank):
    """Ray has ended the process for its node's sake: the configuration doesn't fit, and no bug has been met."""
    one = job(ranks=2, fault="node full", rank=rank)
    with (
        pytest.raises(MemoryError, match="its node had none left"),
        dedicated(one, cpu_slots(1, ranks=2), loop=LOOP) as it,
    ):
        it.train(one, lambda result: None)


def test_its_resources_are_free_afterwards(one_ray):
    """All five cores, again and again."""
    for _ in range(3):
        with dedicated(job(), cpu_slots(1, cpus=5), loop=LOOP) as training:
            training.test()


def test_a_function_runs_on_a_node_in_another_process(one_ray):
    """The users' modules are found there as they are here, whoever started Ray."""
    found = call_on_node("loops:place", {"CPU": 1.0})
    assert found["pid"] != place()["pid"] == os.getpid()


def test_what_a_function_raised_there_is_raised_here(one_ray):
    with pytest.raises(TrialError, match="as it was raised"):
        fail()
    with pytest.raises(TrialError, match="as it was raised"):
        call_on_node("loops:fail", {"CPU": 1.0})


def test_a_training_whose_process_is_frozen_is_lost_and_says_so(one_ray, tmp_path):
    """Its waiting is over as soon as a search's would be; a fresh process may train it."""
    one = job(fault="freeze", rank=0)
    with (
        pytest.raises(ProcessLost, match=r"was lost: stalled: its process is frozen, .*; all stacks: .*000000\.txt"),
        dedicated(one, cpu_slots(1), loop=LOOP, stall_timeout_s=3.0, stalls=str(tmp_path)) as training,
    ):
        training.train(one, lambda result: None)


def test_a_user_who_wants_to_stop_does_not_wait_for_the_epoch(one_ray):
    """The ranks leave it with a checkpoint, as on a node that is going."""
    one = job(seconds=600.0)
    began_s = time.monotonic()
    with (
        pytest.raises(ProcessLost, match="node is going") as left,
        dedicated(one, cpu_slots(1), loop=LOOP, leaving=lambda: time.monotonic() - began_s > 1.0) as training,
    ):
        training.train(one, lambda result: None)
    assert left.value.loss is Loss.MOVED


def test_a_wait_for_room_ends_where_the_user_wants_to_stop(one_ray):
    """What it asked for is given back."""
    with (
        pytest.raises(ProcessLost, match="had no room"),
        dedicated(job(), cpu_slots(1, cpus=99), loop=LOOP, leaving=lambda: True),
    ):
        raise AssertionError("there is no room")
    with dedicated(job(), cpu_slots(1, cpus=5), loop=LOOP) as training:
        training.test()
