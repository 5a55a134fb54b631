"""What the page of `gradients` shows, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tune_cnn.untyped import Plain

Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with the 95 % of the draws around it; None where there is nothing to draw from."""

    value: float
    low: float | None
    high: float | None

    def as_dict(self) -> dict[str, Plain]:
        return {"value": self.value, "low": self.low, "high": self.high}

    @property
    def sign(self) -> int:
        """-1 or 1 where the interval lies on one side of 0, else 0."""
        if self.low is None or self.high is None:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


class Verdict(StrEnum):
    HOLDS = "holds"
    DOES_NOT = "doesn't"
    CANT_TELL = "can't tell"


@dataclass(frozen=True, kw_only=True)
class Part:
    """Equal parts of a ranking: the mean distance of their mini-batches, the mean of all being 1."""

    begin: float  # share of the ranking
    end: float
    distance: Interval


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A mini-batch to look at."""

    place: float  # in the ranking, from 0 to 1
    value: float  # the metric's mean
    class_entropy: float  # of its labels, nat
    distance: float  # relative to the mean of all
    png: str  # base64


@dataclass(frozen=True, kw_only=True, eq=False)
class PhaseSeen:
    """One metric's mini-batches in one phase: distances relative to the mean of all mini-batches of their epoch."""

    number: int
    epochs: str  # in words, counted from 1
    measured: Sequence[int]  # the epochs that were measured, from 0
    heat: Float64  # (measured epochs, mini-batches), the mean over the trainings
    correlation: Interval  # of the place in the ranking with the distance
    by_seed: Sequence[float]  # the same of each training
    by_value: float  # of the class entropy with the distance
    parts: Sequence[Part]
    against_control: Interval | None  # mean distance over that of random mini-batches; None: those were not measured
    relative_l2: float  # mean of |g - G| / |G|
    cosine: float  # mean of 1 - cos(g, G)
    layers: Mapping[str, Sequence[float]]  # |g - G| / |G| of a layer alone, by parts of the ranking
    nearest: Sequence[Sheet]
    farthest: Sequence[Sheet]


@dataclass(frozen=True, kw_only=True)
class MetricSeen:
    name: str
    phases: Sequence[PhaseSeen]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the paper found, and what was seen here."""

    metric: str
    phase: str
    claim: str
    difference: Interval | None  # of mean distances, in shares of the mean; None: not measured
    verdict: Verdict
    why: str  # in words


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Of one measured epoch."""

    epoch: int  # from 0
    images: Interval


@dataclass(frozen=True, kw_only=True)
class GradientsReport:
    study: str
    description: str
    state: str
    facts: Sequence[tuple[str, str]]  # name and value
    answer: Sequence[str]  # plain sentences
    metrics: Sequence[MetricSeen]
    noise: Sequence[Noise]  # none where no random mini-batches were measured
    findings: Sequence[Finding]
    notes: Sequence[str]
    policies: str | None  # a spec for `compare`; None: nothing seen that one could choose by
    spec_yaml: str
    commands: Sequence[str]
    hardware: Mapping[str, Plain]
    versions: Mapping[str, str]
