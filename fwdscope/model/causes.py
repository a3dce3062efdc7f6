"""Turns an error at a node into a problem in the spec's words: which operand has which size, and which line made it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import Tensor

from fwdscope.default_dtype import default_dtype
from fwdscope.errors import LayerError
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.evaluate import EvaluationError
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.problems import Cause, Problem
from fwdscope.model.blueprint import BuildLog
from fwdscope.model.context import BodyContext
from fwdscope.model.shapes import ShapeError, dtype_text, shape_text
from fwdscope.model.values import Origin, first_tensor

MAX_OPERANDS_SHOWN = 6
MAX_CHARACTERS_OF_OPERAND = 40


def problem(context: BodyContext, error: EvaluationError) -> Problem:
    """Return the problem of an error, with the shapes of the operands and the lines that made them."""
    source, node, fact = context.blueprint.spec.source, error.node, error.error
    if isinstance(fact, ArithmeticProblem):
        return Problem(source, node.span, fact.code, fact.message, fact.help)
    operands = _operands(context, node)
    causes = tuple(_cause(_text(context, item), x, context.names.origin(item)) for item, x in operands)
    if not causes and isinstance(context.names.prev, Tensor):
        causes = (_cause("prev", context.names.prev, context.names.prev_origin),)
    if isinstance(fact, LayerError):
        layer = _layer(node)
        message = fact.message if layer is None or layer in fact.message else f"{layer}: {fact.message}"
        return Problem(source, node.span, "shape", message, fact.help, causes)
    if isinstance(fact, ShapeError):
        texts = {id(value): _text(context, item) for item, value in reversed(operands)}
        fallback = ("the first", "the second")
        names = [texts.get(id(t), name) for t, name in zip(fact.operands, fallback, strict=False)]
        lost, help = _dropped_row(context, fact.clash)
        message = fact.message.format(*names) if names else fact.message
        return Problem(source, node.span, fact.code, message, help or fact.help, (*causes, *lost))
    # torch's message in the spec's words, or without its advice about Python.
    text = str(fact).strip().split("\n")[0] or type(fact).__name__
    reworded = ((re.search(pattern, text), message, help) for pattern, message, help in _REWORDED)
    plain = re.sub(r"^(?:[\w.]*Error: |\w+(?:\(\))?: )", "", text), None
    message, help = next(((m.format(*found.groups()), help) for found, m, help in reworded if found), plain)
    return Problem(source, node.span, "shape", f"{_subject(context, node)}: {message}", help, causes)


# --- the subject and the operands ------------------------------------------------------------------------------------


def _layer(node: Expression) -> str | None:
    """Return the type of the layer at a node, ``Conv2d`` of ``Conv2d(8, 3)(x)``; None if it is called by a name."""
    while isinstance(node, Call):
        node = node.function
    return node.id if isinstance(node, Name) and node.id[:1].isupper() else None


def _subject(context: BodyContext, node: Expression) -> str:
    """Return the function, method, layer or operator that a message begins with."""
    match node:
        case Call(function=ex.Attribute(name=name)):
            return name
        case Call():
            return _layer(node) or context.text(node.function)
        case ex.Binary() | ex.Unary():
            return node.operator
    return _text(context, node)


def _text(context: BodyContext, node: Expression) -> str:
    text = context.text(node)
    return text if len(text) <= MAX_CHARACTERS_OF_OPERAND else text[: MAX_CHARACTERS_OF_OPERAND - 1] + "…"


def _operands(context: BodyContext, node: Expression) -> list[tuple[Expression, Tensor]]:
    """Return the tensors of an operation, each once, and the expressions of their values."""
    found: dict[str, tuple[Expression, Tensor]] = {}
    for item in _parts(node):
        value = first_tensor((context.values or {}).get(id(item)))
        if isinstance(value, Tensor):
            found.setdefault(context.text(item), (item, value))
    return list(found.values())[:MAX_OPERANDS_SHOWN]


def _parts(node: Expression) -> Iterator[Expression]:
    """Iterate over the operands of a node's outermost operation, with lists flattened."""
    found = list(ex.children(node))
    if isinstance(node, Call):
        receiver = [node.function.value] if isinstance(node.function, ex.Attribute) else []
        found = [*receiver, *node.arguments, *(k.value for k in node.keywords)]
    for item in found:
        if isinstance(item, ex.TupleOrList):
            yield from _parts(item)
        else:
            yield item


def _cause(text: str, value: Tensor, origin: Origin | None) -> Cause:
    dtype = "" if value.dtype == default_dtype() else f" {dtype_text(value)}"
    made = f"  {origin.text}" if origin else ""
    return Cause(f"{text} {shape_text(value)}{dtype}{made}", origin.span if origin else None)


# --- torch's own errors ----------------------------------------------------------------------------------------------

_REWORDED = (
    (
        r"Dimension out of range \(expected to be in range of \[(-?\d+), (-?\d+)\], but got (-?\d+)\)",
        "there is no dimension {2}: it may be from {0} to {1}",
        None,
    ),
    (
        r"index (-?\d+) is out of bounds for dimension (\d+) with size (\d+)",
        "index {0} is out of range: dimension {1} has size {2}",
        None,
    ),
    (r"too many indices for tensor of dimension (\d+)", "more indices than the {0} dimensions of the tensor", None),
    (
        r"expanded size of the tensor \((\d+)\) must match the existing size \((\d+)\) .* dimension (\d+)",
        "dimension {2} has size {1} and cannot become {0}: only a size of 1 expands",
        None,
    ),
    (r"input\.dim\(\) = (\d+) is not equal to len\(dims\) = (\d+)", "{1} dimensions for a tensor of {0}", None),
    (
        r"expected predicate to be bool, got torch\.(\w+)",
        "the mask is {0} and must be bool",
        "a comparison makes a mask: `x > 0`",
    ),
    (r"only implemented on integer and Boolean-type", "only for masks and integers", "write `-x`, or `~(x > 0)`"),
    (r"'float' object cannot be interpreted as an integer", "an integer is needed", "// divides without a remainder"),
    (
        r"view size is not compatible",
        "a view needs the elements in the order of the dimensions",
        "write `.reshape(…)`, which copies if needed",
    ),
)


# --- odd sizes that were halved --------------------------------------------------------------------------------------


def _dropped_row(context: BodyContext, clash: tuple[int, int] | None) -> tuple[tuple[Cause, ...], str | None]:
    """Return the step that halved an odd size, which explains why two sizes differ, and the image sizes that fit."""
    log = context.blueprint.log
    if clash is None or log is None:
        return (), None
    large, small = max(clash), min(clash)
    for step in log.steps:  # a layer's step comes before that of its block
        for before, after in zip(step.before[2:], step.after[2:], strict=False):
            if before == large and after == large // 2 and 2 * after == small and large % 2:
                text = f"{large} became {after}: floor({large} / 2) drops a row, and 2 * {after} = {small}"
                return (Cause(f"{text}  {step.text}", step.span),), _divisible(log)
    return (), None


def _divisible(log: BuildLog) -> str | None:
    """Return the image sizes that fit: divisible by 2 as often as the network halves them."""
    image = next((shape for shape in log.input_shapes if len(shape) > 2), None)
    if image is None:
        return None
    here, halvings = image[-1], 0
    for step in log.steps:
        spatial = len(step.before) > 2 and len(step.after) == len(step.before)
        if spatial and step.before[-1] == here and step.after[-1] == here // 2 and here > 1:
            here, halvings = here // 2, halvings + 1
    return f"an image size divisible by {2**halvings} fits; here it is {image[-1]}" if halvings else None
