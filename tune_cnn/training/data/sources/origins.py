"""Where the items of a user's data sets come from: the same file, or the same item of one data set, is the same image,
however it is augmented."""

from collections.abc import Hashable, Mapping
from itertools import combinations
from os import PathLike

from torch.utils.data import ConcatDataset, Subset

from tune_cnn.errors import DataError
from tune_cnn.training.data.sources.source import PartName
from tune_cnn.untyped import Untyped

FILE_LISTS = ("samples", "imgs", "files", "paths", "image_paths")  # as torchvision's folders and many others call them
WRAPPED = ("dataset", "subset")  # what a wrapper that augments calls the data set within
SHOWN = 3

# A file's path, or the number of an item with the data set that alone knows what it stands for.
Origin = tuple[Hashable, Hashable]


def origins(dataset: Untyped) -> list[Origin]:
    """Of each item, in order."""
    if isinstance(dataset, Subset):
        within = origins(dataset.dataset)
        return [within[int(index)] for index in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        return [origin for part in dataset.datasets for origin in origins(part)]
    for name in WRAPPED:
        inner: Untyped = getattr(dataset, name, None)
        if hasattr(inner, "__len__") and hasattr(inner, "__getitem__") and len(inner) == len(dataset):
            return origins(inner)
    for name in FILE_LISTS:
        listed = getattr(dataset, name, None)
        if isinstance(listed, list | tuple) and len(listed) == len(dataset):
            paths = [one[0] if isinstance(one, tuple | list) and one else one for one in listed]
            if all(isinstance(path, str | PathLike) for path in paths):
                return [("file", str(path)) for path in paths]
    return [(id(dataset), number) for number in range(len(dataset))]


def order_of(dataset: Untyped) -> bytes:
    """What tells one order or choice of items from another, equal in every process."""
    return "\n".join(str(item) for _, item in origins(dataset)).encode("utf-8", "surrogateescape")


def check_origins(name: str, datasets: Mapping[PartName, Untyped], max_shared: float) -> None:
    """DataError where more than that share of one part's items stands in another part too."""
    found = {part: origins(dataset) for part, dataset in datasets.items()}
    for (other, theirs), (part, mine) in combinations(found.items(), 2):
        there = set(theirs)
        shared = [number for number, origin in enumerate(mine) if origin in there]
        if len(shared) > max_shared * len(mine):
            named = ", ".join(f"{part}[{number}] = {other}[{theirs.index(mine[number])}]" for number in shared[:SHOWN])
            raise DataError(
                f"data {name!r}: {len(shared)} of {len(mine)} {part} items are {other} items too, and data.max_shared "
                f"is {max_shared:g}: {named}; split them so that each stands in one part, or raise data.max_shared"
            )
