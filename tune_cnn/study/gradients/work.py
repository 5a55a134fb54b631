"""One training, measured before each K-th of its epochs: committed as it comes, gone on with after a kill."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tune_cnn.errors import TrialError
from tune_cnn.metrics import unusable
from tune_cnn.records.rows import Measurement
from tune_cnn.states import TrialState
from tune_cnn.study.gradients.asked import AskedFor
from tune_cnn.study.gradients.phases import Phase, phases
from tune_cnn.study.gradients.seen import SHEETS, extremes, profile, read
from tune_cnn.study.questions.question import Here, Run
from tune_cnn.study.session.jobs import job_template, stalls_of
from tune_cnn.training.gradients.measured import CONTROL, OF_NET, Asked, Measured
from tune_cnn.training.messages import EpochResult, TrainingJob
from tune_cnn.trials.checkpoints import folder_of, forget
from tune_cnn.trials.dedicated import Dedicated, ProcessLost, alone, dedicated
from tune_cnn.trials.nodes.losses import Losses
from tune_cnn.trials.trainable import end_of
from tune_cnn.untyped import Plain

LOOP = "tune_cnn.training.gradients.rank:GradientRank"
GRADIENTS = "gradients"  # how the name of a measurement begins


class Stopped(Exception):
    """Between a measurement and the epoch that follows it."""


class MeasuredTraining:
    """One run: a training with one seed."""

    def __init__(self, here: Here, asked: AskedFor, number: int, run: Run) -> None:
        self._here, self._asked, self._number = here, asked, number
        self._session = here.session
        self._orders = Asked(metrics=asked.orders, backbone=asked.backbone, pretrained=asked.weights == "pretrained")
        self._job = self._job_of(run)
        self._wanted = set(asked.measured_epochs(self._job.last_epoch))

    def run(self) -> None:
        """To its end, which is committed; nothing of an end where the user wants to stop before it."""
        store, study, losses = self._session.store, self._session.study, Losses()
        stalls = stalls_of(self._session.spec, self._session.locations)
        while True:
            try:
                with dedicated(self._job, alone(self._here.slots), loop=LOOP, **stalls) as training:
                    end = self._trained(training)
            except Stopped:
                return
            except ProcessLost as error:
                if losses.again(self._number, error.loss, str(error)) is None:
                    self._session.report(f"{error}; once more, from the last checkpoint")
                    continue
                end = (TrialState.FAILED, str(error))
            except (TrialError, MemoryError) as error:
                end = end_of(error)
            if end is not None:
                store.end_trial(study, self._number, *end)
                forget(self._session.locations.checkpoints(study), self._number)
            return

    def _trained(self, training: Dedicated) -> tuple[TrialState, str | None] | None:
        def told(result: EpochResult) -> bool:
            metrics = {**result.metrics, "cotenants": 0.0, **result.system}
            self._session.store.add_point(
                self._session.study, self._number, result.epoch, metrics, checkpoint=result.checkpoint
            )
            return self._here.stopping()

        last = training.train(self._job, told, past=told, before=lambda epoch: self._before(training, epoch))
        if last.epoch < self._job.last_epoch and not last.done:
            return None
        self._add_sheets(training)
        why = unusable(last.metrics, [m.name for m in self._session.spec.objective_metrics])
        return (TrialState.COMPLETE, None) if why is None else (TrialState.FAILED, why)

    def _before(self, training: Dedicated, epoch: int) -> None:
        """Measure, unless an earlier start has: its parameters were these."""
        store, study = self._session.store, self._session.study
        known = {one.epoch for one in store.measurements.of(study) if one.trial == self._number}
        if epoch in self._wanted and epoch not in known:
            found: Sequence[Measured] = training.ask("measure", epoch, self._orders)
            store.measurements.add(
                study, [self._measurement(epoch, f"{GRADIENTS}/{one.metric}", one.as_dict()) for one in found]
            )
            said = ", ".join(f"{one.metric} {sum(one.l2) / len(one.l2) / one.full_norm:.2f}" for one in found)
            self._session.report(f"epoch {epoch + 1} of {self._job.last_epoch} measured; mean |g - G| / |G|: {said}")
            if epoch:
                training.checkpoint()  # so that a kill costs no measured epoch
        if self._here.stopping():
            raise Stopped

    def _add_sheets(self, training: Dedicated) -> None:
        """The nearest and the farthest mini-batches of each phase as images; of the first training alone."""
        if self._number:
            return
        store, study = self._session.store, self._session.study
        seen = read([one for one in store.measurements.of(study) if one.trial == self._number])
        found = []
        for phase in self._phases(seen.measured):
            for metric in seen.metrics:
                # By the net's own eyes an order is one of each epoch, and the last one is what can be shown
                of = seen.of(metric, phase)[-1:] if metric in OF_NET else seen.of(metric, phase)
                if metric == CONTROL or (metric in OF_NET and phase.last + 1 < self._job.last_epoch):
                    continue
                content = self._sheets(training, metric, [one for _, one in of])
                found.append(self._measurement(phase.measured[-1], f"{SHEETS}/{phase.number}/{metric}", content))
        store.measurements.add(study, found)

    def _sheets(self, training: Dedicated, metric: str, of: Sequence[Measured]) -> dict[str, Plain]:
        mean_k = profile([(self._number, one) for one in of])
        near, far = extremes(mean_k)
        images: Mapping[str, list[bytes]] = training.ask("sheets", self._orders, {metric: [*near, *far]})
        shown = [
            {
                "place": (number + 0.5) / len(mean_k),
                "value": of[-1].values[number],
                "class_entropy": of[-1].class_entropy[number],
                "distance": float(mean_k[number]),
                "png": base64.b64encode(png).decode(),
            }
            for number, png in zip([*near, *far], images[metric], strict=True)
        ]
        return {"nearest": shown[: len(near)], "farthest": shown[len(near) :]}

    def _phases(self, measured: Sequence[tuple[int, Measured]]) -> list[Phase]:
        rates = sorted({one.epoch: one.learning_rate for _, one in measured}.items())
        return phases(rates, self._job.configuration.schedule, self._job.last_epoch)

    def _measurement(self, epoch: int, name: str, content: Mapping[str, Plain]) -> Measurement:
        return Measurement(trial=self._number, epoch=epoch, name=name, content=content)

    def _job_of(self, run: Run) -> TrainingJob:
        session, info = self._session, self._here.checked.info
        return replace(
            job_template(session.spec, self._here.slots, session.locations),
            trial=self._number,
            configuration=session.spec.configuration(run.params),
            seed=run.seed,
            data_key=info["data"]["key"],
            context_mib=info["context_mib"],
            cache_dir=str(Path(session.locations.cache_dir).expanduser()),
            checkpoint_dir=folder_of(session.locations.checkpoints(session.study), self._number),
        )
