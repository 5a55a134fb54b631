"""Confirmed points as a table for the terminal: means over seeds, with where a fresh run will lie."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from tune_cnn.front.confirmed import Confirmed, scale_of
from tune_cnn.metrics import METRICS, Metric
from tune_cnn.reports.numbers import ABSENT, better, number, titled

CAPTION = "means over the seeds [a fresh run lies inside 95 times in 100]; on front: how often a fresh run would be"


def confirmed_table(found: Sequence[Confirmed], objectives: Sequence[Metric]) -> Table:
    """One row a point. What the test split gave stands beside the objectives; nothing was chosen by it."""
    tested = any("test_accuracy" in one.predictions for one in found)
    headings = ["trial", "epoch", "seeds", *(f"{titled(m)} {better(m)}" for m in objectives)]
    headings += [*(["test_accuracy"] if tested else []), "on front"]
    table = Table(
        title="Confirmed, each alone on its hardware", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
        pad_edge=False, header_style="bold", caption=Text(CAPTION), caption_justify="left", show_edge=False,
    )  # fmt: skip
    for heading in headings:
        table.add_column(Text(heading), justify="right", overflow="fold")
    for one in found:
        cells = [str(one.trial), str(one.epoch), seeds_of(one), *(cell(one, m.name, m) for m in objectives)]
        cells += [cell(one, "test_accuracy", METRICS["accuracy"])] if tested else []
        table.add_row(*map(Text, [*cells, one.chance]), style="" if one.on_front else "dim")
    return table


def seeds_of(one: Confirmed) -> str:
    """ "3", or "2 of 3" where runs failed or are still to come."""
    asked = one.seeds + one.planned + len(one.failures)
    return str(one.seeds) if asked == one.seeds else f"{one.seeds} of {asked}"


def cell(one: Confirmed, name: str, metric: Metric | None = None) -> str:
    """ "0.9312 [0.9201, 0.9423]" """
    of = one.predictions.get(name)
    if of is None:
        return ABSENT
    metric = metric or scale_of(name, {})
    if of.low is None:
        return number(of.mean, metric)
    return f"{number(of.mean, metric)} [{number(of.low, metric)}, {number(of.high, metric)}]"
