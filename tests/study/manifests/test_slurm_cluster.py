"""A real Slurm runs the manifest: at the signal the search ends at the epoch, queues itself again, and goes on."""

from collections import Counter
from pathlib import Path

import pytest

from study.commands import SECRET, environment, run
from study.manifests.slurm_cluster import slurm_cluster, wait_until
from tune_cnn.errors import StoreError, StudyError
from tune_cnn.records.store import Store
from tune_cnn.states import StudyState

TRIALS, EPOCHS = 4, 10
SPEC = f"""\
study: small
data: {{name: digits, root: /nowhere}}
model: {{name: small_cnn}}
space: {{epochs: {EPOCHS}, batch_size: [64, 128], learning_rate: [0.05, 0.1], model.width: [4, 8]}}
resources: {{gpus_per_rank: 0, slots: 2, checkpoint_every_s: 0}}
stopper: none
budget: {{trials: {TRIALS}}}
"""


def _points(url: str) -> list[tuple[int, int]]:
    """(trial, epoch) of all that is stored; none before the search has made its tables."""
    try:
        store = Store(url, create=False)
    except (StoreError, StudyError):
        return []
    try:
        return [(point.trial, point.epoch) for point in store.points("small")]
    except (StoreError, StudyError):
        return []
    finally:
        store.close()


@pytest.mark.slurm
def test_a_job_whose_time_is_nearly_over_goes_on_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes, one Ray over both; SIGUSR1 as Slurm sends it before the time limit; every (trial, epoch) once."""
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/store.db"  # both nodes see this disk
    (tmp_path / "small.yaml").write_text(SPEC)
    (tmp_path / "secrets").write_text(f"TUNE_CNN_STORE={url}\nMLFLOW_TRACKING_URI=sqlite:///{tmp_path}/mlflow.db\n")
    (tmp_path / "secrets").chmod(0o600)
    places = ["--nodes", "2", "--storage", f"{tmp_path}/shared", "--secrets", f"{tmp_path}/secrets"]
    # Time enough on a busy machine: else the job would be queued again before the search has ended
    places += ["--notice", "600"]
    run(tmp_path, "manifest", "slurm", "small.yaml", *places, "-o", "small.sh")
    with slurm_cluster({**environment(tmp_path), "HOME": str(tmp_path)}) as cluster:
        job = cluster.run("sbatch", "--parsable", "small.sh")
        output = tmp_path / f"small-{job}.out"

        def told() -> str:
            return cluster.log() + (output.read_text(errors="replace") if output.exists() else "no output")

        wait_until(lambda: len(_points(url)) >= 3, "points", told)
        assert cluster.job(job)["JobState"] == "RUNNING" and cluster.job(job)["NumNodes"] == "2"
        cluster.run("scancel", "--batch", "--signal=USR1", job)
        wait_until(lambda: cluster.job(job)["Restarts"] == "1", "queued again", told)
        before = len(_points(url))
        assert before < TRIALS * EPOCHS and "the search ends at the epoch" in told() and "nothing is lost" in told()
        assert "queued again, to go on" in told() and "no time is left" not in told()
        # Slurm lets what was requeued wait for two minutes; some seconds are needed, as its nodes have just been told
        # that the job's credential is of no worth any more, and refuse one that is as old
        wait_until(lambda: cluster.job(job)["JobState"] == "PENDING", "in the queue", told)
        cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now+20")
        ended = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
        wait_until(lambda: cluster.job(job)["JobState"] in ended, "the end", told)
        assert cluster.job(job)["JobState"] == "COMPLETED", told()
        assert SECRET not in told()
    expected = {(trial, epoch) for trial in range(TRIALS) for epoch in range(1, EPOCHS + 1)}
    assert Counter(_points(url)) == Counter(expected)
    store = Store(url, create=False)
    try:
        record = store.study("small")
        assert record is not None and record.state is StudyState.FINISHED
    finally:
        store.close()
