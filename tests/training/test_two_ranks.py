"""Two ranks are one training, and neither hangs for the other's fault."""

import threading
from dataclasses import replace

import pytest
import torch
from ranks import digits_job, same_bits, train

from tune_cnn.errors import PeerLost, TrialError
from tune_cnn.training.rank import RankTraining


def leave(rank: RankTraining) -> None:
    rank.end()
    rank.join(ranks=1, init_method="", cuda=False)


def one_of_two(number: int, address: str, job, resumed) -> object:
    rank = RankTraining(number)
    rank.join(ranks=2, init_method=address, cuda=False, timeout_s=600)
    results, weights = train(rank, job)
    train(rank, resumed, epochs=1)
    rank.begin(resumed)
    last = rank.train_epoch()
    again = rank.weights()
    tested = rank.test()
    leave(rank)
    plain = {name: tensor.numpy() for name, tensor in weights.items()}
    return results, plain, same_bits(weights, again), last.epoch, tested


def test_two_ranks_are_one_training(two_processes, rank, folder, tmp_path):
    """Equal weights and results on both, also after a resume; as one rank's but for rounding and batch statistics."""
    job = digits_job(folder, epochs=2, job={"ranks": 2, "cpus_per_rank": 1})
    resumed = replace(job, checkpoint_dir=str(tmp_path), checkpoint_every_s=0.0)
    found = two_processes.call(one_of_two, two_processes.address(), job, resumed)
    (results, weights, same_again, epoch, tested), (other_results, other_weights, *rest) = found
    assert [r.metrics for r in results] == [r.metrics for r in other_results]
    assert all((weights[name] == other_weights[name]).all() for name in weights)
    assert same_again and epoch == 2 and rest == [same_again, epoch, tested]
    alone, _ = train(rank, digits_job(folder, epochs=2))
    assert results[0].metrics["train_gflops"] == pytest.approx(alone[0].metrics["train_gflops"], rel=0.01)
    assert results[-1].metrics["accuracy"] == pytest.approx(alone[-1].metrics["accuracy"], abs=0.2)


def fails_on_rank_1(*, num_classes, in_channels, image_size):
    class Failing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(in_channels * image_size[0] * image_size[1], num_classes)

        def forward(self, images_nchw):
            in_a_batch = torch.distributed.is_initialized() and len(images_nchw) > 2  # the check before it takes 2
            if in_a_batch and torch.distributed.get_rank() == 1:
                raise ZeroDivisionError("on rank 1 alone")
            return self.head(images_nchw.flatten(1))

    return Failing()


def survives_a_peers_fault(number: int, address: str, next_address: str, failing, job) -> object:
    rank = RankTraining(number)
    rank.join(ranks=2, init_method=address, cuda=False, timeout_s=600)
    rank.begin(failing)
    if number == 0:
        threading.Timer(3.0, rank.abort).start()
    said = ""
    try:
        rank.train_epoch()
    except (TrialError, PeerLost) as error:
        said = f"{type(error).__name__}: {error}"
    if number == 1:
        threading.Event().wait(4.0)  # stays in the group, so that only abort can free rank 0
    rank.end()
    rank.join(ranks=2, init_method=next_address, cuda=False, timeout_s=600)
    results, _ = train(rank, job)
    leave(rank)
    return said, results[-1].metrics["accuracy"]


def test_a_rank_that_raises_does_not_hang_the_other(two_processes, folder):
    """The one is told of its fault, the other freed by abort; both train the next trial together."""
    failing = digits_job(folder, model=f"{__name__}:fails_on_rank_1", job={"ranks": 2})
    job = digits_job(folder, job={"ranks": 2})
    found = two_processes.call(survives_a_peers_fault, two_processes.address(), two_processes.address(), failing, job)
    (lost, accuracy), (fault, same_accuracy) = found
    assert lost.startswith("PeerLost")
    assert fault.startswith("TrialError: training raised ZeroDivisionError: on rank 1 alone")
    assert accuracy == same_accuracy > 0.1
