"""What is to be confirmed: which points of the front, by how many trainings, with which seeds."""

from collections.abc import Sequence

from tune_cnn.errors import InputError
from tune_cnn.front.confirmed import SeedRun
from tune_cnn.front.constraints import nothing_feasible
from tune_cnn.front.hypervolume import reference_point
from tune_cnn.front.representatives import representatives
from tune_cnn.metrics import EpochPoint
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.rows import TrialRecord
from tune_cnn.spec import StudySpec
from tune_cnn.spec.parts import ConfirmSpec
from tune_cnn.spec.resources import Phase
from tune_cnn.states import RunState
from tune_cnn.study.accelerators import on_type_alone, predicted_on, searched_types
from tune_cnn.study.archive import feasible_points
from tune_cnn.study.machine import ACCELERATOR
from tune_cnn.study.seeds import confirm_seed
from tune_cnn.untyped import Plain


def settings(spec: StudySpec, points: int | None, seeds: int | None) -> ConfirmSpec:
    """What was asked for here, over what the spec says, over the defaults."""
    for name, given in (("points", points), ("seeds", seeds)):
        if given is not None and given < 1:
            raise InputError(f"confirm: {name} must be at least 1, got {given}")
    base = spec.confirm or ConfirmSpec()
    return ConfirmSpec(points=base.points if points is None else points, seeds=base.seeds if seeds is None else seeds)


def plan(archive: StudyArchive, spec: StudySpec, wanted: ConfirmSpec, *, on: str | None = None) -> list[SeedRun]:
    """The runs that `wanted` comes to, those that have ended among them; InputError where there is no front.

    `on`: the type of accelerator that they are to run on; None: each on its own. Where the study was not searched on
    it, the candidates are those that `transfer` predicts for it, or the front's where it has predicted none.

    Seed by seed over all candidates: a machine that grows slower then shows in every interval, not in one mean. By
    shares of a GPU, and the power that it may take, within a seed: another one takes another process.
    """
    seeds = {trial.number: trial.seed for trial in archive.trials}
    phases = {trial.number: phase_of(trial, spec) for trial in archive.trials}
    order = {phase: at for at, phase in enumerate(dict.fromkeys(phases.values()))}
    return [
        SeedRun(trial=p.trial, epoch=p.epoch, number=number, seed=confirm_seed(seeds[p.trial], p.epoch, number))
        for number in range(wanted.seeds)
        for p in sorted(candidates(archive, spec, wanted.points, on=on), key=lambda p: order[phases[p.trial]])
    ]


def phase_of(trial: TrialRecord, spec: StudySpec) -> Phase:
    """The type, the share of a GPU, and the power, that a trial was searched with; of several types that a study names.

    Of one alone it is that one: another start of the study may have been on another machine.
    """
    named = spec.resources.accelerators
    return Phase(
        accelerator=named[0] if len(named) == 1 else trial.extra.get(ACCELERATOR) if named else None,
        gpus_per_rank=float(trial.extra.get("gpu_share", 0.0)),
        power_limit_w=trial.extra.get("power_limit_w"),
    )


def candidates(archive: StudyArchive, spec: StudySpec, count: int, *, on: str | None = None) -> list[EpochPoint]:
    if on is not None and (there := predicted_on(archive, spec, on)):
        return representatives(there, spec.objective_metrics, reference_point(there, spec.objective_metrics), count)
    if on in searched_types(archive):
        archive = on_type_alone(archive, str(on))
    points, objectives = feasible_points(archive, spec), spec.objective_metrics
    reference = archive.study.reference or reference_point(points, objectives)
    if not archive.points or (points and not reference):
        raise InputError(
            f"study {spec.study!r}: has no point yet, so there is nothing to confirm; search until a trial has ended "
            "an epoch"
        )
    if not points:
        why = nothing_feasible(archive.points, spec.bounds, spec.user_metrics)
        raise InputError(f"study {spec.study!r}: there is nothing to confirm: {why}")
    return representatives(points, objectives, reference, count)


def is_left(archive: StudyArchive, spec: StudySpec) -> bool:
    """Whether the spec wants runs that have not ended yet, of a study whose search is over."""
    if spec.confirm is None or not feasible_points(archive, spec):
        return False
    ended = {(run.key, run.number) for run in archive.confirmations if run.state is not RunState.PLANNED}
    return any((run.key, run.number) not in ended for run in plan(archive, spec, spec.confirm))


def progress(runs: Sequence[SeedRun]) -> dict[str, Plain] | None:
    """How confirming stands, for `status`; None where nothing was ever planned."""
    if not runs:
        return None
    counts = {state: sum(run.state == state for run in runs) for state in RunState if state is not RunState.PLANNED}
    return {
        "points": len({run.key for run in runs}),
        "confirmed": len({run.key for run in runs if run.state is RunState.COMPLETE}),
        "runs": {**counts, "planned": sum(run.state is RunState.PLANNED for run in runs)},
    }
