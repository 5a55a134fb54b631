"""What is to be compared: lists of the spec, --values, sections; and one clear error for what can't be."""

import copy
from typing import Any

import pytest

from study.comparing.made_up_comparing import RAW, asked
from tune_cnn.errors import InputError
from tune_cnn.study.comparing.cells import cells_of
from tune_cnn.training.strategies.framework.registry import cards_of


def raw_with(**space: Any) -> dict[str, Any]:
    raw = copy.deepcopy(RAW)
    raw["space"] |= space
    return raw


def test_every_combination_is_a_cell_and_the_first_values_are_the_baseline() -> None:
    """In the order of the dimensions; the rest is fixed."""
    spec, what = asked("batch_size,lr_rule", "lr_rule=none,linear")
    cells = cells_of(what, spec, {})
    assert [cell.params for cell in cells] == [
        {"batch_size": size, "lr_rule": rule} for size in (32, 64) for rule in ("none", "linear")
    ]
    assert cells[0].name == "batch_size 32, lr_rule none"
    assert spec.configuration(cells[3].params).learning_rate == 0.1


def test_combinations_that_come_to_the_same_are_one_cell() -> None:
    """The momentum of an optimizer that has none."""
    spec, what = asked("optimizer,momentum", "optimizer=sgd,adamw", "momentum=0.0,0.9", raw=raw_with(batch_size=32))
    cells = cells_of(what, spec, {})
    assert len(cells) == 3
    assert cells[-1].levels == {"optimizer": "adamw", "momentum": "–"}


def test_values_of_the_command_go_before_the_specs() -> None:
    """Of a range, of a default, of a list; and a knob of a strategy."""
    spec, what = asked("learning_rate,precision", "learning_rate=0.1,0.01", "precision=fp32,bf16",
                       raw=raw_with(batch_size=32, learning_rate={"low": 0.01, "high": 1.0}))  # fmt: skip
    assert what.values == {"learning_rate": (0.1, 0.01), "precision": ("fp32", "bf16")}
    raw = raw_with(batch_size=32, strategies={"s3pool": {"use": True, "grid": 4}})
    spec, what = asked("strategies.s3pool.grid", "strategies.s3pool.grid=2,4", raw=raw)
    assert [cell.params for cell in cells_of(what, spec, {})] == [{"strategies.s3pool.grid": g} for g in (2, 4)]


def test_sets_of_images_may_be_a_list_or_names() -> None:
    """Each with its own settings, or with the spec's."""
    raw = {**raw_with(batch_size=32), "data": [{"name": "digits", "subset": 400}, {"name": "digits", "subset": 800}]}
    spec, what = asked("data", raw=raw)
    cells = cells_of(what, spec, {})
    assert [cell.of(spec).data.subset for cell in cells] == [400, 800]
    assert [cell.name for cell in cells] == ["data digits (subset=400)", "data digits (subset=800)"]
    raw = {**raw_with(batch_size=32), "data": {"name": "digits", "validation": 0.3}}
    spec, what = asked("data", "data=digits,fashion_mnist", raw=raw)
    assert [cell.of(spec).data.name for cell in cells_of(what, spec, {})] == ["digits", "fashion_mnist"]
    assert {cell.of(spec).data.validation for cell in cells_of(what, spec, {})} == {0.3}


def test_another_training_stands_beside_ours() -> None:
    """`null` is our own loop."""
    spec, what = asked("training", "training=null,mylab.training:train", raw=raw_with(batch_size=32))
    cells = cells_of(what, spec, {})
    assert [cell.levels["training"] for cell in cells] == ["tune_cnn", "mylab.training:train"]
    assert [cell.of(spec).training for cell in cells] == [None, "mylab.training:train"]


def test_types_of_card_may_be_compared() -> None:
    """FP16 may pay on one of them only: each cell is trained on its own."""
    cards = "resources.accelerator"
    spec, what = asked(f"{cards},precision", f"{cards}=T4,H100", "precision=fp32,fp16", raw=raw_with(batch_size=32))
    cells = cells_of(what, spec, {})
    assert [cell.of(spec).resources.accelerator for cell in cells] == ["T4", "T4", "H100", "H100"]
    assert cells[3].name == "resources.accelerator H100, precision fp16"


def test_strategies_are_compared_each_alone() -> None:
    """None of them first; one with several values of a knob once for each; one that needs another with that."""
    names = {"lookahead": {}, "minibatch_order": {"batches": ["ranked", "mixed"]}, "dfp16": {}, "swalp": {}}
    spec, what = asked("strategies", raw=raw_with(batch_size=32, strategies=names))
    cells = cells_of(what, spec, cards_of(list(names)))
    assert [cell.levels["strategies"] for cell in cells] == [
        "none", "lookahead", "minibatch_order (batches=ranked)", "minibatch_order (batches=mixed)", "dfp16",
        "swalp with dfp16",
    ]  # fmt: skip
    assert [set(spec.configuration(cell.params).strategies_on) for cell in cells] == [
        set(), {"lookahead"}, {"minibatch_order"}, {"minibatch_order"}, {"dfp16"}, {"dfp16", "swalp"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("over", "values", "how", "space", "said"),
    [
        ("batchsize", (), {}, {}, "no dimension 'batchsize'; did you mean 'batch_size'"),
        ("batch_size,", (), {}, {}, "names dimensions"),
        ("batch_size,batch_size", (), {}, {}, "stands twice"),
        ("lr_rule", (), {}, {}, "the spec's space doesn't have it.*--values lr_rule=a,b"),
        ("epochs", (), {}, {}, "one value only, 4"),
        ("learning_rate", (), {}, {"learning_rate": {"low": 0.01, "high": 1.0}}, "is a range.*--values learning_rate="),
        ("batch_size", (), {}, {"lr_rule": ["none", "sqrt"]}, "space.lr_rule: is neither fixed nor compared"),
        ("batch_size", (), {}, {"nesterov": [True, False]}, "space.nesterov=true, or name it in --over$"),
        ("batch_size", ("batchsize=1,2",), {}, {}, r"did you mean 'batch_size'\? Name it in --over too"),
        ("batch_size", (), {"seeds": 1}, {}, "at least 2"),
        ("batch_size", ("batch_size=64",), {}, {}, "one value only, 64"),
        ("batch_size", ("batch_size=64,64",), {}, {}, "64 stands twice"),
        ("batch_size", ("lr_rule=none,sqrt",), {}, {}, "is not compared.*--over"),
        ("batch_size", ("batch_size",), {}, {}, "must be KEY=a,b,c"),
        ("batch_size", ("batch_size=64,many",), {}, {}, "space.batch_size: must be a whole number"),
        ("batch_size,epochs", ("epochs=2,4",), {"equal": "time"}, {}, "leave epochs out"),
        ("batch_size", (), {"equal": "time", "beside": True}, {}, "drop --beside"),
        ("batch_size", (), {"then_combine": True}, {}, "is for --over strategies"),
        ("strategies", (), {}, {"batch_size": 32}, "the spec's space has none"),
        ("data", (), {}, {"batch_size": 32}, "list them there, or with --values data=a,b"),
    ],
)  # fmt: skip
def test_what_can_not_be_compared_is_one_clear_error(
    over: str, values: tuple[str, ...], how: dict[str, Any], space: dict[str, Any], said: str
) -> None:
    """Where, what must hold, what to do."""
    with pytest.raises(InputError, match=said):
        asked(over, *values, raw=raw_with(**space), **how)


def test_a_list_that_is_not_compared_is_refused() -> None:
    """A search, or another comparison, over several sets of images."""
    with pytest.raises(InputError, match="data: is a list; name it in --over"):
        asked("batch_size", raw={**RAW, "data": [{"name": "digits"}, {"name": "fashion_mnist"}]})


def test_what_the_hardware_leaves_of_it_must_be_two_cells() -> None:
    """A CPU has no fp16 and no tf32."""
    raw = raw_with(batch_size=32, precision=["fp32", "fp16"])
    _, what = asked("precision", raw=raw)
    here, _ = asked("batch_size", raw=raw_with(precision="fp32"))
    with pytest.raises(InputError, match="one cell is left here"):
        cells_of(what, here, {})
