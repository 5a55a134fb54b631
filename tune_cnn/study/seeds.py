"""The seeds of a study's trials, and of the runs that confirm its points."""

import hashlib

NOBODYS = -1  # number of a run that is never planned


def trial_seed(study_seed: int, number: int) -> int:
    """A trial's own seed: the same configuration drawn twice is trained with different random numbers."""
    return (study_seed * 1_000_003 + number) % 2**31


def confirm_seed(trial_seed: int, epoch: int, number: int) -> int:
    """A seed of the run's own, the same at every start: never the searched one, whose luck is what is tested."""
    for attempt in range(3):
        text = f"confirm {trial_seed} {epoch} {number} {attempt}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
        if seed != trial_seed:
            break
    return seed
