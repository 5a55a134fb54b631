"""One configuration trained alone on its resources: what `train` does with an export."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tune_cnn.errors import TrialError
from tune_cnn.training.job import EpochResult, TrainingJob
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.cluster import Slots
from tune_cnn.trials.code import add_import_folders, import_folders
from tune_cnn.trials.ranks import TRAINING, RankGroup

import ray  # isort: skip
from ray.exceptions import RayActorError, RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

PACK = "tune_cnn.training.weights:pack"


@ray.remote
class SoloActor:
    """Rank 0 and, through it, all ranks of one training."""

    def __init__(
        self, path: str, job: TrainingJob, bundles: Sequence[Mapping[str, float]], folders: Sequence[str]
    ) -> None:
        add_import_folders(folders)
        self._group = RankGroup(path, ranks=job.ranks, cuda=job.gpu_share > 0, bundles=bundles, import_folders=folders)

    def call(self, method: str, *args: Any) -> Any:
        return self._group.call(method, *args)

    def packed_weights(self) -> bytes:
        """The model's weights as the bytes of a safetensors file."""
        from importlib import import_module  # torch lives in this process, not in the driver

        module, _, name = PACK.partition(":")
        packed: bytes = getattr(import_module(module), name)(self._group.call("weights"))
        return packed


@contextmanager
def solo(job: TrainingJob, slots: Slots, *, loop: str = TRAINING) -> Iterator["Solo"]:
    """Ranks of a training in a placement group of their own; ended when the block ends. Needs Ray connected."""
    group = placement_group([dict(bundle) for bundle in slots.bundles], strategy="PACK")
    ray.get(group.ready())
    first = slots.bundles[0]
    strategy = PlacementGroupSchedulingStrategy(
        group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
    )
    actor = SoloActor.options(  # type: ignore[attr-defined]
        num_cpus=first["CPU"], num_gpus=first.get("GPU", 0), scheduling_strategy=strategy
    ).remote(loop, job, list(slots.bundles), import_folders())
    try:
        yield Solo(actor)
    finally:
        ray.kill(actor)
        remove_placement_group(group)


class Solo:
    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def train(self, job: TrainingJob, told: Callable[[EpochResult], None]) -> EpochResult | None:
        """Train to the job's last epoch, telling of each; the last one (None where a checkpoint was there already)."""
        done = self._get(self._actor.call.remote("begin", job))
        result: EpochResult | None = None
        while done < job.last_epoch:
            result = self._get(self._actor.call.remote("train_epoch"))
            assert result is not None
            told(result)
            done = result.epoch
            if result.done:
                break
        return result

    def test(self) -> dict[str, float]:
        return dict(self._get(self._actor.call.remote("test")))

    def weights(self) -> bytes:
        packed: bytes = self._get(self._actor.packed_weights.remote())
        return packed

    def _get(self, ref: Any) -> Any:
        try:
            return ray.get(ref)
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        except RayActorError as error:
            raise TrialError(f"the training's process was lost: {str(error).splitlines()[0]}") from None
