"""The figures: every point in its place, whatever the study holds."""

import math

import numpy as np
import pytest
from reports.made_up_studies import SEARCHED, made_up

from tune_cnn.front.choose import knee
from tune_cnn.metrics import EpochPoint
from tune_cnn.reports.figures.parallel import parallel_coordinates_figure
from tune_cnn.reports.figures.study import (
    MOST_DOMINATED,
    curves_figure,
    front_figure,
    hypervolume_figure,
    importances_figure,
    most_curves,
)
from tune_cnn.reports.study_report import TrialRow
from tune_cnn.reports.thinning import hypervolume_trace, sample
from tune_cnn.spec import Choice
from tune_cnn.states import TrialState


def test_the_front_figure_shows_every_point_once() -> None:
    """Faint and bold points together are all the points; times have a log axis, accuracy a linear one."""
    study = made_up(20)
    figure = front_figure(study.points, study.front, study.objectives, study.params)
    faint, bold, best = figure.data
    drawn = sorted(zip([*faint.x, *bold.x], [*faint.y, *bold.y], strict=True))
    assert drawn == sorted((p.metrics["train_time_s"], p.metrics["accuracy"]) for p in study.points)
    assert best.y == (knee(study.front, study.objectives).metrics["accuracy"],)
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "linear")
    assert bold.line.shape == "hv"
    assert list(bold.x) == sorted(bold.x)


def test_the_steps_go_along_what_the_front_has_reached() -> None:
    """Where more is better on the x axis too, the steps fall before they go on."""
    study = made_up(20, ("val_loss", "images_per_s"))
    figure = front_figure(study.points, study.front, study.objectives, study.params)
    assert figure.data[1].line.shape == "vh"


def test_hover_tells_the_point_its_metrics_and_settings_escaped() -> None:
    """A front point's hover has trial, epoch, the other metrics too, and a user's text only as text."""
    study = made_up(1, epochs=1)
    params = {0: {"model.kind": "<img src=x>"}}
    figure = front_figure(study.points, study.front, study.objectives, params)
    text = figure.data[1].text[0]
    for wanted in ("trial 0, epoch 1", "accuracy: ", "val_loss: ", "model.kind=&lt;img src=x&gt;"):
        assert wanted in text


@pytest.mark.parametrize(("names", "panels"), [(("accuracy",), 1), (("accuracy", "train_time_s", "val_loss"), 3)])
def test_each_pair_of_objectives_has_a_panel(names: tuple[str, ...], panels: int) -> None:
    """Three objectives make three panels of the same points; one is drawn over the epochs."""
    study = made_up(8, names)
    figure = front_figure(study.points, study.front, study.objectives, study.params)
    assert len(figure.data) == 3 * panels
    assert {len(trace.x) for trace in figure.data[1::3]} == {len(study.front)}
    if panels == 1:
        assert figure.layout.xaxis.title.text == "epoch"


def test_points_without_an_objective_are_left_out() -> None:
    """A missing or NaN objective is no reason to fail, and nothing to draw."""
    study = made_up(3)
    broken = [
        EpochPoint(trial=9, epoch=1, metrics={"accuracy": math.nan, "train_time_s": 1.0}),
        EpochPoint(trial=9, epoch=2),
    ]
    figure = front_figure([*study.points, *broken], study.front, study.objectives, study.params)
    assert len(figure.data[0].x) + len(figure.data[1].x) == len(study.points)
    assert len(curves_figure([*study.points, *broken], study.front, study.objectives).data[0].x) > 0


def test_large_studies_are_thinned_over_all_epochs() -> None:
    """Of many points a bounded number is drawn, and not always the same epoch of each trial."""
    study = made_up(600, epochs=10)
    figure = front_figure(study.points, study.front, study.objectives, study.params)
    faint = figure.data[0]
    assert len(faint.x) == MOST_DOMINATED
    assert {text.split("epoch ")[1].split("<")[0] for text in faint.text} == {str(e) for e in range(1, 11)}
    curves = curves_figure(study.points, study.front, study.objectives)
    ends = sum(int(np.isnan(np.asarray(trace.y, dtype=float)).sum()) for trace in curves.data)
    assert ends == most_curves(study.points) < 600
    assert sample(1000, 10) == sample(1000, 10)


def test_curves_can_be_seen_over_time_and_over_epochs() -> None:
    """The buttons exchange x; each trial's curve has all its epochs and a gap to the next."""
    study = made_up(6)
    figure = curves_figure(study.points, study.front, study.objectives)
    time, epochs = figure.layout.updatemenus[0].buttons
    assert (time.label, epochs.label) == ("over train_time_s", "over epochs")
    values = [v for column in epochs.args[0]["x"] for v in column if v is not None]
    assert sorted(values) == sorted(float(p.epoch) for p in study.points)
    assert epochs.args[1]["xaxis.type"] == "linear"
    assert sum(len(trace.x) for trace in figure.data) == len(study.points) + len(study.trials)


def test_importances_rank_the_parameters() -> None:
    """A bar for each objective and parameter, the most important on top (last on plotly's axis)."""
    figure = importances_figure({"accuracy": {"a": 0.2, "b": 0.8}, "train_time_s": {"a": 0.1, "b": 0.9}})
    assert [trace.name for trace in figure.data] == ["accuracy", "train_time_s"]
    assert figure.data[0].y == ("a", "b")
    assert figure.data[0].x == (0.2, 0.8)


def test_parallel_coordinates_hold_choices_logs_and_what_is_missing() -> None:
    """Choices have their labels, log ranges lie on a log axis, and momentum without sgd stands at the dash."""
    study = made_up(40)
    figure = parallel_coordinates_figure(study.trials, study.objectives, SEARCHED)
    axes = {d.label: d for d in figure.data[0].dimensions}
    assert list(axes) == [*SEARCHED, "accuracy ↑", "train_time_s [s] ↓"]
    assert axes["channels_last"].ticktext == ("false", "true")
    assert axes["batch_size"].ticktext == ("32", "64", "128", "256")
    rates = [t.params["learning_rate"] for t in study.trials]
    assert np.allclose(axes["learning_rate"]["values"], np.log10(rates), atol=1e-5)
    momentum = axes["momentum"]
    assert momentum.ticktext[0] == "–"
    dashes = np.isclose(momentum["values"], momentum.tickvals[0])
    assert dashes.tolist() == ["momentum" not in t.params for t in study.trials]


def test_parallel_coordinates_take_values_off_the_list() -> None:
    """A warm-started trial may hold a value that is no choice of this study; True is not 1."""
    rows = [
        TrialRow(
            number=n, params={"kind": kind}, state=TrialState.COMPLETE, metrics={"accuracy": 0.5, "train_time_s": 1.0}
        )
        for n, kind in enumerate((1, True, "else"))
    ]
    study = made_up(0)
    figure = parallel_coordinates_figure(rows, study.objectives, {"kind": Choice(values=(1, True))})
    assert figure.data[0].dimensions[0].ticktext == ("1", "true", "else")
    assert list(figure.data[0].dimensions[0]["values"]) == [0, 1, 2]


def test_the_hypervolume_never_falls_and_ends_at_the_fronts() -> None:
    """The trace over the trials grows to the hypervolume of the whole front, however few places it has."""
    study = made_up(30)
    whole = hypervolume_trace(study.points, study.objectives, None)
    few = hypervolume_trace(study.points, study.objectives, None, most=4)
    assert [y for _, y in whole] == sorted(y for _, y in whole)
    assert len(whole) == 30
    assert len(few) == 4
    assert few[-1] == whole[-1]
    assert list(hypervolume_figure(few, "trial").data[0].y) == [y for _, y in few]
    assert hypervolume_trace([], study.objectives, None) == []
