"""Python's built-in functions as an expression may call them, on numbers and lists.

They differ from Python's in three ways: they reject tensors where the result would depend on data, return lists instead
of iterators (``zip``, ``enumerate``, ``reversed``), and limit the size of results before computing them.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable, Iterable, Sized
from typing import Any

from fwdscope.errors import LayerError
from fwdscope.layers.base import is_tensor
from fwdscope.limits import limit

# Whole numbers in expressions stay below this.
WHOLE_LIMIT = 2**63


def holds_tensor(value: Any) -> bool:
    """Whether a value is a tensor, or a list or tuple that contains one at any depth."""
    if isinstance(value, list | tuple):
        return any(map(holds_tensor, value))
    return is_tensor(value)


def add_up(items: Iterable[Any], start: float = 0) -> Any:
    """Sum the items. Tensors are added to one another, without the 0 that Python's ``sum`` starts with."""
    elements = _bounded(items)
    if holds_tensor(elements):
        return functools.reduce(operator.add, elements)
    return sum(elements, start)


def multiply_up(items: Iterable[Any]) -> Any:
    """Multiply numbers. Raises LayerError if the product leaves the range of whole numbers."""
    product: Any = 1
    for item in _bounded(items):
        product *= item
        if isinstance(product, int) and abs(product) >= WHOLE_LIMIT:
            raise LayerError("the product is not below 2^63")
    return product


def power(base: float, exponent: float) -> Any:
    """Compute ``base ** exponent`` of numbers. Raises LayerError if the exponent is too large."""
    if isinstance(base, int) and isinstance(exponent, int) and abs(exponent) > limit("exponent"):
        raise LayerError(f"the exponent {exponent} is beyond the limit of {limit('exponent')}")
    return base**exponent


def _bounded(items: Any) -> Any:
    if not isinstance(items, Iterable):
        raise TypeError(f"expected a list or a tuple, found {items!r}")
    elements = items if isinstance(items, Sized) else list(items)
    try:
        count = len(elements)
    except OverflowError:
        count = sys.maxsize
    name = "turns" if is_tensor(items) else "items"  # each item of a tensor would be a tensor
    if count > limit(name):
        message = f"{count:_} elements are beyond the limit of {limit(name):_}"
        raise LayerError(message, f"--limit {name}=N raises it" if name == "turns" else None)
    return elements


def _cast(kind: Callable[..., Any], help: str) -> Callable[..., Any]:
    def cast(*value: Any) -> Any:
        if any(map(is_tensor, value)):
            message = f"{kind.__name__}() of a tensor leaves the graph: its numbers are only known with data"
            raise LayerError(message, help)
        return kind(*value)

    return cast


# The functions of numbers or lists; those with a name in torch are called if no argument is a tensor.
PYTHON: dict[str, Callable[..., Any]] = {
    "len": len,
    "int": _cast(int, "x.long() casts a tensor; a size is x.shape[0]"),
    "float": _cast(float, "x.float() casts a tensor"),
    "bool": _cast(bool, "where(condition, a, b) chooses by data; x.bool() casts a tensor"),
    "str": _cast(str, "a size is x.shape[0]"),
    "range": lambda *bounds: _bounded(range(*bounds)),
    "list": lambda items=(): list(_bounded(items)),
    "tuple": lambda items=(): tuple(_bounded(items)),
    "zip": lambda *rows, strict=False: list(zip(*map(_bounded, rows), strict=strict)),
    "enumerate": lambda items, start=0: list(enumerate(_bounded(items), start)),
    "reversed": lambda items: list(_bounded(items))[::-1],
    "sorted": lambda items, reverse=False: sorted(_bounded(items), reverse=reverse),
    "sum": add_up,
    "prod": multiply_up,
    "pow": power,
}
