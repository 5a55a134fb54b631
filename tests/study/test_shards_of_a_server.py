"""Shards of a web server from the command line: looked at, searched on and exported, with no secret left anywhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from inputs.shard_files import samples, write_shard
from inputs.shard_server import Behaviour, served

from study.commands import run, run_json

PASSWORD = "geheim-of-the-server"
SPEC = """\
study: web
data: {{name: "webdataset:{address}/train-{{0..1}}.tar", image_size: 16, cache: {cache}}}
model: {{name: small_cnn}}
space: {{epochs: 1, batch_size: 16, model.width: 4, loader: batched}}
stopper: none
budget: {{trials: 1}}
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Behaviour]:
    """It asks for a password, which stands in a ~/.netrc."""
    for number in range(2):
        write_shard(tmp_path / "root" / f"train-{number}.tar", samples(40 * number, 40))
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login ann password {PASSWORD}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served(tmp_path / "root") as behaviour:
        behaviour.user = f"ann:{PASSWORD}"
        yield behaviour


def test_a_search_on_shards_by_their_address(tmp_path: Path, server: Behaviour) -> None:
    """By an index alone: the images are seen, a trial trains, the export names the address, no file the password."""
    folder = tmp_path / "work"
    folder.mkdir()
    name = f"webdataset:{server.address}/train-{{0..1}}.tar"
    seen = run_json(folder, "data", name, "--set", "data.image_size=16")
    assert seen["images"] == {"train": 64, "validation": 8, "test": 8} and seen["broken"] == 0
    (folder / "web.yaml").write_text(SPEC.format(address=server.address, cache="none"))
    searched = run_json(folder, "search", "web.yaml")
    assert searched["state"] == "finished" and searched["trials"]["complete"] == 1
    run(folder, "export", "web", "-o", "best.yaml")
    assert name in (folder / "best.yaml").read_text()
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files and not [file for file in files if PASSWORD.encode() in file.read_bytes()]
