"""What all printed text shares: lines and tables that may hold what rich takes for markup."""

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Stream(Console):
    """A stream whose reader may leave early: what that means is for the command to say."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def titled_columns(*headings: str, right: bool = False) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for at, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if right and at else "left", no_wrap=True)
    return table


def plain(console: Console, text: str) -> None:
    console.print(Text(text), highlight=False, soft_wrap=True)
