"""Images as they are evaluated: their middle, at another size, and seen both ways round.

Another size than training's: Touvron et al., "Fixing the train-test resolution discrepancy", 2019,
https://arxiv.org/abs/1906.06423.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tune_cnn.spec import Configuration
from tune_cnn.training.data.sources.resize import crop_start, scaled_size


@dataclass(frozen=True, kw_only=True)
class View:
    """What an evaluation, and a program that is exported, make of an image before and around the model."""

    crop: float  # share of each side, in the middle
    side: int  # the shorter one, to which what is left is resized; 0: as it is
    flip: bool  # logits are the mean over the image and its mirror

    @classmethod
    def of(cls, configuration: Configuration) -> "View | None":
        """None where images are evaluated as they are."""
        view = cls(crop=configuration.eval_crop, side=configuration.eval_image_size, flip=configuration.flip_at_test)
        return view if view.flip or view.side or view.crop < 1 else None

    def size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Of what the model sees of images of this size."""
        height, width = self._middle(image_size)
        return scaled_size(height, width, self.side) if self.side else (height, width)

    def _middle(self, image_size: tuple[int, int]) -> tuple[int, int]:
        height, width = (max(1, round(side * self.crop)) for side in image_size)
        return height, width

    def images(self, images_nchw: Tensor) -> Tensor:
        """uint8 in, uint8 out; bilinear and antialiased, as torchvision's center_crop and resize give them."""
        whole = (images_nchw.shape[2], images_nchw.shape[3])
        height, width = self._middle(whole)
        top, left = crop_start(whole[0], height), crop_start(whole[1], width)
        middle = images_nchw[:, :, top : top + height, left : left + width]
        size = self.size(whole)
        if size == (height, width):
            return middle
        resized = F.interpolate(middle.float(), size=size, mode="bilinear", antialias=True)
        return resized.round().clamp(0, 255).to(torch.uint8)

    def logits(self, model: Callable[[Tensor], Tensor], images_nchw: Tensor) -> Tensor:
        """Of normalised images, as the model or both ways round."""
        logits = model(images_nchw)
        return (logits.float() + model(images_nchw.flip(3)).float()) / 2 if self.flip else logits
