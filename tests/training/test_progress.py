"""What counts as a sign of progress."""

import torch

from tune_cnn.training.data.loaders.batch import Batch, Batches
from tune_cnn.training.progress import PROGRESS, Doing


def test_every_batch_that_a_loader_gives_is_a_sign_of_progress():
    """Ours or the user's own training takes it: whoever goes through a loader counts its steps by that."""
    batch = Batch(torch.zeros(1, 1, 2, 2), torch.zeros(1, dtype=torch.int64))
    PROGRESS.begin(compiles=False)
    with PROGRESS.doing(Doing.USERS_TRAINING):
        assert PROGRESS.now().longest_s is None
        assert len(list(Batches(iter([batch, batch])))) == 2
        assert PROGRESS.now().longest_s is not None
    PROGRESS.begin(compiles=False)
