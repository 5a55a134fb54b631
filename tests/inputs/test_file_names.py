"""Names that a file system allows: they are opened as they are, and shown as text that everything takes."""

import json
import os
from pathlib import Path

import pytest
from inputs.pictures import picture, write_folder
from pydantic import ValidationError

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.text import printable
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.prepare import prepare
from tune_cnn.training.data.sources.folder.layout import find_layout

NAMES = [
    (b"caf\xe9", r"caf\xe9"),  # Latin-1
    (b"\xff\xfe", r"\xff\xfe"),
    ("日本語".encode("shift_jis"), None),
    ("é".encode(), "é"),
    ("\U0001f431".encode(), "\U0001f431"),
    (b"two\nlines", r"two\nlines"),
    (b"\x1b[31mred", r"\x1b[31mred"),
    ("\u202egnp.exe".encode(), r"\u202egnp.exe"),  # turns the writing direction
    (b"-rf $HOME; `id`", "-rf $HOME; `id`"),
    (b"\"quoted\" 'twice'", "\"quoted\" 'twice'"),
    (b"<b>[red]{x}%s", "<b>[red]{x}%s"),
    (b"a|b, c: d # e", "a|b, c: d # e"),
    (b" ", " "),
    (b"n" * 250, "n" * 250),
    (b"null", "null"),
]
IDS = [ascii(name[:20]) for name, _ in NAMES]


def prepared(root: Path, cache: Path, **data: int) -> ImageSets:
    spec = DataSpec(name="image_folder", root=str(root), image_size=16, **data)
    return prepare(spec, split_seed=0, cache_dir=cache)


def goes_everywhere(text: str) -> bool:
    """Into a UTF-8 file, a database and a line of a terminal."""
    return text.encode().decode() == text and text.isprintable() and json.loads(json.dumps(text)) == text


@pytest.mark.parametrize(("name", "shown"), NAMES, ids=IDS)
def test_a_class_of_any_name_is_trained_and_shown(tmp_path, name, shown):
    root = write_folder(tmp_path / "root", classes=(os.fsdecode(name), "zz"))
    facts = prepared(root, tmp_path / "cache").facts
    assert facts.train_images + facts.validation_images + facts.test_images == 40
    assert "zz" in facts.classes and all(map(goes_everywhere, facts.classes))
    assert shown is None or shown in facts.classes


@pytest.mark.parametrize(("name", "shown"), NAMES, ids=IDS)
def test_an_image_of_any_name_is_opened_and_a_stray_file_is_named(tmp_path, name, shown):
    root = write_folder(tmp_path / "root")
    (root / "train/cat/0.png").rename(root / "train/cat" / os.fsdecode(name + b".PNG"))
    (root / "train/cat" / os.fsdecode(name + b".txt")).touch()
    facts = prepared(root, tmp_path / "cache").facts
    assert facts.train_images + facts.validation_images + facts.test_images == 40
    assert all(map(goes_everywhere, facts.notes))
    assert shown is None or f"1 no images by their ending (train/cat/{shown}.txt)" in facts.notes[0]


@pytest.mark.parametrize(("name", "shown"), NAMES, ids=IDS)
def test_a_broken_image_of_any_name_is_named(tmp_path, name, shown):
    root = write_folder(tmp_path / "root")
    (root / "train/cat" / os.fsdecode(name + b".png")).write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError) as refused:
        prepared(root, tmp_path / "cache")
    assert goes_everywhere(str(refused.value)) and (shown or "") in str(refused.value)
    assert all(map(goes_everywhere, prepared(root, tmp_path / "cache", max_broken=1).facts.notes))


def test_two_classes_that_are_shown_alike_are_refused(tmp_path):
    """One is named by the byte E9, the other by a backslash and xe9."""
    root = write_folder(tmp_path / "root", classes=("caf\udce9", r"caf\xe9"))
    with pytest.raises(DataError, match=r"are both .*; rename one") as refused:
        find_layout(root)
    assert goes_everywhere(str(refused.value))


def test_names_in_a_folder_that_is_refused_are_shown(tmp_path):
    root = tmp_path / "root"
    for part, name in (("train", "a"), ("val", "caf\udce9 \n")):
        (root / part / name).mkdir(parents=True)
        picture(0, 0).save(root / part / name / "0.png")
    with pytest.raises(DataError, match=r"has a class .caf.*doesn't have") as refused:
        prepared(root, tmp_path / "cache")
    assert goes_everywhere(str(refused.value))


def test_a_root_that_is_no_utf8_is_refused_with_a_way_out(tmp_path, monkeypatch):
    """A working folder may have such a name; neither Ray nor a database takes it. A link does."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    write_folder(folder / "images")
    monkeypatch.chdir(folder)
    with pytest.raises(ValidationError, match=r"caf\\xe9/images\); rename the folder, or reach it by a link"):
        DataSpec(name="image_folder", root="./images")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cafe").symlink_to(folder)
    assert prepared(Path("cafe/images"), tmp_path / "cache").facts.classes == ("cat", "dog")


USERS = """
import torch
from torch.utils.data import TensorDataset

def make(root):
    images = torch.randint(256, (20, 3, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    train = TensorDataset(images, torch.arange(20) % 2)
    train.classes = ["caf\\udce9", "two\\nlines"]
    return train, None, None

def refuse(root):
    raise FileNotFoundError(root + "/caf\\udce9")
"""


def test_names_that_the_users_own_data_brings_are_shown(tmp_path, monkeypatch):
    """As torchvision's ImageFolder gives them; the text of his errors too."""
    (tmp_path / "of_any_name.py").write_text(USERS)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "caf\udce9").touch()
    (tmp_path / "root" / "gone").symlink_to("gone")
    spec = {"root": str(tmp_path / "root"), "test": 0.2, "validation": 0.2}
    data = DataSpec(name="of_any_name:make", **spec)
    assert prepare(data, split_seed=0, cache_dir=tmp_path / "cache").facts.classes == (r"caf\xe9", r"two\nlines")
    with pytest.raises(DataError, match=r"FileNotFoundError: .*/caf\\xe9"):
        prepare(DataSpec(name="of_any_name:refuse", **spec), split_seed=0, cache_dir=tmp_path / "cache")


def test_text_is_shown_on_one_line():
    """Joined emoji stay whole."""
    assert printable("a\r\n\t\x00\x85\u2028b") == r"a\r\n\t\x00\x85\u2028b"
    assert printable("\U0001f468\u200d\U0001f469") == "\U0001f468\u200d\U0001f469"
