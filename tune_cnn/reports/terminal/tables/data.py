"""What `data` found, for the terminal: facts, classes with their counts, notes, and what to do."""

from collections.abc import Mapping, Sequence
from textwrap import indent

from rich.text import Text

from tune_cnn.reports.data_words import facts
from tune_cnn.reports.terminal.lines import Stream, plain, titled_columns
from tune_cnn.untyped import Plain

MOST = 30  # classes in the table: the smallest and the largest, where there are more
BAR = 24  # letters of the longest bar
GAP = 2  # letters between columns, at most
SHORTEST = 12  # letters of a class's name that are shown in whatever terminal


def data(document: Mapping[str, Plain]) -> None:
    console = Stream()
    plain(console, f"\n{document['data']} in {document['root']}\n")
    pairs = titled_columns("", "")
    pairs.show_header = False
    pairs.columns[1].no_wrap = False  # long facts are folded, their names are whole
    for what, seen in facts(document):
        pairs.add_row(Text(what, "bold"), Text(seen))
    console.print(pairs)
    plain(console, "")
    _classes(console, document["classes"])
    for note in document["notes"]:
        plain(console, f"Note: {note}")
    for advice in document["imbalance"]["advice"]:
        plain(console, f"Advice: {advice}")
    if document["imbalance"]["spec"]:
        plain(console, "\nIn your spec:\n")
        plain(console, indent(document["imbalance"]["spec"].rstrip(), "    "))
    if document["refused"]:
        plain(console, f"\nA search would refuse these images: {document['refused']}")
    if document.get("output"):
        plain(console, f"\nContact sheet: {document['output']}")


def _classes(console: Stream, classes: Sequence[Mapping[str, Plain]]) -> None:
    ordered = sorted(classes, key=lambda one: -int(one["train"]))
    shown = ordered if len(ordered) <= MOST else ordered[: MOST // 2] + ordered[-MOST // 2 :]
    largest = max(1, int(ordered[0]["train"]))
    table = titled_columns("class", "train", "validation", "test", right=True)
    table.add_column("")
    counts_width = sum(max(len(str(column.header)), len(f"{largest:,}")) + GAP for column in table.columns[1:-1])
    table.columns[0].max_width = max(SHORTEST, console.width - counts_width - GAP - BAR)  # or counts would give way
    for at, one in enumerate(shown):
        if len(shown) < len(ordered) and at == MOST // 2:
            table.add_row(Text(f"… {len(ordered) - len(shown)} more", "dim"))
        counts = [Text(f"{one[part]:,}") for part in ("train", "validation", "test")]
        table.add_row(Text(str(one["name"])), *counts, Text("█" * max(1, round(BAR * one["train"] / largest)), "cyan"))
    console.print(table)
    plain(console, "")
