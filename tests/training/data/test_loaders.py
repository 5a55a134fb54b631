"""All loaders deliver the same batches: one contract for every kind."""

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import prepared, write_folder

from tune_cnn.errors import DataError
from tune_cnn.training.data.loaders.batch import Plan
from tune_cnn.training.data.loaders.device import ResidentSets
from tune_cnn.training.data.loaders.evaluate import EvaluationLoader
from tune_cnn.training.data.loaders.registry import make_loader

CPU = torch.device("cpu")
KINDS = [("device", 0), ("batched", 0), ("batched", 2), ("stream", 0), ("stream", 2)]


def _loader(sets, kind="device", workers=0, resident=None, **changes):
    settings = {"batch_size": 500, "rank": 0, "ranks": 1, "seed": 3, "augment": "crop_flip"}
    settings |= {"device": CPU, "channels_last": False, "images": sets.train, "facts": sets.facts}
    return make_loader(Plan(**settings | changes), kind=kind, workers=workers, resident=resident)


def _epoch(loader, number=0):
    try:
        return [(batch.images_nchw.clone(), batch.labels_n.clone()) for batch in loader.epoch(number)]
    finally:
        loader.close()


def _same(some, others):
    return len(some) == len(others) and all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(some, others, strict=True)
    )


@pytest.mark.parametrize(("kind", "workers"), KINDS)
def test_every_kind_delivers_the_same_bits(tmp_path, kind, workers):
    """Against a reference made image by image: order, augmentation, labels and normalisation, over two epochs."""
    sets = prepared(tmp_path)
    loader = _loader(sets, kind, workers)
    loader.start()
    loader.start()
    epochs = [[(b.images_nchw, b.labels_n) for b in loader.epoch(number)] for number in (0, 1)]
    loader.close()
    loader.close()
    for number, batches in enumerate(epochs):
        assert _same(batches, _epoch(_loader(sets), number))
        assert [len(labels) for _, labels in batches] == [500, 500, 458] and loader.steps == 3
    assert not _same(*epochs)


@pytest.mark.parametrize(("kind", "workers"), [("batched", 2), ("stream", 0), ("stream", 2)])
def test_every_kind_flips_in_turn_and_fills_alike(tmp_path, kind, workers):
    """Alternating flips, a shift of another size and mirrored edges reach every kind of loader."""
    sets = prepared(tmp_path)
    ways = {"flips": "alternating", "shift": 0.3, "shift_fill": "mirror"}
    wanted = _epoch(_loader(sets, **ways), 1)
    assert _same(_epoch(_loader(sets, kind, workers, **ways), 1), wanted)
    for key in ways:
        assert not _same(_epoch(_loader(sets, **{name: ways[name] for name in ways if name != key}), 1), wanted), key


@pytest.mark.parametrize(("kind", "workers"), [("batched", 2), ("stream", 0), ("stream", 2)])
def test_every_kind_draws_operations_alike(tmp_path, kind, workers):
    """Crops, policies and erasing of an image are the same by every loader, over ranks too."""
    write_folder(tmp_path / "root", per_class=9)
    sets = prepared(tmp_path, "image_folder", image_size=16)
    augment = "random_resized_crop+flip+color_jitter+rand_augment+random_erasing"
    wanted = _epoch(_loader(sets, batch_size=4, augment=augment), 1)
    assert _same(_epoch(_loader(sets, kind, workers, batch_size=4, augment=augment), 1), wanted)
    second = _epoch(_loader(sets, kind, workers, batch_size=4, augment=augment, rank=1, ranks=2), 1)
    assert torch.equal(second[0][0], wanted[0][0][1::2])


@pytest.mark.parametrize(("kind", "workers"), KINDS)
def test_every_kind_reads_folders_alike(tmp_path, kind, workers):
    """`stream` decodes the files, the others take the cache: the same pixels."""
    write_folder(tmp_path / "root", per_class=9)
    sets = prepared(tmp_path, "image_folder", image_size=16)
    batches = _epoch(_loader(sets, kind, workers, batch_size=4))
    assert _same(batches, _epoch(_loader(sets, batch_size=4)))


def test_batches_are_normalised_images_of_their_labels(tmp_path):
    """Without augmentation each is (x/255 - mean)/std of an image of that label, each once an epoch."""
    sets = prepared(tmp_path)
    raw = sets.train.fetch(np.arange(len(sets.train)))
    wanted = (raw / 255 - sets.facts.mean[0]) / sets.facts.std[0]
    found = {(image.tobytes(), int(label)) for image, label in zip(raw, sets.train.labels_n, strict=True)}
    count = 0
    for images, labels in _epoch(_loader(sets, augment="none")):
        assert images.dtype == torch.float32 and labels.dtype == torch.int64
        back = ((images.numpy() * sets.facts.std[0] + sets.facts.mean[0]) * 255).round().astype(np.uint8)
        assert all((image.tobytes(), int(label)) in found for image, label in zip(back, labels, strict=True))
        count += len(labels)
    assert count == len(raw)
    every = torch.cat([b.images_nchw for b in _evaluate(sets)])
    np.testing.assert_allclose(every, wanted, atol=1e-5)


def _evaluate(sets, **changes):
    settings = {"batch_size": 100, "rank": 0, "ranks": 1, "device": CPU, "channels_last": False}
    loader = EvaluationLoader(images=sets.train, facts=sets.facts, **settings | changes)
    batches = list(loader)
    assert len(batches) == len(loader)
    return batches


@pytest.mark.parametrize("kind", ["device", "batched", "stream"])
def test_ranks_together_see_what_one_rank_sees(tmp_path, kind):
    """Step by step, over the whole epoch; equal steps on all ranks, and the padding is said."""
    sets = prepared(tmp_path)
    alone = _epoch(_loader(sets, batch_size=600))
    loaders = [_loader(sets, kind, batch_size=600, rank=rank, ranks=4) for rank in range(4)]
    assert all("2 images of 1458 repeated" in loader.notes[0] for loader in loaders)
    shares = [_epoch(loader) for loader in loaders]
    for step, (images, labels) in enumerate(alone):
        together = torch.stack([share[step][1] for share in shares], 1).ravel()
        assert torch.equal(together[: len(labels)], labels)
        pixels = torch.stack([share[step][0] for share in shares], 1).flatten(0, 1)
        assert torch.equal(pixels[: len(images)], images)
    assert not _loader(sets, batch_size=486, ranks=2).notes


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_evaluation_takes_each_image_once_over_all_ranks(tmp_path, ranks):
    """No padding; with or without resident images the same."""
    sets = prepared(tmp_path)
    resident = ResidentSets()
    seen = []
    for rank in range(ranks):
        plain = _evaluate(sets, rank=rank, ranks=ranks)
        assert _same(plain, _evaluate(sets, rank=rank, ranks=ranks, resident=resident))
        seen += [image.numpy().tobytes() for batch in plain for image in batch.images_nchw]
    wanted = [image.numpy().tobytes() for batch in _evaluate(sets) for image in batch.images_nchw]
    assert sorted(seen) == sorted(wanted)


def test_channels_last_changes_the_layout_alone(tmp_path):
    """Same values, other strides."""
    write_folder(tmp_path / "root")
    sets = prepared(tmp_path, "image_folder", image_size=8)
    last = _epoch(_loader(sets, batch_size=4, channels_last=True))
    assert _same(last, _epoch(_loader(sets, batch_size=4)))
    assert next(_loader(sets, batch_size=4, channels_last=True).epoch(0)).images_nchw.is_contiguous(
        memory_format=torch.channels_last
    )


def test_resident_images_are_kept_from_trial_to_trial(tmp_path):
    """On a CPU they are the memory map itself; clear() lets go."""
    sets = prepared(tmp_path)
    resident = ResidentSets()
    first = resident.get(sets.train, CPU)
    assert resident.get(sets.train, CPU) is first
    assert first.images_nchw.data_ptr() == sets.train.images.ctypes.data
    resident.clear()
    assert resident.get(sets.train, CPU) is not first


@pytest.mark.parametrize(("batch_size", "ranks"), [(1459, 1), (0, 1), (5, 2)])
def test_a_batch_that_does_not_fit_is_refused(tmp_path, batch_size, ranks):
    """Larger than the set, or not to be shared evenly."""
    with pytest.raises(DataError, match="batch_size"):
        _loader(prepared(tmp_path), batch_size=batch_size, ranks=ranks)


def _children(loader):
    return [process.pid for process in loader._context.processes]


def _alive(pid):
    """Running: a dead process that nobody has waited for yet isn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_close_ends_the_processes_in_the_middle_of_an_epoch(tmp_path):
    """None is left; start() before had them all running."""
    loader = _loader(prepared(tmp_path), "batched", 2, batch_size=10)
    loader.start()
    pids = _children(loader)
    assert len(pids) == 2 and all(map(_alive, pids))
    batches = loader.epoch(0)
    next(batches)
    loader.close()
    assert not any(map(_alive, pids))
    assert not [p for p in multiprocessing.active_children() if p.pid in pids]


def test_an_epoch_can_be_left_and_another_begun(tmp_path):
    """What was fetched for the first doesn't turn up in the second."""
    sets = prepared(tmp_path)
    loader = _loader(sets, "batched", 2, batch_size=100)
    next(loader.epoch(0))
    assert _same(_epoch(loader, 1), _epoch(_loader(sets, batch_size=100), 1))


def test_a_loader_process_ignores_the_interrupt_key(tmp_path):
    """Ctrl-C reaches the whole group of processes; the rank decides what ends."""
    sets = prepared(tmp_path)
    loader = _loader(sets, "batched", 1)
    loader.start()
    os.kill(_children(loader)[0], signal.SIGINT)
    assert _same(_epoch(loader), _epoch(_loader(sets)))


def test_the_global_generator_is_left_alone(tmp_path):
    """Loading draws from generators of its own."""
    sets = prepared(tmp_path)
    before = torch.random.get_rng_state()
    for kind in ("device", "batched", "stream"):
        _epoch(_loader(sets, kind, 1 if kind == "batched" else 0))
    assert torch.equal(torch.random.get_rng_state(), before)


USERS = """
import torch
class Images:
    def __init__(self, random, poison=None):
        self.random, self.poison = random, poison
    def __len__(self):
        return 60
    def __getitem__(self, i):
        image = torch.full((1, 8, 8), i, dtype=torch.uint8)
        image[0, 7] = 255 - i
        if self.random:
            image[0, 0, 0] = int(torch.randint(0, 256, ()))
        return image, i % 2
def fixed(root): return Images(False), None, None
def changing(root): return Images(True), None, None
def unpicklable(root): return Images(True, lambda: 0), None, None
"""


def _users(tmp_path, monkeypatch, factory):
    name = f"users_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(USERS)
    monkeypatch.syspath_prepend(tmp_path)
    return prepared(tmp_path, f"{name}:{factory}")


@pytest.mark.parametrize(("kind", "workers"), KINDS)
def test_a_users_data_set_is_loaded_by_every_kind(tmp_path, monkeypatch, kind, workers):
    """`stream` asks the data set itself, in its processes too."""
    sets = _users(tmp_path, monkeypatch, "fixed")
    assert _same(_epoch(_loader(sets, kind, workers, batch_size=20)), _epoch(_loader(sets, batch_size=20)))


@pytest.mark.parametrize(("kind", "workers"), KINDS[1:])
def test_images_that_change_are_read_anew(tmp_path, monkeypatch, kind, workers):
    """Past the cache: right labels, pixels as the data set gives them, and repeatable in loader processes."""
    sets = _users(tmp_path, monkeypatch, "changing")
    reference = _epoch(_loader(_users(tmp_path, monkeypatch, "fixed"), batch_size=20, augment="none"))
    batches = _epoch(_loader(sets, kind, workers, batch_size=20, augment="none"))
    assert all(torch.equal(a[1], b[1]) for a, b in zip(batches, reference, strict=True))
    assert all(len(image[0, 1:7].unique()) == 1 for images, _ in batches for image in images)
    if workers:
        assert _same(batches, _epoch(_loader(sets, kind, workers, batch_size=20, augment="none")))
    assert sum(len(b.labels_n) for b in _evaluate(sets)) == len(sets.train)


def test_images_that_change_cannot_be_resident(tmp_path, monkeypatch):
    """`device` says which loaders would do."""
    with pytest.raises(DataError, match="batched or stream"):
        _loader(_users(tmp_path, monkeypatch, "changing"), batch_size=20).start()


def test_a_data_set_that_cannot_be_pickled_is_said_before_processes_start(tmp_path, monkeypatch):
    """In this process it can be used all the same."""
    sets = _users(tmp_path, monkeypatch, "unpicklable")
    with pytest.raises(DataError, match=r"needs a data set that can be pickled"):
        _loader(sets, "stream", 1, batch_size=20).start()
    assert len(_epoch(_loader(sets, "stream", 0, batch_size=20))) == 3


def test_only_fetching_is_waiting(tmp_path):
    """A resident set is waited for by nobody; of a fetched one the fetching counts, not what the device does then."""
    sets = prepared(tmp_path)
    at_hand = _loader(sets, "device").epoch(0)
    assert list(at_hand) and at_hand.waited_s == 0
    loader = _loader(sets, "stream")
    fetched = loader.epoch(0)
    next(fetched)
    once_s = fetched.waited_s
    assert once_s > 0
    assert list(fetched) and fetched.waited_s > once_s
    loader.close()


def test_a_trial_keeps_its_own_parts_resident_and_no_others(tmp_path):
    """What another trial brought, its test split say, would count as this one's memory."""
    sets, resident = prepared(tmp_path), ResidentSets()
    train, test = resident.get(sets.train, CPU), resident.get(sets.test, CPU)
    resident.keep(sets.train, sets.validation)
    assert resident.get(sets.train, CPU) is train
    assert resident.get(sets.test, CPU) is not test
