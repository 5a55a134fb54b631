"""What a node said of itself, held against what must be: each fault is named with what to do, the rest is let be."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tune_cnn.spec import DataSpec
from tune_cnn.training.inspection.between_nodes import faults_of, listen, reach, read_probes, write_probe
from tune_cnn.training.inspection.health import Disk, Gpu, NodeFacts, find_facts, tried
from tune_cnn.training.inspection.health_checks import check_images, check_skew, checks_of, skew_of
from tune_cnn.training.inspection.images import find_images
from tune_cnn.training.meters.cards import Card

VERSIONS = {"python": "3.11.7", "torch": "2.15.0"}
SOUND = NodeFacts(
    host="a",
    versions=VERSIONS,
    gloo_address="10.0.0.1",
    interfaces={"lo": "127.0.0.1", "eth0": "10.0.0.1"},
    shared_free_mib=4096.0,
    disks=(Disk(what="cache", folder="/cache", total_mib=10**6, free_mib=10**5),),
    open_files=65536,
)
CARD = Gpu(name="H100", uuid="GPU-1", nccl="2.28.3")


def wrong(**changes: object) -> dict[str, tuple[str, str]]:
    """What is not ok on such a node of two: what was seen, and what to do."""
    found = checks_of(replace(SOUND, **changes), SOUND, address="10.0.0.1", nodes=2)  # type: ignore[arg-type]  # by name
    assert all(bool(check.todo) is not check.ok for check in found)
    return {check.what: (check.seen, check.todo) for check in found if not check.ok}


def test_a_sound_node_has_no_fault() -> None:
    assert wrong() == {}
    assert wrong(gpus=(CARD,), driver="580.1", cuda="13.0") == {}


@pytest.mark.parametrize(
    ("changes", "what", "seen", "todo"),
    [
        ({"versions": {**VERSIONS, "torch": "2.14.1"}}, "versions", "torch 2.14.1, here 2.15.0", "uv sync"),
        ({"versions": {"python": "3.11.7"}}, "versions", "torch none, here 2.15.0", "uv sync"),
        ({"has_gpu_file": True}, "GPU", "driver does not answer", "nvidia-smi"),
        ({"gpus": (CARD, replace(CARD, uuid="GPU-2", error="it hangs"))}, "GPU", "H100 (GPU-2): it hangs", "CUDA_VIS"),
        ({"gpus": (replace(CARD, nccl=None),)}, "NCCL", "not in this torch", "build of torch for CUDA"),
        ({"gloo_address": "127.0.0.1"}, "interface", "gloo takes lo (127.0.0.1)", "GLOO_SOCKET_IFNAME=eth0"),
        ({"gloo_address": "none"}, "interface", "no interface", "GLOO_SOCKET_IFNAME=eth0"),
        ({"shared_free_mib": 64.0}, "/dev/shm", "0.06 GiB free", "--shm-size"),
        ({"open_files": 1024}, "open files", "1,024 a process", "ulimit -n"),
        ({"disks": (Disk(what="cache", folder="/c", total_mib=1e6, free_mib=9.0),)}, "cache", "0.0 GiB", "make room"),
        ({"disks": (Disk(what="cache", folder="/c", free_mib=1e5, error="Read-only"),)}, "cache", "Read-only", "write"),
    ],
)
def test_a_fault_is_named_with_what_to_do(changes: dict[str, object], what: str, seen: str, todo: str) -> None:
    found = wrong(**changes)
    assert list(found) == [what]
    assert seen in found[what][0] and todo in found[what][1]


def test_alone_any_interface_will_do() -> None:
    found = checks_of(replace(SOUND, gloo_address="127.0.0.1"), SOUND, address=None, nodes=1)
    assert all(check.ok for check in found)


def test_this_machine_tells_its_facts_and_nothing_is_made(tmp_path: Path) -> None:
    """A folder that isn't there is judged by where it would be made; one that is a file can't be written."""
    (tmp_path / "file").touch()
    facts = find_facts({"cache": str(tmp_path / "a/b"), "home": str(tmp_path / "file")})
    cache, home, temporary = facts.disks
    assert cache.error is None and cache.free_mib > 0 and temporary.error is None
    assert home.error is not None
    assert facts.open_files != 0 and "lo" in facts.interfaces and facts.versions["torch"] != "not installed"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_quickest_round_tells_most_of_a_clock() -> None:
    """A slow round is no skew: what can be told is told with its bound."""
    skew = skew_of([(0.0, 9.0, 4.0), (10.0, 17.05, 10.1)])
    assert skew.ahead_s == pytest.approx(7.0) and skew.wrong_by_s == pytest.approx(0.05)
    assert not check_skew(skew).ok
    assert check_skew(skew_of([(0.0, 4.0, 5.0)])).ok  # may be right as well


def test_the_node_that_does_not_share_the_storage_is_named() -> None:
    """A file that is not seen could be either side's fault: it is the side that most others don't share with."""
    wrote = {"driver": "", "a": "", "b": ""}
    seen, gone = "", "No such file"
    read = {
        "driver": {"driver": seen, "a": seen, "b": gone},
        "a": {"driver": seen, "a": seen, "b": gone},
        "b": {"driver": gone, "a": gone, "b": seen},
    }
    faults = faults_of(wrote, read)
    assert {name for name, why in faults.items() if why} == {"b"}
    assert faults["b"]["the file of a"] == gone
    one_way = faults_of(wrote, {**read, "driver": dict.fromkeys(wrote, ""), "b": dict.fromkeys(wrote, "")})
    assert [name for name, why in one_way.items() if why] == ["a"]  # nobody is apart: who can't read is told
    assert faults_of({**wrote, "b": "Read-only"}, {"a": {"a": ""}})["b"] == {"its file": "Read-only"}


def test_nodes_reach_one_another_and_say_why_not(tmp_path: Path) -> None:
    port, word = listen()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # taken, and nobody listens
        others = {
            "there": ("127.0.0.1", port, word),
            "another": ("127.0.0.1", port, "its word"),
            "away": ("127.0.0.1", bound.getsockname()[1], word),
        }
        found = reach(others)
    assert found["there"] == "" and found["another"] == "somebody else answers there" and "refused" in found["away"]


def test_a_storage_may_be_a_uri(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/new"
    assert write_probe(uri, "1") == ""
    assert read_probes(uri, ["1", "2"])["1"] == "" and "No such file" in read_probes(str(tmp_path / "new"), ["2"])["2"]
    assert write_probe("nowhere://x/y", "1") != ""


def test_images_must_be_the_same_on_all_nodes(tmp_path: Path) -> None:
    found = find_images(DataSpec(name="digits"), 0)
    assert "1,797" in found
    missing = find_images(DataSpec(name="image_folder", root=str(tmp_path)), 0)
    assert missing.startswith("error: ")
    later = find_images(DataSpec(name="cifar10", root=str(tmp_path)), 0)
    assert "downloads" in later and not list(tmp_path.iterdir())
    checks = check_images({"a": found, "b": found, "c": missing, "d": "digits, up to 5 images"})
    assert [name for name, check in checks.items() if not check.ok] == ["c", "d"]
    assert "data.root" in checks["c"].todo and "compare" in checks["d"].todo


def test_a_card_is_tried_by_a_process_of_its_own() -> None:
    """One that isn't there: why, as a line, and not an exception; torch may not even be built for it."""
    tried_one = tried(Card(uuid="GPU-00000000-0000-0000-0000-000000000000", name="a card of nobody"))
    assert tried_one.error is not None and "can't be trained on" in tried_one.error


def test_a_card_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune_cnn.training.inspection.health.TRY_GPU_S", 0.01)
    tried_one = tried(Card(uuid="GPU-0", name="a sick card"))
    assert tried_one.error is not None and tried_one.error.startswith("no answer in 0 s")
