"""A spec for `compare`, made from what was seen: does it pay to leave out what lies far from the full gradient?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tune_cnn.reports.gradients_report import Interval
from tune_cnn.spec import StudySpec, to_yaml
from tune_cnn.study.gradients.findings import split
from tune_cnn.study.gradients.phases import Phase
from tune_cnn.study.gradients.seen import Seen, profile
from tune_cnn.study.gradients.statistics import difference
from tune_cnn.training.gradients.measured import CONTROL
from tune_cnn.untyped import Plain

DROP = 0.2  # the strategy's default share
PARTS: Mapping[str, Callable[[float], bool]] = {
    "lower": lambda place: place < DROP,
    "middle": lambda place: abs(place - 0.5) < DROP / 2,
    "upper": lambda place: place >= 1 - DROP,
    "extremes": lambda place: not DROP / 2 <= place < 1 - DROP / 2,
}
NOT_RANKED = ("class_entropy", "loss", "prediction_entropy", CONTROL)  # which the strategy can't rank images by


@dataclass(frozen=True, kw_only=True)
class Far:
    """A part of a ranking that lies farther from the full gradient than the rest, in all phases together."""

    metric: str
    part: str
    by: Interval  # in shares of the mean distance

    @property
    def words(self) -> str:
        lie = "lie" if self.part == "extremes" else "lies"
        return (
            f"the {self.part} of {self.metric} {lie} farther than the rest, by {self.by.value:.2f} of the mean distance"
        )


def farthest(seen: Seen, phases: Sequence[Phase]) -> list[Far]:
    """What is surely farther, the farthest first; of a metric at most one part."""
    found = []
    for metric in (one for one in seen.metrics if one not in NOT_RANKED):
        of = [one for phase in phases for one in seen.of(metric, phase)]
        mean_k = profile(of)
        fars = []
        for part, where in PARTS.items():
            inside, outside = split(mean_k, where)
            if len(inside) and len(outside) and (by := difference(inside, outside)).sign > 0:
                fars.append(Far(metric=metric, part=part, by=by))
        found += sorted(fars, key=lambda far: -(far.by.low or 0.0))[:1]
    return sorted(found, key=lambda far: -(far.by.low or 0.0))


def policies_spec(spec: StudySpec, far: Far) -> str:
    """The same training with and without the strategy that leaves this part out, and with its counter-part left out."""
    counter = {"lower": "upper", "upper": "lower", "middle": "extremes", "extremes": "middle"}[far.part]
    raw: dict[str, Plain] = spec.model_dump(exclude_unset=True)
    raw["study"] = f"{spec.study.removesuffix('-gradients')}-policies"
    raw["description"] = f"Does selection pay? Made by `gradients`: {far.words}."
    knobs = {"metric": far.metric, "policy": [f"drop_{far.part}", f"drop_{counter}"], "batches": "mixed", "drop": DROP}
    raw["space"] = {**raw["space"], "strategies": {"minibatch_order": knobs}}
    raw.pop("confirm", None)
    return to_yaml(StudySpec.model_validate(raw))


def compare_command(started: Sequence[str], file: str) -> list[str]:
    """The words that put the question."""
    return [*started, "compare", file, "--over", "strategies", "--seeds", "5"]
