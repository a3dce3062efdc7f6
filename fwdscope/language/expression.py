"""Expressions as trees of frozen nodes, each with its place in the file.

:mod:`fwdscope.language.grammar` parses them; Python never evaluates them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from fwdscope.language.problems import Span
from fwdscope.language.record import Record


class Expression(Record):
    """A node of an expression."""

    span: Span


class Constant(Expression):
    """A number, a string, True, False, None, or ``...`` in a subscript."""

    value: Any


class Name(Expression):
    """A name."""

    id: str


class Attribute(Expression):
    """``value.name``"""

    value: Expression
    name: str
    name_span: Span


class Subscript(Expression):
    """``value[index]``; several indices are a tuple."""

    value: Expression
    index: Expression


class Slice(Expression):
    """``lower:upper:step`` in a subscript."""

    lower: Expression | None
    upper: Expression | None
    step: Expression | None


class Unparsed(Expression):
    """A text that does not parse, which the parser has reported. Its value is unknown."""


class Keyword(Record):
    """``name=value`` in a call; ``span`` is the name's."""

    name: str
    value: Expression
    span: Span


class Call(Expression):
    """``function(arguments, keywords)``"""

    function: Expression
    arguments: tuple[Expression, ...]
    keywords: tuple[Keyword, ...]

    @property
    def starred(self) -> bool:
        """Whether the number of arguments is unknown because of a ``*row`` among them."""
        return any(isinstance(a, Starred) for a in self.arguments)


class Unary(Expression):
    """``-x``, ``+x``, ``~x``, ``not x``"""

    operator: str
    operand: Expression


class Binary(Expression):
    """``left operator right``, arithmetic or bitwise."""

    operator: str
    left: Expression
    right: Expression


class Compare(Expression):
    """A chain of comparisons, ``is`` and ``in`` among them."""

    left: Expression
    operators: tuple[str, ...]
    rights: tuple[Expression, ...]


class Boolean(Expression):
    """``a and b``, ``a or b``"""

    operator: Literal["and", "or"]
    values: tuple[Expression, ...]


class Conditional(Expression):
    """``body if test else orelse``"""

    test: Expression
    body: Expression
    orelse: Expression


class TupleOrList(Expression):
    """A tuple or a list."""

    kind: Literal["tuple", "list"]
    items: tuple[Expression, ...]


class Starred(Expression):
    """``*value`` in a call, a tuple or a list."""

    value: Expression


class Clause(Record):
    """``for target in iterable if condition …``"""

    target: Target
    iterable: Expression
    conditions: tuple[Expression, ...]


class Comprehension(Expression):
    """``[element for …]`` or ``(element for …)``"""

    kind: Literal["list", "generator"]
    element: Expression
    clauses: tuple[Clause, ...]


class NameTarget(Record):
    """A name on the left of a line."""

    name: str
    span: Span


class DiscardTarget(Record):
    """``_`` on the left of a line: a result that is not used."""

    span: Span


class NumberTarget(Record):
    """``0 = Conv2d(8, 3)``: a number on the left of a line is only a path for its layer."""

    number: int
    span: Span


class TupleTarget(Record):
    """``out, (h, c)`` on the left of a line."""

    items: tuple[Target, ...]
    span: Span


Target = NameTarget | DiscardTarget | NumberTarget | TupleTarget


def leaves(target: Target) -> tuple[NameTarget | DiscardTarget | NumberTarget, ...]:
    """Return the names, numbers and ``_`` of a target, from left to right."""
    return (
        tuple(leaf for item in target.items for leaf in leaves(item)) if isinstance(target, TupleTarget) else (target,)
    )


def targets(target: Target | None) -> tuple[NameTarget, ...]:
    """Return all names of a target, from left to right."""
    return tuple(leaf for leaf in leaves(target) if isinstance(leaf, NameTarget)) if target else ()


def children(node: Expression) -> tuple[Expression, ...]:
    """Return the expressions directly inside one, in the text's order; a comprehension's clauses come first."""
    if isinstance(node, Call):
        return (node.function, *node.arguments, *[k.value for k in node.keywords])
    if isinstance(node, Comprehension):
        heads = [part for clause in node.clauses for part in (clause.iterable, *clause.conditions)]
        return (*heads, node.element)
    parts = [getattr(node, name) for name in _PARTS.get(type(node), ())]
    return tuple([one for part in parts if part for one in (part if isinstance(part, tuple) else (part,))])


# The fields of a node that hold expressions, in the order of the text.
_PARTS: dict[type[Expression], tuple[str, ...]] = {
    Attribute: ("value",),
    Starred: ("value",),
    Subscript: ("value", "index"),
    Slice: ("lower", "upper", "step"),
    Unary: ("operand",),
    Binary: ("left", "right"),
    Compare: ("left", "rights"),
    Boolean: ("values",),
    Conditional: ("test", "body", "orelse"),
    TupleOrList: ("items",),
}


def walk(node: Expression) -> Iterator[Expression]:
    """Yield an expression and all expressions inside it."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        yield here
        if not isinstance(here, Name | Constant):
            waiting += reversed(children(here))


def spelled(node: Expression) -> str | None:
    """Return ``a.b.c`` for a name with attributes, else None."""
    if isinstance(node, Name):
        return node.id
    if isinstance(node, Attribute) and (base := spelled(node.value)):
        return f"{base}.{node.name}"
    return None


def is_type_name(node: Expression) -> bool:
    """Whether a node is a name with a capital, as layers and blocks have: ``Linear``, ``package.Gate``."""
    return (spelled(node) or "").rpartition(".")[2][:1].isupper()
