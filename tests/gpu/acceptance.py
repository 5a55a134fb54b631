"""What only a GPU can prove of tune_cnn, in one command: python tests/gpu/acceptance.py --data FOLDER --out FOLDER.

With --cpu it runs what says something without a GPU, so that the script itself never rots. See README.md beside it.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import jpegs  # noqa: E402, F401  (after the folders are known)
import searches  # noqa: E402, F401  (after the folders are known)
import speed  # noqa: E402, F401  (after the folders are known)
import torch  # noqa: E402  (after the folders are known)
import trainings  # noqa: E402, F401  (after the folders are known)
from rows import ITEMS, Item, Row, Setup, read, write  # noqa: E402  (after the folders are known)

from tune_cnn.spec import DataSpec  # noqa: E402  (after the folders are known)

FIRST = ("trainings", "jpegs", "speed", "searches")  # the shortest first: there is one limit for all
SLOWER = 3  # a CPU that others use too
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def main() -> int:
    options = _options()
    setup = _setup(options)
    if options.item:
        return _run_here(ITEMS[options.item], setup, Path(options.rows))
    wanted = [one for one in ITEMS.values() if one.alone and (setup.cuda or one.on_cpu)]
    wanted.sort(key=lambda one: FIRST.index(one.rows.__module__))
    if options.only:
        wanted = [one for one in wanted if one.name in options.only.split(",")]
    began, rows = time.monotonic(), []
    for one in wanted:
        left_s = 60 * options.minutes - (time.monotonic() - began)
        for row in _run_apart(one, setup, min(one.limit_s * (1 if setup.cuda else SLOWER), left_s)):
            rows.append((one.name, row))
            print(_line(one.name, row), flush=True)
    failed = sum(not row.held for _, row in rows)
    print(f"{len(rows)} rows, {failed} did not hold, in {time.monotonic() - began:.0f} s")
    _write_out(Path(options.out), rows)
    if failed:
        print(f"what the items wrote, and their logs: {setup.folder}")
    else:
        shutil.rmtree(setup.folder)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="what says something without a GPU")
    parser.add_argument("--data", help="folder of Fashion-MNIST's four .gz files; without it digits are trained on")
    parser.add_argument("--out", default=".", help="folder for acceptance.json and acceptance.md")
    parser.add_argument("--only", help="names of items, with commas")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all items together, on a GPU")
    parser.add_argument("--item", help=argparse.SUPPRESS)
    parser.add_argument("--rows", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.cpu and not torch.cuda.is_available():
        parser.error("this machine shows torch no GPU; --cpu runs what can do without one")
    return options


def _setup(options: argparse.Namespace) -> Setup:
    folder = Path(options.folder) if options.folder else Path(tempfile.mkdtemp(prefix="acceptance-"))
    data = DataSpec(name="digits")
    if options.data:
        raw = folder / "data" / "FashionMNIST" / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if not (raw / f"{name}.gz").exists():
                (raw / f"{name}.gz").symlink_to(Path(options.data).resolve() / f"{name}.gz")
        data = DataSpec(name="fashion_mnist", root=str(folder / "data"))
    command = [sys.executable, __file__, "--folder", str(folder)]
    command += ["--cpu"] if options.cpu else []
    command += ["--data", options.data] if options.data else []
    images = 10_000 if options.data else 1_000
    return Setup(cuda=not options.cpu, folder=folder, data=data, images=images, command=tuple(command))


def _run_here(one: Item, setup: Setup, file: Path) -> int:
    """In the item's own process."""
    try:
        for row in one.rows(setup):
            write(row, file)
    except Exception as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        write(Row(what="the item itself", figure=said, must_hold="comes to its end", held=False), file)
        raise
    return 0


def _run_apart(one: Item, setup: Setup, limit_s: float) -> list[Row]:
    """In a process of its own: neither a broken device nor a hang reaches the others."""
    if limit_s < 5:
        return [Row(what="the item itself", figure="not run", must_hold="time left for it", held=False)]
    file = setup.folder / f"{one.name}.jsonl"
    command = [*setup.command, "--item", one.name, "--rows", str(file)]
    began = time.monotonic()
    with (setup.folder / f"{one.name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            process.wait(limit_s)
            ended = []
        except subprocess.TimeoutExpired:
            ended = [
                Row(what="the item itself", figure=f"ended after {limit_s:.0f} s", must_hold="its limit", held=False)
            ]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    took = Row(what="seconds of the item, imports and all", figure=f"{time.monotonic() - began:.0f}")
    rows = [*read(file), *ended]
    if process.returncode not in (0, None) and all(row.held for row in rows):
        rows.append(Row(what="the item itself", figure=f"exit {process.returncode}", must_hold="exit 0", held=False))
    return [*rows, took]


def _line(name: str, row: Row) -> str:
    mark = "    " if not row.must_hold else "held" if row.held else "NOT "
    return f"{mark}  {name:22} {row.what}: {row.figure}" + (f"  ({row.must_hold})" if row.must_hold else "")


def _write_out(folder: Path, rows: list[tuple[str, Row]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    plain = [{"item": name, **asdict(row)} for name, row in rows]
    (folder / "acceptance.json").write_text(json.dumps(plain, indent=1) + "\n")
    lines = ["| item | what | figure | must hold | held |", "| --- | --- | --- | --- | --- |"]
    for name, row in rows:
        held = "" if not row.must_hold else "yes" if row.held else "**no**"
        lines.append(f"| {name} | {row.what} | {row.figure.replace('|', '/')} | {row.must_hold} | {held} |")
    (folder / "acceptance.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
