"""Where a study ran: versions of what decides the result, and what the machine is."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from tune_cnn.untyped import Plain

CONFIRMED_ON = "confirmed_on"  # in a study's info: the machine that each of its points was last confirmed on
HELD_POWER = "held_power_limit_w"  # of a phase, in a study's hardware; the GPUs' own limit is not in it then
ACCELERATOR = "accelerator"  # the type that a phase runs on, in a study's hardware and in what a trial ran with
BY_TYPE = "accelerators"  # in the info of a study on several types: what was found on each
OF_PHASE = {"slots", "gpus_per_rank", HELD_POWER, ACCELERATOR}
PACKAGES = ("tune-cnn", "torch", "torchvision", "ray", "optuna", "mlflow")


def versions() -> dict[str, str]:
    """Versions here of Python and the packages that decide a result; read from metadata, nothing is imported."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def key_of(trial: int, epoch: int, there: str | None = None) -> str:
    """A confirmed point in `CONFIRMED_ON`; `there`: on a type that the study was not searched on."""
    return f"trial {trial} at epoch {epoch}" + (f" on {there}" if there is not None else "")


def machine_of(info: Mapping[str, Plain]) -> dict[str, dict[str, Plain]]:
    """Hardware and versions, of what `preflight.check` found; slots, shares and limits are a phase's, not its."""
    hardware = {k: v for k, v in info.get("hardware", {}).items() if k not in OF_PHASE}
    return {"hardware": hardware, "versions": dict(info.get("versions", {}))}


def of_phase(slots: Plain, gpu_share: Plain, power_limit_w: Plain, accelerator: Plain = None) -> dict[str, Plain]:
    """A phase as it stands in a study's hardware; a limit only where the GPUs are held at one, a type where it is
    known."""
    held = {} if power_limit_w is None else {HELD_POWER: power_limit_w}
    of_type = {} if accelerator is None else {ACCELERATOR: accelerator}
    return {"slots": slots, "gpus_per_rank": gpu_share, **held, **of_type}


def on_type(info: Mapping[str, Plain], accelerator: Plain) -> Mapping[str, Plain]:
    """A study's info as it holds on one type of accelerator; the same where it knows one alone."""
    return {**info, **info.get(BY_TYPE, {}).get(accelerator, {})}


def by_type(found: Mapping[str, Mapping[str, Plain]]) -> dict[str, dict[str, Plain]]:
    """What a study's info keeps of each type, from what `preflight.check` found on each; nothing of a single one."""
    if len(found) < 2:
        return {}
    kept = ("hardware", "versions", "context_mib")
    return {BY_TYPE: {name: {key: info[key] for key in kept} for name, info in found.items()}}


def differences(then: Mapping[str, Plain], here: Mapping[str, Plain]) -> list[str]:
    """What is not as it was, as sentences; both as `machine_of` gives them."""
    return [
        f"{name}: {was} then, {here[part][name]} here"
        for part in ("hardware", "versions")
        for name, was in then.get(part, {}).items()
        if name in here[part] and was != here[part][name]
    ]
