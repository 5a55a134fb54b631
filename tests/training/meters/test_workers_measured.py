"""CPU time and memory are those of the whole family: the process that trains and its loader workers."""

import mmap
import multiprocessing
import subprocess
import sys

import pytest

from tune_cnn.training.meters.memory import ResidentMemory
from tune_cnn.training.meters.processes import Family

MIB = 2**20


def run_child(code: str) -> subprocess.Popen:
    """A child that runs `code`, says a line, and waits to be let go."""
    program = f"import sys, time\n{code}\nprint('ready', flush=True)\nsys.stdin.readline()"
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    return child


def end(child: subprocess.Popen) -> None:
    child.communicate("go\n")


BURN = "until = time.process_time() + 0.3\nwhile time.process_time() < until: pass"


@pytest.mark.parametrize("ends_within", [True, False])
def test_cpu_time_of_loader_workers_counts(meters, ends_within):
    """A worker's CPU time counts whether it lives on or ended within the stretch."""
    with meters.training():
        child = run_child(BURN)
        if ends_within:
            end(child)
    assert meters.state_dict()["cpu_time_s"] >= 0.28  # the kernel counts in ticks of 10 ms
    if not ends_within:
        end(child)


def test_cpu_time_of_before_a_stretch_does_not_come_in_by_a_worker_that_ends_within(meters):
    """What a worker used before the stretch stays out, though its parent is credited with all of it at its end."""
    child = run_child(BURN)
    with meters.training():
        end(child)
    assert meters.state_dict()["cpu_time_s"] < 0.28


def test_memory_held_for_a_moment_within_a_stretch_is_seen():
    """A sample while it is held keeps the peak after it is given back.

    The pages are the kernel's: the C library's heap may still hold what earlier tests of this process have freed, and
    a block from there makes nothing more resident.
    """
    meter = ResidentMemory(Family())
    meter.begin()
    meter.enter(0.0)
    before_mib = meter.read()["peak_memory_mib"]
    with mmap.mmap(-1, 100 * MIB) as held:
        held.write(b"x" * (100 * MIB))
        meter.sample(0.1)
    meter.leave(0.2)
    assert meter.read()["peak_memory_mib"] >= before_mib + 95


def test_a_workers_own_memory_counts_and_what_it_shares_does_not():
    """A child's 64 MiB of its own count, a shared mapping of 64 MiB only once, in the process that trains."""
    family = Family()
    family.refresh()
    before = family.resident_bytes()
    child = run_child("held = bytearray(b'x') * (64 * 2**20)")
    family.refresh()
    assert family.resident_bytes() - before >= 64 * MIB
    end(child)
    shared = run_child("import mmap\nheld = mmap.mmap(-1, 64 * 2**20)\nheld.write(b'x' * (64 * 2**20))")
    family.refresh()
    assert family.resident_bytes() - before < 64 * MIB
    end(shared)


def _hold_until(event) -> None:
    event.wait(60)


def test_workers_of_a_fork_server_belong_to_the_family():
    """They are children of the server, grandchildren of the rank."""
    context = multiprocessing.get_context("forkserver")
    event = context.Event()
    worker = context.Process(target=_hold_until, args=(event,))
    worker.start()
    family = Family()
    family.refresh()
    assert worker.pid in [process.pid for process in family._descendants]
    event.set()
    worker.join()
    assert family.cpu_time_s() > 0 and family.resident_bytes() > 0  # an ended worker is no error
