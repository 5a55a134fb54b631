"""The machines: connect to Ray, say what there is, and work out how many trials fit at a time."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from tune_cnn.errors import ResourceError
from tune_cnn.spec import Resources
from tune_cnn.spec.resources import Phase
from tune_cnn.trials import ray_settings  # (before ray)
from tune_cnn.trials.cluster.address import check_address
from tune_cnn.trials.cluster.code import add_import_folders, code_folders
from tune_cnn.trials.cluster.joining import carried_code, joined
from tune_cnn.trials.cluster.ray_output import kept_off_stdout
from tune_cnn.trials.nodes.placing import placed
from tune_cnn.untyped import Plain

import ray  # isort: skip

TYPE = "accelerator_type:"  # begins the name of the resource by which Ray tells a node's type of accelerator


@dataclass(frozen=True, kw_only=True)
class Slots:
    """How trials fit onto the hardware."""

    count: int  # trials at a time
    bundles: tuple[dict[str, float], ...]  # of one trial: one for each rank
    gpu_share: float  # of one device, for each rank
    slots_per_gpu: int
    power_limit_w: float | None = None  # at which the GPUs are held; None: as it is
    accelerator: str | None = None  # type of the nodes' accelerators, by Ray; None: not known, or a CPU trains
    nodes: int = 1  # over which they are spread
    packed: bool = True  # a trial's ranks share a node; False: no node holds them, so all trials' ranks spread

    @property
    def strategy(self) -> str:
        """Of a trial's placement group, in Ray's word: never one trial on a node and the next over several.

        Gradients travel every step, so the times of the two don't compare.
        """
        return "STRICT_PACK" if self.packed else "PACK"


@contextmanager
def connected(
    address: str | None,
    *,
    code: Sequence[str],
    calls: Sequence[str],
    leave_out: Sequence[str] = (),
    quiet: bool = True,
) -> Iterator[None]:
    """Be connected to Ray: to a cluster, to one that this process has joined already, or to one started here.

    A Ray started here ends, with its session folder, when the block ends. The user's code (`code` and the modules
    of `calls`) travels to a cluster's nodes together with ours by Ray's runtime environment, without the files that
    the patterns of `leave_out` name. Ray's settings and the folders of the user's code stay in this process's
    environment and path: whoever calls leaves it as found.
    """
    ray_settings.apply()
    add_import_folders(code_folders(code))
    if address is not None:
        check_address(address)
    with kept_off_stdout(quiet=quiet):
        if ray.is_initialized():
            yield
        else:
            how = nullcontext() if address is None else ray_settings.authenticated_as(address)
            carried = {} if address is None else carried_code(code, calls, leave_out)
            with how, joined(address, carried, quiet=quiet):
                yield


def nodes() -> list[dict[str, Plain]]:
    """Resources of the nodes that are up."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _has_gpus(accelerator: str | None) -> bool:
    return any(node.get("GPU", 0) > 0 for node in _of_type(accelerator, nodes()))


def accelerators() -> set[str]:
    """Types of accelerator of the nodes, as Ray names them or as a node without GPUs was declared."""
    return {key.removeprefix(TYPE) for node in nodes() for key in node if key.startswith(TYPE)}


def fit(
    resources: Resources,
    gpu_share: float | None,
    *,
    power_limit_w: float | None = None,
    accelerator: str | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Slots:
    """How many trials fit at a time; ResourceError where not one ever will. An autoscaling cluster is waited for.

    `accelerator`: one of the types that the study names, where it names several.
    """
    named = accelerator or _sole(resources)
    share = (1.0 if _has_gpus(named) else 0.0) if gpu_share is None else gpu_share
    _check_accelerator(named, share)
    bundles = _bundles(resources, share, named)
    count, packed = placed(bundles, nodes())
    if not count and autoscales():
        count, packed = _wait_for_nodes(bundles, report)
    if not count:
        raise ResourceError(_never(bundles, resources, named, nodes()))
    if not packed:
        report(
            f"no node holds the {len(bundles)} ranks of a trial, so they spread over nodes: gradients cross the "
            "network at every step"
        )
    limited = min(count, resources.slots) if resources.slots is not None else count
    return Slots(
        count=limited,
        bundles=tuple(bundles),
        gpu_share=share,
        slots_per_gpu=slots_on_a_gpu(share),
        power_limit_w=power_limit_w,
        accelerator=named or _only_type(share),
        nodes=len(_of_type(named, nodes())),
        packed=packed,
    )


def slots_on_a_gpu(share: float) -> int:
    """How often a share goes into a device, whatever floats make of it."""
    return math.floor(1 / share + 1e-9) if share else 1


def phase_slots(resources: Resources, phase: Phase, *, report: Callable[[str], None] = lambda line: None) -> Slots:
    """The same for a phase; ResourceError where it limits the power of GPUs and there are none."""
    slots = fit(
        resources,
        phase.gpus_per_rank,
        power_limit_w=phase.power_limit_w,
        accelerator=phase.accelerator,
        report=report,
    )
    if slots.power_limit_w is not None and not slots.gpu_share:
        raise ResourceError(
            "resources.power_limit_w: trials have no GPU whose power could be limited; leave it out, or use --address "
            "with a cluster that has GPUs"
        )
    return slots


def _sole(resources: Resources) -> str | None:
    """The type that a study names, where it names one alone."""
    return resources.accelerators[0] if len(resources.accelerators) == 1 else None


def _only_type(share: float) -> str | None:
    """The type of the GPUs that trials get where none is named."""
    kinds = accelerators()
    return next(iter(kinds)) if share and len(kinds) == 1 else None


def _bundles(resources: Resources, share: float, accelerator: str | None) -> list[dict[str, float]]:
    """One bundle a rank; cores that don't divide evenly go to the first ranks."""
    cores, over = divmod(resources.cpus_per_trial, resources.ranks)
    bundles = []
    for rank in range(resources.ranks):
        bundle: dict[str, float] = {"CPU": float(cores + (rank < over))}
        if share:
            bundle["GPU"] = share
        if accelerator:
            bundle[TYPE + accelerator] = 0.001
        bundles.append(bundle)
    return bundles


def _check_accelerator(named: str | None, share: float) -> None:
    """Refuse a type that no node has, and several types where none is named: their times don't compare."""
    kinds = accelerators()
    if named is not None and named not in kinds and not autoscales():
        has = f"which has {', '.join(sorted(kinds))}" if kinds else "whose nodes tell no type"
        raise ResourceError(
            f"resources.accelerator: {named!r} is not in the cluster, {has}; name a type that is there, or start Ray "
            f"on its nodes with --resources='{{\"{TYPE}{named}\": 1}}' where Ray doesn't see it by itself"
        )
    if named is None and share and len(kinds) > 1:
        raise ResourceError(
            f"resources.accelerator: the cluster mixes {', '.join(sorted(kinds))}, whose times do not compare; "
            "name the one to search on, or a list of those to search one after another"
        )


def why_never(resources: Resources, on: Sequence[dict[str, Plain]]) -> str | None:
    """Why nodes with these resources can never hold a trial of some phase; None where they can."""
    for phase in resources.phases:
        whole = float(any(node.get("GPU", 0) > 0 for node in _of_type(phase.accelerator, on)))
        share = whole if phase.gpus_per_rank is None else phase.gpus_per_rank
        bundles = _bundles(resources, share, phase.accelerator)
        if not placed(bundles, on)[0]:
            return _never(bundles, resources, phase.accelerator, on)
    return None


def _of_type(accelerator: str | None, on: Sequence[dict[str, Plain]]) -> list[dict[str, Plain]]:
    return [node for node in on if accelerator is None or TYPE + accelerator in node]


def _never(
    bundles: Sequence[dict[str, float]], resources: Resources, accelerator: str | None, on: Sequence[dict[str, Plain]]
) -> str:
    there = "; ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in on)
    cpus, gpus = sum(b["CPU"] for b in bundles), sum(b.get("GPU", 0) for b in bundles)
    kind = f" on nodes of type {accelerator}" if accelerator else ""
    return (
        f"resources: a trial asks for {cpus:g} CPUs and {gpus:g} GPUs{kind} ({resources.ranks} rank(s), each on one "
        f"node); the nodes have: {there}. Lower cpus_per_trial, ranks or gpus_per_rank, or use --address with a larger "
        "cluster"
    )


def autoscales() -> bool:
    """Whether an autoscaler stands behind the cluster: Ray's GCS keeps its configuration then."""
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS  # private, and the one place that tells
    from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_initialized

    return bool(_internal_kv_initialized() and _internal_kv_get(DEBUG_AUTOSCALING_STATUS))


def _wait_for_nodes(
    bundles: Sequence[dict[str, float]], report: Callable[[str], None], *, patience_s: float = 900
) -> tuple[int, bool]:
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[dict(b) for b in bundles])
    asked = time.monotonic()
    while not (found := placed(bundles, nodes()))[0] and time.monotonic() - asked < patience_s:
        report(f"waiting for the autoscaler to add nodes ({time.monotonic() - asked:.0f} s of {patience_s:.0f} s)")
        time.sleep(5)
    return found
