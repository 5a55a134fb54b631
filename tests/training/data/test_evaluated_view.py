"""Images are evaluated at the size, in the middle and both ways round that the configuration asks for."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import digits_job
from sklearn.datasets import load_sample_images
from torchvision.transforms.v2 import functional as tv

from tune_cnn.errors import SpecError
from tune_cnn.spec import Configuration, parse_spec
from tune_cnn.study.training.card import _as_evaluated
from tune_cnn.training.data.operations.view import View
from tune_cnn.training.inspection.node import inspect_node
from tune_cnn.training.messages import EpochResult
from tune_cnn.training.rank import RankTraining


def _view(**settings: Any) -> View:
    view = View.of(Configuration(**settings))
    assert view is not None
    return view


def test_the_middle_is_torchvisions_center_crop_resized() -> None:
    """Of photographs, to the grey level; smaller and larger."""
    images = torch.from_numpy(np.stack([image[:90, :90] for image in load_sample_images().images])).permute(0, 3, 1, 2)
    for side in (48, 112):
        ours = _view(eval_crop=0.875, eval_image_size=side).images(images)
        wanted = tv.resize(tv.center_crop(images, [79, 79]).float(), [side, side], antialias=True).round()
        assert ours.shape == wanted.shape and (ours.int() - wanted.int()).abs().max() <= 1
    assert torch.equal(_view(eval_crop=0.5).images(images), tv.center_crop(images, [45, 45]))
    assert View.of(Configuration()) is None


def test_a_training_is_evaluated_as_asked_and_exported_so(tmp_path: Path) -> None:
    """Accuracy and arithmetic are those of larger images and their mirrors, and the program gives those logits."""
    rank = RankTraining()
    plain = digits_job(tmp_path, model="resnet8", epochs=1)
    asked = digits_job(
        tmp_path, model="resnet8", epochs=1, eval_crop=0.75, eval_image_size=12, flip_at_test=True, batch_size=64
    )
    rank.begin(plain)
    before = rank.train_epoch()
    assert isinstance(before, EpochResult)
    rank.end()
    rank.begin(asked)
    result = rank.train_epoch()
    assert isinstance(result, EpochResult)
    context, model = rank._current.context, rank._current.model
    images, facts = context.images.validation, context.images.facts
    raw = torch.from_numpy(images.fetch(np.arange(len(images))))
    seen = tv.resize(tv.center_crop(raw, [6, 6]).float(), [12, 12], antialias=True).round() / 255
    normalised = (seen - facts.mean[0]) / facts.std[0]
    with torch.no_grad():
        logits = (model.eval()(normalised) + model(normalised.flip(3))) / 2
    right = (logits.argmax(1).numpy() == images.labels_n).mean()
    assert result.metrics["accuracy"] == pytest.approx(right, abs=0.02)
    program = torch.export.load(io.BytesIO(rank.program().pt2)).module()
    torch.testing.assert_close(program(raw[:5]), logits[:5], rtol=1e-2, atol=1e-2)
    rank.end()
    # Both are trained alike; a net of convolutions costs about as much as it sees pixels, and here twice that.
    assert before.metrics["train_loss"] == result.metrics["train_loss"]
    times = result.metrics["inference_gflops"] / before.metrics["inference_gflops"]
    assert times == pytest.approx(2 * 12**2 / 8**2, rel=0.05)
    assert {"eval_image_size", "flip_at_test"} <= asked.configuration.params().keys()
    assert "resized to 12 pixels, logits averaged" in _as_evaluated(asked.configuration)


def test_a_model_for_one_size_refuses_another_before_any_trial(tmp_path: Path) -> None:
    """LeNet's first linear layer is made for the images' own size; a policy on one channel is refused there too."""
    data = {"name": "digits", "image_size": 16}
    raw: dict[str, Any] = {"study": "s", "data": data, "budget": {"trials": 1}}
    spec = parse_spec({**raw, "model": {"name": "lenet5"}, "space": {"eval_image_size": [0, 20]}}, "here")
    with pytest.raises(SpecError, match="eval_image_size: model 'lenet5', built for images of 16×16"):
        inspect_node(spec, cuda=False, cache_dir=str(tmp_path))
    policy = [["flip", "trivial_augment"], "none"]  # a list within the choice is the same as joined by +
    spec = parse_spec({**raw, "model": {"name": "resnet8"}, "space": {"augment": policy}}, "here")
    assert spec.space["augment"].values == ("flip+trivial_augment", "none")
    with pytest.raises(SpecError, match="augment: trivial_augment changes colours"):
        inspect_node(spec, cuda=False, cache_dir=str(tmp_path))
