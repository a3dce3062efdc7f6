"""Checks promised shapes, ``-> (B, 10)``, against the values that came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.expression import Expression, Name
from fwdscope.language.problems import Problem, Source
from fwdscope.report import Promise

Evaluate = Callable[[Expression], Any]


def check_promise(promise: tree.PromisedShape, value: Any, evaluate: Evaluate) -> Promise:
    """Return whether a value has the promised shape, and the shape it has if not."""
    if _matches(promise.shape, value, evaluate):
        return Promise(promise.text, True)
    return Promise(promise.text, False, shape_of(value))


def broken_promise(source: Source, promise: tree.PromisedShape, value: Any, evaluate: Evaluate) -> Problem:
    """Return the problem of a wrong promise, with the promise that is right."""
    promised, got = promise.text, shape_of(value)
    known = sizes(promise.shape, evaluate)
    meaning = f" = {known}" if known is not None and str(known) != promised else ""
    better = _better(promise.shape, value, known, source)
    help = f"if that shape is right, write `-> {better}`" if better else None
    return Problem(source, promise.span, "promise", f"promised {promised}{meaning}, got {got}", help)


def _better(shape: Expression, value: Any, known: tuple[int, ...] | None, source: Source) -> str | None:
    """Return the shape of a tensor, with the promise's words for the sizes that are right."""
    if not isinstance(value, Tensor):
        return None
    if known is None or not isinstance(shape, ex.TupleOrList) or len(known) != value.dim():
        return shape_of(value)
    texts = (
        source[item.span] if a == b else str(b) for item, a, b in zip(shape.items, known, value.shape, strict=True)
    )
    inside = ", ".join(texts)
    return f"({inside},)" if value.dim() == 1 else f"({inside})"


def sizes(shape: Expression, evaluate: Evaluate) -> tuple[int, ...] | None:
    """Return the promised sizes of one tensor, or None unless all are known."""
    if not isinstance(shape, ex.TupleOrList) or any(_is_any(i) or isinstance(i, ex.TupleOrList) for i in shape.items):
        return None
    values = tuple(evaluate(item) for item in shape.items)
    return values if all(isinstance(v, int) and 0 <= v < 2**40 for v in values) else None


def shape_of(value: Any) -> str:
    """Return the shape of a tensor, or of all in a tuple, as text."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if isinstance(value, tuple | list):
        inside = ", ".join(shape_of(item) for item in value)
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    return repr(value)


def _is_any(node: Expression) -> bool:
    return isinstance(node, Name) and node.id == "_"


def _matches(shape: Expression, value: Any, evaluate: Evaluate) -> bool:
    if _is_any(shape):
        return True
    if not isinstance(shape, ex.TupleOrList):
        return False
    several = any(isinstance(item, ex.TupleOrList) for item in shape.items)
    if isinstance(value, tuple | list):
        if several or (len(shape.items) == len(value) and shape.items and all(_is_any(i) for i in shape.items)):
            return len(shape.items) == len(value) and all(
                _matches(s, v, evaluate) for s, v in zip(shape.items, value, strict=True)
            )
        return bool(value) and _matches(shape, value[0], evaluate)
    if not isinstance(value, Tensor):
        return False
    if several and len(shape.items) == 1:
        return _matches(shape.items[0], value, evaluate)
    if several:
        # One tensor over whose first dimension the shapes run: `q, k, v = qkv.permute(2, 0, 3, 1, 4)`.
        return len(shape.items) == value.shape[0] and all(
            _matches(s, v, evaluate) for s, v in zip(shape.items, value, strict=True)
        )
    return len(shape.items) == value.dim() and all(
        _is_any(item) or evaluate(item) == size for item, size in zip(shape.items, value.shape, strict=True)
    )
