"""webdataset:PATTERN: samples out of tar files, their parts and classes, and shards that were cut."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import prepared
from inputs.shard_files import delivered, encoded, photographs, samples, write_shard
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.cache import cached
from tune_cnn.training.data.cache_quota import DISK_GB
from tune_cnn.training.data.cache_writer import PLACES
from tune_cnn.training.data.sources.hubs.shard_source import ShardReader
from tune_cnn.training.data.sources.hubs.shards import webdataset
from tune_cnn.training.data.sources.hubs.tar_samples import density_of
from tune_cnn.training.data.sources.packed.file import PackReader
from tune_cnn.training.data.sources.packed.kept import Kept
from tune_cnn.training.data.sources.packed.packing import TOLERANCE


def refused(root: Path, pattern: str = "*.tar") -> str:
    with pytest.raises(DataError) as error:
        list(webdataset(DataSpec(name=f"webdataset:{pattern}", root=str(root), image_size=16)).chunks())
    return str(error.value)


def test_every_image_has_its_pixels_and_class(tmp_path):
    """Over several shards, whose names say the part; a range in braces names them as a shell would."""
    root = tmp_path / "root"
    write_shard(root / "birds-train-000.tar", samples(0, 10))
    write_shard(root / "birds-train-001.tar", samples(10, 6))
    write_shard(root / "birds-val-000.tar", samples(16, 4))
    sets = prepared(tmp_path, "webdataset:birds-*.tar", image_size=16, test=0.2)
    assert sets.facts.classes == ("0", "1") and len(sets.validation) == 4
    assert len(sets.train) + len(sets.test) == 16
    for at in range(4):
        whole = np.asarray(Image.open(io.BytesIO(encoded(16 + at)))).transpose(2, 0, 1)
        np.testing.assert_array_equal(sets.validation.fetch(np.array([at]))[0], whole)
        assert sets.validation.labels_n[at] == at % 2
    some = webdataset(DataSpec(name="webdataset:birds-train-{000..001}.tar", root=str(root)))
    assert sum(len(chunk.labels_n) for chunk in some.chunks()) == 16
    assert {chunk.part for chunk in some.chunks()} == {"train"}


def test_names_of_classes_and_other_kinds_of_image(tmp_path):
    """.txt holds a name; JPEG and PNG, grey too, become colour."""
    write_shard(
        tmp_path / "a.tar",
        {"x/1.jpg": encoded(1, "JPEG", "L"), "x/1.txt": b"owl\n", "y/1.PNG": encoded(2), "y/1.txt": b"crow"},
    )
    source = webdataset(DataSpec(name="webdataset:a.tar", root=str(tmp_path), image_size=8))
    chunk, last = source.chunks()
    assert last.classes.names == ("crow", "owl") and last.classes.labels_k[chunk.labels_n].tolist() == [1, 0]
    assert chunk.images_nchw.shape == (2, 3, 8, 8)
    np.testing.assert_array_equal(chunk.images_nchw[0, 0], chunk.images_nchw[0, 1])


@pytest.mark.parametrize("left", [100, 512, 700, -1024, -10_240, -30])
def test_a_shard_that_was_cut_is_named(tmp_path, left):
    """Within a header, within an image, or at the end of a member, where tar alone would not notice."""
    write_shard(tmp_path / "whole.tar", samples(0, 6))
    path = write_shard(tmp_path / "torn.tar", samples(6, 6))
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
    content = path.read_bytes()
    end = last.offset_data + 512  # of the last member, with its filling
    path.write_bytes(content[: left if left > 0 else end if left == -1024 else max(600, end + left)])
    message = refused(tmp_path)
    assert f"shard {path} was cut" in message and "fetch it again" in message


def test_what_shards_lack_is_told(tmp_path):
    """No shard, no class, no image, an image that is broken."""
    assert "there is no shard" in refused(tmp_path, "train-{00..01}.tar")
    write_shard(tmp_path / "a.tar", samples(0, 4) | {"9.png": encoded(9)})
    assert "1 images have no .cls or .txt: 9;" in refused(tmp_path)
    write_shard(tmp_path / "a.tar", {"9.json": b"{}"})
    assert "it holds no images" in refused(tmp_path)
    write_shard(tmp_path / "a.tar", samples(0, 4) | {"5.png": encoded(9)[:200], "5.cls": b"1"})
    assert f"{tmp_path}/a.tar: 5 can't be read as an image" in refused(tmp_path)
    write_shard(tmp_path / "val" / "a.tar", samples(0, 4))
    assert "no shard of val/a.tar is of the training images" in refused(tmp_path, "val/a.tar")


def test_how_many_images_there_are_is_told_before_they_are_read(tmp_path):
    """By the first bytes of the first shard: about, and never fewer than shards."""
    for number in range(4):
        write_shard(tmp_path / f"{number}.tar", samples(20 * number, 20))
    assert 80 <= webdataset(DataSpec(name="webdataset:*.tar", root=str(tmp_path))).images <= 100
    assert density_of((tmp_path / "0.tar").read_bytes()[:-30_000], "0.tar").shard_bytes == pytest.approx(3584, rel=0.1)


KINDS = ("jpeg", "small_jpeg", "none")


@pytest.mark.parametrize("kind", KINDS)
def test_shards_are_kept_as_data_cache_says(tmp_path, kind):
    """The same images in the same parts, with the same labels, as those that are kept as pixels."""
    write_shard(tmp_path / "root" / "a-train-0.tar", photographs(0, 7))
    write_shard(
        tmp_path / "root" / "a-train-1.tar", photographs(7, 5) | {"turned/0.png": encoded(3), "turned/0.txt": b"temple"}
    )
    given = {"name": "webdataset:*.tar", "image_size": 24, "validation": 0.3, "test": 0.3}
    pixels, other = prepared(tmp_path, cache="pixels", **given), prepared(tmp_path, cache=kind, **given)
    assert other.train.images is None and pixels.train.images is not None
    assert isinstance(other.train.reader, ShardReader if kind == "none" else PackReader)
    assert other.facts.classes == pixels.facts.classes == ("flower", "temple")
    for name in ("train", "validation", "test"):
        ours, theirs = getattr(other, name), getattr(pixels, name)
        np.testing.assert_array_equal(ours.labels_n, theirs.labels_n)
        every = np.arange(len(theirs))
        difference = np.abs(ours.fetch(every, threads=2).astype(int) - theirs.fetch(every)).mean(axis=(1, 2, 3))
        assert difference.max() <= (0 if kind == "none" else TOLERANCE)
    said = "read from their shards each time" if kind == "none" else "kept as JPEG"
    assert any(said in note for note in other.facts.notes)


def test_what_exceeds_the_quota_or_the_largest_cache_is_kept_otherwise(tmp_path, monkeypatch):
    """As a folder's images are: JPEGs by the quota, nothing above the largest cache."""
    write_shard(tmp_path / "a.tar", photographs(0, 12))
    data = DataSpec(name="webdataset:a.tar", root=str(tmp_path), image_size=224)
    assert webdataset(data).kept == Kept()
    assert "read from their shards each time" in webdataset(data, largest_cache_bytes=10**6).bypass
    monkeypatch.setenv(DISK_GB, "0.001")
    assert webdataset(data).packing.kind == "jpeg"


def test_a_set_of_pixels_that_grows_over_the_quota_ends(tmp_path, monkeypatch):
    """The first shard's beginning tells of fewer images than there are: said, with what to set, and nothing is left."""
    large = {"0.png": encoded(0), "0.cls": b"0", "0.json": bytes(60_000)}
    write_shard(tmp_path / "root" / "a0.tar", large)
    write_shard(tmp_path / "root" / "a1.tar", samples(1, 40))
    monkeypatch.setenv(DISK_GB, f"{20 * 3 * 16 * 16 / 1e9:.9f}")
    with pytest.raises(DataError, match=r"as pixels, and the cache may hold .*set data.cache: jpeg"):
        prepared(tmp_path, "webdataset:*.tar", image_size=16, cache="pixels")
    assert not list((tmp_path / "cache").glob("*.tmp*"))


def test_all_loaders_and_ranks_read_the_same_images_from_the_shards(tmp_path):
    """By an index alone, in this process and in loader processes; two ranks share an epoch."""
    write_shard(tmp_path / "root" / "a.tar", samples(0, 40))
    given = {"name": "webdataset:a.tar", "image_size": 16, "test": 0.2}
    pixels, places = prepared(tmp_path, cache="pixels", **given), prepared(tmp_path, cache="none", **given)
    facts = pixels.facts  # mean and deviation of the other are of a sample
    whole = delivered(pixels, "batched", 0, facts=facts)
    for kind, workers in (("batched", 0), ("batched", 1), ("stream", 1)):
        assert torch.equal(delivered(places, kind, workers, facts=facts), whole)
    for rank in (0, 1):
        shared = [delivered(one, "stream", 0, facts=facts, rank=rank, ranks=2) for one in (places, pixels)]
        assert torch.equal(*shared) and len(shared[0]) == len(whole) // 2


def test_an_index_that_was_cut_is_read_anew(tmp_path):
    write_shard(tmp_path / "root" / "a.tar", samples(0, 20))
    data = DataSpec(name="webdataset:a.tar", root=str(tmp_path / "root"), image_size=16, cache="none")
    before = cached(webdataset(data), tmp_path / "cache")
    path = before.folder / PLACES
    content = path.read_bytes()
    path.write_bytes(content[:-8])
    after = cached(webdataset(data), tmp_path / "cache")
    assert path.read_bytes() == content and after.key == before.key


def test_a_shard_that_is_gone_or_another_is_named_when_it_is_read(tmp_path):
    write_shard(tmp_path / "root" / "a.tar", samples(0, 20))
    sets = prepared(tmp_path, "webdataset:a.tar", image_size=16, cache="none")
    (tmp_path / "root" / "a.tar").write_bytes(bytes(100_000))
    with pytest.raises(DataError, match=r"a.tar: the image of bytes .* can't be read as an image"):
        sets.train.fetch(np.arange(1))
    (tmp_path / "root" / "a.tar").unlink()
    with pytest.raises(DataError, match=r"a.tar can't be read \(No such file"):
        sets.train.fetch(np.arange(1))


def test_a_picture_with_megabytes_of_text_is_read(tmp_path):
    """As programs that make images write them; a folder's are read too."""
    text, out = PngInfo(), io.BytesIO()
    text.add_text("parameters", "a drawing of an owl " * 200_000, zip=True)
    Image.new("RGB", (16, 16), "red").save(out, "PNG", pnginfo=text)
    write_shard(tmp_path / "a.tar", {"0.png": out.getvalue(), "0.cls": b"0"})
    chunk, _ = webdataset(DataSpec(name="webdataset:a.tar", root=str(tmp_path), image_size=16)).chunks()
    assert chunk.images_nchw[0, :, 0, 0].tolist() == [255, 0, 0]
