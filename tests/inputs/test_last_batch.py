"""The odd last batch: no rank is left with one image, which batch normalisation can't train on; each image counts."""

import numpy as np
import pytest
import torch
from inputs.pictures import spec_of, write_folder

from tune_cnn.errors import SpecError
from tune_cnn.spec import DataSpec, parse_spec
from tune_cnn.study.checks.adapting import joined_batches
from tune_cnn.training.data.loaders.batch import Plan
from tune_cnn.training.data.loaders.registry import make_loader
from tune_cnn.training.data.order import (
    EpochOrder,
    epoch_requests,
    first_and_last,
    joining,
    steps_per_epoch,
)
from tune_cnn.training.data.prepare import prepare
from tune_cnn.training.inspection.node import inspect_node
from tune_cnn.training.strategies.minibatch_order import cut

# images, batch over all ranks, ranks, and the sizes of one rank's batches
SHARES = [
    (41, 8, 1, [8, 8, 8, 8, 9]),
    (40, 8, 1, [8] * 5),
    (42, 8, 1, [8] * 5 + [2]),
    (9, 8, 1, [9]),
    (8, 8, 1, [8]),
    (5, 1, 1, [1] * 5),
    (5, 2, 1, [2, 3]),
    (33, 16, 2, [8, 9]),  # one image is left, and is repeated for the other rank
    (34, 16, 2, [8, 9]),
    (35, 16, 2, [8, 8, 2]),
    (10, 2, 2, [1] * 5),
    (18, 8, 4, [2, 3]),
    (21, 8, 4, [2, 2, 2]),
]


@pytest.mark.parametrize(("images", "batch", "ranks", "sizes"), SHARES)
def test_one_image_a_rank_joins_the_batch_before_it(images, batch, ranks, sizes):
    """On every rank alike, and every image has its turn."""
    seen: list[int] = []
    for rank in range(ranks):
        order = EpochOrder(
            images=images, image_size=(8, 8), augment="crop_flip", batch_size=batch, rank=rank, ranks=ranks, seed=0
        )
        requests = list(epoch_requests(order, 0))
        assert [len(request.positions_n) for request in requests] == sizes
        assert all(len(request.augmentation.flip_n) == len(request.positions_n) for request in requests)
        seen += [int(position) for request in requests for position in request.positions_n]
    assert set(seen) == set(range(images)) and len(seen) - images < ranks
    assert steps_per_epoch(images, batch, ranks) == len(sizes)


@pytest.mark.parametrize(("images", "batch", "ranks", "sizes"), SHARES)
def test_what_warms_up_is_what_comes(images, batch, ranks, sizes):
    """A device, and compiled code, are warmed up with every size of batch: one of an image that joins would fail."""
    order = EpochOrder(images=images, image_size=(8, 8), augment="none", batch_size=batch, rank=0, ranks=ranks, seed=0)
    requests = epoch_requests(order, 0, first_and_last(np.arange(images), batch, 2))
    assert {len(request.positions_n) for request in requests} == set(sizes)


@pytest.mark.parametrize(("images", "batch", "ranks", "sizes"), SHARES)
def test_a_ranking_of_images_is_cut_as_an_epoch_is(images, batch, ranks, sizes):
    """minibatch_order leaves out whole batches: one that it keeps alone must not be of one image a rank."""
    batches = cut(np.arange(images), batch, ranks)
    assert [-(-len(each) // ranks) for each in batches] == sizes
    assert np.concatenate(batches).tolist() == list(range(images))


@pytest.mark.parametrize("images", range(1, 60))
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_no_batch_is_of_one_image_unless_all_are(images, ranks):
    for batch in range(2 * ranks, images + 1, ranks):
        order = EpochOrder(
            images=images, image_size=(8, 8), augment="none", batch_size=batch, rank=ranks - 1, ranks=ranks, seed=0
        )
        assert min(len(request.positions_n) for request in epoch_requests(order, 0)) > 1


def test_a_short_epoch_of_a_dry_run_ends_with_the_odd_batch():
    positions_n = np.arange(41)
    assert len(first_and_last(positions_n, 8, 2)) == 17 and joining(17, 8, 1) == 1
    assert len(first_and_last(positions_n, 8, 100)) == 41
    assert len(first_and_last(np.arange(43), 8, 2)) == 19


@pytest.mark.parametrize("kind", ["device", "batched", "stream"])
def test_every_loader_gives_the_last_image_with_others(tmp_path, kind):
    root = write_folder(tmp_path / "root", parts=("train", "val", "test"))
    (root / "train/cat/0.png").unlink()
    (root / "train/cat/1.png").unlink()
    (root / "train/dog/0.png").unlink()
    sets = prepare(
        DataSpec(name="image_folder", root=str(root), image_size=16), split_seed=0, cache_dir=tmp_path / "cache"
    )
    plan = Plan(
        images=sets.train, facts=sets.facts, batch_size=12, rank=0, ranks=1, seed=0, augment="none",
        device=torch.device("cpu"), channels_last=False,
    )  # fmt: skip
    loader = make_loader(plan, kind=kind, workers=0)
    assert [len(batch.labels_n) for batch in loader.epoch(0)] == [12, 12, 13] and loader.steps == 3


def inspected(root, tmp_path, **space):
    raw = spec_of(root)
    spec = parse_spec({**raw, "space": {**raw["space"], **space}})
    return spec, inspect_node(spec, cuda=False, cache_dir=str(tmp_path / "cache"))


def test_what_joins_is_said_before_the_search(tmp_path):
    """33 training images: with batches of 8 one is left, with batches of 16 one, with batches of 10 three."""
    root = write_folder(tmp_path / "root", parts=("train", "val", "test"))
    for number in range(7):
        (root / f"train/cat/{number}.png").unlink()
    note = "at an epoch's end one image a rank would be left with batches of 8, 16: it joins the batch before it"
    assert joined_batches(*inspected(root, tmp_path, batch_size=[8, 10, 16])) == [note]
    assert joined_batches(*inspected(root, tmp_path, batch_size=10)) == []


def test_a_batch_of_one_is_for_models_that_can_train_on_it(tmp_path):
    """lenet5 has no batch normalisation; small_cnn's last maps are 1×1 for images of 4×4 only where they shrink so."""
    root = write_folder(tmp_path / "root")
    raw = {**spec_of(root), "model": {"name": "lenet5"}}
    spec = parse_spec({**raw, "space": {"batch_size": [1, 8]}})
    inspect_node(spec, cuda=False, cache_dir=str(tmp_path / "cache"))
    raw = {**spec_of(root, image_size=32), "model": {"name": "mobilenet_v3_small"}}
    spec = parse_spec({**raw, "space": {"batch_size": [1, 8]}})
    with pytest.raises(SpecError, match=r"space.batch_size: .*can't train on one image a rank.*got 1; search"):
        inspect_node(spec, cuda=False, cache_dir=str(tmp_path / "cache"))
