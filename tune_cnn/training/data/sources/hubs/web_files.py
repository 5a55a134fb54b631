"""Files of a web server: what it tells of one, a piece of one, and all of one.

User and password come from ~/.netrc and a signature from TUNE_CNN_DATA_QUERY, as names of data sets stand in records.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import requests

from tune_cnn.errors import DataError
from tune_cnn.spec.addresses import PLAIN_OPTIONS, QUERY
from tune_cnn.text import printable
from tune_cnn.training.data.sources.hubs.web_requests import Lost, answered, sent_on_to, tried
from tune_cnn.training.progress import PROGRESS
from tune_cnn.urls import shown_url

PIECE_BYTES = 2**15  # of an answer at a time: a lost connection takes what was read of one with it


@dataclass(frozen=True, kw_only=True)
class WebFile:
    """A file by its address, and what the server told of it; empty or None where it tells nothing."""

    url: str
    etag: str
    modified: str
    length: int | None  # bytes

    @property
    def shown(self) -> str:
        return printable(shown_url(self.url, PLAIN_OPTIONS))


def look_up(url: str) -> WebFile:
    """DataError where there is no such file, or the server can't be reached."""
    asked = WebFile(url=url, etag="", modified="", length=None)

    def once() -> WebFile:
        with _answer(asked, "HEAD", {}) as head:
            told = _told(asked, head)
            if head.status_code == requests.codes.ok and told.length is not None:
                return told
        with _answer(asked, "GET", {"Range": "bytes=0-0"}) as first:
            return _told(asked, first)

    return tried(asked.shown, once)


def fetch(file: WebFile, into: BinaryIO) -> None:
    """All of it, from the beginning of `into`; where the connection is lost, the rest from there on.

    DataError where it can't be had, or has become another one meanwhile.
    """

    def once() -> None:
        there = into.tell()
        if there == file.length:
            return
        with _answer(file, "GET", {"Range": f"bytes={there}-"} if there else {}) as answer:
            if answer.status_code != requests.codes.partial:  # all of it, from a server that gives no parts
                into.seek(0)
                into.truncate()
            for piece in answer.iter_content(PIECE_BYTES):
                into.write(piece)
                PROGRESS.moved()
        if file.length is not None and into.tell() < file.length:
            raise Lost(f"it ended after {into.tell():,} of {file.length:,} bytes")

    tried(file.shown, once, into.tell)


def first_bytes(file: WebFile, count: int) -> tuple[bytes, bool]:
    """So many, or all that there are; and whether the server gives parts of a file."""

    def once() -> tuple[bytes, bool]:
        got = bytearray()
        with _answer(file, "GET", {"Range": f"bytes=0-{count - 1}"}) as answer:
            for piece in answer.iter_content(PIECE_BYTES):
                got += piece
                if len(got) >= count:
                    break
            return bytes(got[:count]), answer.status_code == requests.codes.partial

    return (b"", False) if file.length == 0 else tried(file.shown, once)


def part_of_file(file: WebFile, start: int, size: int) -> bytes:
    """Those bytes, and no more are sent. DataError where the server gives no parts of a file."""

    def once() -> bytes:
        with _answer(file, "GET", {"Range": f"bytes={start}-{start + size - 1}"}) as answer:
            if answer.status_code != requests.codes.partial:
                raise DataError(no_parts(file))
            content = answer.content
        if len(content) != size:
            raise Lost(f"it gave {len(content):,} of {size:,} bytes")
        return content

    return tried(file.shown, once)


def no_parts(file: WebFile) -> str:
    return (
        f"data: the server of {file.shown} gives no parts of a file (HTTP ranges), by which images that aren't kept "
        "are read; set data.cache: small_jpeg, jpeg or pixels, or fetch the shards and name them by their path"
    )


def _told(asked: WebFile, answer: requests.Response) -> WebFile:
    said = answer.headers
    whole = said.get("Content-Range", "").rpartition("/")[2] or said.get("Content-Length", "")
    return WebFile(
        url=asked.url,
        etag=said.get("ETag", ""),
        modified=said.get("Last-Modified", ""),
        length=int(whole) if whole.isdecimal() else None,
    )


@contextmanager
def _answer(file: WebFile, method: str, headers: dict[str, str]) -> Iterator[requests.Response]:
    """Lost where it may go well another time, also for what is read of the answer; DataError where it can't."""
    with answered(file.shown, method, _with_query(file.url), headers) as answer:
        _check(file, method, headers, answer)
        yield answer


def _check(file: WebFile, method: str, headers: dict[str, str], answer: requests.Response) -> None:
    status = answer.status_code
    if method == "HEAD":  # not all servers answer it, or sign for it: what they say to GET counts
        return
    if status in (401, 403):
        raise DataError(_refused(file, status, sent_on_to(answer)))
    if status == requests.codes.requested_range_not_satisfiable:
        raise DataError(_changed(file))
    if status not in (requests.codes.ok, requests.codes.partial):
        raise DataError(
            f"data: there is no shard {file.shown} (the server says HTTP {status}); name those that are there, as in "
            "webdataset:https://host/train-{0000..0009}.tar"
        )
    _, _, begins = headers.get("Range", "").partition("=")
    given = answer.headers.get("Content-Range", "")
    if status == requests.codes.partial and given and not given.startswith(f"bytes {begins.partition('-')[0]}-"):
        raise Lost("it gave other bytes than were asked for")
    now = _told(file, answer)
    pairs = ((file.etag, now.etag), (file.modified, now.modified), (file.length, now.length))
    if any(before and after and before != after for before, after in pairs):
        raise DataError(_changed(file))


def _refused(file: WebFile, status: int, place: str) -> str:
    """`place`: that refuses it, where it isn't the server that was asked."""
    if place:
        return (
            f"data: the server of {file.shown} sends on to {place}, which refuses it (HTTP {status}); no password goes "
            "there but the one that ~/.netrc has for another host by its name, and no signature: put it there, or name "
            "the shards by their address there"
        )
    return (
        f"data: the server refuses {file.shown} (HTTP {status}); put user and password into ~/.netrc of each node, or "
        f"set {QUERY} there to the signature that stands behind an address's ?"
    )


def _changed(file: WebFile) -> str:
    return f"data: shard {file.shown} is another one than when it was looked up; start again, once it stays as it is"


def _with_query(url: str) -> str:
    query = os.environ.get(QUERY, "").lstrip("?&")
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url
