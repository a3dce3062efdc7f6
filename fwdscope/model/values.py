"""Values of lines besides tensors and numbers: results of a layer, values that are missing or have failed."""

from __future__ import annotations

from typing import Any, NamedTuple

from fwdscope.language.problems import Span

MISSING = object()
# The value of a line that failed while building. Lines that read it are skipped: each mistake is reported once.
FAILED = object()


class UpstreamFailed(Exception):  # noqa: N818 - the problem was reported where it arose
    """Raised by an expression that reads a failed value."""


class Results(tuple[Any, ...]):
    """Several results of one layer. Where one tensor is needed, the first is used."""

    __slots__ = ()


def first_tensor(value: Any) -> Any:
    """Return the first of several results; any other value as it is."""
    while isinstance(value, Results):
        value = value[0]
    return value


class Origin(NamedTuple):
    """The line that made a value, for messages."""

    text: str
    span: Span
