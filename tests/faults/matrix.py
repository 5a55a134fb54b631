"""The matrix of faults: every row once, and the driver killed at random moments; prints a table, writes it to --out.

uv run python tests/faults/matrix.py                      all, in at most an hour on two cores
uv run python tests/faults/matrix.py --short              the rows of the gate
uv run python tests/faults/matrix.py --rows 'worker.*'    rows whose name matches, as "worker, kill -9"
uv run python tests/faults/matrix.py --rows none --kills 300
"""

import argparse
import json
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
FAMILIES = ("processes", "cluster", "network", "storage", "store", "services", "training")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=".*", help="regular expression over 'part, fault' or 'family'; none: no row")
    parser.add_argument("--short", action="store_true", help="the rows that the gate runs")
    parser.add_argument("--kills", type=int, default=None, help="kills of the driver at random moments (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--jobs", type=int, default=2, help="rows, or killed searches, at a time")
    parser.add_argument("--out", type=Path, help="folder for matrix.json and matrix.md; what stands there is kept")
    parser.add_argument("--list", action="store_true", help="print the rows' names and end")
    asked = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("matrix.py: makes mount and network namespaces, which takes root; run it as root, in a container")
    rows = [row for family in FAMILIES for row in import_module(f"faults.{family}").ROWS]
    chosen = [row for row in rows if re.fullmatch(asked.rows, row.name) or re.fullmatch(asked.rows, row.family)]
    if asked.short:
        chosen = [row for row in chosen if row.short]
    if not chosen and asked.rows != "none":
        sys.exit(f"matrix.py: --rows: no row's name or family matches {asked.rows!r}; --list prints them")
    if asked.list:
        print("\n".join(f"{row.family}: {row.name}" for row in chosen))
        return 0
    return _run(asked, chosen)


def _run(asked: argparse.Namespace, chosen: list[object]) -> int:
    from faults.random_kills import kill_at_random
    from faults.table import Table

    table = Table(asked.out)
    with ThreadPoolExecutor(asked.jobs) as pool:
        for done in pool.map(_attempt, chosen):
            table.add(done)
    kills = asked.kills if asked.kills is not None else 0 if asked.short or asked.rows != ".*" else 300
    if kills:
        table.add_kills(kill_at_random(kills, seed=asked.seed, jobs=asked.jobs))
    table.write()
    return 0 if table.holds else 1


def _attempt(row: object) -> dict[str, object]:
    from faults.rows import Row, run

    assert isinstance(row, Row)
    began_s = time.monotonic()
    try:
        done = run(row).to_json()
    except Exception as error:  # a row that could not be brought about is told as such, and the others go on
        done = {
            "family": row.family,
            "part": row.part,
            "fault": row.fault,
            "broken": f"{type(error).__name__}: {error}",
            "took_s": time.monotonic() - began_s,
        }
    print(json.dumps(done), file=sys.stderr, flush=True)
    return done


if __name__ == "__main__":
    sys.exit(main())
