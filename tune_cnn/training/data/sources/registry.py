"""Find a data set by name."""

from collections.abc import Callable
from pathlib import Path

from tune_cnn.errors import DataError, nearest
from tune_cnn.spec import DataSpec
from tune_cnn.spec.calls import is_call
from tune_cnn.training.data.sources.digits import digits
from tune_cnn.training.data.sources.folder.image_folder import image_folder
from tune_cnn.training.data.sources.hubs.hugging_face import hugging_face
from tune_cnn.training.data.sources.hubs.shards import webdataset
from tune_cnn.training.data.sources.hubs.torchvision_named import torchvision_by_name
from tune_cnn.training.data.sources.origins import check_origins
from tune_cnn.training.data.sources.published_sets import KNOWN
from tune_cnn.training.data.sources.source import Source
from tune_cnn.training.data.sources.tables.csv_file import csv_file
from tune_cnn.training.data.sources.tables.npz_file import npz_file
from tune_cnn.training.data.sources.torchvision_sets import torchvision_set
from tune_cnn.training.data.sources.user_data import user_set

# By the word before the colon.
KINDS: dict[str, Callable[[DataSpec], Source]] = {
    "csv": csv_file,
    "hf": hugging_face,
    "npz": npz_file,
    "torchvision": torchvision_by_name,
    "webdataset": webdataset,
}
CACHED_AS_ASKED = ("image_folder", "csv", "webdataset")  # by data.cache


def data_names() -> tuple[str, ...]:
    """Sets known by name; any `package.module:name` besides."""
    return ("digits", *KNOWN, "image_folder")


def find_source(data: DataSpec, seed: int) -> Source:
    """The raw images, found and readable; nothing is decoded yet. `seed`: of what a user's factory draws."""
    root, kind = Path(data.root), data.name.partition(":")[0]
    if data.cache != "auto" and kind not in CACHED_AS_ASKED:
        raise DataError(
            f"data.cache: says how {', '.join(CACHED_AS_ASKED[:-1])} and {CACHED_AS_ASKED[-1]} keep their images, and "
            f"data.name is {data.name!r}; remove data.cache"
        )
    if data.name == "digits":
        return digits(data.image_size)
    if data.name in KNOWN:
        return torchvision_set(data.name, root, data.image_size, data.offline)
    if data.name == "image_folder":
        return image_folder(data)
    if kind in KINDS:
        return KINDS[kind](data)
    if is_call(data.name):
        source = user_set(data.name, root, data.image_size, seed)
        check_origins(data.name, source.datasets, data.max_shared)
        return source
    near = nearest(data.name, data_names(), "your own is named as package.module:name")
    raise DataError(f"there is no data set {data.name!r}{near}")
