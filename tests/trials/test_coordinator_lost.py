"""The coordinator's own process is lost or frozen: it is made anew, and the search doesn't notice."""

import os
import signal
import threading
import time

import pytest
from scripted_drivers import Script, cpu_slots, payload, trial

from tune_cnn.trials import tune_loop
from tune_cnn.trials.stalls import stalls_heard
from tune_cnn.trials.stalls.node_processes import born
from tune_cnn.trials.tune_adapter import TuneAdapter
from tune_cnn.trials.tune_loop import run_trials


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP], ids=str)
def test_a_coordinator_that_is_lost_or_frozen_is_made_anew(one_ray, monkeypatch, sent):
    """Trials wait for it, and go on; each epoch is told once, and the trial that began afterwards has its slot."""
    import ray

    monkeypatch.setattr(stalls_heard, "REVIVALS_S", (2.0, 20.0, 20.0))
    coordinators: list[object] = []

    class Noting(TuneAdapter):
        def __init__(self, driver, slots, coordinator, *args, **kwargs):
            coordinators.append(coordinator.actor)
            super().__init__(driver, slots, coordinator, *args, **kwargs)

    monkeypatch.setattr(tune_loop, "TuneAdapter", Noting)
    script = Script([trial(epochs=6, seconds=0.3), trial(epochs=6, seconds=0.3), trial()])
    pids: list[int] = []

    def hit() -> None:
        while len(script.points) < 3:
            time.sleep(0.05)
        (coordinator,) = coordinators
        pids.append(ray.get(coordinator.__ray_call__.remote(lambda self: os.getpid()), timeout=60))
        os.kill(pids[0], sent)

    hitting = threading.Thread(target=hit, daemon=True)
    hitting.start()
    run_trials(script, payload(), cpu_slots(2))
    hitting.join(60)
    assert script.states() == ["complete"] * 3
    assert sorted((point.trial, point.epoch) for point in script.points) == [
        *((number, epoch) for number in (0, 1) for epoch in range(1, 7)),
        (2, 1),
    ]
    assert len(script.pids()) == 2, "no trial's process was lost for it"
    assert not born(pids[0])
