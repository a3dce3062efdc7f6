"""Resizing and sampling: weighted sums of neighbours. Index arithmetic is not counted.

Linear interpolation is two products and a sum along each dimension in turn: 3 for one, 9 for two, 21 for three; cubic
four products and three sums: 7 for each of four rows and once across them, 35. The nearest neighbour moves data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from fwdscope.formula import SPATIAL, Size, kept_size, kept_sizes, set_size

from .base import (
    ResultSizes,
    Rule,
    Term,
    Terms,
    flops,
    is_dense,
    like,
    macs,
    no_terms,
    register,
    register_formula,
    rule,
)
from .op import Op, Operand
from .positions import Passage, Resample, over_last


def _output(op: Op) -> tuple[Operand, ...] | None:
    x, sizes = op.operand(), op.at(1)
    if op.overload != "default" or not isinstance(sizes, tuple) or len(x.shape) != len(sizes) + 2 or not is_dense(x):
        return None
    # One channel, or one pixel, has both memory formats at once, and torch prefers channels last.
    if 0 in x.shape or min(sizes) < 1 or 1 in x.shape[1:] or "float" not in x.dtype:
        return None
    return (like(x, (*x.shape[:2], *sizes)),)


def _sizes(op: Op) -> ResultSizes:
    x, out = op.operand().shape, op.output.shape
    scaled = [
        Size(name, f"{was:,}·{made // was}") if made % was == 0 else set_size(name, "size", made)
        for name, was, made in zip(SPATIAL[len(x) - 2], x[2:], out[2:], strict=True)
    ]
    return ([*kept_sizes(x[:2]), *scaled],)


def _window(op: Op, tensor: int) -> Passage:
    """Nearest reads one place; linear the two around the place, cubic four."""
    rank = len(op.operand().shape)
    if "nearest" in op.name:
        reading = Resample(centre="result" if "exact" in op.name else "corner")
    else:
        below, above = (1, 2) if "bicubic" in op.name else (0, 1)
        reading = Resample(below, above, bool(op.at(2, False)), "both")
    return over_last(rank, [reading] * (rank - 2))


_RESIZED: dict[str, Any] = {"output": _output, "sizes": _sizes, "window": _window}
register_formula("upsample_linear1d", "two products, sum", "3·N", **_RESIZED)
register_formula("upsample_bilinear2d", "six products, three sums", "9·N", **_RESIZED)
register_formula("upsample_trilinear3d", "fourteen products, seven sums", "21·N", **_RESIZED)
register_formula("upsample_bicubic2d", "twenty products, fifteen sums", "35·N", **_RESIZED)
for _d in (1, 2, 3):
    register((f"upsample_nearest{_d}d", f"_upsample_nearest_exact{_d}d"), Rule(no_terms, **_RESIZED))


def filter_sizes(name: str, x: Sequence[int], out: Sequence[int]) -> dict[str, int]:
    """Channels, sizes, and the taps of a filter that is as wide as the scale makes it."""
    reach = {"bilinear": 2, "bicubic": 4, "lanczos": 6}[name.split("_")[2].removesuffix("2d")]
    found = {"C": math.prod(out[:-2])}
    for symbol, n, m in zip("HW", x[-2:], out[-2:], strict=True):
        taps = 2 * math.ceil(reach / 2 * max(n / m, 1.0)) + 1
        found |= {f"{symbol}_in": n, f"{symbol}_out": m, f"t_{symbol.lower()}": taps}
    return found


@rule("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "_upsample_lanczos2d_aa")
def antialiased(op: Op) -> Iterator[Term]:
    """Two passes, along the width and then the height."""
    numbers = filter_sizes(op.name, op.operand().shape, op.output.shape)
    yield flops("along the width", "C·H_in·W_out·(2·t_w - 1)", **numbers)
    yield flops("along the height", "C·H_out·W_out·(2·t_h - 1)", **numbers)


def _grid_sizes(op: Op) -> ResultSizes:
    grid = op.operand(1).shape
    return ([*kept_sizes(op.operand().shape[:2]), *(kept_size(f"grid_{i}", n) for i, n in enumerate(grid[1:-1], 1))],)


@rule("grid_sampler_2d", "grid_sampler_3d", "_grid_sampler_2d_cpu_fallback", "cudnn_grid_sampler", sizes=_grid_sizes)
def grid_sample(op: Op) -> Terms:
    """The coordinates of each point; if the mode is linear (0) or cubic (2), also weights and their weighted sum.

    A coordinate is scaled by a sum, a product and a quotient. The weights of 2ᵈ corners are d differences to each side
    and d - 1 products each. Cubic ones are polynomials of four distances along each of two dimensions: three sums, two
    polynomials of five results and two of six.
    """
    d = int(op.name.split("grid_sampler_")[1][0]) if op.name != "aten.cudnn_grid_sampler" else 2
    mode = op.at(2, 0)
    points, corners = math.prod(op.operand(1).shape[:-1]), 2**d
    terms = [flops("coordinates", "3·d·points", d=d, points=points)]
    if mode == 2:
        terms.append(flops("weights", "50·points", points=points))
        terms.append(flops("twenty products, fifteen sums", "35·N", N=op.output.numel))
    elif mode == 0:
        terms.append(flops("weights", "points·(2·d + (d - 1)·corners)", points=points, d=d, corners=corners))
        terms.append(flops("weighted sum", "N·(2·corners - 1)", N=op.output.numel, corners=corners))
    return terms


@rule("affine_grid_generator")
def affine_grid(op: Op) -> Terms:
    """Each point of a regular grid, (x, y, 1), times a matrix."""
    theta, out = op.operand(), op.output
    d = theta.shape[-2]
    return (macs("matrix product", "points·d·(d + 1)", points=math.prod(out.shape[:-1]), d=d),)
