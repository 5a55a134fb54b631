"""The commands of a fleet: send a search there, look after it, and ask whether the machines are well."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tune_cnn.cli.options import Debug, Json, Set
from tune_cnn.cli.output import print_result, say

app = typer.Typer()


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
