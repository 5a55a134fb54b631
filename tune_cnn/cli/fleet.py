"""The commands of a fleet: send a search there, look after it, and ask whether the machines are well."""

from typing import Annotated

import typer

from tune_cnn.cli.options import Address, Debug, Home, Json, Storage, Tracking
from tune_cnn.cli.output import print_result
from tune_cnn.study.hints import HOME

app = typer.Typer()


@app.command()
def doctor(
    of: Annotated[
        str | None,
        typer.Argument(
            metavar="[SPEC|RECIPE|STUDY]", help="Whose images to look for on each node.", show_default=False
        ),
    ] = None,
    address: Address = None,
    storage: Storage = None,
    home: Home = HOME,
    tracking_uri: Tracking = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="End and remove what dead searches have left, where it is provably ours.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Look whether the machines are well: this one, or every node of a cluster. Exit code 1 where something is not."""
    from tune_cnn.reports.terminal.health_table import health
    from tune_cnn.study import commands

    report = commands.doctor(of, commands.locations(home, tracking_uri, address, storage, debug=debug), clean=clean)
    print_result(report, as_json, health)
    if not report["ok"]:
        raise typer.Exit(1)
