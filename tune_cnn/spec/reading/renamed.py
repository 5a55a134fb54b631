"""Old names of keys and values, so that a spec which still has one is told the new one; none is accepted."""

KEYS = {"patience": "min_growth_pct_per_hour"}  # by the key's whole path
VALUES = {("sampler.name", "front"): "curve_ehvi", ("stopper.name", "front"): "no_hypervolume_gain"}


def new_name(key: str, value: object = None) -> str:
    """What to add to the message about an unknown key or a wrong value; empty where neither is an old name."""
    if value is None:
        return f"; it is called {KEYS[key]} now" if key in KEYS else ""
    new = VALUES.get((key, value)) if isinstance(value, str) else None
    return f"; {value} is called {new} now" if new is not None else ""
