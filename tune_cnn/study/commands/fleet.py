"""What the commands of a fleet do: results as plain data, for --json or for a reader."""

import os
import shlex
from pathlib import Path

from tune_cnn.errors import InputError, StudyError
from tune_cnn.reports.terminal import printed
from tune_cnn.spec import StudySpec, load_spec
from tune_cnn.spec.parts import study_name
from tune_cnn.started import as_started
from tune_cnn.study.archive import read_archive, spec_of
from tune_cnn.study.locations import Locations
from tune_cnn.study.study import Study, list_studies
from tune_cnn.study.submitting.remembered import remembered, with_store_of
from tune_cnn.untyped import Plain


def submit(
    spec: StudySpec,
    *,
    jobs_url: str | None,
    store: Path | None,
    storage: str | None,
    on_head: str | None,
    python: str,
    home: Path,
    tracking_uri: str | None,
    follow: bool,
) -> dict[str, Plain]:
    from tune_cnn.study.submitting import course, looking
    from tune_cnn.study.submitting.places import places
    from tune_cnn.trials.jobs.server import JobsServer

    home = home.expanduser().absolute()
    sent = remembered(home, spec.study)
    url = jobs_url or (sent.jobs_url if sent else None)
    if url is None:
        raise InputError("submit: --jobs-url is required; give the address of the head's dashboard, http://HEAD:8265")
    there = places(store=store, storage=storage, on_head=on_head, tracking_uri=tracking_uri, jobs_url=url)
    wanted = course.Submission(spec=spec, places=there, home=home, store_file=store, folder=Path.cwd(), python=python)
    server = JobsServer(url)
    job = course.submit(wanted, server, printed.line)
    if follow:
        job = looking.follow(server, job)
    typed = {name: shlex.join([*as_started(), name, spec.study, *_at(home)]) for name in ("watch", "status", "cancel")}
    return {"study": spec.study, "submission": job.submission, "jobs_url": url, "next": typed}


def show_submitted(sent: dict[str, Plain]) -> None:
    printed.line(f"Study {sent['study']} is searched as {sent['submission']}, with or without this machine.")
    for name, command in sent["next"].items():
        printed.line(f"  {name + ':':8} {command}")


def watch(study: str, home: Path, jobs_url: str | None) -> None:
    from tune_cnn.study.submitting import looking

    looking.watch(study_name(study), _home(home), jobs_url)


def logs(study: str, home: Path, jobs_url: str | None) -> str:
    from tune_cnn.study.submitting import looking

    return looking.logs(study_name(study), _home(home), jobs_url)


def cancel(study: str, home: Path, jobs_url: str | None, *, at_once: bool, python: str) -> dict[str, Plain]:
    from tune_cnn.study.submitting import looking

    return looking.cancel(study_name(study), _home(home), jobs_url, at_once=at_once, python=python)


def status(of: Study) -> dict[str, Plain]:
    """The study by its record, and its job beside it where it was submitted from this home.

    Where the record is on the head alone, the job is all that is known here.
    """
    sent = remembered(of.home, of.name)
    if sent is None:
        return {**of.status(), "job": None}
    from tune_cnn.study.submitting.looking import standing

    job = standing(of.name, of.home)
    with with_store_of(sent):
        try:
            return {**of.status(), "job": job}
        except StudyError as error:
            return {"study": of.name, "state": None, "unread": str(error), "job": job}


def _home(home: Path) -> Path:
    return home.expanduser().absolute()


def _at(home: Path) -> list[str]:
    is_default = home == Path("studies").absolute() and "TUNE_CNN_HOME" not in os.environ
    return [] if is_default else ["--home", str(home)]


# doctor


def doctor(of: str | None, locations: Locations, *, clean: bool) -> dict[str, Plain]:
    """`of`: a spec, a recipe or a study of the home, whose images are looked for; None: of none."""
    from tune_cnn.study.doctoring.course import examine

    return examine(locations, None if of is None else _named_spec(of, locations.home), clean=clean)


def _named_spec(of: str, home: Path) -> StudySpec:
    is_study = not Path(of).expanduser().is_file() and any(line["study"] == of for line in list_studies(home))
    return spec_of(read_archive(of, home, None)) if is_study else load_spec(of)
