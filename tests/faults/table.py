"""The matrix's table, in markdown and JSON."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEAD = (
    "| part | fault | after the same command: all there, once | noticed, s | recovered, s | old processes gone, s "
    "| exit codes | left behind |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
)


class Table:
    """Rows as they come; what an earlier run has written to `folder` is kept, row by row."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._began_s = time.monotonic()
        self._rows: dict[str, Mapping[str, Any]] = {}
        self._kills: Mapping[str, Any] | None = None
        self.holds = True
        if folder is not None and (folder / "matrix.json").exists():
            before = json.loads((folder / "matrix.json").read_text())
            self._rows = {f"{row['part']}, {row['fault']}": row for row in before["rows"]}
            self._kills = before["kills"]

    def add(self, row: Mapping[str, Any]) -> None:
        self._rows[f"{row['part']}, {row['fault']}"] = row
        self.holds &= not (row.get("broken") or row["wrong"] or row["stuck"] or row["left"])
        print(as_markdown(row), flush=True)
        self.write()

    def add_kills(self, kills: Mapping[str, Any]) -> None:
        self._kills = kills
        self.holds &= not kills["wrong"]
        print(told(kills), flush=True)

    def write(self) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        found = {"rows": list(self._rows.values()), "kills": self._kills, "took_s": time.monotonic() - self._began_s}
        (self._folder / "matrix.json").write_text(json.dumps(found, indent=1))
        lines = [HEAD, *map(as_markdown, self._rows.values())]
        if self._kills is not None:
            lines += ["", told(self._kills)]
        (self._folder / "matrix.md").write_text("\n".join(lines) + "\n")


def as_markdown(row: Mapping[str, Any]) -> str:
    head = f"| {row['part']} | {row['fault']} |"
    if row.get("broken"):
        return f"{head} could not be brought about: {_one_line(row['broken'])} | | | | | |"
    held = "yes" if not row["wrong"] else "**no**: " + "; ".join(row["wrong"][:3])
    held += ", but **stuck** until it was killed" if row["stuck"] else ""
    times = " | ".join(_seconds(row[name]) for name in ("noticed_s", "recovered_s", "gone_s"))
    codes = ", ".join(["runs" if code is None else str(code) for code in row["codes"]] + ["sync"] * row["synced"])
    return f"{head} {_one_line(held)} | {times} | {codes} | {_one_line('; '.join(row['left'][:3])) or 'nothing'} |"


def told(kills: Mapping[str, Any]) -> str:
    wrong = "; ".join(kills["wrong"][:5]) or "nothing"
    return (
        f"Kills of the driver at random moments: {kills['kills']} ({kills['by_moment']}), over {kills['studies']} "
        f"studies of {kills['points']} points in all, in {kills['took_s']:.0f} s. Wrong afterwards: {wrong}. "
        f"Left behind: {kills['left'] or 'nothing'}."
    )


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")[:300]
