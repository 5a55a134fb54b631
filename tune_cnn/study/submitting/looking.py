"""A submitted study, found again by its name: how it stands, what it prints, and its end."""

import shlex
import sys
from pathlib import Path

from tune_cnn.errors import StudyError, TuneCnnError
from tune_cnn.started import as_started
from tune_cnn.study.submitting.course import ended
from tune_cnn.study.submitting.remembered import remembered
from tune_cnn.study.submitting.there import NOT_FOUND
from tune_cnn.trials.jobs.server import Job, JobsServer, NoEnd
from tune_cnn.untyped import Plain


def found(study: str, home: Path, jobs_url: str | None) -> tuple[JobsServer, Job]:
    """The cluster that the study was sent to, and its last start there; StudyError where there is none."""
    sent = remembered(home, study)
    url = jobs_url or (sent.jobs_url if sent else None)
    if url is None:
        raise StudyError(
            f"study {study!r}: was not submitted from {home}; give the --home of the submit, or --jobs-url URL"
        )
    server = JobsServer(url)
    job = server.latest(study)
    if job is None:
        raise StudyError(
            f"study {study!r}: the cluster at {url} knows no job of it (a cluster that was started again has forgotten "
            "all); the same submit command goes on from what is stored"
        )
    return server, job


def watch(study: str, home: Path, jobs_url: str | None) -> Job:
    """Print what the job prints until it ends, and end as it did. Ctrl-C leaves it alone."""
    server, job = found(study, home, jobs_url)
    return follow(server, job)


def follow(server: JobsServer, job: Job) -> Job:
    def write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    last = server.follow(job.submission, write)
    ended(last, told=True)
    return last


def logs(study: str, home: Path, jobs_url: str | None) -> str:
    server, job = found(study, home, jobs_url)
    return server.logs(job.submission)


def cancel(study: str, home: Path, jobs_url: str | None, *, at_once: bool, python: str) -> dict[str, Plain]:
    """Gently: the search ends at the epoch and keeps checkpoints. At once: its processes are killed."""
    server, job = found(study, home, jobs_url)
    if job.has_ended:
        raise StudyError(f"study {study!r}: is not running; its last start, {job.submission}, is {job.stands}")
    if at_once:
        server.stop(job.submission)
    else:
        command = [python, "-P", "-m", "tune_cnn.study.submitting.there", "stop", job.submission]
        told = _twice(server, f"exec {shlex.join(command)}", python)
        if told.status != "SUCCEEDED":
            why = "has no process on the head yet" if told.exit_code == NOT_FOUND else f"can't be told: {told.message}"
            typed = shlex.join([*as_started(), "cancel", study, "--now"])
            raise TuneCnnError(f"study {study!r}: the search {why}; try again, or end it at once: {typed}")
    return {"study": study, "submission": job.submission, "at_once": at_once}


def _twice(server: JobsServer, command: str, python: str) -> Job:
    """Once more where the head gave no end to it: a search that is told twice to end at the epoch ends there."""
    try:
        return server.command(command, python=python)
    except NoEnd:
        return server.command(command, python=python)


def standing(study: str, home: Path, jobs_url: str | None = None) -> dict[str, Plain] | None:
    """How the study's job stands; None where it was never sent from this home. A cluster that is away is said."""
    sent = remembered(home, study)
    if sent is None and jobs_url is None:
        return None
    url = jobs_url or (sent.jobs_url if sent else "")
    try:
        server, job = found(study, home, jobs_url)
    except TuneCnnError as error:
        return {"jobs_url": url, "submission": None, "status": None, "trouble": str(error)}
    return {"jobs_url": server.url, "submission": job.submission, "status": job.stands, "trouble": None}
