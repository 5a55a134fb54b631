"""How the memory of a GPU that trials share is divided; the arithmetic alone, without torch."""

# What a CUDA context takes of a device beside the allocator: the driver's own, and the code of cuBLAS, cuDNN and torch
# that is loaded as it is used. It stands in where the inspection can't measure it: 300 to 600 MiB on Ampere and Hopper
# with lazy loading.
CONTEXT_MIB = 600.0


def memory_fraction(share: float, *, total_mib: float, slots: int, context_mib: float | None = None) -> float:
    """The part of the device's whole memory that one trial's allocator may take, each slot having a context there.

    context_mib: of one process, as the inspection measured it; None: it could not.
    """
    context_mib = CONTEXT_MIB if context_mib is None else context_mib
    return max(0.0, share * (total_mib - slots * context_mib) / total_mib)
