"""Tables of the library `datasets`: found, their columns chosen, read as encoded images and labels."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import datasets

from tune_cnn.errors import DataError, first_line
from tune_cnn.spec.parts import Columns
from tune_cnn.text import printable
from tune_cnn.training.data.sources.folder.part_names import KNOWN
from tune_cnn.training.data.sources.hubs.pictures import Picture
from tune_cnn.training.data.sources.source import PARTS, PartName
from tune_cnn.training.data.sources.tables.columns import Chosen, choose_columns, class_names
from tune_cnn.untyped import Untyped

SAVED = ("dataset_dict.json", "state.json")  # what save_to_disk leaves in a folder


@dataclass(frozen=True, kw_only=True)
class HubTables:
    """One table a part."""

    name: str
    parts: Mapping[PartName, Untyped]
    chosen: Chosen
    classes: tuple[str, ...]
    raw_classes: tuple[str, ...]  # as they stand in a column of names; empty where it holds numbers
    notes: tuple[str, ...]

    @property
    def images(self) -> int:
        return sum(map(len, self.parts.values()))

    @property
    def fingerprint(self) -> str:
        """The library's own, of all that the rows follow from."""
        said = [f"{part}={table._fingerprint}" for part, table in self.parts.items()]
        return f"{said}|{self.chosen}|{self.raw_classes}"

    def pictures(self, part: PartName) -> Iterator[Callable[[], Picture]]:
        """The table's rows, one after the other; files that they name are read by whoever calls."""
        numbers = {name: label for label, name in enumerate(self.raw_classes)}
        for row, item in enumerate(self.parts[part]):
            image, label = item[self.chosen.image], item[self.chosen.label]
            number = numbers[str(label)] if numbers else int(label)
            yield partial(_picture, image, number, f"{self.name}: {part}[{row}]")


def _picture(image: Mapping[str, Untyped], label: int, place: str) -> Picture:
    content = image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()
    return Picture(content=content, label=label, place=place)


def find_tables(name: str, root: Path, asked: Columns | None, offline: bool) -> HubTables:
    """DataError where there is no such set, it isn't reachable, or holds no images with classes."""
    tables, unused = _by_part(_loaded(name, root, offline), name)
    features = tables["train"].features
    images = [key for key, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = [key for key, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if not images:
        raise DataError(f"data: hf:{name} has no column of images; its columns are {', '.join(features)}")
    guess = asked or Columns(image=None, label=None, split=None)
    if guess.split is not None:
        raise DataError("data.columns.split: is for csv alone, as a set of the hub has its splits; leave it out")
    guess = Columns(
        image=guess.image or (images[0] if len(images) == 1 else None),
        label=guess.label or (labels[0] if len(labels) == 1 else None),
        split=None,
    )
    chosen = choose_columns(f"hf:{name}", list(features), guess)
    chosen = Chosen(image=chosen.image, label=chosen.label, split=None)
    if chosen.image not in images:
        raise DataError(f"data.columns.image: {chosen.image!r} of hf:{name} holds no images; {', '.join(images)} do")
    classes, raw = _classes(name, tables, chosen.label)
    encoded = {
        part: table.select_columns([chosen.image, chosen.label]).cast_column(chosen.image, datasets.Image(decode=False))
        for part, table in tables.items()
    }
    notes = (chosen.note, *([f"splits that aren't used: {', '.join(unused)}"] if unused else []))
    return HubTables(name=f"hf:{name}", parts=encoded, chosen=chosen, classes=classes, raw_classes=raw, notes=notes)


def _loaded(name: str, root: Path, offline: bool) -> Untyped:
    folder = root / name
    try:
        if folder.is_dir():
            saved = any((folder / file).is_file() for file in SAVED)
            return datasets.load_from_disk(str(folder)) if saved else datasets.load_dataset(str(folder))
        return datasets.load_dataset(name, download_config=datasets.DownloadConfig(local_files_only=offline))
    except Exception as error:  # the library's, the hub's, httpx's, the file system's
        forbidden = ", where data.offline allows what was fetched before alone" if offline else ""
        where = f"read from {printable(str(folder))}" if folder.is_dir() else f"had from the hub{forbidden}"
        raise DataError(
            f"data: hf:{name} could not be {where} ({type(error).__name__}: {printable(first_line(error))}); check the "
            f"name and the network, or put the set into {printable(str(folder))}, as save_to_disk writes it"
        ) from error


def _by_part(loaded: Untyped, name: str) -> tuple[dict[PartName, Untyped], list[str]]:
    """Tables by part, and the splits that are none."""
    splits = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
    found = {KNOWN[split.lower()]: table for split, table in splits.items() if split.lower() in KNOWN}
    if "train" not in found:
        raise DataError(f"data: hf:{name} has no split named train, got {', '.join(splits)}")
    return {part: found[part] for part in PARTS if part in found}, [s for s in splits if s.lower() not in KNOWN]


def _classes(name: str, tables: Mapping[PartName, Untyped], label: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names that are shown, and those that stand in the column."""
    feature = tables["train"].features[label]
    if isinstance(feature, datasets.ClassLabel):
        return tuple(map(printable, feature.names)), ()
    kind = str(getattr(feature, "dtype", type(feature).__name__))
    if "string" in kind:
        raw = class_names([str(one) for table in tables.values() for one in table[label]])
        return tuple(map(printable, raw)), raw
    if "int" not in kind:
        raise DataError(
            f"data: column {label!r} of hf:{name} must hold whole numbers or names, got {kind}; set data.columns.label"
        )
    return (), ()
