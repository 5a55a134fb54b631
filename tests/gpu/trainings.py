"""Items that train in one process, without Ray: what a device computes, holds and is charged for."""

import hashlib
import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from rows import Row, Rows, Setup, item, read, train
from torch.nn import functional as F

from tune_cnn.errors import MemoryTaken, OutOfMemory, TrialError
from tune_cnn.spec import Configuration
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.models.registry import build_model
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.step.hooks import StepHooks
from tune_cnn.training.step.optimizers.making import make_optimizer
from tune_cnn.training.step.precision import PRECISIONS
from tune_cnn.training.step.train_state import TrainState
from tune_cnn.training.step.train_step import train_step

LOADERS: list[tuple[str, int]] = [("device", 0), ("batched", 0), ("batched", 2), ("stream", 2)]
CLOSE_MIB = 2.0  # of the peak of memory, from one time to the next


@item(60, on_cpu=True)
def versions_and_context(setup: Setup) -> Rows:
    """What this ran on."""
    for name in ("torch", "torchvision", "ray", "optuna", "mlflow", "nvidia-ml-py"):
        try:
            yield Row(what=name, figure=version(name))
        except PackageNotFoundError:
            yield Row(what=name, figure="missing", must_hold="is there", held=False)
    if setup.cuda:
        properties = torch.cuda.get_device_properties(0)
        free, total = torch.cuda.mem_get_info()
        yield Row(what="device", figure=f"{properties.name}, {properties.major}.{properties.minor}")
        yield Row(what="CUDA of torch", figure=str(torch.version.cuda))
        torch.ones(8, device="cuda").sum().item()
        after, _ = torch.cuda.mem_get_info()
        held = torch.cuda.memory_reserved() / 2**20
        yield Row(what="memory, MiB", figure=f"{total / 2**20:.0f}, {free / 2**20:.0f} of them free at the start")
        yield Row(what="context beside the allocator, MiB", figure=f"{(free - after) / 2**20 - held:.0f}")


@item(60, on_cpu=True)
def overflow_in_first_step(setup: Setup) -> Rows:
    """Loss scaling skips the first step: the steps after it must not take what lay in memory for momentum."""
    device = torch.device("cuda" if setup.cuda else "cpu")
    precision = PRECISIONS["fp16" if setup.cuda else "fp32"]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build_model("small_cnn", num_classes=10, in_channels=1, image_size=(8, 8)).to(device)
    state = TrainState(
        model=model,
        optimizer=make_optimizer(model, Configuration(), learning_rate=0.01),
        scaler=torch.amp.GradScaler(device.type, init_scale=1024.0),
        precision=precision,
        device=device,
        learning_rate=lambda step: 0.01,
        label_smoothing=0.0,
        gradient_clip=0.0,
    )
    batch = Batch(torch.randn(64, 1, 8, 8, device=device), torch.randint(10, (64,), device=device))
    train_step(state, StepHooks(), Batch(batch.images_nchw * torch.inf, batch.labels_n))
    first = int(state.skipped_steps)
    for _ in range(200):
        train_step(state, StepHooks(), batch)
    momenta = [state.optimizer.state[p]["momentum_buffer"].abs().max().item() for p in model.parameters()]
    yield Row(what="first step skipped", figure=str(first), must_hold="1", held=first == 1)
    yield Row(what="largest momentum", figure=f"{max(momenta):.3g}", must_hold="< 1e3", held=max(momenta) < 1e3)
    loss = F.cross_entropy(model(batch.images_nchw).float(), batch.labels_n).item()
    yield Row(what="loss after 200 steps", figure=f"{loss:.3f}", must_hold="< 2.3", held=loss < 2.3)


@item(150, on_cpu=True)
def precisions_and_loaders(setup: Setup) -> Rows:
    """Every precision with every loader learns the images."""
    rank = RankTraining()
    models = ("lenet5", "resnet20") if setup.cuda else ("small_cnn",)
    for model in models:
        for precision in ("fp32", "tf32", "bf16", "fp16") if setup.cuda else ("fp32", "bf16"):
            for loader, workers in LOADERS:
                epochs, rate = (2, 0.1) if setup.cuda else (6, 0.2)
                job = setup.job(
                    model=model, subset=setup.images, precision=precision, loader=loader, loader_workers=workers,
                    epochs=epochs, learning_rate=rate, batch_size=128 if setup.cuda else 32,
                )  # fmt: skip
                told = train(rank, job)[0][-1].metrics
                captured = f", {told['captured_pct']:.0f} % captured" if setup.cuda else ""
                held = told["accuracy"] > 0.5 and told.get("captured_pct", 100.0) == 100.0
                yield Row(
                    what=f"{model} {precision} {loader} {workers}",
                    figure=f"accuracy {told['accuracy']:.3f}, {told['images_per_s']:.0f} images/s{captured}",
                    must_hold="> 0.5" + (", all captured" if setup.cuda else ""),
                    held=held,
                )


@item(120, on_cpu=True)
def same_job_again(setup: Setup) -> Rows:
    """Three times in one process with other trials between, and in a fresh one: memory, time, bits."""
    job = _repeated(setup)
    other = setup.job(subset=setup.images, precision="bf16", loader="batched", batch_size=512)
    rank, told, sums = RankTraining(), [], []
    for _ in range(3):
        results, weights = train(rank, job)
        told.append(results[-1].metrics)
        sums.append(digest(weights))
        train(rank, other)
    file = setup.folder / "fresh.jsonl"
    subprocess.run([*setup.command, "--item", "fresh_process", "--rows", str(file)], check=True)
    fresh = json.loads(read(file)[-1].figure)
    told.append(fresh["metrics"])
    sums.append(fresh["digest"])
    peaks = [one["peak_memory_mib"] for one in told]
    spread = max(peaks) - min(peaks)
    figure = " ".join(f"{peak:.1f}" for peak in peaks)
    if setup.cuda:
        yield Row(what="peak memory, MiB, fresh last", figure=figure, must_hold="within 2", held=spread <= CLOSE_MIB)
    else:
        yield Row(what="resident memory, MiB, fresh last", figure=figure)
    times = [one["train_time_s"] for one in told]
    yield Row(what="training time, s, fresh last", figure=" ".join(f"{time:.3f}" for time in times))
    same = len(set(sums)) == 1
    yield Row(what="weights", figure=f"{len(set(sums))} kinds of bits", must_hold="deterministic: 1", held=same)


@item(60, on_cpu=True, alone=False)
def fresh_process(setup: Setup) -> Rows:
    """`same_job_again`'s job, for it."""
    results, weights = train(RankTraining(), _repeated(setup))
    yield Row(what="told", figure=json.dumps({"metrics": dict(results[-1].metrics), "digest": digest(weights)}))


def _repeated(setup: Setup) -> TrainingJob:
    return setup.job(subset=setup.images, job_deterministic=True, epochs=2, augment="crop_flip")


def digest(weights: dict[str, torch.Tensor]) -> str:
    return hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest()


@item(90)
def out_of_memory(setup: Setup) -> Rows:
    """Three times over the cap of a quarter of the device, each followed by a trial that fits."""
    rank = RankTraining()
    total = torch.cuda.get_device_properties(0).total_memory
    large = setup.job(model="dpn92", subset=20_000, batch_size=8192, share=0.25)
    good = setup.job(subset=setup.images, share=0.25)
    for turn in range(1, 4):
        try:
            train(rank, large)
            yield Row(what=f"large {turn}", figure="fitted", must_hold="out of memory", held=False)
        except OutOfMemory as error:
            yield Row(what=f"large {turn}", figure=str(error)[:160], must_hold="out of memory", held=True)
        accuracy = train(rank, good)[0][-1].metrics["accuracy"]
        reserved = torch.cuda.memory_reserved() / total
        yield Row(
            what=f"good {turn}",
            figure=f"accuracy {accuracy:.3f}, {100 * reserved:.1f} % of the device still reserved",
            must_hold="> 0.3, under 5 %",
            held=accuracy > 0.3 and reserved < 0.05,
        )


HOLD = """
import sys, torch
free, total = torch.cuda.mem_get_info()
held = torch.empty(int(free - 0.1 * total), dtype=torch.uint8, device="cuda")
print("holds", flush=True)
sys.stdin.readline()
"""


@item(60)
def memory_of_others(setup: Setup) -> Rows:
    """Another program holds nine tenths of the card: that is no fault of the trial's size, and is said."""
    other = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    try:
        holds = other.stdout.readline().strip()
        yield Row(what="the other program", figure=holds or "failed", must_hold="holds", held=holds == "holds")
        try:
            train(RankTraining(), setup.job(model="dpn92", subset=20_000, batch_size=4096))
            yield Row(what="large trial", figure="fitted", must_hold="others are named", held=False)
        except TrialError as error:
            held = isinstance(error, MemoryTaken)
            yield Row(what="large trial", figure=str(error)[:200], must_hold="others are named", held=held)
    finally:
        other.communicate("\n")


@item(60)
def no_step_waits(setup: Setup) -> Rows:
    """Under torch's sync debug mode "error", an epoch of steps of every precision and loader raises nothing."""
    rank = RankTraining()
    for precision in ("fp32", "fp16"):
        for loader, workers in LOADERS:
            for capture in (True, False):
                job = setup.job(
                    subset=setup.images, precision=precision, loader=loader, loader_workers=workers,
                    gradient_clip=1.0, job_capture_steps=capture,
                )  # fmt: skip
                rank.begin(job)
                training: Any = rank._current._training
                rank._current.context.meters.epoch()
                said = "nothing"
                batches = training._loader.epoch(0)
                first = next(batches)
                torch.cuda.set_sync_debug_mode("error")
                try:
                    for batch in (first, first):
                        if training._captured is None or not training._captured.replay(batch):
                            train_step(training._train_state, training._strategies, batch)
                except RuntimeError as error:
                    said = str(error)[:120]
                finally:
                    torch.cuda.set_sync_debug_mode("default")
                    rank.end()
                what = f"{precision} {loader} {workers}{'' if capture else ', not captured'}"
                yield Row(what=what, figure=said, must_hold="nothing", held=said == "nothing")
