"""Connecting to Ray: to one started here, to one already joined, to a cluster."""

import os
from pathlib import Path

import pytest
from drivers import drive, package

from tune_cnn.errors import TuneCnnError
from tune_cnn.trials.cluster.joining import _folder_for_sockets
from tune_cnn.trials.cluster.machines import connected, nodes


def test_a_local_ray_finds_the_users_code_and_leaves_nothing_behind(tmp_path):
    """Code in the working directory and in resources.code reaches the workers, and further ranks too.

    Ray's processes and folders are gone afterwards; RAY_ADDRESS of another cluster is not joined unasked.
    """
    here, elsewhere, temporary = tmp_path / "here", tmp_path / "elsewhere", tmp_path / "t"
    temporary.mkdir()
    beside, named = package(here, "beside"), package(elsewhere, "named")
    found = drive(
        f"""
with connected(None, code=[{str(elsewhere)!r}], calls=[{named!r}]):
    import ray
    folder = ray._private.worker._global_node.get_session_dir_path()
    processes = [p.pid for found in ray._private.worker._global_node.all_processes.values() for p in
                 [one.process for one in found]]
    where = [call_on_node({beside!r} + "where", {{"CPU": 1.0}}), call_on_node({named!r} + "where", {{"CPU": 1.0}})]
    script = Script([trial(epochs=2), trial(fault="die once", marker={str(tmp_path / "died")!r})])
    run_trials(script, payload(ranks=2, loop={named!r} + "Loop"), cpu_slots(1, ranks=2))
alive = [pid for pid in processes if os.path.exists(f"/proc/{{pid}}") and "Z" not in open(f"/proc/{{pid}}/stat").read()]
print(json.dumps([where, script.states(), folder, len(processes), alive]))
""",
        cwd=here,
        TMPDIR=str(temporary),
        RAY_ADDRESS="127.0.0.1:1",
    )
    where, states, folder, processes, alive = found
    assert where == [str(here / "beside" / "training.py"), str(elsewhere / "named" / "training.py")]
    assert states == ["complete", "complete"]
    assert processes > 2
    assert alive == []
    assert not Path(folder).parent.exists()
    assert list(temporary.iterdir()) == []


def test_a_ray_that_was_there_stays(one_ray):
    before = nodes()
    with connected(None, code=[], calls=[]):
        assert nodes() == before
    assert nodes() == before


def test_another_cluster_than_the_joined_one_is_refused(one_ray):
    with pytest.raises(TuneCnnError, match=r"127.0.0.1:1: this process has joined the Ray at "):
        enter("127.0.0.1:1")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "--address 127.0.0.1:1: nobody answers .*ray start --head"),
        ("no.such.host.invalid:6379", "--address no.such.host.invalid:6379: nobody answers"),
        ("127.0.0.1:head", "--address 127.0.0.1:head: nobody answers"),
        ("ray://127.0.0.1:10001", "not through Ray Client or the dashboard; give HOST:PORT"),
    ],
)
def test_an_address_where_no_cluster_is_gives_one_clear_sentence(monkeypatch, address, said):
    """At once: Ray itself tries for minutes, writes on stderr and ends the process."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(TuneCnnError, match=said) as error:
        enter(address)
    assert "\n" not in str(error.value)


def enter(address: str) -> None:
    with connected(address, code=[], calls=[]):
        raise AssertionError("there is no cluster")


def test_rays_sockets_fit_into_a_path(monkeypatch, tmp_path):
    """A long TMPDIR, as batch systems give, would make Ray refuse to start."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("long" * 20)))
    assert _folder_for_sockets() == "/tmp"
    monkeypatch.setattr("tempfile.tempdir", os.sep + "short")
    assert _folder_for_sockets() == "/short"
