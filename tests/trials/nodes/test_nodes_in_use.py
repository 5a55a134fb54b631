"""Which nodes take trials, as the cluster changes and trials are lost; without Ray."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tune_cnn.trials.nodes.fleet import Nodes
from tune_cnn.trials.nodes.losses import Loss
from tune_cnn.trials.nodes.node_health import Happened, NodeEvent
from tune_cnn.trials.nodes.nodes_in_use import NodesInUse
from tune_cnn.trials.nodes.placing import room


def cluster(*names: str, going: Mapping[str, float] | None = None) -> Nodes:
    """Nodes with two cores each."""
    return Nodes(
        hosts={name: f"host-{name}" for name in names},
        resources={name: {"CPU": 2.0} for name in names},
        going=going or {},
    )


@dataclass
class Fleet:
    now: Nodes

    def look(self, at: Collection[str]) -> Nodes:
        return self.now


@dataclass
class Told:
    going: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    events: list[NodeEvent] = field(default_factory=list)

    def keep_off(self, going: Mapping[str, float], aside: Collection[str]) -> None:
        self.going, self.aside = sorted(going), sorted(aside)

    def happened(self) -> list[tuple[str, str]]:
        return [(event.node, str(event.happened)) for event in self.events]


def in_use(*names: str, past: Collection[NodeEvent] = ()) -> tuple[NodesInUse, Fleet, Told]:
    """Of trials that take one core each."""
    fleet, told = Fleet(cluster(*names)), Told()
    nodes = NodesInUse(fleet, [{"CPU": 1.0}], packed=True, keep_off=told.keep_off)
    nodes.begin(past, told.events.append)
    nodes.tick()
    return nodes, fleet, told


def test_room_shrinks_and_grows_with_the_cluster():
    nodes, fleet, _ = in_use("a", "b")
    assert nodes.room() == 4
    fleet.now = cluster("a")
    assert nodes.room() == 2
    fleet.now = cluster("a", "c", "d")
    assert nodes.room() == 6


def test_a_node_that_is_going_takes_none_and_the_slots_are_told():
    nodes, fleet, told = in_use("a", "b")
    fleet.now = cluster("a", "b", going={"b": 0.0})
    nodes.tick()
    assert nodes.room() == 2
    assert told.going == ["b"]
    assert told.happened() == [("b", "going")]
    nodes.tick()
    assert told.happened() == [("b", "going")], "told once"


def test_what_is_lost_on_a_node_that_is_going_has_moved():
    nodes, fleet, _ = in_use("a", "b")
    fleet.now = cluster("a", "b", going={"b": 0.0})
    assert nodes.lost(1, ["b"], "its worker died", broke=False) is Loss.MOVED
    assert nodes.barred(1) == frozenset()


def test_what_is_lost_with_its_node_bars_nothing():
    nodes, fleet, told = in_use("a", "b")
    fleet.now = cluster("a")
    assert nodes.lost(1, ["b"], "its node died", broke=False) is Loss.NODE
    assert nodes.barred(1) == frozenset()
    assert told.happened() == [("b", "gone")]


def test_a_trial_is_not_started_where_it_was_lost_while_there_are_others():
    nodes, fleet, _ = in_use("a", "b")
    assert nodes.lost(1, ["a"], "its worker died", broke=False) is Loss.PROCESS
    assert nodes.barred(1) == nodes.avoided(1) == {"a"}
    assert nodes.avoided(2) == frozenset()
    fleet.now = cluster("a")
    assert nodes.barred(1) == frozenset(), "else it would wait for ever"


def test_a_node_that_loses_what_others_train_is_set_aside():
    nodes, _, told = in_use("a", "b")
    nodes.lost(1, ["a"], "it died", broke=False)
    nodes.lost(2, ["a"], "it died", broke=False)
    assert told.aside == ["a"]
    assert nodes.room() == 2
    assert nodes.avoided(3) == {"a"}
    assert told.happened()[-1] == ("a", "aside")


def test_the_last_node_is_never_set_aside():
    nodes, _, told = in_use("a")
    for trial in range(5):
        nodes.lost(trial, ["a"], "it died", broke=False)
    assert told.aside == []
    assert nodes.room() == 2


def test_a_node_is_taken_back_when_no_other_is_left():
    nodes, fleet, told = in_use("a", "b")
    nodes.lost(1, ["a"], "it died", broke=False)
    nodes.lost(2, ["a"], "it died", broke=False)
    fleet.now = cluster("a")
    nodes.tick()
    assert told.aside == []
    assert nodes.room() == 2
    assert told.happened()[-1] == ("a", "back")


def test_a_node_is_cleared_when_its_trials_are_lost_elsewhere_too():
    nodes, _, told = in_use("a", "b", "c")
    for trial, node in ((1, "a"), (2, "a"), (1, "b")):
        nodes.lost(trial, [node], "it died", broke=False)
    assert told.aside == []


def test_what_was_set_aside_before_stays_so():
    """In another phase, and after another start."""
    nodes, _, told = in_use("a", "b")
    nodes.lost(1, ["a"], "it died", broke=False)
    nodes.lost(2, ["a"], "it died", broke=False)
    later, _, told_later = in_use("a", "b", past=told.events)
    assert told_later.aside == ["a"]
    assert later.room() == 2
    later.ended(3, ["b"])
    assert told_later.aside == ["a"]


def test_no_node_left_is_said_once():
    nodes, fleet, told = in_use("a")
    fleet.now = cluster()
    nodes.tick()
    nodes.tick()
    assert [event.happened for event in told.events] == [Happened.NONE_LEFT]


def test_a_wait_for_a_node_has_a_bound_that_is_said():
    """It begins anew each time that a node was there; at its end the search hears of it once."""
    now_s = [0.0]
    fleet, told = Fleet(cluster("a")), Told()
    nodes = NodesInUse(fleet, [{"CPU": 1.0}], packed=True, keep_off=told.keep_off, wait_s=600.0, clock=lambda: now_s[0])
    nodes.begin((), told.events.append)
    for moment_s, names in ((0, "a"), (10, ""), (600, ""), (609, "a"), (700, ""), (1299, "")):
        now_s[0], fleet.now = float(moment_s), cluster(*names)
        nodes.tick()
        assert not nodes.given_up
    assert "10 minutes" in str(told.events[0].why)
    for _ in range(2):
        now_s[0] = 1300.0
        nodes.tick()
    assert nodes.given_up
    none_left, given_up = Happened.NONE_LEFT, Happened.GIVEN_UP
    assert [event.happened for event in told.events] == [none_left, none_left, given_up]


def test_a_trial_over_several_nodes_blames_none():
    nodes, _, told = in_use("a", "b", "c")
    for trial in range(4):
        nodes.lost(trial, ["a", "b"], "it died", broke=False)
    assert told.aside == []


def test_room_counts_each_node_for_itself_or_ranks_over_all():
    """Two ranks of two cores each: on nodes of three cores they share none, and spread they find room."""
    three = [{"CPU": 3.0}, {"CPU": 3.0}]
    ranks = [{"CPU": 2.0}, {"CPU": 2.0}]
    assert room(ranks, three, packed=True) == 0
    assert room(ranks, three, packed=False) == 1
    assert room([{"CPU": 1.0}], three, packed=True) == 6
