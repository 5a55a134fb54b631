"""webdataset:PATTERN: samples out of tar files, their parts and classes, and shards that were cut."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from image_files import prepared
from PIL import Image

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.sources.hubs.shards import webdataset


def encoded(seed: int, kind: str = "PNG", mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind)
    return out.getvalue()


def write_shard(path: Path, samples: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in samples.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def samples(first: int, count: int, label: str = ".cls") -> dict[str, bytes]:
    """Two files a sample, of two classes; beside them what others write too."""
    found = {}
    for n in range(first, first + count):
        found |= {f"{n:04d}.png": encoded(n), f"{n:04d}{label}": f"{n % 2}".encode(), f"{n:04d}.json": b"{}"}
    return found


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
    assert some.images == 16 and set(some.read) == {"train"}


def test_names_of_classes_and_other_kinds_of_image(tmp_path):
    """.txt holds a name; JPEG and PNG, grey too, become colour."""
    write_shard(
        tmp_path / "a.tar",
        {"x/1.jpg": encoded(1, "JPEG", "L"), "x/1.txt": b"owl\n", "y/1.PNG": encoded(2), "y/1.txt": b"crow"},
    )
    source = webdataset(DataSpec(name="webdataset:a.tar", root=str(tmp_path), image_size=8))
    (chunk,) = source.chunks()
    assert source.classes == ("crow", "owl") and chunk.labels_n.tolist() == [1, 0]
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
    """No shard, no class, no image, an image that is broken, an address."""
    assert "there is no shard" in refused(tmp_path, "train-{00..01}.tar")
    assert "fetch them into data.root" in refused(tmp_path, "https://there/train.tar")
    write_shard(tmp_path / "a.tar", samples(0, 4) | {"9.png": encoded(9)})
    assert "1 images have no .cls or .txt: 9;" in refused(tmp_path)
    write_shard(tmp_path / "a.tar", {"9.json": b"{}"})
    assert "it holds no images" in refused(tmp_path)
    write_shard(tmp_path / "a.tar", samples(0, 4) | {"5.png": encoded(9)[:200], "5.cls": b"1"})
    assert f"{tmp_path}/a.tar: 5 can't be read as an image" in refused(tmp_path)
    write_shard(tmp_path / "val" / "a.tar", samples(0, 4))
    assert "no shard of val/a.tar is of the training images" in refused(tmp_path, "val/a.tar")
