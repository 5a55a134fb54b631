"""Fill a template: `@NAME@` becomes text, and a line `@NAME@` of its own as many lines as there are."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

PLACE = re.compile(r"@([A-Z_]+)@")


def filled(template: str, values: Mapping[str, str | int | Sequence[str]]) -> str:
    """The file `template` of this folder with every place filled; a place without a value, and the reverse, is ours
    to mend. Lines that take a block's place are indented as it is."""
    text = Path(__file__).with_name(template).read_text(encoding="utf-8")
    assert set(PLACE.findall(text)) == set(values), set(PLACE.findall(text)) ^ set(values)
    lines: list[str] = []
    for line in text.splitlines():
        block = PLACE.fullmatch(line.strip())
        value = values[block[1]] if block else None
        if isinstance(value, str | int) or value is None:
            lines.append(PLACE.sub(lambda place: str(values[place[1]]), line))
        else:
            indent = line[: len(line) - len(line.lstrip())]
            lines += [f"{indent}{one}".rstrip() for one in value]
    return "\n".join(lines) + "\n"
