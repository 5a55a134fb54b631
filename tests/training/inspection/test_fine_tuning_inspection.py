"""What a spec would freeze is held against the model before any trial."""

from pathlib import Path

import pytest
import torch

from tune_cnn.errors import SpecError
from tune_cnn.spec import parse_spec
from tune_cnn.training.inspection.node import inspect_node


def inspected(folder: Path, model: str, **space: object) -> None:
    raw = {"study": "s", "data": {"name": "digits", "subset": 600}, "model": {"name": model}, "budget": {"trials": 1}}
    inspect_node(parse_spec({**raw, "space": space}), cuda=False, cache_dir=str(folder))


@pytest.mark.parametrize("frozen", [4, [0, 4], {"low": 0, "high": 4}])
def test_more_frozen_stages_than_the_model_has_are_one_error(tmp_path: Path, frozen: object) -> None:
    """Fixed or searched; with the number that it has, which is taken."""
    said = r"space.frozen_stages: model 'small_cnn' has 3 stages before its head \(0\+1, 3\+4, 7\+8\), got 4; freeze 3"
    with pytest.raises(SpecError, match=said):
        inspected(tmp_path, "small_cnn", frozen_stages=frozen)
    inspected(tmp_path, "small_cnn", frozen_stages=3)


def deep(*, num_classes: int, in_channels: int, image_size: tuple[int, int], depth: int = 3) -> torch.nn.Module:
    values = in_channels * image_size[0] * image_size[1]
    layers = [torch.nn.Linear(values, values) for _ in range(depth)]
    return torch.nn.Sequential(torch.nn.Flatten(), *layers, torch.nn.Linear(values, num_classes))


class Bare(torch.nn.Module):
    """One layer, and no backbone."""

    def __init__(self, values: int, classes: int) -> None:
        super().__init__()
        self.head = torch.nn.Linear(values, classes)

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        return self.head(images_nchw.flatten(1))


def bare(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> torch.nn.Module:
    return Bare(in_channels * image_size[0] * image_size[1], num_classes)


def test_each_argument_of_a_model_is_looked_at(tmp_path: Path) -> None:
    """A user's own: the shallow one has too few, and is named."""
    model = f"{__name__}:deep"
    inspected(tmp_path, model, **{"frozen_stages": [0, 2], "model.depth": [3, 2]})
    with pytest.raises(SpecError, match=r"with depth=1 has 1 stage before its head \(1\), got 2; freeze 1 at most"):
        inspected(tmp_path, model, **{"frozen_stages": [0, 2], "model.depth": [3, 1]})


@pytest.mark.parametrize("space", [{"head_epochs": 1}, {"layer_decay": [1.0, 0.5]}, {"backbone_lr_ratio": 0.1}])
def test_a_model_without_stages_is_not_fine_tuned(tmp_path: Path, space: dict[str, object]) -> None:
    """By whichever key; without one, it is a model as any."""
    (key,) = space
    with pytest.raises(SpecError, match=f"space.{key}: model .*: it has no stages: fine-tuning needs"):
        inspected(tmp_path, f"{__name__}:bare", **space)
    inspected(tmp_path, f"{__name__}:bare")
