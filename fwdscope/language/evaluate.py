"""Expressions → values: one walk for numbers of the text and for tensors of a running network.

:class:`Evaluator` knows operators, subscripts, comprehensions and choices; what a name means and what a call does is
left to those who derive from it. :class:`Plain` is the one for numbers. What goes wrong carries the node it went wrong
at (:class:`Located`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from fwdscope.functions.functions import CONSTANTS, FUNCTIONS
from fwdscope.functions.resolution import implementation
from fwdscope.language import arithmetic
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.expression import Expression
from fwdscope.layers.base import LayerError


class Located(Exception):  # noqa: N818 - what carries an error to its place
    """An exception with the node that it was raised at, the innermost one."""

    def __init__(self, node: Expression, error: Exception) -> None:
        super().__init__(str(error))
        self.node = node
        self.error = error


class Evaluator:
    """The walk. ``turns`` are the counts of the comprehensions around the node being evaluated."""

    # Exceptions that pass as they are; all others are given the place they came from.
    PASSING: ClassVar[tuple[type[BaseException], ...]] = (Located,)

    def __init__(self) -> None:
        self.turns: tuple[int, ...] = ()
        # The values of nodes by their id, where somebody wants to look at them when one fails.
        self.values: dict[int, Any] | None = None

    def evaluate(self, node: Expression) -> Any:
        """The value of an expression. Raises Located."""
        try:
            value = self._EVALUATE[type(node)](self, node)
            if self.values is not None:
                self.values[id(node)] = value
            return value
        except self.PASSING:
            raise
        except Exception as error:
            raise Located(node, error) from error

    # What names, attributes and calls mean.

    def name(self, node: ex.Name) -> Any:
        """The value of a name."""
        raise NotImplementedError

    def attribute(self, node: ex.Attribute) -> Any:
        """The value of ``value.name``."""
        raise NotImplementedError

    def call(self, node: ex.Call) -> Any:
        """The value of a call."""
        raise NotImplementedError

    def local(self) -> dict[str, Any]:
        """Where the names of a comprehension are put; what is there is put back afterwards."""
        raise NotImplementedError

    # What is the same for all.

    def test(self, value: Any) -> bool:
        """A value as a choice."""
        return bool(value)

    def binary(self, node: ex.Binary) -> Any:
        """``left operator right``"""
        return arithmetic.binary(node.operator, self.evaluate(node.left), self.evaluate(node.right))

    def compare(self, node: ex.Compare) -> Any:
        """A chain of comparisons, each value computed once."""
        left, result = self.evaluate(node.left), None
        for sign, right_node in zip(node.operators, node.rights, strict=True):
            right = self.evaluate(right_node)
            result = arithmetic.compare(sign, left, right)
            if len(node.operators) > 1 and not self.test(result):
                return result
            left = right
        return result

    def boolean(self, node: ex.Boolean) -> Any:
        """``and``, ``or``: the first value that decides, as in Python."""
        value = None
        for item in node.values:
            value = self.evaluate(item)
            if self.test(value) == (node.operator == "or"):
                return value
        return value

    def items(self, nodes: tuple[Expression, ...]) -> list[Any]:
        """The values of items or arguments, ``*row`` laid out."""
        values: list[Any] = []
        for node in nodes:
            if isinstance(node, ex.Starred):
                values.extend(arithmetic.items(self.evaluate(node.value)))
            else:
                values.append(self.evaluate(node))
        return values

    def sequence(self, node: ex.Sequence) -> Any:
        """A tuple or a list."""
        values = self.items(node.items)
        return tuple(values) if node.kind == "tuple" else values

    def subscript(self, node: ex.Subscript) -> Any:
        """``value[index]``"""
        return self.evaluate(node.value)[self.evaluate(node.index)]

    def slice(self, node: ex.Slice) -> slice:
        """``lower:upper:step``"""
        return slice(*(part and self.evaluate(part) for part in (node.lower, node.upper, node.step)))

    def comprehension(self, node: ex.Comprehension) -> list[Any]:
        """All elements; a generator is laid out too, since nothing here is endless."""
        names, outer = self.local(), self.turns
        kept = {n.name: names[n.name] for c in node.clauses for n in ex.targets(c.target) if n.name in names}
        new = {n.name for c in node.clauses for n in ex.targets(c.target)} - kept.keys()
        result = []
        try:
            for i, _ in enumerate(self._rounds(node.clauses, names)):
                self.turns = (*outer, i)
                result.append(self.evaluate(node.element))
                arithmetic.within(result)
        finally:
            self.turns = outer
            names.update(kept)
            for name in new:
                names.pop(name, None)
        return result

    def _rounds(self, clauses: tuple[ex.Clause, ...], names: dict[str, Any]) -> Iterator[None]:
        if not clauses:
            yield
            return
        clause = clauses[0]
        for item in arithmetic.items(self.evaluate(clause.iterable)):
            assign(clause.target, item, names)
            if all(self.test(self.evaluate(condition)) for condition in clause.conditions):
                yield from self._rounds(clauses[1:], names)

    _EVALUATE: ClassVar[dict[type[Expression], Callable[[Any, Any], Any]]] = {
        ex.Constant: lambda self, node: node.value,
        ex.Name: lambda self, node: self.name(node),
        ex.Attribute: lambda self, node: self.attribute(node),
        ex.Subscript: lambda self, node: self.subscript(node),
        ex.Slice: lambda self, node: self.slice(node),
        ex.Call: lambda self, node: self.call(node),
        ex.Unary: lambda self, node: arithmetic.unary(node.operator, self.evaluate(node.operand)),
        ex.Binary: lambda self, node: self.binary(node),
        ex.Compare: lambda self, node: self.compare(node),
        ex.Boolean: lambda self, node: self.boolean(node),
        ex.Conditional: lambda self, node: self.evaluate(
            node.body if self.test(self.evaluate(node.test)) else node.orelse
        ),
        ex.Sequence: lambda self, node: self.sequence(node),
        ex.Comprehension: lambda self, node: self.comprehension(node),
    }


def assign(target: ex.Target, value: Any, names: dict[str, Any]) -> None:
    """Give names to a value taken apart. Raises ArithmeticProblem where it has another number of pieces."""
    if isinstance(target, ex.Named):
        names[target.name] = value
    elif isinstance(target, ex.Several):
        pieces = _pieces(target, value)
        for item, piece in zip(target.items, pieces, strict=True):
            assign(item, piece, names)


def _pieces(target: ex.Several, value: Any) -> list[Any]:
    """The pieces of a value taken apart, as many as there are names."""
    names, shape = len(target.items), getattr(value, "shape", None)
    if shape is not None and len(shape) and shape[0] != names:  # said before so many tensors are made
        message = f"{names} names for {shape[0]} values: dimension 0 of {tuple(shape)} is gone through"
        raise ArithmeticProblem(message, "chunk, split and unbind take a tensor apart along any dimension", "type")
    try:
        pieces = list(value)
    except TypeError:
        raise ArithmeticProblem("this is one value and cannot be taken apart", "give it one name", "type") from None
    if len(pieces) != names:
        help = f"write `{pattern(pieces)} = …`" + (", with `_` for what is not wanted" if len(pieces) > names else "")
        raise ArithmeticProblem(f"{names} names for {len(pieces)} values", help if len(pieces) < 10 else None, "type")
    return pieces


def pattern(pieces: Sequence[Any]) -> str:
    """How to take several results apart: ``a, (b, c)``."""
    letters = iter("abcdefghijklmnopqrstuvwxyz")

    def written(item: Any) -> str:
        if not isinstance(item, tuple | list):
            return next(letters, "_")
        return f"({', '.join(map(written, item))})"

    return ", ".join(map(written, pieces))


def number_function(name: str) -> Callable[..., Any] | None:
    """The function of plain numbers behind a listed name, which needs no torch; None where there is none."""
    function = FUNCTIONS.get(name)
    if function is None or (function.numbers is None and function.target != "python"):
        return None
    return implementation(function)


class Plain(Evaluator):
    """Numbers, strings and lists alone: vars."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        super().__init__()
        self.names = dict(names)

    def local(self) -> dict[str, Any]:
        """The names themselves."""
        return self.names

    def evaluate(self, node: Expression) -> Any:
        """The value of an expression. Raises ArithmeticProblem."""
        try:
            return arithmetic.within(super().evaluate(node))
        except Located as error:
            if isinstance(error.error, ArithmeticProblem):
                raise error.error from None
            if isinstance(error.error, LayerError):
                raise ArithmeticProblem(error.error.message, error.error.help) from None
            raise ArithmeticProblem(f"this has no value: {error.error}") from None

    def name(self, node: ex.Name) -> Any:
        """A var or a constant."""
        if node.id in self.names:
            return self.names[node.id]
        if node.id in CONSTANTS:
            return CONSTANTS[node.id]
        raise ArithmeticProblem(f"{node.id} has no value here")

    def attribute(self, node: ex.Attribute) -> Any:
        """Numbers have none."""
        raise ArithmeticProblem(f"a value of the text has no .{node.name}")

    def call(self, node: ex.Call) -> Any:
        """A function of numbers."""
        function = number_function(node.function.id) if isinstance(node.function, ex.Name) else None
        if function is None:
            raise ArithmeticProblem("vars are numbers, strings, booleans and lists")
        return function(*self.items(node.arguments), **{k.name: self.evaluate(k.value) for k in node.keywords})
