"""Images become normalised float32: in one kernel, in memory that is kept, always the same numbers."""

import numpy as np
import pytest
import torch
from image_files import prepared, write_folder

from tune_cnn.training.data.augment import LARGE_BYTES, Normaliser
from tune_cnn.training.data.kept_memory import KeptMemory

CPU = torch.device("cpu")


@pytest.mark.parametrize("channels_last", [False, True])
def test_normalising_in_one_kernel_gives_the_same(tmp_path, channels_last):
    """What a GPU runs, here on the CPU: values, type and layout of the two steps."""
    write_folder(tmp_path / "root", per_class=4)
    sets = prepared(tmp_path, "image_folder", image_size=16)
    normalise = Normaliser(sets.facts.mean, sets.facts.std, CPU, channels_last)
    raw_nchw = torch.from_numpy(sets.train.fetch(np.arange(4)))
    one, two = normalise.in_one_kernel(raw_nchw), normalise(raw_nchw)
    assert one.dtype == torch.float32 and one.stride() == two.stride()
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_large_batch_is_normalised_to_the_same_bits(channels_last):
    """Its memory comes from elsewhere, and it is worked on in pieces; images of either order in memory."""
    normalise = Normaliser((0.4, 0.5, 0.6), (0.2, 0.3, 0.25), CPU, channels_last)
    raw_nchw = torch.randint(0, 256, (30, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert 4 * raw_nchw.numel() >= LARGE_BYTES
    small = torch.cat([normalise(raw_nchw[:15]), normalise(raw_nchw[15:])])
    for given in (raw_nchw, raw_nchw.contiguous(memory_format=torch.channels_last)):
        large = normalise(given)
        assert torch.equal(large, small) and large.is_contiguous(memory_format=normalise.memory_format)


def test_memory_of_a_batch_is_used_again_only_once_nothing_has_it():
    """Neither a view nor what a backward pass waits for may change under their owner; of a smaller batch too."""
    memory, shape = KeptMemory(), torch.Size((4, 3, 8, 8))
    one = memory.empty(shape, torch.contiguous_format)
    at = one.data_ptr()
    assert at % 64 == 0
    view, weight = one.fill_(1.0)[1:2], torch.ones(1, requires_grad=True)
    loss = (weight * one).sum()
    del one
    other = memory.empty(shape, torch.contiguous_format).fill_(2.0)
    assert other.data_ptr() != at and (view == 1).all()
    del view
    assert memory.empty(shape, torch.contiguous_format).fill_(3.0).data_ptr() != at
    loss.backward()
    assert weight.grad is not None and weight.grad.item() == shape.numel()
    del loss
    kept = [memory.empty(torch.Size((3, 3, 8, 8)), torch.channels_last) for _ in range(2)]
    assert at in [each.data_ptr() for each in kept] and other.data_ptr() not in [each.data_ptr() for each in kept]
