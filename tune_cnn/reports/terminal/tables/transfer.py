"""A front carried to another type of accelerator, for the terminal: values with their doubt, and what falls off it."""

from collections.abc import Mapping, Sequence

from rich.text import Text

from tune_cnn.front.confirmed import scale_of
from tune_cnn.reports.numbers import ABSENT, number, setting, titled
from tune_cnn.reports.terminal.lines import Stream, plain, titled_columns
from tune_cnn.untyped import Plain

ON, OFF = "●", "○"


def transferred(document: Mapping[str, Plain]) -> None:
    """The document of `transfer`, as a table."""
    console, points, there = Stream(), document["points"], document["to"]
    plain(console, f"\nStudy {document['study']}: its front on {document['from']}, predicted for {there}\n")
    names = list(dict.fromkeys([*document["objectives"], "peak_memory_mib"]))
    differing = _differing([row["params"] for row in points])
    table = titled_columns("", "trial", "epoch", *map(_heading, names), "on front", right=True)
    table.add_column("parameters", overflow="fold")
    for row in points:
        told = row["reason"] or " ".join(f"{key}={setting(row['params'].get(key))}" for key in differing)
        chance = row["front_probability"]
        cells = [ON if row["on_front"] else OFF, str(row["trial"]), str(row["epoch"])]
        cells += [_cell(row, name) for name in names] + [ABSENT if chance is None else f"{chance:.0%}"]
        table.add_row(*map(Text, [*cells, told]), style="" if row["on_front"] else "dim")
    console.print(table)
    plain(
        console,
        f"{ON} on the predicted front, {OFF} on that of {document['from']} alone. In brackets where a fresh run, alone "
        f"on its hardware, will lie 95 times in 100: {document['probes']} probes of each configuration, and an "
        f"allowance of {document['allowance_pct']:g} % for what they don't show of a training.",
    )
    for note in document["notes"]:
        plain(console, f"Note: {note}")
    plain(console, f"Confirm: {document['next']['confirm']}")


def _heading(name: str) -> str:
    metric = scale_of(name, {})
    return name if metric is None else titled(metric)


def _cell(row: Mapping[str, Plain], name: str) -> str:
    of = row["accuracy"] if name == "accuracy" else row["predicted"].get(name) or row["carried"].get(name)
    if of is None:
        return ABSENT
    metric = scale_of(name, {})
    if of["low"] is None:
        return number(of["value"], metric)
    return f"{number(of['value'], metric)} [{number(of['low'], metric)}, {number(of['high'], metric)}]"


def _differing(params: Sequence[Mapping[str, Plain]]) -> list[str]:
    """The parameters in which the rows differ, in their order."""
    keys = dict.fromkeys(key for one in params for key in one)
    return [key for key in keys if len({setting(one.get(key)) for one in params}) > 1]
