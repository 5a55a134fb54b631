"""One cluster's Jobs API: whether it is Ray's, who may enter, and the jobs of our studies there."""

import asyncio
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tune_cnn.errors import InputError, Interrupted, TuneCnnError, first_line
from tune_cnn.spec import StudySpec
from tune_cnn.trials import ray_settings  # (before ray)
from tune_cnn.trials.cluster.machines import why_never
from tune_cnn.untyped import Plain, Untyped

import ray  # isort: skip
from ray.exceptions import AuthenticationError  # isort: skip
from ray.job_submission import JobSubmissionClient  # isort: skip

STUDY_KEY, ATTEMPT_KEY = "tune_cnn_study", "tune_cnn_attempt"  # of a job's metadata, by which it is found again
CONNECT_S, ANSWER_S = 10.0, 120.0  # across the world on a bad day; a package of 100 MB on a slow line
_ENDED = {"SUCCEEDED", "FAILED", "STOPPED"}
_OVERRIDING = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")  # Ray's client would take these over the URL that was given


class NoEnd(TuneCnnError):
    """The head was asked to run a short command, and nobody can say how it ended."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One start of a study's search on the cluster."""

    study: str
    attempt: int
    submission: str  # Ray's id of it
    status: str  # Ray's word: PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED
    message: str = ""
    exit_code: int | None = None  # None: while it runs, and where it was killed

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDED

    @property
    def stands(self) -> str:
        """In our words: what ended at the user's wish has not failed."""
        if self.status == "FAILED" and self.exit_code == Interrupted.exit_code:
            return "interrupted"
        return {"SUCCEEDED": "finished"}.get(self.status, self.status.lower())


def submission_id(study: str, attempt: int) -> str:
    """Two that submit the same study at once ask for the same id, and Ray lets one of them have it."""
    return f"tune-cnn.{study}.{attempt}"


def latest(jobs: list[Job], study: str) -> Job | None:
    """The last start of a study."""
    return max((job for job in jobs if job.study == study), key=lambda job: job.attempt, default=None)


class JobsServer:
    """The Jobs API at a URL. Every failure is a TuneCnnError, and each request is bounded."""

    def __init__(self, url: str) -> None:
        """InputError where the URL isn't Ray's, or the cluster asks for a token and there is none that it takes."""
        self.url = _checked(url)
        mode = _authentication(self.url)
        self.token = ray_settings.token() if mode == "token" else None
        if mode == "token" and self.token is None:
            raise InputError(
                f"--jobs-url {self.url}: the cluster lets in only who has its token; copy ~/.ray/auth_token of its "
                "head to this machine, or name it in RAY_AUTH_TOKEN_PATH"
            )
        with self._edge(), _without_overriding():
            headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
            self._client = _Client(self.url, headers=headers)

    # What is there

    def versions(self) -> dict[str, str]:
        """Of Python and Ray on the head."""
        told = self._get("/api/v0/cluster_metadata")["data"]
        return {"python": str(told["pythonVersion"]), "ray": str(told["rayVersion"])}

    def why_never(self, spec: StudySpec) -> str | None:
        """Why no node can hold a trial; None where one can, or an autoscaler may yet bring one."""
        if self._get("/api/cluster_status")["data"].get("autoscalingStatus"):
            return None
        found = self._get("/api/v0/nodes?detail=1&limit=10000")["data"]["result"]["result"]
        there = [node["resources_total"] for node in found if node["state"] == "ALIVE"]
        return why_never(spec.resources, there) if there else None  # a head that has just begun names none yet

    # Jobs

    def jobs(self) -> list[Job]:
        """All starts of all our studies that this cluster remembers."""
        with self._edge():
            listed = self._client.list_jobs()
        return [_job(details) for details in listed if STUDY_KEY in (details.metadata or {})]

    def latest(self, study: str) -> Job | None:
        return latest(self.jobs(), study)

    def submit(self, study: str, attempt: int, entrypoint: str, package: Path | None, *, python: str) -> str:
        """Start it; the submission's id. FileExistsError where another has taken this attempt meanwhile.

        `python`: on the head. Ray's own choice for the process that starts the job would be `uv run`, in a copy of its
        folder, where the head was started by that.
        """
        wanted = submission_id(study, attempt)
        try:
            with self._edge():
                return str(
                    self._client.submit_job(
                        entrypoint=entrypoint,
                        submission_id=wanted,
                        runtime_env={"py_executable": python, **({"working_dir": str(package)} if package else {})},
                        metadata={STUDY_KEY: study, ATTEMPT_KEY: str(attempt)},
                    )
                )
        except TuneCnnError as error:
            if "already exists" in str(error):
                raise FileExistsError(wanted) from None
            raise

    def command(self, entrypoint: str, timeout_s: float = 120.0, *, python: str = "python") -> Job:
        """Run a short command on the head, as a job of its own that is forgotten afterwards; how it ended.

        NoEnd where it has not ended in time; it is stopped then, and may have done its work or not.
        """
        with self._edge():
            submission = self._client.submit_job(entrypoint=entrypoint, runtime_env={"py_executable": python})
            until_s = time.monotonic() + timeout_s
            while not (job := _job(self._client.get_job_info(submission))).has_ended:
                if time.monotonic() > until_s:
                    self._client.stop_job(submission)
                    raise NoEnd(
                        f"{self.url}: a short command on the head has not ended in {timeout_s:.0f} s and stands at "
                        f"{job.status} ({job.message.strip() or 'Ray says no more'}); is the head overloaded?"
                    )
                time.sleep(0.5)
            self._client.delete_job(submission)
        return job

    def stop(self, submission: str) -> None:
        """At once: SIGTERM, and SIGKILL after Ray's three seconds."""
        with self._edge():
            self._client.stop_job(submission)

    def logs(self, submission: str) -> str:
        with self._edge():
            return str(self._client.get_job_logs(submission))

    def follow(self, submission: str, write: Callable[[str], object]) -> Job:
        """Hand on what the job prints until it has ended. A connection that breaks is made again, and nothing is
        written twice."""
        written = 0
        while True:
            skip = written

            async def tail() -> None:
                nonlocal written, skip
                async for text in self._client.tail_job_logs(submission):
                    fresh = text[skip:]
                    skip -= len(text) - len(fresh)
                    written += len(fresh)
                    write(fresh)

            try:
                asyncio.run(tail())
            except (RuntimeError, OSError):  # aiohttp's errors are OSError too; whether the job goes on is asked next
                time.sleep(1.0)
            with self._edge():
                job = _job(self._client.get_job_info(submission))
            if job.has_ended:
                return job
            time.sleep(0.5)

    def _get(self, path: str) -> Untyped:
        with self._edge():
            answer = self._client._do_request("GET", path)
            answer.raise_for_status()
            return answer.json()

    @contextmanager
    def _edge(self) -> Iterator[None]:
        try:
            yield
        except AuthenticationError as error:
            raise InputError(
                f"--jobs-url {self.url}: the cluster doesn't take this token ({first_line(error)}); copy "
                "~/.ray/auth_token of its head to this machine"
            ) from None
        except (OSError, RuntimeError, ValueError, KeyError) as error:  # requests' errors are OSError
            if isinstance(error, FileExistsError):
                raise
            raise TuneCnnError(f"{self.url}: the cluster's Jobs API failed: {first_line(error)}") from error


class _Client(JobSubmissionClient):
    """Ray's client waits for ever by itself."""

    def _do_request(self, *args: Untyped, **kwargs: Untyped) -> Untyped:
        return super()._do_request(*args, **{"timeout": (CONNECT_S, ANSWER_S), **kwargs})


def _job(details: Untyped) -> Job:
    metadata: dict[str, Plain] = details.metadata or {}
    return Job(
        study=metadata.get(STUDY_KEY, ""),
        attempt=int(metadata.get(ATTEMPT_KEY, 0)),
        submission=details.submission_id or "",
        status=str(getattr(details.status, "value", details.status)),
        message=details.message or "",
        exit_code=details.driver_exit_code,
    )


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InputError(
            f"--jobs-url {url}: must be the address of the head's dashboard, like http://HEAD:8265; `ray start --head` "
            "prints it"
        )
    if parts.username or parts.password:
        raise InputError("--jobs-url: holds a password, which everyone on this machine can read; leave it out")
    return url.rstrip("/")


def _authentication(url: str) -> str:
    """How the cluster lets one in, asked without showing the token to whoever it is; InputError where it isn't Ray."""
    request = urllib.request.Request(f"{url}/api/authentication_mode")
    local = urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))
    try:
        with opener.open(request, timeout=CONNECT_S) as answer:
            return str(json.loads(answer.read(10_000))["authentication_mode"])
    except (urllib.error.HTTPError, ValueError, KeyError, TypeError):
        raise InputError(
            f"--jobs-url {url}: a server answers there, but it isn't Ray's dashboard; give the address that "
            f"`ray start --head` prints, http://HEAD:8265 by default (Ray {ray.__version__} or newer)"
        ) from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise TuneCnnError(
            f"--jobs-url {url}: nobody answers ({reason}); see whether `ray start --head` runs there with "
            "--dashboard-host open to this machine, and that its environment has tune-cnn[cluster]"
        ) from None


@contextmanager
def _without_overriding() -> Iterator[None]:
    before = {name: os.environ.pop(name) for name in _OVERRIDING if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
