"""Secrets: where they may lie, what a password must be, and that nothing shows them."""

import os
import stat

import pytest

from mlflow_server import secret_files
from mlflow_server.backends import parse_backend, without_secrets
from mlflow_server.errors import WrongInput
from mlflow_server.secret_files import check_password, kept_secret, private_folder, read_secret, write_private
from mlflow_server.settings import Login, Settings

PASSWORD = "correct horse battery"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602, 0o777])
def test_a_secret_that_others_can_read_is_refused(tmp_path, mode):
    """With the command that closes it; the secret is not shown."""
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    file.chmod(mode)
    with pytest.raises(WrongInput, match=f"others may read it.*chmod 600 {file}") as caught:
        read_secret(file, "--admin-password-file")
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_private_secret_is_read_without_its_line_end(tmp_path, mode):
    """As `openssl rand -base64 24 > FILE` leaves it."""
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\r\n")
    file.chmod(mode)
    assert read_secret(file, "x") == PASSWORD


def test_systemds_credentials_show_their_access_list_in_the_mode(tmp_path, monkeypatch):
    """0440 in the folder that systemd made for the service; anywhere else the same mode is refused."""
    file = tmp_path / "admin-password"
    file.write_text(PASSWORD)
    file.chmod(0o440)
    with pytest.raises(WrongInput):
        read_secret(file, "x")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_secret(file, "x") == PASSWORD


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"nul\0", b"\xff\xfe"])
def test_what_is_no_line_of_text_is_refused(tmp_path, content):
    """An empty file is the usual accident of a failed command."""
    file = tmp_path / "password"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(WrongInput, match="--admin-password-file"):
        read_secret(file, "--admin-password-file")


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path):
    """A pipe is not waited for."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "absent", tmp_path, tmp_path / "pipe"):
        with pytest.raises(WrongInput, match=f"--f {path}"):
            read_secret(path, "--f")


@pytest.mark.parametrize(
    "password",
    ["", "short", "eleven char", "password1234", "Password12345", "admin-admin!", "aaaaaaaaaaaaaaaa", "changeme12345!"],
)
def test_weak_passwords_are_refused(password):
    """Short ones, those that are tried first, MLflow's old default among them; none is shown."""
    with pytest.raises(WrongInput, match="administrator's password") as caught:
        check_password(password, "admin")
    assert not password or password not in str(caught.value)


def test_random_secrets_are_private_and_stay(tmp_path):
    """Mode 0600 whatever the umask, 256 bits, the same at the next start, no draft left."""
    before = os.umask(0)
    try:
        first = kept_secret(tmp_path / "flask.key")
    finally:
        os.umask(before)
    assert kept_secret(tmp_path / "flask.key") == first != kept_secret(tmp_path / "other.key")
    assert stat.S_IMODE((tmp_path / "flask.key").stat().st_mode) == 0o600
    assert len(first) == 44
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flask.key", "other.key"]


def test_a_private_file_is_never_half_there(tmp_path, monkeypatch):
    """It appears by rename: a crash while it is written leaves the old one."""
    write_private(tmp_path / "ini", "old")
    monkeypatch.setattr(secret_files.os, "fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(Exception, match="No space left"):
        write_private(tmp_path / "ini", "new")
    assert (tmp_path / "ini").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["ini"]


def test_the_folder_is_private(tmp_path):
    """Made with mode 0700; one that others may look into is refused, not silently used."""
    made = private_folder(tmp_path / "a" / "b", "--folder")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    made.chmod(0o750)
    with pytest.raises(WrongInput, match=f"chmod 700 {made}"):
        private_folder(made, "--folder")
    with pytest.raises(WrongInput, match="--folder"):
        private_folder(tmp_path / "a" / "b" / "f" / "g" if os.getuid() else _file(tmp_path) / "x", "--folder")


def _file(folder):
    (folder / "file").write_text("")
    return folder / "file"


def test_no_representation_shows_a_secret():
    """What a traceback or a log line would print."""
    backend = parse_backend("postgresql://u@h/d", "s3cr3t/%41", on_command_line=True)
    settings = Settings(
        folder="f", backend_url=backend.url, backend_shown=backend.shown, users_url=backend.url,
        users_shown=backend.shown, artifacts="a", admin="admin", admin_password=PASSWORD,
        hosts=[], origins=[], workers=1,
    )  # fmt: skip
    shown = f"{backend!r} {settings!r} {Login(user='admin', password=PASSWORD)!r}"
    assert PASSWORD not in shown and "s3cr3t" not in shown
    told = without_secrets(f"could not connect: {settings.backend_url} s3cr3t/%41 {PASSWORD}", settings.secrets())
    assert PASSWORD not in told and "s3cr3t" not in told
