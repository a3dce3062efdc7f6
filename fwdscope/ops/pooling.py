"""Pooling: of a window of k taps, k - 1 comparisons for a maximum, k - 1 sums and a quotient for a mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cache, partial

from fwdscope.formula import SPATIAL, count_windows, kept_sizes, set_size, window_count

from .base import ResultSizes, Terms, flops, is_dense, like, per_dimension, rule, tensor
from .op import Op, Operand
from .positions import Adapt, Passage, Slide, over_last


@cache
def _dimensions(name: str) -> int:
    """How many dimensions the window has: 2 for ``aten.max_pool2d``."""
    return int(name[name.index("d", name.index("pool")) - 1])


def _settings(op: Op) -> Iterator[tuple[int, ...]]:
    """Kernel, stride, padding and dilation of each dimension."""
    d = _dimensions(op.name)
    settings = (op.at(1), op.at(2) or op.at(1), op.at(3, 0), op.at(4, 1) if "max" in op.name else 1)
    return zip(*(per_dimension(value, d) for value in settings), strict=True)


def _ceil_mode(op: Op) -> bool:
    return bool(op.at(5 if "max" in op.name else 4, False))


def _pooled(op: Op, lengths: Iterable[int], places: bool) -> tuple[Operand, ...] | None:
    """The result of this length in each dimension, and the places of the maxima."""
    x, lengths, d = op.operand(), tuple(lengths), _dimensions(op.name)
    if len(x.shape) not in (d + 1, d + 2) or len(lengths) != d or 0 in x.shape or min(lengths) < 1 or not is_dense(x):
        return None
    out = like(x, (*x.shape[:-d], *lengths))
    return (out, tensor(out.shape, "int64")) if places else (out,)


def _output(op: Op) -> tuple[Operand, ...] | None:
    x, average = op.operand(), "avg" in op.name
    given = (op.at(1), op.at(2, ()), op.at(3, 0), 1 if average else op.at(4, 1))
    if x.dtype == "bool" or (average and "float" not in x.dtype) or not {int, tuple}.issuperset(map(type, given)):
        return None
    settings, ceil_mode = list(_settings(op)), _ceil_mode(op)
    if any(not 0 <= 2 * padding <= kernel or stride < 1 for kernel, stride, padding, _ in settings):
        return None
    sizes = zip(x.shape[-len(settings) :], settings, strict=True)
    return _pooled(op, (window_count(n, *setting, ceil_mode=ceil_mode) for n, setting in sizes), not average)


def _pool_sizes(op: Op) -> ResultSizes:
    x, d = op.operand().shape, _dimensions(op.name)
    columns = zip(SPATIAL[d], x[-d:], _settings(op), strict=True)
    windows = [count_windows(name, size, *setting, ceil_mode=_ceil_mode(op)) for name, size, setting in columns]
    return [[*kept_sizes(x[:-d]), *windows]] * len(op.outputs)


def _pool_window(op: Op, tensor: int) -> Passage:
    return over_last(len(op.operand().shape), [Slide(*settings) for settings in _settings(op)])


_rule = partial(rule, sizes=_pool_sizes, window=_pool_window, slides=True)


def _taps(op: Op) -> int:
    return math.prod(per_dimension(op.at(1), _dimensions(op.name)))


@_rule("max_pool2d_with_indices", "max_pool3d_with_indices", output=_output)
@_rule("max_pool1d", "max_pool2d", "max_pool3d", "mkldnn_max_pool2d", "mkldnn_max_pool3d", "quantized_max_pool2d")
@rule("fractional_max_pool2d", "fractional_max_pool3d")
def max_pool(op: Op) -> Terms:
    """A maximum over each window, and its place."""
    return (flops("comparisons", "N·(k - 1)", N=op.output.numel, k=_taps(op)),)


@_rule("avg_pool1d", "avg_pool2d", "avg_pool3d", output=_output)
def avg_pool(op: Op) -> Terms:
    """A mean over each window, by whatever divisor."""
    return (flops("sums, quotient", "N·k", N=op.output.numel, k=_taps(op)),)


def _adaptive_taps(size: int, windows: int) -> int:
    """The lengths of adaptive windows, summed: the i-th goes from ⌊i·n/m⌋ to ⌈(i+1)·n/m⌉."""
    return sum(-((i + 1) * size // -windows) - i * size // windows for i in range(windows))


def _adaptive_numbers(op: Op) -> dict[str, int]:
    """C channels, and the taps of all windows."""
    x, out, d = op.operand().shape, op.output.shape, _dimensions(op.name)
    taps = math.prod(_adaptive_taps(n, m) for n, m in zip(x[-d:], out[-d:], strict=True))
    return {"C": math.prod(out[:-d]), "taps": taps}


def _adaptive_output(op: Op) -> tuple[Operand, ...] | None:
    sizes = op.at(1)
    if not isinstance(sizes, tuple) or "float" not in op.operand().dtype:
        return None
    return _pooled(op, sizes, "max" in op.name)


def _adaptive_sizes(op: Op) -> ResultSizes:
    x, d = op.operand().shape, _dimensions(op.name)
    windows = map(set_size, SPATIAL[d], ("output_size",) * d, per_dimension(op.at(1), d))
    return [[*kept_sizes(x[:-d]), *windows]] * len(op.outputs)


def _adaptive_window(op: Op, tensor: int) -> Passage:
    return over_last(len(op.operand().shape), [Adapt()] * _dimensions(op.name))


_adaptive_rule = partial(rule, output=_adaptive_output, sizes=_adaptive_sizes, window=_adaptive_window, slides=True)


@_adaptive_rule("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "mkldnn_adaptive_avg_pool2d")
def adaptive_avg_pool(op: Op) -> Terms:
    """A mean over windows that divide the input as evenly as they can; the taps of all windows are counted."""
    return (flops("sums, quotient", "C·taps", **_adaptive_numbers(op)),) if op.output.numel else ()


@_adaptive_rule("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def adaptive_max_pool(op: Op) -> Terms:
    """A maximum over such windows."""
    if not op.output.numel:
        return ()
    windows = math.prod(op.output.shape[-_dimensions(op.name) :])
    return (flops("comparisons", "C·(taps - windows)", **_adaptive_numbers(op), windows=windows),)
