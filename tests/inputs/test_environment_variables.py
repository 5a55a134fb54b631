"""Environment variables of others: what is wrong in them is said by the variable's name, before anything is started."""

import socket
from collections.abc import Iterator

import pytest
from study.commands import environment, run, start

from tune_cnn.errors import InputError, StudyError, TuneCnnError
from tune_cnn.records.mlflow.environment import check_uri, outbox_environment
from tune_cnn.records.mlflow.reader import read_study
from tune_cnn.study.locations import Locations
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.cluster import address
from tune_cnn.trials.cluster.address import check_address

SPEC = """\
study: other
data: {name: digits}
model: {name: small_cnn}
space: {epochs: 1, batch_size: 256, model.width: 4}
budget: {trials: 1}
"""


@pytest.fixture
def no_ray_here(monkeypatch, tmp_path) -> Iterator[None]:
    """As on a machine where no Ray runs, with a folder of Ray's of its own."""
    monkeypatch.setattr(address.services, "find_gcs_addresses", set)
    monkeypatch.setattr(address.ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").mkdir()
    return


def refusal(given: str) -> str:
    with pytest.raises(TuneCnnError) as refused:
        check_address(given)
    return str(refused.value)


WRONG = [
    ("127.0.0.1:1", "nobody answers"),
    ("127.0.0.1:head", "nobody answers"),
    ("somewhere", "must be HOST:PORT"),
    ("http://127.0.0.1:8265", "not through Ray Client or the dashboard"),
    ("ray://127.0.0.1:10001", "not through Ray Client or the dashboard"),
    ("local", "is for a Ray of this machine's own"),
]


@pytest.mark.parametrize(("given", "says"), WRONG)
def test_an_address_that_leads_nowhere_is_named_as_it_was_given(no_ray_here, monkeypatch, given, says):
    """By the option, or by the variable, with a way to do without it."""
    assert refusal(given).startswith(f"--address {given}: ") and says in refusal(given)
    monkeypatch.setenv("RAY_ADDRESS", given)
    assert refusal(given).startswith(f"RAY_ADDRESS={given}: ") and says in refusal(given)


def test_a_dead_head_behind_auto_is_found_out_at_once(no_ray_here, tmp_path):
    """The file that Ray left when the head was killed is named: it is to be removed."""
    (tmp_path / "ray/ray_current_cluster").write_text("127.0.0.1:1")
    told = refusal("auto")
    assert told.startswith("--address auto: ") and "names the Ray cluster at 127.0.0.1:1, where nobody answers" in told
    assert f"remove {tmp_path / 'ray/ray_current_cluster'}, and start one by `ray start --head`" in told


def test_auto_goes_by_the_variable_where_there_is_one(no_ray_here, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert "RAY_ADDRESS=127.0.0.1:1 names the Ray cluster" in refusal("auto")
    assert "unset RAY_ADDRESS" in refusal("auto")


def test_an_address_where_somebody_listens_is_left_to_ray(no_ray_here, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        there = f"127.0.0.1:{listening.getsockname()[1]}"
        check_address(there)
        (tmp_path / "ray/ray_current_cluster").write_text(there)
        check_address("auto")


def test_without_a_cluster_auto_is_left_to_ray(no_ray_here):
    """It says so at once."""
    check_address("auto")


URIS = ["file:///tmp/mlruns", "./mlruns", "/tmp/mlruns", "htp://host", "mlruns", "sqlite:/mlflow.db"]


@pytest.mark.parametrize("uri", URIS)
def test_a_tracking_server_that_is_none_is_named_as_it_was_given(monkeypatch, uri):
    with pytest.raises(InputError, match=r"^--tracking-uri: must be a server"):
        check_uri(uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InputError, match=r"^MLFLOW_TRACKING_URI: must be a server"):
        check_uri(uri)


def test_a_folder_of_files_is_told_what_to_give_in_its_place():
    with pytest.raises(InputError, match=r"a folder of files is no store any more: give sqlite:///mlflow.db"):
        check_uri("file:///tmp/mlruns")
    check_uri("sqlite:///mlflow.db")


def test_an_empty_variable_is_as_good_as_none(monkeypatch, tmp_path):
    """Not the folder one is in."""
    monkeypatch.setenv("TUNE_CNN_CACHE", "")
    assert Locations(home=tmp_path, tracking_uri="sqlite:///mlflow.db").cache_dir == "~/.cache/tune_cnn"


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"MLFLOW_TRACKING_URI": "file:///tmp/mlruns"}, "MLFLOW_TRACKING_URI: must be a server"),
        ({"RAY_ADDRESS": "http://127.0.0.1:1"}, "RAY_ADDRESS=http://127.0.0.1:1: "),
        ({"PYTHONOPTIMIZE": "2"}, "PYTHONOPTIMIZE=2 (or -OO) takes the docstrings away that Ray reads"),
    ],
)
def test_a_search_is_refused_before_ray_is_started(tmp_path, monkeypatch, variables, says):
    (tmp_path / "other.yaml").write_text(SPEC)
    monkeypatch.setattr("study.commands.environment", lambda folder: environment(folder) | variables)
    process = start(tmp_path, "search", "other.yaml")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2 and says in err and "checking data" not in err
    monkeypatch.undo()
    assert run(tmp_path, "list").returncode == 0


def test_a_server_on_this_machine_is_asked_without_a_proxy():
    """What the user excludes stays excluded, by whichever of the two names."""
    for given in ({}, {"no_proxy": "intern"}, {"NO_PROXY": "intern"}):
        made = outbox_environment({"http_proxy": "http://127.0.0.1:9", **given}, "http://127.0.0.1:5000")
        expected = ",".join([*given.values(), "127.0.0.1", "localhost", "::1"])
        assert made["no_proxy"] == made["NO_PROXY"] == expected


def test_a_server_that_is_none_is_named_as_it_was_given(monkeypatch, tmp_path):
    """The message of the reader, once the address itself is sound."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match="check --home and --tracking-uri"):
        read_study("s", "sqlite:///none.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///none.db")
    with pytest.raises(StudyError, match="check --home and MLFLOW_TRACKING_URI"):
        read_study("s", "sqlite:///none.db")
