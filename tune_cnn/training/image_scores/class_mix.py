"""How evenly a mini-batch mixes the classes: the entropy of its labels, and mini-batches graded by it."""

import numpy as np

from tune_cnn.training.data.readers import Int64


def class_entropy(labels_n: Int64) -> float:
    """In nat: 0 where all labels are one class, log(classes) where each class is there as often."""
    shares = np.unique(labels_n, return_counts=True)[1] / len(labels_n)
    return float(-(shares * np.log(shares)).sum() + 0.0)


def graded(labels_n: Int64, sizes: list[int], seed: int) -> Int64:
    """The images as mini-batches of these sizes that reach from one class alone to an even mix, least entropy first.

    A single image has no mix, so no ranking of images gives such mini-batches: they are composed. The k-th of K takes
    1 - k / (K - 1) of its images from the class that has most left, and the others from whatever remains in the end.
    Those of the usual size are then sorted by their entropy; one of another size stays at the end, as everywhere.
    """
    random = np.random.default_rng((seed, len(labels_n)))
    left = {label: list(random.permutation(np.flatnonzero(labels_n == label))) for label in np.unique(labels_n)}
    begun: list[list[np.int64]] = []
    for turn, size in enumerate(sizes):
        alone = round(size * (1 - turn / max(1, len(sizes) - 1)))
        label = max(left, key=lambda one: len(left[one]))
        begun.append([left[label].pop() for _ in range(min(alone, len(left[label])))])
    rest = [position for of_class in left.values() for position in of_class]
    mixed = iter(random.permutation(np.array(rest, dtype=np.int64)))
    batches = [
        np.array([*batch, *(next(mixed) for _ in range(size - len(batch)))], dtype=np.int64)
        for batch, size in zip(begun, sizes, strict=True)
    ]
    usual = [batch for batch in batches if len(batch) == sizes[0]]
    odd = [batch for batch in batches if len(batch) != sizes[0]]
    return np.concatenate([*sorted(usual, key=lambda batch: class_entropy(labels_n[batch])), *odd])
