"""Describes a size by a var or setting, a product or quotient of such, a number, or ``_``.

An expression is right if it gives the size at every call, also with vars changed, and every name in it had more than
one value: then the size follows the name. A number has to be right at every call of the file as it is. A size that
differs otherwise is ``_``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, permutations
from typing import NamedTuple

# The largest factor before a quotient of two names; a larger one explains nothing.
MAX_FACTOR_OF_QUOTIENT = 4


# An expression, and a function that computes it from the values of its names; None if it is not exact.
_Guess = tuple[str, Callable[[Mapping[str, int]], int | None]]


class KnownSize(NamedTuple):
    """A size at one call, and the integers with a name there."""

    size: int
    names: Mapping[str, int]


def describe_size(now: Sequence[KnownSize], changed: Iterable[KnownSize], preferred: Sequence[str]) -> str:
    """Return the text of a size, from the calls of the file as it is and from those with vars changed.

    ``preferred`` are the names that may be used, the likeliest first.
    """
    seen = [*now, *changed]
    if len({one.size for one in seen}) > 1:
        known = [name for name in preferred if all(one.names.get(name, 0) > 0 for one in seen)]
        names = [name for name in known if len({one.names[name] for one in seen}) > 1]
        for text, value in _guesses(seen[0], names, [name for name in names if _is_sure(name, now, seen)]):
            if all(value(one.names) == one.size for one in seen):
                return text
    return str(now[0].size) if len({one.size for one in now}) == 1 else "_"


def _is_sure(name: str, now: Sequence[KnownSize], seen: Sequence[KnownSize]) -> bool:
    """Whether a factor or a term next to a name cannot be a coincidence.

    A var was changed alone. A setting changes with other settings: `2 * n` fits sizes 2 and 4 at n = 1 and 2 even if
    something else doubled them, so a setting needs three values.
    """
    return len({one.names[name] for one in now}) == 1 or len({one.names[name] for one in seen}) > 2


def _guesses(first: KnownSize, names: Sequence[str], sure: Sequence[str]) -> Iterator[_Guess]:
    """Iterate over expressions of the first size, the simplest first; only names in ``sure`` go with a number."""
    size, values = first.size, first.names
    if size <= 0:
        return
    for name in names:
        yield from _ratio(size, values[name], name, name in sure, lambda at, name=name: at[name])  # type: ignore[misc]
    for name in sure:
        if more := size - values[name]:
            text = f"{name} {'+' if more > 0 else '-'} {abs(more)}"
            yield text, lambda at, name=name, more=more: at[name] + more  # type: ignore[misc]
    for a, b in combinations(names, 2):
        if size % (product := values[a] * values[b]) == 0:
            both = a in sure and b in sure
            yield from _ratio(size, product, f"{a} * {b}", both, lambda at, a=a, b=b: at[a] * at[b])  # type: ignore[misc]
    for a, b in permutations(names, 2):
        factor, rest = divmod(size * values[b], values[a])
        if not rest and (factor == 1 or (factor <= MAX_FACTOR_OF_QUOTIENT and a in sure and b in sure)):
            text = f"{a} // {b}" if factor == 1 else f"{factor} * {a} // {b}"
            yield text, lambda at, a=a, b=b, k=factor: _exact(k * at[a], at[b])  # type: ignore[misc]


def _ratio(size: int, base: int, text: str, sure: bool, value: Callable[[Mapping[str, int]], int]) -> Iterator[_Guess]:
    """Guess the base itself, or a multiple or fraction of it if its names are ``sure``."""
    if size == base:
        yield text, value
    elif sure and size % base == 0:
        yield f"{size // base} * {text}", lambda at: size // base * value(at)
    elif sure and base % size == 0:
        yield f"{text} // {base // size}", lambda at: _exact(value(at), base // size)


def _exact(value: int, by: int) -> int | None:
    return value // by if value % by == 0 else None
