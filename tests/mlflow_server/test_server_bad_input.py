"""What can't be asked of a server: exit code 2, one message that names the option, nothing started or made."""

import socket
import subprocess
import sys

import pytest

from mlflow_server import supervisor
from mlflow_server.backends import parse_backend
from mlflow_server.command import main
from mlflow_server.environment import cleaned
from mlflow_server.errors import WrongInput
from mlflow_server.supervisor import notify_systemd

GOOD = "correct horse battery staple"


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run the command in an empty folder; nothing may start, nothing may be made."""

    def start(*args):
        raise AssertionError("a process was started")

    def run(*arguments, code=2, **environment):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(supervisor, "_start", start)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        before = sorted(tmp_path.iterdir())
        assert main([str(argument) for argument in arguments]) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("Error: ") and "Traceback" not in said.err
        assert sorted(tmp_path.iterdir()) == before
        return said.err

    for name in ("MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_BACKEND_STORE_URI", "MLFLOW_SERVER_ALLOWED_HOSTS"):
        monkeypatch.delenv(name, raising=False)
    return run


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0"])
def test_other_machines_need_a_password_and_names(refused, host):
    """Both are asked for at once; one alone is not enough."""
    said = refused("--host", host)
    assert "--admin-password-file" in said and "--allowed-hosts" in said
    assert "--admin-password-file" in refused("--host", host, "--allowed-hosts", "mlflow.example.com")
    said = refused("--host", host, MLFLOW_AUTH_ADMIN_PASSWORD=GOOD)
    assert "--allowed-hosts" in said and GOOD not in said


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--host", "0.0.0.0", "--allowed-hosts", "*"], "--allowed-hosts"),
        (["--allowed-hosts", "10.*"], "--allowed-hosts"),
        (["--port", "65536"], "--port"),
        (["--port", "-1"], "--port"),
        (["--port", "http"], "--port"),
        (["--workers", "0"], "--workers"),
        (["--work", "2"], "--work"),
        (["--frobnicate"], "--frobnicate"),
        (["--backend", "mysql://u@h/d"], "--backend"),
        (["--backend", "mlflow.db"], "--backend"),
        (["--backend", "sqlite://"], "--backend"),
        (["--backend", "sqlite:///:memory:"], "--backend"),
        (["--backend", "http://127.0.0.1:5000"], "--backend"),
        (["--backend", "postgresql://h"], "--backend"),
        (["--backend-password-file", "absent"], "--backend-password-file"),
        (["--artifacts", "http://127.0.0.1:5000"], "--artifacts"),
        (["--artifacts", "ftp://u:s3cr3t@h/x"], "--artifacts"),
        (["--admin-password-file", "absent"], "--admin-password-file"),
        (["--admin", "a:b"], "--admin"),
        (["--check", "127.0.0.1:5000"], "--check"),
        (["--check", "http://u:s3cr3t@127.0.0.1:5000"], "--check"),
        (["--check", "http://127.0.0.1:99999"], "--check"),
        (["--check", "--port", "0"], "--check"),
    ],
)
def test_a_wrong_option_is_named(refused, options, named):
    """And no secret in it is repeated."""
    said = refused(*options)
    assert named in said and "s3cr3t" not in said


@pytest.mark.parametrize(
    "url", ["postgresql://u:s3cr3t@h/d", "postgres://u:s3cr3t@h/d", "postgresql://u@h/d?password=s3cr3t"]
)
def test_a_database_password_in_an_argument_is_refused(refused, url):
    """Everyone reads it in the process list. In the environment the same URL is taken."""
    said = refused("--backend", url)
    assert "MLFLOW_BACKEND_STORE_URI" in said and "s3cr3t" not in said
    backend = parse_backend(url, None, on_command_line=False)
    assert "s3cr3t" in backend.url and "s3cr3t" not in backend.shown


def test_weak_and_open_passwords_are_refused(refused, tmp_path):
    """From a file that others can read; from the environment, where it is MLflow's old default, or empty."""
    file = tmp_path / "password"
    file.write_text(GOOD)
    file.chmod(0o644)
    assert "chmod 600" in refused("--admin-password-file", file)
    for weak in ("password1234", ""):
        assert "administrator's password" in refused(MLFLOW_AUTH_ADMIN_PASSWORD=weak)


def test_a_url_keeps_what_its_owner_wrote():
    """Options of libpq stay, the driver is ours, a password is escaped, an answer is not waited for without end."""
    backend = parse_backend("postgresql://u@h1:5432/d?sslmode=verify-full", "p@ss/%41", on_command_line=True)
    assert backend.url.startswith("postgresql+psycopg://u:p%40ss%2F%2541@h1:5432/d?")
    assert "sslmode=verify-full" in backend.url and "connect_timeout=10" in backend.url
    assert backend.shown == "postgresql://u:***@h1:5432/d?sslmode=verify-full"


def test_a_second_password_is_refused():
    """One of the two would be used silently."""
    with pytest.raises(WrongInput, match="give one of them"):
        parse_backend("postgresql://u:a@h/d", "b", on_command_line=False)


def test_variables_that_would_open_the_server_do_not_reach_it():
    """Nor those that hold secrets, which go over a pipe; access to artifact stores does."""
    given = {
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true", "MLFLOW_AUTH_CONFIG_PATH": "/x", "_MLFLOW_SGI_NAME": "x",
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "false", "UVICORN_HOST": "0.0.0.0", "FORWARDED_ALLOW_IPS": "*",
        "MLFLOW_AUTH_ADMIN_PASSWORD": GOOD, "MLFLOW_BACKEND_STORE_URI": "x", "MLFLOW_TRACKING_PASSWORD": GOOD,
        "MLFLOW_S3_ENDPOINT_URL": "http://s3", "AWS_ACCESS_KEY_ID": "k", "HOME": "/h",
    }  # fmt: skip
    kept, said = cleaned(given)
    assert set(kept) == {"MLFLOW_S3_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "HOME", "PYTHONPATH", "PYTHONWARNINGS"}
    assert "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE" in said and "MLFLOW_AUTH_ADMIN_PASSWORD" not in said


def test_the_command_answers_at_once():
    """It loads neither MLflow, which takes seconds, nor tune_cnn, of which it knows nothing."""
    code = "import sys, mlflow_server.command; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "mlflow_server" in loaded
    assert not loaded & {"mlflow", "sqlalchemy", "alembic", "uvicorn", "starlette", "tune_cnn", "numpy"}


def test_it_is_a_command_of_tune_cnn(tmp_path):
    """With the options and exit codes that it has by itself."""
    for words, code, said in ((["--help"], 0, "--allowed-hosts"), (["--host", "0.0.0.0"], 2, "Error: --host 0.0.0.0")):
        command = [sys.executable, "-m", "tune_cnn", "server", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == code and said in done.stdout + done.stderr
        assert "usage: tune-cnn server" in done.stdout or code


def test_systemd_is_told_when_it_waits(tmp_path):
    """READY=1 on the socket that it names, once; nothing where it names none."""
    notify_systemd({})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        notify_systemd({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert systemd.recv(100) == b"READY=1"


def test_a_check_of_nobody_is_not_ready(refused, unused_port):
    """Exit code 1: it may yet come."""
    said = refused("--check", "--port", unused_port, code=1)
    assert f"http://127.0.0.1:{unused_port}: not ready" in said


@pytest.fixture
def unused_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]
