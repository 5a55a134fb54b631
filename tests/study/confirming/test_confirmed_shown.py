"""What the commands, the report, an export and MLflow say of confirmed points, and of what could not be confirmed."""

import math
from pathlib import Path

import pytest
import yaml

from study.confirming.made_up_confirming import GIVEN, SPEC_OF, Training, confirm
from study.made_up import Command, make_study, spec_with
from tune_cnn import Study
from tune_cnn.front.confirmed import SeedRun
from tune_cnn.front.confirmed import confirmed as confirmed_runs
from tune_cnn.records.mlflow.confirmed import confirmed_words, metrics_to_send
from tune_cnn.records.store import Store
from tune_cnn.reports.terminal import printed
from tune_cnn.states import RunState, TrialState
from tune_cnn.study.archive import read_archive
from tune_cnn.study.commands.studies import FrontDocument, show_search
from tune_cnn.study.confirming.plan import plan, settings
from tune_cnn.study.report import candidates
from tune_cnn.study.session.failures import nothing_confirmed, nothing_found
from tune_cnn.study.training.promises import kept


def test_candidates_are_those_that_are_confirmed(home: Path, tmp_path: Path) -> None:
    """The best by each objective, though a point that was only searched is faster, with the promise behind them."""
    assert confirm(home, Training(), points=2)
    for path in candidates(Study("made-up", home=home).front(), tmp_path).values():
        assert yaml.safe_load(path.read_text())["promise"]["confirmed"] is True
    assert yaml.safe_load((tmp_path / "best_accuracy.yaml").read_text())["origin"]["trial"] == 1


def test_where_every_run_failed_it_says_of_what(home: Path) -> None:
    """How many of what, and how to try again."""
    (key,) = {run.key for run in plan(read_archive("made-up", home, None), SPEC_OF, settings(SPEC_OF, 1, 1))}
    assert confirm(home, Training(fails=key), points=1, seeds=2)
    store = Store(home)
    told = nothing_confirmed(store.confirmations.runs(SPEC_OF.study), SPEC_OF)
    store.close()
    assert "nothing is confirmed, because every run failed; a larger --seeds adds runs:\n  2 × out of memory" in told


def test_a_constraint_that_nothing_meets_is_named_with_the_nearest(home: Path) -> None:
    """Trials that ended well and still don't count: by how much the nearest point misses."""
    make_study(home, "tight", constraints={"peak_memory_mib": {"max": 80}})
    store = Store(home)
    told = nothing_found(store, spec_with(study="tight", constraints={"peak_memory_mib": {"max": 80}}))
    store.close()
    assert "none of 3 trials gave a point that counts:\n  3 × complete\n" in told
    assert "the nearest, trial 0 at epoch 1, misses by peak_memory_mib = 100 MiB, 20 MiB above the bound" in told


def test_the_end_of_a_search_shows_what_is_confirmed(confirmed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Below the front that was searched."""
    front = Study("made-up", home=confirmed).front()
    document = {"study": "made-up", "state": "finished", "trials": {"complete": 3}, "points": 6, "report": None}
    document["failures"] = ["1 of 4 trials failed:", "  1 × [/] of no markup"]
    show_search(FrontDocument(front, {**document, "next": {**dict.fromkeys(printed.NEXT, ""), "ui": "", "runs": None}}))
    text = capfd.readouterr().out
    assert "1 of 4 trials failed:\n  1 × [/] of no markup\n" in text
    assert text.index("✓ confirmed") < text.index("Confirmed, each alone on its hardware")


def test_confirmed_points_are_written_to_mlflow_in_words(confirmed: Path) -> None:
    """A row a point, for the description of the study; nothing where nothing is confirmed."""
    found = Study("made-up", home=confirmed).front().confirmed
    words = confirmed_words(found, ["accuracy", "train_time_s"])
    assert "| trial | epoch | seeds | `accuracy` | `train_time_s` | `test_accuracy` | on the front |" in words
    assert "| 0 | 2 | 3 | 0.79 [0.7403, 0.8397] | 2.42 [" in words
    assert words.count("\n| ") == 5
    assert confirmed_words([], ["accuracy"]) == ""


def test_front_tells_intervals_and_probability(confirmed: Path, command: Command) -> None:
    """For a reader a table of its own, for a script an object where `false` stood before."""
    document = command("front", "made-up", "--json").document
    point = next(p for p in document["points"] if (p["trial"], p["epoch"]) == (0, 2))
    accuracy = point["confirmed"]["metrics"]["accuracy"]
    assert accuracy["mean"] == pytest.approx(0.79)
    assert accuracy["std"] == pytest.approx(0.01)
    assert accuracy["low"] == pytest.approx(0.79 - 0.04968, abs=1e-4)
    assert point["metrics"]["accuracy"] == 0.8
    assert point["confirmed"]["front_probability"] > 0.9
    assert [(one["trial"], one["epoch"]) for one in document["confirmed"]] == [(0, 1), (0, 2), (1, 2)]
    shown = command("front", "made-up").out
    assert "0.7900" in shown
    assert "✓" in shown
    assert "[0.7403," in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_status_counts_what_is_left(home: Path, command: Command) -> None:
    """In the middle of it, and nothing where nothing was ever planned."""
    assert command("status", "made-up", "--json").document["confirm"] is None
    with pytest.raises(KeyboardInterrupt):
        confirm(home, Training(dies_at=4))
    shown = command("status", "made-up").out
    assert "3 of 3 points (trainings: 4 complete, 5 planned)" in shown


def test_export_prefers_what_is_confirmed_and_says_so(confirmed: Path, command: Command) -> None:
    """The promise is the mean, with its interval and the number of seeds; bounds hold for the means."""
    ended = command("export", "made-up", "--max-time", "3", "-o", "best.yaml")
    assert "accuracy 0.7900 [0.7403, 0.8397]" in ended.err
    assert "confirmed over 3 seeds" in ended.err
    promise = yaml.safe_load((confirmed.parent / "best.yaml").read_text())["promise"]
    assert promise["confirmed"] is True
    assert promise["metrics"]["accuracy"] == pytest.approx(0.79)
    assert promise["metrics"]["test_accuracy"] == pytest.approx(0.76)
    assert set(promise["intervals"]["train_time_s"]) == {"std", "low", "high"}
    assert "peak_memory_mib" not in promise["intervals"]  # the same in every run
    # 2.0 s when it was searched, 2.42 s on average: a deadline of 2.1 s is not for it
    assert command("export", "made-up", "--max-time", "2.1", "--json").document["origin"]["epoch"] == 1


def test_a_search_that_went_on_and_found_better_is_said(confirmed: Path, command: Command) -> None:
    """By an export and by the report's first sentence, as long as nobody has confirmed it."""
    assert "looked better" not in command("export", "made-up", "-o", "best.yaml").err
    store = Store(confirmed)
    with store.lease("made-up"):
        store.add_trial("made-up", 3, {"epochs": 2, "batch_size": 64, "learning_rate": 0.2}, seed=3)
        store.add_point("made-up", 3, 1, {"accuracy": 0.99, "train_time_s": 0.2, "peak_memory_mib": 100.0})
        store.end_trial("made-up", 3, TrialState.COMPLETE)
    store.close()
    ended = command("export", "made-up", "-o", "best.yaml")
    assert "trial 3 at epoch 1, which was not trained again, looked better in every objective" in ended.err
    assert "confirmed over 3 seeds" in ended.err
    text = Study("made-up", home=confirmed).report(confirmed / "r.html").read_text()
    assert "Trial 3, stopped after epoch 1, was not trained again and looked better" in text


def test_what_could_not_be_confirmed_is_offered_nowhere(home: Path, tmp_path: Path) -> None:
    """Neither by an export, nor among the candidates, nor in the report's first sentence."""
    study = Study("made-up", home=home)
    knee = study.front().best().origin
    assert confirm(home, Training(fails=(knee["trial"], knee["epoch"])), points=1)
    left = study.front().best().origin
    assert (left["trial"], left["epoch"]) != (knee["trial"], knee["epoch"])
    for path in candidates(study.front(), tmp_path).values():
        origin = yaml.safe_load(path.read_text())["origin"]
        assert (origin["trial"], origin["epoch"]) != (knee["trial"], knee["epoch"])
    text = study.report(tmp_path / "r.html").read_text()
    lead = text[text.index('<p class="lead">') :].partition("</p>")[0]
    assert f"Trial {left['trial']}, stopped after epoch {left['epoch']}, is the best compromise" in lead
    assert "These are confirmed" not in lead


def test_a_probability_that_is_gone_is_written_to_mlflow(home: Path) -> None:
    """It can't take a metric back: NaN says that the earlier one holds no longer."""
    runs = [
        SeedRun(trial=0, epoch=1, number=n, seed=n, state=RunState.COMPLETE,
                metrics={"accuracy": 0.5, "train_time_s": 1.0, "peak_memory_mib": 900.0})
        for n in range(2)
    ]  # fmt: skip
    sent = [
        {m.key: m.value for m in metrics_to_send(one, ["accuracy"], 0)}["confirmed.front_probability"]
        for bound in (1000.0, 800.0)
        for one in confirmed_runs(runs, SPEC_OF.objective_metrics, {"peak_memory_mib": {"max": bound}})
    ]
    assert sent[0] == 1.0
    assert math.isnan(sent[1])


def test_a_training_tells_on_which_side_it_misses(capfd: pytest.CaptureFixture[str]) -> None:
    """More accurate than promised is no broken promise."""
    intervals = {
        "accuracy": {"low": 0.8, "high": 0.9, "inside": False},
        "train_time_s": {"low": 1.0, "high": 2.0, "inside": False},
        "val_loss": {"low": 0.1, "high": 0.2, "inside": True},
    }
    achieved = {"accuracy": 0.95, "train_time_s": 2.5, "val_loss": 0.15}
    printed.training({"promised": achieved, "achieved": achieved, "intervals": intervals, "folder": "here"})
    rows = {line.split()[0]: line for line in capfd.readouterr().out.splitlines() if line.strip()}
    assert rows["accuracy"].endswith("outside, better")
    assert rows["train_time_s"].endswith("outside, worse")
    assert rows["val_loss"].rstrip().endswith("inside")


def test_an_export_trains_with_a_fresh_seed_where_it_promises_a_fresh_run(confirmed: Path) -> None:
    """Neither the searched seed, whose luck the point was chosen by, nor one of those that were averaged."""
    front = Study("made-up", home=confirmed).front()
    seeds = {front.export(point).config["trial_seed"] for point in front}
    assert len(seeds) == len(front)
    assert not seeds & ({run.seed for run in front.runs} | {0, 1, 2})


def test_an_export_of_a_searched_point_trains_with_the_searched_seed(home: Path) -> None:
    """Which gives what was seen."""
    front = Study("made-up", home=home).front()
    assert all(front.export(point).config["trial_seed"] == point.trial for point in front)


def test_export_of_what_is_not_confirmed_says_so(home: Path, command: Command) -> None:
    """A searched point is given where no confirmed one is inside, and promises what was seen once."""
    assert confirm(home, Training(), points=1, seeds=2)
    (key,) = [one.key for one in Study("made-up", home=home).front().confirmed]
    other = next(k for k in GIVEN if k != key and k != (0, 1))
    ended = command("export", "made-up", "--trial", str(other[0]), "--epoch", str(other[1]), "-o", "best.yaml")
    assert "searched, not confirmed" in ended.err
    assert yaml.safe_load((home.parent / "best.yaml").read_text())["promise"]["confirmed"] is False


def test_report_shows_what_is_confirmed(confirmed: Path, tmp_path: Path) -> None:
    """A section with figure and table; none in a study without."""
    text = Study("made-up", home=confirmed).report(tmp_path / "r.html").read_text()
    assert "<h2>Confirmed</h2>" in text
    assert 'id="figure-confirmed"' in text
    assert "0.7900 [0.7403, 0.8397]" in text
    make_study(tmp_path / "other")
    assert "<h2>Confirmed</h2>" not in Study("made-up", home=tmp_path / "other").report(tmp_path / "o.html").read_text()


def test_the_reports_answer_is_what_an_export_gives(home: Path, tmp_path: Path) -> None:
    """The confirmed knee, by its means; the one that was searched before anything was confirmed."""
    study = Study("made-up", home=home)
    searched = study.report(tmp_path / "searched.html").read_text()
    assert "These are confirmed" not in searched
    assert confirm(home, Training(), points=2)
    origin, text = study.front().best().origin, study.report(tmp_path / "r.html").read_text()
    lead = text[text.index('<p class="lead">') :].partition("</p>")[0]
    assert f"Trial {origin['trial']}, stopped after epoch {origin['epoch']}, is the best compromise" in lead
    assert "<b>accuracy 0.7900</b>" in lead
    assert "0.9400" in lead
    assert "These are confirmed" in lead


def test_promise_is_held_against_its_interval() -> None:
    """Inside, outside, and silence about what was promised without an interval."""
    promise = {"intervals": {"accuracy": {"std": 0.1, "low": 0.8, "high": 0.9}, "val_loss": {"low": 0.1, "high": 0.2}}}
    assert kept(promise, {"accuracy": 0.85, "train_time_s": 3.0}) == {
        "accuracy": {"low": 0.8, "high": 0.9, "inside": True}
    }
    assert kept(promise, {"accuracy": 0.95})["accuracy"]["inside"] is False
    assert kept({"confirmed": False, "metrics": {}}, {"accuracy": 0.9}) == {}


@pytest.mark.parametrize(
    ("ui", "runs", "last"),
    [
        ("http://there", "http://there/#/experiments/7/runs", ["MLflow:  http://there/#/experiments/7/runs"]),
        ("http://there", None, ["MLflow:  http://there"]),
        ("mlflow ui", "http://here/#/", ["MLflow:  mlflow ui", "         which shows the runs at http://here/#/"]),
        ("mlflow ui", None, ["MLflow:  mlflow ui"]),
    ],
)
def test_a_searchs_end_says_where_its_runs_are_seen(
    ui: str, runs: str | None, last: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """At a server the whole address in one line; of a database how it is opened, and where it opens."""
    typed = {**dict.fromkeys(printed.NEXT, "typed"), "ui": ui, "runs": runs}
    printed.search_foot({"report": None, "failures": [], "next": typed})
    assert capfd.readouterr().out.splitlines()[-len(last) - 1 :] == ["Train:   typed", *last]
