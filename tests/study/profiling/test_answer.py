"""What a stored profile says: cells by medians, scaling over ranks, the fewest workers, three sentences, one page."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from study.profiling.made_up_profiles import CELLS, FULL, SLOW, cell, feed, make_profile
from tune_cnn.reports.profile_report import ProfiledCell
from tune_cnn.study.archive import read_archive
from tune_cnn.study.hints import NextCommands
from tune_cnn.study.profiling.answer import advice_of, cells_of, document, medians, verdict_of
from tune_cnn.study.profiling.page import answer_files
from tune_cnn.study.study import Study


def answered(home: Path, cells: list[dict[str, Any]] = CELLS) -> list[ProfiledCell]:
    spec = make_profile(home, cells)
    return cells_of(read_archive(spec.study, home, None), spec)


def test_a_cell_is_the_median_of_its_repeats_and_says_how_they_differ(tmp_path: Path) -> None:
    first = answered(tmp_path)[0]
    assert first.metrics["images_per_s"] == 950
    assert first.spread_pct == pytest.approx(100 * 20 / 950)
    assert (first.repeats, first.bound) == (3, "compute")
    assert first.reached == pytest.approx(0.95)


def test_medians_take_the_largest_memory_and_what_only_one_repeat_has() -> None:
    """The first repeat alone evaluates."""
    found = medians([{"a": 1.0, "peak_memory_mib": 5.0, "eval_time_s": 3.0}, {"a": 9.0, "peak_memory_mib": 7.0}])
    assert found == {"a": 5.0, "peak_memory_mib": 7.0, "eval_time_s": 3.0}


def test_the_fewest_workers_as_good_as_the_best_are_advised(tmp_path: Path) -> None:
    """At 32 the device loader, which has none; at 128 one worker, as two gain 1 %."""
    found = advice_of(answered(tmp_path))
    assert [(one.batch_size, one.loader, one.workers) for one in found] == [(32, "device", 0), (128, "batched", 1)]


def test_the_verdict_names_the_fastest_the_stall_and_what_to_set(tmp_path: Path) -> None:
    first, second, third = verdict_of(answered(tmp_path))
    assert "a batch of 128 with the batched loader with 2 workers: 990 images/s" in first and "compute-bound" in first
    assert "1 is loader-bound (with the batched loader with 0 workers, waiting 60 % of the time)" in second
    assert third == (
        "Within 2 % of the best with the fewest workers: the device loader at a batch of 32 and the batched loader "
        "with 1 worker at a batch of 128."
    )


@pytest.mark.parametrize(
    ("speeds", "taken_pct", "said"),
    [
        ([950.0, 960.0, 940.0], 40.0, "other work took 40 %"),
        ([400.0, 900.0, 950.0], 1.0, "repeats of a cell differ by"),
    ],
)
def test_a_machine_that_was_too_busy_gets_no_advice_in_the_verdict(
    tmp_path: Path, speeds: list[float], taken_pct: float, said: str
) -> None:
    """By what other work took, or by repeats that differ."""
    cells = answered(tmp_path, [cell(feed(batch, 0), speeds, taken_pct=taken_pct) for batch in (32, 128)])
    first, *rest = verdict_of(cells)
    assert first.startswith("This machine was too busy to tell") and said in first
    assert len(rest) == 2 and "Within 2 %" not in " ".join(rest)


def test_what_ran_out_of_memory_is_told_and_its_reason_kept(tmp_path: Path) -> None:
    cells = answered(tmp_path, [*CELLS[:5], FULL])
    assert (cells[-1].bound, cells[-1].why, cells[-1].metrics) == ("memory", "out of memory: 3 GiB more", {})
    assert "1 ran out of memory" in verdict_of(cells)[1]
    assert document("s", cells)["cells"][-1]["images_per_s"] is None


def test_ranks_are_held_against_the_fewest(tmp_path: Path) -> None:
    """Twice the ranks with 1.2 times the images a second have 60 % of what they could."""
    params = feed(128, None)
    slow = {"communication_pct": 45.0, "slowest_rank_ratio": 1.0, "ceiling_images_per_s": 1250.0}
    cells = answered(tmp_path, [cell(params, [1000.0] * 3), cell(params, [1200.0] * 3, ranks=2, **slow)])
    assert [one.scaling for one in cells] == [None, pytest.approx(0.6)]
    assert [one.bound for one in cells] == ["compute", "communication"]
    assert [one.cores for one in cells] == [4, 8]


def test_the_document_is_json_with_the_promised_keys(tmp_path: Path) -> None:
    found = json.loads(json.dumps(document("s", answered(tmp_path))))
    assert {"study", "cells", "verdict", "advice"} <= found.keys()
    wanted = {"params", "images_per_s", "step_time_ms", "data_wait_pct", "ceiling_images_per_s", "efficiency", "bound"}
    assert all(wanted <= one.keys() for one in found["cells"])
    assert found["cells"][1]["bound"] == "loader"


def test_the_page_and_the_pictures_are_written_from_the_store_alone(tmp_path: Path) -> None:
    spec = make_profile(tmp_path)
    archive = read_archive(spec.study, tmp_path, None)
    files = answer_files(archive, tmp_path, commands=NextCommands(study=spec.study, home=tmp_path))
    assert set(files) == {"report.html", "utilisation.png", "images_per_s.png", "workers_batch.png"}
    assert all(path.read_bytes()[:4] == b"\x89PNG" for name, path in files.items() if name.endswith(".png"))
    assert all(path.stat().st_size < 100_000 for name, path in files.items() if name.endswith(".png"))
    page = files["report.html"].read_text(encoding="utf-8")
    assert re.findall('data-figure="figure-([a-z]+)"', page) == ["utilisation", "speed", "heat"]
    for said in ("loader-bound", "less than 80 % of the ceiling", "Within 2 % of the best", "6</b> of 10 cells"):
        assert said in page
    assert Study(spec.study, home=tmp_path).report(tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_one_batch_size_is_drawn_as_bars(tmp_path: Path) -> None:
    spec = make_profile(tmp_path, [cell(feed(32, None), [900.0] * 3), cell(feed(32, 0), [300.0] * 3, **SLOW)])
    archive = read_archive(spec.study, tmp_path, None)
    files = answer_files(archive, tmp_path, commands=NextCommands(study=spec.study, home=tmp_path))
    assert set(files) == {"report.html"}
    assert 'data-figure="figure-bars"' in files["report.html"].read_text(encoding="utf-8")


def test_repeats_that_differ_by_more_than_is_near_are_told_of(tmp_path: Path) -> None:
    """Where chance is larger than 2 %, what is within 2 % says little."""
    noisy = [cell(feed(32, None), [900.0, 990.0, 950.0]), cell(feed(128, None), [800.0, 900.0, 850.0])]
    spec = make_profile(tmp_path, noisy)
    archive = read_archive(spec.study, tmp_path, None)
    page = answer_files(archive, tmp_path, commands=NextCommands(study=spec.study, home=tmp_path))["report.html"]
    assert "repeats of a cell differ by" in page.read_text(encoding="utf-8")
