"""What a comparison found, from the stored study alone."""

from collections.abc import Mapping, Sequence

from tune_cnn.front.comparison.compared import CellRuns, Compared, compared
from tune_cnn.metrics import Direction, by_trial
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.rows import TrialRecord
from tune_cnn.reports.numbers import number, setting
from tune_cnn.spec import StudySpec
from tune_cnn.states import TrialState
from tune_cnn.study.archive import spec_of
from tune_cnn.study.comparing.asked import NONE
from tune_cnn.study.comparing.cells import Cell
from tune_cnn.study.comparing.plan import BLOCK, combined_cells, settled_cells
from tune_cnn.study.questions.asked import QUESTION
from tune_cnn.untyped import Plain

RATE = "learning_rate"
STEPS = {"accuracy": "validation_images", "test_accuracy": "test_images"}


def answer_of(archive: StudyArchive) -> Compared:
    """The cells with what is known of them; those of each set of images behind its baseline."""
    asked, spec = archive.study.info[QUESTION]["asked"], spec_of(archive)
    cells = [*settled_cells(archive), *combined_cells(archive)]
    runs = [_runs_of(archive, cell, spec, asked) for cell in cells]
    return compared(runs, list(asked["over"]), spec.objective_metrics, spec.user_metrics)


def _runs_of(archive: StudyArchive, cell: Cell, spec: StudySpec, asked: Mapping[str, Plain]) -> CellRuns:
    trials = [t for t in archive.trials if t.extra["role"] == BLOCK and t.extra["cell"] == cell.name]
    points = by_trial(archive.points)
    ended = [trial for trial in trials if trial.state.has_ended]
    failed = [trial for trial in trials if trial.state.is_failure]
    whole = [trial for trial in trials if trial.state.has_result and trial.number in points]
    resolutions = {name: 1 / count for name, images in STEPS.items() if (count := cell.images.get(images))}
    return CellRuns(
        name=cell.name,
        name_within=cell.name_without("data") if cell.group else cell.name,
        levels=cell.levels,
        params=cell.params,
        group=cell.group,
        runs={t.extra["block"]: sorted(points[t.number], key=lambda point: point.epoch) for t in whole},
        planned=asked["seeds"] - len(ended),
        failures=tuple(trial.reason or trial.state for trial in failed),
        notes=tuple(_notes(cell, spec, trials)),
        resolutions=resolutions,
    )


def _notes(cell: Cell, spec: StudySpec, trials: Sequence[TrialRecord]) -> list[str]:
    """How its trainings ended otherwise than at a fixed end with a rate that has decayed."""
    stopped = [trial for trial in trials if trial.state is TrialState.STOPPED]
    told = [f"{len(stopped)} of {len(trials)} stopped early: {stopped[0].reason}"] if stopped else []
    if cell.of(spec).training is None and cell.of(spec).configuration(cell.params).schedule == "plateau":
        told.append("plateau: its rate falls when the loss stays, so it need not have decayed at the end")
    epochs = {trial.params["epochs"] for trial in trials if "epochs" in trial.params and "epochs" not in cell.params}
    return told + [f"{setting(value)} epochs for an equal time" for value in epochs]


def notes_of(archive: StudyArchive, found: Compared) -> list[str]:
    """What the reader has to bear in mind: rates that were not tuned, or stand at an end of their list."""
    asked = archive.study.info[QUESTION]["asked"]
    told = rate_notes(found, asked["over"])
    if asked["equal"] == "epochs":
        told.append(
            "compared at equal epochs: a cell whose epochs take longer had more time; --equal time trains each by a "
            "whole schedule that ends when the baseline's does"
        )
    else:
        told.append("compared at equal time, in whole epochs, each by a schedule that has decayed at its end")
    if asked["beside"]:
        told.append("runs stood beside others, so their times are those of shared hardware; compare accuracies alone")
    if asked["then_combine"] and not combined_cells(archive):
        told.append(f"nothing was combined: fewer than two strategies that go together are better than {NONE}")
    failed = {cell.of.name: len(cell.of.failures) for cell in found.cells if cell.of.failures}
    told += [f"{name}: {count} of its runs failed, and the others alone are compared" for name, count in failed.items()]
    return told


def rate_notes(found: Compared, over: Sequence[str]) -> list[str]:
    """Where the learning rate was compared: the cells whose best rate is an end of the list; else that it was not."""
    if RATE not in over:
        rates = "learning_rate is the same for all cells, so it may suit one of them better than the others"
        return [f"{rates}; --over {','.join([*over, RATE])} tunes it for each"]
    objective = found.objectives[0]
    best: dict[tuple[str, ...], tuple[float, Plain]] = {}
    levels: dict[tuple[str, ...], list[Plain]] = {}
    sign = -1 if objective.direction is Direction.MAX else 1
    for cell in found.cells:
        others = tuple(f"{key} {setting(level)}" for key, level in cell.of.levels.items() if key != RATE)
        if objective.name in cell.metrics:
            levels.setdefault(others, []).append(cell.of.levels[RATE])
            mine = (sign * cell.metrics[objective.name].mean, cell.of.levels[RATE])
            best[others] = min(best.get(others, mine), mine, key=lambda one: one[0])
    told = []
    for others, (_, rate) in best.items():
        where = "smallest" if rate == min(levels[others]) else "largest" if rate == max(levels[others]) else None
        if where is not None and len(levels[others]) > 1:
            told.append(
                f"{', '.join(others) or 'the best cell'}: its best learning_rate, {number(rate)}, is the {where} of "
                "the list, so a better one may lie beyond"
            )
    return told
