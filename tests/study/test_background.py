"""What is said of a delivery that goes on in the background, where nothing goes on after a command."""

from pathlib import Path
from typing import Any

import pytest

from study.made_up import SPEC, session_of, spec_with
from tune_cnn.records.store import Store


class Outbox:
    """One that goes on by itself."""

    alive, taken = True, None

    def finish(self, *args: Any, **how: Any) -> int:
        return 3


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        (None, "in the background until "),
        (("SLURM_JOB_ID", "42"), "only as long as Slurm job 42 lasts; after that `"),
        (("KUBERNETES_SERVICE_HOST", "10.0.0.1"), "only as long as this pod lasts; after that `"),
    ],
)
def test_a_job_or_a_pod_takes_the_delivery_along(
    variable: tuple[str, str] | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no time is promised there."""
    for name in ("SLURM_JOB_ID", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv(*variable)
    store, told = Store(tmp_path), list[str]()
    store.create_study(SPEC["study"], SPEC, info={})
    session = session_of(store, spec_with(), tmp_path, told.append)
    session.outbox = Outbox()  # type: ignore[assignment]  # of the real one, whose process takes seconds, what is asked
    session.drain()
    store.close()
    assert said in told[-1] and "sync" in told[-1]
