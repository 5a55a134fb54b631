"""The commands of a study: search, look, confirm, choose, train."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from tune_cnn.cli.options import Accelerator, Address, Asked, Debug, Home, Json, Set, Storage, StudyName, Tracking
from tune_cnn.cli.output import print_json, print_result, say, write
from tune_cnn.errors import InputError
from tune_cnn.started import as_started
from tune_cnn.study.hints import HOME, again

app = typer.Typer()


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
        print_json(spec_schema())
        return
    from tune_cnn.study.commands import studies

    checked = load_spec(spec, overrides or [])
    locations = studies.locations(home, tracking_uri, address, storage, debug=debug)
    if dry_run:
        from tune_cnn.reports.terminal.dry_run import dry_run as show_dry_run

        print_result(studies.dry_run(checked, locations), as_json, show_dry_run)
        return
    print_result(studies.search(checked, locations, again=again()), as_json, studies.show_search)


@app.command()
def status(
    study: StudyName,
    nodes: Annotated[bool, typer.Option("--nodes", help="How each node of the cluster did.")] = False,
    home: Home = HOME,
    tracking_uri: Asked = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """How a study stands."""
    from tune_cnn.reports.terminal import printed, submitted
    from tune_cnn.study.commands import fleet, studies

    of = studies.study(study, home, tracking_uri)
    if nodes:
        print_result({"study": study, "nodes": of.nodes()}, as_json, printed.nodes)
        return
    print_result(fleet.status(of), as_json, submitted.status)


@app.command(name="list")
def list_(home: Home = HOME, tracking_uri: Asked = None, as_json: Json = False, debug: Debug = False) -> None:
    """The studies of a home, and those that the tracking server alone holds."""
    from tune_cnn.reports.terminal import printed
    from tune_cnn.study.commands import studies

    rows = studies.list_studies(home, tracking_uri)
    if rows or as_json:
        print_result(rows, as_json, printed.studies)
    else:
        say(f"No studies in {home} yet; start one with `{shlex.join([*as_started(), 'search'])}`.")


@app.command()
def front(
    study: StudyName,
    accelerator: Accelerator = None,
    home: Home = HOME,
    tracking_uri: Asked = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The front of a study: its non-dominated epoch points."""
    from tune_cnn.study.commands import studies

    found = studies.front(study, home, tracking_uri, accelerator=accelerator)
    print_result(found, as_json, studies.show_front)


@app.command()
def confirm(
    study: StudyName,
    points: Annotated[
        int | None, typer.Option(help="Candidates from the front.", show_default="the spec's, else 5")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Trainings of each.", show_default="the spec's, else 3")] = None,
    accelerator: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE", help="On nodes of this type of accelerator.", show_default="where each was searched"
        ),
    ] = None,
    home: Home = HOME,
    tracking_uri: Tracking = None,
    address: Address = None,
    storage: Storage = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train the front's best points again, alone on their hardware and over several seeds. Run it again to continue."""
    from tune_cnn.study.commands import studies

    locations = studies.locations(home, tracking_uri, address, storage, debug=debug)
    document = studies.confirm(study, locations, points=points, seeds=seeds, accelerator=accelerator, again=again())
    print_result(document, as_json, studies.show_confirm)


@app.command()
def transfer(
    study: StudyName,
    accelerator: Annotated[str, typer.Option(metavar="TYPE", help="The type to carry the front to.")],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="TYPE", help="The type to carry it from.", show_default="the only one"),
    ] = None,
    probes: Annotated[int, typer.Option(help="Probes of each configuration.")] = 5,
    configurations: Annotated[int, typer.Option(help="Configurations to probe, the front's and those behind it.")] = 24,
    home: Home = HOME,
    tracking_uri: Tracking = None,
    address: Address = None,
    storage: Storage = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Predict the front on another type of accelerator: what it costs is probed there, what it learns is the same."""
    from tune_cnn.reports.terminal.tables.transfer import transferred
    from tune_cnn.study.commands import studies

    locations = studies.locations(home, tracking_uri, address, storage, debug=debug)
    found = studies.transfer(
        study, locations, accelerator=accelerator, source=source, probes=probes, configurations=configurations
    )
    print_result(found, as_json, transferred)


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
    accelerator: Accelerator = None,
    form: Annotated[str, typer.Option("--format", help="yaml or json.")] = "yaml",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write.", show_default="stdout")] = None,
    home: Home = HOME,
    tracking_uri: Asked = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The configuration that fits a preference, with what it promises. Without a preference: the knee."""
    from tune_cnn.study.commands import exporting, studies

    wanted = exporting.Wanted(
        max_time_s=max_time,
        min_accuracy=min_accuracy,
        where=where or (),
        knee=knee,
        trial=trial,
        epoch=epoch,
        accelerator=accelerator,
    )
    of = studies.study(study, home, tracking_uri)
    chosen = exporting.export(of, wanted, form=form, as_json=as_json, output=output)
    if chosen is not None:
        write(lambda: sys.stdout.write(chosen))


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
    from tune_cnn.study.commands import studies

    locations = studies.locations(None, tracking_uri, address, None, debug=debug)
    result = studies.train(config, locations, output=output, all_data=all_data, register=register)
    print_result(result, as_json, printed.training)


@app.command()
def report(
    study: StudyName,
    output: Annotated[Path, typer.Option("-o", "--output", help="HTML file to write; of a comparison also .md.")],
    home: Home = HOME,
    tracking_uri: Asked = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the report of a study: one HTML file that needs nothing else."""
    from tune_cnn.study.commands import studies

    path = studies.study(study, home, tracking_uri).report(output)
    print_result({"study": study, "report": str(path)}, as_json, lambda r: say(f"Report: {r['report']}"))


@app.command()
def delete(
    study: StudyName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    home: Home = HOME,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Delete a study from its home. MLflow keeps its runs."""
    from tune_cnn.study.commands import studies

    studied = studies.known_study(study, home)
    if not yes:
        if not sys.stdin.isatty():
            raise InputError("delete: asks first, and there is no terminal to answer on; give --yes")
        typer.confirm(f"Delete study {study} with all its points from {home}?", abort=True, err=True)
    studied.delete()
    said = f"Study {study} is deleted. MLflow keeps its runs; to use the name again, rename their experiment there."
    print_result({"study": study, "deleted": True}, as_json, lambda _: say(said))


@app.command()
def sync(
    study: StudyName, home: Home = HOME, tracking_uri: Tracking = None, as_json: Json = False, debug: Debug = False
) -> None:
    """Deliver to MLflow what a search still holds."""
    from tune_cnn.study.commands import studies

    delivered = studies.sync(study, home, tracking_uri)
    print_result({"study": study, "delivered": delivered}, as_json, lambda r: say(f"{delivered} changes delivered."))
