"""Tree-CNN: new classes go where the root takes them for, only what changed learns, and the effort is counted."""

import pytest
import torch
from ranks import digits_job, same_bits, train

from search_spaces.tree_cnn import NOT_YET, TreeCnn, arrivals, grown
from tune_cnn.errors import TrialError
from tune_cnn.training.rank import RankTraining

RULE = {"alpha": 0.1, "beta": 0.1, "most": 3}


@pytest.mark.parametrize(
    ("likelihood", "expected"),
    [
        ([0.7, 0.2, 0.1], [[0, 7], [1], [2]]),  # sure of the first child
        ([0.1, 0.45, 0.45], [[0], [1, 2, 7]]),  # as sure of two
        ([0.34, 0.33, 0.33], [[0], [1], [2], [7]]),  # sure of none
        ([0.35, 0.35, 0.30], [[0], [1], [2], [7]]),  # the third is too near to merge the first two
    ],
)
def test_a_new_class_goes_where_the_root_takes_it_for(likelihood, expected):
    """The paper's three cases."""
    assert grown([[0], [1], [2]], {7: likelihood}, **RULE) == expected


def test_the_surest_comes_first_and_no_child_gets_too_many():
    """Also where two children have become one meanwhile."""
    sure = {7: [0.8, 0.1, 0.1], 8: [0.7, 0.2, 0.1], 9: [0.9, 0.05, 0.05]}
    assert grown([[0], [1], [2]], sure, **RULE) == [[0, 9, 7], [1], [2], [8]]
    merged = {7: [0.48, 0.48, 0.04], 8: [0.1, 0.46, 0.44]}
    assert grown([[0], [1], [2]], merged, alpha=0.1, beta=0.1, most=5) == [[0, 1, 7, 2, 8]]
    assert grown([[0]], {7: [1.0]}, **RULE) == [[0, 7]]


def test_classes_arrive_in_groups():
    """The last one may be smaller."""
    assert arrivals(10, 4, 3) == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert arrivals(10, 2, 5) == [[0, 1], [2, 3, 4, 5, 6], [7, 8, 9]]


class Facts:
    in_channels, num_classes = 1, 6


def test_probabilities_multiply_down_the_tree():
    """They sum to 1 over the classes that have arrived; a branch that stays keeps its net."""
    torch.manual_seed(0)
    tree = TreeCnn(Facts, root_width=4, branch_width=4).eval()
    assert tree.set_children([[0, 2], [1], [3, 4]]) == [[0, 2], [3, 4]]
    images_nchw = torch.randn(3, 1, 8, 8)
    logits = tree(images_nchw)
    assert torch.allclose(logits.exp().sum(1), torch.ones(3)) and (logits[:, 5] == NOT_YET).all()
    ways = tree.root(images_nchw)[:, :3].softmax(1)
    assert torch.allclose(logits.exp()[:, [3, 4]].sum(1), ways[:, 2], atol=1e-6)
    assert torch.allclose(logits.exp()[:, 1], ways[:, 1], atol=1e-6)
    kept = tree.branches["0_2"]
    assert tree.set_children([[0, 2], [1], [3, 4, 5]]) == [[3, 4, 5]]
    assert tree.branches["0_2"] is kept and set(tree.branches) == {"0_2", "3_4_5"}


def job(folder, job=None, epochs=6, batch_size=60, **arguments):
    settings = {"training": arguments, "epochs": epochs, "batch_size": batch_size, "learning_rate": 0.1}
    return digits_job(folder, job={"training": "search_spaces.tree_cnn:training"} | (job or {}), **settings)


@pytest.mark.parametrize("method", ["tree", "retrain", "finetune"])
def test_a_method_learns_all_classes_in_groups(tmp_path, method):
    """Far above chance at the end, its effort growing by what was trained."""
    results, weights = train(RankTraining(), job(tmp_path, epochs=9, batch_size=20, method=method, first=4, step=3))
    assert [result.metrics["classes"] for result in results] == [4, 4, 4, 7, 7, 7, 10, 10, 10]
    assert results[-1].metrics["accuracy"] > 0.3
    efforts = [result.metrics["training_effort"] for result in results]
    assert efforts == sorted(set(efforts)) and weights


def test_what_has_not_changed_does_not_learn(tmp_path):
    """A branch that no class came to has the same bits as before, and its weights are no part of the effort."""
    rank = RankTraining()
    rank.begin(job(tmp_path, method="tree", first=4, step=3, alpha=2.0, beta=2.0))  # each new class by itself
    for _ in range(2):
        rank.train_epoch()
    tree = rank._current.model
    before = rank.train_epoch().metrics["training_effort"]
    effort = rank.train_epoch().metrics["training_effort"] - before
    assert sorted(tree.children_of_root) == [[one] for one in range(7)] and not tree.branches
    weights = sum(p.numel() for p in tree.root.parameters())
    assert 0 < effort * 1e9 / weights < 540 and effort * 1e9 % weights == pytest.approx(0, abs=1.0)
    rank.end()


@pytest.mark.parametrize("method", ["tree", "retrain"])
def test_it_resumes_where_it_saved(tmp_path, method):
    """Its tree too; with the same bits as without the interruption, within a group and between two."""
    arguments = {"method": method, "first": 4, "step": 3, "alpha": 0.0}
    _, whole = train(RankTraining(), job(tmp_path, **arguments))
    for epochs in (3, 4):
        kept = {"checkpoint_dir": str(tmp_path / f"{epochs}"), "checkpoint_every_s": 0.0}
        train(RankTraining(), job(tmp_path, job=kept, **arguments), epochs=epochs)
        rank = RankTraining()
        assert rank.begin(job(tmp_path, job=kept, **arguments)) == epochs
        while not rank.train_epoch().done:
            pass
        assert same_bits(rank.weights(), whole)
        rank.end()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "forest"}, "training.method: must be one of tree, retrain, finetune, got 'forest'"),
        ({"first": 10}, "training.first must be from 2 to 9 of the 10 classes"),
        ({"first": 2, "step": 1}, "9 groups of classes need an epoch each, got 6; raise it"),
    ],
)
def test_what_it_cannot_do_is_told(tmp_path, arguments, message):
    """In the first epoch, by name."""
    with pytest.raises(TrialError, match=message):
        train(RankTraining(), job(tmp_path, **arguments))
