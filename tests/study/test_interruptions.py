"""A search that dies or is stopped loses nothing and doubles nothing."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import yaml

from study.commands import SMALL, points_of, run, run_json, start
from study.made_up import SPEC, make_study
from tune_cnn.errors import StudyError
from tune_cnn.records.store import Store

LONG = SMALL.replace("epochs: 3", "epochs: 12").replace("trials: 4", "trials: 6") + (
    "resources: {checkpoint_every_s: 0}\nstopper: none\n"
)


def _wait_for_points(folder: Path, study: str, least: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if len(points_of(folder, study)) >= least:
                return
        except StudyError:  # not there yet
            pass
        time.sleep(0.05)
    raise AssertionError(f"no {least} points within two minutes")


def _nothing_doubled(folder: Path, study: str, trials: int, epochs: int) -> None:
    counts = Counter((trial, epoch) for trial, epoch, _ in points_of(folder, study))
    assert set(counts) == {(t, e) for t in range(trials) for e in range(1, epochs + 1)}
    assert set(counts.values()) == {1}


def _runs(folder: Path, study: str) -> list[tuple[str | None, str]]:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name(study).experiment_id])
    return [(r.data.tags.get("tune_cnn.trial"), r.info.status) for r in runs]


def test_killed_driver_resumes_with_nothing_lost_or_doubled(tmp_path: Path) -> None:
    """kill -9 of the driver in the middle; the same command ends the study, and MLflow has one run a trial."""
    (tmp_path / "long.yaml").write_text(LONG)
    driver = start(tmp_path, "search", "long.yaml")
    try:
        _wait_for_points(tmp_path, "small", 5)
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.communicate()
    before = points_of(tmp_path, "small")
    assert len(before) < 6 * 12
    result = run_json(tmp_path, "search", "long.yaml")
    assert result["trials"]["complete"] == 6, result["trials"]
    after = points_of(tmp_path, "small")
    assert after[: len(before)] == before
    _nothing_doubled(tmp_path, "small", 6, 12)
    runs = _runs(tmp_path, "small")
    assert Counter(trial for trial, _ in runs if trial is not None) == {str(n): 1 for n in range(6)}
    assert {status for _, status in runs} == {"FINISHED"}


def test_first_sigint_ends_at_the_epoch_and_says_how_to_go_on(tmp_path: Path) -> None:
    """Exit code 130, checkpoints kept, the resuming command printed, no process left; a resume goes on from there."""
    (tmp_path / "long.yaml").write_text(LONG)
    driver = start(tmp_path, "search", "long.yaml")
    _wait_for_points(tmp_path, "small", 3)
    descendants = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == 130, err
    assert "search long.yaml" in err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(descendants, timeout=20)
    assert not alive
    status = run_json(tmp_path, "status", "small")
    assert status["state"] == "interrupted"
    unfinished = status["trials"]["running"]
    checkpoints = list((tmp_path / "studies" / "small" / "checkpoints").glob("*/checkpoint-*.pt"))
    assert len({c.parent for c in checkpoints}) == unfinished
    assert {state for _, state in _runs(tmp_path, "small")} <= {"FINISHED", "KILLED"}
    assert run_json(tmp_path, "search", "long.yaml")["trials"]["complete"] == 6
    _nothing_doubled(tmp_path, "small", 6, 12)
    assert not list((tmp_path / "studies" / "small" / "checkpoints").glob("*"))


def test_a_search_whose_ray_is_stopped_ends_at_the_first_sigint(tmp_path: Path) -> None:
    """It says what is silent, though Ray keeps the main thread, leaves no process, and the same command goes on."""
    (tmp_path / "long.yaml").write_text(LONG)
    driver = start(tmp_path, "search", "long.yaml")
    _wait_for_points(tmp_path, "small", 3)
    descendants = psutil.Process(driver.pid).children(recursive=True)
    next(one for one in descendants if "gcs_server" in one.cmdline()[0]).suspend()
    time.sleep(1.0)  # so that the loop meets it
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=150)
    assert driver.returncode == 130, err
    assert "this machine's Ray (its GCS) has not answered for " in err and "search long.yaml" in err
    assert "Traceback" not in err
    started = [one for one in descendants if "tune_cnn.records.outbox.process" not in " ".join(_command(one))]
    _, alive = psutil.wait_procs(started, timeout=60)
    assert not alive
    assert run_json(tmp_path, "status", "small")["state"] == "interrupted"
    assert run_json(tmp_path, "search", "long.yaml")["trials"]["complete"] == 6
    _nothing_doubled(tmp_path, "small", 6, 12)


SLOW = """
import time
from torch import nn


class Net(nn.Sequential):
    def forward(self, images):
        time.sleep(0.3)
        return super().forward(images)


def net(num_classes, in_channels, image_size):
    return Net(nn.Flatten(), nn.LazyLinear(num_classes))
"""


def test_second_sigint_of_a_comparison_side_by_side_waits_for_no_epoch(tmp_path: Path) -> None:
    """Of two lanes whose epochs take a minute: no point comes, nothing is left, and the same command is named."""
    (tmp_path / "slow_net.py").write_text(SLOW)
    spec = SMALL.replace("{name: small_cnn}", '{name: "slow_net:net"}').replace("  model.width: [4, 8]\n", "")
    (tmp_path / "slow.yaml").write_text(spec.replace("[64, 128]", "8") + "resources: {slots: 2, cpus_per_trial: 1}\n")
    words = (
        "compare",
        "slow.yaml",
        "--over",
        "learning_rate",
        "--values",
        "learning_rate=0.1,0.2",
        "--seeds",
        "2",
        "--beside",
    )
    driver, store = start(tmp_path, *words, "--study", "small"), Store(tmp_path / "studies")
    while driver.poll() is None and (store.study("small") is None or len(store.trials("small")) < 2):
        time.sleep(0.1)
    descendants = psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []
    for _ in range(2):
        driver.send_signal(signal.SIGINT)
        time.sleep(1.0)  # else the two are one to the kernel
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == 130, err
    assert "and the same command goes on: " in err and "compare slow.yaml --over" in err and "Traceback" not in err
    started = [one for one in descendants if "tune_cnn.records.outbox.process" not in " ".join(_command(one))]
    _, alive = psutil.wait_procs(started, timeout=60)
    assert not alive
    assert store.points("small") == []
    assert {trial.state for trial in store.trials("small")} == {"running"}
    store.close()


def _command(one: psutil.Process) -> list[str]:
    try:
        return one.cmdline()
    except psutil.Error:
        return []


def test_what_ended_for_slow_growth_is_confirmed_and_not_searched_on(tmp_path: Path) -> None:
    """A start that has only to confirm hands out no trial, though nothing in it knows how the front grew before.

    Interrupted as it confirms it leaves the search as ended as it was, at every moment.
    """
    asked = {"budget": {"trials": 9}, "min_growth_pct_per_hour": 2.0, "data": {"name": "digits", "root": str(tmp_path)}}
    make_study(tmp_path / "studies", data_key=None, **asked)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({**SPEC, **asked, "confirm": {"points": 1, "seeds": 1}}))
    driver, store, states = start(tmp_path, "search", "spec.yaml"), Store(tmp_path / "studies"), set()
    while driver.poll() is None and not store.confirmations.runs("made-up"):
        states.add(store.study("made-up").state)  # type: ignore[union-attr]  # it exists
        time.sleep(0.01)
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == 130, err
    assert states | {store.study("made-up").state} == {"finished"}  # type: ignore[union-attr]  # it exists
    assert [run.state for run in store.confirmations.runs("made-up")] == ["planned"]
    store.close()
    result = run_json(tmp_path, "search", "spec.yaml")
    assert result["trials"]["complete"] == 3
    assert run_json(tmp_path, "status", "made-up")["confirm"]["runs"]["complete"] == 1


def test_a_search_is_not_gone_on_with_on_other_images(tmp_path: Path) -> None:
    """What was searched on others stays as it is, and its facts too."""
    asked = {"budget": {"trials": 9}, "data": {"name": "digits", "root": str(tmp_path)}}
    make_study(tmp_path / "studies", **asked)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({**SPEC, **asked}))
    before = points_of(tmp_path, "made-up")
    assert "are not those that it was searched on" in run(tmp_path, "search", "spec.yaml", code=2).stderr
    assert points_of(tmp_path, "made-up") == before
    store = Store(tmp_path / "studies")
    assert store.study("made-up").info["data"]["key"] == "k" * 64  # type: ignore[union-attr]  # it exists
    store.close()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9"])
def test_search_goes_on_while_the_tracking_server_is_away(tmp_path: Path, address: str) -> None:
    """An unreachable server costs a line on stderr; the study is whole, and `sync` delivers it later."""
    (tmp_path / "small.yaml").write_text(SMALL)
    ended = run(tmp_path, "search", "small.yaml", "--tracking-uri", address)
    assert f" -m tune_cnn sync small --tracking-uri {address}` delivers them" in ended.stderr
    assert len(points_of(tmp_path, "small")) == 12
    assert run_json(tmp_path, "sync", "small", "--tracking-uri", f"sqlite:///{tmp_path}/late.db")["delivered"] > 0
