"""`tune-cnn data`: what was understood of images, said of folders as they lie about."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tune_cnn.cli.main import app
from tune_cnn.errors import InputError
from tune_cnn.spec import load_spec
from tune_cnn.study.commands.looking import look, spec_of
from tune_cnn.training.inspection.data.imbalance import imbalance
from tune_cnn.training.inspection.data.sheet import EACH, GAP, NAMES, SIDE

MODES = ("RGB", "L", "RGBA")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, 24 and 6 images in three modes and two sizes; one more is blank, one a copy, one torn."""
    root = tmp_path / "photos"
    for label, (name, count) in enumerate((("cat", 24), ("räv", 6))):
        (root / "train" / name).mkdir(parents=True)
        for number in range(count):
            size = (20, 30) if number % 2 else (25, 25)
            pixels = np.random.default_rng(100 * label + number).integers(0, 256, (*size, 4), np.uint8)
            Image.fromarray(pixels).convert(MODES[number % 3]).save(root / "train" / name / f"{number}.png")
    cats = root / "train" / "cat"
    Image.new("RGB", (25, 25), (9, 9, 9)).save(cats / "blank.png")
    shutil.copy(cats / "0.png", cats / "copy.png")
    (cats / "torn.png").write_bytes((cats / "1.png").read_bytes()[:300])
    return root


def seen(what: str, tmp_path: Path, *overrides: str, output: Path | None = None) -> dict:
    return look(spec_of(what, overrides), str(tmp_path / "cache"), output)


def test_a_folder_is_counted_as_it_lies(folder: Path, tmp_path: Path) -> None:
    """Parts, classes, sizes, modes, and what is broken, blank or there twice; a search would refuse it, and is told."""
    found = seen(str(folder), tmp_path, "data.image_size=16")
    assert found["data"] == "image_folder" and found["shape"] == [3, 16, 16]
    assert sum(found["images"].values()) == 24 + 6 + 2
    assert {one["name"]: sum(one[part] for part in found["images"]) for one in found["classes"]} == {
        "cat": 26,
        "räv": 6,
    }
    assert (found["broken"], found["blank"], found["duplicates"]) == (1, 1, 1)
    assert "torn.png" in found["refused"] and "data.max_broken" in found["refused"]
    files = found["files"]
    assert files["of"] == files["looked_at"] == 33 and files["different_sizes"] == 2
    assert (files["smallest"], files["largest"]) == ({"width": 30, "height": 20}, {"width": 25, "height": 25})
    assert {mode["mode"] for mode in files["modes"]} == set(MODES)
    train = [one["train"] for one in found["classes"]]
    assert f"{train[0] / train[1]:.1f} times" in found["imbalance"]["advice"][0]
    fine = seen(str(folder), tmp_path, "data.image_size=16", "data.max_broken=1")
    assert fine["refused"] is None and fine["mean"] == found["mean"]


def test_a_set_without_files_says_nothing_of_them(tmp_path: Path) -> None:
    """By its name, as by a spec that names it."""
    found = seen("digits", tmp_path)
    assert found["files"] is None and found["refused"] is None and found["imbalance"]["advice"] == []
    assert found == {**seen("quickstart", tmp_path), "root": found["root"]}


def test_the_contact_sheet_shows_a_classes_images(folder: Path, tmp_path: Path) -> None:
    """Alone as a PNG: a row a class, whose first picture is the class's first image, small, but that image."""
    seen(str(folder), tmp_path, "data.image_size=18", "data.max_broken=1", output=tmp_path / "sheet.png")
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.size == (NAMES + EACH * (SIDE + GAP) + GAP, 2 * (SIDE + GAP) + GAP)
    pixels = np.asarray(sheet)
    first = pixels[GAP : GAP + SIDE, NAMES : NAMES + SIDE]
    assert first.std() > 20 and np.array_equal(first[::4, ::4], first[3::4, 3::4])  # 18 pixels, four times as large
    assert (pixels[GAP : GAP + SIDE, :NAMES] < 100).any()  # its name


def test_the_page_holds_images_and_names(folder: Path, tmp_path: Path) -> None:
    """In one file, names of strangers escaped, without the script that draws figures."""
    (folder / "train" / "cat").rename(folder / "train" / "<b>&cat")
    page = tmp_path / "page.html"
    seen(str(folder), tmp_path, "data.image_size=16", output=page)
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 2 and "<script" not in text and len(text) < 400_000
    assert "&lt;b&gt;&amp;cat" in text and "<b>&cat" not in text and "räv" in text
    assert "A search would refuse these images" in text


def test_the_command_prints_a_table_or_json(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same document either way."""
    monkeypatch.setenv("TUNE_CNN_CACHE", str(tmp_path / "cache"))
    words = ["data", str(folder), "--set", "data.image_size=16", "--set", "data.max_broken=1"]
    document = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    shown = CliRunner().invoke(app, words).stdout
    assert document["duplicates"] == 1 and "1 equal to another" in shown
    assert "as trained  " in shown and "duplicates  " in shown, "names of facts are whole, however long these are"
    for one in document["classes"]:
        assert f"{one['name']}" in shown and f"{one['train']}" in shown
    assert "    class_weights: [none, balanced, effective]\n" in shown
    assert "Advice: the largest class" in shown and "torn.png" in shown


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    """Before anything is read where the file's ending is wrong; a CSV that names nothing that exists."""
    with pytest.raises(InputError, match=r"must end in \.html or \.png, got 'a.txt'"):
        seen("digits", tmp_path, output=Path("a.txt"))
    (tmp_path / "set.csv").write_text("path,label\na.png,x\nb.png,y\n")
    with pytest.raises(InputError, match="2 of the 2 files"):
        seen(f"csv:{tmp_path}/set.csv", tmp_path)


def test_imbalance_is_the_largest_class_over_the_smallest() -> None:
    """Nothing is advised where classes are alike and many."""
    assert imbalance([100, 90, 95])["advice"] == []
    found = imbalance([300, 100])
    assert found["ratio"] == 3 and "3.0 times" in found["advice"][0] and "75%" in found["advice"][0]
    assert "1 of 2 classes have fewer than 20" in imbalance([30, 10])["advice"][-1]


def test_what_to_do_against_unequal_classes_can_be_pasted(folder: Path, tmp_path: Path) -> None:
    """It is a spec's, on the page and in the terminal; where classes are alike there is nothing to paste."""
    text = imbalance([300, 100])["spec"]
    (tmp_path / "study.yaml").write_text("extends: quickstart\n" + text)
    spec = load_spec(tmp_path / "study.yaml")
    assert spec.objectives[0] == "balanced_accuracy" and {"class_weights", "class_sampling"} <= set(spec.searched)
    assert imbalance([100, 90])["spec"] is None and imbalance([10, 9])["spec"] is None
    seen(str(folder), tmp_path, "data.image_size=16", output=tmp_path / "page.html")
    assert f"<pre>{text}</pre>" in (tmp_path / "page.html").read_text()


def test_a_long_name_leaves_room_for_the_counts(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut short in a terminal, and they are whole."""
    (folder / "train" / "cat").rename(folder / "train" / ("a long name " * 12))
    monkeypatch.setenv("TUNE_CNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    words = ["data", str(folder), "--set", "data.image_size=16", "--set", "data.max_broken=1"]
    (of,) = [one for one in seen(*words[1:2], tmp_path, *words[3::2])["classes"] if one["name"] != "räv"]
    shown = CliRunner().invoke(app, words).stdout
    (line,) = [line for line in shown.splitlines() if line.startswith("a long name")]
    assert "…" in line and [word for word in line.split() if word.isdigit()] == [
        str(of[part]) for part in ("train", "validation", "test")
    ], line
    assert "class " in shown and " train  validation  test" in shown


def test_a_png_is_a_png(tmp_path: Path) -> None:
    """Of a set of one channel too."""
    seen("digits", tmp_path, output=tmp_path / "d.png")
    assert Image.open(io.BytesIO((tmp_path / "d.png").read_bytes())).format == "PNG"
