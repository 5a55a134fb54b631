"""Which file system a folder is on: a SQLite store must not lie on one that is shared over a network."""

from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
# By the kernel's names. Their locks don't reach other machines, or not reliably, and a write-ahead log needs memory
# that all its processes share (https://sqlite.org/wal.html, https://sqlite.org/howtocorrupt.html).
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "afs", "orangefs"}
_NETWORK |= {f"fuse.{name}" for name in ("sshfs", "glusterfs", "ceph-fuse", "s3fs", "gcsfuse", "juicefs", "rclone")}


def network_file_system(path: Path) -> str | None:
    """The kernel's name of the network file system that holds the path; None on a local one, or an unknown one."""
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux
        return None
    kind = kind_of(path, mounts)
    return kind if kind in _NETWORK else None


def kind_of(path: Path, mounts: str) -> str | None:
    """The file system of a path that need not exist yet, by the text of /proc/self/mountinfo: the longest mount point
    above it, of two at one place the later, which covers the other."""
    real = path.resolve()
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = Path(_unescaped(fields[4]))
        if real.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = len(point.parts), after.split()[0]
    return found[1] if found else None


def _unescaped(field: str) -> str:
    """The kernel writes blanks and backslashes as octal numbers."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field
