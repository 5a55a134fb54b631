"""One split for all processes: what a user's factory draws is the same in each of them, or it is refused."""

import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import DataError, TrialError
from tune_cnn.spec import Configuration, DataSpec, ModelSpec, parse_spec
from tune_cnn.training.data.prepare import prepare
from tune_cnn.training.data.sources.drawn_alike import drawn_alike
from tune_cnn.training.inspection.node import inspect_node
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.rank import RankTraining
from tune_cnn.trials import ray_settings
from tune_cnn.trials.cluster import joining

OWN = '''
import os, random
import numpy as np
import torch
from torch.utils.data import Dataset, Subset, TensorDataset, random_split

class Stripes(Dataset):
    """Pictures of four classes; no two are alike."""
    def __init__(self, count=200, brighter=False):
        self.count, self.brighter = count, brighter
    def __len__(self):
        return self.count
    def __getitem__(self, number):
        image = np.random.default_rng(number).integers(0, 150, (3, 8, 8), dtype=np.uint8)
        image[:, 2 * (number % 4)] += 60
        if self.brighter:
            image = image + random.randrange(20)
        return torch.from_numpy(image), number % 4

def parts(order, images=None):
    images = images or Stripes()
    return Subset(images, order[:160]), Subset(images, order[160:]), None

def by_torch(root):
    train, validation = random_split(Stripes(), [0.8, 0.2])
    return train, validation, None

def by_python(root):
    order = list(range(200))
    random.shuffle(order)
    return parts(order)

def by_numpy(root):
    return parts(np.random.permutation(200).tolist())

def with_seed(root):
    train, validation = random_split(Stripes(), [0.8, 0.2], generator=torch.Generator().manual_seed(3))
    return train, validation, None

def augmented(root):
    return parts(torch.randperm(200).tolist(), Stripes(brighter=True))

def by_the_system(root):
    return parts(np.random.default_rng().permutation(200).tolist())

def by_the_system_augmented(root):
    return parts(np.random.default_rng().permutation(200).tolist(), Stripes(brighter=True))

def by_urandom(root):
    return parts(sorted(range(200), key=lambda number: os.urandom(8)))

def by_hashes(root):
    return parts(sorted(range(200), key=lambda number: hash(str(number))))

def overlapping(root):
    images = Stripes(brighter=True)
    return Subset(images, range(160)), Subset(images, range(150, 200)), None

class Files(Dataset):
    """Pictures named by their files, augmented where asked; two of them know nothing of each other."""
    def __init__(self, augmented):
        self.samples = [(f"{number}.png", number % 4) for number in range(200)]
        self.images = Stripes(brighter=augmented)
    def __len__(self):
        return len(self.samples)
    def __getitem__(self, number):
        return self.images[number]

class Augmented(Dataset):
    """As many wrap what random_split gives."""
    def __init__(self, subset):
        self.subset = subset
    def __len__(self):
        return len(self.subset)
    def __getitem__(self, number):
        image, label = self.subset[number]
        return image + random.randrange(20), label

def two_splits_of_files(root):
    train, _ = random_split(Files(True), [0.8, 0.2])
    _, validation = random_split(Files(False), [0.8, 0.2])
    return train, validation, None

def one_split_of_files(root):
    order = torch.randperm(200).tolist()
    return Subset(Files(True), order[:160]), Subset(Files(False), order[160:]), None

def wrapped(root):
    images = Stripes()
    return Augmented(Subset(images, range(160))), Subset(images, range(150, 200)), None

def sorted_by_the_system(root):
    order = np.random.default_rng().permutation(50)
    pick = lambda rows: sorted(4 * int(row) + label for row in rows for label in range(4))
    return parts(pick(order[:40]) + pick(order[40:]), Stripes(brighter=True))

def copied(root):
    images = Stripes()
    return Subset(images, range(160)), Stripes(40), None
'''

PRINT_KEY = """
import sys
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.prepare import prepare
name, root = sys.argv[1:]
print(prepare(DataSpec(name=name, root=root), split_seed=0, cache_dir=root + "/cache").facts.key)
"""


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    """The user's module, of a name that no other test has imported."""
    name = f"splits_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def prepared(root: Path, name: str, seed: int = 0):
    prepare_anew = prepare.__globals__["_prepare"].__wrapped__
    return prepare_anew(DataSpec(name=name, root=str(root)), seed, root / "cache", False)


def inspected(root: Path, name: str) -> None:
    """What stands before the first trial."""
    spec = parse_spec(
        {
            "study": "own",
            "data": {"name": name, "root": str(root)},
            "model": {"name": "small_cnn"},
            "space": {"batch_size": 8, "model.width": 4, "loader": "batched"},
            "budget": {"trials": 1},
        }
    )
    inspect_node(spec, cuda=False, cache_dir=str(root / "cache"))


def key_in_another_process(root: Path, name: str, hash_seed: str) -> str:
    environment = {"PYTHONPATH": str(root), "PYTHONHASHSEED": hash_seed, "HOME": str(root)}
    asked = [sys.executable, "-c", PRINT_KEY, name, str(root)]
    return subprocess.run(asked, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    "factory", ["by_torch", "by_python", "by_numpy", "with_seed", "augmented", "one_split_of_files"]
)
def test_every_call_gives_one_split(tmp_path, module, factory):
    """Whatever the process has drawn before."""
    name = f"{module}:{factory}"
    first = prepared(tmp_path, name)
    random.random(), np.random.random(), torch.rand(())
    second = prepared(tmp_path, name)
    assert first.facts.key == second.facts.key
    for part in ("train", "validation"):
        datasets = [sets.train.reader.datasets[part] for sets in (first, second)]
        assert list(datasets[0].indices) == list(datasets[1].indices)
    inspected(tmp_path, name)


def test_the_generators_go_on_as_if_nothing_had_been_drawn():
    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), float(torch.rand(()))

    with drawn_alike(1):
        expected = drawn()
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    with drawn_alike(1):
        assert drawn() == expected
    after = drawn()
    random.setstate(before[0])
    np.random.set_state(before[1])
    torch.set_rng_state(before[2])
    assert drawn() == after


def test_the_studys_seed_draws_the_split(tmp_path, module):
    name = f"{module}:by_torch"
    assert prepared(tmp_path, name, seed=1).facts.key != prepared(tmp_path, name, seed=0).facts.key


@pytest.mark.parametrize("factory", ["by_the_system", "by_the_system_augmented", "by_urandom", "sorted_by_the_system"])
def test_a_split_that_no_seed_repeats_is_refused_before_the_first_trial(tmp_path, module, factory):
    with pytest.raises(DataError, match="would train on a split of its own; draw a split from a generator with a seed"):
        inspected(tmp_path, f"{module}:{factory}")


def test_a_split_by_hashes_is_another_in_another_process(tmp_path, module):
    """Here both calls agree; a trial's process finds that it has other images than the study decided on."""
    name = f"{module}:by_hashes"
    keys = {key_in_another_process(tmp_path, name, hash_seed) for hash_seed in ("1", "2")}
    assert len(keys) == 2
    assert (
        key_in_another_process(tmp_path, f"{module}:by_torch", "1")
        == prepared(tmp_path, f"{module}:by_torch").facts.key
    )


OVERLAPS = [
    ("overlapping", "10 of 50 validation items are train items too"),
    ("wrapped", "10 of 50 validation items are train items too"),
    ("two_splits_of_files", r"\d\d of 40 validation items are train items too"),
]


@pytest.mark.parametrize(("factory", "says"), OVERLAPS)
def test_parts_that_share_items_are_refused_though_each_reading_is_another_image(tmp_path, module, factory, says):
    """Items of one data set, a wrapper around a part of it, two data sets over the same files; and how to allow it."""
    with pytest.raises(DataError, match=rf"{says}.*validation\[.*\] = train\["):
        prepared(tmp_path, f"{module}:{factory}")
    spec = DataSpec(name=f"{module}:{factory}", root=str(tmp_path), max_shared=1)
    prepare(spec, split_seed=0, cache_dir=tmp_path / "cache")


def test_validation_images_that_are_training_images_are_refused(tmp_path, module):
    with pytest.raises(DataError, match=r"of 40 validation images are equal to training images.*train\[0\]"):
        prepared(tmp_path, f"{module}:copied")


def test_a_trial_ends_where_its_process_finds_other_images_than_the_study_decided_on(tmp_path):
    """As by a split that follows from the order of a set, in a process with another seed of hashes."""
    data = DataSpec(name="digits", subset=100)
    key = prepare(data, split_seed=0, cache_dir=tmp_path).facts.key
    job = TrainingJob(
        trial=0, configuration=Configuration(epochs=1, batch_size=32), data=data, model=ModelSpec(name="small_cnn"),
        cache_dir=str(tmp_path), data_key=key,
    )  # fmt: skip
    rank = RankTraining()
    rank.begin(job)
    rank.end()
    with pytest.raises(TrialError, match="not those that the study decided on"):
        rank.begin(replace(job, data_key="of others"))


def test_every_process_of_a_search_has_one_seed_of_hashes(monkeypatch):
    """Here by the environment, on a cluster by Ray's runtime environment: the order of a set of names is one."""
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    with left_as_found():
        ray_settings.apply()
        assert os.environ["PYTHONHASHSEED"] == "0"
    assert joining.carried_code([], [], [])["env_vars"] == {"PYTHONHASHSEED": "0"}
