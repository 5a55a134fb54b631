"""Other libraries' Gaussian processes are the search's own model, so that what is compared is the code."""

from importlib import import_module

import numpy as np
import pytest
from simulate import PROCESSES, make_system
from tables import load_table

from tune_cnn.search.curve_model.gaussian_process import GaussianProcess


@pytest.fixture(params=filter(None, PROCESSES))
def rival(request: pytest.FixtureRequest) -> type:
    if request.param == "botorch":
        pytest.importorskip("botorch", reason="a rival's library, and no dependency")
    return import_module(PROCESSES[request.param]).GaussianProcess


def curves(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, levels at three epochs, and the doubt of those that were filled in: a third of the last two columns'."""
    rng = np.random.default_rng(0)
    rows_nd = rng.random((count, 3))
    levels_nk = np.stack([np.sin(3 * rows_nd[:, 0]) + part * rows_nd[:, 1] ** 2 for part in (0.0, 0.5, 1.0)], axis=1)
    levels_nk += 0.05 * rng.standard_normal(levels_nk.shape)
    extra_nk = np.zeros_like(levels_nk)
    extra_nk[::3, 1:] = [0.02, 0.04]
    return rows_nd, levels_nk, extra_nk


def test_predictions_are_our_own(rival: type) -> None:
    """For equal lengths and noise: means, and how sure they are, also out of reach of all data."""
    rows_nd, levels_nk, extra_nk = curves(30)
    at_md = np.concatenate([np.random.default_rng(1).random((150, 3)), np.full((1, 3), 50.0)])
    ours, theirs = (made(3).predict(rows_nd, levels_nk, extra_nk, at_md) for made in (GaussianProcess, rival))
    for expected_mk, found_mk in zip(ours, theirs, strict=True):
        assert found_mk == pytest.approx(expected_mk, rel=1e-5, abs=1e-7)


def test_what_is_learned_is_as_likely(rival: type) -> None:
    """From scratch and warm, by our own posterior: neither is given a worse fit."""
    rows_nd, levels_nk, _ = curves(30)
    targets_nk = (levels_nk - levels_nk.mean(axis=0)) / levels_nk.std(axis=0)
    ours, theirs = GaussianProcess(3), rival(3)
    for steps in (40, 8):
        for process in (ours, theirs):
            process.tune(rows_nd, levels_nk, steps=steps)
        lost, theirs_lost = (
            ours._loss(np.append(process.log_lengths_d, process.log_noise), rows_nd, targets_nk)[0]
            for process in (ours, theirs)
        )
        assert theirs_lost == pytest.approx(lost, abs=0.05)


def test_a_search_takes_the_process_that_is_named(rival: type) -> None:
    """Also once others are made; a name that nobody knows is told with those that are."""
    library = next(name for name, module in PROCESSES.items() if module == rival.__module__)
    table = load_table("digits-cnn")
    theirs, ours = (make_system(name, table, 0, 20) for name in (f"search@{library}", "search"))
    for system, kind in ((theirs, rival), (ours, GaussianProcess)):
        assert {type(process) for process in system._acquisition._model._processes} == {kind}
    with pytest.raises(SystemExit, match=r"search\[@scikit-learn\|botorch\]"):
        make_system("search@nobody", table, 0, 20)
