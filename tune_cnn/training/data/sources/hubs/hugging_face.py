"""Sets of the Hugging Face hub, or of a folder as its library writes or reads them: `hf:NAME`."""

from functools import partial
from importlib import import_module
from pathlib import Path

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.sources.folder.image_folder import DEFAULT_SIDE
from tune_cnn.training.data.sources.hubs.pictures import PictureSource, picture_key
from tune_cnn.untyped import Untyped


def hugging_face(data: DataSpec) -> PictureSource:
    """A folder of that name in data.root goes before the hub. DataError where the set can't be had."""
    found = _library().find_tables(data.name.partition(":")[2], Path(data.root), data.columns, data.offline)
    side = data.image_size or DEFAULT_SIDE
    return PictureSource(
        name=data.name,
        key=picture_key("hf", side, found.fingerprint),
        images=found.images,
        classes=found.classes,
        side=side,
        max_pixels=data.max_pixels,
        read={part: partial(found.pictures, part) for part in found.parts},
        notes=found.notes,
    )


def _library() -> Untyped:
    """Imported when a set is asked for: `datasets` takes seconds, and need not be there."""
    try:
        return import_module("tune_cnn.training.data.sources.hubs.hub_tables")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "datasets":
            raise
        raise DataError("data: sets named hf:NAME need datasets, which isn't installed; uv sync --extra hf") from error
