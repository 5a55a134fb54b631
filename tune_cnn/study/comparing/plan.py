"""The runs of a comparison, from what is stored: paces where time is to be equal, blocks, and the winners together."""

import hashlib
import random
from collections.abc import Mapping, Sequence

from tune_cnn.metrics import by_trial
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.rows import PointRecord, TrialRecord
from tune_cnn.spec import StudySpec
from tune_cnn.study.archive import spec_of
from tune_cnn.study.comparing.cells import Cell
from tune_cnn.study.comparing.combining import combined
from tune_cnn.study.questions.asked import QUESTION
from tune_cnn.study.questions.question import Run
from tune_cnn.untyped import Plain

BLOCK, PACE = "block", "pace"  # roles of a run: one seed of a cell, and how long an epoch of it takes


def runs_of(archive: StudyArchive) -> list[Run]:
    """All that are known so far: those of the cells, and once these have ended those of the winners together."""
    cells, found = settled_cells(archive), []
    for stage in (cells, combined_cells(archive)):
        found += _stage(archive, stage, baseline=cells[0])
    return found


def settled_cells(archive: StudyArchive) -> list[Cell]:
    return [Cell(**cell) for cell in archive.study.info[QUESTION]["settled"]["cells"]]


def combined_cells(archive: StudyArchive) -> list[Cell]:
    """The winners together; none before all cells have ended, or where it was not asked for."""
    asked, cells = archive.study.info[QUESTION]["asked"], settled_cells(archive)
    if not asked["then_combine"]:
        return []
    ended = {trial.extra["run"] for trial in archive.trials if trial.state.has_ended}
    if any(run.key not in ended for run in _stage(archive, cells, baseline=cells[0])):
        return []
    return combined(archive, cells, spec_of(archive), archive.study.info[QUESTION]["settled"]["apart"])


def _stage(archive: StudyArchive, cells: Sequence[Cell], *, baseline: Cell) -> list[Run]:
    """Where time is to be equal the paces first, and only once they have ended the blocks."""
    asked, spec = archive.study.info[QUESTION]["asked"], spec_of(archive)
    if asked["equal"] == "epochs":
        return _blocks(cells, spec, asked["seeds"], {})
    paces = [_pace(cell, spec) for cell in cells]
    ended = {trial.extra["run"]: trial for trial in archive.trials if trial.state.has_ended}
    if any(run.key not in ended for run in paces):
        return paces
    return [*paces, *_blocks(cells, spec, asked["seeds"], epochs_of(archive, cells, baseline))]


def _blocks(cells: Sequence[Cell], spec: StudySpec, seeds: int, epochs: Mapping[str, int]) -> list[Run]:
    """One seed of every cell in random order, then the next: a machine that grows slower then hits all alike."""
    runs = []
    for block in range(seeds):
        order = list(cells)
        random.Random(f"{spec.seed} compare {block}").shuffle(order)
        for cell in order:
            params = {**cell.params, **({"epochs": epochs[cell.name]} if cell.name in epochs else {})}
            said = f"{cell.name}, seed {block + 1} of {seeds}"
            runs.append(_run(cell, BLOCK, block, params, seed_of(spec.seed, block), said))
    return runs


def _pace(cell: Cell, spec: StudySpec) -> Run:
    said = f"how long an epoch takes with {cell.name}"
    return _run(cell, PACE, 0, cell.params, seed_of(spec.seed, -1), said, stop_epoch=cell.pace_epochs)


def _run(cell: Cell, role: str, block: int, params: Mapping[str, Plain], seed: int, said: str, **more: Plain) -> Run:
    extra = {"role": role, "cell": cell.name, "block": block, "said": said, **more}
    extra |= {"changes": dict(cell.changes), "data_key": cell.data_key}
    return Run(key=f"{role} {block}: {cell.name}", params=params, seed=seed, extra=extra)


def seed_of(study_seed: int, block: int) -> int:
    """A block's: all cells share it, so that they begin with like weights and see the images in one order."""
    return int.from_bytes(hashlib.sha256(f"compare {study_seed} {block}".encode()).digest()[:4], "big") >> 1


def epochs_of(archive: StudyArchive, cells: Sequence[Cell], baseline: Cell) -> dict[str, int]:
    """By cell, the epochs of a schedule that ends when the baseline's does; one whose pace failed keeps its own.

    A whole schedule each, so that every cell's learning rate has decayed when its time is over: "No Train No Gain",
    Kaddour et al., 2023, https://arxiv.org/abs/2307.06440.
    """
    spec = spec_of(archive)
    epoch_s = {
        trial.extra["cell"]: _epoch_s(points)
        for trial in archive.trials
        if trial.extra["role"] == PACE and trial.state.has_result and (points := _points(archive, trial))
    }
    reference = epoch_s.get(baseline.name)
    if reference is None:
        return {}
    budget_s = reference * baseline.of(spec).configuration(baseline.params).horizon
    found = {}
    for cell in (one for one in cells if one.name in epoch_s):
        configuration = cell.of(spec).configuration(cell.params)
        grown = configuration.horizon / configuration.epochs  # regime_adaptation trains more epochs than it is told
        found[cell.name] = max(1, round(budget_s / epoch_s[cell.name] / grown))
    return found


def _points(archive: StudyArchive, trial: TrialRecord) -> list[PointRecord]:
    return sorted(by_trial(archive.points).get(trial.number, []), key=lambda point: point.epoch)


def _epoch_s(points: Sequence[PointRecord]) -> float:
    """Without the first epoch where there are others: caches fill in it."""
    first, last = points[0], points[-1]
    if first.epoch == last.epoch:
        return last.metrics["train_time_s"] / last.epoch
    return (last.metrics["train_time_s"] - first.metrics["train_time_s"]) / (last.epoch - first.epoch)
