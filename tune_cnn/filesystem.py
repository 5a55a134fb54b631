"""Which kind of file system a folder lies on."""

import os
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
# Those that several machines write at a time: SQLite's locks and shared memory don't hold there.
NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "beegfs", "lustre", "gpfs", "glusterfs", "ocfs2"),
    *("fuse.sshfs", "fuse.s3fs", "fuse.glusterfs", "fuse.ceph", "fuse.gcsfuse", "fuse.juicefs", "fuse.rclone"),
    *("fuse.mount-s3", "fuse.goofys", "fuse.moosefs", "orangefs", "panfs", "gfs2", "wekafs"),
}


def filesystem_of(folder: Path, mounts: str | None = None) -> str | None:
    """The type of the file system, as Linux names it (ext4, nfs4); None where that isn't known.

    `mounts`: as /proc/self/mounts says them, which is read where nothing is given.
    """
    if mounts is None:
        try:
            mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    path = os.path.realpath(folder)
    best, kind = "", None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = _unescaped(fields[1])
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):  # the last of several at one place lies over the others
            best, kind = place, fields[2]
    return kind


def is_network(kind: str | None) -> bool:
    return kind in NETWORK


def _unescaped(text: str) -> str:
    """Spaces and the like are written in octal there."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
