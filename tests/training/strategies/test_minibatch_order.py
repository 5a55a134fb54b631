"""Mini-batch selection: what is ranked, cut, left out, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from brisk import CARDS
from ranks import digits_job, same_bits, train

from tune_cnn.errors import SpecError, StrategyError
from tune_cnn.spec import parse_spec
from tune_cnn.spec.strategies import check_strategies
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.minibatch_order import (
    EXTREMES,
    LOWER,
    MIDDLE,
    UPPER,
    MinibatchOrder,
    cut,
    phase,
    without,
)

TEN = [np.array([n]) for n in range(10)]


def numbers(batches) -> list[int]:
    return np.concatenate(batches).tolist()


@pytest.mark.parametrize(
    ("part", "share", "kept"),
    [
        (LOWER, 0.2, [2, 3, 4, 5, 6, 7, 8, 9]),
        (MIDDLE, 0.2, [0, 1, 2, 3, 6, 7, 8, 9]),
        (EXTREMES, 0.2, [1, 2, 3, 4, 5, 6, 7, 8]),
        (EXTREMES, 0.3, [1, 2, 3, 4, 5, 6, 7]),
        (LOWER, 0.75, [8, 9]),
        (MIDDLE, 0.8, [0, 9]),
        (LOWER, 0.01, list(range(10))),
        (UPPER, 0.2, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_a_share_of_the_mini_batches_is_left_out_of_a_part_of_the_ranking(part, share, kept):
    """The paper's upper quartile and outside of the middle 80 % are among them."""
    assert numbers(without(TEN, part, share)) == kept


def test_one_mini_batch_always_stays():
    for part in (LOWER, MIDDLE, UPPER, EXTREMES):
        assert len(without(TEN[:2], part, 0.9)) == 1


def test_a_ranking_is_cut_into_mini_batches_and_a_rest():
    assert [batch.tolist() for batch in cut(np.array([4, 2, 0, 1, 3]), 3, 1)] == [[4, 2, 0], [1, 3]]
    assert [batch.tolist() for batch in cut(np.array([4, 2, 0, 1, 3]), 2, 1)] == [[4, 2], [0, 1, 3]]


def test_phases_are_the_stretches_between_the_drops_of_the_step_schedule():
    assert [phase(epoch, 8) for epoch in range(8)] == [1, 1, 1, 1, 2, 2, 3, 3]


def orders(tmp_path, epochs=4, **knobs):
    """The images of each epoch of a training, and their values."""
    strategies = {"minibatch_order": True, **{f"minibatch_order.{name}": value for name, value in knobs.items()}}
    schedule = {"schedule": "step"} if knobs.get("policy") == "phase_policy" else {}
    job = digits_job(tmp_path, epochs=epochs, batch_size=50, strategies=strategies, **schedule)
    rank = RankTraining()
    rank.begin(job)
    seen = []
    training = rank._current._training
    following = training._strategies.order

    def heard(epoch, positions_n):
        seen.append(following(epoch, positions_n))
        return seen[-1]

    training._strategies.order = heard
    while not rank.train_epoch().done:
        pass
    images = rank._current.context.images.train
    rank.end()
    sums_n = images.fetch(np.arange(len(images))).reshape(len(images), -1).sum(axis=1)
    return seen, sums_n


def test_the_darkest_and_brightest_images_are_left_out_and_batches_are_neighbours_in_the_ranking(tmp_path):
    """540 images in 11 mini-batches: of 50 but the last; a fifth of them, 2, go: one at each end."""
    seen, sums_n = orders(tmp_path)
    ranking = np.lexsort([sums_n])
    expected = {frozenset(ranking[start : start + 50].tolist()) for start in range(50, 500, 50)}
    for order in seen:
        assert {frozenset(order[start : start + 50].tolist()) for start in range(0, len(order), 50)} == expected
    assert seen[0].tolist() != seen[1].tolist()  # the mini-batches come in another order each time


def test_mixed_batches_keep_the_images_and_the_epochs_own_order(tmp_path):
    ranked_order, _ = orders(tmp_path)
    mixed, _ = orders(tmp_path, batches="mixed")
    assert sorted(mixed[0].tolist()) == sorted(ranked_order[0].tolist())
    whole = np.random.default_rng((0, 0)).permutation(540)
    assert mixed[0].tolist() == [position for position in whole if position in set(mixed[0].tolist())]


def test_the_phase_policy_drops_the_lower_end_first_and_the_extremes_later(tmp_path):
    seen, sums_n = orders(tmp_path, policy="phase_policy")
    ranking = np.lexsort([sums_n]).tolist()
    assert set(seen[0].tolist()) == set(ranking[100:])
    for later in seen[2:]:
        assert set(later.tolist()) == set(ranking[50:500])


def test_a_trial_with_deep_features_repeats(tmp_path):
    """An untrained backbone is drawn apart from torch's generator, from which the model's weights come."""
    knobs = {"metric": "perceptual", "weights": "random", "backbone": "squeezenet1_1"}
    strategies = {"minibatch_order": True, **{f"minibatch_order.{name}": value for name, value in knobs.items()}}
    job = digits_job(tmp_path, epochs=1, batch_size=50, strategies=strategies)
    assert same_bits(train(RankTraining(), job)[1], train(RankTraining(), job)[1])


def test_every_metric_gives_another_selection_and_its_epochs_are_shorter(tmp_path):
    """A user's function among them; the deep features of an untrained backbone, as weights need a network."""
    chosen = [
        orders(tmp_path, epochs=1, metric=metric, weights="random")[0][0]
        for metric in ("intensity", "edges", "perceptual", "image_scores_of_a_user:darkness")
    ]
    assert all(len(order) == 450 for order in chosen[:3])
    assert len({frozenset(order.tolist()) for order in chosen}) == 4


def test_a_selection_that_leaves_nothing_out_raises(tmp_path):
    """Four per cent of eleven mini-batches are none."""
    strategies = {"minibatch_order": True, "minibatch_order.drop": 0.04}
    with pytest.raises(StrategyError, match="less than one"):
        train(RankTraining(), digits_job(tmp_path, batch_size=50, strategies=strategies))


def test_the_ranking_survives_a_resume(tmp_path):
    strategies = {"minibatch_order": True, "minibatch_order.metric": "edges"}
    job = digits_job(tmp_path, epochs=3, batch_size=50, strategies=strategies)
    _, whole = train(RankTraining(), job)
    kept = replace(job, checkpoint_dir=str(tmp_path / "kept"), checkpoint_every_s=0.0)
    train(RankTraining(), kept, epochs=1)
    assert same_bits(train(RankTraining(), kept)[1], whole)


def refused(channels=1, schedule="step", **knobs) -> str:
    """What `check` says of a space with these knobs."""
    space = {"schedule": schedule, "strategies": {"minibatch_order": knobs}}
    raw = {"study": "s", "data": {"name": "digits"}, "model": {"name": "lenet5"}, "space": space}
    spec = parse_spec({**raw, "budget": {"trials": 1}})
    spec = spec.model_copy(update={"space": check_strategies(spec.space, CARDS)})
    facts = DataFacts(
        name="some",
        num_classes=10,
        in_channels=channels,
        image_size=(8, 8),
        train_images=100,
        validation_images=10,
        test_images=10,
        classes=tuple("0123456789"),
        key="k",
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
        notes=(),
    )
    with pytest.raises(SpecError) as error:
        MinibatchOrder.check(spec, facts)
    return str(error.value)


def test_what_cannot_be_is_said_before_the_search(monkeypatch, tmp_path):
    """Colour without colours, phases without their schedule, weights that can't be had, a function that isn't there."""
    assert "colour needs images of three channels, some has 1" in refused(metric=["intensity", "colour"])
    assert "needs `schedule: step`" in refused(policy="phase_policy", schedule=["step", "cosine"])
    assert "use drop_extremes" in refused(policy="phase_policy", metric="image_scores_of_a_user:darkness")
    assert "has no 'brightness'" in refused(metric="image_scores_of_a_user:brightness")
    assert "did you mean 'resnet18'" in refused(metric="perceptual", backbone="resnet_18", weights="random")
    deaf = refused(metric="perceptual", backbone="inception_v3", weights="random")
    assert "inception_v3 gives no features of images of (1, 8, 8)" in deaf and "choose alexnet" in deaf
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    said = refused(metric="perceptual")
    assert "could not be downloaded" in said and "weights: random" in said
