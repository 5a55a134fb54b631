"""What a study is, in Markdown for people who find it in MLflow, and as flat parameters."""

import json
import re
from collections.abc import Mapping
from typing import Any

from tune_cnn.records.rows import StudyRecord
from tune_cnn.spec import StudySpec
from tune_cnn.spec.study import dimension_out

STATES = {
    "running": "The search is running.",
    "finished": "The search has spent its budget.",
    "interrupted": "The search was interrupted; the same command goes on with it.",
    "failed": "The search failed; the same command goes on with it.",
}
_ODD = re.compile(r"[^\w.\-/ ]")  # MLflow's names take letters, digits and these


def describe(spec: StudySpec, study: StudyRecord, counts: Mapping[str, int], hypervolume: float | None) -> str:
    lines = [f"# {spec.study}", ""]
    if spec.description:
        lines += [spec.description, ""]
    lines += [
        f"**{spec.model.name}** on **{spec.data.name}**, searched for {' and '.join(_toward(spec))}.",
        "",
        STATES[study.state] + f" Trials: {_counted(counts)}." + _reached(hypervolume),
        "",
        "| searched | values |",
        "|---|---|",
        *(
            f"| `{key}` | `{json.dumps(dimension_out(dimension), default=str)}` |"
            for key, dimension in spec.searched.items()
        ),
    ]
    if spec.fixed:
        fixed = [f"| `{key}` | `{json.dumps(value, default=str)}` |" for key, value in spec.fixed.items()]
        lines += ["", "| fixed | value |", "|---|---|", *fixed]
    if spec.constraints:
        lines += ["", "Constraints: " + ", ".join(_bounds(spec)) + "."]
    lines += [
        "",
        "The front's trials: filter by `tags.front = 'true'`; `front_epochs` are the epochs that are on it, "
        "`front.<metric>` what the offered one reached.",
    ]
    return "\n".join(lines)


def study_params(spec: StudySpec) -> dict[str, str]:
    """What is the same for all trials. The budget may grow, so it is none of it."""
    fixed = {
        "data.name": spec.data.name,
        "model.name": spec.model.name,
        "objectives": list(spec.objectives),
        "sampler": spec.sampler.name,
        "seed": spec.seed,
        "resources.ranks": spec.resources.ranks,
        "resources.cpus_per_trial": spec.resources.cpus_per_trial,
        **spec.fixed,
    }
    return params_of(fixed)


def params_of(params: Mapping[str, Any]) -> dict[str, str]:
    """Flat parameters as MLflow takes them; values as YAML has them."""
    return {odd_free(key): v if isinstance(v, str) else json.dumps(v, default=str) for key, v in params.items()}


def odd_free(name: str) -> str:
    """A name that MLflow takes, the same as ours but for characters that it refuses."""
    return _ODD.sub("_", name)[:250]


def _toward(spec: StudySpec) -> list[str]:
    wanted = {"max": "high", "min": "low"}
    return [f"{wanted[m.direction.value]} `{m.name}`" for m in spec.objective_metrics]


def _bounds(spec: StudySpec) -> list[str]:
    sides = {"max": "≤", "min": "≥"}
    return [
        f"`{name}` {sides[side]} {limit:g}"
        for name, bound in spec.constraints.items()
        for side, limit in bound.model_dump(exclude_none=True).items()
    ]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none yet"


def _reached(hypervolume: float | None) -> str:
    return "" if hypervolume is None else f" Hypervolume: {hypervolume:.4g}."
