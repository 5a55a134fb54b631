"""Where types end: two names for `Any`, each with its reason. Nothing else in the package says `Any`."""

from typing import Any

Plain = Any  # a value as JSON holds it, of an answer or a report: each key has a type of its own
Untyped = Any  # what ASGI puts under a key of a scope or a message: each kind of them has keys of its own
