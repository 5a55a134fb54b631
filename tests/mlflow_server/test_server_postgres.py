"""A server on PostgreSQL with two workers: the same service, no password in sight, all of it gone at the end."""

import json
import signal

import psutil
from servers import DATABASE_PASSWORD, ask, private_file, stop, stopped, wait_until

from mlflow_server.command import main


def test_it_is_ready(postgres_server, tmp_path, capsys):
    """Database and artifacts, written and read back by whichever worker answers."""
    file = private_file(tmp_path / "password", postgres_server.login[1])
    for _ in range(4):
        assert main(["--check", postgres_server.url, "--json", "--admin-password-file", str(file)]) == 0
        assert json.loads(capsys.readouterr().out)["ready"] is True


def test_runs_and_users_lie_in_the_one_database(postgres_server):
    """No users' file beside; what is shown has no password."""
    assert not (postgres_server.folder / "users.db").exists()
    assert not (postgres_server.folder / "mlflow.db").exists()
    assert postgres_server.ready["backend"].startswith("postgresql://keeper:***@/runs?")
    assert ask(postgres_server.url + "/").status == 401
    name = {"username": "one", "password": "one's own long password"}
    assert postgres_server.ask("/api/2.0/mlflow/users/create", "POST", name).status == 200
    for _ in range(4):  # both workers know him
        assert ask(postgres_server.url + "/", login=("one", name["password"])).status == 200


def test_the_database_password_is_nowhere(postgres_server):
    """Not in arguments, of us and of the workers, nor in logs, nor in a file of the folder."""
    parent = psutil.Process(postgres_server.process.pid)
    processes = [parent, *parent.children(recursive=True)]
    assert len(processes) >= 4  # ours, the server's, two workers
    files = [path.read_bytes() for path in postgres_server.folder.rglob("*") if path.is_file()]
    for secret in (DATABASE_PASSWORD, "pg%2F%2541", postgres_server.login[1]):
        for process in processes:
            assert secret not in " ".join(process.cmdline())
        assert secret not in postgres_server.said()
        assert not any(secret.encode() in content for content in files)


def test_it_ends_with_all_its_workers(postgres_server):
    """SIGTERM: exit code 0, nobody left."""
    pids = [child.pid for child in psutil.Process(postgres_server.process.pid).children(recursive=True)]
    assert stop(postgres_server, signal.SIGTERM) == 0
    assert wait_until(lambda: all(stopped(pid) for pid in pids))
