"""The runs of a comparison: blocks in random order, resumed where they ended, an equal time, and winners together."""

from pathlib import Path

import pytest

from study.comparing.made_up_comparing import RAW, MadeUp, asked, compared_study, create, work_through
from tune_cnn.errors import InputError, StudyError
from tune_cnn.records.store import Store
from tune_cnn.study.archive import read_archive
from tune_cnn.study.comparing.cells import cells_of
from tune_cnn.study.comparing.comparison import Comparison
from tune_cnn.study.comparing.plan import epochs_of, runs_of, settled_cells
from tune_cnn.study.questions.left import foreseen, left
from tune_cnn.study.questions.opening import check_same, over_limit
from tune_cnn.study.questions.question import Run
from tune_cnn.training.strategies.framework.registry import cards_of


def by_batch(run: Run) -> tuple[float, float]:
    """The larger batch is faster and worse; a seed is worth something to both."""
    size = run.params["batch_size"]
    return 0.9 - size / 1000 + 0.01 * run.extra["block"], 64 / size


def test_a_block_is_one_seed_of_every_cell_in_an_order_of_its_own(tmp_path: Path) -> None:
    """So drift hits all alike, and differences are in pairs; the same plan at every start."""
    spec, what = asked("batch_size,lr_rule", "batch_size=16,32,64", "lr_rule=none,sqrt", seeds=4)
    create(tmp_path, spec, what, cells_of(what, spec, {}))
    runs = runs_of(read_archive("made-up", tmp_path, None))
    assert runs == runs_of(read_archive("made-up", tmp_path, None))
    blocks = [runs[at : at + 6] for at in range(0, 24, 6)]
    assert all({run.extra["block"] for run in block} == {number} for number, block in enumerate(blocks))
    assert all(len({run.seed for run in block}) == 1 for block in blocks)
    assert len({run.seed for run in runs}) == 4
    assert len({tuple(run.extra["cell"] for run in block) for block in blocks}) > 1


def test_killed_in_the_middle_it_goes_on_with_the_run_that_has_not_ended(tmp_path: Path) -> None:
    """Nothing that ended is trained again."""
    spec, what = asked("batch_size", seeds=3)
    create(tmp_path, spec, what, cells_of(what, spec, {}))
    first, second, third = MadeUp(what, by_batch, dies_at=3), MadeUp(what, by_batch), MadeUp(what, by_batch)
    with pytest.raises(KeyboardInterrupt):
        work_through(tmp_path, spec, first)
    work_through(tmp_path, spec, second)
    assert len(first.did) == 3
    assert sorted(first.did + second.did) == sorted(run.key for run in runs_of(read_archive("made-up", tmp_path, None)))
    work_through(tmp_path, spec, third)
    assert third.did == []


def test_more_seeds_only_add_runs_and_anything_else_is_another_question(tmp_path: Path) -> None:
    """Fewer seeds, other values, another way to be equal."""
    spec, what = asked("batch_size", seeds=2)
    compared_study(tmp_path, by_batch, seeds=2)
    store = Store(tmp_path)
    record = store.study("made-up")
    store.close()
    assert record is not None
    check_same(record, Comparison(asked("batch_size", seeds=5)[1]), spec)
    for other in (
        asked("batch_size", "batch_size=32,128", seeds=2),
        asked("batch_size", seeds=2, equal="time"),
    ):
        with pytest.raises(StudyError, match="answers another question"):
            check_same(record, Comparison(other[1]), spec)
    check_same(record, Comparison(what), spec)


def test_a_search_of_that_name_is_no_comparison(tmp_path: Path) -> None:
    """It is refused, with what to do."""
    spec, what = asked("batch_size")
    store = Store(tmp_path)
    store.create_study("made-up", spec.model_dump(), info={})
    record = store.study("made-up")
    store.close()
    assert record is not None
    with pytest.raises(StudyError, match="is a search; name another one with --study"):
        check_same(record, Comparison(what), spec)


def test_an_equal_time_gives_every_cell_a_whole_schedule_that_ends_together(tmp_path: Path) -> None:
    """Twice as fast, twice the epochs; first it is found out how long an epoch takes."""
    spec, what = asked("batch_size", seeds=2, equal="time")
    create(tmp_path, spec, what, cells_of(what, spec, {}))
    question = MadeUp(what, by_batch)
    begun = read_archive("made-up", tmp_path, None)
    assert {run.extra["role"] for _, run in left(question, begun)} == {"pace"}
    archive = work_through(tmp_path, spec, question)
    cells = settled_cells(archive)
    assert epochs_of(archive, cells, cells) == {"batch_size 32": 4, "batch_size 64": 8}
    ends = {p.metrics["train_time_s"] for p in archive.points if p.epoch in (4, 8)}
    assert max(ends) == 8.0  # 4 epochs of 2 s, 8 of 1 s
    blocks = [trial for trial in archive.trials if trial.extra["role"] == "block"]
    assert sorted(trial.params["epochs"] for trial in blocks) == [4, 4, 8, 8]


def test_an_equal_time_is_that_of_the_same_images_and_holds_what_is_done_once(tmp_path: Path) -> None:
    """Each set's baseline trains its own epochs. What takes a while before the first step leaves less for epochs."""

    def slow_digits(run: Run) -> tuple[float, float]:
        return 0.9, 2.0 if run.extra["changes"]["data"]["name"] == "digits" else 0.5

    raw = {**RAW, "space": {**RAW["space"], "epochs": 10}}
    spec, what = asked("data,batch_size", "data=digits,fashion_mnist", raw=raw, seeds=2, equal="time")
    create(tmp_path, spec, what, cells_of(what, spec, {}))
    question = MadeUp(what, slow_digits, once_s=lambda run: 1.5 if run.params["batch_size"] == 64 else 0.0)
    archive = work_through(tmp_path, spec, question)
    cells = settled_cells(archive)
    assert list(epochs_of(archive, cells, cells).values()) == [10, 9, 10, 7]  # 18.5 s of 2 s each, 3.5 of 0.5


STRATEGIES = {"lookahead": {}, "weight_norm": {}, "whitening": {}, "ghost_batch_norm": {}}


def by_strategy(run: Run) -> tuple[float, float]:
    """weight_norm gains too, and can't stand beside lookahead."""
    gains = {"lookahead": 0.02, "weight_norm": 0.015, "whitening": -0.05, "ghost_batch_norm": 0.01}
    on = [name for name in gains if run.params[f"strategies.{name}"]]
    return 0.8 + sum(gains[name] for name in on) + 0.001 * run.extra["block"], 1.0 - 0.1 * len(
        {"weight_norm", "ghost_batch_norm"} & set(on)
    ) - 0.05 * ("ghost_batch_norm" in on)


def test_the_winners_are_trained_together(tmp_path: Path) -> None:
    """Those that are better than none, as far as they go together; once all have ended."""
    raw = {**RAW, "space": {"epochs": 2, "strategies": STRATEGIES}}
    spec, what = asked("strategies", raw=raw, seeds=2, then_combine=True)
    cards = cards_of(list(STRATEGIES))
    create(tmp_path, spec, what, cells_of(what, spec, cards), cards)
    question = MadeUp(what, by_strategy)
    archive = work_through(tmp_path, spec, question)
    assert question.did[-2:] == [f"block {b}: strategies lookahead + ghost_batch_norm" for b in (0, 1)]
    assert len(question.did) == 12
    last = next(trial for trial in archive.trials if "+" in trial.extra["cell"])
    assert set(spec.configuration(last.params).strategies_on) == {"lookahead", "ghost_batch_norm"}


def test_runs_that_fail_alike_pause_it_and_are_tried_again(tmp_path: Path) -> None:
    """Five of ten; the user's code is mended, and the same command again does all ten."""
    spec, what = asked("batch_size", seeds=5)
    create(tmp_path, spec, what, cells_of(what, spec, {}))
    question = MadeUp(what, lambda run: (float("nan"), 1.0))
    archive = work_through(tmp_path, spec, question)
    assert len(question.did) == 5
    assert all(trial.state == "failed" for trial in archive.trials)


def test_where_time_is_equal_the_blocks_are_foreseen(tmp_path: Path) -> None:
    """Of two cells and three seeds: two paces, and six runs as long as the baseline's, before any epoch is known."""
    spec, what = asked("batch_size", seeds=3, equal="time")
    create(tmp_path, spec, what, cells_of(what, spec, {}))
    question = MadeUp(what, by_batch)
    told = foreseen(question, read_archive("made-up", tmp_path, None))
    assert [run.extra["role"] for run in told] == ["pace"] * 2 + ["block"] * 6
    assert {run.extra["as_long_as"]["params"]["batch_size"] for run in told[2:]} == {32}
    archive = work_through(tmp_path, spec, MadeUp(what, by_batch), most=2)
    settled = foreseen(question, archive)
    assert [run.key for run in settled] == [run.key for run in told[2:]]
    assert not any("as_long_as" in run.extra for run in settled)
    assert foreseen(question, work_through(tmp_path, spec, question)) == []


def test_the_limit_counts_the_blocks_that_are_foreseen(tmp_path: Path) -> None:
    spec, what = asked("batch_size", seeds=3, equal="time")
    create(tmp_path, spec, what, cells_of(what, spec, {}))
    told = foreseen(MadeUp(what, by_batch), read_archive("made-up", tmp_path, None))
    assert over_limit(MadeUp(what, by_batch), len(told), 7, lambda: None) is not None


def test_more_runs_than_the_limit_are_refused_with_how_many_and_how_long(tmp_path: Path) -> None:
    """Before anything is trained."""
    from study.made_up import session_of
    from tune_cnn.study.questions.opening import check_limit
    from tune_cnn.study.questions.question import Here

    class Slow(MadeUp):
        def seconds(self, here, runs):  # type: ignore[no-untyped-def]  # as the protocol has it
            return 3600.0 * len(runs)

    spec, what = asked("batch_size", seeds=20)
    create(tmp_path, spec, what, cells_of(what, spec, {}))
    store = Store(tmp_path)
    here = Here(session=session_of(store, spec), checked=None, slots=None)  # type: ignore[arg-type]  # neither is asked
    with pytest.raises(InputError, match=r"40 runs are more than --limit 39, which take some 40\.0 h here"):
        check_limit(here, Slow(what, by_batch), read_archive("made-up", tmp_path, None), 39)
    store.close()
