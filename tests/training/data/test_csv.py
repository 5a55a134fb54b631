"""csv:FILE: paths and classes, which columns hold them, and what is wrong with which line."""

from pathlib import Path

import numpy as np
import pytest
from image_files import prepared, write_image
from inputs.shard_files import photograph

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.sources.tables.csv_file import csv_file


def write_set(root: Path, lines: list[str], *, images: int = 12, name: str = "set.csv") -> Path:
    """Images img/0.png and so on, and the table beside their folder."""
    for number in range(images):
        write_image(root / "img" / f"{number}.png", number)
    (root / name).write_text("\n".join(lines) + "\n")
    return root


def rows(count: int = 12, form: str = "img/{n}.png,{c}") -> list[str]:
    return [form.format(n=n, c=("cat", "dog")[n % 2]) for n in range(count)]


def source(root: Path, **spec):
    return csv_file(DataSpec(name="csv:set.csv", root=str(root), **spec))


def refused(root: Path, **spec) -> str:
    with pytest.raises(DataError) as error:
        source(root, **spec)
    return str(error.value)


def test_files_and_classes_are_the_tables(tmp_path):
    """Each file has its line's class, and its pixels are its own: found from where the CSV lies."""
    write_set(tmp_path / "root", ["path,label", *rows()])
    sets = prepared(tmp_path, "csv:set.csv", image_size=16, test=0.2, validation=0.2)
    assert sets.facts.classes == ("cat", "dog") and sets.facts.image_shape == (3, 16, 16)
    together = [
        (sets.train.reader.paths[row], label)
        for part in (sets.train, sets.validation, sets.test)
        for row, label in zip(part.rows.tolist(), part.labels_n.tolist(), strict=True)
    ]
    assert sorted(together) == sorted((f"img/{n}.png", n % 2) for n in range(12))
    shown = sets.train.reader.image(int(sets.train.rows[0]))
    np.testing.assert_array_equal(shown, sets.train.fetch(np.array([0]))[0])
    assert any("'path' holds the images, 'label' the classes" in note for note in sets.facts.notes)


@pytest.mark.parametrize("kind", ["pixels", "jpeg", "small_jpeg", "none"])
def test_files_of_a_table_are_kept_as_data_cache_says(tmp_path, kind):
    """As those of a folder are: the same images, be they decoded, packed or read each time."""
    for number in range(12):
        part, name = ("train", "val", "test")[number % 3], ("cat", "dog")[number % 2]
        (tmp_path / "root" / part / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / part / name / f"{number:02d}.jpg").write_bytes(photograph(number))
    files = sorted(path.relative_to(tmp_path / "root") for path in (tmp_path / "root").rglob("*.jpg"))
    lines = [f"{file},{file.parts[1]},{file.parts[0]}" for file in files]
    (tmp_path / "root" / "set.csv").write_text("\n".join(["path,label,split", *lines]))
    asked = {"image_size": 32, "cache": kind}
    table, folder = prepared(tmp_path, "csv:set.csv", **asked), prepared(tmp_path, "image_folder", **asked)
    assert (table.train.images is None) == (kind != "pixels")
    for name in ("train", "validation", "test"):
        ours, theirs = getattr(table, name), getattr(folder, name)
        np.testing.assert_array_equal(ours.labels_n, theirs.labels_n)
        np.testing.assert_array_equal(ours.fetch(np.arange(len(theirs))), theirs.fetch(np.arange(len(theirs))))


def test_another_class_in_the_table_is_another_set(tmp_path):
    """The cache is found by the labels too: files that didn't change are not those of the last table."""
    first = source(write_set(tmp_path, ["path,label", *rows()])).key
    write_set(tmp_path, ["path,label", *rows()[:-1], "img/11.png,cat"], images=0)
    assert source(tmp_path).key != first


@pytest.mark.parametrize(
    ("heading", "form", "columns"),
    [
        ("id;Species", "{c};img/{n}.png", {"image": "Species", "label": "id"}),
        ("Image Path\tclass", "img/{n}.png\t{c}", None),
        ("\ufeffspecies,sex,filename", "{c},f,img/{n}.png", None),
        (None, "{c},img/{n}.png", None),
        (None, "img/{n}.png,x,{c}", {"image": "1", "label": "3"}),
    ],
)
def test_columns_are_found_by_name_or_told(tmp_path, heading, form, columns):
    """In any order, by commas, semicolons or tabs, with a mark of UTF-8, with or without a heading."""
    lines = rows(form=form)
    write_set(tmp_path, lines if heading is None else [heading, *lines])
    found = source(tmp_path, columns=columns)
    assert {(file.path, found.classes[file.label]) for file in found.files} == {
        (f"img/{n}.png", ("cat", "dog")[n % 2]) for n in range(12)
    }


def test_whole_numbers_are_classes_in_their_order(tmp_path):
    """10 comes after 9, not after 1."""
    write_set(tmp_path, ["file,class", *(f"img/{n}.png,{n}" for n in range(12))])
    assert source(tmp_path).classes == tuple(map(str, range(12)))


def test_a_column_of_parts_is_the_split(tmp_path):
    """train, val and test in whatever case; nothing is split off."""
    parts = ["Train"] * 6 + ["valid"] * 4 + ["TEST"] * 2
    lines = [f"{row},{part}" for row, part in zip(rows(), parts, strict=True)]
    write_set(tmp_path / "root", ["path,label,split", *lines])
    facts = prepared(tmp_path, "csv:set.csv", image_size=8).facts
    assert (facts.train_images, facts.validation_images, facts.test_images) == (6, 4, 2)
    write_set(tmp_path, ["path,label,split", *lines, "img/0.png,cat,tset"])
    message = refused(tmp_path)
    assert "line 14" in message and "'tset'" in message and "did you mean 'test'" in message


def test_missing_files_are_counted_and_the_first_five_named(tmp_path):
    """One message for all of them."""
    write_set(tmp_path, ["path,label", *rows(20)], images=12)
    message = refused(tmp_path)
    assert "8 of the 20 files" in message and "img/16.png and 3 more" in message and "img/17.png" not in message
    write_set(tmp_path, ["id,label", *rows(form="img/{n},{c}")])
    assert "img/0.png does: write the ending into the column" in refused(tmp_path)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "is empty"),
        (["foo,bar", *rows()], "held the images (columns: foo, bar); set data.columns.image"),
        (["path,bar", *rows()], "held the classes (columns: path, bar); set data.columns.label"),
        (["path,label", "img/0.png", *rows()], "1 lines have more or fewer: 2;"),
        (["path,label", *rows(), "img/0.png,"], "1 lines of"),
        (["path,label", *rows(), "img/0.png,dog"], "img/0.png (lines 2 and 14)"),
    ],
)
def test_a_table_that_says_no_classes_is_refused(tmp_path, lines, said):
    """With the line, or the columns that there are."""
    write_set(tmp_path, lines)
    assert said in refused(tmp_path)


def test_a_line_that_stands_twice_counts_once(tmp_path):
    """With a note; in two parts it is left to the check of equal images."""
    write_set(tmp_path, ["path,label", *rows(), "img/3.png,dog"])
    found = source(tmp_path)
    assert found.images == 12 and "1 lines name a file again and count once" in found.notes


def test_no_file_no_text_no_such_column(tmp_path):
    """The whole path is in the message."""
    assert f"{tmp_path}/set.csv can't be read" in refused(tmp_path)
    (tmp_path / "set.csv").write_bytes(b"path,label\n\xff.png,a\n")
    assert "must be UTF-8, and byte 11 isn't" in refused(tmp_path)
    write_set(tmp_path, ["path,label", *rows()])
    assert "did you mean 'label'" in refused(tmp_path, columns={"label": "labl"})


def test_columns_of_what_has_none_are_refused():
    """They would be ignored else."""
    with pytest.raises(ValueError, match="digits has none; leave them out"):
        DataSpec(name="digits", columns={"label": "y"})
