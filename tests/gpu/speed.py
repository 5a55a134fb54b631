"""Items that train in one process and look at what time was spent on."""

import copy
import math
import statistics
from dataclasses import replace
from typing import Any

import torch
from rows import Row, Rows, Setup, item, train
from trainings import digest

from tune_cnn.training.rank import RankTraining


@item(120)
def compiled_with_odd_last_batch(setup: Setup) -> Rows:
    """Nothing is compiled on the clock: the first epoch is as fast as the third, and the second trial is warm."""
    rank = RankTraining()
    for turn in ("cold", "warm"):
        job = setup.job(model="resnet20", subset=setup.images, compile=True, epochs=3, batch_size=192, precision="bf16")
        rank.begin(job)
        compiled = dict(torch._dynamo.utils.counters["stats"])
        results = [rank.train_epoch() for _ in range(3)]
        again = dict(torch._dynamo.utils.counters["stats"])
        rank.end()
        times = [results[0].metrics["step_time_ms"], results[2].metrics["step_time_ms"]]
        yield Row(what=f"{turn}: start", figure=f"{results[0].metrics['compile_time_s']:.1f} s")
        same = compiled == again
        yield Row(
            what=f"{turn}: compiled later", figure="nothing" if same else str(again), must_hold="nothing", held=same
        )
        figure = f"{times[0]:.2f} and {times[1]:.2f} ms"
        held = times[0] < 1.5 * times[1]
        yield Row(what=f"{turn}: step of epochs 1 and 3", figure=figure, must_hold="first < 1.5 × third", held=held)


@item(60)
def captured_digits(setup: Setup) -> Rows:
    """A captured step gives the digits of the step itself; the odd last batch included."""
    rank = RankTraining()
    settings: list[dict[str, Any]] = [
        {"model": "resnet8"},
        {"model": "resnet8", "optimizer": "adamw", "gradient_clip": 0.5, "precision": "fp16"},
        {"model": "small_cnn", "channels_last": True, "precision": "bf16"},
    ]
    for one in settings:
        job = setup.job(subset=1000, batch_size=192, epochs=2, **one)
        told = []
        for capture in (True, False):
            try:
                results, weights = train(rank, replace(job, capture_steps=capture, deterministic=False))
            except Exception as error:
                yield Row(what=str(one), figure=str(error)[:160], must_hold="trains", held=False)
                break
            told.append((results[-1].metrics, weights))
        if len(told) < 2:
            continue
        (metrics, weights), (_, plain) = told
        apart = max((weights[name].float() - plain[name].float()).abs().max().item() for name in weights)
        share = metrics.get("captured_pct", math.nan)
        figure = f"largest difference {apart:.3g}, captured {share:.0f} %"
        held = apart < 1e-3 and share == 100
        yield Row(what=str(one), figure=figure, must_hold="< 1e-3, captured 100 %", held=held)


@item(60, on_cpu=True)
def short_epochs(setup: Setup) -> Rows:
    """Epochs of some 50 ms still have all their metrics."""
    job = setup.job(subset=2000 if setup.cuda else 600, epochs=30, batch_size=128)
    told = train(RankTraining(), job)[0][-1].metrics
    epoch_s = told["train_time_s"] / 30
    yield Row(what="an epoch, ms", figure=f"{1000 * epoch_s:.1f}")
    if setup.cuda:
        for name in ("gpu_util_pct", "sm_active_pct", "gpu_energy_j"):
            there = name in told
            yield Row(what=name, figure=f"{told.get(name, math.nan):.3g}", must_hold="is there", held=there)


@item(120)
def images_per_second(setup: Setup) -> Rows:
    """What the captured step gains, by size of batch."""
    rank = RankTraining()
    for model in ("lenet5", "resnet20"):
        for batch in (32, 256, 1024):
            rates = {}
            for capture in (False, True):
                job = setup.job(model=model, batch_size=batch, epochs=2, precision="bf16", job_capture_steps=capture)
                results, _ = train(rank, replace(job, data=job.data.model_copy(update={"subset": 20_000})))
                rates[capture] = results[-1].metrics["images_per_s"]
            gain = rates[True] / rates[False]
            figure = f"{rates[False]:.0f} → {rates[True]:.0f} images/s, × {gain:.2f}"
            small = model == "lenet5" and batch == 32
            yield Row(what=f"{model}, batch {batch}", figure=figure, must_hold="× > 1.5" if small else "× > 0.95",
                      held=gain > (1.5 if small else 0.95))  # fmt: skip


@item(120)
def sm_activity_over_batch(setup: Setup) -> Rows:
    """The seed question: activity falls with the batch where the loader starves the device; ours must not."""
    rank = RankTraining()
    for loader, workers in (("device", 0), ("batched", 2), ("stream", 0)):
        found = []
        for batch in (64, 256, 1024):
            job = setup.job(model="resnet20", batch_size=batch, loader=loader, loader_workers=workers, precision="bf16",
                            subset=20_000, epochs=1)  # fmt: skip
            told = train(rank, job)[0][-1].metrics
            wait = 100 * told["data_wait_s"] / told["train_time_s"]
            found.append((told.get("sm_active_pct", math.nan), wait))
        figure = ", ".join(f"{active:.0f} % (waits {wait:.0f} %)" for active, wait in found)
        ours = loader == "device"
        held = not ours or found[-1][0] >= found[0][0] - 2
        yield Row(what=f"{loader} {workers}: batch 64, 256, 1024", figure=figure,
                  must_hold="doesn't fall" if ours else "", held=held)  # fmt: skip


@item(60)
def deterministic_repeats(setup: Setup) -> Rows:
    """resnet20 in fp16 twice, deterministic: the same bits; without it they may differ."""
    for deterministic in (True, False):
        rank = RankTraining()
        job = setup.job(model="resnet20", subset=5000, precision="fp16", job_deterministic=deterministic)
        sums = {digest(train(rank, copy.deepcopy(job))[1]) for _ in range(2)}
        must = "1" if deterministic else ""
        yield Row(what=f"deterministic={deterministic}: kinds of bits", figure=str(len(sums)), must_hold=must,
                  held=not deterministic or len(sums) == 1)  # fmt: skip


@item(60)
def steady_steps(setup: Setup) -> Rows:
    """Seconds of equal epochs: the first is no slower, as all was warmed up."""
    job = setup.job(model="resnet20", subset=setup.images, epochs=6)
    results, _ = train(RankTraining(), job)
    times = [one.metrics["step_time_ms"] for one in results]
    usual = statistics.median(times[1:])
    figure = " ".join(f"{time:.2f}" for time in times)
    yield Row(what="ms a step, by epoch", figure=figure, must_hold="first < 1.3 × usual", held=times[0] < 1.3 * usual)
