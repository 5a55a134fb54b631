"""What one trial gets of the hardware, and the phases that a study searches one after another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pydantic import Field, field_validator, model_validator

from tune_cnn.errors import SpecError
from tune_cnn.spec.messages import shown
from tune_cnn.spec.parts import Filled, SpecPart, absolute
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What trials that run at the same time have in common; a search runs one phase after another."""

    accelerator: str | None = None  # type of the nodes' accelerators; None: there is one alone, or none
    gpus_per_rank: float | None = None  # None: a whole one where there are GPUs
    power_limit_w: float | None = None  # None: as it is


class Resources(SpecPart):
    """What one trial gets; fixed for the study."""

    ranks: int = Field(1, ge=1, description="processes of a trial's data-parallel group")
    gpus_per_rank: float | list[float] | None = Field(
        None, description="0, a fraction or 1; a list runs as successive phases; default 1 where there are GPUs, else 0"
    )
    power_limit_w: float | list[float] | None = Field(
        None,
        description="power limit of the GPUs while trials run; a list runs as successive phases; needs the right to "
        "set it; default: as it is",
    )
    cpus_per_trial: int = Field(1, ge=1, description="cores of one trial: ranks, their threads and loader workers")
    slots: int | None = Field(None, ge=1, description="trials at a time at most; default: what the hardware holds")
    accelerator: Filled | list[Filled] | None = Field(
        None,
        description="type of accelerator as Ray names it, on a mixed cluster; a list runs as successive phases, and "
        "each point carries its own",
    )
    deterministic: bool = Field(False, description="bit-identical repeats on a GPU, at a cost in speed")
    capture_steps: bool = Field(
        True, description="on a GPU, replay each training step as a CUDA graph where that can be"
    )
    code: list[Filled] = Field(default_factory=list, description="folders or packages of yours to carry to the nodes")
    leave_out: list[Filled] = Field(
        default_factory=list,
        description="files in your code that stay here, by patterns as in .gitignore",
    )
    stall_timeout_s: float | None = Field(
        None,
        gt=0,
        description="longest time without a training step before a trial's processes are ended as hanging; default: 20 "
        "times the trial's longest step, at least a minute",
    )
    checkpoint_every_s: float = Field(
        30.0,
        ge=0,
        description="shortest time between two checkpoints of a trial, within long epochs too; 0: after each epoch, "
        "and there alone",
    )

    @field_validator("code")
    @classmethod
    def _absolute(cls, paths: list[str]) -> list[str]:
        return [absolute(path) for path in paths]

    @field_validator("gpus_per_rank", mode="before")
    @classmethod
    def _shares(cls, raw: object) -> Plain:
        shares = raw if isinstance(raw, list) else [] if raw is None else [raw]
        if isinstance(raw, list) and not raw:
            raise ValueError("a list needs at least one value, got []")
        for share in shares:
            if isinstance(share, bool) or not isinstance(share, int | float):
                raise ValueError(f"must be 0, a fraction, 1, or a list of these, got {shown(raw)}")
            if not 0 <= share <= 1:
                raise ValueError(
                    f"must be 0, a fraction or 1, got {shown(share)}; a rank trains on one GPU: set ranks for more"
                )
        _each_once(shares, raw)
        return raw

    @field_validator("accelerator", mode="before")
    @classmethod
    def _types(cls, raw: object) -> Plain:
        types = raw if isinstance(raw, list) else [] if raw is None else [raw]
        if isinstance(raw, list) and not raw:
            raise ValueError("a list needs at least one value, got []")
        for name in types:
            if not isinstance(name, str) or not name.strip():
                raise ValueError(f"must be a type of accelerator as Ray names it, or a list of these, got {shown(raw)}")
        _each_once(types, raw)
        return raw

    @field_validator("power_limit_w", mode="before")
    @classmethod
    def _limits(cls, raw: object) -> Plain:
        limits = raw if isinstance(raw, list) else [] if raw is None else [raw]
        if isinstance(raw, list) and not raw:
            raise ValueError("a list needs at least one value, got []")
        for limit in limits:
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0:
                raise ValueError(f"must be watts, more than 0, or a list of these, got {shown(raw)}")
        _each_once(limits, raw)
        return raw

    @property
    def power_limits_w(self) -> list[float]:
        """Of all phases; none where the GPUs stay as they are."""
        limits = self.power_limit_w
        return limits if isinstance(limits, list) else [] if limits is None else [limits]

    @property
    def accelerators(self) -> list[str]:
        """The types that are named; none where the cluster's only one is meant."""
        types = self.accelerator
        return types if isinstance(types, list) else [] if types is None else [types]

    @property
    def phases(self) -> list[Phase]:
        """Every share at every power limit on every type of accelerator, one after another, type by type."""
        shares = self.gpus_per_rank if isinstance(self.gpus_per_rank, list) else [self.gpus_per_rank]
        limits: list[float | None] = [*self.power_limits_w] or [None]
        types: list[str | None] = [*self.accelerators] or [None]
        return [
            Phase(accelerator=name, gpus_per_rank=share, power_limit_w=watts)
            for name in types
            for share in shares
            for watts in limits
        ]

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for share in (phase.gpus_per_rank for phase in self.phases):
            if share == 0 and self.power_limits_w:
                raise SpecError(
                    f"resources: power_limit_w is a GPU's, and gpus_per_rank={share:g} trains on the CPU; leave one of "
                    "them out"
                )
            if self.ranks > 1 and share is not None and 0 < share < 1:
                raise SpecError(
                    f"resources: ranks={self.ranks} needs whole GPUs, got gpus_per_rank={share}; "
                    "NCCL refuses two ranks on one GPU. Set ranks: 1 or gpus_per_rank: 1."
                )
        if self.cpus_per_trial < self.ranks:
            raise SpecError(
                f"resources: {self.ranks} ranks need at least a core each, got cpus_per_trial={self.cpus_per_trial}; "
                f"set cpus_per_trial: {self.ranks} or more, or fewer ranks"
            )
        return self


def _each_once(values: Sequence[object], raw: object) -> None:
    if len(set(values)) < len(values):
        raise ValueError(f"a value stands twice in {shown(raw)}; each is a phase of its own, leave one out")
