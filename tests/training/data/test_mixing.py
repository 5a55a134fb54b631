"""Mixed images and labels are those of the papers, drawn alike for every loader, and trained on as they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ranks import digits_job, left_within, same_bits, train
from torch.nn import functional as F
from torchvision.transforms import v2

from tune_cnn.errors import SpecError
from tune_cnn.spec import Configuration, parse_spec
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.data.loaders.mixing import Mixing, Pairing, drawn, mixed
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.step.losses import training_loss

SPEC = {"study": "s", "data": {"name": "digits"}, "model": {"name": "small_cnn"}, "budget": {"trials": 1}}


def _batch(images: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(torch.rand(images, 3, 12, 10, generator=generator), torch.arange(images) % 4)


def test_one_share_for_all_blends_as_torchvision_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """v2.MixUp draws one share for a batch; with it, images and labels are the same."""
    batch = _batch()
    theirs = v2.MixUp(num_classes=4)
    share = torch.full((6,), 0.3)
    monkeypatch.setattr(theirs, "make_params", lambda inputs: theirs_params(inputs, 0.3))

    def theirs_params(inputs: object, lam: float) -> dict[str, object]:
        return {"labels": batch.labels_n, "batch_size": 6, "lam": lam}

    images_nchw, labels_nk = theirs(*batch)
    ours = mixed(batch, Pairing(share_n=share, blend_n=share, box_n4=None), 4)
    torch.testing.assert_close(ours.images_nchw, images_nchw)
    torch.testing.assert_close(ours.labels_n, labels_nk)


def test_boxes_are_those_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """v2.CutMix draws one box for a batch; with it, images and labels are the same to the bit of a pixel."""
    batch = _batch()
    theirs = v2.CutMix(num_classes=4)
    left, top, right, bottom = 2, 5, 7, 12
    share = 1 - (right - left) * (bottom - top) / 120
    params = {"labels": batch.labels_n, "batch_size": 6, "box": (left, top, right, bottom), "lam_adjusted": share}
    monkeypatch.setattr(theirs, "make_params", lambda inputs: params)
    images_nchw, labels_nk = theirs(*batch)
    box_n4 = torch.tensor([[top, bottom, left, right]]).expand(6, 4)
    ours = mixed(batch, Pairing(share_n=torch.full((6,), share), blend_n=torch.ones(6), box_n4=box_n4), 4)
    assert torch.equal(ours.images_nchw, images_nchw)
    torch.testing.assert_close(ours.labels_n, labels_nk)


def test_shares_follow_their_distributions_and_boxes_their_shares() -> None:
    """Where both are on, `switch` of the images get a box; an own share is what its box leaves."""
    random = np.random.default_rng(0)
    found = drawn(Mixing(mixup=0.2, cutmix=1.0, switch=0.25), random, 8000, (20, 30))
    assert found.box_n4 is not None
    top, bottom, left, right = found.box_n4.unbind(1)
    area_n = ((bottom - top) * (right - left)).float() / 600
    blended_n = found.blend_n < 1
    assert blended_n.float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert not area_n[blended_n].any()
    torch.testing.assert_close(found.share_n[~blended_n], 1 - area_n[~blended_n])
    # Beta(0.2, 0.2): mean 1/2, variance 1/(4 · 1.4)
    assert found.share_n[blended_n].mean().item() == pytest.approx(0.5, abs=0.02)
    assert found.share_n[blended_n].var().item() == pytest.approx(1 / 5.6, abs=0.01)


@pytest.mark.parametrize("labels", ["classes", "shares"])
def test_bce_is_torchs_own_on_smoothed_targets(labels: str) -> None:
    """The mean over images and classes of torch's binary cross-entropy; of each image, that over its classes."""
    logits, labels_n = torch.randn(5, 4), torch.arange(5) % 4
    shares_nk = F.one_hot(labels_n, 4).float()
    if labels == "shares":
        shares_nk = 0.3 * shares_nk + 0.7 * shares_nk.roll(1, 0)
    wanted = F.binary_cross_entropy_with_logits(logits, 0.9 * shares_nk + 0.025)
    given = labels_n if labels == "classes" else shares_nk
    torch.testing.assert_close(training_loss(logits, given, kind="bce", label_smoothing=0.1), wanted)
    each = training_loss(logits, given, kind="bce", label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(each.mean(), wanted)
    assert each.shape == (5,)


def test_every_loader_and_a_resumed_epoch_train_on_the_same_mixtures(tmp_path: Path) -> None:
    """Draws are of seed, epoch and rank, from the step on at which an epoch goes on."""
    rank = RankTraining()
    settings = {"mixup": 0.4, "cutmix": 1.0, "loss": "bce", "augment": "crop_flip"}
    job = digits_job(tmp_path, **settings)
    results, weights = train(rank, job)
    _, streamed = train(rank, digits_job(tmp_path, loader="stream", **settings))
    assert same_bits(weights, streamed)
    _, plain = train(rank, digits_job(tmp_path, loss="bce", augment="crop_flip"))
    assert not same_bits(weights, plain)
    assert 0.3 < results[-1].metrics["train_loss"] < 0.7  # about ln 2 a class: bce's mean over the classes
    job = replace(job, checkpoint_dir=str(tmp_path / "checkpoints"), checkpoint_every_s=0.0)
    _, resumed, _ = left_within(job, epochs={1})
    assert same_bits(weights, resumed)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": {"mixup": [0.0, 0.2], "strategies": {"info_batch": {}}}}, "mixed image's loss"),
        ({"space": {"cutmix": 1.0, "strategies": {"isgd": True}}}, "same batches"),
        ({"space": {"mixup": 0.2}, "training": "a.b:c"}, "labels are classes"),
        ({"space": {"loss": "bce"}, "training": "a.b:c"}, "a loss of its own"),
        ({"space": {"flip_at_test": True}, "training": "a.b:c"}, "measures its accuracy"),
        ({"space": {"mix_switch": 0.2, "mixup": 0.1}}, "cutmix can't"),
    ],
)
def test_what_can_not_be_mixed_is_one_error(changes: dict[str, object], said: str) -> None:
    """Before a search, with the reason."""
    with pytest.raises(SpecError, match=said):
        parse_spec({**SPEC, **changes}, "here")


def test_the_default_loss_may_stand_beside_a_training_of_ones_own() -> None:
    """As it does in an export, which names every key: else none of such a study could be trained again."""
    assert parse_spec({**SPEC, "space": {"loss": "cross_entropy"}, "training": "a.b:c"}, "here").training == "a.b:c"


def test_the_switch_exists_only_where_both_are_on() -> None:
    """Among a trial's parameters, and as an error elsewhere."""
    assert "mix_switch" in Configuration(mixup=0.1, cutmix=0.1).params()
    assert "mix_switch" not in Configuration(mixup=0.1).params()
    with pytest.raises(ValueError, match="no meaning unless mixup and cutmix"):
        Configuration(mixup=0.1, mix_switch=0.1)
