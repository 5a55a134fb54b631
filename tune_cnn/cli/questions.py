"""The commands that answer a question: what is better, where does the time go, which mini-batches are like all?"""

from pathlib import Path
from typing import Annotated

import typer

from tune_cnn.cli.options import Address, Debug, Home, Json, Set, Storage, Tracking
from tune_cnn.cli.output import print_result
from tune_cnn.errors import InputError
from tune_cnn.study.hints import HOME, again

app = typer.Typer()
Spec = Annotated[str, typer.Argument(metavar="SPEC|RECIPE", help="A YAML file or a recipe.")]
StudyOf = Annotated[
    str | None, typer.Option("--study", metavar="NAME", help="The study's name.", show_default="SPEC's and the command")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, say how many runs there are and how long.")]


@app.command()
def data(
    of: Annotated[
        str, typer.Argument(metavar="SPEC|RECIPE|FOLDER|NAME", help="Whose images; or a folder or set of images.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write a page (.html) or the contact sheet alone (.png).")
    ] = None,
    overrides: Set = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """What was understood of the images: parts, classes, sizes; what is broken, blank or there twice; a sheet."""
    from tune_cnn.reports.terminal.tables.data import data as show
    from tune_cnn.study.commands import looking, studies

    cache_dir = studies.locations(None, None, None, None, debug=debug).cache_dir
    print_result(looking.look(looking.spec_of(of, overrides or []), cache_dir, output), as_json, show)


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
        str,
        typer.Option(metavar="epochs|time", help="What each combination gets alike: epochs, or the baseline's time."),
    ] = "epochs",
    beside: Annotated[
        bool, typer.Option("--beside", help="Train several at a time, where accuracy alone is asked: times don't hold.")
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
    from tune_cnn.study.commands import questions

    locations = questions.locations(home, tracking_uri, address, storage, debug=debug)
    wanted = questions.comparison(
        over, values or [], seeds, equal, study, limit, beside=beside, then_combine=then_combine
    )
    if dry_run:
        print_result(questions.dry_compare(spec, overrides or [], wanted, locations), as_json, questions.show_dry_run)
        return
    document = questions.compare(spec, overrides or [], wanted, locations, again=again())
    print_result(document, as_json, questions.show_compare)


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
    study: StudyOf = None,
    home: Home = HOME,
    tracking_uri: Tracking = None,
    address: Address = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Where the time of a step goes: over batch, loader, workers and all else that costs. Run it again to continue."""
    from tune_cnn.reports.terminal.tables import profile as profile_table
    from tune_cnn.spec import load_spec
    from tune_cnn.study.commands import studies
    from tune_cnn.study.profiling import course

    checked = load_spec(spec, overrides or [])
    locations = studies.locations(home, tracking_uri, address, None, debug=debug)
    counts = None if ranks is None else _numbers("--ranks", ranks)
    if dry_run:
        found = course.dry_run(checked, locations, ranks=counts, minutes=minutes, study=study)
        print_result(found, as_json, profile_table.reckoned)
        return
    answer = course.profile(checked, locations, ranks=counts, minutes=minutes, study=study, again=again())
    print_result(answer, as_json, profile_table.profile)


@app.command()
def gradients(
    spec: Spec,
    metric: Annotated[
        str,
        typer.Option(
            metavar="NAME[,NAME]",
            help="What images are ranked by: intensity, colour, edges, perceptual, class_entropy, loss, "
            "prediction_entropy, or package.module:name.",
        ),
    ],
    every: Annotated[int, typer.Option(metavar="K", help="Measure every K-th epoch.")] = 1,
    seeds: Annotated[int, typer.Option(help="Trainings.")] = 1,
    control: Annotated[
        bool, typer.Option("--control/--no-control", help="Measure random mini-batches too, and the noise scale.")
    ] = True,
    backbone: Annotated[
        str | None, typer.Option(help="torchvision's network for perceptual.", show_default="alexnet")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="pretrained|random", help="Of the backbone.", show_default="pretrained")
    ] = None,
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
    """Which mini-batches are like the whole set: how far are their gradients? Run it again to continue."""
    from tune_cnn.reports.terminal.tables import gradients as gradients_table
    from tune_cnn.spec import load_spec
    from tune_cnn.study.commands import studies
    from tune_cnn.study.gradients import course

    checked = course.named(load_spec(spec, overrides or []), study)
    asked = course.asked_for(
        metric, checked, every=every, seeds=seeds, control=control, backbone=backbone, weights=weights
    )
    locations = studies.locations(home, tracking_uri, address, storage, debug=debug)
    if dry_run:
        print_result(course.gradients_cost(checked, asked, locations), as_json, course.show_cost)
        return
    answer = course.gradients(checked, asked, locations, again=again())
    print_result(answer, as_json, gradients_table.gradients)


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option}: must be whole numbers with commas between them, as in 1,2; got {text!r}") from None
