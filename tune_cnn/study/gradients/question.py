"""`gradients` as a question of the frame: a training for each seed, measured between its epochs."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tune_cnn.errors import InputError
from tune_cnn.records.document import StudyArchive
from tune_cnn.study.archive import spec_of
from tune_cnn.study.gradients.asked import AskedFor, check_images
from tune_cnn.study.gradients.cost import Passes, in_words, passes
from tune_cnn.study.gradients.work import MeasuredTraining
from tune_cnn.study.hints import NextCommands
from tune_cnn.study.questions.asked import QUESTION
from tune_cnn.study.questions.question import Here, Run
from tune_cnn.study.searching.probing import Prober
from tune_cnn.untyped import Plain


class Gradients:
    """A `Question`."""

    kind = "gradients"
    may_grow = frozenset({"seeds"})

    def __init__(self, what: AskedFor) -> None:
        self.what, self.asked = what, what.as_plain()

    def settle(self, here: Here) -> Mapping[str, Plain]:
        data = here.checked.info["data"]
        check_images(self.what, data)
        configuration = here.spec.configuration({})
        if data["train_images"] < 2 * configuration.batch_size:
            raise InputError(
                f"gradients: {data['train_images']} training images are less than two mini-batches of "
                f"{configuration.batch_size}; set a smaller space.batch_size"
            )
        here.session.report(in_words(self._passes(here), measured=self._measured(here), epochs=configuration.horizon))
        return {}

    def runs(self, archive: StudyArchive) -> Sequence[Run]:
        asked, seed = archive.study.info[QUESTION]["asked"], spec_of(archive).seed
        return [
            Run(
                key=f"training {number + 1}",
                params={},
                seed=seed_of(seed, number),
                extra={"said": f"training {number + 1} of {asked['seeds']}, measured"},
            )
            for number in range(asked["seeds"])
        ]

    def foreseen(self, archive: StudyArchive) -> Sequence[Run]:
        return self.runs(archive)

    def lanes(self, here: Here) -> int:  # noqa: ARG002  (each has the whole machine)
        return 1

    def work(self, here: Here, number: int, run: Run) -> None:
        MeasuredTraining(here, self.what, number, run).run()

    def seconds(self, here: Here, runs: Sequence[Run]) -> float | None:
        """By a probe of the training: a pass with gradients takes about what an epoch does."""
        configuration = here.spec.configuration({})
        slots, mib = replace(here.slots, count=1), here.checked.info["context_mib"]
        with Prober(here.spec, slots, here.session.locations, context_mib=mib) as prober:
            cost = prober.probe(configuration.params()).cost
        whole_s, one_s = cost.trial_s(configuration.horizon), cost.trial_s(1)
        if whole_s is None or one_s is None:
            return None
        epoch_s = (whole_s - one_s) / max(1, configuration.horizon - 1) or one_s
        return len(runs) * (whole_s + self._measured(here) * self._passes(here).epochs * epoch_s)

    def _passes(self, here: Here) -> Passes:
        return passes(self.what.orders, joins_images=here.checked.info["model"]["joins_images"])

    def _measured(self, here: Here) -> int:
        return len(self.what.measured_epochs(here.spec.configuration({}).horizon))

    def files(self, archive: StudyArchive, folder: Path, commands: NextCommands) -> dict[str, Path]:
        from tune_cnn.study.gradients.shown import write_files  # with it come plotly and matplotlib

        return write_files(archive, folder, commands)


def seed_of(study_seed: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"gradients {study_seed} {number}".encode()).digest()[:4], "big") >> 1
