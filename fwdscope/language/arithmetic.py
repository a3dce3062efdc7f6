"""The operators of expressions, within limits: on numbers, strings and lists of the text, and on tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from itertools import islice
from types import EllipsisType, NoneType
from typing import Any

from fwdscope.functions.python_functions import WHOLE_LIMIT
from fwdscope.language.budget import ITEM, spend
from fwdscope.layers.base import is_tensor, value_text
from fwdscope.limits import at_most, limit


class ArithmeticProblem(Exception):  # noqa: N818 - it becomes a Problem
    """An operation that has no result, or none within the limits."""

    def __init__(self, message: str, help: str | None = None, code: str = "value") -> None:
        super().__init__(message)
        self.message = message
        self.help = help
        self.code = code


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "%": operator.mod, "**": operator.pow, "@": operator.matmul, "&": operator.and_, "|": operator.or_,
}  # fmt: skip

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "is": operator.is_, "is not": operator.is_not, "in": lambda a, b: a in b, "not in": lambda a, b: a not in b,
}  # fmt: skip

_UNARY: dict[str, Callable[[Any], Any]] = {
    "-": operator.neg, "+": operator.pos, "~": operator.invert, "not": operator.not_,
}  # fmt: skip

# The types of values in the text; anything else is a tensor.
_SIMPLE = (bool, int, float, str, tuple, list, range, slice, EllipsisType, NoneType)


def binary(sign: str, left: Any, right: Any) -> Any:
    """Return ``left sign right``. Raises ArithmeticProblem for plain values; errors of tensors pass through."""
    if isinstance(left, _SIMPLE) and isinstance(right, _SIMPLE):
        _refuse_growth(sign, left, right)
        value = within(_plain(_BINARY[sign], sign, left, right))
        if isinstance(value, str | tuple | list):
            spend(ITEM * len(value))
        return value
    return _BINARY[sign](left, right)


def unary(sign: str, value: Any) -> Any:
    """Return ``sign value``."""
    if sign == "~" and isinstance(value, bool):
        raise ArithmeticProblem(f"~{value} is a number in Python", f"write `not {value}`", "type")
    if isinstance(value, _SIMPLE):
        return _plain(_UNARY[sign], sign, value)
    return _UNARY[sign](value)


def compare(sign: str, left: Any, right: Any) -> Any:
    """Return the comparison ``left sign right``; a list equals a tuple of the same items, as shapes are tuples."""
    if isinstance(left, list) and isinstance(right, tuple) and sign in ("==", "!="):
        left = tuple(left)
    elif isinstance(right, list) and isinstance(left, tuple) and sign in ("==", "!="):
        right = tuple(right)
    if isinstance(left, _SIMPLE) or isinstance(right, str | tuple | list):
        return _plain(_COMPARE[sign], sign, left, right)
    return _COMPARE[sign](left, right)


def within(value: Any) -> Any:
    """Return the value, if it is within the limits of numbers, strings and lists. Raises ArithmeticProblem."""
    if isinstance(value, int):
        if not isinstance(value, bool) and abs(value) >= WHOLE_LIMIT:
            raise ArithmeticProblem("the result is too large", "whole numbers stay below 2**63", "limit")
        return value
    if isinstance(value, str) and len(value) > limit("string"):
        raise ArithmeticProblem(f"the string is longer than {limit('string'):,} characters", at_most("string"), "limit")
    if isinstance(value, tuple | list | range) and len(value) > limit("items"):
        raise ArithmeticProblem(f"the list has more than {limit('items'):,} items", at_most("items"), "limit")
    return value


def items(value: Any) -> list[Any]:
    """Return the items to iterate over, up to the limit. Raises ArithmeticProblem."""
    if isinstance(value, range):
        within(value)
    shape, most = getattr(value, "shape", None), limit("items")
    if shape is not None and len(shape) and shape[0] > limit("turns"):  # each item would be a tensor
        raise ArithmeticProblem(f"a tensor of {shape[0]:,} items is taken apart", at_most("turns"), "limit")
    if not isinstance(value, Iterable):
        raise ArithmeticProblem(f"{_shown(value)} cannot be iterated over", "put it in `range(…)`, or write a list")
    found = list(islice(value, most + 1))
    spend(len(found) * (1 if shape else ITEM))
    if len(found) > most:
        raise ArithmeticProblem(f"there are more than {most:,} items", None, "limit")
    return found


def _refuse_growth(sign: str, left: Any, right: Any) -> None:
    if sign == "**" and isinstance(right, int | float) and abs(right) > limit("exponent") and isinstance(left, int):
        raise ArithmeticProblem(f"the exponent {right} is too large", at_most("exponent"), "limit")
    if sign == "*":
        most = limit("items")
        for sequence, times in ((left, right), (right, left)):
            if isinstance(sequence, str | tuple | list) and isinstance(times, int) and len(sequence) * times > most:
                raise ArithmeticProblem(f"the list has more than {most:,} items", at_most("items"), "limit")
    if sign == "%" and isinstance(left, str):
        raise ArithmeticProblem("strings are not formatted with %", "write the string out")


def _plain(operation: Callable[..., Any], sign: str, *values: Any) -> Any:
    try:
        return operation(*values)
    except (ZeroDivisionError, OverflowError, TypeError, ValueError) as error:
        *first, last = map(_shown, values)
        written = " ".join([*first, sign, last])
        if isinstance(error, OverflowError):
            raise ArithmeticProblem(f"{written} is too large", None, "limit") from None
        reason = "divides by zero" if isinstance(error, ZeroDivisionError) else f"has no result: {error}"
        raise ArithmeticProblem(f"{written} {reason}") from None


def _shown(value: Any) -> str:
    plain = isinstance(value, _SIMPLE) and not (isinstance(value, tuple | list) and any(map(is_tensor, value)))
    text = repr(value) if plain else value_text(value)
    return text if len(text) < 40 else text[:37] + "…"
