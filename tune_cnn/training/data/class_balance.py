"""What is done for classes of unequal size: weights in the loss, or an epoch that shows all of them equally often."""

import numpy as np

from tune_cnn.training.data.readers import Int64

Float64 = np.ndarray[tuple[int], np.dtype[np.float64]]
BALANCING = 4  # marks the stream of random numbers that belongs to the draw of classes


def class_weights(counts_k: Int64, kind: str, beta: float) -> Float64:
    """What an image of each class counts for; over all training images the mean is 1, so that learning rates keep.

    counts_k: the training images of each class, one at least.
    kind: `balanced`, n/(k·n_c), as scikit-learn has it; or `effective`, in proportion to (1 − β)/(1 − β^n_c), the
    inverse of the effective number of images (Cui, Jia, Lin, Song, Belongie, "Class-Balanced Loss Based on Effective
    Number of Samples", 2019, https://arxiv.org/abs/1901.05555), whose weights have the mean 1 over the classes.
    """
    counts = counts_k.astype(np.float64)
    shares_k = 1 / counts if kind == "balanced" else (1 - beta) / (1 - beta**counts)
    weights_k: Float64 = shares_k * (counts.sum() / (shares_k * counts).sum())
    return weights_k


def balanced_order(labels_n: Int64, seed: int, epoch: int) -> Int64:
    """An epoch's positions, as many as there are images, of which each class has the same number, but for one.

    Class-balanced sampling (Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", 2020,
    https://arxiv.org/abs/1910.09217), in which an image is as probable as with torch's WeightedRandomSampler by
    1/n_c; but the numbers are exact: each image of a class comes equally often too, but for one.
    """
    random = np.random.default_rng((seed, epoch, BALANCING))
    classes = np.unique(labels_n)
    each, left = divmod(len(labels_n), len(classes))
    one_more = set(random.permutation(classes)[:left].tolist())
    drawn = []
    for label in classes.tolist():
        of_class = np.flatnonzero(labels_n == label)
        times, rest = divmod(each + (label in one_more), len(of_class))
        drawn += [np.repeat(of_class, times), random.permutation(of_class)[:rest]]
    return random.permutation(np.concatenate(drawn)).astype(np.int64)
