"""torchvision:NAME: the table of constructors, and sets read from files as torchvision lays them out."""

import gzip
import inspect
import json
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from image_files import prepared, write_image
from torchvision import datasets

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.sources.hubs import pictures
from tune_cnn.training.data.sources.hubs.torchvision_named import torchvision_by_name
from tune_cnn.training.data.sources.hubs.torchvision_table import SETS

# What else torchvision has: no one class an image, no images, or no files of its own.
OTHERS = {
    *("CLEVRClassification", "CREStereo", "CarlaStereo", "CelebA", "Cityscapes", "CocoCaptions", "CocoDetection"),
    *("DatasetFolder", "ETH3DStereo", "FakeData", "FallingThingsStereo", "Flickr30k", "Flickr8k", "FlyingChairs"),
    *("FlyingThings3D", "HD1K", "HMDB51", "ImageFolder", "InStereo2k", "Kinetics", "Kitti", "Kitti2012Stereo"),
    *("Kitti2015Stereo", "KittiFlow", "LFWPairs", "LSUN", "LSUNClass", "Middlebury2014Stereo", "MovingMNIST"),
    *("PhotoTour", "SBDataset", "SBU", "SceneFlowStereo", "Sintel", "SintelStereo", "UCF101", "VOCDetection"),
    *("VOCSegmentation", "VisionDataset", "WIDERFace"),
}


def test_the_table_holds_every_set_for_classification():
    """All that torchvision exports is in the table, or is known to be something else."""
    assert set(SETS) | OTHERS == set(datasets.__all__) - {"wrap_dataset_for_transforms_v2"}
    assert not set(SETS) & OTHERS


@pytest.mark.parametrize("name", sorted(SETS))
def test_each_constructor_takes_what_the_table_gives_it(name):
    """A root first, then the arguments of each part; train is always one."""
    parameters = list(inspect.signature(getattr(datasets, name)).parameters.values())
    names = [parameter.name for parameter in parameters]
    assert names[0] == "root" and "train" in SETS[name]
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    for arguments in SETS[name].values():
        assert takes_any or set(arguments) <= set(names)


def write_mnist(root: Path) -> None:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 40), ("t10k", 10)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes())
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels)


def write_country211(root: Path) -> None:
    for part, count in (("train", 6), ("valid", 2), ("test", 3)):
        for label, name in enumerate(("AD", "AE")):
            for number in range(count):
                write_image(root / "country211" / part / name / f"{number}.jpg", 100 * label + number + 1000 * count)


def write_eurosat(root: Path) -> None:
    for label, name in enumerate(("Forest", "River")):
        for number in range(10):
            write_image(root / "eurosat" / "2750" / name / f"{number}.jpg", 100 * label + number, size=(64, 64))


def write_food101(root: Path) -> None:
    meta = root / "food-101" / "meta"
    meta.mkdir(parents=True)
    names = ("apple_pie", "waffles")
    for part, numbers in (("train", range(8)), ("test", range(8, 11))):
        (meta / f"{part}.json").write_text(json.dumps({name: [f"{name}/{n}" for n in numbers] for name in names}))
        for label, name in enumerate(names):
            for n in numbers:
                write_image(root / "food-101" / "images" / name / f"{n}.jpg", 100 * label + n)


@pytest.mark.parametrize(
    ("name", "write", "side", "parts"),
    [
        ("MNIST", write_mnist, 28, (30, 10, 10)),  # train=True and False
        ("Country211", write_country211, 224, (12, 4, 6)),  # split= with a validation part
        ("Food101", write_food101, 224, (12, 4, 6)),  # split= without one
        ("EuroSAT", write_eurosat, 64, (12, 4, 4)),  # one part alone
    ],
)
def test_a_set_of_each_convention_is_read(tmp_path, name, write, side, parts):
    """Its own parts and classes; small square images stay, others become 224."""
    write(tmp_path / "root")
    sets = prepared(tmp_path, f"torchvision:{name}", validation=0.25, test=0.2)
    assert tuple(map(len, (sets.train, sets.validation, sets.test))) == parts
    assert sets.facts.image_shape == (3, side, side)
    kind = getattr(datasets, name)(tmp_path / "root", **SETS[name].get("test", SETS[name]["train"]))
    assert sets.facts.classes == tuple(kind.classes)
    if name == "MNIST":
        np.testing.assert_array_equal(sets.test.fetch(np.arange(10))[:, 0], kind.data.numpy())
        assert sets.test.labels_n.tolist() == kind.targets.tolist()


def test_images_are_read_and_decoded_by_all_cores_in_their_order(tmp_path, monkeypatch):
    """Two at a time on two cores, torchvision's own reading too; and the chunks are those of one core."""
    write_food101(tmp_path)
    source = torchvision_by_name(DataSpec(name="torchvision:Food101", root=str(tmp_path), offline=True))
    monkeypatch.setattr(pictures.os, "sched_getaffinity", lambda _: {0})
    alone = list(source.chunks())
    both, read = threading.Barrier(2), datasets.Food101.__getitem__
    monkeypatch.setattr(pictures.os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(datasets.Food101, "__getitem__", lambda *given: (both.wait(60), read(*given))[1])
    together = list(source.chunks())
    assert [len(chunk.labels_n) for chunk in together] == [16, 6]
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_array_equal(ours.images_nchw, theirs.images_nchw)
        np.testing.assert_array_equal(ours.labels_n, theirs.labels_n)


def test_what_is_not_there_or_no_set_is_told(tmp_path):
    """The nearest name; offline, where the files belong; and files that are damaged."""
    with pytest.raises(DataError, match="did you mean 'Flowers102'"):
        torchvision_by_name(DataSpec(name="torchvision:Flower102", root=str(tmp_path)))
    with pytest.raises(DataError, match=f"Food101 can't be had in {tmp_path}, and data.offline forbids the download"):
        torchvision_by_name(DataSpec(name="torchvision:Food101", root=str(tmp_path), offline=True))
    write_mnist(tmp_path)
    path = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    path.write_bytes(gzip.compress(b"x"))
    with pytest.raises(DataError, match="MNIST can't be had"):
        torchvision_by_name(DataSpec(name="torchvision:MNIST", root=str(tmp_path), offline=True))
