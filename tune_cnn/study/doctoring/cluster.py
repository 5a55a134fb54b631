"""The nodes of a cluster: each asked about itself, and all of them tried with one another."""

import os
from collections.abc import Callable, Mapping
from typing import Protocol

from tune_cnn.errors import first_line
from tune_cnn.spec import StudySpec
from tune_cnn.study.doctoring.bounded import bounded
from tune_cnn.study.doctoring.here import leftovers_check
from tune_cnn.training.inspection.between_nodes import faults_of, read_probes, remove_probes, write_probe
from tune_cnn.training.inspection.health import NodeFacts
from tune_cnn.training.inspection.health_checks import Check, check_images, check_skew, checks_of, skew_of
from tune_cnn.untyped import Untyped

START_S = 90.0  # a worker's cold start is 10 s, on a busy machine 60 s
FACTS_S = 150.0  # two cards that hang, each given up after 60 s
ROUND_S = 30.0  # connections that are dropped, a disk of a network
CLOCK_S, CLOCKS = 5.0, 5  # the quickest of so many round trips counts
DATA_S = 120.0  # a folder of a million files is listed
_INSPECTION = "tune_cnn.training.inspection"
_BETWEEN = f"{_INSPECTION}.between_nodes"
_REACH = "by all nodes, on any port"
_SHARED = "what each node writes, all read"

Report = dict[str, list[Check]]  # by node


class Nodes(Protocol):
    """As trials.every_node has them."""

    @property
    def addresses(self) -> Mapping[str, str]: ...

    def ask(self, path: str, arguments: Mapping[str, tuple[object, ...]], *, within_s: float) -> dict[str, Untyped]: ...

    def clock(self, name: str, *, within_s: float) -> tuple[float, float, float] | None: ...


class Examination:
    """One question after another to all nodes that have answered so far; `report` grows by the answers."""

    def __init__(self, nodes: Nodes, here: NodeFacts, report: Report, driver: str) -> None:
        """`here`, `driver`: facts and name of the machine where the search begins."""
        self._nodes, self._here, self._driver = nodes, here, driver
        self._well = list(nodes.addresses)
        self._report = report
        report |= {name: [] for name in self._well}

    def facts(self, folders: Mapping[str, str]) -> None:
        """Whether each answers, what it says of itself, and by how much its clock is off."""
        self._ask("time:time", "answer", "answers", START_S, lambda name: ())
        facts = self._ask(f"{_INSPECTION}.health:find_facts", "facts", "answers", FACTS_S, lambda name: (folders,))
        addresses = self._nodes.addresses
        machines = len(set(addresses.values()))  # several Rays of one machine reach one another by any address
        for name, found in facts.items():
            self._report[name] += checks_of(found, self._here, address=addresses[name], nodes=machines)
            rounds = [self._nodes.clock(name, within_s=CLOCK_S) for _ in range(CLOCKS)]
            answered = [one for one in rounds if one is not None]
            if answered:
                self._report[name].append(check_skew(skew_of(answered)))

    def reachability(self) -> None:
        """Each connects to all others, on ports such as ranks take."""
        if len(self._nodes.addresses) == 1:
            return
        ports = self._ask(f"{_BETWEEN}:listen", "reachable", _REACH, ROUND_S, lambda name: ())
        at = {name: (self._nodes.addresses[name], *port) for name, port in ports.items()}
        others = {name: {other: place for other, place in at.items() if other != name} for name in at}
        found = self._ask(f"{_BETWEEN}:reach", "reachable", _REACH, ROUND_S, lambda name: (others[name],))
        for name in self._well:
            why = {f"from {one}": faults[name] for one, faults in found.items() if faults.get(name)}
            todo = "let the firewalls pass all ports, and start each Ray with --node-ip-address of its network"
            self._add(name, "reachable", f"{at[name][0]}, {_sum(why, 'from all')}", _REACH, why, todo)

    def storage(self, storage: str | None) -> None:
        """Each writes a file, and all read every one of them; then they are removed."""
        if storage is None:
            seen = "none: checkpoints stay on the node, and a trial that moves begins again (--storage)"
            for name in self._well if len(self._nodes.addresses) > 1 else []:
                self._report[name].append(Check(what="storage", seen=seen, must="any", ok=True))
            return
        tokens = {name: f"{os.getpid()}-{place}" for place, name in enumerate([self._driver, *self._well])}
        try:
            wrote, read = self._shared(storage, tokens)
        finally:
            everywhere = {name: (storage, list(tokens.values())) for name in self._well}
            bounded(lambda: remove_probes(storage, list(tokens.values())), ROUND_S)
            self._nodes.ask(f"{_BETWEEN}:remove_probes", everywhere, within_s=ROUND_S)
        todo = "mount the same storage there, writable for the user of the search, or name one that all nodes see"
        for name, why in faults_of(wrote, read).items():
            if name == self._driver or name in self._well:
                self._add(name, "storage", f"{storage}: {_sum(why, 'written and read')}", _SHARED, why, todo)

    def images(self, spec: StudySpec) -> None:
        """Of a spec, at the same place on every node."""
        data = (spec.data, spec.seed)
        found = self._ask(f"{_INSPECTION}.images:find_images", "images", "readable", DATA_S, lambda name: data)
        for name, check in check_images(found).items():
            self._report[name].append(check)

    def leftovers(self, *, clean: bool) -> None:
        path = f"tune_cnn.trials.cluster.leftovers:{'remove' if clean else 'find'}_leftovers"
        for name, found in self._ask(path, "leftovers", "answers", ROUND_S, lambda name: ()).items():
            self._report[name].append(leftovers_check(found))

    def _shared(self, storage: str, tokens: Mapping[str, str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        def said(answer: Untyped) -> Untyped:
            return first_line(answer) if isinstance(answer, Exception) else answer

        mine = bounded(lambda: write_probe(storage, tokens[self._driver]), ROUND_S)
        asked = self._ask(f"{_BETWEEN}:write_probe", "storage", _SHARED, ROUND_S, lambda name: (storage, tokens[name]))
        wrote = {self._driver: said(mine), **asked}
        whose = {token: name for name, token in tokens.items() if wrote.get(name) == ""}
        found = bounded(lambda: read_probes(storage, list(whose)), ROUND_S)
        seen = self._ask(f"{_BETWEEN}:read_probes", "storage", _SHARED, ROUND_S, lambda name: (storage, list(whose)))
        every = {self._driver: dict.fromkeys(whose, said(found)) if isinstance(found, Exception) else found, **seen}
        return wrote, {name: {whose[token]: why for token, why in of.items()} for name, of in every.items()}

    def _ask(
        self, path: str, what: str, must: str, within_s: float, args: Callable[[str], tuple[Untyped, ...]]
    ) -> dict[str, Untyped]:
        """The answers; where there is none, that is a check that failed, and the node isn't asked again."""
        answers = self._nodes.ask(path, {name: args(name) for name in self._well}, within_s=within_s)
        for name, answer in answers.items():
            if isinstance(answer, Exception):
                todo = "see whether that node, its Ray and its network are well (`ray status`)"
                self._report[name].append(Check(what=what, seen=first_line(answer), must=must, ok=False, todo=todo))
                self._well.remove(name)
        return {name: answer for name, answer in answers.items() if name in self._well}

    def _add(self, name: str, what: str, seen: str, must: str, faults: Mapping[str, str], todo: str) -> None:
        ok = not faults
        self._report[name].append(Check(what=what, seen=seen, must=must, ok=ok, todo="" if ok else todo))


def _sum(faults: Mapping[str, str], none: str) -> str:
    """What is wrong, by what the reasons have in common."""
    by_reason: dict[str, list[str]] = {}
    for what, why in faults.items():
        by_reason.setdefault(why, []).append(what)
    return "; ".join(f"{', '.join(whats)}: {why}" for why, whats in by_reason.items()) or none
