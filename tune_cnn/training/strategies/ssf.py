"""Structure and strength of filters (Keshari et al., 2018, https://arxiv.org/abs/1803.11405)."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from sklearn.decomposition import MiniBatchDictionaryLearning
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from tune_cnn.errors import StrategyError
from tune_cnn.spec import Choice
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun
from tune_cnn.training.surgery.shape import eval_forward
from tune_cnn.untyped import Untyped

IMAGES = 512  # that dictionaries are learned on
PATCHES = 1024  # of a layer's maps
PASSES = 1  # over the patches: a fifth of a second of one core for a layer of 3×3 kernels
ATOMS = 32  # of a layer's dictionary: more look alike on kernels of a few pixels
SMALLEST_STD = 1e-4  # of a patch: a flat one has no structure


class Ssf(Strategy):
    """Freeze the structure of every kernel, and learn its strength alone: W = t ⊙ W₀.

    Keshari, Vatsa, Singh, Noore, "Learning Structure and Strength of CNN Filters for Small Sample Size Training", 2018,
    https://arxiv.org/abs/1803.11405. Each k×k kernel has one number that learns; biases, norms, 1×1 convolutions and
    the classifier learn as always. The structure W₀ is `given`, by the pretrained weights or the model's own start, or
    learned without labels before the first step, layer by layer: a dictionary of the patches of what the layer is
    given (scikit-learn's), whose atoms are dealt to the kernels at random. Meant for few images: there is little that
    could overfit. Learning the dictionaries is training time; at the end t ⊙ W₀ is folded into plain weights.
    """

    name = "ssf"
    paper = "Keshari, Vatsa, Singh & Noore, 2018, https://arxiv.org/abs/1803.11405"
    saves = Saves.DATA
    sites = frozenset({Site.WEIGHT_PARAM})
    capturable = True
    knobs: ClassVar[Mapping[str, Knob]] = {
        "structure": Knob(
            allowed=Choice(values=("given", "dictionary")),
            default="dictionary",
            meaning="where the frozen kernels come from: the weights as they are, or a dictionary of patches",
        )
    }
    forbids: ClassVar[Mapping[str, str]] = {
        name: f"{name} changes the shape of kernels whose structure ssf freezes"
        for name in ("prunetrain", "net2net", "kernel_rescaling", "layer_replacement", "lottery_ticket", "early_bird")
    }

    structure: str

    def prepare(self, run: TrainingRun) -> None:
        layers = structured(run.model)
        if not layers:
            raise StrategyError("ssf: the model has no convolution with kernels above 1×1; leave it out of the space")
        if run.pretrained and self.structure == "dictionary":
            raise StrategyError("ssf: structure=dictionary would overwrite pretrained weights; use structure: given")
        for layer in layers.values():
            freeze_structure(layer)

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        if epoch == 0 and self.structure == "dictionary":
            found = learned_structures(run) if run.group.rank == 0 else None  # the others take rank 0's
            for name, structure in run.group.share(found).items():
                strength_of(run.model.get_submodule(name)).structure.copy_(structure)

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """Structures are among the model's values."""

    def finish(self, run: TrainingRun) -> None:
        fold(run.model)
        run.replace_model(run.model, {}, by=self.name, change={"exported": False})

    def rebuild(self, model: nn.Module, change: Change) -> nn.Module:
        return fold(model)


class Strength(nn.Module):
    """A parametrization: the strength of each kernel, (o, i, 1, 1), times its frozen structure, (o, i, k, k)."""

    structure: Tensor

    def __init__(self, structure: Tensor) -> None:
        super().__init__()
        self.register_buffer("structure", structure.detach().clone())

    def forward(self, strength: Tensor) -> Tensor:
        return strength * self.structure

    def right_inverse(self, weight: Tensor) -> Tensor:
        """At the start the weight is the structure."""
        return torch.ones_like(weight[:, :, :1, :1])


def structured(model: nn.Module) -> dict[str, nn.Conv2d]:
    """Convolutions whose kernels have a structure, by name."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1
    }


def freeze_structure(layer: nn.Conv2d) -> None:
    parametrize.register_parametrization(layer, "weight", Strength(layer.weight))


def strength_of(layer: Untyped) -> Strength:
    strength = layer.parametrizations.weight[0]
    assert isinstance(strength, Strength)
    return strength


def fold(model: nn.Module) -> nn.Module:
    """Plain weights t ⊙ W₀ in the place of their strengths and structures."""
    for layer in structured(model).values():
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return model


def learned_structures(run: TrainingRun) -> dict[str, Tensor]:
    """Of each layer, from the front on: each is learned on what those before it, with theirs, make of the images."""
    random = np.random.default_rng((run.seed, 0))
    positions_n = random.permutation(len(run.train_images))[:IMAGES].astype(np.int64)
    images_nchw, found = run.plain_batch(positions_n).images_nchw, {}
    for name, layer in structured(run.model).items():
        strength = strength_of(layer)
        atoms = dictionary(patches(_inputs(run.model, layer, images_nchw), layer, random), random)
        strength.structure.copy_(dealt(atoms, strength.structure, random))
        found[name] = strength.structure.cpu()
    return found


def _inputs(model: nn.Module, layer: nn.Module, images_nchw: Tensor) -> Tensor:
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    try:
        eval_forward(model, images_nchw)
    finally:
        hook.remove()
    return seen[0]


def patches(maps_nchw: Tensor, layer: nn.Conv2d, random: np.random.Generator) -> np.ndarray[Untyped, Untyped]:
    """(patches, k·k): of single maps, drawn at random, with mean 0 and deviation 1; flat ones left out."""
    height, width = (max(0, k - side) for k, side in zip(layer.kernel_size, maps_nchw.shape[2:], strict=True))
    padded = F.pad(maps_nchw, (0, width, 0, height))
    cut = F.unfold(padded.flatten(0, 1)[:, None], layer.kernel_size).transpose(1, 2).flatten(0, 1)
    drawn = torch.from_numpy(random.permutation(len(cut))[:PATCHES]).to(cut.device)
    chosen = cut[drawn].double().cpu()
    centred = chosen - chosen.mean(1, keepdim=True)
    std = centred.std(1, correction=0, keepdim=True)
    return np.asarray((centred / std.clamp(min=SMALLEST_STD))[std[:, 0] > SMALLEST_STD])


def dictionary(patches_pv: np.ndarray[Untyped, Untyped], random: np.random.Generator) -> Tensor:
    """(atoms, k·k), each of length 1; noise where there are too few patches to learn any from."""
    values = patches_pv.shape[1]
    if len(patches_pv) < 2 * values:
        atoms = random.standard_normal((ATOMS, values))
    else:
        learning = MiniBatchDictionaryLearning(
            n_components=min(ATOMS, len(patches_pv)),
            max_iter=PASSES,
            batch_size=256,
            random_state=int(random.integers(2**31)),
        )
        atoms = learning.fit(patches_pv).components_
    return F.normalize(torch.from_numpy(np.asarray(atoms)), dim=1)


def dealt(atoms: Tensor, like_oikk: Tensor, random: np.random.Generator) -> Tensor:
    """Kernels that are atoms drawn at random, with either sign, in the spread that the layer's own start had."""
    outs, ins = like_oikk.shape[:2]
    drawn = torch.from_numpy(random.integers(len(atoms), size=outs * ins))
    signs = torch.from_numpy(random.choice([-1.0, 1.0], size=(outs * ins, 1)))
    kernels = (atoms[drawn] * signs).reshape(like_oikk.shape)
    return (kernels / kernels.square().mean().sqrt()).to(like_oikk) * like_oikk.square().mean().sqrt()
