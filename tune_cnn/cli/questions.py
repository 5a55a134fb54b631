"""The commands that answer a question instead of searching."""

from typing import Annotated

import typer

from tune_cnn.cli.options import Address, Debug, Home, Json, Set, Tracking
from tune_cnn.cli.output import print_result
from tune_cnn.errors import InputError
from tune_cnn.study.hints import HOME, again

app = typer.Typer()
Spec = Annotated[str, typer.Argument(metavar="SPEC|RECIPE", help="A YAML file or a recipe.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, say how many runs and how long.")]


def _named(kind: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        "--study", metavar="NAME", help="Name of the study.", show_default=f"the spec's, with -{kind}"
    )
    return option


@app.command()
def profile(
    spec: Spec,
    overrides: Set = None,
    ranks: Annotated[
        str | None,
        typer.Option(metavar="N,N", help="Numbers of ranks, as a dimension.", show_default="resources.ranks"),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="M", help="Measure an even part that takes so long.", show_default="all")
    ] = None,
    study: Annotated[str | None, _named("profile")] = None,
    home: Home = HOME,
    tracking_uri: Tracking = None,
    address: Address = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Where the time of a step goes: over batch, loader, workers and all else that costs. Run it again to continue."""
    from tune_cnn.reports.terminal import profile_table
    from tune_cnn.spec import load_spec
    from tune_cnn.study import commands
    from tune_cnn.study.profiling import course

    checked = load_spec(spec, overrides or [])
    locations = commands.locations(home, tracking_uri, address, None, debug=debug)
    counts = None if ranks is None else _numbers("--ranks", ranks)
    if dry_run:
        found = course.dry_run(checked, locations, ranks=counts, minutes=minutes, study=study)
        print_result(found, as_json, profile_table.reckoned)
        return
    answer = course.profile(checked, locations, ranks=counts, minutes=minutes, study=study, again=again())
    print_result(answer, as_json, profile_table.profile)


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option}: must be whole numbers with commas between them, as in 1,2; got {text!r}") from None
