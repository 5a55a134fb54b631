"""The runs of a comparison, from what is stored: paces where time is to be equal, blocks, and the winners together."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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

AS_LONG_AS = "as_long_as"  # of a run that is foreseen: params and changes of the cell whose time it is to take
BLOCK, PACE = "block", "pace"  # roles of a run: one seed of a cell, and how long an epoch of it takes


def runs_of(archive: StudyArchive) -> list[Run]:
    """All that are known so far: those of the cells, and once these have ended those of the winners together."""
    cells, found = settled_cells(archive), []
    for stage in (cells, combined_cells(archive)):
        found += _stage(archive, stage, cells)
    return found


def foreseen_of(archive: StudyArchive) -> list[Run]:
    """Those, and where time is to be equal and the paces don't tell the epochs yet, the blocks: each as long as its
    baseline's. (Which winners go together nobody knows before they have won.)"""
    known, cells = runs_of(archive), settled_cells(archive)
    asked, spec = archive.study.info[QUESTION]["asked"], spec_of(archive)
    if asked["equal"] == "epochs" or any(run.extra["role"] == BLOCK for run in known):
        return known
    baselines = {cell.name: next(one for one in cells if one.group == cell.group) for cell in cells}
    return [
        *known,
        *(_as_long_as(baselines[run.extra["cell"]], run) for run in _blocks(cells, spec, asked["seeds"], {})),
    ]


def _as_long_as(baseline: Cell, run: Run) -> Run:
    like = {"params": dict(baseline.params), "changes": dict(baseline.changes)}
    return replace(run, extra={**run.extra, AS_LONG_AS: like})


def settled_cells(archive: StudyArchive) -> list[Cell]:
    return [Cell(**cell) for cell in archive.study.info[QUESTION]["settled"]["cells"]]


def combined_cells(archive: StudyArchive) -> list[Cell]:
    """The winners together; none before all cells have ended, or where it was not asked for."""
    asked, cells = archive.study.info[QUESTION]["asked"], settled_cells(archive)
    if not asked["then_combine"]:
        return []
    ended = {trial.extra["run"] for trial in archive.trials if trial.state.has_ended}
    if any(run.key not in ended for run in _stage(archive, cells, cells)):
        return []
    return combined(archive, cells, spec_of(archive), archive.study.info[QUESTION]["settled"]["apart"])


def _stage(archive: StudyArchive, cells: Sequence[Cell], settled: Sequence[Cell]) -> list[Run]:
    """Where time is to be equal the paces first, and only once they have ended the blocks. settled: the first ones,
    baselines among them."""
    asked, spec = archive.study.info[QUESTION]["asked"], spec_of(archive)
    if asked["equal"] == "epochs":
        return _blocks(cells, spec, asked["seeds"], {})
    paces = [_pace(cell, spec) for cell in cells]
    ended = {trial.extra["run"]: trial for trial in archive.trials if trial.state.has_ended}
    if any(run.key not in ended for run in paces):
        return paces
    return [*paces, *_blocks(cells, spec, asked["seeds"], epochs_of(archive, cells, settled))]


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


def epochs_of(archive: StudyArchive, cells: Sequence[Cell], settled: Sequence[Cell]) -> dict[str, int]:
    """By cell, the epochs of a schedule that ends when the baseline of its images does; one whose pace, or whose
    baseline's, failed keeps its own.

    A whole schedule each, so that every cell's learning rate has decayed when its time is over: "No Train No Gain",
    Kaddour et al., 2023, https://arxiv.org/abs/2307.06440.
    """
    spec = spec_of(archive)
    paced = {
        trial.extra["cell"]: points
        for trial in archive.trials
        if trial.extra["role"] == PACE and trial.state.has_result and (points := _points(archive, trial))
    }
    found = {}
    for cell in cells:
        baseline = next(one for one in settled if one.group == cell.group)
        if cell.name in paced and baseline.name in paced:
            configuration, its = (one.of(spec).configuration(one.params) for one in (cell, baseline))
            budget_s = _pace_of(paced[baseline.name], its.horizon).time_s(its.horizon)
            epochs = _pace_of(paced[cell.name], configuration.horizon).epochs_in(budget_s)
            grown = configuration.horizon / configuration.epochs  # regime_adaptation trains more than it is told
            found[cell.name] = max(1, round(epochs / grown))
    return found


@dataclass(frozen=True, kw_only=True)
class _Pace:
    """How a cell's training time grows with its epochs: the first is apart, as what is done once is done in it."""

    first_s: float
    epoch_s: float

    def time_s(self, epochs: int) -> float:
        return self.first_s + (epochs - 1) * self.epoch_s

    def epochs_in(self, time_s: float) -> float:
        return 1 + (time_s - self.first_s) / self.epoch_s


def _pace_of(points: Sequence[PointRecord], horizon: int) -> _Pace:
    """Of a cell that was paced over its horizon, as its epochs cost differently, the mean of all."""
    first, last = points[0], points[-1]
    time_s = last.metrics["train_time_s"]
    if last.epoch in (first.epoch, horizon):
        return _Pace(first_s=time_s / last.epoch, epoch_s=time_s / last.epoch)
    first_s = first.metrics["train_time_s"] / first.epoch
    return _Pace(first_s=first_s, epoch_s=(time_s - first_s) / (last.epoch - first.epoch))


def _points(archive: StudyArchive, trial: TrialRecord) -> list[PointRecord]:
    return sorted(by_trial(archive.points).get(trial.number, []), key=lambda point: point.epoch)
