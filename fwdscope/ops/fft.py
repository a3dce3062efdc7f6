"""Fourier transforms: 5·n·log2(n) by convention (Frigo and Johnson 2005), half of it where one side is real.

Over several dimensions n is the product of their lengths; N counts all elements.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from fwdscope.formula import Size, kept_sizes, replace_size

from .base import ResultSizes, Rule, Term, flops, register
from .op import Op, Operand


def _terms(op: Op, side: Operand, factor: str) -> Iterator[Term]:
    dims = op.at(1)
    n = math.prod(side.shape[d] for d in dims)
    yield flops("transform", f"round({factor}·N·log2(n))", N=side.numel, n=n)
    # A norm of 0 scales by nothing.
    if op.at(2):
        parts = 2 if "complex" in op.output.dtype else 1
        yield flops("normalisation", f"{parts}·M" if parts > 1 else "M", M=op.output.numel)


def _half_sizes(op: Op) -> ResultSizes:
    x, last = op.operand().shape, op.at(1)[-1]
    half = Size(f"size_{last % len(x)}", f"⌊{x[last]:,} / 2⌋ + 1", note="the other half mirrors it")
    return (replace_size(x, last, half),) if op.at(3, True) else (kept_sizes(x),)


register(("_fft_c2c",), Rule(lambda op: _terms(op, op.operand(), "5")))
# Half of the result is the mirror image of the other.
register(("_fft_r2c",), Rule(lambda op: _terms(op, op.operand(), "2.5"), sizes=_half_sizes))
# Of the real elements of the result.
register(("_fft_c2r",), Rule(lambda op: _terms(op, op.output, "2.5")))
