"""The trained model as a program that needs none of our code."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tune_cnn.errors import TrialError
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.export.program import export
from tune_cnn.training.models.registry import build_model
from tune_cnn.training.process.global_state import reset_global_state

FACTS = DataFacts(
    name="made-up", num_classes=4, in_channels=3, image_size=(12, 10), train_images=8, validation_images=2,
    test_images=8, classes=("a", "b", "c", "d"), key="0", mean=(0.1, 0.2, 0.3), std=(0.5, 0.4, 0.3), notes=(),
)  # fmt: skip
CPU = torch.device("cpu")


class Images:
    """A test split."""

    images_nchw = np.random.default_rng(0).integers(0, 256, (8, 3, 12, 10)).astype(np.uint8)

    def fetch(self, positions: Any) -> Any:
        return self.images_nchw[positions]


@pytest.mark.parametrize(("name", "arguments"), [("small_cnn", {}), ("airbench94", {"width": 4, "views": 6})])
def test_a_program_takes_pixels_of_any_number_of_images_and_gives_the_models_logits(
    name: str, arguments: dict[str, int]
) -> None:
    """Normalisation and averaged views are inside, dropout and batch norm as in evaluation; the model stays."""
    model = build_model(name, num_classes=4, in_channels=3, image_size=(12, 10), arguments=arguments)
    model = nn.Sequential(model, nn.Dropout(0.5)).to(memory_format=torch.channels_last).train()
    made = export(model, FACTS, Images(), CPU)  # type: ignore[arg-type]  # it has what export reads
    program = torch.export.load(io.BytesIO(made.pt2)).module()
    pixels = torch.from_numpy(Images.images_nchw)
    scale, offset = (torch.tensor(one)[:, None, None] for one in (FACTS.std, FACTS.mean))
    with torch.no_grad():
        wanted = model.eval()((pixels / 255 - offset) / scale)
        for count in (1, 2, 8):
            assert torch.allclose(program(pixels[:count]), wanted[:count], atol=1e-4)
    assert made.logits_nk == pytest.approx(wanted[:2].numpy(), abs=1e-4) and made.images_nchw.shape == (2, 3, 12, 10)


class Seeing(nn.Module):
    """It notes how float32 is multiplied while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_exporting():
            self.seen.append(torch.get_float32_matmul_precision())
        return images_nchw.mean(dim=(2, 3))


def test_a_program_is_held_against_the_model_without_tf32() -> None:
    """The CPU has none, so the difference would be called a fault of the program. Training's setting comes back."""
    reset_global_state(seed=0, precision="tf32", deterministic=False, threads=torch.get_num_threads())
    seeing = Seeing()
    export(seeing, FACTS, Images(), CPU)  # type: ignore[arg-type]  # it has what export reads
    assert seeing.seen[0] == "highest"
    assert torch.get_float32_matmul_precision() == "high"
    reset_global_state(seed=0, precision="fp32", deterministic=False, threads=torch.get_num_threads())


class Chooses(nn.Module):
    """Its arithmetic depends on the images' values."""

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        logits = images_nchw.mean(dim=(2, 3))
        return logits if logits.sum() > 0 else -logits


class ForOne(nn.Module):
    """It can tell how many images there are, and reckons with two."""

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        return images_nchw.mean(dim=(2, 3)).view(2, 3)


@pytest.mark.parametrize("model", [Chooses(), ForOne()], ids=lambda model: type(model).__name__)
def test_a_model_that_can_be_no_program_is_said(model: nn.Module) -> None:
    """Not a program that is right for the example alone."""
    with pytest.raises(TrialError, match=r"torch\.export can't take the model: \S"):
        export(model, FACTS, Images(), CPU)  # type: ignore[arg-type]  # it has what export reads
