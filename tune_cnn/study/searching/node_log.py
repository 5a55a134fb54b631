"""What happens to the nodes while a search runs: kept in the study, said where the user should know."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from tune_cnn.errors import TuneCnnError
from tune_cnn.records.rows import NodeRecord
from tune_cnn.study.hints import again
from tune_cnn.study.nodes import NodeSummary, in_words, slow_note, summaries
from tune_cnn.study.searching.until_room import StudyWriter
from tune_cnn.study.session.session import Session
from tune_cnn.trials.nodes.node_health import LEAST_TRIALS, Happened, NodeEvent, slower


class NodeLog:
    """Of one start of a search."""

    def __init__(self, session: Session, write: StudyWriter) -> None:
        self._store, self._study, self._report = session.store, session.study, session.report
        self._write = write
        self._nodes = {one.node: one for one in summaries(self._store.nodes.of(self._study))}

    def past(self) -> Sequence[NodeEvent]:
        """What the study knows of them."""
        return [
            NodeEvent(
                node=one.node,
                host=one.host,
                happened=Happened(one.happened),
                trial=one.trial,
                why=one.why,
                ratio=one.ratio,
            )
            for one in self._store.nodes.of(self._study)
        ]

    def hear(self, event: NodeEvent, ratio: float | None) -> None:
        """`ratio`: of an ended trial's time to what was expected; None: not known.

        TuneCnnError, which ends the search, where no node is left and none came in time.
        """
        if event.happened is Happened.GIVEN_UP:
            raise TuneCnnError(
                f"study {self._study!r}: {event.why}, so the search ends; what was trained is kept, and once a node is "
                f"there again this goes on:\n{again()}"
            )
        if (said := in_words(event)) is not None:
            self._report(said)
        if not event.node:  # of the cluster as a whole
            return
        event = replace(event, ratio=ratio)
        self._write.add_node(
            NodeRecord(
                at=datetime.now(UTC),
                node=event.node,
                host=event.host,
                happened=event.happened,
                trial=event.trial,
                why=event.why,
                ratio=ratio,
            ),
        )
        if ratio is not None:
            self._compare(event, ratio)

    def _compare(self, event: NodeEvent, ratio: float) -> None:
        """Name a node that is slow, once, when enough of its trials say so."""
        node = self._nodes.setdefault(event.node, NodeSummary(node=event.node, host=event.host))
        node.ratios.append(ratio)
        if node.slower is None and len(node.ratios) % LEAST_TRIALS == 0:
            node.slower = slower(
                node.ratios, [r for one in self._nodes.values() if one is not node for r in one.ratios]
            )
            if node.slower is not None:
                self._report(slow_note(node, node.slower))
