"""Limits on specs: a spec from an untrusted source gives an error with its place instead of a hang.

``limit("items")`` is the current value; ``--limit items=2000000`` raises it for one run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType

LIMITS: dict[str, int] = {
    "bytes": 1 << 20,  # of a file
    "nodes": 50_000,  # YAML nodes in a file
    "nesting": 64,  # of YAML, brackets and expressions
    "expression": 2_000,  # characters
    "string": 10_000,  # characters
    "items": 1_000_000,  # of a list
    "exponent": 64,  # in an expression
    "turns": 10_000,  # copies of a stack, rounds of a `for`, tensors that one is taken apart into
    "layers": 100_000,  # of a network
    "steps": 100_000,  # of a build: lines run, layers made, pieces of tensors, items of lists
    "blocks": 64,  # nested
    "rounds": 1_000,  # of a `while` without `limit:`
    "elements": 10**13,  # of a tensor
    "rows": 25_000,  # of a report or a baseline that is read
    "mends": 3_000,  # layers built while changes that may mend a problem are tried: about half a second
}

_raised: ContextVar[Mapping[str, int]] = ContextVar("raised", default=MappingProxyType({}))


def limit(name: str) -> int:
    """The current value of a limit."""
    return _raised.get().get(name, LIMITS[name])


def at_most(name: str) -> str:
    """The help for what is beyond a limit."""
    return f"at most {limit(name):,}; --limit {name}=N raises it"


@contextlib.contextmanager
def raised(limits: Mapping[str, int]) -> Iterator[None]:
    """Set limits, by name, inside a ``with`` block. Raises KeyError for an unknown name."""
    unknown = limits.keys() - LIMITS.keys()
    if unknown:
        raise KeyError(min(unknown))
    token = _raised.set({**_raised.get(), **limits})
    try:
        yield
    finally:
        _raised.reset(token)
