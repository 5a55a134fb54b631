"""A SQLite store on a network file system is refused, with the reason."""

from pathlib import Path

import pytest

from tune_cnn.errors import InputError
from tune_cnn.records import file_system
from tune_cnn.records.store import Store

MOUNTS = """\
21 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
40 21 0:35 / /shared rw,relatime shared:20 - nfs4 server:/export rw,vers=4.2
41 40 0:36 / /shared/local\\040disk rw - xfs /dev/sdb rw
42 21 0:37 / /over rw - nfs4 server:/other rw
43 21 0:38 / /over rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/studies", "ext4"),
        ("/shared/studies", "nfs4"),
        ("/shared", "nfs4"),
        ("/sharedness", "ext4"),
        ("/shared/local disk/studies", "xfs"),
        ("/over/studies", "tmpfs"),
    ],
)
def test_the_nearest_mount_above_a_path_counts(path: str, kind: str) -> None:
    """Whole names, not their beginnings; a later mount covers an earlier one."""
    assert file_system.kind_of(Path(path), MOUNTS) == kind


def test_a_search_refuses_a_home_on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made there, and the message says what else to do."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 1 0:1 / / rw - ext4 /dev/root rw\n2 1 0:2 / {tmp_path} rw - nfs4 server:/export rw\n")
    monkeypatch.setattr(file_system, "MOUNTS", mounts)
    with pytest.raises(InputError, match=r"nfs4.*TUNE_CNN_STORE"):
        Store(tmp_path / "home", create=True)
    assert not (tmp_path / "home").exists()
