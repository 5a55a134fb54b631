"""Where types end: two names for `Any`, each with its reason. Nothing else in the package says `Any`."""

from typing import Any

# A value as YAML, JSON or a table holds it (a text, a number, true, false, nothing, a list or a mapping of those): of a
# spec, a configuration, an export, a trial's parameters. `spec` has checked it against the key that it stands under,
# which no type of a value can say; a recursive union would ask for a cast wherever such a value is read.
Plain = Any

# What a library or the user's own code hands over without a type of its own, or takes whatever it is: Ray's actors and
# references, NVML's handles, arguments of torch's hooks and functions, modules found by name, plotly's figures.
Untyped = Any
