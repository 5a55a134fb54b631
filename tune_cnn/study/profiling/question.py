"""The question of `tune-cnn profile`: its runs, how one is measured, and what is written of them."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tune_cnn.errors import InputError, TrialError
from tune_cnn.records.document import StudyArchive
from tune_cnn.spec import StudySpec
from tune_cnn.spec.strategies import Cards
from tune_cnn.states import TrialState
from tune_cnn.study.hints import NextCommands
from tune_cnn.study.profiling.answer import CELL, KNOWN, medians
from tune_cnn.study.profiling.cells import Cell, check_compares, grid, in_blocks, levels_of
from tune_cnn.study.profiling.page import answer_files
from tune_cnn.study.profiling.plan import (
    BESIDE_S,
    REPEATS,
    STEPS_S,
    Place,
    cells_in,
    keep,
    known_of,
    place_of,
    seconds_of,
)
from tune_cnn.study.profiling.rules import is_disturbed
from tune_cnn.study.questions.asked import QUESTION
from tune_cnn.study.questions.left import RUN
from tune_cnn.study.questions.question import Here, Run
from tune_cnn.study.session.jobs import job_template, stalls_of
from tune_cnn.training.messages import TrainingJob
from tune_cnn.trials.dedicated import BENCH, Dedicated, ProcessLost, dedicated
from tune_cnn.trials.nodes.losses import Losses
from tune_cnn.trials.trainable import end_of
from tune_cnn.untyped import Plain

BLOCK, RANKS = "block", "ranks"  # of a run's extra


class Profile:
    """Where the time of a step goes, over a grid. ranks: as a dimension of it; minutes: for an even part of it."""

    kind = "profile"
    may_grow: frozenset[str] = frozenset()

    def __init__(self, *, ranks: Sequence[int] | None, minutes: float | None) -> None:
        self._ranks, self._minutes = ranks, minutes
        self._places: dict[int, Place] = {}
        self._bench: WarmBench | None = None

    @property
    def asked(self) -> Mapping[str, Plain]:
        return {"ranks": None if self._ranks is None else list(self._ranks), "minutes": self._minutes}

    def counts(self, spec: StudySpec) -> list[int]:
        """The numbers of ranks that the grid goes over."""
        return sorted(set(self._ranks or (spec.resources.ranks,)))

    def check(self, spec: StudySpec) -> None:
        """InputError for what no hardware could profile, before Ray is started; `settle` holds the rest against it."""
        if spec.training is not None:  # it has no steps that we know of
            raise InputError(
                f"profile: measures the steps of our own training loop, and this spec has its own "
                f"(training: {spec.training}); leave it out"
            )
        check_compares(spec, levels_of(spec), self.counts(spec))

    def settle(self, here: Here) -> Mapping[str, Plain]:
        """The cells, with what is known of each."""
        spec = here.spec
        ranks = self.counts(spec)
        at_most = None if self._minutes is None else cells_in(self._minutes, len(ranks))
        cells, in_all = grid(spec, here.checked.cards, ranks, at_most=at_most)
        places = {count: self._place(here, count) for count in ranks}
        known = known_of(here.session.store, places, cells)
        return {
            "in_all": in_all,
            "cells": [
                {"params": dict(cell.params), RANKS: cell.ranks, KNOWN: dict(of_cell)}
                for cell, of_cell in zip(cells, known, strict=True)
            ],
        }

    def runs(self, archive: StudyArchive) -> Sequence[Run]:
        """What is known first, then block by block."""
        settled, spec_seed = archive.study.info[QUESTION]["settled"], int(archive.study.spec["seed"])
        cells = settled_cells(settled)
        known = [at for at, one in enumerate(settled["cells"]) if one[KNOWN]]
        new = [at for at in range(len(cells)) if at not in known]
        runs = [_run(cells[at], at, spec_seed, f"cell {at} as known", {KNOWN: True}) for at in known]
        for block, place in in_blocks([cells[at] for at in new], REPEATS, spec_seed):
            at = new[place]
            key = f"cell {at} repeat {block + 1}"
            runs.append(_run(cells[at], at, spec_seed, key, {BLOCK: block}))
        return runs

    def foreseen(self, archive: StudyArchive) -> Sequence[Run]:
        return self.runs(archive)

    def lanes(self, here: Here) -> int:  # noqa: ARG002  (each alone on its hardware)
        return 1

    def seconds(self, here: Here, runs: Sequence[Run]) -> float | None:  # noqa: ARG002  (known before anything is tried)
        return seconds_of([int(run.extra[RANKS]) for run in runs if KNOWN not in run.extra])

    def work(self, here: Here, number: int, run: Run) -> None:
        store, study = here.session.store, here.session.study
        if KNOWN in run.extra:
            of_cell = here.session.record.info[QUESTION]["settled"]["cells"][run.extra[CELL]]
            store.add_point(study, number, 1, of_cell[KNOWN])
            store.end_trial(study, number, TrialState.COMPLETE)
            return
        if (failed := _failed_before(here, run)) is not None:
            store.end_trial(study, number, *failed)
            return
        if self._bench is None:
            self._bench = WarmBench(here)
            here.lasting.callback(self._bench.close)
        measured = self._bench.measured(number, run, self._place(here, int(run.extra[RANKS])))
        if isinstance(measured, tuple):
            store.end_trial(study, number, *measured)
            return
        store.add_point(study, number, 1, measured)
        store.end_trial(study, number, TrialState.COMPLETE)
        self._keep(here, run)

    def _keep(self, here: Here, run: Run) -> None:
        """Once all repeats of its cell have ended well, if it was the cell and no other work that they measured."""
        session, cell = here.session, Cell(params=run.params, ranks=int(run.extra[RANKS]))
        ended = {t.number for t in session.store.trials(session.study) if t.extra.get(CELL) == run.extra[CELL]}
        metrics = [point.metrics for point in session.store.points(session.study) if point.trial in ended]
        measured = medians(metrics)
        if len(metrics) < REPEATS or is_disturbed(measured):
            return
        keep(
            session.store,
            self._place(here, cell.ranks),
            cell,
            measured,
            train_images=here.checked.info["data"]["train_images"],
            late=_changes_later(here.spec.configuration(run.params).strategies_on, here.checked.cards),
        )

    def _place(self, here: Here, ranks: int) -> Place:
        if ranks not in self._places:
            self._places[ranks] = place_of(here.spec, ranks, here.spec.resources.phases[0], here.checked.info)
        return self._places[ranks]

    def files(self, archive: StudyArchive, folder: Path, commands: NextCommands) -> dict[str, Path]:
        return answer_files(archive, folder, commands=commands)


def settled_cells(settled: Mapping[str, Plain]) -> list[Cell]:
    return [Cell(params=one["params"], ranks=one[RANKS]) for one in settled["cells"]]


def _run(cell: Cell, at: int, seed: int, key: str, extra: Mapping[str, Plain]) -> Run:
    said = f"{cell.said}, {key.partition(' ')[2].partition(' ')[2]}"
    return Run(key=key, params=cell.params, seed=seed, extra={CELL: at, RANKS: cell.ranks, "said": said, **extra})


def _failed_before(here: Here, run: Run) -> tuple[TrialState, str] | None:
    """How an earlier repeat of the same cell failed: it would again."""
    session = here.session
    for trial in session.store.trials(session.study):
        if trial.extra.get(CELL) == run.extra[CELL] and trial.state.is_failure and trial.extra[RUN] != run.key:
            return trial.state, trial.reason or "no reason recorded"
    return None


def _changes_later(on: Mapping[str, object], cards: Cards) -> bool:
    return any(cards[name].changes_cost for name in on)


class WarmBench:
    """The processes that measure, of one number of ranks at a time; warm from one cell to the next."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self._open = ExitStack()
        self._dedicated: Dedicated | None = None
        self._ranks = 0

    def measured(self, number: int, run: Run, place: Place) -> dict[str, float] | tuple[TrialState, str]:
        """What was measured, or how the trial ends instead."""
        ranks, losses = int(run.extra[RANKS]), Losses()
        job = self._job(number, run, place)
        while True:
            try:
                return self._on(ranks, job, place).bench(
                    job, steps_s=STEPS_S, beside_s=BESIDE_S, evaluates=run.extra[BLOCK] == 0
                )
            except ProcessLost as error:
                self.close()
                if losses.again(number, error.loss, str(error)) is not None:
                    return TrialState.FAILED, str(error)
                self._here.session.report(f"{error}; once more")
            except (TrialError, MemoryError) as error:
                if ranks > 1 or isinstance(error, MemoryError):
                    self.close()  # its group, or its process, has ended
                return end_of(error)

    def _on(self, ranks: int, job: TrainingJob, place: Place) -> Dedicated:
        if self._dedicated is None or self._ranks != ranks:
            self.close()
            how = stalls_of(place.spec, self._here.session.locations)
            self._dedicated = self._open.enter_context(dedicated(job, place.slots, loop=BENCH, **how))
            self._ranks = ranks
        return self._dedicated

    def _job(self, number: int, run: Run, place: Place) -> TrainingJob:
        session, info = self._here.session, self._here.checked.info
        return replace(
            job_template(place.spec, place.slots, session.locations),
            trial=number,
            configuration=place.spec.configuration(run.params),
            seed=run.seed,
            data_key=info["data"]["key"],
            context_mib=info["context_mib"],
            cache_dir=str(Path(session.locations.cache_dir).expanduser()),
        )

    def close(self) -> None:
        """End the processes."""
        self._dedicated = None
        self._open.close()
