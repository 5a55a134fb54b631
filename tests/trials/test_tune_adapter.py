"""What Tune is given to train as trials are lost and nodes come and go; without Ray."""

from collections.abc import Mapping
from typing import Any

from scripted_drivers import Script, trial
from test_nodes_in_use import Fleet, cluster

from tune_cnn.states import TrialState
from tune_cnn.trials.nodes.nodes_in_use import NodesInUse
from tune_cnn.trials.tune_adapter import TuneAdapter


class Coordinator:
    """Knows where trials are by what the test says."""

    def __init__(self) -> None:
        self.nodes: dict[int, tuple[str, ...]] = {}
        self.expected: int | None = None

    def left(self, trial: int) -> tuple[str, ...]:
        return self.nodes.pop(trial, ())

    def idle(self, trial: int) -> None:
        self.nodes.pop(trial, None)

    def keep_off(self, going: Mapping[str, float], aside: Any) -> None:
        pass

    def expect(self, slots: int) -> None:
        self.expected = slots

    def assign(self, slot: str, config: object) -> None:
        pass

    def drain(self) -> None:
        pass

    def stalled(self, trial: int) -> str | None:
        return None

    def tick(self) -> None:
        pass

    lost = None


class Tune:
    """Asks as Tune does: for one more trial, until there is no room for one."""

    def __init__(self, trials: int, *names: str, slots: int = 4) -> None:
        """Nodes with room for two trials each."""
        self.fleet, self.coordinator = Fleet(cluster(*names)), Coordinator()
        self.script = Script([trial()] * trials)
        nodes = NodesInUse(self.fleet, [{"CPU": 1.0}], packed=True, keep_off=self.coordinator.keep_off)
        self.adapter = TuneAdapter(self.script, slots, self.coordinator, nodes)  # type: ignore[arg-type]  # see above
        self._asked = 0

    def start(self, *on: str) -> list[int]:
        """The trials that were given now, each on the node that is named next."""
        given: list[int] = []
        while (config := self.adapter.config(f"tune-{self._asked}")) is not None:
            self.coordinator.nodes[config["trial"]] = (on[len(given)],)
            given.append(config["trial"])
            self._asked += 1
        return given

    def lose(self, number: int, why: str = "its worker died") -> None:
        self.adapter.lost(self._tune_id(number), why)

    def end(self, number: int, node: str) -> None:
        self.adapter.end(self._tune_id(number), TrialState.COMPLETE, None, nodes=(node,))

    def _tune_id(self, number: int) -> str:
        return next(tune_id for tune_id, ours in self.adapter.running.items() if ours == number)


def test_a_trial_that_was_lost_goes_on_before_new_ones():
    tune = Tune(10, "a", "b")
    assert tune.start("a", "a", "b", "b") == [0, 1, 2, 3]
    tune.fleet.now = cluster("a")
    tune.lose(2, "its node died")
    tune.lose(3, "its node died")
    assert tune.start() == [], "the node that is left is full"
    tune.end(0, "a")
    assert tune.start("a") == [2]
    tune.end(1, "a")
    assert tune.start("a") == [3]
    tune.end(2, "a")
    assert tune.start("a") == [4]


def test_a_node_that_joins_is_used_at_once_up_to_the_phases_slots():
    tune = Tune(20, "a")
    assert tune.start("a", "a") == [0, 1]
    tune.fleet.now = cluster("a", "b", "c", "d")
    assert tune.start("b", "b") == [2, 3]


def test_a_trial_waits_for_another_node_than_the_one_that_lost_it():
    """Meanwhile that one takes a new trial."""
    tune = Tune(10, "a", "b")
    tune.start("a", "a", "b", "b")
    tune.lose(0)
    assert tune.start("a") == [4]
    tune.end(2, "b")
    assert tune.start("b") == [0]
    assert tune.script.started[-1] == 0


def test_a_trial_that_was_lost_on_the_only_node_goes_on_there():
    tune = Tune(10, "a", slots=2)
    tune.start("a", "a")
    tune.lose(0)
    assert tune.start("a") == [0]


def test_the_last_trials_that_are_lost_go_on_too():
    """The driver has no new ones by then, but what it gave may come back: Tune is not told that it is over."""
    tune = Tune(2, "a", slots=2)
    tune.start("a", "a")
    assert not tune.adapter.finished
    tune.end(0, "a")
    assert tune.start() == []
    assert not tune.adapter.finished
    tune.lose(1)
    assert tune.start("a") == [1]
    tune.end(1, "a")
    tune.start()
    assert tune.adapter.finished
    assert tune.coordinator.expected == 2


def test_a_trial_waits_for_another_node_at_the_end_too():
    """Though the one that lost it is free, and nothing else is left to train."""
    tune = Tune(4, "a", "b")
    tune.start("a", "a", "b", "b")
    tune.lose(0)
    tune.end(1, "a")
    assert tune.start() == []
    assert not tune.adapter.finished
    tune.end(2, "b")
    assert tune.start("b") == [0]


def test_a_trial_given_up_is_told_with_the_last_reason():
    tune = Tune(1, "a")
    for _ in range(3):
        tune.start("a")
        tune.lose(0, "its worker died again")
    assert tune.script.ends == {0: (TrialState.FAILED, "given up after 3 tries: its worker died again")}
    tune.start()
    assert tune.adapter.finished


def test_a_stalled_trial_is_tried_once_more():
    tune = Tune(1, "a")
    for _ in range(2):
        tune.start("a")
        tune.lose(0, "stalled: no step for 60 s")
    assert tune.script.ends[0][1] == "stalled: no step for 60 s; it was the second time"


def test_while_no_node_takes_trials_nothing_is_over():
    tune = Tune(3, "a")
    tune.start("a", "a")
    tune.fleet.now = cluster()
    tune.lose(0, "its node died")
    tune.lose(1, "its node died")
    assert tune.start() == []
    assert not tune.adapter.finished
    tune.fleet.now = cluster("b")
    assert tune.start("b", "b") == [0, 1]
