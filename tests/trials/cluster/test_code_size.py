"""What is too large to travel to a cluster is said before Ray is asked, with a way to leave it behind."""

import os
from pathlib import Path

import pytest

from tune_cnn.errors import SpecError
from tune_cnn.trials.cluster.code_size import check_size, packed_files

TOO_MANY_BYTES = 600 * 10**6


@pytest.fixture
def package(tmp_path) -> Path:
    """A package with 600 MB of images beside its code; the file has a length and takes no room."""
    folder = tmp_path / "nets"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "data" / "images.bin").touch()
    os.truncate(folder / "data" / "images.bin", TOO_MANY_BYTES)
    return folder


def test_a_package_that_is_too_large_is_refused_with_its_size_and_its_largest_file(package):
    with pytest.raises(SpecError, match=r"nets travels .* may hold 537 MB of files, got 600 MB.*data/images.bin \(600"):
        check_size([str(package)], [])


@pytest.mark.parametrize("pattern", ["data/images.bin", "data/", "*.bin", "**/images.*"])
def test_what_leave_out_names_stays_here(package, pattern):
    check_size([str(package)], [pattern])
    assert set(packed_files(package, [pattern])) == {package / "__init__.py"}


@pytest.mark.parametrize("file", [".gitignore", ".rayignore"])
def test_what_an_ignore_file_names_stays_here(package, file):
    """Ray reads these files, so what they leave out isn't counted."""
    (package / file).write_text("*.bin\n")
    check_size([str(package)], [])


def test_the_advice_of_the_message_leads_out(package):
    with pytest.raises(SpecError) as refused:
        check_size([str(package)], [])
    advice = str(refused.value).partition("leave_out: [")[2].partition("]")[0]
    check_size([str(package)], [advice.strip("'")])
