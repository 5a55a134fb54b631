"""The compose file, its image and the systemd unit: valid, closed, pinned, and in step with the command."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from missing import missing

from mlflow_server.command import parser

PLACE = Path(__file__).parents[2] / "mlflow_server"
PINNED = re.compile(r"[a-z0-9/._-]+:\d+\.\d+(\.\d+)?(-[a-z]+)*")


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((PLACE / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def unit():
    class Repeated(dict):
        """A unit may give a directive more than once."""

        def __setitem__(self, key, value):
            super().__setitem__(key, [*self[key], *value] if key in self and isinstance(value, list) else value)

    read = configparser.RawConfigParser(strict=False, dict_type=Repeated, delimiters=("=",), comment_prefixes=("#",))
    read.optionxform = str
    read.read_string((PLACE / "mlflow-server.service").read_text())
    return {section: dict(read[section]) for section in read.sections()}


def asked(words):
    """The options as the command itself takes them: a misspelt one raises."""
    return parser("x").parse_args(words)


def test_compose_knows_every_name_that_it_uses(compose):
    """Only keys that compose has; secrets, volumes and networks that are used are declared, and the reverse."""
    assert set(compose) == {"name", "services", "secrets", "volumes", "networks"}
    known = {
        "image",
        "build",
        "restart",
        "environment",
        "secrets",
        "volumes",
        "networks",
        "security_opt",
        "healthcheck",
    }
    known |= {"init", "command", "ports", "depends_on", "read_only", "tmpfs", "cap_drop", "stop_grace_period"}
    services = compose["services"].values()
    for service in services:
        assert set(service) <= known
        assert set(service["healthcheck"]) <= {"test", "interval", "timeout", "retries", "start_period"}
        assert set(service.get("depends_on", {})) <= set(compose["services"])
    for kind in ("secrets", "networks"):
        assert {name for service in services for name in service[kind]} == set(compose[kind])
    assert {volume.partition(":")[0] for service in services for volume in service["volumes"]} == set(
        compose["volumes"]
    )


def test_compose_is_closed(compose):
    """No password in it and no default for one; published on loopback alone; PostgreSQL not at all; few rights."""
    text = (PLACE / "compose.yaml").read_text()
    assert not re.search(r"PASSWORD\s*[:=](?!\s*/run/secrets/)", text.replace("PASSWORD_FILE", "PASSWORD"))
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())
    server, database = compose["services"]["server"], compose["services"]["database"]
    assert server["ports"] == ["127.0.0.1:5000:5000"] and "ports" not in database
    assert compose["networks"]["inside"] == {"internal": True} and database["networks"] == ["inside"]
    assert server["read_only"] is True and server["cap_drop"] == ["ALL"]
    for service in (server, database):
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_compose_starts_what_the_command_takes(compose):
    """The options are the command's own, other machines' with password and names; --check is what says healthy."""
    server = compose["services"]["server"]
    options = asked([word.replace("${SERVER_NAMES", "x#").split("#")[0] for word in server["command"]])
    assert options.host == "0.0.0.0" and options.backend == "postgresql://mlflow@database:5432/mlflow"
    assert str(options.admin_password_file) == "/run/secrets/admin"
    assert str(options.backend_password_file) == "/run/secrets/database"
    assert "${SERVER_NAMES:?" in " ".join(server["command"])  # no default: compose stops where it isn't given
    test = server["healthcheck"]["test"]
    assert test[:4] == ["CMD", "python", "-m", "mlflow_server"]
    check = asked(test[4:])
    assert check.check == "" and check.port == options.port and check.admin_password_file == options.admin_password_file
    assert server["depends_on"] == {"database": {"condition": "service_healthy"}}


def test_what_is_pinned_is_what_is_tested(compose):
    """Images by exact tags; MLflow and the driver by exact versions, of the line that these tests ran."""
    image = (PLACE / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (.*)$", image, re.MULTILINE)
    assert bases and all(PINNED.fullmatch(name) for name in [*bases, compose["services"]["database"]["image"]])
    for package, parts in (("mlflow[auth]", 2), ("psycopg[binary]", 2)):
        found = re.search(rf'"{re.escape(package)}==(\d+\.\d+\.\d+)"', image)
        assert found is not None
        assert found[1].split(".")[:parts] == version(package.partition("[")[0]).split(".")[:parts]
        if package.startswith("mlflow"):
            assert compose["services"]["server"]["image"].endswith(f":{found[1]}")


def test_the_image_holds_code_and_no_secrets():
    """Not root; secrets/ beside the file neither goes to the builder nor into the image."""
    image = (PLACE / "Dockerfile").read_text()
    assert re.search(r"^USER mlflow$", image, re.MULTILINE) and "COPY *.py /opt/mlflow_server/" in image
    assert (PLACE / ".dockerignore").read_text().splitlines()[-2:] == ["*", "!*.py"]


def test_the_unit_starts_what_the_command_takes(unit):
    """The password as a credential, the folder that systemd keeps for it, ready when it says so."""
    service = unit["Service"]
    words = shlex.split(service["ExecStart"])
    assert words[1:3] == ["-m", "mlflow_server"]
    options = asked(words[3:])
    assert str(options.admin_password_file) == "%d/admin" and service["LoadCredential"].startswith("admin:/")
    assert str(options.folder) == f"%S/{service['StateDirectory']}" and service["StateDirectoryMode"] == "0700"
    assert service["Type"] == "notify" and service["RestartPreventExitStatus"] == "2"
    assert not {"User", "Environment", "EnvironmentFile"} & set(service) and service["DynamicUser"] == "yes"


def test_the_unit_has_no_rights_that_it_does_not_need(unit):
    """Each a directive of systemd.exec(5)."""
    service = unit["Service"]
    on = [
        "NoNewPrivileges",
        "ProtectHome",
        "PrivateTmp",
        "PrivateDevices",
        "PrivateUsers",
        "ProtectClock",
        "LockPersonality",
    ]
    on += [
        "ProtectControlGroups",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "RestrictSUIDSGID",
    ]
    assert all(service[name] == "yes" for name in on)
    assert (
        service["ProtectSystem"] == "strict" and service["CapabilityBoundingSet"] == "" and service["UMask"] == "0077"
    )


def test_systemd_itself_takes_the_unit(tmp_path):
    """With a program that is there in the place of the one that isn't installed; a word on stderr is a failure."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        missing("systemd-analyze is not installed (Debian's package systemd)")
    copy = tmp_path / "mlflow-server.service"
    text = (PLACE / "mlflow-server.service").read_text()
    assert "/opt/mlflow-server/bin/python -m" in text
    copy.write_text(text.replace("/opt/mlflow-server/bin/python -m", f"{sys.executable} -m"))
    done = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    copy.write_text(copy.read_text().replace("ProtectHome=", "ProtectHomes="))
    done = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, check=False)
    assert "ProtectHomes" in done.stderr  # it does look
