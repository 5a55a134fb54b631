"""Metrics of several ranks become one as the table says."""

from tune_cnn.training.reduction import reduce_metrics


def test_each_metric_is_joined_as_the_table_says():
    """Sum, mean, maximum, or rank 0's."""
    of_ranks = [
        {"images_per_s": 100.0, "data_wait_s": 1.0, "train_time_s": 5.0, "accuracy": 0.9},
        {"images_per_s": 50.0, "data_wait_s": 2.0, "train_time_s": 6.0, "accuracy": 0.1},
    ]
    joined = {"images_per_s": 150.0, "data_wait_s": 1.5, "train_time_s": 6.0, "accuracy": 0.9}
    assert reduce_metrics(of_ranks) == joined


def test_a_metric_that_a_rank_lacks_is_absent():
    """A sum over the others would pass for the whole."""
    assert reduce_metrics([{"gpu_energy_j": 3.0, "accuracy": 1.0}, {"accuracy": 1.0}]) == {"accuracy": 1.0}


def test_the_users_own_metric_is_rank_zeros():
    """It is not in the table, and measured on rank 0 alone."""
    assert reduce_metrics([{"sparsity": 0.25}, {"sparsity": 0.5}]) == {"sparsity": 0.25}
