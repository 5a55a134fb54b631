"""What was measured of an order of the images in one epoch, as plain data and without torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from tune_cnn.untyped import Plain

CONTROL = "random"  # the order that no metric gave: mini-batches as a shuffled epoch has them
OF_IMAGES = ("intensity", "colour", "edges", "perceptual")
OF_LABELS = "class_entropy"
OF_NET = ("loss", "prediction_entropy")  # what the net makes of an image: their order is one of each measured epoch
METRICS = (*OF_IMAGES, OF_LABELS, *OF_NET)
DIGITS = 6  # that are kept of a number: float32 gradients have hardly more
LAYER_PARTS = 10  # equal parts of the ranking, of each of which a layer's mean is kept


@dataclass(frozen=True, kw_only=True)
class Asked:
    """By what the images are ordered, and how the metrics that need it see."""

    metrics: tuple[str, ...]  # names of ours, package.module:name, or CONTROL
    backbone: str = "alexnet"  # of `perceptual`
    pretrained: bool = True


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One order's mini-batches in one epoch, from the first of the ranking to the last.

    All gradients are of the loss's mean over a mini-batch, at the parameters that the epoch began with. The full
    gradient is the mean over all images, each mini-batch weighing as many images as it has.
    """

    metric: str
    epoch: int  # from 0
    learning_rate: float  # of the epoch's first step
    images: int
    batch_size: int
    last_size: int  # images of the last mini-batch, which may be fewer or a few more
    order: str  # a hash of the images' order
    full_norm: float  # Euclidean length of the full gradient
    full_loss: float  # mean over all images
    values: tuple[float, ...]  # the metric's mean over each mini-batch's images
    class_entropy: tuple[float, ...]  # of each mini-batch's labels, nat
    l2: tuple[float, ...]  # |g - G|
    cosine: tuple[float, ...]  # 1 - cos(g, G); 1 where a mini-batch's gradient is 0
    norm: tuple[float, ...]  # |g|
    layers: Mapping[str, tuple[float, ...]]  # by layer, |g - G| / |G| of the layer alone: means of ten parts in order

    def as_dict(self) -> dict[str, Plain]:
        plain = asdict(self)
        for name in ("values", "class_entropy", "l2", "cosine", "norm"):
            plain[name] = [_short(value) for value in plain[name]]
        plain["layers"] = {layer: [_short(value) for value in values] for layer, values in self.layers.items()}
        return plain

    @classmethod
    def of(cls, plain: Mapping[str, Plain]) -> "Measured":
        listed: dict[str, Plain] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()
        }
        layers = {layer: tuple(values) for layer, values in plain["layers"].items()}
        return cls(**{**listed, "layers": layers})

    @property
    def whole(self) -> int:
        """Mini-batches of the usual size: a smaller one is farther from the whole by its size alone."""
        return len(self.l2) - (self.last_size != self.batch_size)


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
