"""The page of a profile: verdict, figures, the rules by which stalls are named, and every cell."""

from html import escape
from pathlib import Path

from tune_cnn.files import write_whole
from tune_cnn.reports.figures.profile import bars_figure, heat_figure, speed_figure, utilisation_figure
from tune_cnn.reports.figures.profile_series import MOST_PANELS, feed_name, has_batches, of_gpu, setting_name
from tune_cnn.reports.html.frame import html_figure, html_page
from tune_cnn.reports.html.sections import (
    commands_section,
    machine_section,
    notes_section,
    section,
    spec_section,
    table,
)
from tune_cnn.reports.numbers import ABSENT, number
from tune_cnn.reports.profile_report import ProfiledCell, ProfileReport

# Of a cell's measurements: heading, name, and what it is multiplied by.
_COLUMNS = (
    ("images/s", "images_per_s", 1.0),
    ("ceiling", "ceiling_images_per_s", 1.0),
    ("loader alone", "loader_images_per_s", 1.0),
    ("step [ms]", "step_time_ms", 1.0),
    ("waiting [%]", "data_wait_pct", 1.0),
    ("CPU [%]", "cpu_util_pct", 1.0),
    ("GPU [%]", "gpu_util_pct", 1.0),
    ("SMs [%]", "sm_active_pct", 1.0),
    ("energy [mJ/image]", "gpu_energy_j_per_image", 1000.0),
    ("memory [MiB]", "peak_memory_mib", 1.0),
    ("fixed [%]", "fixed_pct", 1.0),
    ("for ranks [%]", "communication_pct", 1.0),
    ("taken [%]", "taken_pct", 1.0),
)
_MEANINGS = (
    "images/s: training as it is, with its waits and the turns of its epochs. ceiling: the same step on one resident "
    "batch, with the same threads. loader alone: the same loader while nothing is trained. waiting: the share of the "
    "time until the data of the next batch had come. CPU: 100 is one core. fixed: of a step on a resident batch, what "
    "half a batch takes just as well. for ranks: of such a step, what it takes longer than without averaging "
    "gradients. taken: of the time, what other work on the machine took from the thread that steps. reached: images/s "
    "over the ceiling. scaling: images/s over that of the fewest ranks, by their share of these ranks, at the same "
    "batch over all ranks. spread: of the repeats' images/s, the largest less the smallest."
)


def write_profile(path: str | Path, report: ProfileReport) -> Path:
    """Write the page under a temporary name, then rename it. InputError where it can't be written."""
    body = [
        _heading(report),
        f'<p class="lead">{escape(" ".join(report.verdict))}</p>',
        _figures(report),
        _advice(report),
        _rules(report),
        _cells(report),
        commands_section(report.commands),
        notes_section(report.notes),
        spec_section(report.spec_yaml),
        machine_section(report.hardware, report.versions),
    ]
    path = Path(path)
    write_whole(path, html_page(f"{report.study} – tune_cnn", "\n".join(body)))
    return path


def _heading(report: ProfileReport) -> str:
    part = f" of {report.in_all:,}" if report.in_all > len(report.cells) else ""
    known = sum(cell.is_known for cell in report.cells)
    facts = [
        f'<span class="badge">{escape(report.state)}</span>',
        f"<span><b>{len(report.cells):,}</b>{part} cells</span>",
        f"<span><b>{report.repeats}</b> repeats each, in blocks</span>",
    ]
    if known:
        facts.append(f"<span><b>{known}</b> known from an earlier profile</span>")
    if report.started is not None:
        facts.append(f"<span>started <b>{escape(report.started.strftime('%Y-%m-%d %H:%M %Z').strip())}</b></span>")
    about = f"<p>{escape(report.description)}</p>" if report.description else ""
    return (
        f'<p class="eyebrow">tune_cnn · where the time of a step goes</p>\n<h1>{escape(report.study)}</h1>\n{about}\n'
        f'<p class="facts">{"".join(facts)}</p>'
    )


def _figures(report: ProfileReport) -> str:
    cells = report.measured
    if not cells:
        return ""
    settings = len({cell.setting for cell in cells})
    more = f" The {MOST_PANELS} fastest of {settings} settings are drawn." if settings > MOST_PANELS else ""
    if not has_batches(cells):
        note = "Images a second of each cell, and its ceiling: the same step on one resident batch."
        return section("Images a second", note, html_figure("bars", bars_figure(cells)))
    what = (
        "Share of time with a kernel running on the GPU" if of_gpu(cells) else "CPU time over that of the trial's cores"
    )
    return "\n".join(
        [
            section(
                "Utilisation over the batch size",
                f"{what}. Solid: loader processes make batches beside the step; dashed: the step waits while they are "
                f"made.{more}",
                html_figure("utilisation", utilisation_figure(cells)),
            ),
            section(
                "Images a second over the batch size",
                "Dotted: the ceiling, the same step on one resident batch; the best of those with as large a batch.",
                html_figure("speed", speed_figure(cells)),
            ),
            section(
                "Workers × batch",
                "Images a second; the colour is their share of the best at the same batch.",
                html_figure("heat", heat_figure(cells)),
            ),
        ]
    )


def _advice(report: ProfileReport) -> str:
    if not report.advice:
        return ""
    rows = []
    for one in report.advice:
        told = ", ".join(f"{key} {value}" for key, value in one.setting.items() if not (key == "ranks" and value == 1))
        workers = "" if one.loader == "device" else str(one.workers)
        numbers = [f"{one.images_per_s:,.0f}", f"{100 * one.images_per_s / one.best_images_per_s:.0f}"]
        rows.append(
            f"<tr><td>{one.batch_size}</td>{''.join(f'<td class=num>{value}</td>' for value in (workers, *numbers))}"
            f"<td>{escape(one.loader)}</td><td>{escape(told)}</td></tr>\n"
        )
    note = (
        f"For each batch, the fewest loader workers within {report.near_pct:.0f} % of the best. Where repeats differ "
        "by more than that (below: spread), what is so near is a matter of chance."
    )
    headings = ["batch", "workers", "images/s", "% of the best", "loader", "with"]
    return section("What to set", note, table(headings, rows, numeric=3))


def _rules(report: ProfileReport) -> str:
    rows = [
        f"<tr><td class=whole><b>{escape(name)}</b></td><td>{escape(when)}</td><td>{escape(remedy)}</td></tr>\n"
        for name, when, remedy in report.rules
    ]
    return section("How stalls are named", "", table(["stall", "when", "what mends it"], rows))


def _cells(report: ProfileReport) -> str:
    shown = [
        (heading, name, by) for heading, name, by in _COLUMNS if any(name in cell.metrics for cell in report.cells)
    ]
    has_scaling = any(cell.scaling is not None for cell in report.cells)
    headings = [
        "cell, and what holds it up",
        *(heading for heading, _, _ in shown),
        "reached [%]",
        *(["scaling [%]"] if has_scaling else []),
    ]
    headings += ["spread [%]", "because"]
    rows = [_row(cell, [(name, by) for _, name, by in shown], has_scaling=has_scaling) for cell in report.cells]
    return section("Every cell", _MEANINGS, table(headings, rows, numeric=len(headings) - 2))


def _row(cell: ProfiledCell, columns: list[tuple[str, float]], *, has_scaling: bool) -> str:
    numbers = [_shown(cell.metrics[name] * by if name in cell.metrics else None) for name, by in columns]
    numbers.append(_shown(None if cell.reached is None else 100 * cell.reached))
    if has_scaling:
        numbers.append(_shown(None if cell.scaling is None else 100 * cell.scaling))
    numbers.append(_shown(cell.spread_pct))
    name = f"batch {cell.batch_size}, {feed_name(cell)}" + (f", {setting}" if (setting := setting_name(cell)) else "")
    bad = "" if cell.metrics else " state-failed"
    known = " (known)" if cell.is_known else ""
    told = "".join(f'<td class="num">{escape(value)}</td>' for value in numbers)
    return (
        f'<tr><td class="whole">{escape(name)}{known}<br><b class="soft{bad}">{escape(cell.called)}</b></td>{told}'
        f'<td class="why">{escape(cell.why)}</td></tr>\n'
    )


def _shown(value: float | None) -> str:
    if value is None:
        return ABSENT
    return f"{value:,.0f}" if abs(value) >= 100 else number(round(value, 1))
