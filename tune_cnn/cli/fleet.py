"""The commands of a fleet: send a search there, look after it, and ask whether the machines are well."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tune_cnn.cli.options import Address, Debug, Home, Json, Set, Storage, StudyName, Tracking
from tune_cnn.cli.output import print_result, say, write
from tune_cnn.study.hints import HOME

app = typer.Typer()
JobsUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="TUNE_CNN_JOBS_URL",
        help="The head's dashboard, http://HEAD:8265.",
        show_default="where the study was sent",
    ),
]
Python = Annotated[str, typer.Option(metavar="PATH", help="Python on the head, with tune-cnn installed.")]


@app.command()
def submit(
    spec: Annotated[str, typer.Argument(metavar="SPEC|RECIPE", help="A YAML file or a recipe.")],
    jobs_url: JobsUrl = None,
    overrides: Set = None,
    store: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file that holds the record's PostgreSQL URL; or set TUNE_CNN_STORE."),
    ] = None,
    storage: Storage = None,
    on_head: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Keep record and checkpoints in this folder of the head's own disk."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show its display until it ends.")] = False,
    python: Python = "python",
    home: Home = HOME,
    tracking_uri: Tracking = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Send a search to a Ray cluster, where it outlives this machine. The same command again finds it, or goes on."""
    from tune_cnn.spec import load_spec
    from tune_cnn.study.commands import fleet

    checked = load_spec(spec, overrides or [])
    sent = fleet.submit(
        checked,
        jobs_url=jobs_url,
        store=store,
        storage=storage,
        on_head=on_head,
        python=python,
        home=home,
        tracking_uri=tracking_uri,
        follow=follow,
    )
    print_result(sent, as_json, fleet.show_submitted)


@app.command()
def watch(study: StudyName, jobs_url: JobsUrl = None, home: Home = HOME, debug: Debug = False) -> None:
    """Show what a submitted search prints until it ends. Ctrl-C leaves the search alone."""
    from tune_cnn.study.commands import fleet

    fleet.watch(study, home, jobs_url)


@app.command()
def cancel(
    study: StudyName,
    now: Annotated[bool, typer.Option("--now", help="At once: what is trained since its checkpoint is lost.")] = False,
    jobs_url: JobsUrl = None,
    python: Python = "python",
    home: Home = HOME,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """End a submitted search at its epoch, with checkpoints kept; with --now at once."""
    from tune_cnn.study.commands import fleet

    how = "is ended" if now else "ends at the epoch, checkpoints are kept"
    ended = fleet.cancel(study, home, jobs_url, at_once=now, python=python)
    print_result(ended, as_json, lambda _: say(f"The search of study {study} {how}."))


@app.command()
def logs(study: StudyName, jobs_url: JobsUrl = None, home: Home = HOME, debug: Debug = False) -> None:
    """What a submitted search has printed so far."""
    from tune_cnn.study.commands import fleet

    text = fleet.logs(study, home, jobs_url)
    write(lambda: sys.stdout.write(text))


@app.command()
def manifest(
    kind: Annotated[str, typer.Argument(metavar="slurm|kuberay|systemd", help="What is to run the search.")],
    specs: Annotated[list[str], typer.Argument(metavar="SPEC...", help="A YAML file or a recipe; slurm: or several.")],
    overrides: Set = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write.", show_default="stdout")] = None,
    home: Annotated[Path | None, typer.Option(help="Folder of the studies there.", show_default="./studies")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Checkpoints: a folder that all nodes share, or a URI.", show_default="in --home")
    ] = None,
    secrets: Annotated[
        str | None,
        typer.Option(help="File of TUNE_CNN_STORE and MLFLOW_…, mode 600; kuberay: the name of a Secret."),
    ] = None,
    notice_s: Annotated[
        int, typer.Option("--notice", help="Seconds between the signal and the kill; an epoch must fit.")
    ] = 120,
    nodes: Annotated[int | None, typer.Option(min=1, help="Nodes to ask for.", show_default="1")] = None,
    slots: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time to ask for.", show_default="the spec's, else 1 a node")
    ] = None,
    node: Annotated[
        str | None, typer.Option(help="slurm: stay on this node, whose disk keeps the record.", show_default="any")
    ] = None,
    image: Annotated[str | None, typer.Option(help="kuberay: the image that holds tune_cnn.")] = None,
    claim: Annotated[str | None, typer.Option(help="kuberay: the claim that is mounted at --storage.")] = None,
    memory_gib: Annotated[
        int | None, typer.Option(min=1, help="kuberay: memory of a node in GiB.", show_default="4 a slot")
    ] = None,
    node_selector: Annotated[
        list[str] | None, typer.Option(metavar="LABEL=VALUE", help="kuberay: the nodes to train on.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the file that has a batch system, a cluster of containers or systemd run a search, and go on with it."""
    from tune_cnn.study.manifests.asked import Asked
    from tune_cnn.study.manifests.kinds import manifest as write_manifest
    from tune_cnn.study.manifests.kinds import programs

    asked = Asked(
        programs=programs(),
        folder=Path.cwd(),
        home=home,
        storage=storage,
        secrets=secrets,
        notice_s=notice_s,
        nodes=nodes,
        slots=slots,
        node=node,
        image=image,
        claim=claim,
        memory_gib=memory_gib,
        node_selector=tuple(node_selector or ()),
    )
    written = write_manifest(kind, specs, overrides or [], asked, output)
    if output is not None and not as_json:
        say(f"{output}: study {written['study']}; its first lines say how to send it")
        return
    print_result(written, as_json, lambda result: sys.stdout.write(result["text"]))


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
    from tune_cnn.reports.terminal.tables.health import health
    from tune_cnn.study.commands import studies
    from tune_cnn.study.commands.fleet import doctor as examined

    report = examined(of, studies.locations(home, tracking_uri, address, storage, debug=debug), clean=clean)
    print_result(report, as_json, health)
    if not report["ok"]:
        raise typer.Exit(1)
