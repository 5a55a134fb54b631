"""The front as a user holds it, which of it is confirmed, and the choice among it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from tune_cnn.errors import InputError
from tune_cnn.front.choose import Preference, choose
from tune_cnn.front.confirmed import Confirmed, SeedRun, failed_candidates, overtaking
from tune_cnn.front.constraints import feasible, nothing_feasible
from tune_cnn.metrics import EpochPoint
from tune_cnn.records.document import StudyArchive
from tune_cnn.spec import StudySpec
from tune_cnn.study.accelerators import prediction_of
from tune_cnn.study.archive import confirmed_of, feasible_points, front_of, spec_of
from tune_cnn.study.export import LAST_KEY, Export
from tune_cnn.study.machine import ACCELERATOR, CONFIRMED_ON, key_of, machine_of, on_type
from tune_cnn.study.seeds import NOBODYS, confirm_seed
from tune_cnn.untyped import Plain


class Front:
    """The non-dominated epoch points of a study, which of them are confirmed, and the choice among them.

    `points` are what the search found, a draft; `confirmed` what is known of those that were trained again.
    """

    def __init__(self, archive: StudyArchive, *, accelerator: str | None = None) -> None:
        """`accelerator`: the type that the archive is of alone, where one was asked for; an export asks for it then."""
        self._archive = archive
        self._of_type = accelerator
        self.spec: StudySpec = spec_of(archive)
        self.objectives = self.spec.objective_metrics
        self.points: Sequence[EpochPoint] = front_of(archive, self.spec)
        self._trials = {trial.number: trial for trial in archive.trials}
        self.confirmed: Sequence[Confirmed] = confirmed_of(archive, self.spec)
        self._confirmed = {one.key: one for one in self.confirmed}
        self.runs: Sequence[SeedRun] = archive.confirmations  # that confirm, planned ones among them
        self.failed = failed_candidates(archive.confirmations)

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[EpochPoint]:
        return iter(self.points)

    def why_empty(self) -> str | None:
        """What the constraints left out of points that there are; None where there are none, or a front."""
        if self.points or not self._archive.points:
            return None
        return nothing_feasible(self._archive.points, self.spec.bounds, self.spec.user_metrics)

    def params(self, point: EpochPoint) -> dict[str, Plain]:
        """The searched and fixed parameters of a point's trial, flat."""
        return dict(self._trials[point.trial].params)

    def accelerator(self, point: EpochPoint) -> str | None:
        """The type that a point's trial ran on; None: a CPU trained it, or types were not recorded yet."""
        return self._trials[point.trial].extra.get(ACCELERATOR)

    def run_id(self, point: EpochPoint) -> str | None:
        return self._trials[point.trial].run_id

    def best(
        self,
        *,
        max_time_s: float | None = None,
        min_accuracy: float | None = None,
        where: Sequence[str] = (),
        knee: bool = False,
    ) -> Export:
        """The point that fits the preference, exported: no preference, the knee; two bounds, the most accurate inside.

        Confirmed points go first, and bounds are held against their means; one that was only searched is given where
        no confirmed one is inside. `where`: bounds such as "peak_memory_mib<=8000" on any metric that was measured.
        NothingFits where no point does, with the nearest.
        """
        if max_time_s is not None and not max_time_s > 0:
            raise InputError(f"max_time: must be more than 0 seconds, got {max_time_s:g}")
        if min_accuracy is not None and not 0 <= min_accuracy <= 1:
            raise InputError(f"min_accuracy: must be from 0 to 1, got {min_accuracy:g}; 95 % is 0.95")
        time_s = next((m.name for m in self.objectives if m.name in {"train_time_s", "total_time_s"}), "train_time_s")
        preference = Preference(
            max={time_s: max_time_s} if max_time_s is not None else {},
            min={"accuracy": min_accuracy} if min_accuracy is not None else {},
            knee=knee,
        ).where(where)
        points = feasible_points(self._archive, self.spec)
        if not points:
            why = self.why_empty() or "has no point yet, so nothing can be exported"
            raise InputError(f"study {self.spec.study!r}: {why}")
        means = feasible([one.point for one in self.confirmed], self.spec.bounds)
        return self.export(choose(self.untried or points, self.objectives, preference, confirmed=means))

    @property
    def untried(self) -> list[EpochPoint]:
        """What was only searched: no run that confirms has ended."""
        tried = {*self.failed, *self._confirmed}
        return [p for p in feasible_points(self._archive, self.spec) if (p.trial, p.epoch) not in tried]

    def overtaking(self, trial: int, epoch: int) -> EpochPoint | None:
        """A point only searched that looks better than this confirmed one in every objective; None where none does."""
        one = self._confirmed.get((trial, epoch))
        return None if one is None else overtaking(one, self.untried, self.objectives)

    def export(self, point: EpochPoint) -> Export:
        trial = self._trials[point.trial]
        study, info = self._archive.study, self._archive.study.info
        spec = self.spec.model_dump(exclude_defaults=True)
        kept = ("data", "model", "objectives", "metrics", "prices", "training", "seed")
        phase = {"gpus_per_rank": trial.extra.get("gpu_share", 0.0), "power_limit_w": trial.extra.get("power_limit_w")}
        if self._of_type is not None or len(self.spec.resources.accelerators) > 1:
            phase[ACCELERATOR] = self.accelerator(point)
        resources = {**spec.get("resources", {}), **{k: v for k, v in phase.items() if v is not None}}
        return Export(
            study=study.name,
            config={
                "study": _named(study.name, f"-t{point.trial}-e{point.epoch}"),
                **{key: spec[key] for key in kept if key in spec},
                "space": self.spec.configuration(trial.params).params(),
                "resources": {k: v for k, v in resources.items() if k != "slots"},
                "trial_seed": self._seed(point),
                "stop_epoch": point.epoch,
            },
            promise=self._promise(point),
            origin={
                "study": study.name,
                "trial": point.trial,
                "epoch": point.epoch,
                "run_id": trial.run_id,
                "experiment_id": study.experiment_id,
                "data_key": info.get("data", {}).get("key"),
                **self._machine(point),
                LAST_KEY: datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )

    def _machine(self, point: EpochPoint) -> dict[str, dict[str, Plain]]:
        """Hardware and versions that the promise was measured on."""
        info = on_type(self._archive.study.info, self.accelerator(point))
        confirmed = info.get(CONFIRMED_ON, {}) if (point.trial, point.epoch) in self._confirmed else {}
        return machine_of(confirmed.get(key_of(point.trial, point.epoch), info))

    def _seed(self, point: EpochPoint) -> int:
        """The searched one, which gives what was seen; of a confirmed point one that nobody has trained with.

        Its promise is what a fresh run gives, and the luck of the searched seed is what the point was chosen by.
        """
        searched = self._trials[point.trial].seed
        if (point.trial, point.epoch) not in self._confirmed:
            return searched
        return confirm_seed(searched, point.epoch, NOBODYS)

    def _promise(self, point: EpochPoint) -> dict[str, Plain]:
        """Means over the seeds with their intervals, or what was searched once, or what `transfer` predicts."""
        of = self._confirmed.get((point.trial, point.epoch))
        if of is None:
            predicted = self._of_type is not None and prediction_of(self._archive, self._of_type) is not None
            return {
                "confirmed": False,
                **({"predicted": True} if predicted else {}),
                "metrics": dict(sorted(point.metrics.items())),
            }
        predictions = dict(sorted(of.predictions.items()))
        return {
            "confirmed": True,
            "seeds": of.seeds,
            "failed": list(of.failures),
            "front_probability": of.probability,
            "metrics": {name: one.mean for name, one in predictions.items()},
            "intervals": {
                name: {"std": one.std, "low": one.low, "high": one.high}
                for name, one in predictions.items()
                if one.low != one.high  # what is the same in every run, like the number of parameters, needs none
            },
        }

    def as_rows(self) -> list[dict[str, Plain]]:
        """For `front --json`."""
        return [
            {
                "trial": p.trial,
                "epoch": p.epoch,
                "accelerator": self.accelerator(p),
                "params": self.params(p),
                "metrics": dict(p.metrics),
                "confirmed": self._confirmed[p.trial, p.epoch].as_dict()
                if (p.trial, p.epoch) in self._confirmed
                else False,
                "run_id": self.run_id(p),
            }
            for p in self.points
        ]

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        names = [m.name for m in self.objectives]
        searched = list(self.spec.searched)
        head = "".join(f"<th>{name}</th>" for name in ["trial", "epoch", *names, *searched])
        rows = "".join(
            "<tr>" + "".join(f"<td>{cell}</td>" for cell in self._cells(point, names, searched)) + "</tr>"
            for point in self.points
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _cells(self, point: EpochPoint, names: Sequence[str], searched: Sequence[str]) -> list[str]:
        params = self.params(point)
        return [
            str(point.trial),
            str(point.epoch),
            *(f"{point.metrics[name]:.6g}" for name in names),
            *(str(params.get(key, "")).replace("<", "&lt;") for key in searched),
        ]


def _named(study: str, point: str) -> str:
    """A name of its own, of 128 characters at most: the study's is cut rather than the point's."""
    return study[: 128 - len(point)] + point
