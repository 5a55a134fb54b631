"""The trained model as a program (torch.export): a graph and its weights in one file, without pickled code."""

import io

import numpy as np
import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from tune_cnn.errors import TrialError
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.image_sets import ImageSet
from tune_cnn.training.data.operations.view import View
from tune_cnn.training.messages import Program
from tune_cnn.training.process.global_state import exact_float32

EXAMPLES = 2  # images; the number of one would be taken for the only one
CLOSE = 1e-3  # of logits: another memory format, another order of summing


class FromPixels(nn.Module):
    """The model behind its normalisation and what an evaluation makes of images: whoever has the program needs to know
    nothing of them."""

    scale: Tensor
    offset: Tensor

    def __init__(self, model: nn.Module, facts: DataFacts, device: torch.device, view: View | None = None) -> None:
        super().__init__()
        self.model, self.view = model, view
        scale = [1 / (255 * s) for s in facts.std]
        offset = [-m / s for m, s in zip(facts.mean, facts.std, strict=True)]
        self.register_buffer("scale", torch.tensor(scale, device=device)[:, None, None])
        self.register_buffer("offset", torch.tensor(offset, device=device)[:, None, None])

    def forward(self, images_nchw: Tensor) -> Tensor:
        view = self.view
        seen = images_nchw if view is None else view.images(images_nchw)
        normalised = seen.float() * self.scale + self.offset
        logits: Tensor = self.model(normalised) if view is None else view.logits(self.model, normalised)
        return logits.float()


def export(
    model: nn.Module, facts: DataFacts, images: ImageSet, device: torch.device, view: View | None = None
) -> Program:
    """The model as it is evaluated, for the CPU; TrialError where torch.export can't take it.

    It is held against the model in float32 itself: what TF32 rounds away would count as a fault of the program.
    """
    images_nchw = images.fetch(np.arange(EXAMPLES))
    example = torch.from_numpy(images_nchw).to(device)
    modes = {module: module.training for module in model.modules()}
    whole = FromPixels(model, facts, device, view).eval()
    try:
        with torch.no_grad(), exact_float32():
            logits = whole(example)
            anywhere = torch.export.export(whole, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        program = move_to_device_pass(anywhere, "cpu")
        got = program.module()(example.cpu())
    except Exception as error:  # torch's exporter raises whatever it meets in the model's code
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise TrialError(f"torch.export can't take the model: {said}") from None
    finally:
        for module, mode in modes.items():  # a training may go on
            module.training = mode
    if not torch.allclose(got, logits.cpu(), rtol=CLOSE, atol=CLOSE):
        raise TrialError("torch.export gives a program that computes something else than the model")
    file = io.BytesIO()
    torch.export.save(program, file)
    return Program(
        pt2=file.getvalue(),
        images_nchw=images_nchw,
        logits_nk=got.detach().numpy(),
        torch_version=str(torch.__version__),
    )
