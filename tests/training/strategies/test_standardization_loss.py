"""Standardization loss: the term is the paper's divergence, norms are out, and activations come to be standard."""

import copy

import pytest
import torch
from ranks import digits_job
from torch import nn
from torch.distributions import Normal, kl_divergence

from tune_cnn.errors import TrialError
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.standardization_loss import ChannelAffine, divergence, without_norms


def test_the_term_is_the_divergence_from_the_standard_normal():
    """By torch's own formula, meaned over channels; 0 where every channel has mean 0 and variance 1."""
    torch.manual_seed(0)
    maps = (
        torch.randn(16, 3, 5, 5) * torch.tensor([0.5, 1.0, 3.0])[:, None, None]
        + torch.tensor([1.0, 0.0, -2.0])[:, None, None]
    )
    mean_c, std_c = maps.mean((0, 2, 3)), maps.std((0, 2, 3), correction=0)
    expected = kl_divergence(Normal(mean_c, std_c), Normal(torch.zeros(3), torch.ones(3))).mean()
    assert torch.allclose(divergence(maps), expected, rtol=1e-3)
    standard = (maps - mean_c[:, None, None]) / std_c[:, None, None]
    assert divergence(standard).abs() < 1e-4
    assert divergence(torch.zeros(4, 2)).isfinite()  # channels that never vary


def test_norms_become_their_scale_and_shift():
    """The same parameters, by the same names; nothing that a batch decides is left; a copy has no part in a step."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))
    names = [name for name, _ in model.named_parameters()]
    scale = model[1].weight
    assert without_norms(model) == 2
    assert [name for name, _ in model.named_parameters()] == names and model[1].weight is scale
    assert not list(model.buffers())
    images_nchw = torch.randn(6, 1, 3, 3)
    together, alone = model(images_nchw), torch.cat([model(image[None]) for image in images_nchw])
    assert torch.allclose(together, alone, atol=1e-6)
    assert len(model[1].take()) == 7 and model[1].take() == []
    model(images_nchw)
    assert copy.deepcopy(model)[1].take() == [] and len(model[1].take()) == 1
    model.eval()(images_nchw)
    assert model[1].take() == []


def test_training_brings_activations_near_to_standard(tmp_path):
    """The divergence falls, and further with the term than without; the model has no norms and no running values."""
    found = {}
    for strength in (1e-5, 0.3):
        on = {"standardization_loss": True, "standardization_loss.strength": strength}
        rank = RankTraining()
        rank.begin(digits_job(tmp_path, strategies=on, epochs=6, batch_size=60))
        run, terms = rank._current._training._run, []
        images_nchw = run.sample_batch().images_nchw
        for _ in range(6):
            rank.train_epoch()
            run.model.train()(images_nchw)
            terms.append(
                sum(float(t.detach()) for m in run.model.modules() if isinstance(m, ChannelAffine) for t in m.take())
            )
        assert rank.changes()[0]["norms"] == "out"
        rank.end()
        found[strength] = terms
    assert found[0.3][-1] < found[0.3][0] and found[0.3][-1] < 0.5 * found[1e-5][-1]


def test_a_model_without_norms_is_refused(tmp_path):
    with pytest.raises(TrialError, match="standardization_loss: the model has no batch normalisation"):
        RankTraining().begin(
            digits_job(tmp_path, model=f"{__name__}:linear", strategies={"standardization_loss": True})
        )


def linear(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))
