"""The administrator's account: as the settings have it, at every start."""

from collections.abc import Callable

from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

from mlflow_server.errors import WrongInput
from mlflow_server.settings import Settings

SHIPPED_USER, SHIPPED_PASSWORD = "admin", "password1234"  # what MLflow gave every server before 3.15


def ensure_admin(settings: Settings, report: Callable[[str], None]) -> None:
    """Afterwards the account exists with the password that was given: to change it, change the file and start again."""
    assert settings.admin is not None and settings.admin_password is not None
    store = SqlAlchemyStore()
    store.init_db(settings.users_url)
    try:
        _ensure(store, settings.admin, settings.admin_password, report)
        if store.authenticate_user(SHIPPED_USER, SHIPPED_PASSWORD):
            report(f"the user {SHIPPED_USER} has the password that older MLflow shipped, which is refused; delete it")
    finally:
        store.engine.dispose()


def _ensure(store: SqlAlchemyStore, name: str, password: str, report: Callable[[str], None]) -> None:
    if not store.has_user(name):
        store.create_user(name, password, is_admin=True)
        report(f"created the administrator {name}")
    elif not store.get_user(name).is_admin:
        raise WrongInput(f"--admin {name}: is a user without an administrator's rights; give another name")
    elif not store.authenticate_user(name, password):
        store.update_user(name, password=password)
        report(f"changed the password of {name} to the one that was given")
