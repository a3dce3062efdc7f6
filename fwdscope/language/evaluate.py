"""Computes the value of an expression, for numbers in the text and for tensors in a running network alike.

:func:`evaluate` walks the tree. What a name, a call or an operator means is up to its :class:`EvaluationContext`:
:func:`evaluate_plain` uses it for plain numbers; :mod:`fwdscope.model` has one for a network's tensors and layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fwdscope.errors import FwdscopeError, LayerError
from fwdscope.functions.functions import CONSTANTS, FUNCTIONS
from fwdscope.functions.resolution import implementation
from fwdscope.language import arithmetic, budget
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.expression import Expression
from fwdscope.language.problems import SpecError


class EvaluationError(FwdscopeError):
    """An exception together with the innermost node whose evaluation raised it."""

    def __init__(self, node: Expression, error: Exception) -> None:
        super().__init__(str(error))
        self.node = node
        self.error = error


class EvaluationContext:
    """The meaning of names, calls and operators where an expression is evaluated: here, that of plain values."""

    def __init__(self, variables: Mapping[str, Any], passing: tuple[type[Exception], ...] = ()) -> None:
        self.variables = dict(variables)
        # The positions in the comprehensions around the node, outermost first.
        self.turns: tuple[int, ...] = ()
        # The value of every node by its id, for messages; None if nothing needs them.
        self.values: dict[int, Any] | None = None
        # Exceptions of these types go through as they are; others become an EvaluationError.
        self.passing = passing

    def local_names(self) -> dict[str, Any]:
        """Return the names of the nearest scope, where a comprehension binds its own for a while."""
        return self.variables

    def name(self, node: ex.Name) -> Any:
        """Return the value of a name."""
        if node.id in self.variables:
            return self.variables[node.id]
        if node.id in CONSTANTS:
            return CONSTANTS[node.id]
        raise ArithmeticProblem(f"{node.id} has no value here")

    def attribute(self, node: ex.Attribute) -> Any:
        """Return ``value.name``."""
        raise ArithmeticProblem(f"a plain value has no .{node.name}")

    def call(self, node: ex.Call) -> Any:
        """Return the result of a call."""
        function = number_function(node.function.id) if isinstance(node.function, ex.Name) else None
        if function is None:
            raise ArithmeticProblem("vars are numbers, strings, booleans and lists")
        keywords = {k.name: evaluate(k.value, self) for k in node.keywords}
        return arithmetic.within(function(*evaluate_all(node.arguments, self), **keywords))

    def subscript(self, node: ex.Subscript, value: Any, index: Any) -> Any:
        """Return ``value[index]``."""
        return value[index]

    def binary(self, node: ex.Binary, left: Any, right: Any) -> Any:
        """Return ``left operator right``."""
        return arithmetic.binary(node.operator, left, right)

    def compare(self, sign: str, left: Any, right: Any) -> Any:
        """Return ``left sign right``."""
        return arithmetic.compare(sign, left, right)

    def is_true(self, value: Any) -> bool:
        """Decide a choice by a value."""
        return bool(value)

    def unparsed(self, node: ex.Unparsed) -> Any:
        """Return the value of a text that is wrong, which is reported elsewhere."""
        raise ArithmeticProblem("this has no value: it is wrong")


def evaluate(node: Expression, context: EvaluationContext) -> Any:
    """Return the value of an expression. Raises EvaluationError, and exceptions of the context's ``passing``."""
    try:
        value = _EVALUATE[type(node)](node, context)
        if context.values is not None:
            context.values[id(node)] = value
        return value
    except Exception as error:
        if isinstance(error, (EvaluationError, SpecError, *context.passing)):
            raise
        raise EvaluationError(node, error) from error


def evaluate_all(nodes: tuple[Expression, ...], context: EvaluationContext) -> list[Any]:
    """Return the values of items or arguments, with ``*row`` expanded."""
    values: list[Any] = []
    for node in nodes:
        if isinstance(node, ex.Starred):
            values.extend(arithmetic.items(evaluate(node.value, context)))
        else:
            values.append(evaluate(node, context))
    return values


def _compare(node: ex.Compare, context: EvaluationContext) -> Any:
    left, result = evaluate(node.left, context), None
    for sign, right_node in zip(node.operators, node.rights, strict=True):
        right = evaluate(right_node, context)
        result = context.compare(sign, left, right)
        if len(node.operators) > 1 and not context.is_true(result):
            return result
        left = right
    return result


def _boolean(node: ex.Boolean, context: EvaluationContext) -> Any:
    value = None
    for item in node.values:
        value = evaluate(item, context)
        if context.is_true(value) == (node.operator == "or"):
            return value
    return value


def _comprehension(node: ex.Comprehension, context: EvaluationContext) -> list[Any]:
    names, outer = context.local_names(), context.turns
    bound = {named.name for clause in node.clauses for named in ex.targets(clause.target)}
    hidden = {name: names[name] for name in bound if name in names}
    result = []
    try:
        for i, _ in enumerate(_rounds(node.clauses, names, context)):
            context.turns = (*outer, i)
            result.append(evaluate(node.element, context))
            arithmetic.within(result)
    finally:
        context.turns = outer
        for name in bound:
            names.pop(name, None)
        names.update(hidden)
    return result


def _rounds(clauses: tuple[ex.Clause, ...], names: dict[str, Any], context: EvaluationContext) -> Iterator[None]:
    if not clauses:
        yield
        return
    clause = clauses[0]
    for item in arithmetic.items(evaluate(clause.iterable, context)):
        budget.spend(budget.ROUND)
        assign(clause.target, item, names)
        if all(context.is_true(evaluate(condition, context)) for condition in clause.conditions):
            yield from _rounds(clauses[1:], names, context)


_EVALUATE: dict[type[Expression], Callable[[Any, EvaluationContext], Any]] = {
    ex.Constant: lambda node, context: node.value,
    ex.Name: lambda node, context: context.name(node),
    ex.Attribute: lambda node, context: context.attribute(node),
    ex.Subscript: lambda node, context: context.subscript(node, *evaluate_all((node.value, node.index), context)),
    ex.Slice: lambda node, context: slice(
        *(part and evaluate(part, context) for part in (node.lower, node.upper, node.step))
    ),
    ex.Call: lambda node, context: context.call(node),
    ex.Unary: lambda node, context: arithmetic.unary(node.operator, evaluate(node.operand, context)),
    ex.Binary: lambda node, context: context.binary(node, evaluate(node.left, context), evaluate(node.right, context)),
    ex.Compare: _compare,
    ex.Boolean: _boolean,
    ex.Conditional: lambda node, context: evaluate(
        node.body if context.is_true(evaluate(node.test, context)) else node.orelse, context
    ),
    ex.TupleOrList: lambda node, context: (tuple if node.kind == "tuple" else list)(evaluate_all(node.items, context)),
    ex.Comprehension: _comprehension,
    ex.Unparsed: lambda node, context: context.unparsed(node),
}


def assign(target: ex.Target, value: Any, names: dict[str, Any]) -> None:
    """Bind a value to a target, unpacking it if needed. Raises ArithmeticProblem if the number of items differs."""
    if isinstance(target, ex.NameTarget):
        names[target.name] = value
    elif isinstance(target, ex.TupleTarget):
        for item, piece in zip(target.items, _unpack(target, value), strict=True):
            assign(item, piece, names)


def _unpack(target: ex.TupleTarget, value: Any) -> list[Any]:
    names, shape = len(target.items), getattr(value, "shape", None)
    if shape is not None and len(shape) and shape[0] != names:  # checked before that many tensors are made
        message = f"{names} names for {shape[0]} values: unpacking {tuple(shape)} goes along dimension 0"
        raise ArithmeticProblem(message, "use chunk, split or unbind to split along another dimension", "type")
    try:
        pieces = list(value)
    except TypeError:
        raise ArithmeticProblem("a single value cannot be unpacked", "give it one name", "type") from None
    if len(pieces) != names:
        help = f"write `{pattern(pieces, [named.name for named in ex.targets(target)])} = …`"
        raise ArithmeticProblem(f"{names} names for {len(pieces)} values", help if len(pieces) < 10 else None, "type")
    return pieces


def pattern(pieces: Sequence[Any], names: Sequence[str] = ()) -> str:
    """Return names that unpack several results, those given as far as they go: ``a, (b, c)``, ``out, (h, _)``."""
    letters = iter(names or "abcdefghijklmnopqrstuvwxyz")

    def names_for(item: Any) -> str:
        if not isinstance(item, tuple | list):
            return next(letters, "_")
        return f"({', '.join(map(names_for, item))})"

    return ", ".join(map(names_for, pieces))


def number_function(name: str) -> Callable[..., Any] | None:
    """Return the function of plain numbers with this name, which needs no torch, or None."""
    function = FUNCTIONS.get(name)
    if function is None or (function.numbers is None and function.target != "python"):
        return None
    return implementation(function)


def evaluate_plain(node: Expression, names: Mapping[str, Any]) -> Any:
    """Return the value of an expression of numbers, strings and lists. Raises ArithmeticProblem."""
    try:
        return arithmetic.within(evaluate(node, EvaluationContext(names)))
    except EvaluationError as error:
        if isinstance(error.error, ArithmeticProblem):
            raise error.error from None
        if isinstance(error.error, LayerError):
            raise ArithmeticProblem(error.error.message, error.error.help) from None
        raise ArithmeticProblem(f"this has no value: {error}") from None
