"""How a submitted study stands: its record, and its job on the cluster beside it."""

import sys
from collections.abc import Mapping

from tune_cnn.reports.terminal import printed
from tune_cnn.text import printable
from tune_cnn.untyped import Plain


def status(status: Mapping[str, Plain]) -> None:
    """As `printed.status`, with a line for the job; where the record can't be read from here, why."""
    if status["state"] is None:
        printed.line(f"{status['study']}: {status['unread']}")
    else:
        printed.status(status)
    if job := status["job"]:
        told = job["trouble"] or f"{job['submission']} is {job['status']}, at {job['jobs_url']}"
        sys.stdout.write(f"  {'job':12} {printable(told)}\n")
