"""What strategies must hold together: pairs and groups of those that do not conflict, and two ranks."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from brisk import NAMES, PAIRS, finite, groups, job_with, loads_again, trained
from ranks import Processes, kept, left_within, same_bits, train

from tune_cnn.training.rank import RankTraining


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("strategies")


@pytest.mark.parametrize("group", groups(), ids="+".join)
def test_all_that_go_together_go_on_within_an_epoch(group, rank, folder, tmp_path):
    """Where one has changed what the other has made of the model."""
    _, weights = train(rank, job_with(folder, *group))
    assert same_bits(left_within(job_with(folder, *group, job=kept(tmp_path)))[1], weights)


def test_two_ranks_end_with_the_same_weights(two_processes: Processes, folder):
    """For each strategy, and for all that go together; one decision that a rank takes by itself would part them."""
    jobs = {name: job_with(folder, name, job={"ranks": 2}) for name in NAMES}
    jobs |= {"+".join(group): job_with(folder, *group, job={"ranks": 2}) for group in groups()}
    first, second = two_processes.call(digests, two_processes.address(), jobs, timeout_s=400.0)
    assert first == second
    assert len(set(first.values())) == len(jobs)


def digests(number: int, address: str, jobs) -> dict[str, str]:
    """Of the weights that each job ends with, on this rank."""
    rank = RankTraining(number)
    rank.join(ranks=2, init_method=address, cuda=False)
    found = {}
    for name, job in jobs.items():
        _, weights = train(rank, job)
        content = b"".join(key.encode() + weights[key].numpy().tobytes() for key in sorted(weights))
        found[name] = hashlib.sha256(content).hexdigest()
    return found


@pytest.mark.parametrize(("one", "two"), PAIRS, ids=lambda name: name)
def test_it_combines_with_every_other_that_it_does_not_conflict_with(one, two, folder):
    """Both at once train, and what they make of the model is built again from what they recorded."""
    results, weights, model, changes = trained(job_with(folder, one, two))
    assert finite(results)
    loads_again(model, weights, changes, folder)


@pytest.mark.parametrize("group", groups(), ids="+".join)
def test_all_that_go_together_resume_together(group, rank, folder, tmp_path):
    """The changes of several strategies are made again in the order in which they came."""
    job = job_with(folder, *group)
    _, whole = train(rank, job)
    kept = replace(job, checkpoint_dir=str(tmp_path), checkpoint_every_s=0.0)
    train(rank, kept, epochs=kept.last_epoch // 2)
    assert same_bits(train(RankTraining(), kept)[1], whole)
