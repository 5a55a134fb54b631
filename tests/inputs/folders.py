"""What the data layer makes of a folder of images."""

from pathlib import Path

from tune_cnn.spec import DataSpec
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.prepare import prepare
from tune_cnn.training.data.sources.folder.files import find_images
from tune_cnn.training.data.sources.folder.layout import find_layout

# Of `write_folder` as it is.
PICTURES = sorted(f"train/{name}/{number}.png" for name in ("cat", "dog") for number in range(20))


def found(root: Path) -> tuple[list[str], list[str]]:
    """Paths and notes."""
    files, notes = find_images(find_layout(root))
    return [file.path for file in files], list(notes)


def prepared(root: Path, cache: Path) -> ImageSets:
    return prepare(DataSpec(name="image_folder", root=str(root), image_size=16), split_seed=0, cache_dir=cache)
