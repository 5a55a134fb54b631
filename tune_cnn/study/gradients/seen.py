"""What was seen of each metric in each phase: pure, from what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tune_cnn.records.rows import Measurement
from tune_cnn.reports.gradients_report import Float64, Interval, MetricSeen, Noise, Part, PhaseSeen, Sheet
from tune_cnn.study.gradients.noise_scale import noise_scale
from tune_cnn.study.gradients.phases import Phase
from tune_cnn.study.gradients.statistics import correlation, mean, parts, rank_correlation, ratio
from tune_cnn.training.gradients.measured import CONTROL, Measured
from tune_cnn.untyped import Plain

SHEETS = "sheets"  # in the name of a measurement that holds images
SHOWN = 3  # mini-batches nearest, and as many farthest


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The measured epochs of all trainings."""

    measured: Sequence[tuple[int, Measured]]  # by the number of the trial
    sheets: Mapping[tuple[str, int], Mapping[str, Plain]]  # by metric and phase

    @property
    def metrics(self) -> list[str]:
        """The control comes last."""
        return sorted(dict.fromkeys(one.metric for _, one in self.measured), key=lambda name: name == CONTROL)

    def of(self, metric: str, phase: Phase) -> list[tuple[int, Measured]]:
        return [(trial, one) for trial, one in self.measured if one.metric == metric and one.epoch in phase.measured]


def read(found: Sequence[Measurement], metrics: Sequence[str] = ()) -> Seen:
    """`metrics`: in the order in which they are to be told of."""
    measured, sheets = [], {}
    for one in found:
        kind, _, rest = one.name.partition("/")
        if kind == SHEETS:
            phase, _, metric = rest.partition("/")
            sheets[(metric, int(phase))] = one.content
        else:
            measured.append((one.trial, Measured.of(one.content)))
    places = {metric: place for place, metric in enumerate(metrics)}
    measured.sort(key=lambda one: places.get(one[1].metric, -1))
    return Seen(measured=measured, sheets=sheets)


def relative(one: Measured) -> Float64:
    """Each mini-batch's distance to the full gradient, the mean of all mini-batches of the usual size being 1."""
    l2_k = np.array(one.l2[: one.whole])
    found: Float64 = l2_k / l2_k.mean()
    return found


def profile(of: Sequence[tuple[int, Measured]]) -> Float64:
    """By place in the ranking: the mean over epochs and trainings, each weighing alike."""
    profiled: Float64 = np.mean([relative(one) for _, one in of], axis=0)
    return profiled


def phase_seen(seen: Seen, metric: str, phase: Phase) -> PhaseSeen:
    of = seen.of(metric, phase)
    mean_k = profile(of)
    count = len(mean_k)
    places_k = (np.arange(count) + 0.5) / count
    cuts = parts(count)
    trials = sorted({trial for trial, _ in of})
    by_seed = [rank_correlation(places_k, profile([one for one in of if one[0] == trial])) for trial in trials]
    mixes_k = np.mean([one.class_entropy[: one.whole] for _, one in of], axis=0)
    sheets = seen.sheets.get((metric, phase.number), {})
    return PhaseSeen(
        number=phase.number,
        epochs=phase.epochs,
        measured=phase.measured,
        heat=np.array([profile([one for one in of if one[1].epoch == epoch]) for epoch in phase.measured]),
        correlation=correlation(places_k, mean_k),
        by_seed=by_seed,
        by_value=rank_correlation(mixes_k, mean_k),
        parts=[Part(begin=cut.start / count, end=cut.stop / count, distance=mean(mean_k[cut])) for cut in cuts],
        against_control=_against(seen, of, phase) if metric != CONTROL else None,
        relative_l2=float(np.mean([np.mean(one.l2[: one.whole]) / one.full_norm for _, one in of])),
        cosine=float(np.mean([np.mean(one.cosine[: one.whole]) for _, one in of])),
        layers=_layers([one for _, one in of]),
        nearest=[Sheet(**sheet) for sheet in sheets.get("nearest", ())],
        farthest=[Sheet(**sheet) for sheet in sheets.get("farthest", ())],
    )


def metrics_seen(seen: Seen, phases: Sequence[Phase]) -> list[MetricSeen]:
    return [
        MetricSeen(name=metric, phases=[phase_seen(seen, metric, phase) for phase in phases if seen.of(metric, phase)])
        for metric in seen.metrics
    ]


def noise_seen(seen: Seen) -> list[Noise]:
    """Of each measured epoch, by the random mini-batches; the mean over trainings, in images."""
    controls = [one for _, one in seen.measured if one.metric == CONTROL]
    found = []
    for epoch in sorted({one.epoch for one in controls}):
        of = [_noise(one) for one in controls if one.epoch == epoch]
        middle = [float(np.mean([getattr(one, name) for one in of])) for name in ("value", "low", "high")]
        found.append(Noise(epoch=epoch, images=Interval(value=middle[0], low=middle[1], high=middle[2])))
    return found


def extremes(mean_k: Float64) -> tuple[list[int], list[int]]:
    """The numbers of the nearest mini-batches, nearest first, and of the farthest, farthest first."""
    order = np.argsort(mean_k, kind="stable").tolist()
    some = min(SHOWN, max(1, len(order) // 2))
    return order[:some], order[::-1][:some]


def _noise(one: Measured) -> Interval:
    norm_k = np.array(one.norm[: one.whole])
    found = noise_scale(norm_k, one.full_norm, batch_size=one.batch_size, images=one.images)
    return found if found.low is not None else replace(found, low=found.value, high=found.value)


def _against(seen: Seen, of: Sequence[tuple[int, Measured]], phase: Phase) -> Interval | None:
    """The metric's mini-batches beside random ones: by |g - G| / |G|, each mini-batch's mean over the phase."""
    control = seen.of(CONTROL, phase)
    if not control:
        return None
    some, others = (
        np.mean([np.array(one.l2[: one.whole]) / one.full_norm for _, one in which], axis=0) for which in (of, control)
    )
    return ratio(some, others)


def _layers(of: Sequence[Measured]) -> dict[str, list[float]]:
    names = [name for name in of[0].layers if all(name in one.layers for one in of)]
    return {name: np.mean([one.layers[name] for one in of], axis=0).tolist() for name in names}
