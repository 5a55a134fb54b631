"""The unit is one that systemd takes, starts the command that was asked, and has a time to end in."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from missing import missing

from study.manifests.made_up_specs import asked, source
from tune_cnn.errors import InputError
from tune_cnn.study.manifests.asked import Source
from tune_cnn.study.manifests.systemd import systemd

HERE = {"programs": Path(sys.executable).parent}


def verify(tmp_path: Path, text: str) -> str:
    """What systemd has to say of a unit; nothing, of a right one."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        missing("systemd-analyze is not installed (Debian's package systemd)")
    unit = tmp_path / "tune-cnn-small.service"
    unit.write_text(text)
    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    return done.stderr


def directives(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and line[0] not in "#["]
    return dict(line.split("=", 1) for line in lines)


def test_systemd_itself_takes_the_unit(tmp_path):
    """A word on stderr is a failure; and it does look."""
    text = systemd([source()], asked(folder=tmp_path, storage="s3://b/s", **HERE))
    assert verify(tmp_path, text) == ""
    assert "KillModes" in verify(tmp_path, text.replace("KillMode=", "KillModes="))


def test_odd_paths_reach_the_command_as_they_are(tmp_path):
    """What systemd would take for itself (%, $, quotes, blanks) is escaped."""
    odd = Source(named='/specs/50% of "my" $HOME.yaml', overrides=("budget.trials=3",), spec=source().spec)
    unit = systemd([odd], asked(folder=tmp_path, **HERE))
    assert verify(tmp_path, unit) == ""
    words = shlex.split(directives(unit)["ExecStart"])
    assert [word.replace("%%", "%").replace("$$", "$") for word in words][1:5] == [
        "search", odd.named, "--set", "budget.trials=3",
    ]  # fmt: skip


def test_the_search_has_its_time_to_end(tmp_path):
    """SIGTERM to the driver alone; its own exit code for that is no failure, a wrong spec is not repeated."""
    unit = directives(systemd([source()], asked(notice_s=300, folder=tmp_path)))
    assert (unit["KillMode"], unit["KillSignal"], unit["TimeoutStopSec"]) == ("mixed", "SIGTERM", "300")
    assert (unit["Restart"], unit["SuccessExitStatus"], unit["RestartPreventExitStatus"]) == ("on-failure", "130", "2")
    assert unit["EnvironmentFile"].startswith("-/") and unit["UMask"] == "0077" and unit["NoNewPrivileges"] == "yes"


def test_a_power_limit_is_refused(tmp_path):
    """With what gives it all the same: one is set before, several are a search's own affair."""
    for limits, said in (
        ([200, 250], r"got 200, 250 W. .*run `tune-cnn search` as root, in a shell"),
        ([200], r"got 200 W. .*`nvidia-smi -pl 200` holds until the machine starts again"),
    ):
        with pytest.raises(InputError, match=rf"power_limit_w: is set by root alone.*{said}"):
            systemd([source({"gpus_per_rank": 1, "power_limit_w": limits})], asked(folder=tmp_path))
