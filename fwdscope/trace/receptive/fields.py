"""Receptive fields: how many input pixels each layer's outputs depend on, along paths of convolutions and poolings.

The field of a tensor is followed through the operators of a trace. Branches are united where they meet. What a branch
brings that pools over the whole input (squeeze-and-excitation, statistics of a norm) is left out: the field is that of
the windows. Where positions are mixed otherwise (attention, a linear layer over positions, an operator that is not
known here) there is no field from there on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import cache
from typing import NamedTuple, Protocol

from fwdscope.ops import RULES, Op, pointwise
from fwdscope.trace.receptive import windows
from fwdscope.trace.receptive.operators import (
    LOST,
    Dimension,
    Dimensions,
    Factor,
    Field,
    field_of,
    is_spatial,
    length_of,
    merged,
    plain,
)  # fmt: skip
from fwdscope.trace.receptive.windows import PIXELS, Axis


class Flow(NamedTuple):
    """One operator of a trace, and the tensors that went in and came out, each by what stands for it: one object for
    one tensor, of which nothing but its identity counts (:attr:`fwdscope.trace.memory.Mark.ref`)."""

    op: Op
    taken: tuple[object, ...]
    given: tuple[object, ...]


def receptive_fields(
    flows: Sequence[Flow], inputs: Sequence[tuple[object, tuple[int, ...]]]
) -> dict[int, tuple[Axis, ...] | None]:
    """The axes of every tensor that depends on the inputs, by the identity of what stands for it.

    Inputs are given with their shapes.

    Nothing is followed where no operator has a window.
    """
    if not has_windows(flows):
        return {}
    fields = {id(key): field_of(tuple([(Factor(n, PIXELS),) for n in shape])) for key, shape in inputs}
    bases: dict[int, int] = {}
    for flow in flows:
        _step(flow, fields, bases)
    return {key: field.axes for key, field in fields.items()}


class _Called(Protocol):
    """What says which operator was called."""

    @property
    def op(self) -> Op:
        """The call."""


def has_windows(called: Iterable[_Called]) -> bool:
    """Whether any operator has a window."""
    return any(_stem(name) in _WINDOWED for name in {one.op.name for one in called})


def _step(flow: Flow, fields: dict[int, Field], bases: dict[int, int]) -> None:
    """What one operator does to the fields; ``bases`` are what views are of."""
    op, taken, given = flow
    kind = _kind(op.name)
    keys = list(map(id, taken))
    if kind.views and keys:
        bases |= {key: keys[0] for key in map(id, given) if key != keys[0]}
    known = list(map(fields.get, keys))
    if kind.fresh or not any(known):
        return
    for key, result in zip(map(id, given), _results(op, kind, known), strict=False):
        if key in keys and fields.get(key) != result:
            base = bases.get(key)
            while base is not None:  # written onto a part of something larger
                fields[base] = LOST
                base = bases.get(base)
        fields[key] = result


def name(op: Op) -> str:
    """ATen's name without the namespace, in place or not."""
    return _stem(op.name)


@cache
def _stem(name: str) -> str:
    short = name.removeprefix("aten.")
    return short[:-1] if Op(name, "", ()).in_place else short


class _Kind(NamedTuple):
    """What is known of an operator by its name."""

    # Whether it gives views of its first argument, and whether it takes only a shape.
    views: bool
    fresh: bool
    broadcasts: bool
    # Whether it leaves its first tensor's field as it is.
    keeps: bool
    join: Callable[[Op, list[Dimensions | None]], Dimensions | None] | None
    rule: Callable[[Op, Dimensions], Dimensions | list[Dimensions] | None] | None


@cache
def _kind(name: str) -> _Kind:
    short = _stem(name)
    broadcasts = short in _BROADCAST or f"aten.{short}" in _POINTWISE
    return _Kind(
        short in _VIEWS, short in _FRESH, broadcasts, short in _NORMS, _JOINS.get(short), _RULES.get(short)
    )  # fmt: skip


def _results(op: Op, kind: _Kind, known: list[Field | None]) -> list[Field]:
    """The fields of an operator's results, of those of its tensors; None is what depends on no input."""
    outputs = op.outputs
    for one in known:
        if one is LOST:
            return [LOST] * len(outputs)
    first = outputs[0].shape if outputs else ()
    field = _unchanged(kind, known, first)
    if field is None:
        found = _transfer(op, kind, [None if field is None else field.dimensions for field in known])
        if isinstance(found, list):
            return list(map(field_of, found))
        field = field_of(found)
    return [field] if len(outputs) == 1 else [field if out.shape == first else LOST for out in outputs]


def _unchanged(kind: _Kind, known: list[Field | None], shape: tuple[int, ...]) -> Field | None:
    """The field that goes through an operator as it is; None where there is more to be found out.

    So it is with norms, and with all that is broadcast to the shape that the only field among its tensors has.
    """
    if kind.keeps:
        return known[0] or LOST
    if kind.broadcasts:
        found = [field for field in known if field is not None]
        if len(found) == 1 and found[0].settled and found[0].shape == shape:
            return found[0]
    return None


def _transfer(op: Op, kind: _Kind, given: list[Dimensions | None]) -> Dimensions | list[Dimensions] | None:
    """The dimensions of the first result, or of each; None where positions are mixed."""
    if kind.broadcasts:
        return merged([x for x in given if x is not None], op.output.shape)
    if kind.join is not None:
        return kind.join(op, given)
    x = given[0] if given else None
    if kind.rule is None or x is None or any(other is not None for other in given[1:]):
        return None
    return kind.rule(op, x)


# --- dimensions ------------------------------------------------------------------------------------------------------


def _reshaped(op: Op, x: Dimensions) -> Dimensions | None:
    """Dimensions merged and split; a factor that is cut is no longer followed."""
    shape = op.output.shape
    if 0 in shape:
        return None
    if tuple(map(length_of, x)) == shape:
        return x
    rest = [factor for dimension in x for factor in dimension if factor.length > 1]
    rest.reverse()
    result: list[Dimension] = []
    for n in shape:
        factors: list[Factor] = []
        while n > 1:
            factor = rest.pop()
            if n % factor.length:
                shared = math.gcd(n, factor.length)
                if shared == 1 or factor.spatial:
                    return None
                rest.append(Factor(factor.length // shared))
                factor = Factor(shared)
            factors.append(factor)
            n //= factor.length
        result.append(tuple(factors) or plain(1))
    return tuple(result)


def _at(op: Op, position: int, ndim: int, default: int = 0) -> int:
    """A dimension among the arguments, counted from the front."""
    return int(op.at(position, default)) % max(ndim, 1)


def _permuted(op: Op, x: Dimensions) -> Dimensions:
    return tuple(x[d] for d in op.arguments[1])  # type: ignore[union-attr, index]


def _transposed(op: Op, x: Dimensions) -> Dimensions:
    swapped = list(x)
    a, b = _at(op, 1, len(x)), _at(op, 2, len(x))
    swapped[a], swapped[b] = x[b], x[a]
    return tuple(swapped)


def _without(op: Op, x: Dimensions) -> Dimensions | list[Dimensions]:
    """One place of a dimension, or each of them: ``select``, ``unbind``."""
    dim = _at(op, 1, len(x))
    left = x[:dim] + x[dim + 1 :]
    return left if name(op) == "select" else [left for _ in op.outputs]


def _sliced(op: Op, x: Dimensions) -> Dimensions | None:
    dim = _at(op, 1, len(x))
    size, start, step = length_of(x[dim]), op.at(2) or 0, op.at(4, 1)
    start = max(start + size, 0) if start < 0 else min(start, size)
    return _cut(x, dim, start, step, op.output.shape[dim])


def _cut(x: Dimensions, dim: int, start: int, step: int, length: int) -> Dimensions | None:
    """From ``start`` on, every ``step``-th place."""
    if length == length_of(x[dim]):
        return x
    axis = x[dim][0].axis if len(x[dim]) == 1 else None
    if axis is None:
        return None if is_spatial(x[dim]) else (*x[:dim], plain(length), *x[dim + 1 :])
    cut = windows.through(axis, lambda i: (start + i * step,), 1, step)
    return (*x[:dim], (Factor(length, cut, x[dim][0].spatial),), *x[dim + 1 :])


def _pieces(op: Op, x: Dimensions) -> list[Dimensions] | None:
    """``split``, ``chunk``"""
    dim, start, pieces = _at(op, 2, len(x)), 0, []
    for out in op.outputs:
        piece = _cut(x, dim, start, 1, out.shape[dim])
        if piece is None:
            return None
        pieces.append(piece)
        start += out.shape[dim]
    return pieces


def _reduced(op: Op, x: Dimensions) -> Dimensions | None:
    """A sum or mean over dimensions; what it was over is no longer followed."""
    dims = op.at(1)
    if isinstance(dims, int) and not isinstance(dims, bool):
        dims = (dims,)
    over = {d % len(x) for d in dims} if isinstance(dims, tuple) and dims else set(range(len(x)))
    kept = tuple(dimension for i, dimension in enumerate(x) if i not in over)
    if len(op.output.shape) == len(kept):
        return kept
    return tuple(plain(1) if i in over else dimension for i, dimension in enumerate(x))


def _mixed(op: Op, x: Dimensions) -> Dimensions | None:
    """A softmax, a sort, a reversal: along its dimensions everything is mixed."""
    dims = op.at(2 if name(op) in ("roll", "topk") else 1, -1)
    over = {d % len(x) for d in (dims if isinstance(dims, tuple) else (dims,))}
    if any(is_spatial(x[d]) for d in over):
        return None
    return tuple(plain(op.output.shape[i]) if i in over else dimension for i, dimension in enumerate(x))


def _padded(op: Op, x: Dimensions) -> Dimensions | None:
    """Padding on both sides of the last dimensions; a mirrored border is taken for an empty one."""
    pad = op.at(1)
    result = list(x)
    for i in range(len(pad) // 2):
        dim, left = len(x) - 1 - i, pad[2 * i]
        if (left, pad[2 * i + 1]) == (0, 0):
            continue
        (factor, *others) = x[dim]
        if others:
            return None
        result[dim] = (Factor(op.output.shape[dim], factor.axis and _shifted(factor.axis, left), factor.spatial),)
    return tuple(result)


def _shifted(axis: Axis, left: int) -> Axis | None:
    return windows.through(axis, lambda place: (place - left,))


# --- windows ---------------------------------------------------------------------------------------------------------


def _over(op: Op, x: Dimensions, d: int, along: Callable[[int, Axis, int, int], Axis | None]) -> Dimensions:
    """The last ``d`` dimensions seen through windows: ``along`` takes number, axis, size before and size after."""
    shape, lead = op.output.shape, len(x) - d
    seen = [
        dimension if i < lead - 1 and length_of(dimension) == n else plain(n)
        for i, (dimension, n) in enumerate(zip(x[:lead], shape, strict=False))
    ]
    for i in range(d):
        dimension, n = x[lead + i], shape[lead + i]
        axis = dimension[0].axis if len(dimension) == 1 else None
        seen.append((Factor(n, axis and along(i, axis, length_of(dimension), n), True),))
    return tuple(seen)


def _full(value: object, d: int) -> tuple[int, ...]:
    """One size for all dimensions may be given once."""
    sizes = value if isinstance(value, tuple) else (value,)
    found = tuple([size for size in sizes if isinstance(size, int)])
    return found * d if len(found) == 1 else found


def _convolution(op: Op, x: Dimensions) -> Dimensions:
    kernel = op.operand(1).shape[2:]
    d = len(kernel)
    stride, padding, dilation = _full(op.at(3), d), _full(op.at(4), d), _full(op.at(5), d)
    along = windows.transposed if op.at(6) else windows.convolved
    return _over(op, x, d, lambda i, axis, n, m: along(axis, kernel[i], stride[i], padding[i], dilation[i]))


def _pool(op: Op, x: Dimensions) -> Dimensions:
    d = _window_dimensions(op)
    kernel = _full(op.at(1), d)
    stride = _full(op.at(2), d) if op.at(2) not in (None, ()) else kernel
    padding = _full(op.at(3, 0), d)
    dilation = _full(op.at(4, 1), d) if "max" in op.name else (1,) * d
    return _over(op, x, d, lambda i, axis, n, m: windows.convolved(axis, kernel[i], stride[i], padding[i], dilation[i]))


def _adaptive_pool(op: Op, x: Dimensions) -> Dimensions:
    return _over(op, x, _window_dimensions(op), lambda i, axis, n, m: windows.adaptive(axis, n, m))


def _window_dimensions(op: Op) -> int:
    """2 for ``max_pool2d`` and ``upsample_nearest2d``."""
    return next(int(a) for a, b in zip(op.name, op.name[1:], strict=False) if b == "d" and a in "123")


def _resize(op: Op, x: Dimensions) -> Dimensions:
    half = Fraction(1, 2)
    kind = name(op).removeprefix("_").removeprefix("upsample_").rstrip("123d")
    reach = {"bicubic": (1, 2)}.get(kind, (0, 0) if kind.startswith("nearest") else (0, 1))
    corners = not kind.startswith("nearest") and bool(op.at(2, False))

    def along(number: int, axis: Axis, n: int, m: int) -> Axis | None:
        ratio = Fraction(n, m)
        if corners:
            return windows.resized(axis, Fraction(n - 1, max(m - 1, 1)), Fraction(0), reach)
        offset = Fraction(0) if kind == "nearest" else ratio / 2 - (0 if kind == "nearest_exact" else half)
        return windows.resized(axis, ratio, offset, reach)

    return _over(op, x, _window_dimensions(op), along)


def _shuffled(op: Op, x: Dimensions) -> Dimensions:
    r = int(op.at(1))
    if name(op) == "pixel_unshuffle":
        return _over(op, x, 2, lambda i, axis, n, m: windows.convolved(axis, r, r))
    return _over(op, x, 2, lambda i, axis, n, m: windows.resized(axis, Fraction(1, r), Fraction(0), (0, 0)))


# --- several tensors -------------------------------------------------------------------------------------------------


def _cat(op: Op, given: list[Dimensions | None]) -> Dimensions | None:
    """Side by side: the other dimensions are united."""
    shape = op.output.shape
    dim = _at(op, 1, len(shape))
    parts = [x for x in given if x is not None]
    if any(len(x) != len(shape) or is_spatial(x[dim]) for x in parts):
        return None
    return merged([(*x[:dim], plain(shape[dim]), *x[dim + 1 :]) for x in parts], shape)


def _stack(op: Op, given: list[Dimensions | None]) -> Dimensions | None:
    shape = op.output.shape
    dim = _at(op, 1, len(shape))
    return merged([(*x[:dim], plain(shape[dim]), *x[dim:]) for x in given if x is not None], shape)


def _product(op: Op, given: list[Dimensions | None]) -> Dimensions | None:
    """A product with weights. The dimension that is summed over must not be one of positions."""
    first = 1 if name(op) in ("addmm", "baddbmm") else 0
    left, right = given[first], given[first + 1]
    if (left is None) == (right is None) or (first and given[0] is not None):
        return None
    shape = op.output.shape
    if left is not None:
        return None if is_spatial(left[-1]) else (*left[:-1], plain(shape[-1]))
    assert right is not None
    return None if is_spatial(right[-2]) else (*right[:-2], plain(shape[-2]), right[-1])


def _embedding(op: Op, given: list[Dimensions | None]) -> Dimensions | None:
    table, ids = given
    return None if table is not None or ids is None else (*ids, plain(op.output.shape[-1]))


_WINDOWED: dict[str, Callable[[Op, Dimensions], Dimensions]] = {
    **dict.fromkeys(("convolution", "_convolution", "convolution_overrideable"), _convolution),
    **dict.fromkeys((f"max_pool{d}d{tail}" for d in (1, 2, 3) for tail in ("", "_with_indices")), _pool),
    **dict.fromkeys((f"avg_pool{d}d" for d in (1, 2, 3)), _pool),
    **dict.fromkeys((f"{head}adaptive_avg_pool{d}d" for d in (1, 2, 3) for head in ("", "_")), _adaptive_pool),
    **dict.fromkeys((f"adaptive_max_pool{d}d" for d in (1, 2, 3)), _adaptive_pool),
}
_RULES: dict[str, Callable[[Op, Dimensions], Dimensions | list[Dimensions] | None]] = {
    **_WINDOWED,
    **dict.fromkeys((f"{kind}{d}d" for d in (1, 2, 3) for kind in ("upsample_nearest", "_upsample_nearest_exact")),
                    _resize),
    **dict.fromkeys((f"upsample_{kind}" for kind in ("linear1d", "bilinear2d", "trilinear3d", "bicubic2d")), _resize),
    **dict.fromkeys(("pixel_shuffle", "pixel_unshuffle"), _shuffled),
    **dict.fromkeys(("view", "view_as", "reshape", "_unsafe_view", "_reshape_alias"), _reshaped),
    **dict.fromkeys(("flatten", "unflatten", "squeeze", "unsqueeze"), _reshaped),
    "permute": _permuted,
    **dict.fromkeys(("transpose", "swapaxes"), _transposed),
    "t": lambda op, x: x[::-1],
    **dict.fromkeys(("select", "unbind"), _without),
    "slice": _sliced,
    **dict.fromkeys((f"{head}{kind}" for kind in ("split", "split_with_sizes", "chunk") for head in ("", "unsafe_")),
                    _pieces),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std", "prod", "logsumexp"), _reduced),
    **dict.fromkeys(("_softmax", "_log_softmax", "flip", "roll", "sort", "topk", "cumsum", "index_select"), _mixed),
    **dict.fromkeys(("native_channel_shuffle", "channel_shuffle"), lambda op, x: x),
    "constant_pad_nd": _padded,
    **dict.fromkeys((f"{kind}_pad{d}d" for kind in ("reflection", "replication") for d in (1, 2, 3)), _padded),
}  # fmt: skip
_JOINS: dict[str, Callable[[Op, list[Dimensions | None]], Dimensions | None]] = {
    **dict.fromkeys(("cat", "concat"), _cat),
    "stack": _stack,
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm", "matmul", "linear"), _product),
    "embedding": _embedding,
}
# A norm or a dropout: place by place, but for statistics over the whole.
_NORMS = frozenset((
    "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "batch_norm",
    "native_layer_norm", "layer_norm", "rms_norm", "_fused_rms_norm", "native_group_norm", "native_dropout", "dropout",
    "feature_dropout", "alpha_dropout",
))  # fmt: skip
_BROADCAST = frozenset((
    "clone", "contiguous", "_to_copy", "to", "copy", "detach", "alias", "lift", "lift_fresh", "expand", "expand_as",
    "fill", "zero",
))  # fmt: skip
_POINTWISE = frozenset(key for key, rule in RULES.items() if rule.terms.__module__ == pointwise.__name__)
_VIEWS = frozenset((
    "view", "_unsafe_view", "_reshape_alias", "unflatten", "squeeze", "unsqueeze", "permute", "transpose", "t",
    "select", "unbind", "slice", "split", "split_with_sizes", "chunk", "expand", "detach", "alias",
))  # fmt: skip
# Operators that take only a shape.
_FRESH = frozenset((
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like", "new_zeros",
    "new_ones", "new_full", "new_empty", "new_empty_strided",
))  # fmt: skip
