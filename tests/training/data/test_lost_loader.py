"""A loader process that dies is lost, as a rank is; what one finds in the data is not."""

import os
import signal
from pathlib import Path

import joblib
import pytest
import torch
from image_files import prepared
from torch.utils.data import Dataset

from tune_cnn.errors import LoaderLost, TrialError
from tune_cnn.owner import this_process
from tune_cnn.training.data.loaders.batch import Plan
from tune_cnn.training.data.loaders.processes import LoaderContext
from tune_cnn.training.data.loaders.through_dataloader import WorkerLoader
from tune_cnn.training.process.faults import trial_faults

SHARED_MEMORY = Path("/dev/shm")


def loader_of(tmp_path, *, per_image, workers=2):
    sets = prepared(tmp_path)
    settings = {"batch_size": 50, "rank": 0, "ranks": 1, "seed": 3, "augment": "none", "channels_last": False}
    plan = Plan(**settings, device=torch.device("cpu"), images=sets.train, facts=sets.facts)
    return WorkerLoader(plan, per_image=per_image, workers=workers)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("ends_by", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_is_lost(tmp_path, per_image, ends_by):
    """Whatever the broken connection raises in its rank: the trial is tried again, as after the loss of a rank."""
    loader = loader_of(tmp_path, per_image=per_image)
    try:
        with (
            pytest.raises(LoaderLost, match=rf"a loader process \(pid \d+\) was ended by {ends_by.name}"),
            trial_faults("training"),
        ):
            for number, _ in enumerate(loader.epoch(0)):
                if number == 1:
                    for process in loader._context.processes:
                        os.kill(process.pid, ends_by)
    finally:
        loader.close()


def test_semaphores_say_whose_they_are_although_joblib_names_those_of_a_process(tmp_path):
    """joblib comes with scikit-learn's digits; what a killed process leaves must be known for ours."""
    joblib.cpu_count()
    loader = loader_of(tmp_path, per_image=False)
    before = {path.name for path in SHARED_MEMORY.iterdir()}
    try:
        loader.start()
        made = {path.name for path in SHARED_MEMORY.iterdir()} - before
        mark, pid = this_process().mark, os.getpid()
        assert any(name.startswith(f"sem.tune_cnn-{mark}-") for name in made)
        assert not any(name.startswith(f"sem.loky-{pid}-") for name in made)
    finally:
        loader.close()


class Broken(Dataset):
    """A file ends before its image does."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        raise EOFError("the file ends too early")


def test_what_a_process_finds_in_the_data_is_the_trials_own_fault(tmp_path):
    """Also where it looks like a connection that broke."""
    loader = loader_of(tmp_path, per_image=False, workers=1)
    loader._dataset = Broken()
    try:
        with pytest.raises(TrialError, match="the file ends too early"), trial_faults("training"):
            list(loader.epoch(0))
    finally:
        loader.close()


def test_processes_that_live_are_not_lost(tmp_path):
    """Nor are those that nobody has started."""
    assert LoaderContext().lost(0.0) is None
    loader = loader_of(tmp_path, per_image=False)
    try:
        loader.start()
        assert loader._context.lost(0.0) is None
    finally:
        loader.close()
