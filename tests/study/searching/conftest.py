"""A driver with a real store and a real search, and no Ray."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.made_up import session_of, spec_with
from study.searching.drivers import Make
from tune_cnn.records.store import Store
from tune_cnn.search.search import Past, Search
from tune_cnn.study.searching.budget import PhaseEnd
from tune_cnn.study.searching.driver import SearchDriver


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def make(store: Store) -> Make:
    """A driver as a start of the search makes it: the same study again resumes."""

    def start(*, forgotten: list[int] | None = None, over: str | None = None, **changes: Any) -> SearchDriver:
        spec = spec_with(**changes)
        if store.study(spec.study) is None:
            store.create_study(spec.study, spec.model_dump(), info={})
        ended = [t for t in store.trials(spec.study) if t.state != "running"]
        points = store.points(spec.study)
        past = [Past(params=t.params, state=t.state, points=[p for p in points if p.trial == t.number]) for t in ended]
        driver = SearchDriver(
            session_of(store, spec),
            Search(spec, past=past),
            slots=2,
            show=lambda progress: None,
            forget=(forgotten if forgotten is not None else []).append,
            over=over,
        )
        driver.begin_phase(0.0, 2, end=PhaseEnd())
        return driver

    return start
