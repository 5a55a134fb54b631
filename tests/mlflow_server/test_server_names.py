"""What is done with MLflow's own modules: its private names, which a new version may change, and its users."""

from pathlib import Path

import pytest
from mlflow import environment_variables
from mlflow.server import auth, constants
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

from mlflow_server.databases import USERS, bring_up_to_date
from mlflow_server.environment import USERS_DATABASE, server_variables
from mlflow_server.errors import WrongInput
from mlflow_server.running import refuse_users
from mlflow_server.settings import Settings
from mlflow_server.users import ensure_admin


def made(admin, users="u", password="p"):
    return Settings(
        folder="f", backend_url="b", backend_shown="b", users_url=users, users_shown=users, artifacts="a",
        admin=admin, admin_password=password, hosts=["h"], origins=["o"], workers=1,
    )  # fmt: skip


def variables(admin):
    return server_variables(made(admin), auth_ini=Path("auth.ini"), secret_key="k", webhook_key="w")


def test_workers_are_told_as_mlflow_tells_them():
    """By the names in mlflow.server.constants."""
    told = variables("admin")
    assert told[constants.BACKEND_STORE_URI_ENV_VAR] == told[constants.REGISTRY_STORE_URI_ENV_VAR] == "b"
    assert told[constants.ARTIFACTS_DESTINATION_ENV_VAR] == "a"
    assert told[constants.ARTIFACT_ROOT_ENV_VAR] == "mlflow-artifacts:/"
    assert told[constants.SERVE_ARTIFACTS_ENV_VAR] == "true"


def test_every_variable_is_one_that_mlflow_reads():
    """A switch that MLflow has renamed would be set in vain."""
    known = {found.name for found in vars(environment_variables).values() if hasattr(found, "name")}
    known |= {found for name, found in vars(constants).items() if name.endswith("_ENV_VAR")}
    assert set(variables("admin")) - known == {USERS_DATABASE}
    assert set(variables("admin")) - set(variables(None)) == {
        USERS_DATABASE,
        "MLFLOW_AUTH_CONFIG_PATH",
        "_MLFLOW_AUTH_ADMIN_BOOTSTRAPPED",
    }


def test_what_the_application_uses_is_there():
    """Of mlflow.server.auth: its settings, who asks, and which paths it leaves open."""
    assert auth.auth_config._replace(database_uri="x").database_uri == "x"
    assert auth.is_unprotected_route("/static-files/x") and not auth.is_unprotected_route("/")
    assert callable(auth._authenticate_fastapi_request)


def test_a_server_that_had_users_does_not_lose_its_lock(tmp_path):
    """Started again without the password, it is refused: the option was forgotten."""
    users = f"sqlite:///{tmp_path}/users.db"
    refuse_users(made(None, users))  # and makes no file by looking
    assert not (tmp_path / "users.db").exists()
    bring_up_to_date(users, users, USERS, print)
    with pytest.raises(WrongInput, match=r"has users.*--admin-password-file"):
        refuse_users(made(None, users))


def test_the_administrator_is_as_the_settings_say(tmp_path):
    """Made at the first start; at a later one the password in the file is the one that counts; no user is raised."""
    users = f"sqlite:///{tmp_path}/users.db"
    bring_up_to_date(users, users, USERS, print)
    said = []
    ensure_admin(made("boss", users, "the first password"), said.append)
    ensure_admin(made("boss", users, "the first password"), said.append)
    ensure_admin(made("boss", users, "another password"), said.append)
    assert [line.partition(" ")[0] for line in said] == ["created", "changed"]
    assert not any("password" in line and ("first" in line or "another password" in line) for line in said)
    store = SqlAlchemyStore()
    store.init_db(users)
    assert store.authenticate_user("boss", "another password") and store.get_user("boss").is_admin
    assert not store.authenticate_user("boss", "the first password")
    store.create_user("plain", "a plain user's password")
    store.engine.dispose()
    with pytest.raises(WrongInput, match="--admin plain"):
        ensure_admin(made("plain", users, "another password"), said.append)
