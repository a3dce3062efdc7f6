"""Pooling: of a window of k taps, k - 1 comparisons for a maximum, k - 1 sums and a quotient for a mean."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache, partial
from typing import TypeAlias

from fwdscope.formula import SPATIAL, count_windows, kept_sizes, set_size

from .base import Output, ResultSizes, Term, Terms, flops, is_dense, like, rule, tensor
from .layout import Shape
from .op import Op, Operand
from .positions import Adapt, Passage, Slide, over_last

Sizes: TypeAlias = "int | tuple[int, ...]"


def _sizes(value: Sizes, d: int) -> tuple[int, ...]:
    """One size for all dimensions may be given once."""
    given = (value,) if isinstance(value, int) else value
    return given * d if len(given) == 1 else given


def _dimensions(op: Op) -> int:
    """How many dimensions the window has: 2 for ``max_pool2d``."""
    return _of_name(op.name)


@cache
def _of_name(name: str) -> int:
    return int(name[name.index("d", name.index("pool")) - 1])


def _lengths(
    shape: Shape, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil: bool
) -> tuple[int, ...] | None:
    """How many windows there are along each of the last dimensions; None where there are none."""
    found = []
    given = [_sizes(x, len(shape)) for x in (kernel, stride or kernel, padding, dilation)]
    for n, k, s, p, e in zip(shape, *given, strict=True):
        if not 0 <= 2 * p <= k or s < 1:
            return None
        reach = n + 2 * p - e * (k - 1) - 1
        count = (reach + (s - 1 if ceil else 0)) // s + 1
        # With ceil_mode the last window must begin inside the input or its left padding.
        found.append(count - 1 if ceil and (count - 1) * s >= n + p else count)
    return tuple(found) if min(found) > 0 else None


def _output(places: bool, average: bool = False) -> Output:
    def output(op: Op) -> tuple[Operand, ...] | None:
        x, d = op.operand(), _dimensions(op)
        kernel, stride, padding = op.at(1), op.at(2, ()), op.at(3, 0)
        dilation, ceil = (1, op.at(4, False)) if average else (op.at(4, 1), op.at(5, False))
        if len(x.shape) not in (d + 1, d + 2) or 0 in x.shape or not is_dense(x) or (average and not _is_float(x)):
            return None
        if not _KINDS.issuperset(map(type, (kernel, stride, padding, dilation))):
            return None
        lengths = _lengths(x.shape[-d:], kernel, stride, padding, dilation, ceil)
        if lengths is None or x.dtype == "bool":
            return None
        out = like(x, (*x.shape[:-d], *lengths))
        return (out, tensor(out.shape, "int64")) if places else (out,)

    return output


_KINDS = frozenset((int, tuple))


def _is_float(x: Operand) -> bool:
    return "float" in x.dtype


def _taps(op: Op) -> int:
    return math.prod(_sizes(op.at(1), _dimensions(op)))


def _settings(op: Op) -> Iterator[tuple[int, ...]]:
    """Kernel, stride, padding and dilation of each dimension."""
    d = _dimensions(op)
    dilation = op.at(4, 1) if "max" in op.name else 1
    settings = (op.at(1), op.at(2) or op.at(1), op.at(3, 0), dilation)
    return zip(*(_sizes(value, d) for value in settings), strict=True)


def _pool_sizes(op: Op) -> ResultSizes:
    x, d = op.operand().shape, _dimensions(op)
    ceil_mode = op.at(5 if "max" in op.name else 4, False)
    columns = zip(SPATIAL[d], x[-d:], _settings(op), strict=True)
    windows = [count_windows(name, size, k, s, p, e, ceil_mode) for name, size, (k, s, p, e) in columns]
    return [[*kept_sizes(x[:-d]), *windows]] * len(op.outputs)


def _pool_window(op: Op, tensor: int) -> Passage:
    return over_last(len(op.operand().shape), [Slide(*settings) for settings in _settings(op)])


_rule = partial(rule, sizes=_pool_sizes, window=_pool_window, slides=True)


@_rule("max_pool2d_with_indices", "max_pool3d_with_indices", output=_output(places=True))
def max_pool(op: Op) -> Terms:
    """A maximum over each window, and its place."""
    return (flops("comparisons", "N·(k - 1)", N=op.output.numel, k=_taps(op)),)


@_rule("max_pool1d", "max_pool2d", "max_pool3d", "mkldnn_max_pool2d", "mkldnn_max_pool3d", "quantized_max_pool2d")
def max_pool_alone(op: Op) -> Terms:
    """A maximum over each window."""
    return max_pool(op)


@rule("fractional_max_pool2d", "fractional_max_pool3d")
def fractional_max_pool(op: Op) -> Terms:
    """A maximum over windows whose places are drawn."""
    return max_pool(op)


@_rule("avg_pool1d", "avg_pool2d", "avg_pool3d", output=_output(places=False, average=True))
def avg_pool(op: Op) -> Terms:
    """A mean over each window, by whatever divisor."""
    return (flops("sums, quotient", "N·k", N=op.output.numel, k=_taps(op)),)


def _adaptive_taps(size: int, windows: int) -> int:
    """The lengths of adaptive windows, summed: the i-th goes from ⌊i·n/m⌋ to ⌈(i+1)·n/m⌉."""
    return sum(-((i + 1) * size // -windows) - i * size // windows for i in range(windows))


def _adaptive(op: Op, what: str, less: bool) -> list[Term]:
    x, out = op.operand(), op.output
    d = _dimensions(op)
    if 0 in out.shape:
        return []
    taps = math.prod(_adaptive_taps(n, m) for n, m in zip(x.shape[-d:], out.shape[-d:], strict=True))
    numbers = {"C": math.prod(out.shape[:-d]), "taps": taps}
    if less:
        return [flops(what, "C·(taps - windows)", **numbers, windows=math.prod(out.shape[-d:]))]
    return [flops(what, "C·taps", **numbers)]


def _adaptive_output(places: bool) -> Output:
    def output(op: Op) -> tuple[Operand, ...] | None:
        x, d = op.operand(), _dimensions(op)
        sizes = op.at(1)
        fits = len(x.shape) in (d + 1, d + 2) and is_dense(x) and _is_float(x) and isinstance(sizes, tuple)
        if not fits or len(sizes) != d or 0 in x.shape or min(sizes) < 1:
            return None
        out = like(x, (*x.shape[:-d], *sizes))
        return (out, tensor(out.shape, "int64")) if places else (out,)

    return output


def _adaptive_sizes(op: Op) -> ResultSizes:
    x, d = op.operand().shape, _dimensions(op)
    windows = map(set_size, SPATIAL[d], ("output_size",) * d, _sizes(op.at(1), d))
    return [[*kept_sizes(x[:-d]), *windows]] * len(op.outputs)


def _adaptive_window(op: Op, tensor: int) -> Passage:
    return over_last(len(op.operand().shape), [Adapt()] * _dimensions(op))


_adaptive_rule = partial(rule, sizes=_adaptive_sizes, window=_adaptive_window, slides=True)


@_adaptive_rule(
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "mkldnn_adaptive_avg_pool2d",
    output=_adaptive_output(places=False),
)  # fmt: skip
def adaptive_avg_pool(op: Op) -> Terms:
    """A mean over windows that divide the input as evenly as they can; the taps of all windows are counted."""
    return _adaptive(op, "sums, quotient", False)


@_adaptive_rule(
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", output=_adaptive_output(places=True)
)
def adaptive_max_pool(op: Op) -> Terms:
    """A maximum over such windows."""
    return _adaptive(op, "comparisons", True)
