"""What a net makes of an image, and how evenly a mini-batch mixes the classes."""

import math

import numpy as np
import pytest
import torch

from tune_cnn.training.image_scores.class_mix import class_entropy, graded
from tune_cnn.training.image_scores.predicted import losses, prediction_entropy


def test_the_loss_of_each_image_is_its_own() -> None:
    logits_nk, labels_n = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    found = losses(logits_nk, labels_n)
    alone = [torch.nn.functional.cross_entropy(logits_nk[k : k + 1], labels_n[k : k + 1]) for k in range(5)]
    assert found.shape == (5, 1)
    torch.testing.assert_close(found[:, 0].float(), torch.stack(alone))


def test_a_net_that_is_sure_has_no_entropy() -> None:
    """From 0 to log(classes); a probability of 0 adds nothing."""
    found = prediction_entropy(torch.tensor([[900.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]]))
    assert found[:, 0].tolist() == pytest.approx([0.0, math.log(4)])


def test_class_entropy_by_hand() -> None:
    assert class_entropy(np.array([7, 7, 7])) == 0
    assert class_entropy(np.array([0, 1, 2, 3])) == pytest.approx(math.log(4))
    assert class_entropy(np.array([0, 0, 0, 1])) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("last", [20, 7])
def test_mini_batches_are_graded_from_one_class_to_an_even_mix(classes: int, last: int) -> None:
    """Each image once; least entropy first; the odd one stays at the end; the same seed gives the same."""
    sizes = [20] * 14 + [last]
    labels_n = np.random.default_rng(0).integers(classes, size=sum(sizes))
    order_n = graded(labels_n, sizes, seed=3)
    assert sorted(order_n.tolist()) == list(range(len(labels_n)))
    mixes = [class_entropy(labels_n[order_n[at : at + 20]]) for at in range(0, 20 * 14, 20)]
    assert mixes == sorted(mixes) and mixes[0] < 0.3 * math.log(classes) < 0.85 * math.log(classes) < mixes[-1]
    assert np.array_equal(order_n, graded(labels_n, sizes, seed=3))
    assert not np.array_equal(order_n, graded(labels_n, sizes, seed=4))


def test_uneven_classes_can_be_graded() -> None:
    """A class with fewer images than a mini-batch gives what it has."""
    labels_n = np.array([0] * 90 + [1] * 6 + [2] * 4)
    assert sorted(graded(labels_n, [10] * 10, seed=0).tolist()) == list(range(100))
