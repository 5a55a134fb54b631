"""A real Slurm runs the manifest: a job that must go ends at the epoch, is queued again, and goes on by itself."""

from collections import Counter
from pathlib import Path

import pytest

from study.commands import SECRET, environment, run
from study.manifests.slurm_cluster import SlurmCluster, slurm_cluster, wait_until
from tune_cnn.errors import StoreError, StudyError
from tune_cnn.records.store import Store
from tune_cnn.states import StudyState

TRIALS, EPOCHS = 4, 10
SPEC = """\
study: {study}
data: {{name: digits, root: /nowhere}}
model: {{name: small_cnn}}
space: {{epochs: {epochs}, batch_size: [64, 128], learning_rate: [0.05, 0.1], model.width: [4, 8]}}
resources: {{gpus_per_rank: 0, slots: {slots}, checkpoint_every_s: 0}}
stopper: none
budget: {{trials: {trials}}}
"""
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"}


class Sent:
    """Studies in a folder, as they are sent to a Slurm, and what has come of them."""

    def __init__(self, folder: Path, *studies: str, trials: int = TRIALS, epochs: int = EPOCHS, slots: int = 1) -> None:
        self.folder, self.studies, self.trials, self.epochs = folder, studies, trials, epochs
        self._url = f"sqlite:///{folder}/store.db"  # both nodes see this disk
        for study in studies:
            spec = SPEC.format(study=study, trials=trials, epochs=epochs, slots=slots)
            (folder / f"{study}.yaml").write_text(spec)
        secrets = f"TUNE_CNN_STORE={self._url}\nMLFLOW_TRACKING_URI=sqlite:///{folder}/mlflow.db\n"
        (folder / "secrets").write_text(secrets)
        (folder / "secrets").chmod(0o600)

    def manifest(self, *options: str) -> str:
        """The file of the script. Time enough on a busy machine: else it would be queued again before it has ended."""
        places = ["--storage", f"{self.folder}/shared", "--secrets", f"{self.folder}/secrets", "--notice", "600"]
        specs = [f"{study}.yaml" for study in self.studies]
        run(self.folder, "manifest", "slurm", *specs, *places, *options, "-o", "job.sh")
        return "job.sh"

    def points(self, study: str) -> list[tuple[int, int]]:
        """(trial, epoch) of all that is stored; none before the search has made its tables."""
        try:
            store = Store(self._url, create=False)
        except (StoreError, StudyError):
            return []
        try:
            return [(point.trial, point.epoch) for point in store.points(study)]
        except (StoreError, StudyError):
            return []
        finally:
            store.close()

    def told(self, cluster: SlurmCluster) -> str:
        """What Slurm and the jobs have written."""
        return "\n".join([cluster.log(), *(file.read_text(errors="replace") for file in self.folder.glob("*.out"))])

    def check_finished(self) -> None:
        """Every study, each (trial, epoch) of it once."""
        expected = {(trial, epoch) for trial in range(self.trials) for epoch in range(1, self.epochs + 1)}
        store = Store(self._url, create=False)
        try:
            for study in self.studies:
                record = store.study(study)
                assert record is not None and record.state is StudyState.FINISHED
                assert Counter(self.points(study)) == Counter(expected)
        finally:
            store.close()


def _go_on(cluster: SlurmCluster, job: str, sent: Sent) -> None:
    """Slurm lets what was queued again wait for two minutes. Some seconds are needed, as its nodes have just been told
    that the job's credential is of no worth any more, and refuse one that is as old."""
    wait_until(lambda: cluster.job(job)["JobState"] == "PENDING", "in the queue", lambda: sent.told(cluster))
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now+20")


def _await_completed(cluster: SlurmCluster, job: str, sent: Sent) -> None:
    def ended() -> bool:
        return all(one["JobState"] in ENDED for one in cluster.jobs(job))

    wait_until(ended, "the end", lambda: sent.told(cluster))
    assert {one["JobState"] for one in cluster.jobs(job)} == {"COMPLETED"}, sent.told(cluster)
    assert SECRET not in sent.told(cluster)


@pytest.mark.slurm
def test_a_job_whose_time_is_nearly_over_goes_on_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes, one Ray over both; SIGUSR1 as Slurm sends it before the time limit; every (trial, epoch) once."""
    monkeypatch.chdir(tmp_path)
    sent = Sent(tmp_path, "small", slots=2)
    script = sent.manifest("--nodes", "2")
    with slurm_cluster({**environment(tmp_path), "HOME": str(tmp_path)}) as cluster:
        job = cluster.run("sbatch", "--parsable", script)

        def told() -> str:
            return sent.told(cluster)

        wait_until(lambda: len(sent.points("small")) >= 3, "points", told)
        assert cluster.job(job)["JobState"] == "RUNNING" and cluster.job(job)["NumNodes"] == "2"
        cluster.run("scancel", "--batch", "--signal=USR1", job)
        wait_until(lambda: cluster.job(job)["Restarts"] == "1", "queued again", told)
        assert len(sent.points("small")) < TRIALS * EPOCHS
        assert "the search ends at the epoch" in told() and "nothing is lost" in told()
        assert "queued again, to go on" in told() and "no time is left" not in told()
        _go_on(cluster, job, sent)
        _await_completed(cluster, job, sent)
    sent.check_finished()


@pytest.mark.slurm
def test_an_array_searches_a_study_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two studies by one script, each on a node and a Ray of its own."""
    monkeypatch.chdir(tmp_path)
    sent = Sent(tmp_path, "first", "second", trials=2, epochs=4)
    script = sent.manifest()
    with slurm_cluster({**environment(tmp_path), "HOME": str(tmp_path)}) as cluster:
        job = cluster.run("sbatch", "--parsable", script)
        wait_until(lambda: len(cluster.jobs(job)) == 2, "two tasks", lambda: sent.told(cluster))
        _await_completed(cluster, job, sent)
        assert {task["ArrayTaskId"] for task in cluster.jobs(job)} == {"0", "1"}
    sent.check_finished()


@pytest.mark.slurm
def test_a_preempted_search_goes_on_after_the_other_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm tells the step alone, and not the script: the search ends at the epoch, and the job queues itself again."""
    monkeypatch.chdir(tmp_path)
    sent = Sent(tmp_path, "small", trials=1, epochs=200)  # it is still at it when the other job comes
    script = sent.manifest()
    with slurm_cluster({**environment(tmp_path), "HOME": str(tmp_path)}) as cluster:
        job = cluster.run("sbatch", "--parsable", script)
        wait_until(lambda: len(sent.points("small")) >= 3, "points", lambda: sent.told(cluster))
        both = ["--partition=urgent", "--nodes=2", "--exclusive", "--wrap", "until [ -e go ]; do sleep 0.2; done"]
        other = cluster.run("sbatch", "--parsable", *both)
        wait_until(lambda: cluster.job(other)["JobState"] == "RUNNING", "the other job", lambda: sent.told(cluster))
        assert cluster.job(job)["Restarts"] == "1", sent.told(cluster)
        assert len(sent.points("small")) < sent.trials * sent.epochs, "it ended before it was preempted"
        assert "queued again, to go on" in sent.told(cluster)
        (tmp_path / "go").touch()
        wait_until(lambda: cluster.job(other)["JobState"] == "COMPLETED", "its end", lambda: sent.told(cluster))
        _go_on(cluster, job, sent)
        _await_completed(cluster, job, sent)
    sent.check_finished()
