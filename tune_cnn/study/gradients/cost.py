"""What measuring costs, in epochs of the training: said before."""

from dataclasses import dataclass

from tune_cnn.training.gradients.measured import OF_NET

FORWARD = 1 / 3  # of a step's work


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Over all images, for each measured epoch."""

    gradients: int  # forward and backward
    forward: int

    @property
    def epochs(self) -> float:
        """In epochs of the training, which each of these passes costs about, or a third of one."""
        return self.gradients + FORWARD * self.forward


def passes(orders: tuple[str, ...], *, joins_images: bool) -> Passes:
    """joins_images: batch normalisation makes an image's gradient depend on those beside it, so each order has a full
    gradient of its own; else one serves all."""
    full = len(orders) if joins_images else 1
    return Passes(gradients=full + len(orders), forward=sum(order in OF_NET for order in orders))


def in_words(of: Passes, *, measured: int, epochs: int) -> str:
    """A line for the user."""
    forward = f" and {of.forward} without gradients" if of.forward else ""
    times = (epochs + measured * of.epochs) / epochs
    return (
        f"{measured} of {epochs} epochs are measured, each by {of.gradients} passes over all images{forward}: such an "
        f"epoch costs some {1 + of.epochs:.1f} of the training's, the whole some {times:.1f} times the training"
    )
