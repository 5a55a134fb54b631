"""`tune-cnn manifest`: one document or the file itself, and a refusal for each option that would be ignored."""

from pathlib import Path

import pytest
import yaml

from study.made_up import Command, one_message
from study.manifests.made_up_specs import SPEC

WHOLE = {**SPEC, "resources": {"gpus_per_rank": 0}}
SLURM = ("manifest", "slurm", "small.yaml", "--storage", "/shared")


@pytest.fixture
def specs(command: Command) -> Path:
    """The folder in which commands are given, with two specs."""
    folder = Path.cwd()
    (folder / "small.yaml").write_text(yaml.safe_dump(WHOLE))
    (folder / "other.yaml").write_text(yaml.safe_dump({**WHOLE, "study": "other"}))
    return folder


def test_a_file_is_written_once(command: Command, specs: Path) -> None:
    """What may have been edited by hand is not written over."""
    ended = command(*SLURM, "-o", "small.sh")
    assert ended.code == 0 and "study small" in ended.err
    written = (specs / "small.sh").read_text()
    assert f"--home {specs}/studies" in written and "sbatch small.sh" in written
    one_message(command(*SLURM, "-o", "small.sh"), 2, "small.sh: is there already", "remove it")
    assert (specs / "small.sh").read_text() == written


def test_one_document(command: Command, specs: Path) -> None:
    """The text, or the file where one was written."""
    shown = command("manifest", "systemd", "small.yaml")
    document = command("manifest", "systemd", "small.yaml", "--json").document
    assert document == {"study": "small", "kind": "systemd", "text": shown.out}
    document = command("manifest", "slurm", "small.yaml", "other.yaml", "--storage", "/s", "-o", "x", "--json").document
    assert document == {"study": "small, other", "kind": "slurm", "file": "x"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("slurm", "nowhere.yaml"), "nowhere.yaml"),
        (("slurn", "small.yaml"), "there is no kind 'slurn'; did you mean 'slurm'?"),
        (("systemd", "small.yaml", "other.yaml"), "manifest systemd: holds one study, got 2 specs"),
        (("systemd", "small.yaml", "--nodes", "2"), "--nodes: means nothing to systemd; leave it out"),
        (("slurm", "small.yaml", "--memory-gib", "4"), "--memory-gib: means nothing to slurm"),
        (("slurm", "small.yaml", "--storage", "here"), "--storage: a folder must be named from the root"),
        (("slurm", "small.yaml", "--node", "n1", "--notice", "1"), "--notice: an epoch and its checkpoint must fit"),
    ],
)
@pytest.mark.usefixtures("specs")
def test_wrong_words_are_refused(command: Command, words: tuple[str, ...], said: str) -> None:
    one_message(command("manifest", *words), 2, said)
