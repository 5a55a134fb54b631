"""The answer of `gradients` in a terminal."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tune_cnn.untyped import Plain


def gradients(answer: Mapping[str, Plain]) -> None:
    """Metric by phase, the paper's findings, the noise scale, and where the page lies."""
    console = Console(highlight=False)
    console.print(_by_phase(answer))
    told = [one for one in answer["findings"] if one["difference"] is not None]
    if told:
        console.print(Text("\nThe paper's findings:"))
    for one in told:
        line = f"  {one['verdict']:<11}{one['metric']}, phase {one['phase']}: {one['claim']}; {one['why']}"
        console.print(Text(line), soft_wrap=True)
    if answer["noise_scale"]:
        scales = ", ".join(f"{one['value']:,.0f} (epoch {one['epoch']})" for one in answer["noise_scale"])
        console.print(Text(f"\nGradient noise scale in images, about the critical batch: {scales}"), soft_wrap=True)
    if answer["report"]:
        console.print(Text(f"\nReport: {answer['report']}"), soft_wrap=True)


def _by_phase(answer: Mapping[str, Plain]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("metric", "phase", "rank correlation", "nearest part", "farthest part", "beside random"):
        table.add_column(heading, justify="left" if heading in ("metric", "phase") else "right")
    for name, metric in answer["metrics"].items():
        for phase in metric["phases"]:
            parts = sorted(phase["quantiles"], key=lambda part: part["value"])
            beside = phase["against_random"]
            table.add_row(
                Text(name),
                str(phase["phase"]),
                Text(_interval(phase["correlation"])),
                _part(parts[0]),
                _part(parts[-1]),
                "–" if beside is None else f"{beside['value']:.2f}",
            )
    return table


def _interval(value: Mapping[str, Plain]) -> str:
    if value["low"] is None:
        return f"{value['value']:+.2f}"
    return f"{value['value']:+.2f} ({value['low']:+.2f} … {value['high']:+.2f})"


def _part(part: Mapping[str, Plain]) -> str:
    return f"{part['from']:.0%} … {part['to']:.0%}: {part['value']:.2f}"
