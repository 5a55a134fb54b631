"""A step in micro-batches is the whole batch's, but for rounding."""

import pytest
import torch
from ranks import Processes, digits_job, train
from torch import nn

from tune_cnn.errors import SpecError
from tune_cnn.spec import parse_spec
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.step.micro_batches import micro_batches


@pytest.mark.parametrize(
    ("images", "count", "least", "sizes"),
    [
        (16, 4, 2, [4, 4, 4, 4]),
        (13, 4, 2, [4, 3, 3, 3]),  # an epoch's last batch
        (5, 4, 2, [3, 2]),  # none alone
        (3, 4, 2, [3]),
        (1, 4, 2, [1]),
        (4, 4, 1, [1, 1, 1, 1]),
    ],
)
def test_parts_are_alike_and_hold_every_image(images, count, least, sizes):
    """In their order; no part is a single image unless all are."""
    batch = Batch(torch.arange(images).reshape(-1, 1, 1, 1), torch.arange(images))
    parts = micro_batches(batch, count, least=least)
    assert [len(part.labels_n) for part in parts] == sizes
    assert torch.equal(torch.cat([part.labels_n for part in parts]), batch.labels_n)
    assert torch.equal(torch.cat([part.images_nchw for part in parts]), batch.images_nchw)


def without_norms(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    kernels = nn.Conv2d(in_channels, 8, 3, padding=1)
    return nn.Sequential(kernels, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, num_classes))


SETTINGS = {"batch_size": 64, "epochs": 2, "label_smoothing": 0.1, "gradient_clip": 0.5, "weight_decay": 0.01}


def job_of(folder, *, accumulate, **job):
    return digits_job(folder, model=f"{__name__}:without_norms", job=job, accumulate=accumulate, **SETTINGS)


def test_a_training_in_micro_batches_is_that_of_whole_batches(tmp_path):
    """Weights and losses agree to rounding, with a last batch that no count divides; nobody's arithmetic changes."""
    whole, weights = train(RankTraining(), job_of(tmp_path, accumulate=1))
    parts, same = train(RankTraining(), job_of(tmp_path, accumulate=4))
    for name in weights:
        assert torch.allclose(same[name], weights[name], atol=1e-5), name
    assert parts[-1].metrics["train_loss"] == pytest.approx(whole[-1].metrics["train_loss"], rel=1e-5)
    assert parts[-1].metrics["train_gflops"] == whole[-1].metrics["train_gflops"]


def one_of_two(number: int, address: str, job) -> tuple[list[int], dict]:
    """How often gradients were joined by step, and the weights."""
    rank = RankTraining(number)
    rank.join(ranks=2, init_method=address, cuda=False, timeout_s=600)
    rank.begin(job)
    joined, reduce = [], torch.distributed.all_reduce

    def counting(state: object, bucket: torch.distributed.GradBucket):
        joined.append(1)
        work = reduce(bucket.buffer().div_(2), async_op=True)
        return work.get_future().then(lambda future: future.value()[0])

    rank._current._training._train_state.model.register_comm_hook(None, counting)
    rank.train_epoch()
    rank.train_epoch()
    weights = {name: value.numpy() for name, value in rank.weights().items()}
    rank.end()
    rank.join(ranks=1, init_method="", cuda=False)
    return joined, weights


def test_ranks_join_their_gradients_once_a_step(two_processes: Processes, tmp_path):
    """And end with equal weights, which are one rank's with whole batches."""
    _, alone = train(RankTraining(), job_of(tmp_path, accumulate=1))
    job = job_of(tmp_path, accumulate=4, ranks=2, cpus_per_rank=1)
    (joined, weights), (_, others) = two_processes.call(one_of_two, two_processes.address(), job, timeout_s=400.0)
    steps = 2 * -(-540 // 64)  # 600 images less the validation split
    assert len(joined) in (steps, 2 * steps), joined  # a bucket or two, and never four times as many
    for name in weights:
        assert (weights[name] == others[name]).all()
        assert torch.allclose(torch.from_numpy(weights[name]), alone[name], atol=1e-4), name


def test_a_batch_that_the_parts_do_not_divide_is_refused():
    """Before anything is trained, and with ranks counted in."""
    raw = {"study": "s", "data": {"name": "digits"}, "model": {"name": "small_cnn"}, "budget": {"trials": 1}}
    with pytest.raises(SpecError, match=r"divided into accumulate=3 micro-batches, so it must be a multiple of 3, got"):
        parse_spec({**raw, "space": {"batch_size": [48, 64], "accumulate": [1, 3]}})
    with pytest.raises(SpecError, match=r"accumulate=4 micro-batches on 2 ranks, so it must be a multiple of 8, got 4"):
        parse_spec(
            {
                **raw,
                "space": {"batch_size": 4, "accumulate": 4},
                "resources": {"ranks": 2, "cpus_per_trial": 2},
            }
        )
