"""`gradients` on Ray, end to end: killed, gone on with by the same command, and told from other questions."""

import os
import signal
import time
from pathlib import Path

from tests.study.commands import run, run_json, start
from tune_cnn.records.store import Store
from tune_cnn.study.archive import read_archive

SPEC = """\
study: nets
data: {name: digits, subset: 400}
model: {name: small_cnn}
space: {epochs: 4, batch_size: 32, learning_rate: 0.05, schedule: step, model.width: 4}
resources: {cpus_per_trial: 1}
budget: {trials: 1}
"""
WORDS = ("gradients", "nets.yaml", "--metric", "edges,loss")


def measured(folder: Path) -> list[tuple[int, str]]:
    """Epoch and name of what is stored so far."""
    if not (folder / "studies" / "studies.db").exists():
        return []
    store = Store(folder / "studies", create=False)
    try:
        known = store.study("nets-gradients") is not None
        return [(one.epoch, one.name) for one in store.measurements.of("nets-gradients")] if known else []
    finally:
        store.close()


def test_a_killed_command_goes_on_and_measures_nothing_twice(tmp_path: Path) -> None:
    """What is bad is said first; then a dry run, a kill after two measured epochs, the same command, and a report."""
    (tmp_path / "nets.yaml").write_text(SPEC)
    said = run(tmp_path, *WORDS[:3], "edgs", code=2).stderr
    assert "--metric: there is no metric 'edgs'; did you mean 'edges'?" in said
    process = start(tmp_path, *WORDS)
    until_s = time.monotonic() + 300
    while len({epoch for epoch, _ in measured(tmp_path)}) < 2:
        assert time.monotonic() < until_s and process.poll() is None, process.communicate()
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = [one.content for one in read_archive("nets-gradients", tmp_path / "studies", None).measurements]
    found = run_json(tmp_path, *WORDS)
    assert list(found["metrics"]) == ["edges", "loss", "random"]
    assert [phase["epochs"] for phase in found["metrics"]["edges"]["phases"]] == [[1, 2], [3], [4]]
    archive = read_archive("nets-gradients", tmp_path / "studies", None)
    kept = [one.content for one in archive.measurements]
    assert all(one in kept for one in before)
    names = [(one.epoch, one.name) for one in archive.measurements if one.name.startswith("gradients/")]
    assert len(names) == len(set(names)) == 4 * 3
    assert len({one.content["order"] for one in archive.measurements if one.name == "gradients/edges"}) == 1
    assert [point.epoch for point in archive.points] == [1, 2, 3, 4] and len(archive.trials) == 1
    assert "Noise scale" in Path(found["report"]).read_text()
    other = run(tmp_path, *WORDS[:3], "intensity", code=2).stderr
    assert "answers another question" in other and "--study" in other
