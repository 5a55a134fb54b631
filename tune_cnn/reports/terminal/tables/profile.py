"""What `profile` prints: a row a cell, the advice, and the verdict."""

from collections.abc import Mapping

from rich.text import Text

from tune_cnn.reports.numbers import ABSENT, duration, number, setting
from tune_cnn.reports.terminal.lines import Stream, plain, titled_columns
from tune_cnn.untyped import Plain

_COLUMNS = (
    ("images/s", "images_per_s"),
    ("ceiling", "ceiling_images_per_s"),
    ("reached", "efficiency"),
    ("step ms", "step_time_ms"),
    ("wait %", "data_wait_pct"),
)
_OWN = {"batch_size", "loader", "loader_workers"}  # have columns of their own


def profile(found: Mapping[str, Plain]) -> None:
    """The finished document."""
    console, cells = Stream(), found["cells"]
    has_ranks = any(cell["ranks"] > 1 for cell in cells)
    rest = any(cell["params"].keys() - _OWN for cell in cells)
    table = titled_columns("batch", "loader", *(["ranks", "scaling"] if has_ranks else []), right=True)
    for heading, _ in _COLUMNS:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    table.add_column("held up by", overflow="fold")
    if rest:
        table.add_column("with", overflow="fold")
    for cell in cells:
        feed = cell["loader"] if cell["loader"] == "device" else f"{cell['loader']} {cell['loader_workers']}"
        told = [str(cell["batch_size"]), feed]
        told += [str(cell["ranks"]), _pct(cell["scaling_efficiency"])] if has_ranks else []
        told += [_pct(cell[key]) if key == "efficiency" else _number(cell[key]) for _, key in _COLUMNS]
        told.append(cell["called"] if cell["images_per_s"] else f"{cell['called']}: {cell['why']}")
        if rest:
            told.append(" ".join(f"{k}={setting(v)}" for k, v in cell["params"].items() if k not in _OWN))
        table.add_row(*map(Text, told))
    console.print()
    console.print(table)
    plain(console, f"\n{found['verdict']}")
    if found["report"]:
        plain(console, f"\nReport: {found['report']}")


def reckoned(found: Mapping[str, Plain]) -> None:
    """What a dry run says."""
    console = Stream()
    part = f" of {found['in_all']:,}" if found["in_all"] > found["cells"] else ""
    known = f", {found['known']} of them known already" if found["known"] else ""
    left = found["runs"] - found["known"]  # a cell that is known is a run too, in which nothing is measured
    cells = f"{found['study']}: {found['cells']:,}{part} cells{known}"
    if not left:
        plain(console, f"{cells}; nothing is left to measure. Without --dry-run the same command shows the answer.")
        return
    plain(
        console,
        f"{cells}; {left:,} measurement{'s' * (left != 1)}, some {duration(found['seconds'])}, longer where a step "
        "takes more than a tenth of a second.",
    )


def _pct(share: float | None) -> str:
    return ABSENT if share is None else f"{100 * share:.0f} %"


def _number(value: float | None) -> str:
    return ABSENT if value is None else number(round(value, 1 if value < 100 else 0))
