"""A training whose steps are measured: as they are, on a resident batch, on half of it, without the other ranks."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from time import perf_counter

from torch.nn.parallel import DistributedDataParallel

from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.data.loaders.through_dataloader import PREFETCH
from tune_cnn.training.loop import new_sums, train_steps
from tune_cnn.training.meters.clock import synchronize
from tune_cnn.training.profiling.other_work import ready_but_waiting_s, taken_pct
from tune_cnn.training.profiling.pace import LEAST_STEPS, Pace, Then
from tune_cnn.training.progress import PROGRESS, Doing
from tune_cnn.training.step.evaluation import evaluate
from tune_cnn.training.supervised import SupervisedTraining

WARM_UP_STEPS = 3  # the first steps fill caches and start fetching
SMALL_RATE = 1e-6  # on one batch over and over: what is learned is of no use, but it must stay finite


@dataclass(frozen=True, kw_only=True)
class LoaderAlone:
    """What this rank's loader delivers while nothing is trained."""

    images_per_s: float
    batch: Batch  # a whole one


class MeasuredTraining(SupervisedTraining):
    """One configuration on one rank; every method is called by all ranks alike, and each starts the meters anew.

    Only the first epoch is measured, over and over: what a strategy makes of the net later is not.
    """

    _taken_pct: float | None = None  # of the last stretch

    def steps_as_trained(self, least_s: float) -> dict[str, float]:
        """This rank's meters over so many seconds of training as it is, the turns of short epochs with it."""
        with self._on_the_clock(self._warm_up_steps, least_s) as after_step:
            while not self._train(0, leave=lambda step, of: after_step()).left:
                pass
        return self._read()

    def loader_alone(self, least_s: float) -> LoaderAlone:
        """The loader is of no more use afterwards: its processes end, so that they disturb nothing that follows.

        Ranks don't wait for each other here.
        """
        device, images, batches, whole = self._context.device, 0, 0, None
        warm_up, begun_s, now_s = self._warm_up_steps, 0.0, 0.0
        while batches < warm_up + LEAST_STEPS or now_s - begun_s < least_s:
            for batch in self._loader.epoch(0):
                batches += 1
                if whole is None or len(batch.labels_n) > len(whole.labels_n):
                    whole = batch
                if batches <= warm_up:
                    synchronize(device)
                    begun_s = perf_counter()
                    continue
                images += len(batch.labels_n)
                now_s = perf_counter()
                if batches >= warm_up + LEAST_STEPS and now_s - begun_s >= least_s:
                    break
        synchronize(device)
        took_s = perf_counter() - begun_s
        assert whole is not None
        resident = Batch(*(part.clone() for part in whole))
        self._loader.close()
        return LoaderAlone(images_per_s=images / took_s, batch=resident)

    def resident_steps(self, batch: Batch, least_s: float, *, with_others: bool = True) -> dict[str, float]:
        """This rank's meters over so many seconds of the same step on this one batch: nothing is waited for.

        with_others: gradients are averaged over the ranks; else each rank keeps its own, and the net is worth nothing
        afterwards.
        """
        state = self._train_state
        state.learning_rate = lambda step: SMALL_RATE
        model = state.model
        apart = model.no_sync() if not with_others and isinstance(model, DistributedDataParallel) else nullcontext()
        with apart, self._on_the_clock(WARM_UP_STEPS, least_s) as after_step:
            train_steps(
                state,
                _again_and_again(batch),
                self._context.meters,
                self._strategies,
                new_sums(state),
                first_step=0,
                captured=self._captured,
                leave=after_step,
            )
        return self._read()

    @property
    def replays_steps(self) -> bool:
        """Whether steps are one CUDA graph: only batches of the sizes of an epoch's are."""
        return self._captured is not None

    def evaluate_once(self) -> None:
        """One evaluation on the validation split, counted in eval_time_s."""
        with self._context.timed("eval_time_s"):
            evaluate(self.model, self._context, self._context.images.validation)

    @property
    def _warm_up_steps(self) -> int:
        """Until the batches that loader processes had ready at the start are used up."""
        return WARM_UP_STEPS + PREFETCH * self._context.job.configuration.loader_workers

    def _read(self) -> dict[str, float]:
        """The meters, and what other work on the machine took of the time."""
        found = self._context.meters.read()
        return found if self._taken_pct is None else {**found, "taken_pct": self._taken_pct}

    @contextmanager
    def _on_the_clock(self, warm_up: int, least_s: float) -> Iterator[Callable[[], bool]]:
        """Gives what is to be asked after each step: whether it was the last. The meters run after the warm-up."""
        context, meters = self._context, self._context.meters
        pace = Pace(context.group, warm_up=warm_up, least_s=least_s)
        begun_s, waiting_s = 0.0, None
        with PROGRESS.doing(Doing.TRAINING), ExitStack() as stretch:

            def after_step() -> bool:
                nonlocal begun_s, waiting_s
                then = pace.after_step()
                if then is Then.GO_ON:
                    return False
                synchronize(context.device)
                pace.look()
                if then is Then.BEGIN:
                    pace.decided()
                    meters.begin()
                    stretch.enter_context(meters.training())
                    begun_s, waiting_s = perf_counter(), ready_but_waiting_s()
                else:
                    with meters.paused():
                        then = pace.decided()
                pace.go_on()
                return then is Then.END

            yield after_step
            self._taken_pct = taken_pct(waiting_s, ready_but_waiting_s(), perf_counter() - begun_s)


def _again_and_again(batch: Batch) -> Iterator[Batch]:
    while True:
        PROGRESS.moved()
        yield batch
