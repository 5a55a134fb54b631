"""A LightningModule from a user's project: trained, resumed, on two ranks, and refused where it can't be honoured."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from ranks import digits_job, same_bits, train
from torch.utils.data import DataLoader, IterableDataset

from tune_cnn.errors import SpecError, TrialError
from tune_cnn.spec import parse_spec
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.process.seeding import seed_generators
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.step.evaluation import evaluation_loader
from tune_cnn.training.step.model import built_model
from tune_cnn.training.user_code.find import check_training, find_training
from tune_cnn.training.user_code.lightning_modules.classes import arguments_of

MODULES = "lightning:outside.modules:"
NO_DROPOUT = {"training": {"dropout": 0.0}}


pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture
def rank():
    training = RankTraining()
    yield training
    training.end()


def module_job(folder: Path, name: str, job=None, **configuration) -> TrainingJob:
    return digits_job(folder, job={"training": MODULES + name} | (job or {}), **configuration)


def test_it_trains_and_what_it_logs_are_its_metrics(rank, tmp_path):
    """Beside what is measured; by step the last value, by epoch the mean over images, torchmetrics by itself."""
    rank.begin(module_job(tmp_path, "Digits", learning_rate=0.2, epochs=3, training={"width": 12}))
    results = [rank.train_epoch() for _ in range(3)]
    last = results[-1].metrics
    assert results[-1].done and last["accuracy"] > 0.6 and last["val_loss"] < 1.5
    assert last["by_torchmetrics"] == pytest.approx(last["accuracy"])
    assert last["train_mean"] == pytest.approx(last["train_loss"]) != last["loss_by_step"]
    assert {"train_time_s", "images_per_s", "step_time_ms", "peak_memory_mib", "data_wait_s"} <= set(last)
    assert 0 < results[0].metrics["eval_time_s"] < last["eval_time_s"]
    assert last["parameters"] == sum(tensor.numel() for tensor in rank.weights().values())
    assert rank.test()["test_accuracy"] > 0.5 and rank.weights()["net.0.weight"].shape[0] == 12
    assert rank.program() is not None


@pytest.mark.parametrize("name", ["Digits", "Noted", "Around", "Manual"])
def test_it_resumes_to_the_same_bits(tmp_path, name):
    """With dropout, momentum, schedules by step and by epoch, a plateau; without the interruption and with it."""
    whole, expected = train(RankTraining(), module_job(tmp_path, name, epochs=3))
    job = module_job(tmp_path, name, job={"checkpoint_dir": str(tmp_path / name), "checkpoint_every_s": 0.0}, epochs=3)
    first, _ = train(RankTraining(), job, epochs=1)
    other = RankTraining()
    assert other.begin(job) == 1
    results = [*first, other.train_epoch(), other.train_epoch()]
    assert same_bits(other.weights(), expected)
    computed = whole[0].metrics.keys() & {"train_loss", "val_loss", "accuracy", "train_mean", "seen"}
    assert "accuracy" in computed
    assert [[r.metrics[key] for key in computed] for r in results] == [[r.metrics[k] for k in computed] for r in whole]
    assert results[-1].metrics["train_time_s"] > results[0].metrics["train_time_s"]
    assert results[-1].metrics["eval_time_s"] > results[0].metrics["eval_time_s"]
    other.end()


def test_precision_and_clipping_are_the_configurations(rank, tmp_path):
    """Other numbers in bf16; and gradients that are clipped to nothing teach nothing."""
    fp32, _ = train(rank, module_job(tmp_path, "Digits", **NO_DROPOUT))
    bf16, _ = train(rank, module_job(tmp_path, "Digits", precision="bf16", **NO_DROPOUT))
    assert bf16[-1].metrics["train_loss"] == pytest.approx(fp32[-1].metrics["train_loss"], rel=0.1)
    assert bf16[-1].metrics["train_loss"] != fp32[-1].metrics["train_loss"]
    clipped, _ = train(rank, module_job(tmp_path, "Digits", gradient_clip=1e-9, **NO_DROPOUT))
    assert clipped[1].metrics["val_loss"] == pytest.approx(clipped[0].metrics["val_loss"], rel=1e-4)
    assert fp32[1].metrics["val_loss"] < 0.95 * fp32[0].metrics["val_loss"]


def test_an_evaluation_between_the_epochs_changes_nothing(rank, tmp_path):
    """It leaves the model in evaluation mode, in which dropout would be off."""
    _, expected = train(RankTraining(), module_job(tmp_path, "Digits"))
    rank.begin(module_job(tmp_path, "Digits"))
    rank.train_epoch()
    rank.test()
    rank.train_epoch()
    assert same_bits(rank.weights(), expected)


def test_its_hooks_are_called_in_lightnings_order(rank, tmp_path):
    """With the epoch and the steps so far; what its hooks keep in a checkpoint comes back."""
    from outside.modules import Noted

    Noted.calls.clear()
    job = {"checkpoint_dir": str(tmp_path / "kept"), "checkpoint_every_s": 0.0}
    rank.begin(module_job(tmp_path, "Noted", job=job, batch_size=60))
    rank.train_epoch()
    begin = [(name, 0, 0) for name in ("setup fit", "on_fit_start", "on_train_start", "on_train_epoch_start")]
    assert Noted.calls == [*begin, ("on_validation_epoch_end", 0, 9), ("on_train_epoch_end", 0, 9)]
    Noted.calls.clear()
    rank.begin(module_job(tmp_path, "Noted", job=job, batch_size=60))
    rank.train_epoch()
    again = ["on_train_epoch_start", "on_validation_epoch_end", "on_train_epoch_end", "on_train_end"]
    assert [name for name, *_ in Noted.calls] == ["setup fit", "on_fit_start", "loaded 0", "on_train_start", *again]
    assert [step for *_, step in Noted.calls] == [0, 0, 0, 9, 9, 18, 18, 18]


def test_schedulers_step_when_they_are_due(rank, tmp_path):
    """By epoch after the first one; by the monitored value after every second, as no loss is better by ten times."""
    rank.begin(module_job(tmp_path, "Noted", epochs=5, learning_rate=0.1))
    rates = []
    for _ in range(5):
        rank.train_epoch()
        rates.append(rank._current.model.optimizers().param_groups[0]["lr"])
    assert rates == pytest.approx([0.05, 0.005, 0.005, 0.0005, 0.0005])


class Batches(IterableDataset):
    """Those that our loop would train on, epoch by epoch."""

    def __init__(self, rank: RankTraining) -> None:
        self._loader = rank._current.context.started_loader()
        self._epoch = 0

    def __len__(self) -> int:
        return self._loader.steps

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        self._epoch += 1
        return (tuple(batch) for batch in self._loader.epoch(self._epoch - 1))


@pytest.mark.parametrize("name", ["Digits", "Noted", "Manual", "Around"])
def test_lightnings_own_trainer_comes_to_the_same(rank, tmp_path, name):
    """The same weights and logged values from the same images: steps, schedules and averages are as there."""
    found = getattr(import_module("outside.modules"), name)
    job = module_job(tmp_path, name, batch_size=60, epochs=4, **({} if name == "Around" else NO_DROPOUT))
    rank.begin(job)
    results = [rank.train_epoch() for _ in range(4)]
    ours = rank.weights()

    train_loader = DataLoader(Batches(rank), batch_size=None)
    context = rank._current.context
    validation = list(evaluation_loader(context, context.images.validation))
    seed_generators(job.seed)
    model = built_model(context) if name == "Around" else None
    module = found(**arguments_of(found, job.configuration, context.images.facts, model))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=4,
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, train_loader, DataLoader(validation, batch_size=None))
    for key, tensor in module.state_dict().items():
        assert torch.allclose(ours[key], tensor, rtol=1e-4, atol=1e-6), key
    forks = {f"train/mean{end}" for end in ("_step", "_epoch")}  # of what is logged by step and by epoch
    logged = {key: float(value) for key, value in trainer.callback_metrics.items() if key not in forks}
    names = {key.replace("/", "_"): value for key, value in logged.items()}
    assert {key: results[-1].metrics[key] for key in names} == pytest.approx(names, rel=1e-4)
    assert "accuracy" in names and (name in ("Around", "Manual") or {"loss_by_step", "train_mean"} <= set(names))


def on_two(number: int, folder: str, address: str, job: TrainingJob) -> object:
    sys.path.insert(0, folder)
    rank = RankTraining(number)
    rank.join(ranks=2, init_method=address, cuda=False, timeout_s=60)
    rank.begin(job)
    results = [rank.train_epoch().metrics for _ in range(2)]
    weights = {name: tensor.numpy() for name, tensor in rank.weights().items()}
    rank.end()
    rank.join(ranks=1, init_method="", cuda=False)
    return results, weights


def test_two_ranks_are_one_but_for_rounding(two_processes, project, tmp_path):
    """Without batch norm and dropout: the same losses, accuracies and weights; logged values are of all images."""
    asked = {"batch_size": 60, "training": {"dropout": 0.0}}
    one, weights = train(RankTraining(), module_job(tmp_path, "Digits", **asked))
    job = module_job(tmp_path, "Digits", job={"ranks": 2}, **asked)
    (metrics, first), (others, second) = two_processes.call(on_two, str(project), two_processes.address(), job)
    assert metrics == others and all((first[name] == second[name]).all() for name in first)
    for name, tensor in weights.items():
        assert torch.allclose(torch.from_numpy(first[name]), tensor, rtol=1e-3, atol=1e-4)
    for both, alone in zip(metrics, one, strict=True):
        for name in ("train_loss", "train_mean", "val_loss", "accuracy", "by_torchmetrics"):
            assert both[name] == pytest.approx(alone.metrics[name], abs=2e-2 if "ac" in name else 1e-3)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("WithoutLoss", {}, "training_step: must return the loss, .* got NoneType"),
        ("TwoOptimizers", {}, "automatic optimization steps one optimizer, got 2; set self.automatic_optimization"),
        ("AsksForMore", {}, "self.trainer.checkpoint_callback: there is no Trainer behind it but tune_cnn's own loop"),
        ("Stops", {}, "self.trainer.should_stop: a trial's end is the search's"),
        ("NeedsHeads", {}, "NeedsHeads.__init__ needs 'heads', .* set space.training.heads, or give it a default"),
        ("NeedsHeads", {"training": {"head": 2}}, "training.head: NeedsHeads.__init__ has no such parameter.*'heads'"),
        ("LogsTwice", {}, "'accuracy', ….: was logged in validation_step and is now in on_train_epoch_end; give each"),
        ("PlateauOfNothing", {}, "monitor 'val_f1' was not logged in the epoch; logged were accuracy, by_torchmetrics"),
        ("KeepsAnObject", {}, "checkpoint: mine.path holds a PosixPath, which can't be read back"),
        ("Digits", {"learning_rate": 1e6}, "train_loss became (nan|inf) in epoch 1"),
    ],
)
def test_its_faults_end_its_trial_alone(rank, tmp_path, name, settings, said):
    """By the name of what must hold; the next trial is as good as ever."""
    with pytest.raises(TrialError, match=said):
        train(rank, module_job(tmp_path, name, **settings))
    rank.begin(module_job(tmp_path, "Digits"))
    assert rank.train_epoch().epoch == 1


def manual_on_two(number: int, folder: str, address: str, job: TrainingJob) -> str:
    sys.path.insert(0, folder)
    rank = RankTraining(number)
    rank.join(ranks=2, init_method=address, cuda=False, timeout_s=60)
    rank.begin(job)
    with pytest.raises(TrialError) as refused:
        rank.train_epoch()
    rank.end()
    rank.join(ranks=1, init_method="", cuda=False)
    return str(refused.value)


def test_manual_optimization_is_for_one_rank(two_processes, project, tmp_path):
    """Nobody can know which of a step's backward passes is to average the gradients."""
    job = module_job(tmp_path, "Manual", job={"ranks": 2})
    for said in two_processes.call(manual_on_two, str(project), two_processes.address(), job):
        assert "manual optimization is for one rank here, got 2; set ranks: 1" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("outside.modules:NoModule", "must be a class of its own below LightningModule"),
        ("outside.modules:pl.LightningModule", "must be package.module:name or lightning:package.module:Class"),
        ("outside.modules", "must be package.module:name or lightning:package.module:Class"),
        ("outside.modules:WithLoader", "WithLoader.train_dataloader can't be honoured: the images are those of `data`"),
        ("outside.modules:Digit", "has no 'Digit'.*Digits"),
        ("nowhere_at_all:Digits", "importing nowhere_at_all raised ModuleNotFoundError"),
    ],
)
def test_what_is_no_module_of_ours_is_refused_before_a_search(name, said):
    """With the key and what to name instead."""
    with pytest.raises(SpecError, match=said):
        check_training(spec_with(name))


def spec_with(name: str = "outside.modules:Digits", **space: object):
    raw = {"study": "s", "data": {"name": "digits"}, "model": {"name": "small_cnn"}, "budget": {"trials": 1}}
    return parse_spec({**raw, "training": f"lightning:{name}", "space": space})


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"momentum": 0.5}, "space.momentum: .* let it take momentum, or leave it out"),
        ({"compile": True}, "space.compile: is nothing that the loop of a LightningModule does"),
        ({"training.depth": [1, 2]}, "space.training.depth: Digits.__init__ has no parameter 'depth'"),
        ({"model.width": 4}, "space.model.width: Digits.__init__ takes no `model`"),
    ],
)
def test_a_key_that_nothing_would_take_is_refused_before_a_search(space, said):
    """A search over it would compare equal trainings."""
    with pytest.raises(SpecError, match=said):
        check_training(spec_with(**space))


def test_keys_that_are_taken_are_fine():
    """By the loop, the loaders, the constructor under its own name or its alias; off is off."""
    check_training(spec_with(learning_rate=0.1, batch_size=32, augment="flip", compile=False, **{"training.width": 4}))
    check_training(spec_with("outside.modules:WithoutLoader"))
    check_training(spec_with("outside.modules:Around", learning_rate=0.1, **{"model.width": 4}))


def test_where_lightning_is_missing_the_command_that_brings_it_is_told(monkeypatch):
    """Whichever of its packages the user's module asks for."""
    monkeypatch.delitem(sys.modules, "outside.modules", raising=False)
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(SpecError, match=r"needs the package lightning, .*`uv sync --extra lightning`"):
        find_training(MODULES + "Digits")


def test_a_module_of_the_other_package_is_as_good(tmp_path, project, rank):
    """`lightning.pytorch` and `pytorch_lightning` have the same class, and no class in common."""
    text = (project / "outside" / "modules.py").read_text()
    other = text.replace("import lightning.pytorch as pl", "import pytorch_lightning as pl")
    (project / "outside" / "others.py").write_text(other)
    rank.begin(digits_job(tmp_path, job={"training": "lightning:outside.others:Digits"}))
    assert rank.train_epoch().metrics["accuracy"] > 0.1
