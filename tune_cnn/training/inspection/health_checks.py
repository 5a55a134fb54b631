"""What a node must be like, held against what it said of itself, and against the machine where the search begins."""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tune_cnn.training.inspection.health import Disk, NodeFacts

SHARED_MIB = (
    1024.0  # Ray's objects and loader processes' batches lie there; a container has 64 MiB unless told otherwise
)
DISK_MIB = 2048.0  # a cache of decoded images, checkpoints of a few trials, Ray's logs
OPEN_FILES = 4096  # Ray itself warns below; a worker of a large cluster holds a socket to many others
SKEW_S = 2.0  # within which times in logs, of points and of MLflow's curves from several nodes still tell an order


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that must hold on a node."""

    what: str
    seen: str
    must: str
    ok: bool
    todo: str = ""  # where it doesn't hold


@dataclass(frozen=True, kw_only=True)
class Skew:
    """By how much a node's clock is before the driver's, and how far that may be wrong (half a round trip)."""

    ahead_s: float
    wrong_by_s: float


def skew_of(rounds: Sequence[tuple[float, float, float]]) -> Skew:
    """From rounds of (asked, the node's clock, answered), in seconds: the shortest round trip tells most."""
    asked_s, there_s, answered_s = min(rounds, key=lambda one: one[2] - one[0])
    return Skew(ahead_s=there_s - (asked_s + answered_s) / 2, wrong_by_s=(answered_s - asked_s) / 2)


def checks_of(facts: NodeFacts, here: NodeFacts, *, address: str | None, nodes: int) -> list[Check]:
    """All that one node's facts tell. `here`: the driver's machine. `address`: by which Ray knows the node."""
    checks = [_versions(facts, here), *_gpu(facts), *_network(facts, address, nodes), _shared_memory(facts)]
    return [*checks, *map(check_disk, facts.disks), _open_files(facts)]


def check_skew(skew: Skew) -> Check:
    ok = abs(skew.ahead_s) - skew.wrong_by_s <= SKEW_S
    return Check(
        what="clock",
        seen=f"{skew.ahead_s:+.3f} s ± {skew.wrong_by_s:.3f} s against the driver",
        must=f"within {SKEW_S:g} s",
        ok=ok,
        todo="" if ok else "set it by a time service (chrony, systemd-timesyncd)",
    )


def check_disk(disk: Disk) -> Check:
    free = f"{disk.free_mib / 1024:,.1f} GiB free of {disk.total_mib / 1024:,.1f} in {disk.folder}"
    ok = disk.error is None and disk.free_mib >= DISK_MIB
    todo = ""
    if disk.error is not None:
        todo = "let the user of the search write there, or name another folder (TUNE_CNN_CACHE, --home, TMPDIR)"
    elif not ok:
        todo = "make room, or name a folder with more (TUNE_CNN_CACHE, --home, TMPDIR)"
    return Check(
        what=disk.what,
        seen=free if disk.error is None else f"{disk.folder} can't be written: {disk.error}",
        must=f"writable, {DISK_MIB / 1024:g} GiB free",
        ok=ok,
        todo=todo,
    )


def check_images(found: Mapping[str, str]) -> dict[str, Check]:
    """From what each node said of the images of a spec, by node: the same on all. An error begins with "error: "."""
    sound = [said for said in found.values() if not said.startswith("error: ")]
    usual = max(set(sound), key=sound.count) if sound else None
    checks = {}
    for node, said in found.items():
        ok = said == usual
        todo = "put the files there, at the same data.root" if said.startswith("error: ") else ""
        todo = todo if ok or todo else "copy the images of the other nodes there: their trials would not compare"
        checks[node] = Check(
            what="images",
            seen=said.removeprefix("error: "),
            must="readable" if len(found) == 1 else f"the same on all nodes{f': {usual}' if usual and not ok else ''}",
            ok=ok,
            todo="" if ok else todo,
        )
    return checks


def _versions(facts: NodeFacts, here: NodeFacts) -> Check:
    other = [
        f"{n} {facts.versions.get(n, 'none')}, here {v}" for n, v in here.versions.items() if facts.versions.get(n) != v
    ]
    same = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    return Check(
        what="versions",
        seen="; ".join(other) or same,
        must="as on the machine where the search begins",
        ok=not other,
        todo="install the same there (uv sync with the same uv.lock), and start its Ray again" if other else "",
    )


def _gpu(facts: NodeFacts) -> list[Check]:
    if not facts.gpus:
        silent = facts.has_gpu_file and facts.driver is None
        return [
            Check(
                what="GPU",
                seen="a GPU whose driver does not answer" if silent else "none, trials run on the CPU",
                must="a driver that answers",
                ok=not silent,
                todo="look at what nvidia-smi says" if silent else "",
            )
        ]
    sick = [f"{gpu.name} ({gpu.uuid}): {gpu.error}" for gpu in facts.gpus if gpu.error]
    names = ", ".join(sorted({gpu.name for gpu in facts.gpus}))
    driver = f"driver {facts.driver}" + (f", CUDA {facts.cuda} at most" if facts.cuda else "")
    checks = [
        Check(
            what="GPU",
            seen="; ".join(sick) or f"{len(facts.gpus)} × {names}, {driver}",
            must="each trains a small network",
            ok=not sick,
            todo="mend or leave out that card (CUDA_VISIBLE_DEVICES before `ray start`)" if sick else "",
        )
    ]
    nccl = next((gpu.nccl for gpu in facts.gpus if gpu.nccl), None)
    if not sick:
        checks.append(
            Check(
                what="NCCL",
                seen=nccl or "not in this torch",
                must="there, for ranks: 2 and more",
                ok=nccl is not None,
                todo="" if nccl else "install a build of torch for CUDA",
            )
        )
    return checks


def _network(facts: NodeFacts, address: str | None, nodes: int) -> list[Check]:
    """Which interface gloo takes: it must be one by which the other nodes reach this one."""
    of = {place: name for name, place in facts.interfaces.items()}
    taken, right = facts.gloo_address, of.get(address or "")
    ok = nodes == 1 or taken == address or (right is None and taken in of and not _is_loopback(taken))
    said = f"gloo takes {of.get(taken, 'no interface')} ({taken}): {facts.gloo_source}"
    said += f"; NCCL takes {facts.nccl_interface}, by NCCL_SOCKET_IFNAME" if facts.nccl_interface else ""
    named = right or "the interface that the other nodes reach"
    return [
        Check(
            what="interface",
            seen=said,
            must="any" if nodes == 1 else f"the address by which Ray knows the node ({address})",
            ok=ok,
            todo="" if ok else f"set GLOO_SOCKET_IFNAME={named} (and NCCL_SOCKET_IFNAME) there before `ray start`",
        )
    ]


def _shared_memory(facts: NodeFacts) -> Check:
    free = facts.shared_free_mib
    ok = free is None or free >= SHARED_MIB
    return Check(
        what="/dev/shm",
        seen="none on this system" if free is None else f"{free / 1024:,.2f} GiB free",
        must=f"{SHARED_MIB / 1024:g} GiB free",
        ok=ok,
        todo="" if ok else "give the container more (docker run --shm-size=8g), or empty it",
    )


def _open_files(facts: NodeFacts) -> Check:
    ok = facts.open_files < 0 or facts.open_files >= OPEN_FILES  # below 0: without limit
    return Check(
        what="open files",
        seen="without limit" if facts.open_files < 0 else f"{facts.open_files:,} a process",
        must=f"{OPEN_FILES:,} or more",
        ok=ok,
        todo="" if ok else "raise it before `ray start` (ulimit -n 65536, or LimitNOFILE of its service)",
    )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
