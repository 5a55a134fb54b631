"""Dynamic fixed point: the quantiser is the paper's, unbiased and exact; all that is multiplied is in the format."""

import math

import pytest
import torch
from ranks import digits_job, train
from torch.nn import functional as F

from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.block_floating import quantised


def slowly(values: torch.Tensor, bits: int) -> list[set[float]]:
    """The two values of the format around each, one where they are the same; number by number."""
    largest = max(abs(value) for value in values.tolist())
    exponent = min(max(math.floor(math.log2(largest)), -128), 127) if largest else 0
    unit = 2.0 ** (exponent - bits + 2)
    ends = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    found = []
    for value in values.double().tolist():
        whole = {math.floor(value / unit), math.ceil(value / unit)}
        found.append({min(max(number, ends[0]), ends[1]) * unit for number in whole})
    return found


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("scale", [1e-30, 0.3, 1.0, 5e20])
def test_each_value_goes_to_a_neighbour_of_the_format(bits, scale):
    """As the reference does it by Python's numbers, one by one; to the nearer one where it isn't stochastic."""
    values = scale * torch.randn(500, generator=torch.Generator().manual_seed(bits))
    values[0], values[1] = 0.0, -values.abs().max()  # the most negative integer has one more than the most positive
    around = slowly(values, bits)
    for value, allowed in zip(quantised(values, bits).tolist(), around, strict=True):
        assert value in allowed
    for value, rounded, allowed in zip(
        values.tolist(), quantised(values, bits, stochastic=False).tolist(), around, strict=True
    ):
        assert abs(value - rounded) == min(abs(value - one) for one in allowed)


def test_the_exponent_has_eight_bits():
    """Below the smallest one, values vanish against its unit, or become it."""
    tiny = torch.full((64,), 2.0**-140)
    assert set(quantised(tiny, 8).tolist()) <= {0.0, 2.0**-134}
    assert torch.equal(quantised(torch.zeros(3), 8), torch.zeros(3)) and quantised(torch.zeros(0), 8).numel() == 0


@pytest.mark.parametrize("bits", [8, 16])
def test_values_of_the_format_stay_as_they_are(bits):
    """All of them, whatever is drawn: rounding again changes nothing."""
    whole = torch.arange(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1))
    for exponent in (-20, 0, 13):
        values = torch.ldexp(whole.float(), torch.tensor(exponent))
        for seed in range(3):
            assert torch.equal(quantised(values, bits, generator=torch.Generator().manual_seed(seed)), values)


def test_stochastic_rounding_is_unbiased():
    """The mean of many draws lies within five standard errors of each value; rounding to nearest does not."""
    values = torch.linspace(-0.99, 0.99, 37)
    draws = 20_000
    rounded = quantised(values.expand(draws, -1), 8, generator=torch.Generator().manual_seed(1)).double()
    unit = 2.0 ** (-1 - 8 + 2)
    share = (values.double() / unit).frac().abs()
    bound = 5 * unit * (share * (1 - share) / draws).sqrt() + 1e-9
    assert ((rounded.mean(0) - values.double()).abs() <= bound).all()
    nearest = quantised(values, 8, stochastic=False).double()
    assert ((nearest - values.double()).abs() > bound).any()


def test_what_is_no_number_stays():
    """A training that diverges must show it."""
    values = torch.tensor([1.0, math.inf, math.nan])
    assert quantised(values, 8)[1] == math.inf and quantised(values, 8)[2].isnan()
    assert quantised(torch.tensor([1.0, -math.inf]), 8).tolist() == [1.0, -math.inf]


@pytest.fixture
def begun(tmp_path):
    rank = RankTraining()

    def begin(**knobs):
        on = {"dfp16": True, **{f"dfp16.{name}": value for name, value in knobs.items()}}
        rank.begin(digits_job(tmp_path, strategies=on, epochs=2, batch_size=200))
        return rank, rank._current._training

    yield begin
    rank.end()


def in_format(tensor, bits) -> bool:
    """Whether all are whole multiples of one unit, from −2^(bits−1) to 2^(bits−1) − 1."""
    values = tensor.detach().double()
    exponent = math.floor(math.log2(values.abs().max())) if values.any() else 0
    for unit in (2.0 ** (exponent - bits + 2), 2.0 ** (exponent - bits + 1)):
        whole = values / unit
        if bool((whole == whole.round()).all()) and whole.min() >= -(2 ** (bits - 1)) and whole.max() < 2 ** (bits - 1):
            return True
    return False


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("master_weights", [False, True])
def test_operands_gradients_and_momentum_are_in_the_format(begun, monkeypatch, bits, master_weights):
    """Seen where the multiplications are, and after the step; master weights alone are not."""
    _, training = begun(bits=bits, master_weights=master_weights)
    seen, errors = [], []
    conv2d, linear = F.conv2d, F.linear

    def watched(multiply):
        def watch(inputs, weight, *rest, **more):
            output = multiply(inputs, weight, *rest, **more)
            seen.extend([in_format(inputs, bits), in_format(weight, bits)])
            output.retain_grad()
            errors.append(output)
            return output

        return watch

    monkeypatch.setattr(F, "conv2d", watched(conv2d))
    monkeypatch.setattr(F, "linear", watched(linear))
    training._train(0)
    assert len(seen) == 2 * 4 * 3 and all(seen)  # operands of four layers in three steps
    for parameter in training.model.parameters():
        state = training._train_state.optimizer.state[parameter]
        assert in_format(parameter.grad, bits) and in_format(state["momentum_buffer"], bits)
    stored = [in_format(parameter, bits) for parameter in training.model.parameters()]
    assert not all(stored) if master_weights else all(stored)
    assert all(in_format(output.grad, bits) for output in errors)


def test_fewer_bits_lie_further_from_float32(tmp_path):
    """At 16 bits a training with master weights ends near the one without; at 8 bits further away."""
    jobs = {"off": {}}
    for bits in (16, 8):
        jobs[bits] = {"dfp16": True, "dfp16.bits": bits, "dfp16.master_weights": True, "dfp16.rounding": "nearest"}
    ends = {}
    for name, strategies in jobs.items():
        _, weights = train(RankTraining(), digits_job(tmp_path, strategies=strategies, epochs=1, batch_size=200))
        ends[name] = torch.cat([value.float().flatten() for key, value in weights.items() if key.endswith("weight")])
    away = {bits: (ends[bits] - ends["off"]).norm() / ends["off"].norm() for bits in (16, 8)}
    assert 0 < away[16] < 0.1 * away[8] and away[8] < 0.5


def test_evaluation_is_in_the_arithmetic_of_the_exported_net(begun):
    """Twice the same, and as without any hook."""
    rank, training = begun(bits=8)
    rank.train_epoch()
    images_nchw = torch.randn(5, 1, 8, 8)
    with torch.inference_mode():
        first, second = (training.model.eval()(images_nchw) for _ in range(2))
        for module in training.model.modules():
            module._forward_pre_hooks.clear()
            module._forward_hooks.clear()
        assert torch.equal(first, second) and torch.equal(training.model(images_nchw), first)
