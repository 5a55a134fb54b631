"""Items that run the commands as a user does, and the tests that are marked `gpu`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from rows import Row, Rows, Setup, item

ROOT = Path(__file__).resolve().parents[2]
SPEC = """\
study: {study}
data: {{name: {data}, root: {root}, subset: {images}}}
model: {{name: {model}}}
objectives: [accuracy, train_time_s]
space:
  epochs: {epochs}
  batch_size: [32, 64, 128]
  learning_rate: {{low: 0.001, high: 0.3, log: true}}
  loader: [device, batched]
  loader_workers: {{low: 0, high: 1}}
  precision: {precisions}
resources: {{cpus_per_trial: {cpus}, gpus_per_rank: {share}, checkpoint_every_s: 0}}
budget: {{trials: {trials}}}
stopper: none
{more}
"""
ASSERTS = '''
"""A training whose second trial makes a kernel read outside its memory."""
from pathlib import Path

import torch


def train(rank):
    """Yields an accuracy; breaks the device's context once, in the second trial."""
    for epoch in range(rank.first_epoch, rank.configuration.epochs):
        first = Path("began-first")
        if not first.exists():
            first.touch()
        elif not Path("broken").exists():
            Path("broken").touch()
            table = torch.zeros(4, device=rank.device)
            table[torch.full((8,), 10, device=rank.device)].sum().item()
        yield {"accuracy": 0.5 + 0.1 * epoch}
'''


def _spec(setup: Setup, study: str, *, trials: int, epochs: int = 2, share: float = 0.25, more: str = "") -> str:
    return SPEC.format(
        study=study,
        data=setup.data.name,
        root=setup.data.root,
        images=setup.images,
        model=setup.model,
        epochs=epochs,
        precisions="[fp32, tf32, bf16, fp16]" if setup.cuda else "[fp32]",
        cpus=2 if setup.cuda else 1,
        share=share if setup.cuda else 0,
        trials=trials,
        more=more,
    )


def _start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RAY_", "TUNE_CNN_"))}
    paths = [str(ROOT), str(folder), *filter(None, [kept.get("PYTHONPATH")])]
    environment = kept | {"TUNE_CNN_CACHE": str(folder.parent / "cache"), "PYTHONPATH": os.pathsep.join(paths)}
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}
    return subprocess.Popen([sys.executable, "-m", "tune_cnn", *words], cwd=folder, env=environment, **piped)


def _said(process: "subprocess.Popen[str]") -> tuple[int, Any, str]:
    """Exit code, what stdout says as JSON or else None, and the last lines of stderr."""
    out, err = process.communicate()
    try:
        answer = json.loads(out)
    except ValueError:
        answer = None
    return process.returncode, answer, " / ".join(err.strip().splitlines()[-3:])[-300:]


def _ran(what: str, process: "subprocess.Popen[str]") -> tuple[Row, Any]:
    began = time.monotonic()
    code, answer, err = _said(process)
    figure = f"exit {code} in {time.monotonic() - began:.0f} s" + (f": {err}" if code else "")
    return Row(what=what, figure=figure, must_hold="exit 0", held=code == 0), answer


@item(300, on_cpu=True)
def the_whole_way(setup: Setup) -> Rows:
    """search, confirm, export, train: as the README tells it; on a GPU the recipe `joint`, four trials on the card."""
    folder = setup.folder / "whole"
    folder.mkdir()
    trials, study, spec = (12, "joint", _joint(setup)) if setup.cuda else (2, "whole", ["s.yaml"])
    (folder / "s.yaml").write_text(_spec(setup, "whole", trials=trials))
    row, found = _ran("search", _start(folder, "search", *spec, "--json"))
    yield row
    if not row.held:
        return
    ended = found["trials"]
    went_well = ended.get("complete", 0) + ended.get("stopped", 0)
    yield Row(what="trials", figure=json.dumps(ended), must_hold=f"{trials} complete or stopped",
              held=went_well == trials)  # fmt: skip
    for words in (
        ["confirm", study, "--points", "1", "--seeds", "2", "--json"],
        ["export", study, "-o", "best.yaml"],
        ["train", "best.yaml", "-o", "model", "--json"],
    ):
        row, answer = _ran(words[0], _start(folder, *words))
        yield row
        if words[0] == "train" and row.held:
            told = {name: answer["achieved"].get(name) for name in ("accuracy", "train_time_s", "captured_pct")}
            yield Row(what="trained", figure=json.dumps(told))


def _joint(setup: Setup) -> list[str]:
    settings = [f"data.root={setup.data.root}", f"data.subset={setup.images}", "budget.trials=12"]
    settings += ["resources.gpus_per_rank=0.25", "prices.per_gpu_hour=2.5"]
    return ["joint", *[word for setting in settings for word in ("--set", setting)]]


@item(120)
def what_sharing_gives(setup: Setup) -> Rows:
    """The dry run of `joint`: one configuration alone on the card and beside itself in four slots."""
    folder = setup.folder / "dry"
    settings = [f"data.root={setup.data.root}", f"data.subset={setup.images}"]
    words = ["search", "joint", *[word for setting in settings for word in ("--set", setting)], "--dry-run", "--json"]
    row, found = _ran("dry run", _start(folder, *words))
    yield row
    sharing = found["phases"][0]["sharing"] if found is not None else None
    yield Row(what="sharing", figure=json.dumps(sharing)[:300], must_hold="is told", held=sharing is not None)


@item(180)
def device_assert(setup: Setup) -> Rows:
    """A kernel that fails in the second of three trials ends its process, not the search."""
    folder = setup.folder / "assert"
    folder.mkdir()
    (folder / "asserting.py").write_text(ASSERTS)
    spec = _spec(setup, "asserting", trials=3, share=1.0, more="training: asserting:train\n")
    (folder / "s.yaml").write_text(spec.replace("objectives: [accuracy, train_time_s]", "objectives: [accuracy]"))
    row, found = _ran("search", _start(folder, "search", "s.yaml", "--json"))
    yield row
    if found is not None:
        ended = found["trials"]
        held = ended.get("complete") == 3 and (folder / "broken").exists()
        yield Row(what="trials", figure=json.dumps(ended), must_hold="3 complete, one of them retried", held=held)


@item(180, on_cpu=True)
def slot_killed(setup: Setup) -> Rows:
    """kill -9 of the process that trains: the trial goes on from its checkpoint in another."""
    folder = setup.folder / "killed"
    folder.mkdir()
    (folder / "s.yaml").write_text(_spec(setup, "killed", trials=3, epochs=6, share=1.0))
    driver = _start(folder, "search", "s.yaml", "--json")
    killed = 0
    deadline = time.monotonic() + 120
    while not killed and driver.poll() is None and time.monotonic() < deadline:
        for child in psutil.Process(driver.pid).children(recursive=True):
            try:
                if "ray::WarmTrial" in " ".join(child.cmdline()):
                    time.sleep(1.0)
                    os.kill(child.pid, signal.SIGKILL)
                    killed = child.pid
                    break
            except (psutil.Error, ProcessLookupError):
                continue
        time.sleep(0.02)
    row, found = _ran("search", driver)
    yield row
    yield Row(
        what="a training process killed", figure="yes" if killed else "none seen", must_hold="yes", held=bool(killed)
    )
    if found is not None:
        ended = found["trials"]
        yield Row(what="trials", figure=json.dumps(ended), must_hold="3 complete", held=ended.get("complete") == 3)


@item(180)
def marked_tests(setup: Setup) -> Rows:
    """pytest -m gpu."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-n0", "-p", "no:cacheprovider", "tests"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    last = (done.stdout.strip().splitlines() or ["nothing"])[-1]
    yield Row(what="pytest -m gpu", figure=last, must_hold="exit 0", held=done.returncode == 0)


TWO_RANKS = """
import sys, time
from pathlib import Path
from tune_cnn.training.process.process_group import ProcessGroup
import torch
rank, meeting = int(sys.argv[1]), Path(sys.argv[2])
group, device = ProcessGroup(rank), sys.argv[3]
if rank == 0:
    meeting.with_suffix(".new").write_text(group.listen("127.0.0.1"))
    meeting.with_suffix(".new").rename(meeting)
while not meeting.exists():
    time.sleep(0.1)
try:
    group.join(ranks=2, init_method=meeting.read_text(), cuda=device == "cuda", timeout_s=30)
    print(group.add_up(torch.ones(1, device=device)).item())
except Exception as error:
    print(type(error).__name__, str(error).splitlines()[0][:200])
"""


@item(90, on_cpu=True)
def two_ranks(setup: Setup) -> Rows:
    """On one card, if NCCL allows it: if not, both ranks say so in time, and none hangs. By gloo on a CPU."""
    device, paths = "cuda" if setup.cuda else "cpu", [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    words = [sys.executable, "-c", TWO_RANKS]
    ranks = [
        subprocess.Popen(
            [*words, str(number), str(setup.folder / "meeting"), device],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )
        for number in range(2)
    ]  # fmt: skip
    for number, process in enumerate(ranks):
        try:
            said = process.communicate(timeout=75)[0].strip() or "nothing"
        except subprocess.TimeoutExpired:
            process.kill()
            said = "hangs"
        held = said == "2.0" if not setup.cuda else said != "hangs"
        yield Row(what=f"rank {number}", figure=said, must_hold="ends" if setup.cuda else "2.0", held=held)
