"""One rank of training, warm from trial to trial."""

import atexit
import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch._dynamo  # every optimizer imports it when it is made: here the slots do, all at once and off any clock
from torch import Tensor

from tune_cnn.errors import DeviceLost, PeerLost, TrialError
from tune_cnn.training.between_steps import Leaving
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.loaders.device import ResidentSets
from tune_cnn.training.data.operations.view import View
from tune_cnn.training.export.program import export
from tune_cnn.training.images_for_model import prepare_for
from tune_cnn.training.messages import EpochResult, LeftEpoch, Program, TrainingJob
from tune_cnn.training.meters.device_errors import DeviceErrors
from tune_cnn.training.meters.meters import Meters
from tune_cnn.training.models.facts import ModelFacts
from tune_cnn.training.models.registry import check_model
from tune_cnn.training.power.holding import check_power_limit
from tune_cnn.training.process.compiling import set_up_compiler
from tune_cnn.training.process.faults import trial_faults
from tune_cnn.training.process.global_state import reset_global_state
from tune_cnn.training.process.malloc import give_back_freed_memory, keep_freed_memory
from tune_cnn.training.process.memory_cap import cap_memory
from tune_cnn.training.process.process_group import ProcessGroup
from tune_cnn.training.progress import PROGRESS, Doing
from tune_cnn.training.step.context import TrialContext
from tune_cnn.training.step.evaluation import evaluate
from tune_cnn.training.step.precision import PRECISIONS, supported_precisions
from tune_cnn.training.strategies.framework.training_run import Change
from tune_cnn.training.trial import Trial

_log = logging.getLogger(__name__)
JOIN_TIMEOUT_S = 600.0  # ranks start together; importing torch on a cold network disk takes minutes
# Of a gloo collective: none ends a wait that the watch over the ranks (trials.stalls) allows, which knows what each
# does: rank 0 may be in the user's metrics while the others wait for it.
COLLECTIVE_S = 86400.0


class RankTraining:
    """One process of a trial's group. Lives as long as its process, and each trial begins as in a fresh one.

    So a trial computes the same bits wherever it runs on a CPU, and on a GPU where it is `deterministic`; else a GPU's
    kernels add in any order, and cuDNN chooses among them by timing.

    `join` once, then for each trial `begin`, `train_epoch` until done, and whatever else is wanted, then `end`. All but
    `weights`, `end` and `abort` must be called on all ranks alike. A trial's own faults are raised as TrialError
    (OutOfMemory among them), a lost peer as PeerLost, a broken device as DeviceLost; anything else means that this
    process is of no more use.
    """

    def __init__(self, rank: int = 0) -> None:
        keep_freed_memory()
        self._group = ProcessGroup(rank)
        self._resident = ResidentSets()
        self._prepared: tuple[str, ImageSets] | None = None
        self._model_facts: dict[str, ModelFacts] = {}
        self._context_now: TrialContext | None = None
        self._trial: Trial | None = None
        self._leaving = Leaving()
        self._device_errors: DeviceErrors | None = None
        self._modules = 0  # that were imported when their objects were last set aside

    def listen(self, host: str) -> str:
        """On rank 0: an `init_method` for all ranks to `join`, once."""
        return self._group.listen(host)

    def join(self, *, ranks: int, init_method: str, cuda: bool, timeout_s: float = JOIN_TIMEOUT_S) -> None:
        """Form the group that the trials to come train in, or keep it where it stands already.

        timeout_s: the longest that a rank waits for the others to come. After an abort all ranks must join again,
        under another `init_method`, which rank 0's `listen` gives.
        """
        with PROGRESS.doing(Doing.JOINING), trial_faults("joining the ranks"):
            self._group.join(
                ranks=ranks, init_method=init_method, cuda=cuda, timeout_s=timeout_s, collective_timeout_s=COLLECTIVE_S
            )

    def begin(self, job: TrainingJob) -> int:
        """Make everything anew for a trial; the number of epochs that its newest checkpoint has already trained."""
        PROGRESS.begin(compiles=job.configuration.compile)
        self.end()
        self._leaving.forget()
        assert self._group.ranks == job.ranks, "join the group of all ranks before the trial"
        self._set_imports_aside()
        try:
            with PROGRESS.doing(Doing.STARTING), self._faults("start of the training"):
                context = self._context_now = self._context(job)
                facts = self._facts_of_model(job, context.images) if job.training is None else None
                self._trial = Trial(context, facts, self._leaving)
                return self._trial.resume()
        except BaseException:
            self.end()
            raise

    def history(self) -> list[EpochResult]:
        """What the epochs so far gave, those before the resume among them."""
        return self._current.history()

    def train_epoch(self) -> EpochResult | LeftEpoch:
        """Train one epoch, evaluate it, write checkpoints where they are due; equal on all ranks.

        A LeftEpoch where rank 0 was told to `leave`: there is nothing more to train then before the next `begin`.
        """
        with PROGRESS.doing(Doing.TRAINING), self._faults("training"):
            return self._current.train_epoch()

    def leave(self, *, within_s: float = 0.0) -> None:
        """On rank 0, from another thread: have `train_epoch` write a checkpoint at the trial's next step and return.

        An epoch that ends within so many seconds is trained to its end first, and the next one is left before it
        begins. The user's own training has no steps that we know of: it is left between epochs. What was told before
        `begin` is of the trial before.
        """
        self._leaving.ask(within_s)

    def probe(self, steps: int) -> tuple[dict[str, float], int]:
        """What some steps and one evaluation cost, and the steps of an epoch; `end` the trial afterwards."""
        with PROGRESS.doing(Doing.STARTING), self._faults("probe"):
            return self._current.probe(steps)

    def checkpoint(self) -> str | None:
        """Write a checkpoint now; its path, or None where the trial has no folder or can't be resumed here."""
        with PROGRESS.doing(Doing.CHECKPOINTING), self._faults("checkpoint"):
            return self._group.share(self._current.write_checkpoint()) or None

    def weights(self) -> dict[str, Tensor]:
        """The model's state on the CPU, each tensor with memory of its own, as safetensors wants them."""
        state = self._current.model.state_dict()
        return {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()
        }

    def program(self) -> Program:
        """The model as it is, as a program that needs none of our code; TrialError where it can't be one."""
        context = self._current.context
        with PROGRESS.doing(Doing.CHECKPOINTING), self._faults("export"), self._current.off_the_clock():
            view = View.of(context.job.configuration)
            return export(self._current.model, context.images.facts, context.images.test, context.device, view)

    def changes(self) -> list[Change]:
        """What turns the factory's model into the one that `weights` is of; none where no strategy has changed it."""
        return self._current.changes

    def test(self) -> dict[str, float]:
        """test_accuracy and test_loss of the model as it is, on the test split.

        Nothing where the user's own training has not shown its model.
        """
        if not self._current.shows_model:
            return {}
        with PROGRESS.doing(Doing.EVALUATING), self._faults("test"):
            context = self._current.context
            result = evaluate(self._current.model, context, context.images.test)
            return {"test_accuracy": result.accuracy, "test_loss": result.loss}

    def end(self) -> None:
        """Free what the trial holds: model, optimizer, loader processes, memory. Idempotent."""
        trial, self._trial = self._trial, None
        context, self._context_now = self._context_now, None
        if context is None:
            return
        try:
            if trial is not None:
                trial.close()
        except TrialError as error:
            _log.warning("%s", error)  # the trial is over, whatever its generator does as it closes
        finally:
            context.close()
        del trial, context
        gc.collect()  # a model in a reference cycle would keep its memory
        give_back_freed_memory()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _set_imports_aside(self) -> None:
        """Between trials, while none's objects live: what the imported modules hold needs no garbage collection.

        They are some 350,000 objects, through which each of a trial's collections would go: 0.17 s. The second trial
        sets aside what the first one imported, and then hardly anything is imported any more.
        """
        if len(sys.modules) != self._modules:
            gc.collect()
            gc.freeze()
            atexit.unregister(gc.unfreeze)
            atexit.register(gc.unfreeze)  # else extension modules take them for leaks, and say so on stderr
            self._modules = len(sys.modules)

    def abort(self) -> None:
        """From another thread: end a collective in which this rank waits for a peer that has died or given up.

        The waiting call raises PeerLost. All ranks must join again. May never return; see `ProcessGroup.abort`.
        """
        self._group.abort()

    @property
    def _current(self) -> Trial:
        assert self._trial is not None, "begin comes first"
        return self._trial

    @contextmanager
    def _faults(self, doing: str) -> Iterator[None]:
        try:
            with trial_faults(doing):
                yield
            self._group.check()
        except DeviceLost as error:
            told = self._device_errors.in_words() if self._device_errors is not None else None
            raise DeviceLost(f"{error}; {told}" if told is not None else str(error)) from error
        except Exception as error:
            if self._group.aborted and not isinstance(error, PeerLost):
                raise PeerLost(f"{doing}: the group was aborted: {error}") from error
            raise

    def _context(self, job: TrainingJob) -> TrialContext:
        configuration = job.configuration
        device = torch.device("cuda", torch.cuda.current_device()) if job.gpu_share > 0 else torch.device("cpu")
        reset_global_state(
            seed=job.seed, precision=configuration.precision, deterministic=job.deterministic, threads=job.threads
        )
        if self._device_errors is None and device.type == "cuda":
            self._device_errors = DeviceErrors.watched(str(torch.cuda.get_device_properties(device).uuid))
        if job.power_limit_w is not None and device.type == "cuda":
            check_power_limit(str(torch.cuda.get_device_properties(device).uuid), job.power_limit_w)
        set_up_compiler(cache_dir=job.cache_dir, threads=job.cpus_per_rank)
        cap_memory(device, share=job.gpu_share, slots=job.slots_per_gpu, context_mib=job.context_mib)
        supported = supported_precisions(device.type == "cuda")
        if configuration.precision not in supported:
            raise TrialError(
                f"precision {configuration.precision}: this {device.type} device has {', '.join(sorted(supported))}"
            )
        return TrialContext(
            job=job,
            group=self._group,
            device=device,
            images=self._images(job),
            resident=self._resident,
            precision=PRECISIONS[configuration.precision],
            meters=Meters(device, gpu_share=job.gpu_share),
        )

    def _images(self, job: TrainingJob) -> ImageSets:
        said = f"{job.data.model_dump_json()} {job.model.model_dump_json()}"
        key = f"{said} {job.split_seed} {job.cache_dir} {job.all_data}"
        if self._prepared is None or self._prepared[0] != key:
            images = prepare_for(
                job.model, job.data, split_seed=job.split_seed, cache_dir=job.cache_dir, all_data=job.all_data
            )
            self._prepared = (key, images)
        images = self._prepared[1]
        if job.data_key not in (None, images.facts.key):
            raise TrialError(
                f"data: the images that {job.data.name} gives in this process are not those that the study decided on: "
                "other ones, another split or another order; its code must give the same in every process and on every "
                "node (seeds for what is drawn, sorted() for what is listed or taken from a set)"
            )
        return images

    def _facts_of_model(self, job: TrainingJob, images: ImageSets) -> ModelFacts:
        """Of equal models measured once: it takes up to a second."""
        arguments, facts = job.configuration.model, images.facts
        key = f"{job.model.model_dump_json()} {sorted(arguments.items())!r} {facts.image_shape} {facts.num_classes}"
        if key not in self._model_facts:
            self._model_facts[key] = check_model(
                job.model.name,
                num_classes=facts.num_classes,
                in_channels=facts.in_channels,
                image_size=facts.image_size,
                weights=job.model.weights,
                arguments=arguments,
            )
        return self._model_facts[key]
