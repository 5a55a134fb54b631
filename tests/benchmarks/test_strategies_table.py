"""The table of strategies: what it trains, whom it combines, and what its intervals are."""

import json
import math

import pytest
from strategies_table import (
    OFF,
    Bench,
    base_of,
    go_together,
    interval,
    markdown,
    section,
    strategy_of,
    variants_of,
    winners_together,
    write_between_marks,
)

from tune_cnn.spec import Configuration, load_spec
from tune_cnn.training.strategies.framework.registry import find_strategies

NEEDED = {"swalp": {"dfp16"}}


def test_the_recipe_has_every_strategy_in_a_setting_where_each_can_act():
    """One that came later would be missing in the README's table; every row is a configuration."""
    spec = load_spec("strategies")
    variants = variants_of(spec)
    assert {strategy_of(variant) for variant in variants} == set(find_strategies())
    for variant, params in variants.items():
        configuration = Configuration.from_params(base_of(spec) | params)
        assert set(configuration.strategies_on) == {strategy_of(variant)} | NEEDED.get(strategy_of(variant), set())


def sets(won):
    return [set(row) for row in winners_together(won)]


def test_winners_are_combined_where_they_go_together():
    """The two most accurate, the fastest with the most accurate, all that may; a loser in both takes no part."""
    won = {
        "net2net": (0.03, 0.8),
        "weight_norm": (0.02, 1.1),  # not with net2net
        "s3pool": (0.01, 1.2),
        "kernel_rescaling": (-0.01, 0.5),
        "ghost_batch_norm": (-0.02, 1.3),
    }
    assert not go_together(["net2net", "weight_norm"])
    assert sets(won) == [{"net2net", "kernel_rescaling"}]  # net2net beats weight_norm and s3pool in both
    won["weight_norm"] = (0.05, 1.1)
    assert sets(won) == [{"net2net", "kernel_rescaling"}]  # weight_norm, the most accurate, goes with neither
    won["s3pool"] = (0.04, 1.05)
    assert sets(won) == [{"weight_norm", "s3pool"}, {"kernel_rescaling", "s3pool"}]
    assert winners_together({"net2net": (0.01, 0.9)}) == []


def test_an_interval_is_students():
    """t is 4.303 with two degrees of freedom; one value says nothing of its spread."""
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 4.3027 / math.sqrt(3)), rel=1e-4)
    assert interval([5.0]) == (5.0, math.inf)


def run(accuracy: float, seconds: float) -> dict[str, float]:
    of = dict.fromkeys(("test_accuracy", "images_per_s", "parameters", "train_gflops"), 1.0)
    return {"accuracy": accuracy, "train_time_s": 2 * seconds, "train_cpu_s": seconds, **of}


def test_the_table_tells_pairs_of_the_same_seed_and_hides_no_failure():
    """Seeds differ by more than strategies do: only the differences within a seed are told."""
    off = {0: run(0.5, 1.0), 1: run(0.7, 2.0), 2: run(0.9, 4.0)}
    on = {seed: run(of["accuracy"] + 0.01, of["train_cpu_s"] / 2) for seed, of in off.items()}
    lines = markdown({(): off, ("s3pool",): on, ("prunetrain",): {}}).splitlines()
    assert lines[2].startswith(f"| {OFF} | 70.0 ± 49.7 |")
    assert "| +1.0 |" in lines[3].replace(" ± 0.0", "") and "| 0.50 (0.50 … 0.50) |" in lines[3]
    assert lines[4].startswith("| prunetrain | failed |")
    assert len({line.count("|") for line in lines}) == 1


def test_the_readme_gets_the_table_with_its_setting_and_its_noise(tmp_path):
    """Between its marks, again and again, and nothing else is touched."""
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- strategies table -->\n<!-- /strategies table -->\nafter\n", encoding="utf-8")
    found = {(): {0: run(0.5, 1.0), 1: run(0.7, 2.0)}}
    told = {"cpu": "a CPU", "versions": {"torch": "2"}}
    for _ in range(2):
        write_between_marks(readme, section(found, told, load_spec("strategies"), 2))
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- strategies table -->\n\nresnet8 with 8 filters, 4,000 images of fashion_mnist")
    assert "2 seeds, one thread of a CPU, torch 2" in text and "seconds are 2.0 times the CPU's" in text
    assert text.count(f"| {OFF} |") == 1 and text.endswith("|\n\n<!-- /strategies table -->\nafter\n")
    readme.write_text("nothing here", encoding="utf-8")
    with pytest.raises(SystemExit, match="no marks"):
        write_between_marks(readme, "")


def test_a_journal_of_another_setting_is_refused_and_the_same_goes_on(tmp_path):
    """What stands in it is not trained again."""
    journal = tmp_path / "journal.jsonl"
    Bench(load_spec("strategies"), journal)
    with journal.open("a") as file:
        file.write(json.dumps({"row": ["s3pool"], "seed": 0, "metrics": run(0.5, 1.0)}) + "\n")
        file.write(json.dumps({"row": ["s3pool"], "seed": 1, "failed": "why"}) + "\n")
    bench = Bench(load_spec("strategies"), journal)
    bench.train([("s3pool",)], 2)  # both stand there
    assert list(bench.runs(("s3pool",))) == [0]
    with pytest.raises(SystemExit, match="another setting"):
        Bench(load_spec("strategies", ["space.epochs=2"]), journal)
