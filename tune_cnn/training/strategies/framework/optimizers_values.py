"""What is evaluated where the optimizer itself keeps averaged weights: they, and running statistics for them."""

from torch import Tensor

from tune_cnn.training.step.optimizers.averaging import averaged_weights
from tune_cnn.training.strategies.framework.running_statistics import refreshed, some_images, tracking
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.training.strategies.framework.values import holding


def evaluated_by_optimizer(run: TrainingRun) -> dict[str, Tensor]:
    """By name; nothing where the weights that learn are those to evaluate.

    No step has normalised with an average's activations, so its statistics are taken anew from training images, as the
    authors of schedule-free optimizers ask for (https://github.com/facebookresearch/schedule_free).
    """
    averaged = averaged_weights(run.model, run.optimizer)
    if averaged and tracking(run.model):
        with holding(run.model, averaged):
            averaged |= refreshed(run.model, some_images(run))
    return averaged
