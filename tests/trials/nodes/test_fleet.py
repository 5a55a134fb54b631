"""What is known of the nodes: what Ray says, and of those that lost something what they say themselves."""

import socket
from collections.abc import Mapping

from tune_cnn.trials.nodes.fleet import FleetWatch, Nodes, answers


def said(*names: str) -> Nodes:
    return Nodes(
        hosts=dict.fromkeys(names, "host"),
        resources={name: {"CPU": 1.0} for name in names},
        raylets={name: (name, 1) for name in names},
    )


def test_a_node_that_ray_calls_alive_and_that_does_not_answer_is_gone():
    """Until it answers, or Ray knows."""
    answering: Mapping[str, bool] = {"a": True, "b": True}
    fleet = FleetWatch(lambda: said("a", "b"), lambda raylet: answering[raylet[0]])
    assert set(fleet.look(["b"]).hosts) == {"a", "b"}
    answering = {"a": True, "b": False}
    assert set(fleet.look(["a"]).hosts) == {"a", "b"}, "it was not asked"
    assert set(fleet.look(["b"]).hosts) == {"a"}
    assert set(fleet.look([]).hosts) == {"a"}
    answering = {"a": True, "b": True}
    assert set(fleet.look([]).hosts) == {"a", "b"}


def test_what_is_known_is_one_object_while_nothing_changes():
    """Tune asks ten times a second, and what follows from it is reckoned once."""
    fleet = FleetWatch(lambda: said("a"), lambda raylet: True)
    before = fleet.now
    assert fleet.look(["a"]) is before


def test_a_port_answers_while_somebody_listens():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()
        assert answers(port)
    assert not answers(port)
