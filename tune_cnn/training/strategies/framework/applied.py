"""The strategies of one trial as the loop calls them."""

from collections.abc import Mapping

from torch import Tensor

from tune_cnn.spec.strategies import in_order
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.step.hooks import StepHooks
from tune_cnn.training.strategies.framework.optimizers_values import evaluated_by_optimizer
from tune_cnn.training.strategies.framework.registry import cards_of, find_strategy
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.training.strategies.framework.values import put_values
from tune_cnn.untyped import Plain


class AppliedStrategies(StepHooks):
    """Those that are on, in `Site`'s order. A step pays only for the hooks that one of them has."""

    def __init__(self, run: TrainingRun, on: Mapping[str, Mapping[str, Plain]]) -> None:
        """on: the knobs of each, by its name."""
        self._run = run
        names = in_order(on, cards_of(on))
        self._all: dict[str, Strategy] = {name: find_strategy(name)(**on[name]) for name in names}
        run.strategies = self._all
        self._order = self._having("order")
        self._batch = self._having("batch")
        self._penalty = self._having("penalty")
        self._joined = self._having("joined")
        self._after_backward = self._having("after_backward")
        self._after_step = self._having("after_step")
        self._evaluated = self._having("evaluated")
        resume = self._having("resume_epoch")
        # The names of those that don't say how to go on within an epoch.
        self.only_between_epochs = [one.name for one in self._having("start_epoch") if one not in resume]

    def _having(self, hook: str) -> list[Strategy]:
        return [one for one in self._all.values() if getattr(type(one), hook) is not getattr(Strategy, hook)]

    def __bool__(self) -> bool:
        return bool(self._all)

    @property
    def orders(self) -> bool:
        """Whether the order of the images is one of ours."""
        return bool(self._order)

    @property
    def not_capturable(self) -> list[str]:
        """The names of those that do in a step what can't be recorded and replayed."""
        return [name for name, one in self._all.items() if not one.capturable]

    @property
    def leave_unused(self) -> bool:
        """Whether there are steps in which some parameters get no gradient."""
        return any(one.leaves_unused for one in self._all.values())

    @property
    def see_losses(self) -> bool:
        """Whether one of them wants the loss of each image."""
        return bool(self._joined)

    @property
    def see_gradients(self) -> bool:
        """Whether gradients must be unscaled for them."""
        return bool(self._after_backward)

    def prepare(self) -> None:
        for one in self._all.values():
            one.prepare(self._run)

    def start_epoch(self, epoch: int) -> None:
        self._run.epoch = epoch
        for one in self._all.values():
            one.start_epoch(self._run, epoch)

    def resume_epoch(self, epoch: int) -> None:
        self._run.epoch = epoch
        for one in self._all.values():
            one.resume_epoch(self._run, epoch)

    def order(self, epoch: int, positions_n: Int64) -> Int64:
        for one in self._order:
            positions_n = one.order(self._run, epoch, positions_n)
        return positions_n

    def batch(self, batch: Batch) -> Batch:
        for one in self._batch:
            batch = one.batch(self._run, batch)
        return batch

    def joined(self, losses_n: Tensor) -> Tensor:
        """Sites let one strategy at most weigh the images; the others look on."""
        means = [one.joined(self._run, losses_n) for one in self._joined]
        return means[0] if means else losses_n.mean()

    def penalised(self, loss: Tensor) -> Tensor:
        """The cross-entropy and every penalty."""
        terms = [one.penalty(self._run, loss) for one in self._penalty]
        return loss + sum(term for term in terms if term is not None) if terms else loss

    def after_backward(self) -> None:
        for one in self._after_backward:
            one.after_backward(self._run)

    def after_step(self) -> None:
        for one in self._after_step:
            one.after_step(self._run)
        self._run.step += 1

    def end_epoch(self, *, last: bool) -> dict[str, Tensor]:
        """What of the model's state is another where it is evaluated; after the last epoch the model holds it."""
        for one in self._all.values():
            one.end_epoch(self._run)
        values = self._values_to_evaluate()
        if not last:
            return values
        put_values(self._run.model, values)
        for one in self._all.values():
            one.finish(self._run)
        return {}

    def _values_to_evaluate(self) -> dict[str, Tensor]:
        averaged = evaluated_by_optimizer(self._run)
        if not self._evaluated and not averaged:
            return {}
        own = self._run.model.state_dict()
        values: Mapping[str, Tensor] = {**own, **averaged}
        for one in self._evaluated:
            values = one.evaluated(self._run, values)
        return {name: value for name, value in values.items() if value is not own[name]}

    def metrics(self) -> dict[str, float]:
        self._run.settle_passes()
        return {name: value for one in self._all.values() for name, value in one.metrics(self._run).items()}
