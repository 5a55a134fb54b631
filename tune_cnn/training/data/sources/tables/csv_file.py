"""A CSV of image files and their classes: `csv:FILE`, with paths from the file's own folder."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.spec.parts import Columns
from tune_cnn.text import printable
from tune_cnn.training.data.sources.folder.endings import IMAGE_ENDINGS
from tune_cnn.training.data.sources.folder.files import ImageFile, some
from tune_cnn.training.data.sources.folder.image_folder import FolderSource, source_of_files
from tune_cnn.training.data.sources.source import PARTS, PartName
from tune_cnn.training.data.sources.tables.columns import Chosen, choose_columns, class_names, part_of

DELIMITERS = ",;\t|"
SHOWN = 5  # rows in a message


@dataclass(frozen=True, kw_only=True)
class _Row:
    line: int
    path: str
    label: str
    part: PartName


def csv_file(data: DataSpec) -> FolderSource:
    """The table read and each of its files found; DataError says what is wrong with which lines."""
    path = Path(data.root) / data.name.partition(":")[2]
    shown = printable(str(path))
    names, lines, notes = _table(path)
    chosen = _columns(shown, names, lines, data.columns)
    rows = list(_rows(shown, names, lines, chosen))
    classes = class_names([row.label for row in rows])
    files, doubled = _files(path, rows, classes)
    notes += [chosen.note, *([f"{doubled} lines name a file again and count once"] if doubled else [])]
    return source_of_files(data.name, path.parent, files, tuple(map(printable, classes)), tuple(notes), data=data)


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]], list[str]]:
    """Names of the columns, the lines below with their numbers, and notes. Without a heading columns are numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"data: {printable(str(path))} must be UTF-8, and byte {error.start} isn't; save it as UTF-8"
        ) from error
    except OSError as error:
        raise DataError(
            f"data: {printable(str(path))} can't be read ({error.strerror or error}); csv:FILE is found from data.root,"
            " or give its whole path"
        ) from error
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    try:
        lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"data: {printable(str(path))} line {reader.line_num}: {error}; correct it") from error
    if not lines:
        raise DataError(f"data: {printable(str(path))} is empty; it needs a line for each image: its path and class")
    notes = [] if delimiter == "," else [f"{path.name} has {delimiter!r} between its columns"]
    if any(_is_image(cell) for cell in lines[0][1]):  # a heading names no file
        return [str(number) for number in range(1, len(lines[0][1]) + 1)], lines, [*notes, "no heading"]
    return [name.strip() for name in lines[0][1]], lines[1:], notes


def _is_image(cell: str) -> bool:
    return Path(cell.strip()).suffix.lower() in IMAGE_ENDINGS


def _columns(where: str, names: list[str], lines: list[tuple[int, list[str]]], asked: Columns | None) -> Chosen:
    """By name; of a table without a heading and of two columns, by what stands in them."""
    if asked is None and names == ["1", "2"] and lines:
        image = next(name for name, cell in zip(names, lines[0][1], strict=True) if _is_image(cell))
        return Chosen(image=image, label="2" if image == "1" else "1", split=None)
    return choose_columns(where, names, asked)


def _rows(where: str, names: list[str], lines: Sequence[tuple[int, list[str]]], chosen: Chosen) -> Iterator[_Row]:
    image, label = names.index(chosen.image), names.index(chosen.label)
    split = None if chosen.split is None else names.index(chosen.split)
    wrong = [str(number) for number, cells in lines if len(cells) != len(names)]
    if wrong:
        raise DataError(
            f"data: {where} has {len(names)} columns, but {len(wrong)} lines have more or fewer: {some(wrong, SHOWN)}; "
            "correct them"
        )
    empty = [str(number) for number, cells in lines if not cells[image].strip() or not cells[label].strip()]
    if empty:
        raise DataError(
            f"data: {len(empty)} lines of {where} lack a path or a class: {some(empty, SHOWN)}; fill them in, or "
            "remove them"
        )
    for number, cells in lines:
        part = "train" if split is None else part_of(cells[split], f"data: line {number} of {where}: the part")
        yield _Row(line=number, path=cells[image].strip(), label=cells[label].strip(), part=part)


def _files(path: Path, rows: Sequence[_Row], classes: Sequence[str]) -> tuple[tuple[ImageFile, ...], int]:
    """In the order of PARTS, and how many lines named a file of their part again. DataError where files are missing,
    or one is of two classes."""
    labels = {name: label for label, name in enumerate(classes)}
    seen: dict[tuple[PartName, str], _Row] = {}
    of_file: dict[str, _Row] = {}
    files, missing, twice = [], [], []
    for row in rows:
        if of_file.setdefault(row.path, row).label != row.label:
            twice.append(f"{row.path} (lines {of_file[row.path].line} and {row.line})")
        if seen.setdefault((row.part, row.path), row) is not row:
            continue
        try:
            found = (path.parent / row.path).stat()
        except (OSError, ValueError):  # ValueError: a null character
            missing.append(row.path)
            continue
        files.append(
            ImageFile(
                part=row.part,
                path=row.path,
                label=labels[row.label],
                size_bytes=found.st_size,
                mtime_ns=found.st_mtime_ns,
            )
        )
    if missing:
        raise DataError(_missing(path, missing, len(seen)))
    if twice:
        raise DataError(
            f"data: {len(twice)} lines of {printable(str(path))} give a file a second class: {some(twice, SHOWN)}; an "
            "image has one class: remove the other lines"
        )
    return tuple(sorted(files, key=lambda file: PARTS.index(file.part))), len(rows) - len(seen)


def _missing(path: Path, missing: Sequence[str], count: int) -> str:
    folder = printable(str(path.parent))
    said = f"data: {len(missing)} of the {count} files of {printable(str(path))} don't exist: {some(missing, SHOWN)}"
    endings = [end for end in sorted(IMAGE_ENDINGS) if (path.parent / f"{missing[0]}{end}").is_file()]
    if endings:
        return f"{said}; {missing[0]}{endings[0]} does: write the ending into the column"
    return f"{said}; paths are from {folder}, where the CSV lies: correct them, move the CSV, or fetch the files"
