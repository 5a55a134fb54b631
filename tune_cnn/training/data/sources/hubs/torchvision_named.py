"""`torchvision:NAME`: the name held against the table; torchvision itself, which takes 4 s, comes after."""

from importlib import import_module

from tune_cnn.errors import DataError, nearest
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.sources.hubs.pictures import PictureSource
from tune_cnn.training.data.sources.hubs.torchvision_table import SETS


def torchvision_by_name(data: DataSpec) -> PictureSource:
    """DataError with the nearest name where torchvision has no such set for classification."""
    name = data.name.partition(":")[2]
    if name not in SETS:
        raise DataError(f"data: torchvision has no set {name!r} for classification{nearest(name, SETS)}")
    found: PictureSource = import_module("tune_cnn.training.data.sources.hubs.torchvision_any").read_set(name, data)
    return found
