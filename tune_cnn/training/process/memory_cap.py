"""Hold a process to its trial's share of a GPU's memory."""

import torch

from tune_cnn.training.process.memory_share import memory_fraction


def cap_memory(device: torch.device, *, share: float, slots: int, context_mib: float | None = None) -> None:
    """Hold this process to its share of the device, or lift the cap where it has all of it.

    context_mib: as for `memory_fraction`.
    """
    if device.type != "cuda":
        return
    total_mib = torch.cuda.get_device_properties(device).total_memory / 2**20
    whole = share >= 1
    fraction = 1.0 if whole else memory_fraction(share, total_mib=total_mib, slots=slots, context_mib=context_mib)
    torch.cuda.set_per_process_memory_fraction(fraction, device)
