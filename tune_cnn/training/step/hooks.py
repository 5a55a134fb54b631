"""What may act within a training step; here nothing does."""

from torch import Tensor

from tune_cnn.training.data.loaders.batch import Batch


class StepHooks:
    """The places of a step at which strategies act: `strategies.framework.applied` fills them."""

    @property
    def see_gradients(self) -> bool:
        """Whether gradients must be unscaled for them."""
        return False

    def batch(self, batch: Batch) -> Batch:
        """A step's images and labels as the model is to see them."""
        return batch

    @property
    def see_losses(self) -> bool:
        """Whether the loss of each image is wanted, and not only their mean."""
        return False

    def joined(self, losses_n: Tensor) -> Tensor:
        """The step's cross-entropy, of that of its images."""
        return losses_n.mean()

    def penalised(self, loss: Tensor) -> Tensor:
        """What the step minimises."""
        return loss

    def after_backward(self) -> None:
        """Between backward and step."""

    def after_step(self) -> None:
        """After the optimizer's step."""
