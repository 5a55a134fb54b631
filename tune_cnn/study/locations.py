"""Where a search works, and what of its spec every trial gets."""

import os
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.spec import StudySpec
from tune_cnn.spec.configuration import Configuration, is_strategy, strategy_and_knob
from tune_cnn.study.hints import NextCommands
from tune_cnn.training.messages import TrainingJob
from tune_cnn.trials.cluster import Slots
from tune_cnn.trials.first_call import FirstCall
from tune_cnn.trials.trainable import Payload
from tune_cnn.untyped import Plain

CACHE = "~/.cache/tune_cnn"


@dataclass(frozen=True, kw_only=True)
class Locations:
    """Where a search works."""

    home: Path
    tracking_uri: str
    address: str | None = None
    storage: str | None = None  # checkpoints: a folder that all nodes share, or a URI; default: in the home
    loop: str | None = None  # another training than ours, package.module:Class
    debug: bool = False

    @property
    def cache_dir(self) -> str:
        return os.environ.get("TUNE_CNN_CACHE", CACHE)

    def commands(self, study: str) -> NextCommands:
        return NextCommands(
            study=study, home=self.home, tracking_uri=self.tracking_uri, address=self.address, storage=self.storage
        )

    def folder(self, study: str) -> Path:
        return self.home / study

    def checkpoints(self, study: str) -> str:
        root = self.storage or str(self.home.absolute())
        return f"{root.rstrip('/')}/{study}/checkpoints"


def user_calls(spec: StudySpec) -> list[str]:
    """Every package.module:name of the user's that a spec names."""
    named = [spec.data.name, spec.model.name, spec.training or "", *(m.call or "" for m in spec.metrics.values())]
    strategies = [strategy_and_knob(key)[0] for key in spec.space if is_strategy(key)]
    return [name for name in [*named, *strategies] if ":" in name]


def job_template(spec: StudySpec, slots: Slots, locations: Locations) -> TrainingJob:
    """What all trials of a phase share; a trial adds its number, configuration, seed and checkpoint folder."""
    return TrainingJob(
        trial=0,
        configuration=Configuration(),
        data=spec.data,
        model=spec.model,
        metrics=spec.metrics,
        training=spec.training,
        ranks=spec.resources.ranks,
        gpu_share=slots.gpu_share,
        slots_per_gpu=slots.slots_per_gpu,
        cpus_per_rank=int(min(bundle["CPU"] for bundle in slots.bundles)),
        split_seed=spec.seed,
        deterministic=spec.resources.deterministic,
        cache_dir=locations.cache_dir,
        checkpoint_every_s=spec.resources.checkpoint_every_s,
    )


def payload_of(spec: StudySpec, slots: Slots, locations: Locations, first: FirstCall | None = None) -> Payload:
    loop: dict[str, Plain] = {"loop": locations.loop} if locations.loop else {}
    job = job_template(spec, slots, locations)
    return Payload(
        job=job, coordinator=None, bundles=[], checkpoints=locations.checkpoints(spec.study), first=first, **loop
    )
