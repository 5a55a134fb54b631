"""How much of its time a thread was ready to run, and other work had its core."""

from pathlib import Path

OF_THREAD = Path("/proc/thread-self/schedstat")  # of Linux: nanoseconds run, nanoseconds ready but waiting, turns


def ready_but_waiting_s(of: Path = OF_THREAD) -> float | None:
    """Seconds of the calling thread so far; None where the system doesn't tell."""
    try:
        return int(of.read_text(encoding="ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return None


def taken_pct(before_s: float | None, after_s: float | None, wall_s: float) -> float | None:
    """Of a stretch, the share that other work took from the thread."""
    if before_s is None or after_s is None or wall_s <= 0:
        return None
    return 100 * min(1.0, max(0.0, (after_s - before_s) / wall_s))
