"""Run a command: `tune-cnn COMMAND`, an exit code for each kind of end."""

import logging
import sys
import traceback
from importlib.metadata import version
from typing import Annotated

import typer

from tune_cnn.cli import catalog, fleet, questions, studies
from tune_cnn.cli.output import mend_streams, say
from tune_cnn.errors import InputError, Interrupted, NothingFits, TuneCnnError
from tune_cnn.study.session.signals import end_at_once, signals_end_at_once

app = typer.Typer(name="tune-cnn", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for part in (studies, questions, fleet, catalog):
    app.add_typer(part.app)

INTERRUPTED = 130  # what typer makes of a Ctrl-C


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"tune-cnn {version('tune-cnn')}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find the Pareto front of training a CNN: how accurate, in how little time, at what utilisation and energy."""


def main() -> None:
    """Run a command; a mistake of the user's is one message and an exit code."""
    debug = "--debug" in sys.argv
    mend_streams()
    if sys.flags.optimize > 1:
        say("Error: PYTHONOPTIMIZE=2 (or -OO) takes the docstrings away that Ray reads as it is imported; unset it")
        sys.exit(InputError.exit_code)
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of a home that can't be written
    try:
        with signals_end_at_once():
            app()
    except TuneCnnError as error:
        if debug:
            traceback.print_exc()
        say(str(error) if isinstance(error, Interrupted | NothingFits) else f"Error: {error}")
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            end_at_once()
        raise
    except Exception as error:
        if debug:
            raise
        say(
            f"Error: unexpected {type(error).__name__}: {error}\n"
            "What was stored is kept. This should not happen: run it again with --debug, and report what it prints."
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
