"""Pooling: of a window of k taps, k - 1 comparisons for a maximum, k - 1 sums and a quotient for a mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from fwdscope.formula import SPATIAL, count_windows, kept_sizes, set_size, window_count

from .base import ResultSizes, is_dense, like, per_dimension, register_formula, tensor
from .op import Op, Operand
from .positions import Adapt, Passage, Slide, over_last


@cache
def _dimensions(name: str) -> int:
    return int(name[name.index("d", name.index("pool")) - 1])  # 2 for aten.max_pool2d


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


def _windows(op: Op) -> dict[str, int]:
    """N windows of k taps."""
    return {"N": op.output.numel, "k": math.prod(per_dimension(op.at(1), _dimensions(op.name)))}


_FACTS: dict[str, Any] = {"numbers": _windows, "sizes": _pool_sizes, "window": _pool_window, "slides": True}
register_formula(
    "max_pool2d_with_indices max_pool3d_with_indices", "comparisons", "N·(k - 1)", output=_output, **_FACTS
)
register_formula(
    "max_pool1d max_pool2d max_pool3d mkldnn_max_pool2d mkldnn_max_pool3d quantized_max_pool2d",
    "comparisons", "N·(k - 1)", **_FACTS,
)  # fmt: skip
register_formula("fractional_max_pool2d fractional_max_pool3d", "comparisons", "N·(k - 1)", _windows)
register_formula("avg_pool1d avg_pool2d avg_pool3d", "sums, quotient", "N·k", output=_output, **_FACTS)


def adaptive_taps(sizes: Iterable[int], windows: Iterable[int]) -> int:
    """The taps of all windows that divide sizes as evenly as they can: the i-th from ⌊i·n/m⌋ to ⌈(i+1)·n/m⌉."""
    return math.prod(
        sum(-((i + 1) * n // -m) - i * n // m for i in range(m)) for n, m in zip(sizes, windows, strict=True)
    )


def _adaptive_numbers(op: Op) -> dict[str, int]:
    """C channels, the taps of all windows and, of a maximum, their number."""
    x, out, d = op.operand().shape, op.output.shape, _dimensions(op.name)
    windows = {"windows": math.prod(out[-d:])} if "max" in op.name else {}
    return {"C": math.prod(out[:-d]), "taps": adaptive_taps(x[-d:], out[-d:]), **windows}


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


_ADAPTIVE: dict[str, Any] = {
    "numbers": _adaptive_numbers, "output": _adaptive_output, "sizes": _adaptive_sizes, "window": _adaptive_window,
    "slides": True,
}  # fmt: skip
register_formula(
    "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d mkldnn_adaptive_avg_pool2d",
    "sums, quotient", "C·taps", **_ADAPTIVE,
)  # fmt: skip
register_formula(
    "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d", "comparisons", "C·(taps - windows)", **_ADAPTIVE
)
