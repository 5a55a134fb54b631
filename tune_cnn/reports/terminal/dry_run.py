"""What `search --dry-run` prints: what fits, how fast, and whether trials should share a GPU."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from tune_cnn.reports.numbers import ABSENT, duration, number, setting
from tune_cnn.reports.terminal.lines import Stream, plain, titled_columns
from tune_cnn.untyped import Plain


def dry_run(result: Mapping[str, Plain]) -> None:
    console, info = Stream(), result["info"]
    data, model = info["data"], info["model"]
    parameters = f"; {model['parameters']:,} parameters" if model else ""
    plain(
        console,
        f"\n{result['study']}: {data['num_classes']} classes; {data['train_images']:,} training, "
        f"{data['validation_images']:,} validation and {data['test_images']:,} test images{parameters}",
    )
    for phase in result["phases"]:
        _phase(console, phase, result["searched"])
    plain(console, "Only these costs are kept; the same command without --dry-run starts the search.")


def _phase(console: Console, phase: Mapping[str, Plain], searched: Sequence[str]) -> None:
    slots = phase["slots"]
    share = f", {phase['gpus_per_rank']:g} GPU a rank" if phase["gpus_per_rank"] else ""
    on = f" on {phase['accelerator']}" if phase["accelerator"] else ""
    held = f", GPUs held at {phase['power_limit_w']:g} W" if phase["power_limit_w"] else ""
    plain(console, f"{slots} trial{'s' if slots != 1 else ''} at a time{on}{share}{held}\n")
    table = titled_columns("fits", "step [ms]", "images/s", "memory [MiB]", "trial [s]", right=True)
    table.add_column("configuration", overflow="fold")
    for probe in phase["probes"]:
        cells = [probe[key] for key in ("step_time_ms", "images_per_s", "peak_memory_mib", "trial_s")]
        told = " ".join(f"{key}={setting(value)}" for key, value in probe["params"].items() if key in searched)
        told = told or "as the spec says"
        if probe["reason"] or probe["note"]:
            told += f": {probe['reason'] or probe['note']}"
        shown = [ABSENT if cell is None else number(round(cell, 1)) for cell in cells]
        fits = {True: "yes", False: "no", None: "failed"}[probe["fits"]]
        table.add_row(*map(Text, (fits, *shown, told)))
    if phase["probes"]:
        console.print(table)
    if phase["sharing"]:
        plain(console, f"\n{sharing(phase['sharing'])}")
    if phase["trials_per_hour"]:
        hours = phase["budget_hours"]
        budget = f"; the budget takes {duration(hours * 3600)}" if hours is not None else ""
        plain(
            console,
            f"\nAbout {phase['trials_per_hour']:,.0f} trials an hour{budget}. "
            "This counts every trial to its horizon; a stopper that ends trials early makes room for more.",
        )


def sharing(found: Mapping[str, Plain]) -> str:
    """Whether trials should share a GPU, by the one configuration that was probed in both ways."""
    share, alone, shared = f"gpus_per_rank: {found['gpus_per_rank']:g}", found["alone"], found["shared"]
    if shared is None:
        return f"With {share} one configuration did not train: {found['reason']}"
    many, before = shared["trials_per_hour"], alone["trials_per_hour"]
    longer = shared["trial_s"] / alone["trial_s"]
    more = f"set {share} for more of them, whose times are then those of a shared GPU"
    return (
        f"With {share} one configuration makes {many:,.0f} trials an hour in place of {before:,.0f} "
        f"({many / before:.2g} times as many), each of which takes {longer:.2g} times as long: "
        f"{more if many > before else 'leave them a GPU each'}."
    )
