"""When a rank has stood still for too long: decided by what the ranks tell of themselves, and by when they fell silent.

Plain, so that it can be tried without Ray and without waiting.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tune_cnn.errors import STALLED
from tune_cnn.training.progress import Doing, Moved

# A step that takes 20 times the longest one before it is no step any more, and a minute goes by while a busy node swaps
# or a network file system fails over.
STEPS, LEAST_S = 20.0, 60.0
FIRST_STEPS_S = 600.0  # of a trial: cuDNN tries its algorithms, DDP builds its buckets, a disk is cold
COMPILE_S = 600.0  # a model that is reshaped compiles anew within its steps
WITHOUT_STEPS_S = 1800.0  # the user's metrics, a checkpoint to slow storage: as long as torch lets gloo wait
# Images are downloaded and decoded before the first step, and the user's own training may say nothing for an epoch.
START_S = USERS_S = 7200.0

SILENT_S = 20.0  # beats come every two seconds: this many lost mean that it is looked at the process from outside
LOOK_AGAIN_S = 60.0  # at one that was silent and found alive, in a call that lets no other thread run
GAP_S = 5.0  # whoever watches looks every second: after such a gap it was frozen itself, and nobody else stood still
BEAT_S = 2.0
BEATS_PER_S = 200.0  # of all ranks: the coordinator takes some thousands a second
# Shares of the user's bound, for one that is shorter than these times.
BEATS_IN_BOUND = 4.0


@dataclass(frozen=True, kw_only=True)
class Process:
    """A rank's process, as others on its node find it."""

    node: str  # Ray's id of it
    host: str
    pid: int
    born: str  # its start, in the kernel's words: a pid may be used again
    stacks_fd: int | None = None  # of its own: the file that a signal has it write its stacks to


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What a rank's process tells of itself, every few seconds."""

    slot: str
    trial: int | None  # rank 0's; the others don't know
    rank: int
    ranks: int
    process: Process
    moved: Moved


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """A slot whose ranks should be looked at from outside, and ended: at once, or where one of them is frozen."""

    slot: str
    trial: int | None
    why: str | None  # it has stood still; None: a rank is silent, which may be frozen
    silent: tuple[int, ...]  # ranks
    beats: tuple[Beat, ...]  # the last ones of all ranks


def bound_s(moved: Moved, timeout_s: float | None) -> float | None:
    """How long a rank may show no progress in what it is doing; None: for ever.

    timeout_s: `resources.stall_timeout_s`. It takes the place of what is reckoned for steps, and lengthens the others.
    """
    at_least_s = timeout_s or 0.0
    match moved.doing:
        case Doing.NOTHING:
            return None
        case Doing.TRAINING if moved.longest_s is None:
            return max(FIRST_STEPS_S, at_least_s)
        case Doing.TRAINING if timeout_s is not None:
            return timeout_s
        case Doing.TRAINING:
            return max(COMPILE_S if moved.compiles else LEAST_S, STEPS * (moved.longest_s or 0.0))
        case Doing.USERS_TRAINING if moved.longest_s is not None:
            return max(WITHOUT_STEPS_S, STEPS * moved.longest_s, at_least_s)
        case Doing.USERS_TRAINING | Doing.STARTING:
            return max(START_S, at_least_s)
        case _:
            return max(WITHOUT_STEPS_S, at_least_s)


@dataclass
class _Heard:
    beat: Beat
    at_s: float
    looked_s: float = -LOOK_AGAIN_S

    def idle_s(self, now_s: float) -> float:
        return self.beat.moved.idle_s + now_s - self.at_s


@dataclass
class StallWatch:
    """Hears every rank's beats and says whom to suspect. Times are of one monotonic clock."""

    timeout_s: float | None = None
    _heard: dict[str, dict[int, _Heard]] = field(default_factory=dict)  # by slot and rank
    _looked_s: float | None = None
    _ranks: int = 0

    @property
    def beat_every_s(self) -> float:
        """So often a rank should tell of itself, by how many they were when they were last looked at."""
        usual_s = min(BEAT_S, (self.timeout_s or BEAT_S * BEATS_IN_BOUND) / BEATS_IN_BOUND)
        return max(usual_s, self._ranks / BEATS_PER_S)

    @property
    def silent_s(self) -> float:
        """After so long without a beat a process is looked at."""
        usual_s = min(SILENT_S, self.timeout_s or SILENT_S)
        return max(usual_s, 5 * self.beat_every_s if self.beat_every_s > BEAT_S else 0.0)

    def hear(self, beat: Beat, now_s: float) -> None:
        ranks = self._heard.setdefault(beat.slot, {})
        known = ranks.get(beat.rank)
        if beat.rank == 0 and known is not None and known.beat.process != beat.process:
            ranks.clear()  # all were made anew
        ranks[beat.rank] = _Heard(beat=beat, at_s=now_s)

    def forget(self, slot: str) -> None:
        """Its processes have ended, or are another's to see to."""
        self._heard.pop(slot, None)

    def found_alive(self, slot: str, now_s: float) -> None:
        """Its silent ranks are not frozen: they are busy."""
        for heard in self._heard.get(slot, {}).values():
            heard.looked_s = now_s

    def look(self, now_s: float) -> list[Suspicion]:
        """Whom to suspect now. To be asked every second: a longer gap means that nobody could be heard meanwhile."""
        gap_s = 0.0 if self._looked_s is None else now_s - self._looked_s
        self._looked_s, self._ranks = now_s, sum(map(len, self._heard.values()))
        silent_s = self.silent_s
        if gap_s > GAP_S:
            for heard in self._all():
                heard.at_s += gap_s
        return [found for slot in self._heard if (found := self._suspect(slot, now_s, silent_s)) is not None]

    def _all(self) -> Iterable[_Heard]:
        return (heard for ranks in self._heard.values() for heard in ranks.values())

    def _suspect(self, slot: str, now_s: float, silent_s: float) -> Suspicion | None:
        ranks = self._heard[slot]
        silent = [
            rank
            for rank, heard in ranks.items()
            if now_s - heard.at_s > silent_s and now_s - heard.looked_s > max(silent_s, LOOK_AGAIN_S)
        ]
        why = self._why(list(ranks.values()), now_s)
        if why is None and not silent:
            return None
        trial = ranks[0].beat.trial if 0 in ranks else None
        beats = tuple(ranks[rank].beat for rank in sorted(ranks))
        return Suspicion(slot=slot, trial=trial, why=why, silent=tuple(silent), beats=beats)

    def _why(self, ranks: list[_Heard], now_s: float) -> str | None:
        """Why the ranks stand still together, where they do.

        They go in step: where one hangs, the others wait for it in a collective at once, and where one is in a phase
        that takes long, the others rightly wait as long.
        """
        idle_s = min(heard.idle_s(now_s) for heard in ranks)
        if idle_s <= min(LEAST_S, self.timeout_s or LEAST_S):
            return None  # whatever they do: thousands are looked at every second
        allowed = [one for heard in ranks if (one := bound_s(heard.beat.moved, self.timeout_s)) is not None]
        if not allowed or idle_s <= max(allowed):
            return None
        last = max(ranks, key=lambda heard: heard.idle_s(now_s)).beat
        who = f"rank {last.rank} of {last.ranks}" if last.ranks > 1 else "it"
        return (
            f"{STALLED} no progress for {idle_s:.0f} s, where {max(allowed):.0f} are allowed; {who} is "
            f"{last.moved.doing} on {last.process.host}, process {last.process.pid}"
        )


def frozen(suspicion: Suspicion, states: dict[int, str]) -> str | None:
    """What is said of silent ranks that were found frozen; None where none was. states: the kernel's, by rank."""
    found = {rank: states[rank] for rank in suspicion.silent if states.get(rank, "")[:1] in {"T", "t"}}
    if not found:
        return None
    rank = next(iter(found))
    one = next(beat for beat in suspicion.beats if beat.rank == rank)
    who = f"rank {rank} of {one.ranks}" if one.ranks > 1 else "its process"
    return (
        f"{STALLED} {who} is frozen, in state {found[rank]}, on {one.process.host}, process {one.process.pid}: it "
        f"was {one.moved.doing}"
    )
