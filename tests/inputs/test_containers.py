"""Containers and shared machines: little shared memory, a home that can't be written, users without a name, zombies."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from inputs.pictures import spec_of, write_folder
from missing import missing
from study.commands import environment, run

from tune_cnn.errors import ResourceError
from tune_cnn.owner import process
from tune_cnn.spec import parse_spec
from tune_cnn.study.checks.shared_memory import check_shared_memory
from tune_cnn.training.inspection.node import inspect_node
from tune_cnn.trials import ray_settings


@pytest.fixture
def namespaces() -> None:
    """The right to mount, and to be somebody else, in a namespace of the test's own."""
    for asked in (["-m"], ["--user", "--map-user=12345", "--map-group=12345"]):
        found = shutil.which("unshare") and subprocess.run(
            ["unshare", *asked, "true"], capture_output=True, check=False
        )
        if not found or found.returncode != 0:
            missing(f"unshare {' '.join(asked)} is not allowed here")


LOAD = """
import sys
import torch
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.loaders.batch import Plan
from tune_cnn.training.data.loaders.registry import make_loader
from tune_cnn.training.data.prepare import prepare
from tune_cnn.training.process.faults import trial_faults

if __name__ == "__main__":
    kind, cache = sys.argv[1:]
    sets = prepare(DataSpec(name="digits", image_size=64), split_seed=0, cache_dir=cache)
    plan = Plan(
        images=sets.train, facts=sets.facts, batch_size=1024, rank=0, ranks=1, seed=0, augment="none",
        device=torch.device("cpu"), channels_last=False,
    )
    loader = make_loader(plan, kind=kind, workers=1)
    try:
        with trial_faults("training"):
            for _ in loader.epoch(0):
                pass
        print("all came")
    except Exception as error:
        print(type(error).__name__, error)
    finally:
        loader.close()
"""


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("kind", ["batched", "stream"])
def test_a_loader_process_without_shared_memory_ends_its_trial(tmp_path, kind):
    """A batch takes 4 MB, and there are 3: the trial ends and says so, where it once waited for ever."""
    (tmp_path / "load.py").write_text(LOAD)
    asked = f"mount -t tmpfs -o size=3m tmpfs /dev/shm && exec {sys.executable} load.py {kind} {tmp_path / 'cache'}"
    ended = subprocess.run(
        ["unshare", "-m", "bash", "-c", asked], cwd=tmp_path, env=environment(tmp_path), capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.stdout.startswith("TrialError training: a loader process found no room for its batch in shared memory")


def test_shared_memory_is_held_against_what_the_spec_asks_before_the_first_trial(tmp_path):
    """Two trials, two processes each, three batches of 16 images of 3×16×16 a process: 147,456 bytes."""
    raw = spec_of(write_folder(tmp_path / "root"))
    raw["space"] |= {"loader": ["device", "stream"], "loader_workers": {"low": 0, "high": 2}}
    spec = parse_spec(raw | {"resources": {"cpus_per_trial": 2}})
    found = inspect_node(spec, cuda=False, cache_dir=str(tmp_path / "cache"))
    enough, short = (type(found)(**{**vars(found), "shared_memory_bytes": size}) for size in (147_456, 147_455))
    check_shared_memory(spec, enough, trials=2)
    with pytest.raises(ResourceError, match=r"2 trial\(s\) at a time .* 16 images of 16×16 need 0 MB .*--shm-size=1g"):
        check_shared_memory(spec, short, trials=2)
    device = parse_spec(raw | {"space": {"batch_size": 16, "model.width": 4}})
    check_shared_memory(device, short, trials=2)


def test_a_process_that_was_killed_and_not_reaped_is_dead():
    """As in a container without init: its study is free at once."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    owner = process(child.pid)
    assert not owner.is_dead
    child.kill()
    deadline_s = time.monotonic() + 30
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert owner.is_dead
    child.wait()
    assert owner.is_dead


@pytest.mark.parametrize("home", ["/proc", "/dev/null/home"])
def test_where_the_home_cannot_be_written_this_ray_has_a_token_of_its_own(monkeypatch, home):
    monkeypatch.setenv("HOME", home)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    ray_settings.make_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_a_token_is_written_whole_and_once(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "folder/token"))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    ray_settings.make_token()
    first = (tmp_path / "folder/token").read_text()
    ray_settings.make_token()
    assert (tmp_path / "folder/token").read_text() == first and len(first) == 64
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["token"]
    assert (tmp_path / "folder/token").stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("namespaces")
def test_a_search_goes_on_in_a_bare_container(tmp_path: Path) -> None:
    """A user without a name or a home, a temporary folder of 128 characters, few open files, umask 077, an ASCII
    terminal of 20 columns, a proxy for all, torchrun's variables, and loader processes all the same."""
    long = tmp_path / "t" / ("scratch_" * 12)
    long.mkdir(parents=True)
    (tmp_path / "bare.yaml").write_text(
        "study: bare\ndata: {name: digits}\nmodel: {name: small_cnn}\n"
        "space: {epochs: 1, batch_size: 256, model.width: 4, loader: batched, loader_workers: 1}\n"
        "resources: {cpus_per_trial: 2, slots: 1}\nbudget: {trials: 1}\n"
    )
    nobody = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
    odd = {
        "HOME": "/proc", "TMPDIR": str(long), "COLUMNS": "20", "TERM": "dumb", "LC_ALL": "C", "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii", "http_proxy": "http://127.0.0.1:9",
        "all_proxy": "http://127.0.0.1:9", "MASTER_ADDR": "10.255.255.1", "MASTER_PORT": "1", "RANK": "3",
        "WORLD_SIZE": "8", "GLOO_SOCKET_IFNAME": "none0", "OMP_NUM_THREADS": "abc", "CUDA_VISIBLE_DEVICES": "7",
        "MLFLOW_RUN_ID": "abc", "MLFLOW_EXPERIMENT_ID": "77", "SLURM_PROCID": "1", "SLURM_NTASKS": "4",
    }  # fmt: skip
    ended = subprocess.run(
        [*nobody, "bash", "-c", f"umask 077; ulimit -n 256; exec {sys.executable} -m tune_cnn search bare.yaml"],
        cwd=tmp_path, env=environment(tmp_path) | odd, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "1 complete" in ended.stdout and "MLflow: " not in ended.stderr
    assert run(tmp_path, "front", "bare").returncode == 0
