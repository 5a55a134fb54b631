"""Weights as safetensors: tensors and nothing else, so that loading them runs no code."""

from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor


def pack(weights: Mapping[str, Tensor]) -> bytes:
    """A safetensors file as bytes."""
    return save(dict(weights))
