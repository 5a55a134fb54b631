"""Nodes that come and go under a search: three real ones on this machine."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from drivers import drive

LOOPS = str(Path(__file__).parents[1] / "loops.py")
HELP = """
import threading, time
import ray
from pathlib import Path
from tune_cnn.spec import Resources
from ray._raylet import GcsClient
from tune_cnn.trials.nodes.node_health import Happened

def ended(script):
    return [script.ends[number] for number in sorted(script.ends)]

def events(script):
    return [[e.node, str(e.happened), e.trial] for e in script.node_events if e.happened is not Happened.ENDED]

def unused(script):
    'The number of a new trial.'
    return 1 + max([*script._params, *(number for number, _ in script._left)])

class Until(Script):
    'Goes on with trials like its first one until something has happened to a node; then those that run may end.'
    happened = None

    def next(self, without=()):
        if not self.nodes_that(self.happened) and len(self.started) < 500:
            self._left.append((unused(self), self._first))
        return super().next(without)

    @classmethod
    def new(cls, happened, first):
        script = cls([first] * 2)
        script.happened, script._first = happened, first
        return script

class UntilBack(Script):
    'Its first two trials go on until one of them came back; then short ones follow until a third process trained.'
    def point(self, trial, *told):
        super().point(trial, *told)
        return trial < 2 and bool(self.came_back)

    def next(self, without=()):
        if self.came_back and len(self.pids()) < 3 and len(self.started) < 500:
            self._left.append((unused(self), trial(epochs=3, seconds=0.3)))
        return super().next(without)

def once(condition, then):
    'In a thread: as soon as the condition holds, do it.'
    def wait():
        while not condition():
            time.sleep(0.05)
        then()
    threading.Thread(target=wait, daemon=True).start()
"""


@pytest.fixture
def three_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of a head without room for trials and two nodes with room for one each."""
    from ray.cluster_utils import Cluster

    began_in = Path.cwd()
    os.chdir(tmp_path)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        cluster.nodes_of_trials = [cluster.add_node(num_cpus=1) for _ in range(2)]
        cluster.wait_for_nodes()
        yield cluster
    finally:
        os.chdir(began_in)
        cluster.shutdown()


class Search:
    """One in a process of its own, which goes on beside the test."""

    def __init__(self, script: str, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(1)
        self._drive = self._pool.submit(drive, script, cwd=folder, RAY_AUTH_MODE="disabled")

    def wait_for(self, marker: str) -> None:
        """Until the search has made this file; or has ended, which `result` raises."""
        while not (self._folder / marker).exists() and not self._drive.done():
            time.sleep(0.05)

    def result(self) -> Any:
        return self._drive.result()


def test_a_trial_moves_off_a_node_that_is_going(three_nodes, tmp_path):
    """At its epoch's end, with a checkpoint; it goes on before any new trial, and nothing has failed."""
    found = drive(
        HELP
        + f"""
with connected({three_nodes.address!r}, code=[{LOOPS!r}], calls=[]):
    slots = fit(Resources(cpus_per_trial=1), None)
    script = Script([trial(epochs=12, seconds=0.25) for _ in range(2)] + [trial(seconds=0.5) for _ in range(6)])
    def drain():
        node = {three_nodes.nodes_of_trials[0].node_id!r}
        GcsClient(address={three_nodes.address!r}).drain_node(node, 2, "spot", int(time.time() * 1000) + 30_000)
    once(lambda: len(script.points) >= 4, drain)
    run_trials(script, payload(checkpoints={str(tmp_path)!r}), slots)
print(json.dumps([slots.count, ended(script), script.came_back, script.started, events(script)]))
""",
        cwd=tmp_path,
        RAY_AUTH_MODE="disabled",
    )
    count, ends, came_back, started, events = found
    assert count == 2
    assert ends == [["complete", None]] * 8
    assert len(came_back) == 1
    assert started[2] == came_back[0], f"it goes on before the trials that are new: {started}"
    node = three_nodes.nodes_of_trials[0].node_id
    assert events == [[node, "going", None], [node, "moved", came_back[0]]]


def test_a_trial_of_a_lost_node_goes_on_first(three_nodes, tmp_path):
    """On the node that is left, as soon as that is free; and a node that joins is used at once."""
    search = Search(
        HELP
        + f"""
with connected({three_nodes.address!r}, code=[{LOOPS!r}], calls=[]):
    slots = fit(Resources(cpus_per_trial=1), None)
    script = UntilBack([trial(epochs=1000, seconds=0.25)] * 2)
    once(lambda: len(script.points) >= 4, Path("killed").touch)
    once(lambda: len(script.started) >= 5, Path("joined").touch)
    run_trials(script, payload(), slots)
print(json.dumps([ended(script), script.came_back, script.started, events(script), len(script.pids())]))
""",
        tmp_path,
    )
    search.wait_for("killed")
    three_nodes.remove_node(three_nodes.nodes_of_trials[0], allow_graceful=False)
    search.wait_for("joined")
    three_nodes.add_node(num_cpus=1)
    ends, came_back, started, events, processes = search.result()
    assert {state for state, _ in ends[:2]} == {"stopped"} and {state for state, _ in ends[2:]} == {"complete"}
    assert len(came_back) == 1
    assert started[2] == came_back[0], f"it goes on before the trials that are new: {started}"
    assert events == [[three_nodes.nodes_of_trials[0].node_id, "gone", came_back[0]]]
    assert processes == 3, "the node that joined trains too"


def test_a_node_that_loses_what_others_train_is_set_aside(three_nodes, tmp_path):
    """Its trials go on elsewhere, and nobody else's suffer for it; a process lost once sets nobody aside."""
    bad, good = (node.node_id for node in three_nodes.nodes_of_trials)
    ends, told = drive(
        HELP
        + f"""
with connected({three_nodes.address!r}, code=[{LOOPS!r}], calls=[]):
    slots = fit(Resources(cpus_per_trial=1), None)
    script = Until.new(Happened.ASIDE, trial(epochs=2, seconds=0.3, fault="die on a node", node={bad!r}))
    run_trials(script, payload(), slots)
print(json.dumps([ended(script), events(script)]))
""",
        cwd=tmp_path,
        RAY_AUTH_MODE="disabled",
    )
    assert {tuple(end) for end in ends} == {("complete", None)}
    happened = [event[:2] for event in told]
    assert happened.count([bad, "lost"]) == 2, told
    assert happened.count([bad, "aside"]) == 1, told
    assert not [event for event in told if event[0] == good], told
