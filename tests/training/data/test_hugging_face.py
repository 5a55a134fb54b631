"""hf:NAME: sets as the library `datasets` keeps them, the columns guessed and said, and a hub that isn't reachable."""

import io
import sys
import threading
from pathlib import Path

import datasets
import numpy as np
import pytest
from image_files import prepared
from PIL import Image

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.sources.hubs import pictures
from tune_cnn.training.data.sources.hubs.hugging_face import hugging_face

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
NAMES = datasets.ClassLabel(names=["owl", "crow"])


def png(number: int) -> dict[str, object]:
    out = io.BytesIO()
    Image.fromarray(PIXELS[number]).save(out, "PNG")
    return {"bytes": out.getvalue(), "path": None}


def table(numbers: range, label: object = NAMES, image: str = "img", of: object = None) -> datasets.Dataset:
    labels = [n % 2 if of is None else of[n % 2] for n in numbers]
    features = datasets.Features({"id": datasets.Value("int64"), image: datasets.Image(), "label": label})
    rows = {"id": list(numbers), image: [png(n) for n in numbers], "label": labels}
    return datasets.Dataset.from_dict(rows, features=features)


def saved(tmp_path: Path, **parts: datasets.Dataset) -> Path:
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "root" / "birds")
    return tmp_path / "root"


def read(root: Path, **spec):
    return hugging_face(DataSpec(name="hf:birds", root=str(root), offline=True, image_size=16, **spec))


def refused(root: Path, **spec) -> str:
    with pytest.raises(DataError) as error:
        read(root, **spec)
    return str(error.value)


def test_a_saved_set_has_its_splits_pixels_and_classes(tmp_path):
    """Those of the set's own parts; a split of another name is said to be unused."""
    saved(
        tmp_path,
        train=table(range(12)),
        validation=table(range(12, 16)),
        test=table(range(16, 20)),
        extra=table(range(2)),
    )
    sets = prepared(tmp_path, "hf:birds", image_size=16)
    assert sets.facts.classes == ("owl", "crow")
    assert [len(part) for part in (sets.train, sets.validation, sets.test)] == [12, 4, 4]
    np.testing.assert_array_equal(sets.test.fetch(np.arange(4)), PIXELS[16:].transpose(0, 3, 1, 2))
    assert sets.test.labels_n.tolist() == [0, 1, 0, 1]
    assert any("'img' holds the images, 'label' the classes" in note for note in sets.facts.notes)
    assert any("aren't used: extra" in note for note in sets.facts.notes)


def test_images_are_decoded_by_all_cores_in_their_order(tmp_path, monkeypatch):
    """Two at a time on two cores: each waits for another one; and the chunks are those of one core."""
    saved(tmp_path, train=table(range(12)), test=table(range(12, 20)))
    monkeypatch.setattr(pictures.os, "sched_getaffinity", lambda _: {0})
    alone = list(read(tmp_path / "root").chunks())
    both, decoded = threading.Barrier(2), pictures.decoded
    monkeypatch.setattr(pictures.os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(pictures, "decoded", lambda *given: (both.wait(60), decoded(*given))[1])
    together = list(read(tmp_path / "root").chunks())
    assert [chunk.part for chunk in together] == [chunk.part for chunk in alone] == ["train", "test"]
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_array_equal(ours.images_nchw, theirs.images_nchw)
        np.testing.assert_array_equal(ours.labels_n, theirs.labels_n)
        np.testing.assert_array_equal(ours.rows_n, theirs.rows_n)
    assert np.array_equal(alone[0].images_nchw, PIXELS[:12].transpose(0, 3, 1, 2))


def test_labels_may_be_names_or_numbers(tmp_path):
    """Names become labels in their order; numbers stay."""
    root = saved(tmp_path / "a", train=table(range(6), datasets.Value("string"), of=("owl", "crow")))
    source = read(root)
    assert source.classes == ("crow", "owl")
    assert [picture().label for picture in source.read["train"]()] == [1, 0] * 3
    numbered = read(saved(tmp_path / "b", train=table(range(6), datasets.Value("int32"))))
    assert numbered.classes == () and [picture().label for picture in numbered.read["train"]()] == [0, 1] * 3


def test_columns_are_told_where_the_guess_is_wrong(tmp_path):
    """data.columns names them; what can't be is refused."""
    root = saved(tmp_path, train=table(range(6)))
    assert [picture().label for picture in read(root, columns={"label": "id"}).read["train"]()] == list(range(6))
    assert "did you mean 'label'" in refused(root, columns={"label": "labels"})
    assert "'id' of hf:birds holds no images; img do" in refused(root, columns={"image": "id"})
    assert "for csv alone" in refused(root, columns={"split": "id"})


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"other": table(range(4))}, "no split named train, got other"),
        ({"train": table(range(4)).remove_columns("img")}, "no column of images; its columns are id, label"),
        ({"train": table(range(4), datasets.Value("float32"))}, "whole numbers or names, got float32"),
    ],
)
def test_a_set_without_images_and_classes_is_refused(tmp_path, parts, said):
    """With what it has."""
    assert said in refused(saved(tmp_path, **parts))


def test_a_hub_that_is_not_reachable_is_one_error(tmp_path, monkeypatch):
    """It names the set, and where a folder of it would be found."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    message = refused(tmp_path)
    assert "hf:birds could not be had from the hub" in message and f"{tmp_path}/birds" in message


def test_a_folder_that_is_damaged_is_named(tmp_path):
    """A file of it that is gone."""
    root = saved(tmp_path, train=table(range(4)))
    next((root / "birds" / "train").glob("*.arrow")).unlink()
    assert f"could not be read from {root}/birds" in refused(root)


def test_without_datasets_the_line_that_installs_it_is_told(tmp_path, monkeypatch):
    """No other error comes of it."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.delitem(sys.modules, "tune_cnn.training.data.sources.hubs.hub_tables", raising=False)
    assert "uv sync --extra hf" in refused(tmp_path)
