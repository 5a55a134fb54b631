"""What can go wrong, by whose fault, and the exit code that says so."""

import difflib
from collections.abc import Iterable


class TuneCnnError(Exception):
    """Something failed while running; the message is meant for the user as it stands."""

    exit_code = 1


class InputError(TuneCnnError):
    """The user's input is wrong: a spec, a name, a file, a preference."""

    exit_code = 2


class SpecError(InputError):
    """A study's spec does not hold together."""


class DataError(InputError):
    """The images or labels can't be used."""


class ModelError(InputError):
    """The model can't be built, or can't take the images."""


class ResourceError(InputError):
    """The machine or the cluster can never give what the study asks for."""


class StudyError(InputError):
    """A study is missing, is somebody else's, is being searched already, or its spec has changed."""


class StoreError(TuneCnnError):
    """The study's tables can't be read or written."""


class StoreFull(StoreError):
    """There is no room on the disk for what was to be written; nothing of it was."""


class NothingFits(TuneCnnError):
    """No point of the front meets the preference."""

    exit_code = 3


class Interrupted(TuneCnnError):
    """The user asked to stop."""

    exit_code = 130


class TrialError(Exception):
    """A trial can't go on: told to the search as its end, never raised out of it."""


DIVERGED = "the training has diverged"
"""In the reason of a trial whose losses are no numbers any more: its configuration's own fault."""


class StrategyError(TrialError):
    """A strategy finds nothing to act on, or can't act on it: a trial must never be credited with a no-op."""


class OutOfMemory(TrialError):
    """The trial needs more memory than its device, or its share of one, has."""


class MemoryTaken(TrialError):
    """Others than the study hold the device's memory: says nothing of what the trial needs."""


class PeerLost(RuntimeError):
    """Another rank has died or given up, so this one can't go on either: the group must be joined again."""


class LoaderLost(PeerLost):
    """A loader process of this rank has died, by what befell the process and not by what it read."""


class Unreachable(PeerLost):
    """Ranks can't connect to each other over the network as it is: which address was tried, and what to set."""


STALLED = "stalled:"
"""How the reason of a trial begins whose processes were ended because one stood still or was frozen: such a trial is
tried once more, in fresh ones."""


HARDWARE = "hardware fault:"
"""In what a DeviceLost says, where the driver tells that the device itself is at fault."""


class DeviceLost(RuntimeError):
    """The device's context is broken, so this process can't train anything any more; a fresh one may."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says; most of torch's and Ray's say much more."""
    return (str(error).strip() or "no message").splitlines()[0].rstrip()


def nearest(name: str, known: Iterable[str], then: str = "") -> str:
    """ "; did you mean 'a' or 'b'?" for a mistyped name, or the known names where none is near.

    `then`: what else is to be said, as words that go on after a semicolon; after the question they are a sentence.
    """
    names = {str(k).casefold(): str(k) for k in known}
    close = difflib.get_close_matches(str(name).casefold(), names, n=3, cutoff=0.5)
    if close:
        alike = [difflib.SequenceMatcher(a=str(name).casefold(), b=c).ratio() for c in close]
        best = [names[c] for c, ratio in zip(close, alike, strict=True) if ratio >= alike[0] - 0.15]
        return "; did you mean " + " or ".join(repr(c) for c in best) + "?" + (then and f" {then[0].upper()}{then[1:]}")
    shown = ", ".join(list(names.values())[:20]) + (", …" if len(names) > 20 else "")
    return (f"; known are: {shown}" if names else "") + (then and f"; {then}")
