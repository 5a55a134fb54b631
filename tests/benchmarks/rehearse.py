"""Whether every benchmark's command that stands in a page still runs: each in a small form, before a release.

    python tests/benchmarks/rehearse.py --root ROOT
    python tests/benchmarks/rehearse.py --check

Prints a line a command; ends with 1 where one failed. `--check` runs nothing, and looks only whether the scripts take
these words. What is measured small is of no worth, and is thrown away. About half an hour on 2 cores, most of it the
rivals' own environment, which turnaround.py and time_to_front.py install (the network is asked): `--environment` keeps
it, and `--only` runs some scripts alone.
"""

import argparse
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
TOP = HERE.parents[1]
PLACEHOLDERS = {"ROOT": "{root}", "DATA": "{root}", "./data": "{root}", "NAME": "digits-cnn"}  # words of the pages
# What makes a command small: words after its own, the last of which count. {scratch} and {environment} are folders.
SMALL = {
    "at_rest.py": "--repeats 1 --searches 1 --out {scratch}/out.json",
    "data_path.py": "--images 64 --batches 32 --augment none --repeats 1 --out {scratch}/out.json",
    "decode_speed.py": "--photographs 200 --images 128 --repeats 1 --out {scratch}/out.json",
    "fleet.py": "--nodes 2 --hours 0.2 --rate-s 1 --out {scratch}/out.json",
    "honest_time.py": "--trials 4 --epochs 2 --points 1 --seeds 2 --retrainings 1 --out {scratch}/out.json",
    "interval_coverage.py": "--configurations 2 --seeds 3 --epochs 2 --runs 2 --out {scratch}/out.json",
    "outbox_load.py": "--trials 2 --epochs 2 --metrics 4 --slow-trials 1 --out {scratch}/out.json",
    "record_curves.py": "--most 1 --work {scratch}",
    "scale.py": "--repeats 1 --trials 10 --remembered 20 --large 20 --out {scratch}/out.json",
    "simulate.py": "--seeds 1 --max-trials 10 --processes 1 --json {scratch}/out.json",
    "strategy_overhead.py": "--repeats 1 --images 200 --only weight_norm --out {scratch}/out.json",
    "time_to_front.py": "--seconds 90 --repeats 1 --epochs 2 --environment {environment} --out {scratch}/out.json",
    "turnaround.py": "--repeats 1 --trials 2 --environment {environment} --out {scratch}/out.json",
    "within_epoch.py": "--repeats 1 --epochs 1 --out {scratch}/out.json",
}
SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, kw_only=True)
class Command:
    """One of a page: the script's name, and the words after it as they stand there."""

    page: str
    script: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join([self.script, *self.words])}"

    def filled(self, root: Path) -> list[str]:
        """Its words with the page's placeholders filled in."""
        return [PLACEHOLDERS.get(word, word).format(root=root) for word in self.words]

    def small(self, root: Path, scratch: Path, environment: Path) -> list[str]:
        if self.script not in SMALL:
            raise SystemExit(f"{self}: rehearse.py must know a small form of {self.script}; put it into SMALL")
        small = SMALL[self.script].format(scratch=scratch, environment=environment)
        return [*self.filled(root), *small.split()]


def pages() -> list[Path]:
    """All in which a benchmark's command may stand."""
    rooms = (TOP / room for room in ("tests", "tune_cnn", "search_spaces", "mlflow_server", ".github"))
    return [*sorted(TOP.glob("*.md")), *(page for room in rooms for page in sorted(room.rglob("*.md")))]


def commands() -> list[Command]:
    """Of all pages; one that stands in several, or twice, counts once."""
    found = [command for page in pages() for command in commands_in(page.read_text(encoding="utf-8"), page.name)]
    return list({(command.script, command.words): command for command in found}.values())


def commands_in(text: str, page: str) -> Iterator[Command]:
    """Lines of indented or fenced blocks that call a script of this folder, and inline code that gives one words.

    A script's bare name in inline code is a mention.
    """
    blocks = re.sub(r"\\\n\s*", " ", text)
    for line in blocks.splitlines():
        if line.startswith(("    ", "python ")) and (command := _command(line, page)):
            yield command
    for span in SPAN.findall(text):
        command = _command(span, page)
        if command and command.words:
            yield command


def _command(line: str, page: str) -> Command | None:
    if ".py" not in line:
        return None
    words = shlex.split(line, comments=True)
    at = next((at for at, word in enumerate(words) if word.endswith(".py")), None)
    if at is None or not set(words[:at]) <= {word for word in words[:at] if _before_script(word)}:
        return None
    script = Path(words[at])
    if len(script.parts) > 1 and script.parent != Path("tests/benchmarks"):
        return None
    return Command(page=page, script=script.name, words=tuple(words[at + 1 :]))


def _before_script(word: str) -> bool:
    """What may come before the script: an interpreter, how nice it is, variables."""
    return word in {"python", "uv", "run", "nice", "-n", "env"} or word.isdigit() or "=" in word


def wrong_words(command: Command, root: Path) -> str:
    """Why the script's own parser does not take these words; empty where it does."""
    if not (HERE / command.script).exists():
        return f"there is no {command.script} in tests/benchmarks"
    parser: argparse.ArgumentParser = import_module(Path(command.script).stem).command_line()
    told = io.StringIO()
    with redirect_stderr(told):
        try:
            parser.parse_args(command.filled(root))
            parser.parse_args(command.small(root, Path("scratch"), Path("environment")))
        except SystemExit as end:
            if end.code == 0:  # it was asked to explain itself
                return ""
            return told.getvalue().strip().rpartition("\n")[2] or str(end.code)
    return ""


def rehearse(command: Command, root: Path, environment: Path, limit_s: float) -> str:
    """Run it small, in a folder of its own; empty where it ended well, else the end of what it said."""
    with tempfile.TemporaryDirectory() as folder:
        words = command.small(root, Path(folder), environment)
        run = [sys.executable, str(HERE / command.script), *words]
        variables = {**os.environ, "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                run,
                cwd=folder,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"not over after {limit_s:.0f} s"
        if done.returncode:
            return f"exit code {done.returncode}\n{done.stdout[-2000:]}"
        saved = [path for path in Path(folder).rglob("*") if path.suffix in {".json", ".jsonl"}]
        return "" if saved else "it ended well and saved nothing"


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder that holds FashionMNIST/raw")
    parser.add_argument("--check", action="store_true", help="parse the commands, run none")
    parser.add_argument("--only", nargs="*", help="scripts to run, as simulate.py")
    parser.add_argument("--environment", type=Path, help="the rivals' environment, made there and kept")
    parser.add_argument("--limit", type=float, default=1800, help="seconds for a command")
    return parser


def main() -> None:
    asked = command_line().parse_args()
    chosen = [c for c in commands() if asked.only is None or c.script in asked.only]
    with tempfile.TemporaryDirectory() as folder:
        environment = (asked.environment or Path(folder) / "environment").absolute()
        failed = sum(not _told(c, asked, environment) for c in chosen)
    print(f"{len(chosen)} commands, {failed} failed")
    sys.exit(1 if failed or not chosen else 0)


def _told(command: Command, asked: argparse.Namespace, environment: Path) -> bool:
    """Whether it went well, after its line."""
    began_s, root = time.monotonic(), asked.root.absolute()
    wrong = wrong_words(command, root)
    if not wrong and not asked.check:
        wrong = rehearse(command, root, environment, asked.limit)
    took = "" if asked.check else f" ({time.monotonic() - began_s:.0f} s)"
    print(f"{'FAILED' if wrong else 'ok'}{took}  {command}{f': {wrong}' if wrong else ''}", flush=True)
    return not wrong


if __name__ == "__main__":
    main()
