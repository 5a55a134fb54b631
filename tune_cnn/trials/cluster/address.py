"""Where a Ray cluster is said to be, and whether anybody listens there: Ray itself would try for minutes."""

import os
import socket
from contextlib import suppress

from tune_cnn.errors import ResourceError, TuneCnnError
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)

import ray  # isort: skip
from ray._common.utils import get_ray_address_file  # isort: skip
from ray._private import services  # isort: skip  # private, and what `auto` goes by

TIMEOUT_S = 10.0  # for one TCP connection, across the world on a bad day
VARIABLE = "RAY_ADDRESS"
# HTTP/2's preface and an empty SETTINGS frame, which gRPC answers at once, whoever may call it.
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def check_address(address: str) -> None:
    """ResourceError where the address is none, or nobody listens there; it names who gave the address."""
    given = f"{VARIABLE}={address}" if os.environ.get(VARIABLE) == address else f"--address {address}"
    if "://" in address:
        raise ResourceError(
            f"{given}: a search runs on one of the cluster's nodes, not through Ray Client or the dashboard; give "
            f"HOST:PORT of the cluster's head, or auto on a node of it{_or_unset(given)}"
        )
    if address == "local":
        raise ResourceError(f"{given}: is for a Ray of this machine's own, which starts where no address is given")
    if address == "auto":
        found = _found_by_ray()
        if found is not None:
            _refuse_other(given, found)
            _connect(found, f"{given}: {_source()} names the Ray cluster at {found}, where", _todo())
        return
    _refuse_other(given, address)
    _connect(address, f"{given}:", f"see whether `ray start --head` is running there{_or_unset(given)}")


def why_silent(address: str) -> str | None:
    """Why the head of a cluster doesn't answer, though somebody listens there (a process that is stopped does); None
    where it answers. ResourceError and TuneCnnError as of `check_address`. Ray itself would wait for minutes."""
    check_address(address)
    found = address
    if address == "auto":
        with suppress(ConnectionError):  # ray.init says it, and at once
            found = _found_by_ray() or services.get_ray_address_from_environment("auto", None) or ""
    host, _, port = found.rpartition(":")
    if not host:
        return None
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT_S) as connection:
            connection.sendall(HELLO)
            connection.recv(1)
    except TimeoutError:
        return f"its head, at {found}, takes connections and does not answer in {TIMEOUT_S:.0f} s"
    except OSError as error:
        return f"its head, at {found}, does not answer: {error.strerror or error}"
    return None


def _found_by_ray() -> str | None:
    """What `auto` means here, as HOST:PORT; None where a Ray runs on this node, or where Ray says that none does."""
    with suppress(ConnectionError):  # ray.init says it too, and at once
        if os.environ.get(VARIABLE) not in (None, "", "auto") or not services.find_gcs_addresses():
            return str(services.get_ray_address_from_environment("auto", None))
    return None


def _source() -> str:
    named = os.environ.get(VARIABLE)
    return f"{VARIABLE}={named}" if named not in (None, "", "auto") else str(get_ray_address_file(None))


def _todo() -> str:
    source = _source()
    gone = f"unset {VARIABLE}" if source.startswith(VARIABLE) else f"remove {source}"
    return f"if that cluster is gone, {gone}, and start one by `ray start --head`"


def _or_unset(given: str) -> str:
    return f"; unset {VARIABLE} for a Ray on this machine" if given.startswith(VARIABLE) else ""


def _refuse_other(given: str, address: str) -> None:
    """Where this process has joined a Ray already, another can't be joined."""
    joined = ray.get_runtime_context().gcs_address if ray.is_initialized() else None
    # one host has many names; a port has one
    if joined is not None and joined.rpartition(":")[2] != address.rpartition(":")[2]:
        raise TuneCnnError(f"{given}: this process has joined the Ray at {joined}; leave it or its address")


def _connect(address: str, head: str, todo: str) -> None:
    host, _, port = address.rpartition(":")
    if not host:
        raise ResourceError(f"{head} must be HOST:PORT of the cluster's head, or auto on one of its nodes")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise TuneCnnError(f"{head} nobody answers ({error}); {todo}") from None
