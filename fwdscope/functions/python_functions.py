"""Python's own functions as an expression may call them: on numbers and lists, and bounded before they cost.

They differ from Python's in three ways: nothing that depends on the numbers in a tensor is made of one, results that
Python gives once (``zip``, ``enumerate``, ``reversed``) are lists, and sizes have a limit.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable, Iterable, Sized
from typing import Any

from fwdscope.layers.base import LayerError
from fwdscope.limits import limit

# Limits of the language: elements of a list, exponents, and the whole numbers below which an expression stays.
WHOLE_LIMIT = 2**63


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor, without importing torch: before the import nothing is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def holds_tensor(value: Any) -> bool:
    """Whether it is a tensor, or a list or tuple with one in it at any depth."""
    if isinstance(value, list | tuple):
        return any(map(holds_tensor, value))
    return is_tensor(value)


def add_up(items: Iterable[Any], start: float = 0) -> Any:
    """The sum of the items. Tensors are added one to the next, without the number that Python's ``sum`` begins with."""
    elements = _bounded(items)
    if holds_tensor(elements):
        return functools.reduce(operator.add, elements)
    return sum(elements, start)


def multiply_up(items: Iterable[Any]) -> Any:
    """The product of numbers, refused where it leaves the range of whole numbers."""
    product: Any = 1
    for item in _bounded(items):
        product *= item
        if isinstance(product, int) and abs(product) >= WHOLE_LIMIT:
            raise LayerError("the product is not below 2^63")
    return product


def power(base: float, exponent: float) -> Any:
    """``base ** exponent`` of numbers."""
    if isinstance(base, int) and isinstance(exponent, int) and abs(exponent) > limit("exponent"):
        raise LayerError(f"the exponent {exponent} is beyond the limit of {limit('exponent')}")
    return base**exponent


def _bounded(items: Any) -> Any:
    """The items, once their number is known to be within the limit."""
    if not isinstance(items, Iterable):
        raise TypeError(f"expected a list or a tuple, found {items!r}")
    elements = items if isinstance(items, Sized) else list(items)
    try:
        count = len(elements)
    except OverflowError:
        count = sys.maxsize
    if count > limit("items"):
        raise LayerError(f"{count:_} elements are beyond the limit of {limit('items'):_}")
    return elements


def _decided_by_data(name: str, help: str) -> Callable[[Any], None]:
    def refuse(value: Any) -> None:
        if is_tensor(value):
            raise LayerError(f"{name}() of a tensor leaves the graph: its numbers are known only when data runs", help)

    return refuse


def _cast(name: str, kind: Callable[..., Any], help: str) -> Callable[..., Any]:
    refuse = _decided_by_data(name, help)

    def cast(*value: Any) -> Any:
        for item in value:
            refuse(item)
        return kind(*value)

    return cast


def _range(*bounds: int) -> range:
    made = range(*bounds)
    _bounded(made)
    return made


def _zip(*rows: Iterable[Any], strict: bool = False) -> list[tuple[Any, ...]]:
    return list(zip(*map(_bounded, rows), strict=strict))


# A function of numbers or lists for each name of Python's; those of torch's names stand in where no tensor is given.
PYTHON: dict[str, Callable[..., Any]] = {
    "len": len,
    "int": _cast("int", int, "x.long() casts a tensor; a size is x.shape[0]"),
    "float": _cast("float", float, "x.float() casts a tensor"),
    "bool": _cast("bool", bool, "where(condition, a, b) chooses by data; x.bool() casts a tensor"),
    "str": _cast("str", str, "a size is x.shape[0]"),
    "range": _range,
    "list": lambda items=(): list(_bounded(items)),
    "tuple": lambda items=(): tuple(_bounded(items)),
    "zip": _zip,
    "enumerate": lambda items, start=0: list(enumerate(_bounded(items), start)),
    "reversed": lambda items: list(_bounded(items))[::-1],
    "sorted": lambda items, reverse=False: sorted(_bounded(items), reverse=reverse),
    "sum": add_up,
    "prod": multiply_up,
    "pow": power,
}
