"""What a study is, in Markdown for people who find it in MLflow, and as flat parameters."""

import hashlib
import json
import posixpath
import re
from collections.abc import Collection, Mapping

from tune_cnn.records.mlflow.environment import runs_view
from tune_cnn.records.rows import StudyRecord, TrialRecord
from tune_cnn.spec import StudySpec
from tune_cnn.spec.configuration import STRATEGIES
from tune_cnn.states import StudyState
from tune_cnn.untyped import Plain

STATES = {
    StudyState.RUNNING: "The search is running.",
    StudyState.FINISHED: "The search has ended.",
    StudyState.INTERRUPTED: "The search was interrupted; the same command goes on with it.",
    StudyState.FAILED: "The search failed; the same command goes on with it.",
}
NUMBER = "param."  # begins the name of a metric that holds a numeric parameter
LONGEST_NAME = 80
LONGEST_KEY = 240  # MLflow takes 250, of which we leave some for what is put before a name
_SHORT = {  # the keys that come first in a trial's name, and how they are spelled there
    "batch_size": "bs",
    "learning_rate": "lr",
    "precision": "",
    "epochs": "e",
    "loader": "",
    "loader_workers": "w",
    "optimizer": "",
    "schedule": "",
}
_ODD = re.compile(r"[^\w.\-/ ]")  # MLflow's names take letters, digits and these


def describe(spec: StudySpec, study: StudyRecord, counts: Mapping[str, int], hypervolume: float | None) -> str:
    lines = []  # no title: the run's name stands above, and MLflow shows the first lines only until asked for more
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
            f"| `{key}` | `{json.dumps(dimension.as_plain(), default=str)}` |"
            for key, dimension in spec.searched.items()
        ),
    ]
    if spec.fixed:
        fixed = [f"| `{key}` | `{json.dumps(value, default=str)}` |" for key, value in spec.fixed.items()]
        lines += ["", "| fixed | value |", "|---|---|", *fixed]
    if spec.constraints:
        lines += ["", "Constraints: " + ", ".join(_bounds(spec)) + "."]
    lines += ["", *_where_to_look(spec, study)]
    return "\n".join(lines)


def _where_to_look(spec: StudySpec, study: StudyRecord) -> list[str]:
    """For people who have only this page."""
    views = [
        (f"by `{m.name}`", f"metrics.`front.{m.name}`", m.direction.value == "min") for m in spec.objective_metrics
    ]
    links = [f"[{text}]({_view(study, key, ascending)})" for text, key, ascending in views]
    whole = [f"**All runs**: [as a table]({runs_view(study.experiment_id)}).", ""] if study.experiment_id else []
    return [
        *whole,
        f"**The front**: {', '.join(links) if study.experiment_id else ''} filter by `tags.front = 'true'`; the tag "
        "`front_epochs` says which epochs are on it, the metrics `front.<metric>` what the chosen one reached.",
        "",
        f"Numeric parameters are also metrics, `{NUMBER}<name>`: those sort and filter as numbers (write ``metrics."
        f"`{NUMBER}batch_size` > 64``). The artifacts hold the front (`front.html`, `front.png`), the report, the "
        "spec, every point (`points.json`), and `candidates/`, ready for `tune-cnn train`.",
    ]


def _view(study: StudyRecord, key: str, ascending: bool) -> str:
    """The front's runs in MLflow's own page, sorted."""
    query = {"searchFilter": "tags.front = 'true'", "orderByKey": key, "orderByAsc": str(ascending).lower()}
    return runs_view(str(study.experiment_id), **query)


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
        **({"resources.accelerator": spec.resources.accelerators} if spec.resources.accelerators else {}),
        **spec.fixed,
    }
    return params_of(fixed)


def trial_name(trial: TrialRecord, searched: Collection[str]) -> str:
    """What tells a trial from the others at a glance: "t0012 bs256 lr0.13 bf16"."""
    keys = [key for key in _SHORT if key in searched] + [key for key in searched if key not in _SHORT]
    words = [f"t{trial.number:04}", *(_word(key, trial.params[key]) for key in keys if key in trial.params)]
    name = " ".join(word for word in words if word)
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1].rstrip() + "…"


def _word(key: str, value: object) -> str:
    if isinstance(value, bool):  # named where it is on; a strategy by its own name
        return key.rpartition(".")[2] if value else ""
    text = f"{value:.2g}" if isinstance(value, float) else str(value)
    if key in _SHORT:
        return _SHORT[key] + text
    return "" if key.startswith(STRATEGIES) else f"{key.rpartition('.')[2]}={text}"


def numbers_of(params: Mapping[str, Plain], searched: Collection[str]) -> dict[str, float]:
    """The searched parameters that are numbers. MLflow keeps parameters as text, "1024" before "64": as metrics they
    sort and filter by size."""
    numbers = {key: value for key, value in params.items() if key in searched and not isinstance(value, bool)}
    return {
        f"{NUMBER}{odd_free(key)}": float(value) for key, value in numbers.items() if isinstance(value, int | float)
    }


def params_of(params: Mapping[str, Plain]) -> dict[str, str]:
    """Flat parameters as MLflow takes them; values as YAML has them."""
    return {odd_free(key): v if isinstance(v, str) else json.dumps(v, default=str) for key, v in params.items()}


def odd_free(name: str) -> str:
    """A name that MLflow takes, the same as ours but for what it refuses: characters, lengths, paths like ../x."""
    plain = _ODD.sub("_", name)
    if posixpath.normpath(plain) != plain or plain.startswith(("/", ".")):
        plain = "_" + plain.replace("/", "_")
    if len(plain) <= LONGEST_KEY:
        return plain
    return f"{plain[: LONGEST_KEY - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _toward(spec: StudySpec) -> list[str]:
    wanted = {"max": "high", "min": "low"}
    return [f"{wanted[m.direction.value]} `{m.name}`" for m in spec.objective_metrics]


def _bounds(spec: StudySpec) -> list[str]:
    sides = {"max": "≤", "min": "≥"}
    return [f"`{name}` {sides[side]} {limit:g}" for name, bound in spec.bounds.items() for side, limit in bound.items()]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none yet"


def _reached(hypervolume: float | None) -> str:
    return "" if hypervolume is None else f" Hypervolume: {hypervolume:.4g}."
