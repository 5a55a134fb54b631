"""The artifact store: tried before the server says that it is ready."""

import secrets
import tempfile
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_server.errors import ServerError, WrongInput


def try_artifacts(uri: str) -> None:
    """Writes a small file, reads it back and deletes it. Raises WrongInput or ServerError saying what can't be done."""
    nonce = secrets.token_hex(16)
    name = f"readiness-{nonce}"
    doing = "opened"
    try:
        if "://" not in uri:
            Path(uri).mkdir(mode=0o700, parents=True, exist_ok=True)
        store = get_artifact_repository(uri)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / name
            source.write_text(nonce)
            doing = "written"
            store.log_artifact(str(source))
            doing = "read"
            back = Path(store.download_artifacts(name, dst_path=tempfile.mkdtemp(dir=folder)))
            if back.read_text() != nonce:
                raise ServerError(f"--artifacts {uri}: gave back other bytes than were written")
            doing = "cleaned up"
            store.delete_artifacts(name)
    except ModuleNotFoundError as error:
        raise WrongInput(
            f"--artifacts {uri}: the package {error.name} for this store is not installed; uv pip install it"
        ) from None
    except ImportError as error:
        raise WrongInput(f"--artifacts {uri}: this store's package can't be loaded ({error})") from None
    except ServerError:
        raise
    except MlflowException as error:
        raise ServerError(f"--artifacts {uri}: can't be {doing} ({error.message})") from None
    except OSError as error:
        raise ServerError(f"--artifacts {uri}: can't be {doing} ({error.strerror or error})") from None
    except Exception as error:  # a store's own library: botocore, google.api_core … each has its own
        raise ServerError(f"--artifacts {uri}: can't be {doing} ({type(error).__name__}: {error})") from None
