"""What runs on the head: `python -m tune_cnn.study.submitting.there search`, which becomes the search, or `stop ID`."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import psutil

from tune_cnn.errors import TuneCnnError
from tune_cnn.study.submitting.versions import check_same, versions

FOLDER = ".tune_cnn"  # in the job's working directory
SENT, SPEC, SEALED, FILES = "sent.json", "spec.yaml", "sealed", "files"
MARK = "TUNE_CNN_SUBMISSION"  # in the search's environment: whose it is
BEGINS = "tune_cnn: the search begins"  # in the job's log, by which `submit` knows that it may go
JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray's, in the environment of a job's process
NOT_FOUND = 4


def files_there(home: str, study: str) -> str:
    """Where files of the spec lie on the head: the same place at each start, as a study's spec may not change."""
    return f"{home}/{study}/{FILES}"


def become_search(folder: Path) -> None:
    """Check versions, open what was sealed, and turn this process into `tune-cnn search`. Secrets reach it by its
    environment: neither its arguments nor anything that Ray keeps holds them."""
    sent = json.loads((folder / SENT).read_text(encoding="utf-8"))
    check_same(sent["versions"], versions(), where=f"the head's {sys.executable}")
    environment = {**os.environ, **sent["environment"], MARK: sent["submission"], "TUNE_CNN_AGAIN": sent["again"]}
    if (folder / SEALED).exists():
        from tune_cnn.trials.ray_settings import token
        from tune_cnn.trials.sealing import unseal

        environment |= unseal((folder / SEALED).read_bytes(), token() or "")
    home = Path(sent["home"]).expanduser()
    if (folder / FILES).is_dir():
        shutil.copytree(folder / FILES, Path(files_there(str(home), sent["study"])), dirs_exist_ok=True)
    if JOB in environment:
        environment[JOB] = _for_trials(environment[JOB])
    environment.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
    words = ["search", str(folder / SPEC), "--home", str(home), "--address", "auto"]
    words += ["--storage", sent["storage"]] if sent["storage"] else []
    print(BEGINS, flush=True)
    os.execve(sys.executable, [sys.executable, "-P", "-m", "tune_cnn", *words], environment)


def _for_trials(job: str) -> str:
    """Ray's word on the job, which trials inherit, without the head's python: on other nodes it may lie elsewhere."""
    told = json.loads(job)
    (told.get("runtime_env") or {}).pop("py_executable", None)
    return json.dumps(told)


def stop(submission: str) -> bool:
    """SIGUSR1 to that search alone, not to its outbox: it ends at the epoch, told once or twice. Whether there is
    one."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == submission and process.cmdline()[3:5] == ["tune_cnn", "search"]:
                process.send_signal(signal.SIGUSR1)
                return True
        except psutil.Error:  # somebody else's, or gone meanwhile
            continue
    return False


def main() -> None:
    try:
        if sys.argv[1] == "search":
            become_search(Path(FOLDER))
        sys.exit(0 if stop(sys.argv[2]) else NOT_FOUND)
    except TuneCnnError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
