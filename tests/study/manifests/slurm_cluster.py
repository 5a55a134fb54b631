"""A Slurm of the tests' own: munged, slurmctld and two slurmd, the nodes with a network and processes of their own.

Each node is a set of Linux namespaces, so that it is a machine to Ray: `ray stop` on one ends nothing elsewhere, and
the ports are its own. All of it lives in one more set of namespaces: when their first process is killed, the kernel
ends the rest.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from missing import missing

NAMESPACES = ["--mount", "--net", "--uts", "--ipc", "--pid"]
UNSHARE = ["unshare", *NAMESPACES, "--fork", "--mount-proc", "--kill-child"]
PATIENCE_S = 400  # for one step of a job on a machine whose two cores others use as well
GRACE_S = 900  # from the notice that a job is preempted to its end: longer than any test waits for it

# Debian's build has cgroups in it, but a container has none to give: processes are followed by their parents
CONFIGURATION = """\
ClusterName=tests
SlurmctldHost=controller(10.99.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=1,sched_interval=1
KillWait=10
NodeName=n1 NodeAddr=10.99.0.11 CPUs=1 RealMemory=1000
NodeName=n2 NodeAddr=10.99.0.12 CPUs=1 RealMemory=1000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=all Nodes=ALL Default=YES MaxTime=30 State=UP PriorityTier=1 GraceTime={grace_s}
PartitionName=urgent Nodes=ALL MaxTime=30 State=UP PriorityTier=2 PreemptMode=OFF
"""
START = """\
set -e
mount --bind {folder}/hosts /etc/hosts
hostname controller
ip link set lo up
ip link add bridge type bridge; ip addr add 10.99.0.1/24 dev bridge; ip link set bridge up
munged --force --key-file={folder}/munge.key --socket={folder}/munge.sock --pid-file={folder}/munged.pid \
    --log-file={folder}/munged.log --seed-file={folder}/munged.seed
slurmctld -D &
for n in 1 2; do
    # a /tmp/ray of its own: Ray leaves there which cluster it runs
    mkdir -p /tmp/ray {folder}/ray$n
    {unshare} bash -c "hostname n$n; mount --bind {folder}/ray$n /tmp/ray; echo > {folder}/up$n
        until ip link show eth0 > /dev/null 2>&1; do sleep 0.1; done
        ip link set lo up; ip addr add 10.99.0.1$n/24 dev eth0; ip link set eth0 up
        ip route add default via 10.99.0.1; slurmd -D -N n$n & wait" &
    node=$!
    until [ -e {folder}/up$n ]; do sleep 0.1; done
    ip link add veth$n type veth peer name eth0 netns "$(cat /proc/$node/task/$node/children | tr -d ' ')"
    ip link set veth$n master bridge up
done
until [ "$(sinfo -h -t idle -o %D 2> /dev/null)" = 2 ]; do sleep 0.2; done
touch {folder}/ready
wait
"""


@dataclass(frozen=True, kw_only=True)
class SlurmCluster:
    folder: Path
    inside: int  # the first process of its namespaces
    environment: Mapping[str, str]

    def run(self, *words: str) -> str:
        """A command on the controller, in the working folder of the test."""
        enter = ["nsenter", "--target", str(self.inside), *NAMESPACES, f"--wdns={Path.cwd()}"]
        done = subprocess.run([*enter, *words], env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    def jobs(self, number: str) -> list[dict[str, str]]:
        """What Slurm knows of a job; of an array, of each task."""
        shown = self.run("scontrol", "--oneliner", "show", "job", number)
        return [dict(pair.split("=", 1) for pair in line.split() if "=" in pair) for line in shown.splitlines()]

    def job(self, number: str) -> dict[str, str]:
        (job,) = self.jobs(number)
        return job

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


def wait_until(there: Callable[[], object], what: str, log: Callable[[], str]) -> None:
    """Bounded, and with the last of what happened where it doesn't come."""
    deadline = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S} s\n{log()[-6000:]}"
        time.sleep(0.25)


@contextmanager
def slurm_cluster(environment: Mapping[str, str]) -> Iterator[SlurmCluster]:
    """Two nodes of a core each, idle. `environment`: of the commands that are given there.

    A job of the partition `urgent` takes the nodes from others, whose steps get SIGTERM, and which are queued again.
    """
    _needs()
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket's path has 107 characters at most
    (folder / "state").mkdir()
    names = "10.99.0.1 controller\n10.99.0.11 n1\n10.99.0.12 n2\n"
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, grace_s=GRACE_S))
    (folder / "start.sh").write_text(START.format(folder=folder, unshare=" ".join(UNSHARE)))
    with_conf = {**environment, "SLURM_CONF": str(folder / "slurm.conf")}
    with (folder / "log").open("wb") as log:
        outside = subprocess.Popen(
            [*UNSHARE, "bash", str(folder / "start.sh")], env=with_conf, stdout=log, stderr=log, start_new_session=True
        )
    try:
        children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
        wait_until(lambda: (folder / "ready").exists() or outside.poll() is not None, "Slurm", _log(folder))
        assert outside.poll() is None, f"Slurm has not started:\n{_log(folder)()}"
        yield SlurmCluster(folder=folder, inside=int(children.read_text()), environment=with_conf)
    finally:
        outside.send_signal(signal.SIGKILL)  # with it its child, the first process of the namespaces, and so all of it
        outside.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _log(folder: Path) -> Callable[[], str]:
    return lambda: (folder / "log").read_text(errors="replace")


def _needs() -> None:
    for program in ("slurmctld", "slurmd", "sbatch", "munged", "ip", "unshare", "nsenter"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed (Debian's packages slurm-wlm, munge and iproute2)")
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode != 0:
        missing("namespaces can't be made here: it takes root, and in a container --privileged")
