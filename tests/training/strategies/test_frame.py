"""The frame around strategies: when each hook is called, and what a change of shape carries along."""

import math
import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from brisk import job_with
from ranks import digits_job, same_bits, train
from torch import nn

from tune_cnn.errors import SpecError, TrialError
from tune_cnn.spec.space import parse_space
from tune_cnn.spec.strategies import Saves, Site, check_strategies
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.framework.registry import cards_of, find_strategies, find_strategy
from tune_cnn.training.strategies.framework.strategy import Strategy

CALLS: list[tuple[Any, ...]] = []
PAGE = Path(__file__).parents[3] / "tune_cnn" / "training" / "strategies" / "README.md"


class Toy(Strategy):
    """What a user's own strategy may look like: notes its hooks, and in epoch 1 puts a wider classifier in."""

    paper = "Nobody, 2026, https://arxiv.org/abs/0000.00000"
    saves = Saves.DATA
    sites = frozenset({Site.STEP})

    def prepare(self, run):
        CALLS.append(("prepare", len(list(run.model.parameters()))))

    def start_epoch(self, run, epoch):
        CALLS.append(("start_epoch", epoch))
        if epoch == 1:
            old = run.model[-1]
            momentum = {name: run.optimizer.state[p]["momentum_buffer"] for name, p in old.named_parameters()}
            self.momentum_before = {name: value.clone() for name, value in momentum.items()}
            model = self.rebuild(run.model, {})
            with torch.no_grad():
                model[-1][0].weight.copy_(old.weight)
                model[-1][0].bias.copy_(old.bias)
                model[-1][1].weight.copy_(torch.eye(10))
            carried = {p: {"momentum_buffer": momentum[name]} for name, p in model[-1][0].named_parameters()}
            run.replace_model(model, carried, by=self.name, change={"what": "one more layer"})
            run.resize_batch(60, learning_rate_ratio=2.0)

    def rebuild(self, model, change):
        inputs = model[-1].in_features
        model[-1] = nn.Sequential(nn.Linear(inputs, 10), nn.Linear(10, 10, bias=False))
        return model

    def order(self, run, epoch, positions_n):
        CALLS.append(("order", epoch, len(positions_n)))
        return positions_n[:100]

    def batch(self, run, batch):
        CALLS.append(("batch", len(batch.labels_n)))
        return Batch(batch.images_nchw[..., 1:, 1:], batch.labels_n)

    def penalty(self, run, loss):
        CALLS.append(("penalty", round(loss.item(), 3)))
        return 0.01 * next(run.model[-1].parameters()).square().sum()

    def after_backward(self, run):
        norm = torch.stack([p.grad.norm() for p in run.model.parameters()]).norm()
        CALLS.append(("after_backward", float(norm)))

    def after_step(self, run):
        CALLS.append(("after_step", run.batch_size))

    def finish(self, run):
        CALLS.append(("finish", run.epoch))

    def state_dict(self):
        return {"calls": len(CALLS)}

    def load_state_dict(self, run, state):
        CALLS.append(("load", state["calls"], len(run.changes)))


OWN = f"{__name__}:Toy"


def toy_job(folder, **settings):
    return digits_job(folder, strategies={OWN: True}, **{"epochs": 3, "batch_size": 50, **settings})


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


def test_hooks_come_in_their_order_with_what_they_are_promised(tmp_path):
    """A user's own strategy, named as package.module:Class: prepare, then by epoch and step, and finish at the end."""
    rank = RankTraining()
    rank.begin(toy_job(tmp_path))
    assert CALLS == [("prepare", 11)]
    rank.train_epoch()
    names = [call[0] for call in CALLS]
    step = ["batch", "penalty", "after_backward", "after_step"]
    assert names == ["prepare", "start_epoch", "order", *step, *step]
    assert CALLS[2] == ("order", 0, 540)
    assert all(math.isfinite(call[1]) for call in CALLS if call[0] == "after_backward")
    while not rank.train_epoch().done:
        pass
    assert CALLS[-1] == ("finish", 2) and [call[0] for call in CALLS].count("finish") == 1
    sizes = [call[1] for call in CALLS if call[0] == "batch"]
    assert sizes == [50, 50, 60, 40, 60, 40]  # 100 images are left, and the batch grew in epoch 1
    rank.end()


def test_a_change_of_shape_carries_momentum_and_the_rest_goes_on(tmp_path):
    """Kept parameters keep their optimizer state, new ones get what is carried, the batch and the rate change."""
    rank = RankTraining()
    rank.begin(toy_job(tmp_path))
    rank.train_epoch()
    training: Any = rank._current._training
    kept = training.model[0].weight
    before = training._train_state.optimizer.state[kept]["momentum_buffer"].clone()
    toy = training._run.strategies[OWN]
    training._strategies.start_epoch(1)
    optimizer = training._train_state.optimizer
    assert torch.equal(optimizer.state[kept]["momentum_buffer"], before)
    for name, parameter in training.model[-1][0].named_parameters():
        assert torch.equal(optimizer.state[parameter]["momentum_buffer"], toy.momentum_before[name])
    assert not optimizer.state[training.model[-1][1].weight]["momentum_buffer"].any()  # as before a first step
    in_optimizer = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert in_optimizer == {id(p) for p in training.model.parameters()}
    assert training._train_state.model is training.model
    assert rank.changes() == [{"strategy": OWN, "epoch": 1, "what": "one more layer"}]
    assert training._run.batch_size == 60 and training._loader.steps == 9
    rate = training._learning_rate(0)
    training._run.learning_rate_ratio = 1.0
    assert rate == 2 * training._learning_rate(0)
    rank.end()


def test_a_reshaped_training_resumes_to_the_same_bits(tmp_path):
    """From before the change and from after it; its batch and its own state come back too."""
    job = toy_job(tmp_path)
    _, whole = train(RankTraining(), job)
    for epochs in (1, 2):
        kept = toy_job(tmp_path, job={"checkpoint_dir": str(tmp_path / str(epochs)), "checkpoint_every_s": 0.0})
        train(RankTraining(), kept, epochs=epochs)
        CALLS.clear()
        assert same_bits(train(RankTraining(), kept)[1], whole)
        loads = [call for call in CALLS if call[0] == "load"]
        assert [call[2] for call in loads] == [epochs - 1]  # the shape is there before the strategy's own state


@pytest.mark.parametrize(("loader", "workers"), [("batched", 1), ("stream", 0)])
def test_every_loader_takes_another_order_and_another_batch(tmp_path, loader, workers):
    """The same bits as from the device loader."""
    _, expected = train(RankTraining(), toy_job(tmp_path))
    job = toy_job(tmp_path, loader=loader, loader_workers=workers, job={"cpus_per_rank": workers + 1})
    assert same_bits(train(RankTraining(), job)[1], expected)


def test_what_a_changed_model_costs_is_what_is_told(tmp_path):
    """Parameters and operations are those of the model at that epoch, and of the images that it is shown."""
    results, _ = train(RankTraining(), toy_job(tmp_path))
    without, _ = train(RankTraining(), digits_job(tmp_path, epochs=3, batch_size=50))
    more = [result.metrics["parameters"] - without[0].metrics["parameters"] for result in results]
    assert more == [0, 100, 100]
    assert results[1].metrics["inference_gflops"] > results[0].metrics["inference_gflops"]
    images = 100 / 540
    area = (7 / 8) ** 2
    share = results[0].metrics["train_gflops"] / without[0].metrics["train_gflops"]
    assert 0.7 * images * area < share < images  # smaller images, and fewer of them


def test_time_in_a_strategy_is_training_time(tmp_path):
    """What `start_epoch` does before the first step is on the clock."""
    job = digits_job(tmp_path, epochs=1, strategies={f"{__name__}:Slow": True})
    results, _ = train(RankTraining(), job)
    assert results[0].metrics["train_time_s"] > Slow.seconds


class Slow(Toy):
    """Takes its time."""

    seconds = 0.3
    order = Strategy.order
    batch = Strategy.batch

    def start_epoch(self, run, epoch):
        time.sleep(self.seconds)


class Grower(Strategy):
    """Another shape in each epoch."""

    paper = "Nobody, 2026"
    saves = Saves.TIME
    sites = frozenset({Site.SHAPE})

    def start_epoch(self, run, epoch):
        model = self.rebuild(run.model, {"units": 10 + epoch})
        run.replace_model(model, {}, by=self.name, change={"units": 10 + epoch})

    def rebuild(self, model, change):
        model[-1] = nn.Sequential(nn.LazyLinear(change["units"]), nn.Linear(change["units"], 10))
        model(torch.zeros(2, 1, 8, 8))
        return model


def test_every_shape_is_compiled_where_compiling_is_asked_for(tmp_path, monkeypatch):
    """However many there are: torch gives up on one code after eight, and then runs it as it is."""
    compiled, epochs, now = [], 10, []

    def noting(graph, inputs):
        compiled.append(tuple(now))
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=noting))
    settings = {"batch_size": 540, "epochs": epochs, "compile": True}
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies={f"{__name__}:Grower": True}, **settings))
    for epoch in range(epochs):
        now[:] = [epoch]
        rank.train_epoch()
    rank.end()
    assert set(compiled) == {(), *((epoch,) for epoch in range(epochs))}  # (): the warm-up


def test_without_strategies_no_hook_runs(tmp_path):
    """The loop's lists are empty: a step pays nothing."""
    rank = RankTraining()
    rank.begin(digits_job(tmp_path))
    strategies: Any = rank._current._training._strategies
    assert not strategies and not strategies.orders and not strategies.see_gradients
    assert strategies._batch == strategies._penalty == strategies._after_step == []
    batch = Batch(torch.zeros(2, 1, 8, 8), torch.zeros(2))
    assert strategies.batch(batch) is batch and strategies.penalised(batch.labels_n) is batch.labels_n
    rank.end()


def test_random_numbers_of_a_strategy_depend_on_seed_epoch_and_name_alone(tmp_path):
    """Not on the rank, nor on what torch has drawn meanwhile."""
    rank = RankTraining()
    rank.begin(job_with(tmp_path))
    run: Any = rank._current._training._run
    first = torch.rand(4, generator=run.generator("s3pool", 1))
    torch.rand(10)
    assert torch.equal(first, torch.rand(4, generator=run.generator("s3pool", 1)))
    others = [run.generator("s3pool", 2), run.generator("prunetrain", 1)]
    assert all(not torch.equal(first, torch.rand(4, generator=other)) for other in others)
    rank.end()


def test_strategies_are_found_by_the_name_of_their_file():
    """Every file with a strategy is one; others, and names that are none, are refused with the nearest."""
    assert {"weight_norm", "s3pool", "ghost_batch_norm", "regime_adaptation"} <= set(find_strategies())
    for mistyped in ("weight_nrom", "applied"):
        with pytest.raises(SpecError, match=r"unknown strategy"):
            find_strategy(mistyped)
    with pytest.raises(SpecError, match=r"did you mean 'weight_norm'\?"):
        find_strategy("weight_nrom")
    with pytest.raises(SpecError, match=r"must be a subclass of tune_cnn\.Strategy, got function"):
        find_strategy(f"{__name__}:toy_job")


def test_the_pages_strategy_works(tmp_path, monkeypatch):
    """As it is printed beside the strategies: it trains, its knob counts, it refuses what would hide all the image."""
    readme = PAGE.read_text(encoding="utf-8")
    printed = next(code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "class Cutout" in code)
    assert len(printed.splitlines()) <= 30
    (tmp_path / "cutout_of_the_page.py").write_text(printed, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    name = "cutout_of_the_page:Cutout"
    weights = [
        train(RankTraining(), digits_job(tmp_path, strategies={name: True, f"{name}.side": side}), epochs=1)[1]
        for side in (2, 4)
    ]
    assert not same_bits(*weights)
    with pytest.raises(TrialError, match="cutout: side=8 hides all"):
        RankTraining().begin(digits_job(tmp_path, strategies={name: True}))


def test_the_pages_spaces_hold_together():
    """Each example of strategies is a space as a spec takes it: names, knobs, pairs."""
    readme = PAGE.read_text(encoding="utf-8")
    spaces = [yaml.safe_load(code)["space"] for code in re.findall(r"```yaml\n(space:\n.*?)```", readme, re.DOTALL)]
    spaces = [space for space in spaces if "strategies" in space]
    assert len(spaces) == 2
    for space in spaces:
        whole = check_strategies(parse_space(space), cards_of(space["strategies"]))
        assert {f"strategies.{name}" for name in space["strategies"]} <= set(whole)


def test_an_error_in_a_users_strategy_ends_the_trial_with_its_reason(tmp_path):
    """It names the hook's error, and the process lives on."""
    rank = RankTraining()
    with pytest.raises(TrialError, match="no such layer"):
        rank.begin(digits_job(tmp_path, strategies={f"{__name__}:Broken": True}))
    train(rank, digits_job(tmp_path), epochs=1)


class Broken(Toy):
    """Fails as it is prepared."""

    def prepare(self, run):
        raise KeyError("no such layer")
