"""What `gradients` makes of what was measured: statistics, the paper's findings, the page, from the store alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tune_cnn.errors import InputError, StudyError
from tune_cnn.records.document import read_document, write_document
from tune_cnn.records.rows import Measurement
from tune_cnn.records.store import Store
from tune_cnn.reports.gradients_report import Verdict
from tune_cnn.spec import load_spec, parse_spec
from tune_cnn.states import StudyState, TrialState
from tune_cnn.study.archive import read_archive
from tune_cnn.study.gradients.answer import answer, phases_of, report_of, seen_of
from tune_cnn.study.gradients.asked import AskedFor, asked_for, check_images, check_spec
from tune_cnn.study.gradients.cost import in_words, passes
from tune_cnn.study.gradients.findings import findings
from tune_cnn.study.gradients.noise_scale import noise_scale
from tune_cnn.study.gradients.phases import phases
from tune_cnn.study.gradients.policies import farthest
from tune_cnn.study.gradients.shown import write_files
from tune_cnn.study.gradients.statistics import correlation, difference, mean, parts, rank_correlation
from tune_cnn.study.questions.asked import refuse_question
from tune_cnn.study.study import Study
from tune_cnn.training.gradients.measured import CONTROL, Measured

SPEC: dict[str, Any] = {
    "study": "seen",
    "data": {"name": "digits"},
    "model": {"name": "small_cnn"},
    "space": {"epochs": 8, "batch_size": 64, "schedule": "step"},
    "budget": {"trials": 1},
}
EPOCHS, BATCHES = 8, 40
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def made_up(metric: str, epoch: int, shape: Callable[[float], float], **changes: Any) -> Measured:
    """Distances that go with the place in the ranking as `shape` says, and a little noise."""
    random = np.random.default_rng((epoch, len(metric)))
    places = (np.arange(BATCHES) + 0.5) / BATCHES
    l2 = [shape(place) + 0.02 * random.standard_normal() for place in places]
    rate = 0.1 * 0.1 ** ((epoch >= 4) + (epoch >= 6))
    whole: dict[str, Any] = {
        "metric": metric, "epoch": epoch, "learning_rate": rate, "images": 64 * BATCHES, "batch_size": 64,
        "last_size": 64, "order": "k", "full_norm": 1.0, "full_loss": 2.0, "values": tuple(places.tolist()),
        "class_entropy": (2.0,) * BATCHES, "l2": tuple(l2), "cosine": tuple(l2),
        "norm": tuple(float(np.hypot(1, one)) for one in l2), "layers": {"conv": tuple(l2[:10])},
    }  # fmt: skip
    return Measured(**{**whole, **changes})


SHAPES: dict[str, Callable[[float], float]] = {
    CONTROL: lambda place: 1.0,
    "intensity": lambda place: 2.0 - place,  # the upper quartile is nearest, and the lower end farthest
    "edges": lambda place: 1.0 + 4 * (place - 0.5) ** 2,  # the middle is nearest
    "perceptual": lambda place: 1.0 + place,  # the paper's opposite
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A study of one training, measured before each of its epochs."""
    store = Store(tmp_path)
    asked = {"metrics": ["intensity", "edges", "perceptual"], "control": True, "seeds": 1}
    info = {
        "data": {"key": "k", "name": "digits", "train_images": 64 * BATCHES, "notes": ["a note <b>"]},
        "question": {"kind": "gradients", "asked": asked, "settled": {}, "again": "tune-cnn gradients seen.yaml"},
    }
    store.create_study("seen", parse_spec(SPEC).model_dump(), info=info)
    store.add_trial("seen", 0, {}, seed=1, origin="gradients", extra={"run": "training 1"})
    for epoch in range(EPOCHS):
        found = [made_up(metric, epoch, shape) for metric, shape in SHAPES.items()]
        store.measurements.add("seen", [_row(epoch, f"gradients/{one.metric}", one.as_dict()) for one in found])
        store.add_point("seen", 0, epoch + 1, {"accuracy": 0.9, "train_time_s": 1.0})
    sheet = {"place": 0.1, "value": 3.0, "class_entropy": 1.0, "distance": 0.5, "png": PNG}
    store.measurements.add("seen", [_row(3, "sheets/1/edges", {"nearest": [sheet], "farthest": [sheet]})])
    store.end_trial("seen", 0, TrialState.COMPLETE)
    store.update_study("seen", state=StudyState.FINISHED)
    store.close()
    return tmp_path


def _row(epoch: int, name: str, content: dict[str, Any]) -> Measurement:
    return Measurement(trial=0, epoch=epoch, name=name, content=content)


def test_the_answer_tells_what_was_put_in(home: Path) -> None:
    """Trends, phases by the learning rate, and the paper's findings each as it is."""
    found = answer(read_archive("seen", home, None))
    assert list(found["metrics"]) == ["intensity", "edges", "perceptual", CONTROL]
    intensity = found["metrics"]["intensity"]["phases"]
    assert [phase["epochs"] for phase in intensity] == [[1, 2, 3, 4], [5, 6], [7, 8]]
    assert intensity[0]["correlation"]["high"] < -0.9 and len(intensity[0]["quantiles"]) == 10
    assert intensity[0]["against_random"]["value"] == pytest.approx(1.5, abs=0.02)
    assert found["metrics"][CONTROL]["phases"][0]["against_random"] is None
    verdicts = {(one["metric"], one["phase"]): one["verdict"] for one in found["findings"]}
    assert verdicts == {
        ("intensity", "1"): "holds", ("intensity", "2 and later"): "can't tell",
        ("perceptual", "1"): "doesn't", ("perceptual", "2 and later"): "can't tell",
        ("colour", "1"): "can't tell", ("colour", "2 and later"): "can't tell",
        ("edges", "1"): "holds", ("edges", "2 and later"): "holds",
    }  # fmt: skip
    assert len(found["noise_scale"]) == EPOCHS and found["trainings"] == 1
    json.dumps(found, allow_nan=False)


def test_what_lies_far_becomes_a_spec_for_compare(home: Path) -> None:
    """The part that is surely farther, and its counterpart, in a spec that holds together."""
    archive = read_archive("seen", home, None)
    fars = {far.metric: far.part for far in farthest(seen_of(archive), phases_of(archive, seen_of(archive)))}
    assert fars == {"intensity": "lower", "edges": "extremes", "perceptual": "upper"}
    files = write_files(archive, home, Study("seen", home=home).next_commands)
    made = load_spec(files["policies.yaml"])
    assert made.study == "seen-policies" and made.searched.keys() >= {"strategies.minibatch_order"}
    assert set(files) >= {"report.html", "gradients.png", "quantiles.png", "noise_scale.png", "policies.yaml"}
    assert all(path.stat().st_size > 0 for path in files.values())


def test_the_page_is_the_same_wherever_it_is_written(home: Path, tmp_path: Path) -> None:
    """Of the store, and of points.json as MLflow holds it; what strangers wrote is escaped."""
    study = Study("seen", home=home)
    page = study.report(tmp_path / "page.html").read_text()
    archive = study.archive()
    text = write_document(
        archive.study, archive.trials, archive.points, archive.confirmations, archive.nodes, archive.measurements
    )
    assert read_document(text, "points.json").measurements == archive.measurements
    assert answer(read_document(text, "points.json")) == answer(archive)
    for said in ("Noise scale", "The paper", "holds", "Does selection pay?", "data:image/png;base64", "seen-policies"):
        assert said in page
    assert "a note <b>" not in page and "a note &lt;b&gt;" in page


def test_a_study_that_measured_nothing_yet_has_a_page(tmp_path: Path) -> None:
    store = Store(tmp_path)
    question = {"kind": "gradients", "asked": {"metrics": ["edges"]}, "settled": {}, "again": "again"}
    store.create_study("none", parse_spec({**SPEC, "study": "none"}).model_dump(), info={"question": question})
    store.close()
    study = Study("none", home=tmp_path)
    assert "Nothing is measured yet" in study.report(tmp_path / "page.html").read_text()
    assert answer(study.archive())["metrics"] == {}
    with pytest.raises(StudyError, match="nothing to search"):
        refuse_question(study.archive().study, "search")


def test_measurements_are_kept_once(home: Path) -> None:
    """The first of a trial, epoch and name stays, as with points."""
    store = Store(home)
    before = store.measurements.of("seen")
    store.measurements.add("seen", [_row(0, "gradients/edges", {"other": 1})])
    assert store.measurements.of("seen") == before
    store.close()


def test_a_smaller_last_mini_batch_is_left_out(home: Path) -> None:
    """It is farther by its size alone: of the statistics, not of the full gradient."""
    one = made_up("edges", 0, SHAPES["edges"], last_size=3)
    odd = replace(one, l2=(*one.l2[:-1], 99.0))
    assert odd.whole == BATCHES - 1 and max(odd.l2[: odd.whole]) < 3


@pytest.mark.parametrize(
    ("schedule", "rates", "firsts"),
    [
        ("step", [0.1, 0.1, 0.01, 0.001], [0, 2, 3]),
        ("step", [0.02, 0.1, 0.1, 0.01], [0, 3]),  # a warm-up belongs to what it leads to
        ("plateau", [0.1, 0.1, 0.1, 0.1], [0]),
        ("cosine", [0.1, 0.07, 0.03, 0.0], [0, 2, 3]),  # thirds
    ],
)
def test_phases_are_stretches_of_one_rate(schedule: str, rates: list[float], firsts: list[int]) -> None:
    found = phases(list(enumerate(rates)), schedule, 4)
    assert [phase.first for phase in found] == firsts
    assert found[-1].last == 3 and [phase.number for phase in found] == list(range(1, len(firsts) + 1))


def test_phases_without_a_measured_epoch_are_left_out() -> None:
    """Every third epoch: the second of four lies between."""
    found = phases([(0, 0.1), (6, 0.001)], "cosine", 9)
    assert [(phase.number, phase.measured) for phase in found] == [(1, (0,)), (3, (6,))]


def test_statistics_by_hand() -> None:
    """Spearman with ties, intervals around what they are of, parts that cover everything once."""
    assert rank_correlation([1, 2, 3, 4], [1, 4, 9, 16]) == pytest.approx(1)
    assert rank_correlation([1, 2, 2, 3], [3, 2, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 2, 3], [5, 5, 5]) == 0
    assert rank_correlation([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(0.8)
    values = np.random.default_rng(1).normal(3.0, 1.0, 400)
    found = mean(values)
    assert found.low is not None and found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert correlation(values[:3], values[:3]).low is None
    assert difference(values, values + 1).sign == -1 and difference(values[:1], values).sign == 0
    for count in (1, 5, 19, 20, 333):
        covered = np.concatenate([np.arange(count)[part] for part in parts(count)])
        assert covered.tolist() == list(range(count))


def test_the_noise_scale_is_that_of_the_images() -> None:
    """Mini-batches of made-up gradients of single images, of which tr(Σ) and G are known."""
    random = np.random.default_rng(0)
    images, batch, width = 6000, 20, 50
    each = 0.3 + random.standard_normal((images, width))
    whole = each.mean(axis=0)
    true = each.var(axis=0).sum() / (whole**2).sum()
    norms = np.linalg.norm(each.reshape(-1, batch, width).mean(axis=1), axis=1)
    found = noise_scale(norms, float(np.linalg.norm(whole)), batch_size=batch, images=images)
    assert found.value == pytest.approx(true, rel=0.05)
    assert found.low is not None and found.high is not None and found.low < true < found.high


def test_findings_need_what_they_are_of(home: Path) -> None:
    seen = seen_of(read_archive("seen", home, None))
    told = {one.metric: one for one in findings(seen, []) if one.phase == "1"}
    assert told["colour"].why == "the metric was not measured"
    assert told["edges"].why == "no epoch of this phase was measured"
    assert all(one.verdict is Verdict.CANT_TELL for one in told.values())


def test_the_report_speaks_of_one_training(home: Path) -> None:
    archive = read_archive("seen", home, None)
    report = report_of(archive, Study("seen", home=home).next_commands)
    assert any("one was measured" in note for note in report.notes)
    assert report.answer[0].startswith(
        "Of 6 findings of the paper that could be looked at 3 hold, 1 don't, and 2 can't"
    )
    assert report.commands[0].endswith("--seeds 5")


@pytest.mark.parametrize(
    ("metrics", "how", "said"),
    [
        ("edge", {}, "there is no metric 'edge'; did you mean 'edges'"),
        ("", {}, "names at least one metric"),
        ("edges,edges", {}, "each metric must stand once"),
        ("edges", {"every": 0}, "--every: must be at least 1, got 0"),
        ("edges", {"seeds": 0}, "--seeds: must be at least 1"),
        ("perceptual", {"weights": "some"}, "--weights: must be pretrained or random"),
        ("edges,loss", {"weights": "random"}, "--weights: is of the network that perceptual looks with.*leave it out"),
        ("edges", {"backbone": "vgg16"}, "--backbone: is of the network.*got 'vgg16'; leave it out, or add perceptual"),
        ("edge", {}, r"did you mean 'edges'\? A function of yours is named as package.module:name"),
        ("no_such_module:f", {}, "--metric: importing no_such_module raised ModuleNotFoundError"),
        ("math:sqr", {}, "--metric: math has no 'sqr'; did you mean 'sqrt'"),
    ],
)
def test_what_is_asked_for_wrongly_is_said(metrics: str, how: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        asked_for(metrics, parse_spec(SPEC), **how)


def test_a_network_that_is_not_named_is_the_usual_one() -> None:
    """Said or not, it is the same question."""
    said = asked_for("perceptual", parse_spec(SPEC), backbone="alexnet", weights="pretrained")
    assert asked_for("perceptual", parse_spec(SPEC)) == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"space": {"epochs": 2, "batch_size": [32, 64]}}, "the spec leaves batch_size open.*--set space.batch_size="),
        ({"training": "my:train"}, "keeps its loss to itself"),
        ({"space": {"epochs": 2, "strategies": {"weight_norm": True}}}, "which weight_norm may change"),
        ({"space": {"epochs": 2, "class_sampling": "balanced"}}, "repeats some and leaves others out"),
    ],
)
def test_a_spec_that_cannot_be_measured_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_spec(parse_spec({**SPEC, **change}))


def test_colour_needs_colours() -> None:
    asked = AskedFor(metrics=("colour",))
    check_images(asked, {"name": "photographs", "in_channels": 3})
    with pytest.raises(InputError, match="colour needs images of three channels, digits has 1; leave it out"):
        check_images(asked, {"name": "digits", "in_channels": 1})


def test_the_cost_is_known_before() -> None:
    """One metric without batch normalisation: the training, the full gradient, the metric's and the random pass."""
    plain = passes(AskedFor(metrics=("edges",)).orders, joins_images=False)
    assert plain.epochs == 3
    assert passes(AskedFor(metrics=("edges",), control=False).orders, joins_images=True).epochs == 2
    assert passes(AskedFor(metrics=("edges",)).orders, joins_images=True).epochs == 4
    assert passes(AskedFor(metrics=("loss",)).orders, joins_images=False).forward == 1
    assert "the whole some 2.5 times the training" in in_words(plain, measured=4, epochs=8)
