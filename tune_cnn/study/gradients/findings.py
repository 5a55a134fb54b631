"""What the paper found, beside what was seen here: holds, doesn't, or can't tell.

Lasky et al., "What's the Best Mini-batch?": in the first phase intensity and perceptual distance favour the upper
quartile, colour what lies outside the middle 80 %, edges the middle 80 %; in the later phases the extremes are poor for
all four. "Favour" is read here as: nearer to the full gradient, by the mean of |g - G|.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tune_cnn.reports.gradients_report import Finding, Float64, Verdict
from tune_cnn.study.gradients.phases import Phase
from tune_cnn.study.gradients.seen import Seen, profile
from tune_cnn.study.gradients.statistics import difference, region


@dataclass(frozen=True, kw_only=True)
class Claim:
    """That the mini-batches of a part of a ranking are nearer than the others."""

    words: str
    near: Callable[[float], bool]  # places from 0 to 1


UPPER = Claim(words="the upper quartile is nearest", near=lambda place: place >= 0.75)
MIDDLE = Claim(words="the middle 80 % is nearest", near=lambda place: 0.1 <= place < 0.9)
OUTSIDE = Claim(words="what lies outside the middle 80 % is nearest", near=lambda place: not 0.1 <= place < 0.9)
EXTREMES_POOR = Claim(words="the extremes are poor: the outer 10 % on each side are farther", near=MIDDLE.near)
FIRST_PHASE: Mapping[str, Claim] = {"intensity": UPPER, "perceptual": UPPER, "colour": OUTSIDE, "edges": MIDDLE}
PAPER = tuple(FIRST_PHASE)


def findings(seen: Seen, phases: Sequence[Phase]) -> list[Finding]:
    """Every claim of the paper; those whose metric or phase was not measured are told as such."""
    found = []
    for metric in PAPER:
        first = [phase for phase in phases if phase.number == 1]
        later = [phase for phase in phases if phase.number > 1]
        found.append(_finding(seen, metric, "1", FIRST_PHASE[metric], first))
        found.append(_finding(seen, metric, "2 and later", EXTREMES_POOR, later))
    return found


def _finding(seen: Seen, metric: str, named: str, claim: Claim, phases: Sequence[Phase]) -> Finding:
    of = [one for phase in phases for one in seen.of(metric, phase)]
    if metric not in seen.metrics or not of:
        why = "the metric was not measured" if metric not in seen.metrics else "no epoch of this phase was measured"
        return _cant_tell(metric, named, claim, why)
    near, far = split(profile(of), claim.near)
    if not len(near) or not len(far):
        why = "there are too few mini-batches for such parts"
        return _cant_tell(metric, named, claim, why)
    apart = difference(near, far)
    verdict = {-1: Verdict.HOLDS, 1: Verdict.DOES_NOT, 0: Verdict.CANT_TELL}[apart.sign]
    shown = f"{apart.value:+.2f}"
    if apart.low is not None and apart.high is not None:
        shown += f" ({apart.low:+.2f} … {apart.high:+.2f})"
    why = f"mean distance {near.mean():.2f} of {len(near)} mini-batches there, {far.mean():.2f} of the others: {shown}"
    return Finding(metric=metric, phase=named, claim=claim.words, difference=apart, verdict=verdict, why=why)


def _cant_tell(metric: str, named: str, claim: Claim, why: str) -> Finding:
    return Finding(metric=metric, phase=named, claim=claim.words, difference=None, verdict=Verdict.CANT_TELL, why=why)


def split(mean_k: Float64, near: Callable[[float], bool]) -> tuple[Float64, Float64]:
    """The distances of the mini-batches that lie there, and of the others."""
    there = region(len(mean_k), near)
    return mean_k[there], mean_k[~there]
