"""A trial's share of a GPU's memory."""

import torch

# What a CUDA context takes of a device beside the allocator: the driver's own, and the code of cuBLAS, cuDNN and torch
# that is loaded as it is used. It can't be asked for from inside a container (NVML lists no processes there), and
# memory before and after would count the neighbours too. 300 to 600 MiB on Ampere and Hopper with lazy loading.
CONTEXT_MIB = 600


def memory_fraction(share: float, *, total_mib: float, slots: int) -> float:
    """The part of the device's whole memory that one trial's allocator may take, each slot having a context there."""
    return max(0.0, share * (total_mib - slots * CONTEXT_MIB) / total_mib)


def cap_memory(device: torch.device, *, share: float, slots: int) -> None:
    """Hold this process to its share of the device, or lift the cap where it has all of it."""
    if device.type != "cuda":
        return
    total_mib = torch.cuda.get_device_properties(device).total_memory / 2**20
    whole = share >= 1
    fraction = 1.0 if whole else memory_fraction(share, total_mib=total_mib, slots=slots)
    torch.cuda.set_per_process_memory_fraction(fraction, device)
