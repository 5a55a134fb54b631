"""What goes to a cluster and what is refused before, without one."""

import json
import os
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tune_cnn.errors import InputError, TuneCnnError
from tune_cnn.spec import load_spec
from tune_cnn.spec.addresses import QUERY
from tune_cnn.study.submitting.places import places
from tune_cnn.study.submitting.remembered import Sent, remember, remembered
from tune_cnn.study.submitting.versions import check_same, differing, versions
from tune_cnn.trials.cluster import sealed_environment
from tune_cnn.trials.cluster.machines import why_never
from tune_cnn.trials.jobs import package
from tune_cnn.trials.sealing import seal, unseal

from ray._common.utils import load_class  # isort: skip
from tune_cnn.trials.jobs.server import Job, JobsServer, latest

HEAD = "http://head:8265"
STORE = "postgresql://me:geheim@db/studies"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TUNE_CNN_STORE", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD", QUERY):
        monkeypatch.delenv(name, raising=False)


def test_only_the_same_token_opens_what_was_sealed() -> None:
    """And the text itself shows nothing of it."""
    sealed = seal({"TUNE_CNN_STORE": STORE}, "a" * 64)
    assert b"geheim" not in sealed
    assert unseal(sealed, "a" * 64) == {"TUNE_CNN_STORE": STORE}
    with pytest.raises(InputError, match="another token"):
        unseal(sealed, "b" * 64)


def test_record_and_checkpoints_are_asked_for(tmp_path: Path) -> None:
    """Each by its option, unless the user says that the head's disk will do."""
    file = tmp_path / "store"
    file.write_text(STORE + "\n")
    ask = {"store": None, "storage": None, "on_head": None, "tracking_uri": None, "jobs_url": HEAD}
    with pytest.raises(InputError, match=r"--store FILE.*--on-head"):
        places(**ask)
    with pytest.raises(InputError, match=r"--storage.*--on-head"):
        places(**{**ask, "store": file})
    with pytest.raises(InputError, match="whole path"):
        places(**{**ask, "store": file, "storage": "checkpoints"})
    found = places(**{**ask, "store": file, "storage": "/shared"})
    assert found.environment == {"TUNE_CNN_STORE": STORE}
    assert found.is_secret
    assert not places(**{**ask, "on_head": "/data"}).is_secret


def test_the_signature_of_shards_is_sent_as_a_password_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what a server of shards wants behind the ?."""
    monkeypatch.setenv(QUERY, "sig=geheim")
    found = places(store=None, storage=None, on_head="/data", tracking_uri=None, jobs_url=HEAD)
    assert found.environment == {QUERY: "sig=geheim"} and found.is_secret


def test_nodes_get_the_signature_sealed_and_open_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what Ray brings them, which it keeps and shows; where the cluster has no token, not at all."""
    monkeypatch.setenv(QUERY, "sig=geheim")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    carried: dict = {"env_vars": {}}
    sealed_environment.carry_sealed(carried)
    assert carried == {"env_vars": {}}
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    sealed_environment.carry_sealed(carried)
    assert "geheim" not in str(carried) and "sig" not in str(carried)
    monkeypatch.delenv(QUERY)
    monkeypatch.setenv(sealed_environment.SEALED, carried["env_vars"][sealed_environment.SEALED])
    load_class(carried["worker_process_setup_hook"])()  # as Ray's processes do
    assert os.environ[QUERY] == "sig=geheim" and sealed_environment.SEALED not in os.environ
    sealed_environment.carry_sealed(carried := {"env_vars": {}})
    monkeypatch.delenv(QUERY)
    sealed_environment.carry_sealed(unasked := {"env_vars": {}})
    assert carried != {"env_vars": {}} and unasked == {"env_vars": {}}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"on_head": "data"}, "whole path"),
        ({"tracking_uri": "http://127.0.0.1:5000"}, "another one"),
        ({"tracking_uri": "sqlite:///mlflow.db"}, "file of this machine"),
        ({"tracking_uri": "./mlruns"}, "--tracking-uri: must be a server"),
        ({"tracking_uri": "file:///data/mlruns"}, "a folder of files is no store any more"),
    ],
)
def test_what_another_machine_can_not_find_is_refused(changed: dict[str, str], told: str) -> None:
    """A loopback address, a file of this machine, a folder without its whole path."""
    ask = {"store": None, "storage": None, "on_head": "/data", "tracking_uri": None, "jobs_url": HEAD}
    with pytest.raises(InputError, match=told):
        places(**{**ask, **changed})


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_database_of_this_machine_is_named_from_the_root(
    by_variable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster on this machine has the job in a folder of its own, which goes with the job."""
    monkeypatch.chdir(tmp_path)
    if by_variable:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    asked = None if by_variable else "sqlite:///mlflow.db"
    found = places(store=None, storage=None, on_head="/data", tracking_uri=asked, jobs_url="http://127.0.0.1:8265")
    assert found.environment["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize("text", ["", "sqlite:///here.db", "no url", "postgresql://a postgresql://b"])
def test_a_store_file_holds_one_url_of_postgresql(tmp_path: Path, text: str) -> None:
    """Its text is never in the message: it may be a password."""
    file = tmp_path / "store"
    file.write_text(text)
    with pytest.raises(InputError, match="--store") as error:
        places(store=file, storage="/shared", on_head=None, tracking_uri=None, jobs_url=HEAD)
    assert not text or text not in str(error.value)


def test_a_package_holds_the_folder_without_what_stays(tmp_path: Path) -> None:
    """.gitignore and leave_out are honoured, the store's file stays whatever they say, and what stays is told."""
    for name in ("code.py", "ignored/big", "data/images", "store.url", "spec.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".gitignore").write_text("ignored/\n")
    target = tmp_path.parent / f"{tmp_path.name}.zip"
    packed = package.pack(
        tmp_path, target, leave_out=["data/"], secret=[tmp_path / "store.url"], extra={"spec.yaml": b"resolved"}
    )
    with zipfile.ZipFile(target) as archive:
        assert sorted(archive.namelist()) == [".gitignore", "code.py", "spec.yaml"]
        assert archive.read("spec.yaml") == b"resolved"
    assert packed.left_out == ("data/", "ignored/", "store.url")


def test_a_folder_over_the_limit_is_refused_with_what_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest file is named, and how to leave it here."""
    monkeypatch.setattr(package, "LIMIT_BYTES", 2_000_000)
    with (tmp_path / "weights.pt").open("wb") as file:
        file.truncate(30_000_000)
    with pytest.raises(InputError, match=r"30 MB.*weights\.pt.*leave_out"):
        package.pack(tmp_path, tmp_path / "x.zip", leave_out=[], secret=[], extra={})


def test_code_from_elsewhere_lies_at_the_top(tmp_path: Path) -> None:
    """So that the job imports it; what the folder holds at its top already travels with it."""
    here, other = tmp_path / "here", tmp_path / "other"
    for module in (here / "mine", other / "theirs"):
        module.mkdir(parents=True)
        (module / "__init__.py").write_text("x = 1\n")
    found = package.code_from_elsewhere([str(here / "mine"), str(other)], here, [])
    assert found == {"theirs/__init__.py": b"x = 1\n"}


def test_versions_that_differ_are_named() -> None:
    """Each with both sides; a patch of Python is the same Python."""
    here = {**versions(), "python": "3.11.7", "torch": "2.15.0"}
    assert differing(here, {**here, "python": "3.11.9"}) == []
    assert differing(here, {**here, "torch": "2.14.0"}) == ["torch 2.15.0 here, 2.14.0 on the cluster"]
    with pytest.raises(InputError, match=r"the head: .*python 3\.11\.7 here, 3\.12\.1"):
        check_same(here, {**here, "python": "3.12.1"}, where="the head")


def test_a_spec_that_no_node_holds_is_known_before(tmp_path: Path) -> None:
    """By the nodes' resources alone, without a connection to Ray."""
    spec = load_spec("quickstart", ["resources.cpus_per_trial=16"])
    assert why_never(spec.resources, [{"CPU": 32.0}]) is None
    told = why_never(spec.resources, [{"CPU": 4.0}, {"CPU": 8.0, "GPU": 1.0}])
    assert told is not None
    assert "16 CPUs" in told
    assert "4 CPUs and 0 GPUs; 8 CPUs and 1 GPUs" in told


def test_the_last_start_of_a_study_counts() -> None:
    """Not another study's whose name begins alike."""
    named = [("a", 1), ("a", 10), ("a", 9), ("a.1", 11)]
    jobs = [Job(study=s, attempt=n, submission=f"{s}.{n}", status="RUNNING") for s, n in named]
    found = latest(jobs, "a")
    assert found is not None
    assert found.attempt == 10
    assert latest(jobs, "b") is None


def test_where_a_study_was_sent_is_remembered(tmp_path: Path) -> None:
    """In the study's folder; a damaged file is said."""
    assert remembered(tmp_path, "some") is None
    remember(tmp_path, "some", Sent(jobs_url=HEAD))
    assert remembered(tmp_path, "some") == Sent(jobs_url=HEAD)
    (tmp_path / "some" / "submitted.json").write_text("{")
    with pytest.raises(InputError, match="--jobs-url"):
        remembered(tmp_path, "some")


class _Other(BaseHTTPRequestHandler):
    """A web server that isn't Ray's, and remembers what it was told."""

    seen: list[str] = []  # noqa: RUF012  (the class is made anew by nobody, and the server makes the objects)
    answer: tuple[int, bytes] = (404, b"no")

    def do_GET(self) -> None:
        self.seen.append(str(self.headers))
        self.send_response(self.answer[0])
        self.end_headers()
        self.wfile.write(self.answer[1])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def other_server() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Other)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("answer", [(404, b"no"), (200, b"<html>"), (200, json.dumps({"x": 1}).encode())])
def test_a_server_that_is_not_rays_is_refused(
    other_server: str, answer: tuple[int, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never sees the token."""
    monkeypatch.setattr(_Other, "answer", answer)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    with pytest.raises(InputError, match="isn't Ray's"):
        JobsServer(other_server)
    assert _Other.seen
    assert not [headers for headers in _Other.seen if "t" * 64 in headers]


def test_nobody_listens() -> None:
    """Said at once, with what to start."""
    with pytest.raises(TuneCnnError, match="nobody answers"):
        JobsServer("http://127.0.0.1:9")


@pytest.mark.parametrize("url", ["head:8265", "ray://head:10001", "http://", "http://me:geheim@head:8265"])
def test_an_address_that_is_no_url_is_refused(url: str) -> None:
    """A Ray Client address too; a password in it is not repeated."""
    with pytest.raises(InputError, match="--jobs-url") as error:
        JobsServer(url)
    assert "geheim" not in str(error.value)
