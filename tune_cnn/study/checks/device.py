"""The GPU that was found, held against the spec: its memory, its mode, its meters, and who else is on it."""

from tune_cnn.errors import ResourceError
from tune_cnn.spec import StudySpec
from tune_cnn.spec.prices import measured_by
from tune_cnn.training.messages import DeviceFound
from tune_cnn.training.process.memory_share import CONTEXT_MIB, memory_fraction
from tune_cnn.trials.cluster.machines import Slots, slots_on_a_gpu


def check_device(spec: StudySpec, slots: Slots, device: DeviceFound) -> list[str]:
    """ResourceError where trials of a phase can't train on it; notes on what the user should know of it."""
    if not slots.gpu_share:
        return list(device.notes)
    shares = [phase.gpus_per_rank or slots.gpu_share for phase in spec.resources.phases]
    for share in {slots.gpu_share, *shares} - {0}:
        _check_mode(device, share)
        _check_memory(device, share)
    _check_meters(spec, device)
    return [*device.notes, *_notes(device, share=slots.gpu_share)]


def _check_mode(device: DeviceFound, share: float) -> None:
    if device.compute_mode == "prohibited":
        raise ResourceError(
            f"resources: {device.name} takes no computing (compute mode prohibited); allow it (nvidia-smi -c 0)"
        )
    if device.compute_mode == "exclusive" and slots_on_a_gpu(share) > 1 and not device.has_mps:
        raise ResourceError(
            f"resources.gpus_per_rank: {share:g} puts {slots_on_a_gpu(share)} processes on {device.name}, which is in "
            "exclusive compute mode and takes one; set it to default (nvidia-smi -c 0), start NVIDIA's MPS daemon, "
            "or set gpus_per_rank: 1"
        )


def _check_memory(device: DeviceFound, share: float) -> None:
    if device.total_mib is None or share == 1:
        return
    slots, context_mib = slots_on_a_gpu(share), device.context_mib or CONTEXT_MIB
    if memory_fraction(share, total_mib=device.total_mib, slots=slots, context_mib=context_mib) == 0:
        raise ResourceError(
            f"resources.gpus_per_rank: {share:g} puts {slots} processes on {device.name}, whose contexts alone take "
            f"{slots} times {context_mib:,.0f} MiB of its {device.total_mib:,.0f} MiB, so nothing is left to train "
            "in; set a larger share"
        )


def _check_meters(spec: StudySpec, device: DeviceFound) -> None:
    for key, names in (("objectives", spec.objectives), ("constraints", list(spec.constraints))):
        for name in names:
            measured = measured_by(name, spec.prices)
            if measured in device.unmeasured:
                what = name if measured == name else f"{name} is reckoned from {measured}, which"
                raise ResourceError(
                    f"{key}: {what} can't be measured on {device.name}: "
                    f"{device.unmeasured[measured]}; choose another metric, or a GPU that has it"
                )


def _notes(device: DeviceFound, *, share: float) -> list[str]:
    notes = []
    if device.has_mps and share < 1:
        notes.append(
            f"NVIDIA's MPS daemon runs: {slots_on_a_gpu(share)} trials compute on {device.name} at the same time, each "
            f"on {share:.0%} of its SMs"
        )
    if device.others is not None:
        notes.append(
            f"{device.name}: {device.others} before any trial, which are then slower and have less memory than on a "
            "GPU of their own"
        )
    if share == 1:  # of a share nothing of this is measured anywhere
        by_reason: dict[str, list[str]] = {}
        for name, why in device.unmeasured.items():
            by_reason.setdefault(why, []).append(name)
        notes += [f"{device.name} gives no {', '.join(names)}: {why}" for why, names in by_reason.items()]
    return notes
