"""What a spec may ask for before anything runs.

A spec may come from a stranger: each bound is an error with a place, not a hang.

``limit("items")`` is the bound in force; a command raises one for its own run (``--limit items=2000000``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType

# The name of each bound, and what it bounds.
LIMITS: dict[str, int] = {
    "bytes": 1 << 20,  # a file
    "nodes": 50_000,  # YAML's, in a file
    "nesting": 64,  # of YAML, of brackets, of expressions
    "expression": 2_000,  # characters of one
    "string": 10_000,  # characters of one
    "items": 1_000_000,  # of a list
    "exponent": 64,
    "turns": 10_000,  # copies of a stack, rounds of a `for`
    "layers": 1_000_000,  # of a network
    "blocks": 64,  # one inside the other
    "rounds": 1_000,  # of a `while` that says no `limit:`
    "elements": 10**13,  # of a tensor
}

_raised: ContextVar[Mapping[str, int]] = ContextVar("raised", default=MappingProxyType({}))


def limit(name: str) -> int:
    """The bound of this name now."""
    return _raised.get().get(name, LIMITS[name])


@contextlib.contextmanager
def raised(limits: Mapping[str, int]) -> Iterator[None]:
    """Other bounds for a while, by their names."""
    unknown = limits.keys() - LIMITS.keys()
    if unknown:
        raise KeyError(min(unknown))
    token = _raised.set({**_raised.get(), **limits})
    try:
        yield
    finally:
        _raised.reset(token)
