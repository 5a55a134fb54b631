"""Block floating point (Yang et al., 2019, https://arxiv.org/abs/1904.11943): integers under one exponent a tensor."""

import torch
from torch import Tensor

EXPONENT_BITS = 8
# Two of a value's bits are its sign and the place before the point, so that the largest one has no more than W bits.
OUTSIDE_FRACTION = 2


def quantised(
    values: Tensor, bits: int, *, stochastic: bool = True, generator: torch.Generator | None = None
) -> Tensor:
    """The nearest values of the format, or one of the two neighbours at random so that the expectation is the value.

    E = ⌊log₂ max|x|⌋ in 8 bits, unit = 2^(E − bits + 2), x ↦ unit · clamp(⌊x/unit + u⌋, −2^(bits−1), 2^(bits−1) − 1),
    with u uniform on [0, 1), or ½ where it isn't `stochastic`. A tensor that holds infinities or NaN stays as it is, so
    that a training that diverges shows it. The generator is of the tensor's device; None: torch's own.
    """
    if not values.numel():
        return values
    exact = values.float()
    largest = exact.abs().amax()
    exponent = torch.frexp(largest).exponent - 1
    lowest, highest = -(2 ** (EXPONENT_BITS - 1)), 2 ** (EXPONENT_BITS - 1) - 1
    # Divided in two steps: the unit of the smallest exponent is no normal number of float32, which hardware may flush.
    exponent = exponent.clamp(lowest, highest)
    scaled = torch.ldexp(torch.ldexp(exact, -exponent), torch.tensor(bits - OUTSIDE_FRACTION, device=exact.device))
    below = scaled.floor()
    # ⌊scaled + u⌋ would round the sum itself, and move values that the format holds; comparing is exact.
    if stochastic:
        up = torch.rand(exact.shape, device=exact.device, generator=generator) < scaled - below
    else:
        up = scaled - below >= 0.5
    whole = (below + up).clamp(-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)
    rounded = torch.ldexp(torch.ldexp(whole, torch.tensor(OUTSIDE_FRACTION - bits, device=exact.device)), exponent)
    return torch.where(torch.isfinite(largest), rounded, exact).to(values.dtype)
