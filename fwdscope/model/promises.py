"""Checks promised shapes, ``-> (B, 10)``, against the values of their lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.expression import Expression, Name
from fwdscope.language.problems import Problem, Source

Evaluate = Callable[[Expression], Any]


def broken_promise(source: Source, promise: tree.PromisedShape, value: Any, evaluate: Evaluate) -> Problem:
    """Return the problem of a wrong promise, with the promise that is right."""
    promised, got = promise.text, shape_of(value)
    known = sizes(promise.shape, evaluate)
    meaning = f" = {known}" if known is not None and str(known) != promised else ""
    better = got
    if known is not None and isinstance(value, Tensor) and len(known) == value.dim():
        pairs = zip(ex.children(promise.shape), known, value.shape, strict=True)
        better = _tuple_text(source[item.span] if a == b else str(b) for item, a, b in pairs)
    help = f"if that shape is right, write `-> {better}`" if isinstance(value, Tensor) else None
    return Problem(source, promise.span, "promise", f"promised {promised}{meaning}, got {got}", help)


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
        return _tuple_text(map(shape_of, value))
    return repr(value)


def _tuple_text(items: Iterable[str]) -> str:
    texts = list(items)
    return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"


def _is_any(node: Expression) -> bool:
    return isinstance(node, Name) and node.id == "_"


def matches(shape: Expression, value: Any, evaluate: Evaluate) -> bool:
    """Whether a value has a promised shape."""
    if _is_any(shape):
        return True
    if not isinstance(shape, ex.TupleOrList):
        return False
    items = shape.items
    several = any(isinstance(item, ex.TupleOrList) for item in items)
    if isinstance(value, Tensor):
        if several and len(items) == 1:
            return matches(items[0], value, evaluate)
        if not several:
            pairs = zip(items, value.shape, strict=False)
            return len(items) == value.dim() and all(_is_any(item) or evaluate(item) == size for item, size in pairs)
        # One tensor over whose first dimension the shapes run: `q, k, v = qkv.permute(2, 0, 3, 1, 4)`.
        parts: Any = value if value.dim() else ()
    elif isinstance(value, tuple | list):
        parts = value
        if not several and not (len(items) == len(value) and items and all(map(_is_any, items))):
            return bool(value) and matches(shape, value[0], evaluate)
    else:
        return False
    return len(items) == len(parts) and all(matches(s, v, evaluate) for s, v in zip(items, parts, strict=True))
