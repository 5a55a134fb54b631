"""Shards of servers as they are met: over TLS, that send on, are busy for a while, give other bytes, or break off."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import prepared
from inputs.shard_files import delivered, loader_of, samples, write_shard
from inputs.shard_server import Behaviour, certificate_of, served

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.spec.addresses import QUERY
from tune_cnn.training.data.cache import Entry, cached
from tune_cnn.training.data.sources.hubs import web_requests
from tune_cnn.training.data.sources.hubs.shards import webdataset

PASSWORD, SIGNATURE = "geheim", "sig=geheim"
BUNDLE = "REQUESTS_CA_BUNDLE"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two shards; tries follow one another at once, and what this process trusts is read anew."""
    monkeypatch.setattr(web_requests, "FIRST_WAIT_S", 0.001)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("no_proxy", "127.0.0.1,127.0.0.2")
    monkeypatch.delenv(BUNDLE, raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    web_requests._session.cache_clear()
    for number in range(2):
        write_shard(tmp_path / "root" / f"train-{number}.tar", samples(20 * number, 20))
    return tmp_path / "root"


@pytest.fixture
def server(folder: Path) -> Iterator[Behaviour]:
    with served(folder) as behaviour:
        yield behaviour


def read(server: Behaviour, cache: Path, kind: str = "pixels", path: str = "/train-{0..1}.tar") -> Entry:
    given = {"name": f"webdataset:{server.address}{path}", "image_size": 16, "cache": kind}
    return cached(webdataset(DataSpec(**given)), cache)


def refused(server: Behaviour, cache: Path, **given: str) -> str:
    with pytest.raises(DataError) as error:
        read(server, cache, **given)
    return str(error.value)


def lines(folder: Path, *machines: str) -> None:
    (folder.parent / "netrc").write_text("".join(f"{one} login ann password {PASSWORD}\n" for one in machines))


@pytest.mark.parametrize("kind", ["pixels", "none"])
def test_shards_over_tls_by_a_certificate_that_this_node_is_told_to_trust(folder, tmp_path, monkeypatch, kind):
    pem = certificate_of(tmp_path / "server.pem")
    monkeypatch.setenv(BUNDLE, str(pem))
    with served(folder, pem) as server:
        source = webdataset(DataSpec(name=f"webdataset:{server.address}/train-0.tar", image_size=16, cache=kind))
        entry = cached(source, tmp_path / "cache")
        assert len(entry.labels_n) == 20
        if kind == "none":
            assert source.reader_by(entry.folder / "places.npy").image(3).shape == (3, 16, 16)


def test_a_certificate_that_is_not_trusted_is_said_at_once_with_what_to_set(folder, tmp_path):
    """Nothing is sent to that server, and it isn't tried again."""
    lines(folder, "machine 127.0.0.1")
    with served(folder, certificate_of(tmp_path / "server.pem")) as server:
        said = refused(server, tmp_path / "cache")
        assert f"the certificate of the server of {server.address}/train-0.tar isn't trusted (self-signed" in said
        assert f"set {BUNDLE} on each node to a file of that authority's certificate" in said
        assert server.asked == [] and PASSWORD not in said


@pytest.mark.parametrize(("made", "says"), [({"valid_days": -1}, "expired"), ({"host": "127.0.0.9"}, "mismatch")])
def test_a_certificate_of_another_time_or_name_is_said_as_such(folder, tmp_path, monkeypatch, made, says):
    """No trust would mend it."""
    pem = certificate_of(tmp_path / "server.pem", **made)
    monkeypatch.setenv(BUNDLE, str(pem))
    with served(folder, pem) as server:
        said = refused(server, tmp_path / "cache")
        assert "isn't valid (" in said and says in said and BUNDLE not in said


def test_a_bundle_that_is_none_is_named(folder, tmp_path, monkeypatch):
    (tmp_path / "empty.pem").write_text("no certificate")
    with served(folder, certificate_of(tmp_path / "server.pem")) as server:
        for name in ("missing.pem", "empty.pem"):
            monkeypatch.setenv(BUNDLE, str(tmp_path / name))
            said = refused(server, tmp_path / "cache")
            assert f"{BUNDLE} is {tmp_path / name}, which can't be read as certificates" in said


def test_https_where_none_is_spoken_is_said_at_once(server, tmp_path):
    server.address = server.address.replace("http://", "https://")
    assert "speaks no TLS on that port" in refused(server, tmp_path / "cache")


def test_a_shard_may_have_moved_to_another_path_of_the_server(server, folder, tmp_path):
    """User and password go on with it, and ranges are asked for there; what stands behind the ? is for the first."""
    lines(folder, "machine 127.0.0.1")
    server.user, server.moved = f"ann:{PASSWORD}", {"/old": ""}
    assert len(read(server, tmp_path / "cache", path="/old/train-{0..1}.tar").labels_n) == 40
    source = webdataset(DataSpec(name=f"webdataset:{server.address}/old/train-0.tar", image_size=16, cache="none"))
    server.asked = []
    entry = cached(source, tmp_path / "cache")
    source.reader_by(entry.folder / "places.npy").image(3)
    at_last = [asked for _, path, asked in server.of("GET") if path == "/train-0.tar"]
    assert at_last[-1].startswith("bytes=") and all(authorization for _, authorization, _ in server.sent)


@pytest.mark.parametrize("to", ["another host", "another port", "no TLS"])
def test_no_password_and_no_signature_goes_on_to_another_place(folder, tmp_path, monkeypatch, to):
    """Although ~/.netrc has a default for all hosts, and one for that very name."""
    lines(folder, "machine 127.0.0.1", "default")
    monkeypatch.setenv(QUERY, SIGNATURE)
    pem = certificate_of(tmp_path / "server.pem")
    monkeypatch.setenv(BUNDLE, str(pem))
    host = "127.0.0.2" if to == "another host" else "127.0.0.1"
    with served(folder, pem if to == "no TLS" else None) as first, served(folder, host=host) as other:
        first.user, first.query, first.moved = f"ann:{PASSWORD}", SIGNATURE, {"/": f"{other.address}/"}
        assert len(read(first, tmp_path / "cache").labels_n) == 40
        assert all(authorization and query for _, authorization, query in first.sent)
        assert len(other.sent) == len(first.sent) and not any(sent[1] or sent[2] for sent in other.sent)
        other.user = f"ann:{PASSWORD}"
        said = refused(first, tmp_path / "other")
        assert f"sends on to {other.address.rpartition('/')[2]}, which refuses it (HTTP 403); no password goes" in said
        assert PASSWORD not in said


def test_another_host_gets_the_password_that_netrc_has_for_it(folder, tmp_path):
    (folder.parent / "netrc").write_text("machine 127.0.0.1 login a password b machine 127.0.0.2 login c password d\n")
    with served(folder) as first, served(folder, host="127.0.0.2") as other:
        first.user, other.user, first.moved = "a:b", "c:d", {"/": f"{other.address}/"}
        assert len(read(first, tmp_path / "cache").labels_n) == 40


def test_a_server_that_sends_round_in_circles_is_given_up(server, tmp_path):
    server.moved = {"/": "/"}
    assert "can't be asked for (TooManyRedirects)" in refused(server, tmp_path / "cache")


def test_a_server_that_says_when_to_come_again_is_waited_for(server, tmp_path, monkeypatch):
    """More often than one that says nothing is tried, for as long as it says: in seconds, or by a date."""
    waits: list[float] = []
    monkeypatch.setattr(web_requests, "sleep", waits.append)
    server.busy, server.again = 12, "7"
    assert len(read(server, tmp_path / "cache").labels_n) == 40
    assert waits == [7.0] * 12
    waits.clear()
    server.busy, server.again = 1, format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    read(server, tmp_path / "other")
    assert 50 < waits[0] <= 100
    server.busy, server.again = 1, "soon"
    read(server, tmp_path / "another")
    assert waits[1] == web_requests.FIRST_WAIT_S


def test_a_server_that_asks_for_hours_is_not_waited_for(server, tmp_path, monkeypatch):
    monkeypatch.setattr(web_requests, "sleep", lambda _: None)
    server.busy, server.again = 10**6, "3600"
    assert "asks to come again in 3,600 s, after 0 s of waiting; start again later" in refused(server, tmp_path / "a")
    server.again = "100"
    assert "after 300 s of waiting" in refused(server, tmp_path / "a")


def test_a_connection_that_breaks_often_is_no_fault_while_bytes_come(server, folder, tmp_path):
    """Each try brings half of what remains: more tries than there are for one that brings nothing."""
    write_shard(folder / "train-0.tar", samples(0, 20) | {"large.bin": bytes(2**23)})
    source = webdataset(DataSpec(name=f"webdataset:{server.address}/train-0.tar", image_size=16))
    server.cuts = web_requests.TRIES + 2
    assert len(cached(source, tmp_path / "cache").labels_n) == 20 and server.cuts == 0


def test_a_part_that_breaks_off_is_asked_for_again(server, tmp_path):
    source = webdataset(DataSpec(name=f"webdataset:{server.address}/train-0.tar", image_size=16, cache="none"))
    reader = source.reader_by(cached(source, tmp_path / "cache").folder / "places.npy")
    calm, server.part_cuts = reader.image(3), 3
    np.testing.assert_array_equal(reader.image(3), calm)
    assert server.part_cuts == 0


def test_other_bytes_than_were_asked_for_are_not_taken(server, tmp_path):
    """Of a server, or a cache before it, that gives a part from the beginning of the file."""
    source = webdataset(DataSpec(name=f"webdataset:{server.address}/train-0.tar", image_size=16, cache="none"))
    reader = source.reader_by(cached(source, tmp_path / "cache").folder / "places.npy")
    server.shift = -512
    with pytest.raises(DataError, match=r"could not be read in 5 tries \(it gave other bytes than were asked for\)"):
        reader.image(3)


@pytest.mark.parametrize(("kind", "workers"), [("batched", 0), ("stream", 1)])
def test_the_images_of_a_batch_are_asked_for_together(server, tmp_path, kind, workers):
    """The server answers none of them before it is asked for all four; and the batch is the one of pixels."""
    name = f"webdataset:{server.address}/train-0.tar"
    pixels, places = (
        prepared(tmp_path, name, image_size=16, offline=False, cache=cache) for cache in ("pixels", "none")
    )
    assert len(places.train) % 4 == 0
    server.together = threading.Barrier(4)
    found = delivered(places, kind, workers, facts=pixels.facts)
    assert torch.equal(found, delivered(pixels, "batched", 0, facts=pixels.facts))
    for threads in (1, 2):
        np.testing.assert_array_equal(places.train.fetch(np.arange(4), threads), pixels.train.fetch(np.arange(4)))


def test_without_workers_the_next_batch_is_fetched_while_one_trains(server, tmp_path):
    """One, and no more of them; and an epoch that is left early ends its thread."""
    sets = prepared(tmp_path, f"webdataset:{server.address}/train-0.tar", image_size=16, offline=False, cache="none")
    loader = loader_of(sets, "batched", 0, facts=sets.facts)
    server.asked = []
    batches = loader.epoch(0)
    next(batches)
    until_s = time.monotonic() + 60
    while len(server.asked) < 8 and time.monotonic() < until_s:
        time.sleep(0.01)
    assert len(server.asked) == 8
    del batches
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("one batch ahead")]
    loader.close()


def test_what_fails_in_a_batch_ahead_is_the_error_of_that_batch(server, tmp_path):
    sets = prepared(tmp_path, f"webdataset:{server.address}/train-0.tar", image_size=16, offline=False, cache="none")
    batches = loader_of(sets, "batched", 0, facts=sets.facts).epoch(0)
    server.user = "ann:geheim"
    with pytest.raises(DataError, match="the server refuses"):
        next(batches)
