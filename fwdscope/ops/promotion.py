"""Type promotion as in torch, of dtypes by name: ``float32``, ``int64``.

After c10/core/ScalarType.cpp (``promoteTypes``) and ATen/native/TypeProperties.cpp (``result_type``): a tensor with
dimensions takes precedence over one without, and that over a Python number, unless the other has a higher category.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from fwdscope.errors import FwdscopeError

# torch's default dtype, which integers take where floating point is needed; rules do not know it.
DEFAULT = "default"

ITEMSIZE = {
    "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint16": 2, "uint32": 4, "uint64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex32": 4, "complex64": 8, "complex128": 16,
    "float8_e4m3fn": 1, "float8_e5m2": 1, DEFAULT: 0,
}  # fmt: skip
_WHOLE = ("uint8", "int8", "int16", "int32", "int64")
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_COMPLEX_OF = {"float16": "complex32", "float32": "complex64", "float64": "complex128"}
_REAL_OF = {value: key for key, value in _COMPLEX_OF.items()}
COMPLEX = frozenset(_REAL_OF)


class UnpromotedError(FwdscopeError):
    """A promotion that is left to torch."""


def is_complex(dtype: str) -> bool:
    """Whether a dtype is complex."""
    return dtype in COMPLEX


def is_floating(dtype: str) -> bool:
    """Whether a dtype is real floating point."""
    return dtype in _FLOATS or dtype == DEFAULT


def is_whole(dtype: str) -> bool:
    """Whether a dtype is integer or boolean."""
    return dtype == "bool" or dtype in _WHOLE


def complex_of(dtype: str) -> str:
    """The complex dtype with parts of a real one."""
    if dtype not in _COMPLEX_OF:
        raise UnpromotedError(dtype)
    return _COMPLEX_OF[dtype]


# Of two dtypes of different ranks, the higher one is the result.
_RANKS = {"bool": 0} | dict.fromkeys(_WHOLE, 1) | dict.fromkeys((*_FLOATS, DEFAULT), 2) | dict.fromkeys(_REAL_OF, 3)


def _rank(dtype: str) -> int:
    if dtype not in _RANKS:
        raise UnpromotedError(dtype)
    return _RANKS[dtype]


def promote(a: str, b: str) -> str:
    """The dtype that two dtypes promote to."""
    if a == b:
        return a
    ranks = _rank(a), _rank(b)
    if 3 in ranks:
        if "bfloat16" in (a, b):
            raise UnpromotedError("bfloat16")
        parts = [_REAL_OF.get(dtype, dtype) for dtype in (a, b) if not is_whole(dtype)]
        return complex_of(parts[0] if len(parts) == 1 else promote(*parts))
    if ranks[0] != ranks[1]:
        return a if ranks[0] > ranks[1] else b
    if DEFAULT in (a, b):
        raise UnpromotedError(f"{a} and {b}")
    if ranks[0] == 1:
        # uint8 and a signed type: the next that holds both.
        if {a, b} == {"uint8", "int8"}:
            return "int16"
        return max(a, b, key=_WHOLE.index)
    if {a, b} == {"float16", "bfloat16"}:
        return "float32"
    return max(a, b, key=_FLOATS.index)


# The dtypes of Python's numbers; complex ones are left to torch.
_OF_NUMBER = ((bool, "bool"), (int, "int64"), (float, DEFAULT))


def _combine(higher: str | None, lower: str | None) -> str | None:
    if higher is None or lower is None:
        return higher or lower
    if is_complex(higher):
        return higher
    if is_floating(higher):
        return complex_of(higher) if is_complex(lower) else higher
    if higher == "bool" or not is_whole(lower):
        return promote(higher, lower)
    return higher


def result_type(values: Iterable[Any]) -> str:
    """The dtype that tensors and Python numbers promote to. Raises UnpromotedError if torch has to be asked."""
    numbers = (int, float, complex)
    return _of_kinds(tuple([type(x) if isinstance(x, numbers) else (x.dtype, bool(x.shape)) for x in values]))


@cache
def _of_kinds(kinds: tuple[type | tuple[str, bool], ...]) -> str:
    """The same from what matters: a tensor's dtype and whether it has dimensions, a number's type."""
    weights: list[str | None] = [None, None, None]
    for kind in kinds:
        if isinstance(kind, type):
            weight, dtype = 2, next((dtype for number, dtype in _OF_NUMBER if issubclass(kind, number)), "")
        else:
            dtype, dimensions = kind
            weight = 0 if dimensions else 1
        _rank(dtype)
        present = weights[weight]
        weights[weight] = dtype if present is None else promote(present, dtype)
    found = _combine(weights[0], _combine(weights[1], weights[2]))
    if found is None:
        raise UnpromotedError("nothing")
    return found
