"""The options that commands share."""

from pathlib import Path
from typing import Annotated

import typer

from tune_cnn.records.mlflow.environment import check_argument
from tune_cnn.untyped import Untyped


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
Accelerator = Annotated[
    str | None, typer.Option(metavar="TYPE", help="Of this type of accelerator alone.", show_default="of all")
]
Debug = Annotated[bool, typer.Option("--debug", help="Tracebacks, and what libraries and workers print.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the spec.")]
