"""What `doctor` found: node by check, and in detail what doesn't hold."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tune_cnn.untyped import Plain

WELL, ILL = "ok", "NOT OK"


def health(report: Mapping[str, Plain]) -> None:
    console = Console(highlight=False)
    console.print(health_table(report["nodes"]))
    for node in report["nodes"]:
        for check in node["checks"]:
            if check["ok"] and str(check["seen"]).startswith("removed"):  # what was done is told, well as it is
                console.print(Text(f"\n{node['name']}: {check['seen']}"), soft_wrap=True)
    told = [(node["name"], check) for node in report["nodes"] for check in node["checks"] if not check["ok"]]
    for name, check in told:
        lines = f"\n{name}: {check['what']}: {check['seen']}\n  must be: {check['must']}\n  to do:   {check['todo']}"
        console.print(Text(lines), soft_wrap=True)
    said = f"{len(told)} check{'s are' if len(told) > 1 else ' is'} not ok." if told else "All is well."
    console.print(Text(f"\n{said}"))


def health_table(nodes: Sequence[Mapping[str, Plain]]) -> Table:
    """A row a check, a column a node: nodes are few where one looks, and many checks fit below one another.

    With many nodes (more than a terminal shows), a row a node, with what isn't ok there.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    if len(nodes) > 4:
        table.add_column("node", no_wrap=True)
        table.add_column("checks")
        for node in nodes:
            ill = [str(check["what"]) for check in node["checks"] if not check["ok"]]
            told = (
                Text(f"{ILL}: {', '.join(ill)}", "bold red") if ill else Text(f"{len(node['checks'])} {WELL}", "green")
            )
            table.add_row(Text(str(node["name"])), told)
        return table
    table.add_column("check", no_wrap=True)
    for node in nodes:
        table.add_column(Text(str(node["name"])), overflow="fold")
    whats = list(dict.fromkeys(str(check["what"]) for node in nodes for check in node["checks"]))
    for what in whats:
        cells = [_cell([check for check in node["checks"] if check["what"] == what]) for node in nodes]
        table.add_row(Text(what), *cells)
    return table


def _cell(checks: Sequence[Mapping[str, Plain]]) -> Text:
    if not checks:
        return Text("")
    ill = [check for check in checks if not check["ok"]]
    return (
        Text(ILL, "bold red")
        if ill
        else Text(f"{WELL}: {checks[0]['seen']}" if len(str(checks[0]["seen"])) < 30 else WELL, "green")
    )
