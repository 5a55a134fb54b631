"""What a file is that is named as an image and is none: a page that was saved in its place, a pointer, nothing."""

from pathlib import Path

HEAD_BYTES = 512
# How files begin that come under an image's name in practice; asked only of what can't be opened as an image.
BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS; `git lfs pull` fetches the image"),
    (b"/annex/objects/", "a pointer of git-annex; `git annex get` fetches the image"),
    (b"\0\5\x16\7", "a resource fork of a Mac"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<svg", "an SVG drawing, which Pillow doesn't read"),
    (b"<?xml", "XML"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"%PDF", "a PDF"),
    (b"\x93NUMPY", "an array of NumPy"),
    (b"\x89HDF", "HDF5"),
)
PHOTOS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc")  # after four bytes of length


def what_instead(path: Path) -> str:
    """In words; empty where the file may be an image that is damaged. OSError where it can't be read."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return "empty"
    if not head.strip(b"\0"):
        return "zeros alone, as a download that was cut off leaves"
    if head[4:12] in PHOTOS:
        return "HEIC under another ending, which Pillow doesn't read; convert it"
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for beginning, what in BEGINNINGS:
        if head.startswith(beginning) or begin.startswith(beginning):
            return what
    return "text" if _is_text(head) else ""


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", errors="ignore")  # the last character may be cut
    return len(text.encode()) >= len(head) - 3 and all(letter.isprintable() or letter.isspace() for letter in text)
