"""What every trial of a study is given: its job but for what is the trial's own, and the user's code that it calls."""

from pathlib import Path

from tune_cnn.spec import StudySpec
from tune_cnn.spec.calls import LIGHTNING, is_call
from tune_cnn.spec.configuration import Configuration, is_strategy, strategy_and_knob
from tune_cnn.study.locations import Locations
from tune_cnn.training.messages import TrainingJob
from tune_cnn.trials.cluster.machines import Slots
from tune_cnn.trials.first_call import FirstCall
from tune_cnn.trials.trainable import Payload
from tune_cnn.untyped import Plain


def user_calls(spec: StudySpec) -> list[str]:
    """Every package.module:name of the user's that a spec names."""
    named = [
        spec.data.name,
        spec.model.name,
        (spec.training or "").removeprefix(LIGHTNING),
        *(m.call or "" for m in spec.metrics.values()),
    ]
    strategies = [strategy_and_knob(key)[0] for key in spec.space if is_strategy(key)]
    named += map(str, spec.dimension("optimizer").values)
    return [name for name in [*named, *strategies] if is_call(name)]


def job_template(spec: StudySpec, slots: Slots, locations: Locations) -> TrainingJob:
    """What all trials of a phase share; a trial adds its number, configuration, seed and checkpoint folder."""
    return TrainingJob(
        trial=0,
        configuration=Configuration(),
        data=spec.data,
        model=spec.model,
        metrics=spec.metrics,
        prices=spec.prices,
        training=spec.training,
        ranks=spec.resources.ranks,
        gpu_share=slots.gpu_share,
        slots_per_gpu=slots.slots_per_gpu,
        power_limit_w=slots.power_limit_w,
        cpus_per_rank=int(min(bundle["CPU"] for bundle in slots.bundles)),
        split_seed=spec.seed,
        deterministic=spec.resources.deterministic,
        capture_steps=spec.resources.capture_steps,
        cache_dir=locations.cache_dir,
        checkpoint_every_s=spec.resources.checkpoint_every_s,
    )


def payload_of(spec: StudySpec, slots: Slots, locations: Locations, first: FirstCall | None = None) -> Payload:
    return Payload(
        job=job_template(spec, slots, locations),
        coordinator=None,
        bundles=[],
        checkpoints=locations.checkpoints(spec.study),
        first=first,
        **stalls_of(spec, locations),
        **loop_of(locations),
    )


def stalls_folder(spec: StudySpec, locations: Locations) -> Path:
    """Where the stacks of trials that stood still are kept, on this machine."""
    return locations.folder(spec.study).absolute() / "stalls"


def stalls_of(spec: StudySpec, locations: Locations) -> dict[str, Plain]:
    """How long a training may stand still, and where its stacks go then, as keywords."""
    return {"stall_timeout_s": spec.resources.stall_timeout_s, "stalls": str(stalls_folder(spec, locations))}


def loop_of(locations: Locations) -> dict[str, Plain]:
    """The training loop as a keyword, where another than ours is asked for."""
    return {"loop": locations.loop} if locations.loop else {}
