"""What a reader of the answer must know: how it was measured, and what it can't say."""

from collections.abc import Sequence

from tune_cnn.records.document import StudyArchive
from tune_cnn.study.archive import spec_of
from tune_cnn.study.gradients.phases import STRETCHES, Phase
from tune_cnn.study.gradients.seen import Seen
from tune_cnn.training.gradients.measured import CONTROL, OF_NET

BATCH_NORM = (
    "Batch normalisation takes each mini-batch's own statistics, as a training step does, so with it each order has a "
    "full gradient of its own: the mean of its mini-batches'. Running statistics of the training are untouched; "
    "dropout and stochastic depth are off."
)
CHANCE = (
    "Findings are not corrected for their number: of eight, one page in three has one that holds, or doesn't, "
    "by chance."
)


def notes(archive: StudyArchive, seen: Seen, of: Sequence[Phase]) -> list[str]:
    """In the order in which they matter."""
    trainings = len({trial for trial, _ in seen.measured})
    told = [
        "Gradients are of the training's loss in float32 at the parameters before the epoch; images are neither "
        "augmented nor mixed, and each order stays as it is while a second net trains on shuffled mini-batches.",
        BATCH_NORM,
        "Intervals are over mini-batches drawn again (bootstrap, 95 %): they say nothing of another training, "
        f"of which {'one was' if trainings == 1 else f'{trainings} were'} measured.",
        CHANCE,
        *_last_one(seen),
        *_phases(archive, of),
    ]
    if CONTROL not in seen.metrics and seen.measured:
        told.append(
            "No random mini-batches were measured (--no-control): there is no noise scale, nor anything to hold the "
            "metrics' mini-batches against."
        )
    return [*told, *_moved(seen)]


def _last_one(seen: Seen) -> list[str]:
    if not seen.measured or (one := seen.measured[0][1]).whole == len(one.l2):
        return []
    return [
        f"The last mini-batch has {one.last_size} images instead of {one.batch_size} and counts in the full gradient "
        "alone: it is farther or nearer by its size."
    ]


def _phases(archive: StudyArchive, of: Sequence[Phase]) -> list[str]:
    schedule = spec_of(archive).configuration({}).schedule
    if schedule in STRETCHES or not of:
        return []
    return [
        f"With schedule {schedule} the rate changes at every step: phases are thirds of the epochs. The paper's are "
        "stretches of one rate: schedule step has them."
    ]


def _moved(seen: Seen) -> list[str]:
    """Fixed orders that were not: a resumed run may rank on another machine."""
    orders: dict[str, set[str]] = {}
    for _, one in seen.measured:
        orders.setdefault(one.metric, set()).add(one.order)
    return [
        f"The order by {metric} was not the same in all epochs: its values differ between machines."
        for metric, of in orders.items()
        if len(of) > 1 and metric not in OF_NET
    ]
