"""The course of a submission: check what can be checked here, pack, send, and see that the search begins."""

import json
import os
import shlex
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.errors import InputError, Interrupted, ResourceError, TuneCnnError
from tune_cnn.spec import StudySpec
from tune_cnn.spec.addresses import QUERY
from tune_cnn.spec.reading.yaml_text import dump_yaml
from tune_cnn.study.hints import again
from tune_cnn.study.submitting import there
from tune_cnn.study.submitting.places import Places
from tune_cnn.study.submitting.remembered import Sent, remember
from tune_cnn.study.submitting.versions import check_same, versions
from tune_cnn.trials.jobs.package import Packed, code_from_elsewhere, pack
from tune_cnn.trials.jobs.server import Job, JobsServer, submission_id
from tune_cnn.trials.sealing import seal
from tune_cnn.untyped import Plain

BEGIN_S = 300.0  # a package of 100 MB is unpacked, and the head imports torch from a cold disk
SHOWN = 8  # names of what is left out
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What is sent, and from where."""

    spec: StudySpec
    places: Places
    home: Path  # here: where it is remembered
    store_file: Path | None = None
    folder: Path  # the working directory
    python: str = "python"  # on the head

    @property
    def study(self) -> str:
        return self.spec.study


def submit(wanted: Submission, server: JobsServer, report: Report) -> Job:
    """Send the search, or find the one that runs already. Raises TuneCnnError; returns once the search has begun."""
    before = server.latest(wanted.study)
    if before is not None and not before.has_ended:
        _remember(wanted, server)
        report(f"study {wanted.study} runs there already, as {before.submission}; nothing is sent")
        return before
    if wanted.places.is_secret and server.token is None:
        raise InputError(
            f"--jobs-url {server.url}: this cluster is open, so whoever reaches it could read the passwords that "
            "are to be sent; start Ray there with RAY_AUTH_MODE=token, or set TUNE_CNN_STORE, MLFLOW_TRACKING_* and "
            f"{QUERY} where `ray start` runs, unset them here, and give --on-head"
        )
    if why := server.why_never(wanted.spec):
        raise ResourceError(why)
    check_same(versions(), server.versions(), where=f"the cluster at {server.url}")
    if before is not None:
        report(f"the last start of study {wanted.study} {_ended_how(before)}; it goes on from what is stored")
    job = _send(wanted, server, (before.attempt if before else 0) + 1, report)
    _remember(wanted, server)
    _await_begin(server, job, report)
    return job


def ended(job: Job, *, told: bool) -> None:
    """Raise as `search` itself would have ended. `told`: the user has read the log already."""
    if job.status == "SUCCEEDED":
        return
    kind = {2: InputError, 130: Interrupted}.get(job.exit_code or 1, TuneCnnError)
    if job.status == "STOPPED":
        kind = Interrupted
    tail = "" if told else "\n" + job.message.strip()
    raise kind(f"study {job.study!r}: the search {_ended_how(job)}{tail}")


def _ended_how(job: Job) -> str:
    if job.status == "SUCCEEDED":
        return "has ended"
    if job.status == "STOPPED":
        return "was stopped"
    if job.exit_code == Interrupted.exit_code:
        return "was interrupted"
    return f"failed with exit code {job.exit_code}" if job.exit_code is not None else "was lost with its process"


def _send(wanted: Submission, server: JobsServer, attempt: int, report: Report) -> Job:
    with tempfile.TemporaryDirectory(prefix="tune_cnn-submit-") as scratch:
        package = Path(scratch) / "package.zip"
        extra = _extra(wanted, server, submission_id(wanted.study, attempt))
        packed = pack(
            wanted.folder,
            package,
            leave_out=[*wanted.spec.resources.leave_out, *_of_studies(wanted)],
            secret=[wanted.store_file] if wanted.store_file else [],
            extra=extra,
        )
        report(_said(packed))
        command = shlex.join([wanted.python, "-P", "-m", "tune_cnn.study.submitting.there", "search"])
        try:
            # `exec`: the search is the job's own process, and no shell between takes a signal for it
            submission = server.submit(wanted.study, attempt, f"exec {command}", package, python=wanted.python)
        except FileExistsError:  # another `submit` was faster
            report("another submit of this study was faster; its search is the one")
        else:
            report(f"sent as {submission}")
    job = server.latest(wanted.study)
    assert job is not None, "it was submitted"
    return job


def _extra(wanted: Submission, server: JobsServer, submission: str) -> dict[str, bytes]:
    """Files in the package that the folder doesn't hold: the spec, what it names, and code from elsewhere."""
    spec, files = _spec_there(wanted)
    places = wanted.places
    sent: dict[str, Plain] = {
        "study": wanted.study,
        "submission": submission,
        "home": places.home,
        "storage": places.storage,
        "versions": versions(),
        "again": again(),
        "environment": {} if server.token else dict(places.environment),
    }
    extra = {f"{there.FOLDER}/{there.SENT}": json.dumps(sent).encode(), f"{there.FOLDER}/{there.SPEC}": spec.encode()}
    if server.token and places.environment:
        extra[f"{there.FOLDER}/{there.SEALED}"] = seal(places.environment, server.token)
    for name, path in files.items():
        extra[f"{there.FOLDER}/{there.FILES}/{name}"] = path.read_bytes()
    resources = wanted.spec.resources
    return extra | code_from_elsewhere(resources.code, wanted.folder, resources.leave_out)


def _spec_there(wanted: Submission) -> tuple[str, dict[str, Path]]:
    """The resolved spec, and files that it names. Its code lies at the top of the working directory there, so that no
    path of it changes from start to start."""
    spec = wanted.spec.model_dump(exclude_defaults=True)
    spec.get("resources", {}).pop("code", None)
    files: dict[str, Path] = {}
    sources = []
    for number, source in enumerate(wanted.spec.warm_start):
        if os.sep in source:
            name = f"{number}-{Path(source).name}"
            files[name] = Path(source)
            source = f"{there.files_there(wanted.places.home, wanted.study)}/{name}"
        sources.append(source)
    if sources:
        spec["warm_start"] = sources
    return dump_yaml(spec), files


def _of_studies(wanted: Submission) -> list[str]:
    """Patterns of what searches have left in the folder: it is no code."""
    home = wanted.home.absolute()
    inside = home.is_relative_to(wanted.folder) and home != wanted.folder
    own = [f"/{home.relative_to(wanted.folder)}/"] if inside else []
    return [*own, "/mlflow.db*", "/mlartifacts/"]


def _said(packed: Packed) -> str:
    line = f"packed {packed.files} files, {packed.size_bytes / 1e6:.1f} MB"
    if not packed.left_out:
        return line
    more = len(packed.left_out) - SHOWN
    return f"{line}; left here: {', '.join(packed.left_out[:SHOWN])}{f' and {more} more' if more > 0 else ''}"


def _remember(wanted: Submission, server: JobsServer) -> None:
    store = str(wanted.store_file.expanduser().absolute()) if wanted.store_file else None
    remember(wanted.home, wanted.study, Sent(jobs_url=server.url, store_file=store))


def _await_begin(server: JobsServer, job: Job, report: Report) -> None:
    """Until the head has checked its versions and the search's process is up; what fails before is raised."""
    report("waiting for the head to begin")
    until_s = time.monotonic() + BEGIN_S
    while time.monotonic() < until_s:
        now = server.latest(job.study)
        if now is None or now.has_ended:
            if now is not None:
                ended(now, told=False)
            return
        if now.status == "RUNNING" and there.BEGINS in server.logs(job.submission):
            return
        time.sleep(1.0)
    report(f"the head has not begun in {BEGIN_S:.0f} s, and may yet")
