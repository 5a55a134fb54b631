"""The model card that `tune-cnn train` lays beside the weights, in Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tune_cnn.metrics import METRICS, Direction, Metric
from tune_cnn.reports.numbers import ABSENT, number, setting
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What the model is, what it was promised to be worth and what it is, and how to load it."""

    title: str
    summary: str
    origin: Mapping[str, Plain]  # study, trial, epoch, seed and what else says where the configuration comes from
    data: Mapping[str, Plain]  # name, key, split and counts
    configuration: Mapping[str, Plain]
    promise: Mapping[str, float]
    achieved: Mapping[str, float]
    hardware: Mapping[str, Plain]
    versions: Mapping[str, Plain]
    weights_file: str | None  # None: there are no weights
    build_code: str  # Python that binds the network, without its weights, to `model`
    metrics: Mapping[str, Metric] = field(default_factory=dict)  # the user's own
    classes: Sequence[str] = ()
    inputs: str = ""  # what the model expects, in words: shape, range, normalisation
    notes: Sequence[str] = ()


def model_card(card: ModelCard) -> str:
    """The card in Markdown."""
    parts = [
        f"# {_line(card.title)}",
        _line(card.summary),
        "## What it does, and what was promised",
        _promise_table(card.promise, card.achieved, {**METRICS, **card.metrics}),
        "Off: by how much the achieved value differs from the promised one, and whether that is for the better.",
        "## How to load it",
        *([_line(card.inputs)] if card.inputs else []),
        _code(_loading(card.weights_file, card.build_code))
        if card.weights_file
        else "Its weights are not here, see the notes.",
        *([_classes(card.classes)] if card.classes else []),
    ]
    for name, values in (
        ("Configuration", card.configuration),
        ("Data", card.data),
        ("Origin", card.origin),
        ("Hardware", card.hardware),
        ("Versions", card.versions),
    ):
        if values:
            parts += [f"## {name}", _pairs(values)]
    if card.notes:
        parts += ["## Notes", "\n".join(f"- {_line(note)}" for note in card.notes)]
    return "\n\n".join(parts) + "\n"


def off(promised: float | None, achieved: float | None, metric: Metric | None) -> str:
    """ "+3.1 % (worse)": how far the promise was missed or beaten; "–" where there is nothing to compare."""
    if promised is None or achieved is None or not promised:
        return ABSENT
    share = (achieved - promised) / abs(promised) * 100
    text = f"{share:+.1f} %"
    if metric is None or text in ("+0.0 %", "-0.0 %"):
        return text.replace("-0.0", "+0.0")
    better = (share > 0) == (metric.direction is Direction.MAX)
    return f"{text} ({'better' if better else 'worse'})"


def _promise_table(promise: Mapping[str, float], achieved: Mapping[str, float], known: Mapping[str, Metric]) -> str:
    names = list(dict.fromkeys([*promise, *achieved]))
    rows = ["| metric | unit | promised | achieved | off |", "|---|---|---:|---:|---:|"]
    for name in names:
        metric = known.get(name)
        cells = (
            name,
            metric.unit if metric is not None else "",
            number(promise.get(name), metric),
            number(achieved.get(name), metric),
            off(promise.get(name), achieved.get(name), metric),
        )
        rows.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(rows)


def _pairs(values: Mapping[str, Plain]) -> str:
    rows = ["| | |", "|---|---|"]
    return "\n".join(rows + [f"| {_cell(str(k))} | {_cell(_written(v))} |" for k, v in values.items()])


def _written(value: object) -> str:
    return ", ".join(map(setting, value)) if isinstance(value, list | tuple) else _exact(value)


def _exact(value: object) -> str:
    """A card is what one repeats a training from, so no digit is dropped here."""
    return repr(value) if isinstance(value, float) else setting(value)


def _classes(classes: Sequence[str]) -> str:
    return "The outputs are, in this order: " + ", ".join(_cell(str(name)) for name in classes) + "."


def _loading(weights_file: str, build_code: str) -> str:
    return (
        "from safetensors.torch import load_file\n"
        f"{build_code.rstrip()}\n"
        f"model.load_state_dict(load_file({weights_file!r}))\n"
        "model.eval()"
    )


def _code(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}python\n{text}\n{fence}"


def _line(text: str) -> str:
    """One line of prose that Markdown takes for text: no heading, no HTML."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")


def _cell(text: str) -> str:
    escaped = _line(text).replace("\\", "\\\\")
    for sign in "|`*_[]":
        escaped = escaped.replace(sign, "\\" + sign)
    return escaped
