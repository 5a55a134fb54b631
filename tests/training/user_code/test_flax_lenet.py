"""LeNet-5 in Flax is ours, and trains as a user's own training does: as `compare --over training` has it."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import torch
from flax_lenet import LeNet5, as_jax
from ranks import digits_job

from tune_cnn.spec import DataSpec
from tune_cnn.training.models.registry import build_model
from tune_cnn.training.rank import RankTraining


def test_it_is_the_same_net_as_ours():
    """With torch's weights carried over, the same images give the same logits."""
    ours = build_model("lenet5", num_classes=10, in_channels=1, image_size=(28, 28))
    images_nchw = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    images_nhwc, _ = as_jax(images_nchw, torch.zeros(5, dtype=torch.int64))
    net = LeNet5(classes=10)
    params = net.init(jax.random.key(0), images_nhwc)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == sum(p.numel() for p in ours.parameters())
    layers = [layer for layer in ours if hasattr(layer, "weight")]
    names = ["Conv_0", "Conv_1", "Dense_0", "Dense_1", "Dense_2"]
    for name, layer in zip(names, layers, strict=True):
        weight = layer.weight.detach().numpy()
        if name.startswith("Conv"):
            kernel = weight.transpose(2, 3, 1, 0)
        elif name == "Dense_0":  # flattened with the channels last
            kernel = weight.reshape(-1, 16, 5, 5).transpose(2, 3, 1, 0).reshape(400, -1)
        else:
            kernel = weight.T
        assert params[name]["kernel"].shape == kernel.shape
        params[name] = {"kernel": kernel, "bias": layer.bias.detach().numpy()}
    with torch.no_grad():
        expected_nk = ours(images_nchw).numpy()
    np.testing.assert_allclose(net.apply({"params": params}, images_nhwc), expected_nk, rtol=1e-4, atol=1e-5)


def test_it_trains_and_goes_on_after_a_restart(tmp_path: Path):
    """Four epochs, the last two of them from a checkpoint."""
    job = digits_job(tmp_path, model="lenet5", job={"training": "flax_lenet:training"}, epochs=4, learning_rate=0.05)
    job = replace(job, data=DataSpec(name="digits", subset=600, image_size=28))
    job = replace(job, checkpoint_dir=str(tmp_path / "checkpoints"), checkpoint_every_s=0.0)
    training = RankTraining()
    assert training.begin(job) == 0
    results = [training.train_epoch() for _ in range(2)]
    training.end()
    assert training.begin(job) == 2
    results += [training.train_epoch() for _ in range(2)]
    training.end()
    assert [result.epoch for result in results] == [1, 2, 3, 4]
    assert results[-1].metrics["accuracy"] > 0.25  # chance: 0.1
    assert results[-1].metrics["train_loss"] < results[0].metrics["train_loss"]
