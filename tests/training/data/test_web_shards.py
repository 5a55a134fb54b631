"""webdataset:https://…: shards of a web server are the set that they are on a disk, whatever the network does."""

import logging
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import prepared
from inputs.shard_files import delivered, photographs, samples, write_shard
from inputs.shard_server import Behaviour, served

from tune_cnn.errors import DataError, SpecError
from tune_cnn.spec import DataSpec, load_spec
from tune_cnn.spec.addresses import QUERY
from tune_cnn.training.data.cache import Entry, cached
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.sources.hubs import web_requests
from tune_cnn.training.data.sources.hubs.shards import webdataset
from tune_cnn.training.inspection.images import find_images

SECRET = "geheim"
PATTERN = "birds-{train,val}-{000..001}.tar"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Behaviour]:
    """Two shards to train on and two to validate by; tries follow one another at once."""
    monkeypatch.setattr(web_requests, "FIRST_WAIT_S", 0.001)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for number, name in enumerate(("train-000", "train-001", "val-000", "val-001")):
        write_shard(tmp_path / "root" / f"birds-{name}.tar", samples(20 * number, 20))
    with served(tmp_path / "root") as behaviour:
        yield behaviour


def spec_of(server: Behaviour, pattern: str = PATTERN, **given) -> DataSpec:
    return DataSpec(name=f"webdataset:{server.address}/{pattern}", **{"image_size": 16, **given})


def sets_of(tmp_path: Path, server: Behaviour, pattern: str = PATTERN, **given) -> ImageSets:
    return prepared(tmp_path, f"webdataset:{server.address}/{pattern}", **{"image_size": 16, "offline": False, **given})


def read(tmp_path: Path, server: Behaviour, pattern: str = PATTERN, **given) -> Entry:
    return cached(webdataset(spec_of(server, pattern, **given)), tmp_path / "cache")


def refused(tmp_path: Path, server: Behaviour, pattern: str = PATTERN, **given) -> str:
    with pytest.raises(DataError) as error:
        read(tmp_path, server, pattern, **given)
    assert not list((tmp_path / "cache").glob("*.tmp*"))
    return str(error.value)


@pytest.mark.parametrize("kind", ["pixels", "jpeg", "small_jpeg", "none"])
def test_shards_of_a_server_are_those_of_the_disk(tmp_path, server, kind):
    """The same images, labels and parts, and so the same set; each shard is asked for once."""
    write_shard(tmp_path / "root" / "birds-train-001.tar", photographs(0, 6) | samples(20, 4, ".txt"))
    on_disk = prepared(tmp_path, f"webdataset:{PATTERN}", image_size=16, cache=kind)
    on_web = sets_of(tmp_path, server, cache=kind)
    assert on_web.facts.key == on_disk.facts.key and on_web.facts.classes == on_disk.facts.classes
    assert on_web.facts.mean == on_disk.facts.mean
    for name in ("train", "validation", "test"):
        ours, theirs = getattr(on_web, name), getattr(on_disk, name)
        np.testing.assert_array_equal(ours.labels_n, theirs.labels_n)
        np.testing.assert_array_equal(
            ours.fetch(np.arange(len(theirs)), threads=2), theirs.fetch(np.arange(len(theirs)))
        )
    whole = [path for _, path, asked in server.of("GET") if not asked]
    assert sorted(whole) == sorted(f"/birds-{name}.tar" for name in ("train-000", "train-001", "val-000", "val-001"))


def test_no_more_than_one_shard_lies_on_the_disk(tmp_path, server):
    """It goes before the next one is fetched."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    there = [len(list(scratch.iterdir())) for _ in webdataset(spec_of(server)).chunks_by(scratch)]
    assert there == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_lost_connection_goes_on_where_it_was_lost(tmp_path, server, ranges):
    """Or from the beginning, where the server gives whole files alone."""
    server.ranges = ranges
    calm = read(tmp_path, server)
    source = webdataset(spec_of(server))
    server.cuts, server.asked = 3, []
    entry = cached(source, tmp_path / "other")
    assert entry.key == calm.key and server.cuts == 0
    rests = [asked for _, _, asked in server.of("GET") if asked.endswith("-")]
    assert len(rests) == 3 and all(int(asked.removeprefix("bytes=")[:-1]) > 0 for asked in rests)


def test_a_server_that_is_busy_for_a_moment_is_asked_again(tmp_path, server):
    server.busy = 3
    assert len(read(tmp_path, server).labels_n) == 80 and server.busy == 0


def test_a_server_that_stays_away_is_given_up(tmp_path, server):
    """After some tries, by the shard's address; also where each try ends in the middle."""
    server.busy = 10**6
    assert f"{server.address}/birds-train-000.tar could not be read in 5 tries (HTTP 503)" in refused(tmp_path, server)
    server.busy, server.ranges, server.cuts = 0, False, 10**6
    assert "could not be read in 5 tries (" in refused(tmp_path, server)
    gone = server.address.rpartition(":")[0] + ":1"
    with pytest.raises(DataError, match=r"could not be read in 5 tries \(Connection refused\)"):
        webdataset(DataSpec(name=f"webdataset:{gone}/a.tar"))


def test_a_shard_that_was_cut_is_named_by_its_address(tmp_path, server):
    path = tmp_path / "root" / "birds-val-001.tar"
    path.write_bytes(path.read_bytes()[:30_000])
    assert f"shard {server.address}/birds-val-001.tar was cut" in refused(tmp_path, server)
    (tmp_path / "root" / "birds-train-000.tar").write_bytes(b"<html>" * 1000)
    assert f"shard {server.address}/birds-train-000.tar was cut, or is no tar" in refused(tmp_path, server)


def test_a_shard_that_has_changed_is_another_set(tmp_path, server):
    """By what the server tells of it; where that is little, a note says so."""
    before = webdataset(spec_of(server)).key
    assert webdataset(spec_of(server)).key == before
    write_shard(tmp_path / "root" / "birds-val-001.tar", samples(100, 20))
    assert webdataset(spec_of(server)).key != before
    server.tags = False
    (note,) = [note for note in webdataset(spec_of(server)).notes if "neither ETag nor Last-Modified" in note]
    assert note.startswith("of 4 shards the server tells") and "but their length alone" in note


@pytest.mark.parametrize("kind", ["pixels", "none"])
def test_a_shard_that_changes_while_it_is_used_is_noticed(tmp_path, server, kind):
    source = webdataset(spec_of(server, cache=kind))
    if kind == "none":
        reader = source.reader_by(cached(source, tmp_path / "cache").folder / "places.npy")
    write_shard(tmp_path / "root" / "birds-train-000.tar", samples(100, 20))
    with pytest.raises(DataError, match=r"birds-train-000.tar is another one than when it was looked up"):
        reader.image(0) if kind == "none" else cached(source, tmp_path / "cache")


def test_images_that_are_not_kept_are_read_by_ranges(tmp_path, server):
    """No more than the image's bytes are sent, in this process and in loader processes, in one order."""
    pixels, places = sets_of(tmp_path, server, cache="pixels"), sets_of(tmp_path, server, cache="none")
    assert "read from their shards' server each time" in str(places.facts.notes)
    assert not (places.train.reader.places.parent / "images.npy").exists()
    server.asked = []
    whole = delivered(pixels, "batched", 0, facts=pixels.facts)
    assert server.asked == []
    for kind, workers in (("batched", 0), ("stream", 1)):
        assert torch.equal(delivered(places, kind, workers, facts=pixels.facts), whole)
    assert len(server.of("GET")) == len(server.asked) == 2 * len(pixels.train)
    assert all(asked.rpartition("-")[2] for _, _, asked in server.asked)
    again = pickle.loads(pickle.dumps(places.train.reader))
    np.testing.assert_array_equal(again.image(3), places.train.reader.image(3))


def test_a_server_without_ranges_is_refused_for_images_that_are_not_kept(tmp_path, server):
    """With what to set, which is enough for it."""
    server.ranges = False
    said = refused(tmp_path, server, cache="none")
    assert "gives no parts of a file (HTTP ranges)" in said and "set data.cache: small_jpeg, jpeg or pixels" in said
    for kind in ("small_jpeg", "jpeg", "pixels"):
        assert len(read(tmp_path, server, cache=kind).labels_n) == 80


def test_a_server_that_answers_get_alone_is_enough(tmp_path, server):
    server.head = False
    assert len(read(tmp_path, server).labels_n) == 80


REFUSED = [
    ("https://ann:geheim@host/a.tar", "https://host/a.tar is given with a user or password"),
    ("https://geheim@host/a.tar", "https://host/a.tar is given with a user or password"),
    ("https://host/a.tar?sig=geheim&download=1", "https://host/a.tar?download=1 is given with something behind its ?"),
    ("https://host/a.tar?geheim", "https://host/a.tar is given with something behind its ?"),
    ("https://host/a.tar#geheim", "https://host/a.tar is given with something behind its ? or #"),
    ("https://ann:geheim@[::1/a.tar", "https://… is no address"),
    ("s3://ann:geheim@bucket/a.tar", "reads shards by http:// and https://, got s3://bucket/a.tar"),
    ("https://host/train-*.tar", "use braces, as in train-{0000..0099}.tar"),
]


@pytest.mark.parametrize(("address", "says"), REFUSED)
def test_what_may_be_secret_is_no_name_of_a_set(tmp_path, address, says):
    """Records and exports hold it; the message doesn't repeat it."""
    file = tmp_path / "study.yaml"
    file.write_text(f"study: s\nextends: quickstart\ndata: {{name: 'webdataset:{address}'}}\n")
    with pytest.raises(SpecError) as error:
        load_spec(file)
    assert says in str(error.value) and SECRET not in str(error.value)


def test_secrets_come_from_netrc_and_the_environment_and_are_never_shown(tmp_path, server, monkeypatch, caplog):
    """Not in messages, notes, logs, and nowhere in the cache, be they right or wrong."""
    caplog.set_level(logging.INFO)
    server.user, server.query = f"ann:{SECRET}", f"sig={SECRET}&v=1"
    shown = [refused(tmp_path, server)]
    assert f"the server refuses {server.address}/birds-train-000.tar (HTTP 403); put user and password" in shown[0]
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login ann password {SECRET}\n")
    monkeypatch.setenv(QUERY, f"?sig={SECRET}&v=1")
    sets = sets_of(tmp_path, server, cache="none")
    sets.train.fetch(np.arange(2))
    path = tmp_path / "root" / "birds-val-001.tar"
    path.write_bytes(path.read_bytes()[:30_000])
    shown += [refused(tmp_path, server), str(sets.facts), str(webdataset(spec_of(server)).notes)]
    server.busy = 10**6
    shown += [refused(tmp_path, server)]
    assert SECRET not in "".join(shown) + caplog.text
    assert SECRET.encode() not in pickle.dumps(sets.train.reader)
    files = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert files and not any(SECRET in str(file) or SECRET.encode() in file.read_bytes() for file in files)


def test_what_a_server_lacks_or_may_not_be_asked_is_told(tmp_path, server):
    assert f"there is no shard {server.address}/birds-train-002.tar (the server says HTTP 404)" in refused(
        tmp_path, server, "birds-train-{000..002}.tar"
    )
    assert "data.offline is true" in refused(tmp_path, server, offline=True)
    assert "is of the training images" in refused(tmp_path, server, "birds-val-000.tar")


def test_a_node_is_asked_whether_it_reaches_the_shards(server):
    """About how many images there are, without reading them; or why not."""
    assert find_images(spec_of(server), 0).startswith(f"webdataset:{server.address}/{PATTERN}, about ")
    assert all(asked for _, _, asked in server.of("GET"))
    assert find_images(spec_of(server, "none.tar"), 0).startswith("error: data: there is no shard ")
