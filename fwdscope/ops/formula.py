"""Formulas in the field's symbols, ``2·M·K·N + M·N``: evaluated exactly, and shown with the numbers put in.

The text of a formula is its only definition. What a rule counts is computed from the very text that is printed, so the
two cannot part. ``·`` is a product, ``/`` an exact division of whole numbers (a kernel's channels by its groups),
``round``, ``ceil`` and ``log2`` are what they say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from types import CodeType

_WORDS = {"__builtins__": {}, "round": round, "ceil": math.ceil, "log2": lambda n: math.log2(n) if n > 0 else 0.0}
_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


_CODES: dict[str, CodeType] = {}


def _code(formula: str) -> CodeType:
    return compile(formula.replace("·", "*").replace("/", "//"), f"<{formula}>", "eval")


def value(formula: str, numbers: Mapping[str, int]) -> int:
    """What the formula gives for these numbers.

    Formulas are literals of this package, never text of a user.
    """
    code = _CODES.get(formula)
    if code is None:
        code = _CODES[formula] = _code(formula)
    return int(eval(code, _WORDS, numbers))


@cache
def is_sum(formula: str) -> bool:
    """Whether it has a ``+`` or ``-`` outside of parentheses, and so needs some as a factor."""
    depth = 0
    for sign in formula:
        depth += (sign == "(") - (sign == ")")
        if sign in "+-" and not depth:
            return True
    return False


def doubled(formula: str) -> str:
    """Twice the formula."""
    return f"2·({formula})" if is_sum(formula) else f"2·{formula}"


def with_numbers(formula: str, numbers: Mapping[str, int]) -> str:
    """The formula with numbers for its symbols: ``2·4·5·6 + 4·6``."""
    return _SYMBOL.sub(lambda found: f"{numbers[found[0]]:,}" if found[0] in numbers else found[0], formula)
