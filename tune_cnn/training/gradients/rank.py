"""One rank that measures gradients between the epochs of a training, and changes nothing of it."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tune_cnn.errors import TrialError
from tune_cnn.training.data.augment import Normaliser
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.gradients.distances import Distances, FullGradient, Take, distances, full_gradient
from tune_cnn.training.gradients.fixed_net import FixedNet
from tune_cnn.training.gradients.measured import LAYER_PARTS, OF_NET, Asked, Measured
from tune_cnn.training.gradients.orders import Order, make_order
from tune_cnn.training.gradients.sheets import sheet
from tune_cnn.training.process.global_state import exact_float32
from tune_cnn.training.process.seeding import generators_state, set_generators
from tune_cnn.training.progress import PROGRESS, Doing
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.step.context import TrialContext


class GradientRank(RankTraining):
    """A rank as any other, with `measure` between `begin` and `train_epoch`, or between two epochs."""

    def __init__(self, rank: int = 0) -> None:
        super().__init__(rank)
        self._orders: dict[str, Order] = {}  # of the trial that trains, by metric

    def begin(self, job: object) -> int:
        self._orders.clear()
        return super().begin(job)  # type: ignore[arg-type]  # whatever a rank's job is

    def measure(self, epoch: int, asked: Asked) -> list[Measured]:
        """Each metric's mini-batches at the parameters as they are now, before epoch number `epoch`, from 0.

        Equal on all ranks. In float32 whatever the training's precision, images unaugmented. TrialError where a metric
        fails on the images, or a gradient is not finite.
        """
        with PROGRESS.doing(Doing.EVALUATING), self._faults(f"the gradients before epoch {epoch + 1}"), exact_float32():
            state = generators_state(self._current.context.device)
            try:
                return self._measured(epoch, asked)
            finally:
                set_generators(state, self._current.context.device)

    def sheets(self, asked: Asked, wanted: Mapping[str, Sequence[int]]) -> dict[str, list[bytes]]:
        """For each metric's mini-batches of these numbers a PNG of its first images."""
        with PROGRESS.doing(Doing.EVALUATING), self._faults("sheets of images"):
            images, found = self._current.context.images.train, {}
            net = FixedNet(self._current.model, label_smoothing=0.0)
            for metric, numbers in wanted.items():
                order = self._order(metric, asked, net)
                found[metric] = [sheet(images.fetch(order.batches[one])) for one in numbers]
            return found

    def _measured(self, epoch: int, asked: Asked) -> list[Measured]:
        context = self._current.context
        configuration, group = context.job.configuration, context.group
        group.share_buffers(self._current.model)  # as an evaluation does: no step reads them
        net = FixedNet(
            self._current.model,
            label_smoothing=configuration.label_smoothing,
            loss=configuration.loss,
            class_weights_k=context.class_weights_k,
        )
        take, found = taking(context), []
        full: FullGradient | None = None
        for metric in asked.metrics:
            order = self._order(metric, asked, net)
            if full is None or net.joins_images:
                full = full_gradient(net, order.batches, take, group)
            if full.norm == 0:
                raise TrialError("the full gradient is 0: nothing learns, and no mini-batch is nearer than another")
            apart = distances(net, full, order.batches, take, group)
            found.append(
                Measured(
                    metric=metric,
                    epoch=epoch,
                    learning_rate=self._current.learning_rate,
                    images=len(context.images.train),
                    batch_size=configuration.batch_size,
                    last_size=len(order.batches[-1]),
                    order=order.key,
                    full_norm=full.norm,
                    full_loss=full.loss,
                    values=tuple(order.values_k.tolist()),
                    class_entropy=tuple(order.class_entropy_k.tolist()),
                    l2=tuple(apart.l2_k.tolist()),
                    cosine=tuple(apart.cosine_k.tolist()),
                    norm=tuple(apart.norm_k.tolist()),
                    layers=by_parts(
                        apart, whole=len(order.batches) - (len(order.batches[-1]) != len(order.batches[0]))
                    ),
                )
            )
        return found

    def _order(self, metric: str, asked: Asked, net: FixedNet) -> Order:
        """Rank 0's, on all ranks: devices may differ in the last bit. Made once; by the net's own eyes each time."""
        if metric in self._orders and metric not in OF_NET:
            return self._orders[metric]
        context = self._current.context
        order, fault = None, None
        if context.group.rank == 0:
            try:
                order = make_order(
                    metric,
                    asked,
                    context.images.train,
                    context.job.configuration.batch_size,
                    net,
                    taking(context),
                    context.device,
                    context.job.split_seed,
                )
            except TrialError as error:
                fault = error
        order, said = context.group.share((order, None if fault is None else str(fault)))
        if said is not None:
            raise fault or TrialError(said)
        assert isinstance(order, Order)
        self._orders[metric] = order
        return order


def taking(context: TrialContext) -> Take:
    """How a mini-batch comes to the device: normalised, unaugmented, whole."""
    images, facts, device = context.images.train, context.images.facts, context.device
    normalise = Normaliser(facts.mean, facts.std, device, context.job.configuration.channels_last)

    def take(positions_n: Int64) -> Batch:
        raw_nchw = torch.from_numpy(images.fetch(positions_n, context.job.threads)).to(device)
        return Batch(normalise(raw_nchw), torch.from_numpy(images.labels_n[positions_n]).to(device))

    return take


def by_parts(apart: Distances, *, whole: int) -> dict[str, tuple[float, ...]]:
    """Each layer's mean distance over equal parts of the ranking, the first of it first."""
    parts = np.array_split(np.arange(whole), min(LAYER_PARTS, whole))
    return {layer: tuple(float(of_k[part].mean()) for part in parts) for layer, of_k in apart.layers.items()}
