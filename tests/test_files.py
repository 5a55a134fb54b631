"""Files appear whole or not at all."""

from pathlib import Path

import pytest

from tune_cnn.errors import InputError
from tune_cnn.files import replace_whole, write_whole


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path):
    """Text and bytes, in folders that weren't there."""
    path = tmp_path / "new" / "folder" / "file.txt"
    write_whole(path, "größer")
    assert path.read_text(encoding="utf-8") == "größer"
    write_whole(path, b"\x00\xff")
    replace_whole(path, memoryview(b"\x01"), outlives_power_cut=True)
    assert path.read_bytes() == b"\x01"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["file/below.txt", "folder"])
def test_what_can_not_be_written_leaves_all_as_it_was(tmp_path: Path, name: str):
    """A file stands where a folder is needed, or a folder where the file belongs: the path is named, and what to do."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(InputError, match=rf"{name}: can't be written: .+; free the place or choose another"):
        write_whole(tmp_path / name, "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
