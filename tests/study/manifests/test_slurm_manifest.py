"""The batch script is one that bash takes, asks for what the spec needs, and refuses what can't go on elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from missing import missing

from study.manifests.made_up_specs import asked, source
from tune_cnn.errors import InputError
from tune_cnn.study.manifests.asked import Source
from tune_cnn.study.manifests.slurm import slurm

SHARED = {"storage": "/shared/studies"}


def bash(text: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["bash", *words], input=text, capture_output=True, text=True, check=False)


def directives(text: str) -> dict[str, str]:
    found = re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.MULTILINE)
    assert len(dict(found)) == len(found), "a directive stands once"
    return dict(found)


@pytest.mark.parametrize("sources", [[source()], [source(), source(study="other")]], ids=["one", "array"])
def test_bash_takes_the_script(sources):
    """Directives come before the first command, as Slurm reads them no further."""
    text = slurm(sources, asked(**SHARED))
    assert bash(text, "-n").stderr == ""
    first = next(number for number, line in enumerate(text.splitlines()) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in text.splitlines()[first:])


def test_what_is_asked_for_comes_from_the_spec():
    """Four slots at half a GPU on two nodes: a GPU each, and the cores of two trials."""
    spec = source({"slots": 4, "gpus_per_rank": 0.5, "cpus_per_trial": 3, "accelerator": "A100"})
    text = slurm([spec], asked(nodes=2, notice_s=300, **SHARED))
    asks = directives(text)
    assert (asks["nodes"], asks["cpus-per-task"], asks["gpus-per-node"]) == ("2", "6", "a100:1")
    assert asks["signal"] == "B:USR1@300" and "requeue" in asks and "exclusive" in asks and "array" not in asks
    assert "--min-nodes 2 --num-cpus=6 --num-gpus=1" in text
    assert "gpus-per-node" not in directives(slurm([source()], asked(**SHARED)))


def test_an_array_has_a_task_a_study():
    """Each finds its own spec, whatever its path is like."""
    odd = Source(named="/specs/it's $HOME.yaml", overrides=("budget.trials=3",), spec=source(study="other").spec)
    text = slurm([source(), odd], asked(**SHARED))
    assert directives(text)["array"] == "0-1"
    choice = re.search(r"^case .*?^esac$", text, re.DOTALL | re.MULTILINE)
    assert choice is not None
    shown = bash(f"SLURM_ARRAY_TASK_ID=1\n{choice[0]}\nprintf '%s\\n' \"${{search[@]}}\"")
    assert shown.stdout.splitlines() == [odd.named, "--set", "budget.trials=3"]


def test_no_secret_stands_in_the_script(monkeypatch):
    monkeypatch.setenv("TUNE_CNN_STORE", "postgresql://u:geheim@h/d")
    assert "geheim" not in slurm([source()], asked(**SHARED))


def test_a_secrets_file_that_others_may_read_ends_the_job(tmp_path):
    """Before anything of it is read; and without a store's URL a job that may move doesn't start."""
    text = slurm([source()], asked(secrets=str(tmp_path / "s"), **SHARED)).partition("# Ray's ports")[0]
    (tmp_path / "s").write_text("echo read\n")
    (tmp_path / "s").chmod(0o644)
    ended = bash(text)
    assert (ended.returncode, ended.stdout) == (2, "") and "chmod 600" in ended.stderr
    (tmp_path / "s").chmod(0o600)
    ended = bash(f"unset TUNE_CNN_STORE\n{text}")
    assert (ended.returncode, ended.stdout) == (2, "read\n") and "TUNE_CNN_STORE: must name" in ended.stderr
    (tmp_path / "s").write_text("TUNE_CNN_STORE=postgresql://h/d\n")
    assert bash(text).returncode == 0


REFUSED = {
    "storage": ([source()], {}, "--storage: a job that is queued again may start on other nodes"),
    "node": ([source({"slots": 2})], {"node": "n1", "nodes": 2}, "--node: names the one node"),
    "layouts": (
        [source(), source({"slots": 2}, study="other")],
        SHARED,
        "got 1 node(s) with 1 cores and 0 GPUs for small and 1 node(s) with 2 cores and 0 GPUs for other",
    ),
    "twice": ([source(), source()], SHARED, "each study may stand once"),
    "folder": ([source()], {**SHARED, "folder": Path("/my work")}, "free of blanks"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_go_on_elsewhere_is_refused(case):
    sources, wishes, says = REFUSED[case]
    with pytest.raises(InputError, match=re.escape(says)):
        slurm(sources, asked(**wishes))


WAIT = r"^# A signal ends `wait`.*?^fi$"  # of the script, to where it knows how the step has ended


@pytest.mark.parametrize(
    ("ends", "code"), [("exit 0", 137), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -USR1 $$", 138)]
)
def test_the_script_knows_how_its_step_has_ended(ends: str, code: int) -> None:
    """Also by a signal, as Slurm sends one to the step alone; 0 without a word of the search is no success."""
    wait = re.search(WAIT, slurm([source()], asked(**SHARED)), re.DOTALL | re.MULTILINE)
    assert wait is not None
    step = f"bash -c 'sleep 0.3; kill -USR1 $PPID; sleep 0.3; {ends}' & step=$!"
    script = f"place=/nowhere; trap 'echo told' USR1\n{step}\n{wait[0]}"
    shown = subprocess.run(["bash"], input=f"{script}\necho $code", capture_output=True, text=True, timeout=60)
    assert shown.stdout.split() == ["told", str(code)]


@pytest.mark.parametrize(
    ("code", "preempted", "again"), [(143, "2026-11-29T08:10:53", True), (143, "None", False), (0, "2026-11-29", False)]
)
def test_a_job_that_was_preempted_queues_itself_again(code: int, preempted: str, again: bool, tmp_path: Path) -> None:
    """Where its step has ended by that, and the script was not told."""
    end = slurm([source()], asked(**SHARED)).partition("# Preempted, and nobody")[2].partition("\n")[2]
    (tmp_path / "scontrol").write_text(f"#!/bin/bash\n[ $1 = show ] && echo 'PreemptTime={preempted} x' || echo $*\n")
    (tmp_path / "scontrol").chmod(0o755)
    ended = bash(f"PATH={tmp_path}:$PATH SLURM_JOB_ID=7 told= code={code}\n{end}")
    assert ("requeue 7" in ended.stdout) is again, ended.stdout + ended.stderr


APART = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]  # `ray stop` ends every Ray that it sees


@pytest.mark.parametrize(
    "left", [["raylet"], ["gcs_server", "raylet"], []], ids=lambda left: "+".join(left) or "nothing"
)
def test_a_ray_that_an_earlier_step_left_on_the_node_is_ended_first(left: list[str], tmp_path: Path) -> None:
    """By Ray's own `ray stop`, which is asked only where one is left; then the step's own command takes its place."""
    if subprocess.run([*APART, "true"], capture_output=True, check=False).returncode:
        missing("a PID namespace of the test's own (unshare --pid --mount-proc, as root)")
    fresh = re.search(r"^fresh='.*'$", slurm([source()], asked(**SHARED)), re.MULTILINE)
    assert fresh is not None
    for name in left:  # whose names in the kernel are those of Ray's processes
        shutil.copy(shutil.which("sleep") or "", tmp_path / name)
    begun = "".join(f"{tmp_path / name} 1000 &\n" for name in left)
    (tmp_path / "ray").write_text(f'#!/bin/sh\necho asked\nexec {sys.executable} -P -m ray.scripts.scripts "$@"\n')
    (tmp_path / "ray").chmod(0o755)
    step = """sh -c 'pgrep -x "raylet|gcs_server" > /dev/null || echo "$@"' begins step begins"""
    script = f'{begun}{fresh[0]}\nbash -c "$fresh" fresh {step}\n'
    around = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "RAY_TMPDIR": str(tmp_path)}
    ended = subprocess.run(
        [*APART, "bash", "-c", script], env=around, capture_output=True, text=True, timeout=300, check=False
    )
    said = ended.stdout.splitlines()
    assert said[-1:] == ["step begins"], ended.stdout + ended.stderr
    assert ("asked" in said) is bool(left)
