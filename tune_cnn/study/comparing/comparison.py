"""`compare` as a question of the frame: cells are settled at the first start, runs follow from what is stored."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tune_cnn.records.document import StudyArchive
from tune_cnn.spec.configuration import is_strategy, strategy_and_knob
from tune_cnn.study.checks.preflight import Checked, check
from tune_cnn.study.comparing.asked import Asked
from tune_cnn.study.comparing.cells import PACE_EPOCHS, Cell, cells_of, changed
from tune_cnn.study.comparing.combining import apart_of
from tune_cnn.study.comparing.estimate import seconds_of
from tune_cnn.study.comparing.plan import foreseen_of, runs_of
from tune_cnn.study.comparing.training import Trainer
from tune_cnn.study.hints import NextCommands
from tune_cnn.study.questions.question import Here, Run
from tune_cnn.trials.cluster.machines import phase_slots
from tune_cnn.untyped import Plain

IMAGES = ("train_images", "validation_images", "test_images")


class Comparison:
    """A `Question`."""

    kind = "compare"
    may_grow = frozenset({"seeds"})

    def __init__(self, what: Asked) -> None:
        self.what, self.asked = what, what.as_plain()
        self._trainer: Trainer | None = None
        self._lock = threading.Lock()

    def settle(self, here: Here) -> Mapping[str, Plain]:
        spec, cards = here.spec, here.checked.cards
        found = cells_of(self.what, spec, cards)
        checked = _checked(here, found)
        cells = [_settled(cell, checked[repr(cell.changes)], here) for cell in found]
        names = list(dict.fromkeys(strategy_and_knob(key)[0] for key in spec.space if is_strategy(key)))
        return {"cells": [cell.as_plain() for cell in cells], "apart": apart_of(names, cards)}

    def runs(self, archive: StudyArchive) -> Sequence[Run]:
        return runs_of(archive)

    def foreseen(self, archive: StudyArchive) -> Sequence[Run]:
        return foreseen_of(archive)

    def lanes(self, here: Here) -> int:
        return here.slots.count if self.what.beside else 1

    def work(self, here: Here, number: int, run: Run) -> None:
        with self._lock:
            self._trainer = self._trainer or Trainer(here, beside=self.what.beside)
        self._trainer.train(number, run)

    def seconds(self, here: Here, runs: Sequence[Run]) -> float | None:
        return seconds_of(here, runs)

    def files(self, archive: StudyArchive, folder: Path, commands: NextCommands) -> dict[str, Path]:
        from tune_cnn.study.comparing.shown import write_files  # with it come plotly and matplotlib

        return write_files(archive, folder, commands)


def _checked(here: Here, cells: Sequence[Cell]) -> dict[str, Checked]:
    """What the hardware and each data set, model and training of the cells say of each other; raises InputError."""
    found: dict[str, Checked] = {}
    for cell in cells:
        key = repr(cell.changes)
        if key in found:
            continue
        spec = changed(here.session.spec, cell.changes)
        if spec == here.session.spec:
            found[key] = here.checked
            continue
        here.session.report(f"checking {cell.name}")
        slots = phase_slots(spec.resources, spec.resources.phases[0])  # of this cell's type of card
        found[key] = check(spec, slots, cache_dir=here.session.locations.cache_dir)
        for note in found[key].notes:
            here.session.report(note)
    return found


def _settled(cell: Cell, checked: Checked, here: Here) -> Cell:
    """With what was found of its images; a strategy that changes a step's cost is paced over all of its epochs."""
    data = checked.info["data"]
    configuration = cell.of(here.spec).configuration(cell.params)
    changing = any(here.checked.cards[name].changes_cost for name in configuration.strategies_on)
    return replace(
        cell,
        data_key=data["key"],
        images={name: data[name] for name in IMAGES if data.get(name) is not None},
        pace_epochs=configuration.horizon if changing else min(PACE_EPOCHS, configuration.horizon),
    )
