"""One start of work on a study: its store, its spec, where all lies, the user's lines, and the delivery to MLflow."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from tune_cnn.errors import InputError, StoreError, StudyError
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.mlflow.environment import absolute_uri, check_uri, runs_page, shown_uri
from tune_cnn.records.outbox.handle import Outbox, alone_s, start_outbox
from tune_cnn.records.rows import StudyRecord
from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec
from tune_cnn.states import StudyState
from tune_cnn.study.archive import read_archive
from tune_cnn.study.locations import Locations
from tune_cnn.study.session.jobs import stalls_folder, user_calls
from tune_cnn.study.session.leaving import Leaving
from tune_cnn.study.session.signals import terminable
from tune_cnn.trials.cluster.cards import check_cards
from tune_cnn.trials.cluster.leftovers import remove_leftovers
from tune_cnn.trials.cluster.machines import connected
from tune_cnn.trials.power import AsItIs, Power, power_of, restored_limits

log = logging.getLogger(__name__)

DRAIN_S = 60.0  # what MLflow may still take at the end; the rest waits for `sync` or the next start
AWAY_S = 3.0  # the same while its server doesn't answer
MANY = 50  # changes that wait before the display says so

Report = Callable[[str], None]  # takes a line for the user


@contextmanager
def on_ray(spec: StudySpec, locations: Locations, report: Report, *, leaving: Leaving | None = None) -> Iterator[Power]:
    """Start Ray, or join the user's, with the user's code; SIGTERM is Ctrl-C meanwhile.

    Gives the power of the study's GPUs, which end as they were; what killed searches have left is removed and restored
    before. Where Ray stays silent the process ends, by the steps of `leaving`.
    """
    check_uri(locations.tracking_uri)  # before anything is started for it
    left = remove_leftovers()
    if left is not None:
        report(left)
    report("starting Ray" if locations.address is None else f"joining the Ray cluster at {locations.address}")
    resources = spec.resources
    leaving = leaving or Leaving()
    with (
        leaving.bounded_end(),
        connected(
            locations.address,
            code=resources.code,
            calls=user_calls(spec),
            leave_out=resources.leave_out,
            quiet=not locations.debug,
        ),
        terminable(),
        leaving.watching(locations.address, report),
    ):
        for line in restored_limits(on_cluster=locations.address is not None):
            report(line)
        for note in check_cards(resources, is_local=locations.address is None):
            report(note)
        with power_of(resources) as power:
            yield power


def _place_that_ends() -> str | None:
    """What takes every process along when this one's script ends: then nothing goes on in the background."""
    if job := os.environ.get("SLURM_JOB_ID"):
        return f"Slurm job {job}"
    return "this pod" if "KUBERNETES_SERVICE_HOST" in os.environ else None


@dataclass(kw_only=True)
class Session:
    """What the steps of searching and confirming share. The store is open, and under the study's lease."""

    store: Store
    spec: StudySpec
    locations: Locations
    report: Report
    power: Power = field(default_factory=AsItIs)  # of the GPUs, from when Ray is connected
    outbox: Outbox | None = None  # None: before the delivery begins, or where it can't
    leaving: Leaving = field(default_factory=Leaving)

    @property
    def study(self) -> str:
        return self.spec.study

    @property
    def record(self) -> StudyRecord:
        record = self.store.study(self.study)
        assert record is not None, "the study exists"
        return record

    def archive(self) -> StudyArchive:
        """The study as it is stored now."""
        return read_archive(self.study, self.locations.home, None)

    # MLflow

    def begin_delivery(self) -> None:
        folder = self.locations.folder(self.study)
        try:
            self.outbox = start_outbox(self.store, self.study, self.locations.tracking_uri, folder=folder)
            self.outbox.tend(self.report)
        except StoreError as error:
            self.report(f"the delivery to MLflow can't start now, and the study keeps every change: {error}")

    def delivery(self) -> str | None:
        """How the delivery stands, where the user should know; InputError where the study's name is taken there."""
        if self.outbox is None:
            return None
        self._refuse_taken()
        status = self.outbox.status()
        return str(status).removeprefix("MLflow: ") if status.error or status.pending > MANY else None

    def drain(self) -> None:
        """Let MLflow have the rest, for a while."""
        with self.leaving.without_ray():
            self._drain()

    def _drain(self) -> None:
        waiting, why = self.store.deliveries.count(self.study), None
        if self.outbox is not None:
            if waiting:
                self.report(f"delivering the last {waiting} changes to MLflow")
            waiting = self.outbox.finish(DRAIN_S, away_s=AWAY_S, then_alone=True)
            _, why = self.store.deliveries.state(self.study)
            self._refuse_taken()
        if waiting:
            self.report(
                f"MLflow: {waiting} changes wait{f' ({why})' if why else ''}; nothing is lost: {self._goes_on}"
                f"`{self.locations.commands(self.study).sync}` delivers them"
            )

    @property
    def _goes_on(self) -> str:
        """How long the outbox goes on by itself, where it does."""
        if self.outbox is None or not self.outbox.alive:
            return ""
        if (place := _place_that_ends()) is not None:
            return f"they are delivered in the background only as long as {place} lasts; after that "
        until = datetime.now() + timedelta(seconds=alone_s())  # for the user, on this machine's clock
        return f"they are delivered in the background until {until:%H:%M}, and at once "

    def runs_page(self) -> str | None:
        """Where MLflow shows the study's runs; None while none was delivered, or to another server."""
        record, uri = self.store.study(self.study), absolute_uri(self.locations.tracking_uri)
        if record is None or record.experiment_id is None or record.tracking != shown_uri(uri):
            return None
        return runs_page(uri, record.experiment_id)

    # The end

    def write_report(self, archive: StudyArchive) -> dict[str, Path]:
        """The files to look at, by their names in MLflow; none where one can't be written: what is stored is kept."""
        from tune_cnn.study.report import report_files  # with it come plotly and matplotlib, wanted at the end alone

        for path in sorted(stalls_folder(self.spec, self.locations).glob("*.txt")):
            self.store.deliveries.add_artifact(self.study, path, f"stalls/{path.name}")
        commands = self.locations.commands(self.study)
        try:
            files = report_files(archive, self.locations.folder(self.study), commands=commands)
        except Exception as error:  # whatever it is, what was trained is not lost for it
            self.report(f"the report is not written ({error}); `{commands.report}` writes it from the store")
            return {}
        for name, path in files.items():
            self.store.deliveries.add_artifact(self.study, path, name)
        return files

    def leave_outbox(self) -> None:
        """At once: what it has not delivered yet, it does in the background, or `sync` or the next start."""
        if self.outbox is not None:
            self.outbox.leave()

    def give_up(self, *, at_once: bool) -> None:
        """Leave things as they are after a failure: what is stored is stored, and delivered to MLflow later."""
        try:
            record = self.store.study(self.study)
            if record is not None and record.state is StudyState.RUNNING:  # one that has ended keeps its state
                self.store.update_study(self.study, state=StudyState.INTERRUPTED)
            if at_once:
                self.leave_outbox()
            elif self.outbox is not None:
                self.outbox.finish(5.0, then_alone=True)
        except (StoreError, StudyError) as error:
            log.debug("the study's state could not be written, or the delivery to MLflow not ended: %s", error)

    def _refuse_taken(self) -> None:
        if self.outbox is not None and (taken := self.outbox.taken):
            raise InputError(f"{taken}. What was trained is kept in the home.")
