"""Images of a packed file, decoded on the device that trains: by nvJPEG through torchvision on a CUDA device."""

import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module

import numpy as np
import torch
import torch.nn.functional as F

from tune_cnn.training.data.readers import Int64, Uint8
from tune_cnn.training.data.sources.packed.file import PackReader
from tune_cnn.training.data.sources.packed.packing import How
from tune_cnn.training.data.sources.resize import crop_start, scaled_size


class DecoderOnDevice:
    """Decodes whole batches. What the device refuses, and what is kept as pixels without loss, the CPU decodes."""

    def __init__(self, reader: PackReader, device: torch.device) -> None:
        self._reader = reader
        self._device = device
        self._refused: set[int] = set()  # rows that the device was seen to refuse

    def images(self, rows_n: Int64) -> torch.Tensor:
        """uint8, n × 3 × side × side on the device; DataError where an image is damaged."""
        contents = {row: self._reader.content(row) for row in dict.fromkeys(rows_n.tolist())}
        jpegs = {
            row: content
            for row, (content, how) in contents.items()
            if how is not How.PIXELS and row not in self._refused
        }
        decoded = dict(self._decoded(jpegs))
        return torch.stack([decoded[row] if row in decoded else self._by_cpu(row) for row in rows_n.tolist()])

    def why_not(self, rows_n: Int64) -> str | None:
        """Why the device can't decode the first JPEG among these rows; None where it can, or where none is one."""
        for row in rows_n.tolist():
            content, how = self._reader.content(row)
            if how is not How.PIXELS:
                try:
                    self._decode([content])
                except RuntimeError as error:
                    return str(error).splitlines()[0]
                return None
        return None

    def _decoded(self, jpegs: dict[int, Uint8]) -> Iterator[tuple[int, torch.Tensor]]:
        """Each row's square; one that is refused is left out, and not asked for again."""
        if not jpegs:
            return
        try:
            whole = self._decode(list(jpegs.values()))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # it gives no part of a batch, and doesn't say which image it was
            if len(jpegs) == 1:
                self._refused.update(jpegs)
                return
            for row, content in jpegs.items():
                yield from self._decoded({row: content})
            return
        for row, image_chw in zip(jpegs, whole, strict=True):
            yield row, _square(image_chw, self._reader.side)

    def _decode(self, contents: list[Uint8]) -> list[torch.Tensor]:
        with warnings.catch_warnings():
            # torchvision says that TorchCodec will take its place; torch 2.11's torchvision knows of none.
            warnings.filterwarnings("ignore", message=".*TorchCodec")
            asked = [torch.from_numpy(np.array(content)) for content in contents]
            return decode_jpegs(asked, self._device)

    def _by_cpu(self, row: int) -> torch.Tensor:
        return torch.from_numpy(self._reader.image(row)).to(self._device)


def decode_jpegs(contents: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Each file's bytes as uint8, 3 × height × width, on the device. torchvision comes late: it takes each slot 4 s."""
    io = import_module("torchvision.io")
    return list(io.decode_jpeg(list(contents), mode=io.ImageReadMode.RGB, device=device))


def _square(image_chw: torch.Tensor, side: int) -> torch.Tensor:
    """Its shorter side to `side`, and the middle of the longer: as `resize_image`, to one grey level in rounding."""
    height, width = scaled_size(image_chw.shape[1], image_chw.shape[2], side)
    if (height, width) != tuple(image_chw.shape[1:]):
        # As float32: torch resizes uint8 on a CPU alone.
        resized = F.interpolate(image_chw[None].float(), size=(height, width), mode="bilinear", antialias=True)[0]
        image_chw = resized.round_().clamp_(0, 255).to(torch.uint8)
    top, left = crop_start(height, side), crop_start(width, side)
    return image_chw[:, top : top + side, left : left + side]
