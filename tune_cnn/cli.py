"""The commands of `tune-cnn`, a few lines each. With --json stdout carries one JSON document and nothing else."""

import json
import logging
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from tune_cnn.errors import InputError, Interrupted, NothingFits, TuneCnnError
from tune_cnn.records.mlflow.environment import check_argument
from tune_cnn.started import as_started
from tune_cnn.study.hints import HOME, again
from tune_cnn.study.signals import end_at_once, signals_end_at_once
from tune_cnn.text import printable
from tune_cnn.untyped import Untyped

app = typer.Typer(name="tune-cnn", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _without_password(context: typer.Context, uri: str | None) -> str | None:
    """What stands in the environment may hold one; what stands among the arguments may not."""
    source = context.get_parameter_source("tracking_uri")
    if uri is not None and source is not None and source.name == "COMMANDLINE":
        check_argument(uri)
    return uri


def _tracking(meaning: str, default: str) -> Untyped:
    return typer.Option(envvar="MLFLOW_TRACKING_URI", help=meaning, show_default=default, callback=_without_password)


StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Name of the study.")]
Home = Annotated[Path, typer.Option(envvar="TUNE_CNN_HOME", help="Folder of the studies.")]
Tracking = Annotated[str | None, _tracking("MLflow's server or database.", "sqlite:///mlflow.db")]
Asked = Annotated[
    str | None, _tracking("MLflow's server or database, asked for what the home doesn't hold.", "none is asked")
]
Address = Annotated[
    str | None,
    typer.Option(envvar="RAY_ADDRESS", help="Ray cluster to use.", show_default="a Ray of its own on this machine"),
]
Storage = Annotated[
    str | None, typer.Option(help="Checkpoints: a folder that all nodes share, or a URI.", show_default="in --home")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Tracebacks, and what libraries and workers print.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the spec.")]

# What typer makes of a Ctrl-C, and what Ray, while it starts, of a SIGTERM
INTERRUPTED = (130, signal.SIGTERM)


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


@app.command()
def search(
    spec: Annotated[str, typer.Argument(metavar="SPEC|RECIPE", help="A YAML file or a recipe.")] = "quickstart",
    overrides: Set = None,
    home: Home = HOME,
    tracking_uri: Tracking = None,
    address: Address = None,
    storage: Storage = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, probe twenty steps, say what fits and how fast.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the spec's JSON schema, for editors.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Search for the front, or go on with a search that was interrupted: the same command again."""
    from tune_cnn.spec import load_spec, spec_schema

    if schema:
        _print_json(spec_schema())
        return
    from tune_cnn.reports.terminal import printed
    from tune_cnn.study import commands

    checked = load_spec(spec, overrides or [])
    locations = commands.locations(home, tracking_uri, address, storage, debug=debug)
    if dry_run:
        _print(commands.dry_run(checked, locations), as_json, printed.dry_run)
        return
    _print(commands.search(checked, locations, again=again()), as_json, commands.show_search)


@app.command()
def status(
    study: StudyName, home: Home = HOME, tracking_uri: Asked = None, as_json: Json = False, debug: Debug = False
) -> None:
    """How a study stands."""
    from tune_cnn.reports.terminal import printed
    from tune_cnn.study import commands

    _print(commands.study(study, home, tracking_uri).status(), as_json, printed.status)


@app.command(name="list")
def list_(home: Home = HOME, tracking_uri: Asked = None, as_json: Json = False, debug: Debug = False) -> None:
    """The studies of a home, and those that the tracking server alone holds."""
    from tune_cnn.reports.terminal import printed
    from tune_cnn.study import commands

    rows = commands.list_studies(home, tracking_uri)
    if rows or as_json:
        _print(rows, as_json, printed.studies)
    else:
        _say(f"No studies in {home} yet; start one with `{shlex.join([*as_started(), 'search'])}`.")


@app.command()
def front(
    study: StudyName, home: Home = HOME, tracking_uri: Asked = None, as_json: Json = False, debug: Debug = False
) -> None:
    """The front of a study: its non-dominated epoch points."""
    from tune_cnn.study import commands

    _print(commands.front(study, home, tracking_uri), as_json, commands.show_front)


@app.command()
def confirm(
    study: StudyName,
    points: Annotated[
        int | None, typer.Option(help="Candidates from the front.", show_default="the spec's, else 5")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Trainings of each.", show_default="the spec's, else 3")] = None,
    home: Home = HOME,
    tracking_uri: Tracking = None,
    address: Address = None,
    storage: Storage = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train the front's best points again, alone on their hardware and over several seeds. Run it again to continue."""
    from tune_cnn.study import commands

    locations = commands.locations(home, tracking_uri, address, storage, debug=debug)
    document = commands.confirm(study, locations, points=points, seeds=seeds, again=again())
    _print(document, as_json, commands.show_confirm)


@app.command()
def export(
    study: StudyName,
    max_time: Annotated[float | None, typer.Option(help="Longest training time in seconds.")] = None,
    min_accuracy: Annotated[float | None, typer.Option(help="Least accuracy, from 0 to 1.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(metavar="METRIC<=V", help="A bound on any metric; may stand more than once.")
    ] = None,
    knee: Annotated[bool, typer.Option("--knee", help="The knee of what is inside the bounds.")] = False,
    trial: Annotated[int | None, typer.Option(help="This trial's point, with --epoch.")] = None,
    epoch: Annotated[int | None, typer.Option(help="With --trial: the epoch to stop at.")] = None,
    form: Annotated[str, typer.Option("--format", help="yaml or json.")] = "yaml",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write.", show_default="stdout")] = None,
    home: Home = HOME,
    tracking_uri: Asked = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The configuration that fits a preference, with what it promises. Without a preference: the knee."""
    from tune_cnn.study import commands

    wanted = commands.Wanted(
        max_time_s=max_time, min_accuracy=min_accuracy, where=where or (), knee=knee, trial=trial, epoch=epoch
    )
    of = commands.study(study, home, tracking_uri)
    chosen = commands.export(of, wanted, form=form, as_json=as_json, output=output)
    if chosen is not None:
        _write(lambda: sys.stdout.write(chosen))


@app.command()
def train(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="An exported configuration, or a spec without choice.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for weights and model card.", show_default="NAME-model"),
    ] = None,
    all_data: Annotated[bool, typer.Option("--all-data", help="Train on the validation split too.")] = False,
    register: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make it the next version of this model in MLflow.")
    ] = None,
    tracking_uri: Tracking = None,
    address: Address = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a configuration to its stop epoch, and say how far its promise was kept."""
    from tune_cnn.reports.terminal import printed
    from tune_cnn.study import commands

    locations = commands.locations(None, tracking_uri, address, None, debug=debug)
    result = commands.train(config, locations, output=output, all_data=all_data, register=register)
    _print(result, as_json, printed.training)


@app.command()
def report(
    study: StudyName,
    output: Annotated[Path, typer.Option("-o", "--output", help="HTML file to write.")],
    home: Home = HOME,
    tracking_uri: Asked = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the report of a study: one HTML file that needs nothing else."""
    from tune_cnn.study import commands

    path = commands.study(study, home, tracking_uri).report(output)
    _print({"study": study, "report": str(path)}, as_json, lambda r: _say(f"Report: {r['report']}"))


@app.command()
def delete(
    study: StudyName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    home: Home = HOME,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Delete a study from its home. MLflow keeps its runs."""
    from tune_cnn.study import commands

    studied = commands.known_study(study, home)
    if not yes:
        if not sys.stdin.isatty():
            raise InputError("delete: asks first, and there is no terminal to answer on; give --yes")
        typer.confirm(f"Delete study {study} with all its points from {home}?", abort=True, err=True)
    studied.delete()
    said = f"Study {study} is deleted. MLflow keeps its runs; to use the name again, rename their experiment there."
    _print({"study": study, "deleted": True}, as_json, lambda _: _say(said))


@app.command()
def sync(
    study: StudyName, home: Home = HOME, tracking_uri: Tracking = None, as_json: Json = False, debug: Debug = False
) -> None:
    """Deliver to MLflow what a search still holds."""
    from tune_cnn.study import commands

    delivered = commands.sync(study, home, tracking_uri)
    _print({"study": study, "delivered": delivered}, as_json, lambda r: _say(f"{delivered} changes delivered."))


@app.command()
def recipes(as_json: Json = False, debug: Debug = False) -> None:
    """The search spaces that come with tune_cnn."""
    from tune_cnn.reports.terminal import printed
    from tune_cnn.study import catalog as shipped

    _print(shipped.recipes(), as_json, printed.recipes)


@app.command()
def strategies(as_json: Json = False, debug: Debug = False) -> None:
    """The time-efficient training strategies that a space can search, each with its paper."""
    from tune_cnn.reports.terminal import printed
    from tune_cnn.study import catalog as shipped

    _print(shipped.strategies(), as_json, printed.strategies)


# Its options are those of `python -m mlflow_server`, which stands without tune_cnn
@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def server(context: typer.Context) -> None:
    """Start MLflow's tracking server with safe settings, or ask a running one whether it is ready (--check)."""
    from mlflow_server.command import main as serve

    raise typer.Exit(serve(context.args))


def main() -> None:
    """Run a command; a mistake of the user's is one message and an exit code."""
    debug = "--debug" in sys.argv
    _mend_streams()
    if sys.flags.optimize > 1:
        _say("Error: PYTHONOPTIMIZE=2 (or -OO) takes the docstrings away that Ray reads as it is imported; unset it")
        sys.exit(InputError.exit_code)
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of a home that can't be written
    try:
        with signals_end_at_once():
            app()
    except TuneCnnError as error:
        if debug:
            traceback.print_exc()
        _say(str(error) if isinstance(error, Interrupted | NothingFits) else f"Error: {error}")
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code in INTERRUPTED:
            end_at_once()
        raise
    except Exception as error:
        if debug:
            raise
        _say(
            f"Error: unexpected {type(error).__name__}: {error}\n"
            "What was stored is kept. This should not happen: run it again with --debug, and report what it prints."
        )
        sys.exit(1)


def _mend_streams() -> None:
    """What a terminal's encoding lacks is shown as `?`; a stream that the caller has closed takes all in silence."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def _print(result: Untyped, as_json: bool, show: Callable[[Untyped], object]) -> None:
    if as_json:
        _print_json(result)
    else:
        _write(lambda: show(result))


def _print_json(result: object) -> None:
    _write(lambda: sys.stdout.write(json.dumps(result, indent=2, default=str) + "\n"))


def _write(write: Callable[[], object]) -> None:
    """Write to stdout: a reader that has had enough (`| head -1`) is no failure, a full disk is."""
    try:
        write()
        sys.stdout.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # else the interpreter tries again as it exits
        if not isinstance(error, BrokenPipeError):
            raise TuneCnnError(f"stdout can't be written: {error.strerror or error}") from None


def _say(text: str) -> None:
    sys.stderr.write(printable(text, keep="\n") + "\n")


if __name__ == "__main__":
    main()
