"""The commands that answer a question: what is better, and how sure is that?"""

from typing import Annotated

import typer

from tune_cnn.cli.options import Address, Debug, Home, Json, Set, Storage, Tracking
from tune_cnn.cli.output import print_result
from tune_cnn.study.hints import HOME, again

app = typer.Typer()
Spec = Annotated[str, typer.Argument(metavar="SPEC|RECIPE", help="A YAML file or a recipe.")]
StudyOf = Annotated[
    str | None, typer.Option("--study", metavar="NAME", help="The study's name.", show_default="SPEC's and the command")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, say how many runs there are and how long.")]


@app.command()
def compare(
    spec: Spec,
    over: Annotated[
        str,
        typer.Option(
            metavar="KEY[,KEY]",
            help="Dimensions whose values are compared, in all combinations; also data, model, training; strategies: "
            "none of them, and each alone.",
        ),
    ],
    values: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B", help="Values of a dimension, the baseline's first.", show_default="the spec's"),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each combination.")] = 3,
    equal: Annotated[
        str, typer.Option(metavar="epochs|time", help="What all have the same of; time: the baseline's.")
    ] = "epochs",
    beside: Annotated[
        bool, typer.Option("--beside", help="Use all slots at once, where accuracy alone is asked.")
    ] = False,
    then_combine: Annotated[
        bool, typer.Option("--then-combine", help="With --over strategies: train the winners together too.")
    ] = False,
    limit: Annotated[int, typer.Option(help="The most runs that may be left to do.")] = 100,
    study: StudyOf = None,
    overrides: Set = None,
    home: Home = HOME,
    tracking_uri: Tracking = None,
    address: Address = None,
    storage: Storage = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """What is better, and how sure is that: train every combination over several seeds. Run it again to continue."""
    from tune_cnn.study import asking

    locations = asking.locations(home, tracking_uri, address, storage, debug=debug)
    wanted = asking.comparison(over, values or [], seeds, equal, study, limit, beside=beside, then_combine=then_combine)
    if dry_run:
        print_result(asking.dry_compare(spec, overrides or [], wanted, locations), as_json, asking.show_dry_run)
        return
    document = asking.compare(spec, overrides or [], wanted, locations, again=again())
    print_result(document, as_json, asking.show_compare)
