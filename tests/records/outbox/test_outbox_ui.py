"""What a reviewer finds in MLflow's own page, opened by a headless Chromium."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from missing import missing
from mlflow import MlflowClient
from PIL import Image
from records.outbox.delivered import runs, send
from records.outbox.served import Served

from tune_cnn.records.mlflow.environment import runs_page
from tune_cnn.records.store import Store
from tune_cnn.states import StudyState, TrialState
from tune_cnn.study.archive import read_archive
from tune_cnn.study.hints import NextCommands
from tune_cnn.study.report import report_files

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# MLflow shows HTML in a sandboxed frame, for Chromium a process of its own, which a screenshot does not wait for.
OPTIONS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-site-isolation-trials"),
    "--disable-features=IsolateSandboxedIframes,IsolateOrigins,site-per-process",
    *("--window-size=1600,1000", "--virtual-time-budget=20000"),
]
TRIES = 5
BLUE = (0x2F, 0x6F, 0xED)  # of the front, in figures and pictures


@pytest.fixture
def reviewed(store: Store, name: str, served: Served, tmp_path: Path) -> Iterator[str]:
    """A finished study with its files, on the server; the address of its runs in MLflow's page."""
    if CHROMIUM is None:
        missing("Chromium is not installed: no chromium, chromium-browser or google-chrome on the path")
    store.add_trial(name, 2, {"batch_size": 1024, "model.note": ""}, seed=2)
    store.add_point(name, 2, 1, {"accuracy": 0.92, "train_time_s": 5.0})
    store.end_trial(name, 1, TrialState.FAILED, "val_loss is nan")
    store.end_trial(name, 2, TrialState.COMPLETE)
    store.update_study(name, state=StudyState.FINISHED)
    commands = NextCommands(study=name, home=tmp_path)
    for file, path in report_files(read_archive(name, tmp_path, None), tmp_path / name, commands=commands).items():
        store.deliveries.add_artifact(name, path, file)
    send(store, name, served.uri)
    record = store.study(name)
    assert record is not None
    yield f"{served.uri}/#/experiments/{record.experiment_id}/runs"


def browse(address: str, *options: str) -> str:
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", *options, address]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def page_with(address: str, *texts: str) -> str:
    """The page once it shows these; on a busy machine Chromium's patience ends before the page is whole."""
    for _ in range(TRIES):
        page = browse(address, "--dump-dom")
        if all(text in page for text in texts):
            return page
    raise AssertionError(f"{[text for text in texts if text not in page]} are not in {address}")


def pixels(address: str, picture: Path, colour: tuple[int, int, int]) -> int:
    """How many of the page's pixels have this colour; likewise."""
    count = 0
    for _ in range(TRIES):
        browse(address, f"--screenshot={picture}")
        with Image.open(picture) as image:
            colours = image.convert("RGB").getcolors(1600 * 1000) or []
        count = sum(count for count, found in colours if found == colour)
        if count:
            break
    return count


def test_a_reviewer_finds_the_study_its_figure_and_its_trials_in_order(
    reviewed: str, name: str, served: Served, tmp_path: Path
) -> None:
    """The parent run with its description; the front's trials alone, sorted by size; the figure, drawn in the page."""
    parent = runs(served.uri, name)[name].info.run_id
    page_with(f"{reviewed}/{parent}", "searched for high", "t0000 bs32", "Finished")
    query = f"?searchFilter={quote(chr(39).join(['tags.front = ', 'true', '']))}&orderByKey="
    trials = ("t0002 bs1024", "t0001 bs64")
    page = page_with(f"{reviewed}{query}{quote('metrics.`param.batch_size`')}&orderByAsc=false", *trials)
    places = [page.index(trial) for trial in trials]
    assert places == sorted(places) and "t0000 bs32" not in page  # beaten by trial 2; 1024 stands before 64
    figure = f"{reviewed}/{parent}/artifacts/front.html"
    assert pixels(figure, tmp_path / "figure.png", BLUE) > 100, "no front is drawn"


def test_the_address_that_is_written_opens_the_runs(reviewed: str, name: str, served: Served, store: Store) -> None:
    """At a first visit, when an experiment's own address opens on an overview without them; the parent run has it."""
    tags = runs(served.uri, name)[name].data.tags
    record = store.study(name)
    assert record is not None and record.experiment_id is not None
    assert tags["tune_cnn.runs"] == runs_page(served.uri, record.experiment_id)
    assert f"(#/experiments/{record.experiment_id}/runs?workflowType=machine_learning)" in tags["mlflow.note.content"]
    page = page_with(tags["tune_cnn.runs"], f"{name}</", "matching runs")
    assert "No data available for the selected time range" not in page


def test_compare_draws_the_parameters_against_an_objective(reviewed: str, name: str, served: Served) -> None:
    """As parallel coordinates, without anything chosen."""
    trials = [run for run_name, run in runs(served.uri, name).items() if run_name != name]
    ids = [quote(json.dumps(some)) for some in ([t.info.run_id for t in trials], [trials[0].info.experiment_id])]
    axes = [f'class="axis-title" text-anchor="middle" data-unformatted="{name}"' for name in ("batch_size", "accuracy")]
    page_with(f"{served.uri}/#/compare-runs?runs={ids[0]}&experiments={ids[1]}", *axes)


def test_the_front_is_found_and_filtered_by_every_objective(
    store: Store, name: str, tracking: str, tmp_path: Path
) -> None:
    """By tag, at its epochs; by the chosen values, whose dots want backquotes; numeric parameters as numbers."""
    store.update_study(name, state=StudyState.FINISHED)
    commands = NextCommands(study=name, home=tmp_path)
    for file, path in report_files(read_archive(name, tmp_path, None), tmp_path / name, commands=commands).items():
        store.deliveries.add_artifact(name, path, file)
    send(store, name, tracking)
    assert {r.data.tags["front_epochs"] for r in runs(tracking, name, "tags.front = 'true'").values()} == {"3", "1,2,3"}
    assert list(runs(tracking, name, "metrics.`front.accuracy` > 0.89")) == ["t0000 bs32"]
    assert list(runs(tracking, name, "metrics.`front.train_time_s` < 4")) == ["t0001 bs64"]
    assert list(runs(tracking, name, "metrics.`param.batch_size` > 32 and tags.front = 'true'")) == ["t0001 bs64"]
    parent = runs(tracking, name)[name].info.run_id
    client = MlflowClient(tracking)
    assert {f.path for f in client.list_artifacts(parent)} >= {"front.html", "front.png", "report.html", "candidates"}
    candidates = {f.path for f in client.list_artifacts(parent, "candidates")}
    assert candidates == {f"candidates/{n}.yaml" for n in ("knee", "best_accuracy", "best_train_time_s")}
