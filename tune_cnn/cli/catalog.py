"""The commands that list what comes with tune_cnn, and the one that starts MLflow's server."""

import typer

from tune_cnn.cli.options import Debug, Json
from tune_cnn.cli.output import print_result

app = typer.Typer()


@app.command()
def recipes(as_json: Json = False, debug: Debug = False) -> None:
    """The search spaces that come with tune_cnn."""
    from tune_cnn.reports.terminal import printed
    from tune_cnn.study.commands import catalog as shipped

    print_result(shipped.recipes(), as_json, printed.recipes)


@app.command()
def strategies(as_json: Json = False, debug: Debug = False) -> None:
    """The time-efficient training strategies that a space can search, each with its paper."""
    from tune_cnn.reports.terminal import printed
    from tune_cnn.study.commands import catalog as shipped

    print_result(shipped.strategies(), as_json, printed.strategies)


# Its options are those of `python -m mlflow_server`, which stands without tune_cnn
@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def server(context: typer.Context) -> None:
    """Start MLflow's tracking server with safe settings, or ask a running one whether it is ready (--check)."""
    from mlflow_server.command import main as serve

    raise typer.Exit(serve(context.args))
