"""What nodes try with one another: connections, and a storage that all of them must see."""

import secrets
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pyarrow import ArrowException
from pyarrow import fs as arrow_fs

from tune_cnn.errors import first_line
from tune_cnn.untyped import Untyped

CONNECT_S = 5.0  # a connection takes milliseconds within a cluster; packets that are dropped never answer
LISTEN_S = 300.0  # a node that is asked no more closes by itself
PROBE = ".tune-cnn-doctor-"


def listen() -> tuple[int, str]:
    """Answer connections to any address of this node for a while: the port, and the word that is answered."""
    word = secrets.token_hex(8)
    server = socket.create_server(("", 0), backlog=64)
    server.settimeout(LISTEN_S)
    threading.Thread(target=_answer, args=(server, word), name="doctor", daemon=True).start()
    return int(server.getsockname()[1]), word


def reach(others: Mapping[str, tuple[str, int, str]]) -> dict[str, str]:
    """Connect to other nodes, by name: (address, port, word). Why one can't be reached; empty where it can."""
    found = dict.fromkeys(others, f"no answer in {CONNECT_S:.0f} s")

    def one(name: str) -> None:
        address, port, word = others[name]
        try:
            with socket.create_connection((address, port), timeout=CONNECT_S) as connection:
                said = connection.makefile().readline().strip()
            found[name] = "" if said == word else "somebody else answers there"
        except OSError as error:
            found[name] = error.strerror or str(error) or type(error).__name__

    threads = [threading.Thread(target=one, args=(name,), daemon=True) for name in others]
    for thread in threads:
        thread.start()
    until_s = time.monotonic() + 2 * CONNECT_S
    for thread in threads:
        thread.join(max(0.0, until_s - time.monotonic()))
    return dict(found)


def write_probe(storage: str, name: str) -> str:
    """Write a small file into the storage (a folder or a URI): why it can't be; empty where it could."""
    try:
        if "://" not in storage:
            folder = Path(storage)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{PROBE}{name}").write_text(name, encoding="utf-8")
            return ""
        filesystem, path = _opened(storage)
        filesystem.create_dir(path, recursive=True)
        with filesystem.open_output_stream(f"{path}/{PROBE}{name}") as stream:
            stream.write(name.encode())
    except (OSError, ArrowException) as error:
        return _why(error)
    return ""


def read_probes(storage: str, names: Sequence[str]) -> dict[str, str]:
    """Look for what others wrote: why a file can't be read; empty where it can."""
    return {name: _read(storage, name) for name in names}


def remove_probes(storage: str, names: Sequence[str]) -> None:
    """Take away what was written, as far as it can be."""
    for name in names:
        with suppress(OSError, ArrowException):
            if "://" not in storage:
                (Path(storage) / f"{PROBE}{name}").unlink(missing_ok=True)
            else:
                filesystem, path = _opened(storage)
                filesystem.delete_file(f"{path}/{PROBE}{name}")


def _read(storage: str, name: str) -> str:
    try:
        if "://" not in storage:
            text = (Path(storage) / f"{PROBE}{name}").read_text(encoding="utf-8")
        else:
            filesystem, path = _opened(storage)
            with filesystem.open_input_stream(f"{path}/{PROBE}{name}") as stream:
                text = stream.read().decode()
    except (OSError, ValueError, ArrowException) as error:
        return _why(error)
    return "" if text == name else "holds something else"


def _opened(storage: str) -> tuple[Untyped, str]:
    filesystem, path = arrow_fs.FileSystem.from_uri(storage)
    return filesystem, str(path).rstrip("/")


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or first_line(error)


def _answer(server: socket.socket, word: str) -> None:
    with suppress(OSError), server:
        while True:
            connection, _ = server.accept()
            with suppress(OSError), connection:
                connection.sendall(f"{word}\n".encode())


def faults_of(wrote: Mapping[str, str], read: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Who doesn't share a storage with the others, and what is wrong there: in words, why.

    wrote: by node, why it could not write. read: by node, by whose file it is, why it could not be read. A file that
    is not seen may be the fault of either side: it is laid to the one that most others don't share with.
    """
    faults = {name: ({"its file": why} if why else {}) for name, why in wrote.items()}
    wrong = {(reader, writer): why for reader, found in read.items() for writer, why in found.items() if why}
    pairs = [(reader, writer) for reader, found in read.items() for writer in found if reader != writer]

    def share_of(name: str) -> float:
        mine = [pair for pair in pairs if name in pair]
        return sum(pair in wrong for pair in mine) / len(mine) if mine else 0.0

    apart = {name for name in wrote if share_of(name) > 1 / 2}  # else its files are seen by most, and it sees most
    for (reader, writer), why in wrong.items():
        told = apart & {reader, writer} or {reader}
        for name in told:
            whose = f"the file of {writer}" if name == reader else f"its file, as {reader} looks for it"
            faults[name][whose] = why
    return faults
