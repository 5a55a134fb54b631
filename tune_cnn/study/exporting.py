"""The front as a user holds it, and a configuration exported from it with what it promises."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tune_cnn.errors import InputError, SpecError
from tune_cnn.front.choose import Preference, choose
from tune_cnn.front.constraints import nothing_feasible
from tune_cnn.objectives import EpochPoint
from tune_cnn.records.document import StudyArchive
from tune_cnn.spec import StudySpec
from tune_cnn.spec.loading import dump_yaml, read_yaml
from tune_cnn.study.archive import feasible_points, front_of, spec_of


@dataclass(frozen=True, kw_only=True)
class Export:
    """A configuration that `train` and `search` accept, what it promises, and where it comes from."""

    study: str
    config: Mapping[str, Any]
    promise: Mapping[str, Any]
    origin: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {"study": self.study, "config": self.config, "promise": self.promise, "origin": self.origin}

    def to_yaml(self, path: str | Path | None = None) -> str:
        """YAML text; written whole to `path`, where one is given."""
        text = dump_yaml(self.as_dict())
        if path is not None:
            write_whole(Path(path), text)
        return text

    def to_json(self) -> str:
        return json.dumps(self.as_dict(), indent=2)


def read_export(path: str | Path) -> Export:
    """An export from its file, YAML or JSON; SpecError where it is none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: can't be read: {error}") from None
    raw = read_yaml(text, str(path))
    keys = {"study", "config", "promise", "origin"}
    if not isinstance(raw, dict) or set(raw) != keys or not all(isinstance(raw[k], dict) for k in keys - {"study"}):
        raise SpecError(
            f"{path}: is not an exported configuration (a mapping of {', '.join(sorted(keys))}); "
            "make one with `tune-cnn export STUDY -o FILE`"
        )
    return Export(**raw)


class Front:
    """The non-dominated epoch points of a study, and the choice among them."""

    def __init__(self, archive: StudyArchive) -> None:
        self._archive = archive
        self.spec: StudySpec = spec_of(archive)
        self.objectives = self.spec.objective_metrics
        self.points: Sequence[EpochPoint] = front_of(archive, self.spec)
        self._trials = {trial.number: trial for trial in archive.trials}

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[EpochPoint]:
        return iter(self.points)

    def params(self, point: EpochPoint) -> dict[str, Any]:
        """The searched and fixed parameters of a point's trial, flat."""
        return dict(self._trials[point.trial].params)

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

        `where`: bounds such as "peak_memory_mib<=8000" on any metric that was measured. NothingFits where no point
        does, with the nearest.
        """
        time_s = next((m.name for m in self.objectives if m.name in {"train_time_s", "total_time_s"}), "train_time_s")
        preference = Preference(
            max={time_s: max_time_s} if max_time_s is not None else {},
            min={"accuracy": min_accuracy} if min_accuracy is not None else {},
            knee=knee,
        ).where(where)
        points = feasible_points(self._archive, self.spec)
        if not points and self._archive.points:
            bounds = {name: bound.model_dump(exclude_none=True) for name, bound in self.spec.constraints.items()}
            raise InputError(
                f"study {self.spec.study!r}: {nothing_feasible(self._archive.points, bounds, self.spec.user_metrics)}"
            )
        if not points:
            raise InputError(f"study {self.spec.study!r}: has no point yet, so nothing can be exported")
        return self.export(choose(points, self.objectives, preference))

    def export(self, point: EpochPoint) -> Export:
        trial = self._trials[point.trial]
        study, info = self._archive.study, self._archive.study.info
        spec = self.spec.model_dump(exclude_defaults=True)
        kept = ("data", "model", "objectives", "metrics", "training", "seed")
        resources = {**spec.get("resources", {}), "gpus_per_rank": trial.extra.get("gpu_share", 0.0)}
        return Export(
            study=study.name,
            config={
                "study": f"{study.name}-t{point.trial}-e{point.epoch}"[:128],
                **{key: spec[key] for key in kept if key in spec},
                "space": self.spec.configuration(trial.params).params(),
                "resources": {k: v for k, v in resources.items() if k != "slots"},
                "trial_seed": trial.seed,
                "stop_epoch": point.epoch,
            },
            promise={"confirmed": False, "metrics": dict(sorted(point.metrics.items()))},
            origin={
                "study": study.name,
                "trial": point.trial,
                "epoch": point.epoch,
                "run_id": trial.run_id,
                "experiment_id": study.experiment_id,
                "data_key": info.get("data", {}).get("key"),
                "hardware": dict(info.get("hardware", {})),
                "versions": dict(info.get("versions", {})),
                "exported": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )

    def as_rows(self) -> list[dict[str, Any]]:
        """For `front --json`."""
        return [
            {
                "trial": p.trial,
                "epoch": p.epoch,
                "params": self.params(p),
                "metrics": dict(p.metrics),
                "confirmed": False,
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


def write_whole(path: Path, text: str) -> None:
    """Write under a temporary name, then rename; InputError where the place can't be written."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"{path}: can't be written: {error.strerror or error}") from None
