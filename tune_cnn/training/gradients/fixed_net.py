"""Algorithm 1's first net: a copy that stays at the parameters of an epoch's beginning while another trains."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torchvision.ops import StochasticDepth

from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.models.measure import joins_images
from tune_cnn.training.step.losses import training_loss


class FixedNet:
    """A net of its own, with the parameters that `model` has now; nothing that is done here reaches `model`.

    It is in training mode, as the training's own steps are: batch normalisation takes the statistics of the mini-batch.
    Its running statistics change in this copy alone, which no gradient depends on. Dropout and stochastic depth are
    off, or the distances would be those of their draws.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        label_smoothing: float,
        loss: str = "cross_entropy",
        class_weights_k: Tensor | None = None,
    ) -> None:
        self._net = copy.deepcopy(model).train()
        for module in self._net.modules():
            if isinstance(module, _DropoutNd | StochasticDepth):
                module.eval()
        self._loss, self._smoothing, self._class_weights_k = loss, label_smoothing, class_weights_k
        self._begun_with = {name: buffer.clone() for name, buffer in self._net.named_buffers()}
        learning = {name: one for name, one in self._net.named_parameters() if one.requires_grad}
        self.names = tuple(learning)
        self._parameters = tuple(learning.values())

    @property
    def joins_images(self) -> bool:
        """Whether an image's gradient depends on those it is batched with, so that every cut has a full gradient."""
        return joins_images(self._net)

    @property
    def layers(self) -> list[str]:
        """The layer of each parameter: the module that holds it."""
        return [name.rpartition(".")[0] or name for name in self.names]

    def gradient(self, batch: Batch, number: int) -> tuple[float, list[Tensor]]:
        """The loss's mean over mini-batch `number`, and its gradient by parameter, in float32 on the device.

        Reseeds torch's generators: what a module of the user's draws is the same each time that a mini-batch comes.
        """
        torch.manual_seed(number)
        logits = self._net(batch.images_nchw)
        loss = training_loss(
            logits,
            batch.labels_n,
            kind=self._loss,
            label_smoothing=self._smoothing,
            class_weights_k=self._class_weights_k,
        )
        found: Sequence[Tensor | None] = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        return loss.item(), [
            torch.zeros_like(parameter) if one is None else one
            for parameter, one in zip(self._parameters, found, strict=True)
        ]

    def zeros(self) -> list[Tensor]:
        """A sum of gradients to begin with, in float64."""
        return [torch.zeros_like(parameter, dtype=torch.float64) for parameter in self._parameters]

    @torch.no_grad()
    def logits(self, batch: Batch) -> Tensor:
        """As an evaluation would have them: each image by itself, with the running statistics of the epoch's start."""
        for name, buffer in self._net.named_buffers():
            buffer.copy_(self._begun_with[name])
        mode = {module: module.training for module in self._net.modules()}
        logits: Tensor = self._net.eval()(batch.images_nchw)
        for module, training in mode.items():
            module.training = training
        return logits
