"""`tune-cnn profile` from end to end: a kill, the same command again, what is known, the report, what is refused."""

import os
import signal
import time
from pathlib import Path

import pytest

from study.commands import points_of, run, run_json, start
from study.made_up import commands_in, one_message
from tune_cnn.study.profiling.rules import is_disturbed

SPEC = """\
study: small
data: {name: digits, root: /nowhere}
model: {name: small_cnn}
space: {epochs: 2, batch_size: [64, 256], learning_rate: {low: 0.01, high: 0.3}}
resources: {cpus_per_trial: 1, gpus_per_rank: 0}
budget: {trials: 1}
"""


def test_it_goes_on_after_a_kill_and_measures_nothing_twice(tmp_path: Path) -> None:
    """Two cells, three repeats: six measurements in all, over two starts; the next study knows them."""
    (tmp_path / "small.yaml").write_text(SPEC)
    killed = start(tmp_path, "profile", "small.yaml")
    until_s = time.monotonic() + 240
    while not (tmp_path / "studies").exists() or not _measured(tmp_path):
        assert killed.poll() is None and time.monotonic() < until_s, killed.communicate()
        time.sleep(0.5)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    before = _measured(tmp_path)

    found = run_json(tmp_path, "profile", "small.yaml")
    assert [cell["batch_size"] for cell in found["cells"]] == [64, 256]
    assert [cell["repeats"] for cell in found["cells"]] == [3, 3]
    assert all(cell["images_per_s"] > 0 and cell["bound"] in {"compute", "host", "loader"} for cell in found["cells"])
    assert found["advice"] and found["verdict"] and Path(found["report"]).is_file()
    after = _measured(tmp_path)
    assert len(after) == 6 and before == after[: len(before)]
    again = run(tmp_path, "profile", "small.yaml")
    assert "have ended already" in again.stderr

    kept = sum(not is_disturbed(cell["metrics"]) for cell in found["cells"])  # this machine may have other work
    reckoned = run_json(tmp_path, "profile", "small.yaml", "--study", "other", "--dry-run")
    assert (reckoned["cells"], reckoned["known"], reckoned["runs"]) == (2, kept, kept + 3 * (2 - kept))
    run(tmp_path, "report", "small-profile", "-o", "page.html")
    assert "how stalls are named" in (tmp_path / "page.html").read_text(encoding="utf-8").lower()
    assert "answers a question of `profile`" in run(tmp_path, "confirm", "small-profile", code=2).stderr


def _measured(folder: Path) -> list[tuple[int, int, dict[str, float]]]:
    try:
        return points_of(folder, "small-profile")
    except Exception:  # the study doesn't exist yet
        return []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ranks", "1,x"), "--ranks: must be whole numbers with commas between them"),
        (("--ranks", "2,2"), "--ranks: must be different numbers"),
        (("--ranks", "0"), "--ranks: must be different numbers from 1 on"),
        (("--minutes", "0"), "--minutes: must be more than 0"),
        (("--study", "a/b"), "study: a name is"),
        (("--set", "space.batch_size=64"), "nothing in the space of 'small' changes what a step costs"),
        (("--set", "space.warmup_epochs={low: 0, high: 1}", "--set", "space.batch_size=64"), "nothing in the space"),
        (("--set", "training=a.b:c"), "measures the steps of our own training loop"),
    ],
)
def test_what_can_not_be_asked_is_said_before_anything_is_started(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "small.yaml").write_text(SPEC)
    with commands_in(tmp_path, monkeypatch, capfd) as command:
        one_message(command("profile", "small.yaml", *words), 2, said)
