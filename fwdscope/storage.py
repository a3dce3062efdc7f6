"""Formats that weights and caches are stored in: ``int8``, ``int4:g128``, ``fp8``."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

_BITS = {"int8": 8, "int4": 4, "fp8": 8}
# The bytes of an element, of the dtypes that are stored otherwise.
ITEMSIZE = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


class Format(NamedTuple):
    """A format of stored numbers; a scale for each ``group`` of a row's elements, None for each row."""

    name: str
    group: int | None = None

    def __str__(self) -> str:
        return self.name + (f":g{self.group}" if self.group else "")

    def nbytes(self, shape: tuple[int, ...], dtype: str) -> int | None:
        """The bytes of a tensor of a dtype as stored; None if it stays as it is."""
        itemsize, elements = ITEMSIZE.get(dtype), math.prod(shape)
        if itemsize is None or len(shape) < 2:
            return None
        if self.name == "fp8":
            return elements + 4
        groups = math.ceil(shape[-1] / self.group) if self.group else 1
        return math.ceil(elements * _BITS[self.name] / 8) + elements // max(1, shape[-1]) * groups * itemsize

    def formula(self, shape: tuple[int, ...], dtype: str) -> str:
        """How :meth:`nbytes` comes about: ``1,024·4,096·4/8 + 1,024·32·2 = 2,162,688``; empty if nothing changes."""
        nbytes = self.nbytes(shape, dtype)
        if nbytes is None:
            return ""
        *rows, last = [f"{n:,}" for n in shape]
        elements = "·".join((*rows, last))
        if self.name == "fp8":
            return f"{elements} + 4 = {nbytes:,}"
        groups = (f"{math.ceil(shape[-1] / self.group):,}",) if self.group else ()
        scales = "·".join((*rows, *groups, str(ITEMSIZE[dtype])))
        return f"{elements}{'·4/8' if self.name == 'int4' else ''} + {scales} = {nbytes:,}"


# The dtypes of products alone, for estimates, by the formats that their weights are stored in.
PRODUCTS = {"fp8": "float8", "int8": "int8"}


class Stored(NamedTuple):
    """The formats of weights and of what is kept of earlier positions; None as they are computed with.

    ``products`` is the dtype that products run in, if it is another than that of what lies between them.
    """

    weights: Format | None = None
    cache: Format | None = None
    products: str | None = None

    def with_products(self, format: str) -> Stored:
        """Products in the dtype of a format, ``fp8`` or ``int8``, and weights stored in it if in no other."""
        return self._replace(products=PRODUCTS[format], weights=self.weights or Format(format))


def parse_format(text: str) -> Format:
    """``int8``, ``int4:g128``, ``fp8``. Raises ValueError for any other."""
    match = re.fullmatch(r"(int8|int4|fp8)(?::g(\d+))?", text.strip().lower())
    if match is None or (match[2] and (match[1] == "fp8" or not int(match[2]))):
        raise ValueError(f"{text} is no format of stored numbers: write int8, int4 or fp8, and int4:g128 for groups")
    return Format(match[1], int(match[2]) if match[2] else None)


def stored_in(weights: str | None, cache: str | None) -> Stored:
    """The formats of these names. Raises ValueError for one that there is not."""
    return Stored(
        parse_format(weights) if weights is not None else None, parse_format(cache) if cache is not None else None
    )
