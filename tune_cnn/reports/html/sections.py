"""The report's text and tables as HTML; every value that isn't ours is escaped here."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape

from tune_cnn.front.choose import knee
from tune_cnn.metrics import METRICS, Direction, EpochPoint, Metric
from tune_cnn.reports.numbers import KNEE, better, duration, number, quantity, setting, titled
from tune_cnn.reports.study_report import StudyReport, TrialRow
from tune_cnn.reports.thinning import best_few
from tune_cnn.spec.reading.yaml_text import dump_yaml
from tune_cnn.untyped import Plain

MOST_ROWS = 200  # of the front's table: more is for `tune-cnn front --json`
_MOST_NUMBERS = 12  # trials named for one reason of failure
_MOST_REASONS = 50


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The best compromise, and the points whose ends are named beside it."""

    best: EpochPoint
    points: Sequence[EpochPoint]
    note: str = ""  # what stands behind them


def section(title: str, note: str, content: str) -> str:
    """`content` is HTML already; the others are text."""
    note = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section>\n<h2>{escape(title)}</h2>\n{note}\n{content}\n</section>"


def table(headings: Sequence[str], rows: Iterable[str], numeric: int = 0) -> str:
    """`rows` are <tr> elements; the first `numeric` columns after the first hold numbers. No headings: pairs."""
    if not any(headings):
        return f'<table class="pairs"><tbody>\n{"".join(rows)}</tbody></table>'
    head = "".join(
        f'<th class="num">{escape(h)}</th>' if 0 < k <= numeric else f"<th>{escape(h)}</th>"
        for k, h in enumerate(headings)
    )
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{"".join(rows)}</tbody></table></div>'
    )


def heading(study: StudyReport) -> str:
    counts = Counter(str(trial.state) for trial in study.trials)
    states = ", ".join(f"{n:,} {escape(name)}" for name, n in counts.most_common())
    facts = [
        f'<span class="badge">{escape(study.state)}</span>',
        f"<span><b>{len(study.trials):,}</b> trials{f' ({states})' if states else ''}</span>",
        f"<span><b>{len(study.points):,}</b> epoch points</span>",
        f"<span>searched for <b>{duration(study.elapsed_s)}</b></span>",
    ]
    if study.started is not None:
        facts.append(f"<span>started <b>{escape(study.started.strftime('%Y-%m-%d %H:%M %Z').strip())}</b></span>")
    about = f"<p>{escape(study.description)}</p>" if study.description else ""
    return (
        f'<p class="eyebrow">tune_cnn · report of a study</p>\n<h1>{escape(study.study)}</h1>\n{about}\n'
        f'<p class="facts">{"".join(facts)}</p>'
    )


def answer(study: StudyReport, confirmed: Answer | None = None) -> str:
    """The answer in one sentence, and a card for the knee and for the best in each objective.

    `confirmed`: what stands for the front where some of its points were trained again.
    """
    objectives = study.objectives
    if not study.front:
        why = "no trial has ended an epoch with all objectives" if study.trials else "no trial has been started"
        below = " What failed, and why, stands below." if study.trials else ""
        return f'<p class="lead">There is no front: {why}.{below}</p>'
    known = confirmed or Answer(best=knee(study.front, objectives), points=study.front)
    extremes = [(m, min(known.points, key=partial(_cost, metric=m))) for m in objectives]
    lead = _sentence(study, known.best, extremes) + (f" {known.note}" if known.note else "")
    title = "The knee: the best compromise" if len(objectives) > 1 else "The best"
    cards = [_card(study, title, known.best, objectives, style="knee")]
    if len(objectives) > 1:
        cards += [_card(study, _superlative(m), p, [m, *(o for o in objectives if o != m)]) for m, p in extremes]
    return f'<p class="lead">{lead}</p>\n<div class="cards">{"".join(cards)}</div>'


def _cost(point: EpochPoint, metric: Metric) -> float:
    value = point.metrics[metric.name]
    return -value if metric.direction is Direction.MAX else value


def _superlative(metric: Metric) -> str:
    known = {"accuracy": "The most accurate", "train_time_s": "The fastest to train"}
    side = "highest" if metric.direction is Direction.MAX else "lowest"
    return known.get(metric.name, f"The {side} {metric.name}")


def _sentence(study: StudyReport, best: EpochPoint, extremes: Sequence[tuple[Metric, EpochPoint]]) -> str:
    values = " and ".join(f"<b>{escape(m.name)} {_value(best, m)}</b>" for m in study.objectives)
    text = f"Trial {best.trial}, stopped after epoch {best.epoch}, is the best compromise: {values}."
    points = f"{len(study.points):,} epoch points"
    if len(study.objectives) == 1:
        return f"Trial {best.trial} after epoch {best.epoch} is the best of {points}: {values}."
    ends = "; ".join(f"{escape(_superlative(m).lower())} {_verb(m)} {_value(p, m)}" for m, p in extremes)
    return f"{text} {ends[0].upper()}{ends[1:]}. {len(study.front):,} of {points} are on the front."


def _verb(metric: Metric) -> str:
    return "takes" if metric.unit == "s" else "reaches" if metric.direction is Direction.MAX else "is"


def _value(point: EpochPoint, metric: Metric) -> str:
    return escape(quantity(point.metrics[metric.name], metric))


def _card(study: StudyReport, title: str, point: EpochPoint, objectives: Sequence[Metric], style: str = "") -> str:
    """`objectives`: the one that the card is for first."""
    values = "".join(
        f'<div class="value{" second" if k else ""}">{_value(point, m)}<small>{escape(m.name)}</small></div>'
        for k, m in enumerate(objectives)
    )
    params = study.params_by_trial.get(point.trial, {})
    settings = " · ".join(escape(f"{k} {setting(params[k])}") for k in study.searched if k in params)
    return (
        f'<div class="card {style}"><h3>{escape(title)}</h3>{values}'
        f'<div class="from">trial {point.trial}, epoch {point.epoch}{" · " + settings if settings else ""}</div></div>'
    )


def front_section(study: StudyReport) -> str:
    if not study.front:
        return ""
    objectives, params_by_trial = study.objectives, study.params_by_trial
    best = knee(study.front, objectives)
    shown = best_few(study.front, best, MOST_ROWS)
    names, has_types = list(study.searched), len(set(study.type_of.values())) > 1
    rows = []
    for point in shown:
        params = params_by_trial.get(point.trial, {})
        cells = [point.trial, point.epoch, *(number(point.metrics[m.name], m) for m in objectives)]
        numbers = "".join(f'<td class="num">{escape(str(c))}</td>' for c in cells)
        settings = "".join(f"<td>{escape(setting(params.get(name)))}</td>" for name in names)
        settings += f"<td>{escape(study.type_of.get(point.trial, ''))}</td>" if has_types else ""
        is_knee = point is best
        rows.append(
            f"<tr{' class=knee' if is_knee else ''}><td>{KNEE if is_knee else ''}</td>{numbers}{settings}"
            f'<td class="actions">{_copy("export", study.export(point.trial, point.epoch))} '
            f"{_copy('YAML', _yaml(study.study, point, params))}</td></tr>\n"
        )
    headings = [
        "",
        "trial",
        "epoch",
        *(f"{titled(m)} {better(m)}" for m in objectives),
        *names,
        *(["accelerator"] if has_types else []),
        "",
    ]
    note = (
        f"No other point is better in one objective without being worse in another; {KNEE} marks the knee. The buttons "
        "copy the command that exports a point, or its configuration as YAML."
    )
    if len(shown) < len(study.front):
        note += f" {len(shown):,} of {len(study.front):,} points are listed, spread evenly; all are in tune-cnn front."
    return section("The front, to copy from", note, table(headings, rows, numeric=2 + len(objectives)))


def _yaml(study: str, point: EpochPoint, params: Mapping[str, Plain]) -> str:
    return f"# study {study}, trial {point.trial}, stopped after epoch {point.epoch}\n" + dump_yaml(
        {"space": dict(params)}
    )


def _copy(label: str, text: str) -> str:
    return f'<button type="button" title="copy to the clipboard" data-copy="{escape(text)}">{escape(label)}</button>'


def failures_section(trials: Sequence[TrialRow]) -> str:
    """The trials that ended before their time, one row a reason."""
    groups: dict[tuple[str, str], list[TrialRow]] = {}
    for trial in trials:
        if trial.reason or trial.state.is_failure:
            groups.setdefault((trial.state, trial.reason or "no reason recorded"), []).append(trial)
    if not groups:
        return ""
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    rows = []
    for (state, reason), members in ordered[:_MOST_REASONS]:
        numbers = ", ".join(str(t.number) for t in members[:_MOST_NUMBERS])
        numbers += ", …" if len(members) > _MOST_NUMBERS else ""
        rows.append(
            f'<tr><td class="{"state-failed" if state == "failed" else ""}">{escape(state)}</td>'
            f'<td class="num">{len(members):,}</td><td><pre>{escape(reason)}</pre></td><td>{numbers}</td></tr>\n'
        )
    note = "Trials that ended before their time, by reason."
    if len(ordered) > _MOST_REASONS:
        note += f" The {_MOST_REASONS} most frequent of {len(ordered):,} reasons are listed."
    return section("What went wrong", note, table(["state", "trials", "reason", "which"], rows, numeric=1))


def commands_section(commands: Sequence[str], runs_page: str | None = None) -> str:
    """`runs_page`: the address of the runs at a tracking server."""
    lines = [f'<div class="command"><pre>{escape(c)}</pre>{_copy("copy", c)}</div>' for c in commands]
    if runs_page is not None:
        link = f'<a href="{escape(runs_page)}" rel="noopener noreferrer">{escape(runs_page)}</a>'
        lines.append(f"<p>The runs in MLflow: {link}</p>")
    return section("Next", "", "\n".join(lines)) if lines else ""


def notes_section(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return section("To bear in mind", "", f"<ul>{items}</ul>") if notes else ""


def spec_section(spec_yaml: str) -> str:
    return section(
        "The spec", "What was asked for; save it as a file to search again.",
        f"{_copy('copy', spec_yaml)}\n<pre>{escape(spec_yaml)}</pre>",
    )  # fmt: skip


def machine_section(
    hardware: Mapping[str, Plain],
    versions: Mapping[str, Plain],
    accelerators: Mapping[str, Mapping[str, Plain]] | None = None,
) -> str:
    """`accelerators`: of several types, each one's hardware, which stands for `hardware` then."""
    if not hardware and not versions:
        return ""
    parts = [
        f"<div><h3>{title}</h3>{table(['', ''], (_pair(k, v) for k, v in values.items()))}</div>"
        for title, values in (*_machines(hardware, accelerators or {}), ("Versions", versions))
        if values
    ]
    note = "Times hold for this hardware; on another the front has to be searched again."
    return section("Where it ran", note, f'<div class="two">{"".join(parts)}</div>')


def _machines(
    hardware: Mapping[str, Plain], accelerators: Mapping[str, Mapping[str, Plain]]
) -> list[tuple[str, Mapping[str, Plain]]]:
    if not accelerators:
        return [("Hardware", hardware)]
    return [(f"Hardware: {escape(name)}", values) for name, values in accelerators.items()]


def _pair(name: str, value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f'<tr><td class="soft">{escape(str(name))}</td><td>{escape(text)}</td></tr>\n'


def definitions_section(objectives: Sequence[Metric], points: Sequence[EpochPoint], own: Mapping[str, Metric]) -> str:
    """The metrics that the points carry, the objectives first."""
    known = {**METRICS, **own}
    measured = dict.fromkeys([m.name for m in objectives] + [name for p in points[:1000] for name in p.metrics])
    rows = [
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(known[name].unit)}</td>"
        f"<td>{'more' if known[name].direction is Direction.MAX else 'less'}</td><td>{escape(known[name].meaning)}</td>"
        f"<td>{'objective' if name in {m.name for m in objectives} else ''}</td></tr>\n"
        for name in measured
        if name in known
    ]
    return section("What the metrics mean", "", table(["metric", "unit", "better", "meaning", ""], rows))
