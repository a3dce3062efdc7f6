"""One call of an operator as plain data: shapes, dtypes, strides and settings, no tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from .layout import Shape, distinct


# Tuples, not dataclasses: they are made and hashed for every operator of a trace, and a tuple hashes in C.
class Operand(NamedTuple):
    """A tensor that an operator reads or writes. The stride is in elements, which have ``itemsize`` bytes."""

    shape: Shape
    dtype: str
    itemsize: int
    stride: tuple[int, ...]

    @property
    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of memory that it covers: an element repeated by broadcasting counts once."""
        return self.itemsize * distinct(self.shape, self.stride)


class SparseOperand(Operand):
    """A sparse tensor: ``numel`` elements are stored, which take ``nbytes`` with their places."""

    numel = 0
    nbytes = 0


Value: TypeAlias = "Operand | tuple[Value, ...] | bool | int | float | complex | str | None"


class Op(NamedTuple):
    """One call: ``aten.addmm``, ``default``, its positional arguments, its keywords in order of name, its results.

    Positions are those of the operator's schema; trailing defaults are missing.
    """

    name: str
    overload: str
    arguments: tuple[Value, ...]
    keywords: tuple[tuple[str, Value], ...] = ()
    outputs: tuple[Operand, ...] = ()

    def at(self, position: int, default: Any = None) -> Any:
        """The argument at a position, or its default."""
        return self.arguments[position] if position < len(self.arguments) else default

    def keyword(self, name: str, default: Any = None) -> Any:
        """The keyword argument of a name, or its default."""
        for key, value in self.keywords:
            if key == name:
                return value
        return default

    def operand(self, position: int = 0) -> Operand:
        """The tensor at a position."""
        found = self.arguments[position]
        assert isinstance(found, Operand), f"{self.name}: argument {position} is no tensor"
        return found

    @property
    def output(self) -> Operand:
        """The first result."""
        return self.outputs[0]

    @property
    def operands(self) -> list[Operand]:
        """All input tensors, including those in lists, without the ``out`` of an out variant."""
        found = _operands(self.arguments)
        for name, value in self.keywords:
            if name != "out":
                found += _operands((value,))
        return found

    @property
    def in_place(self) -> bool:
        """Whether it writes its result into its first argument: ``aten.relu_``."""
        return self.name[-1] == "_" and self.name[-2] != "_"


def _operands(values: Iterable[Value]) -> list[Operand]:
    found = []
    for value in values:
        if isinstance(value, Operand):
            found.append(value)
        elif isinstance(value, tuple) and value and not isinstance(value[0], int):  # a list is of one kind
            found += _operands(value)
    return found
