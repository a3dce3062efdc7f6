"""How operators compute an element of their result, but for the element-wise ones and the recurrent ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from fwdscope.report.value import Grid, GridRow
from fwdscope.values.calls import Held, Index, replaced

from .derivation import FEW, IndexBox, StepWriter, ValueColumn, broadcast, rule, shown_rows, take
from .elementwise import LOSSES
from .quantity import Quantity, atom, exp, log, sigmoid, sqrt

# --- products --------------------------------------------------------------------------------------------------------


@rule("mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addmv", "addbmm")
def _product(w: StepWriter, at: Index) -> Quantity:
    adds = w.call.name[:3] in ("add", "bad")
    left, right = w.args[adds : adds + 2]
    batch, row, column = at[: left.values.dim() - 2], at[left.values.dim() - 2 : left.values.dim() - 1], at[-1:]
    if right.values.dim() == 1:
        row, column = at, ()
    ks = range(right.values.shape[0 if right.values.dim() == 1 else -2])
    w.sentence = "each input times its weight, summed" if adds else "a row times a column, element by element, summed"
    pairs = [(left, [(*batch, *row, k) for k in ks]), (right, [(*batch, k, *column) for k in ks])]
    total = w.products(
        *pairs, symbol={"score": "query·key", "head": "softmax·value"}.get(w.derivation.names[id(w.call)], "")
    )
    if not adds:
        return total
    bias = w.number(w.args[0], broadcast(at, w.args[0]))
    w.sentence += ", plus the bias"
    alpha, beta = w.call.keywords.get("alpha", 1), w.call.keywords.get("beta", 1)
    return (total if alpha == 1 else alpha * total) + (bias if beta == 1 else beta * bias)


def _reach(p: int, k: int, size: int, stride: int, padding: int, dilation: int, transposed: bool) -> int | None:
    """The position of the input that tap k of a kernel takes for position p of the output; None beyond the input."""
    at, rest = divmod(p + padding - k * dilation, stride) if transposed else (p * stride - padding + k * dilation, 0)
    return at if not rest and 0 <= at < size else None


@rule("convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution", "convolution_overrideable")
def _convolution(w: StepWriter, at: Index) -> Quantity:
    x, weight, bias, stride, padding, dilation, transposed, _, groups = w.args[:9]
    item, channel, *place = at
    each_in, sizes = x.values.shape[1] // groups, weight.values.shape
    group, own = divmod(channel, sizes[1] if transposed else sizes[0] // groups)
    channels, kernel = [group * each_in + c for c in range(each_in)], weight.values.shape[2:]
    settings = [
        (*(s[d] if len(s) > 1 else s[0] for s in (stride, padding, dilation)), transposed) for d in range(len(kernel))
    ]
    reached = [
        [_reach(p, k, size, *setting) for k in range(taps)]
        for p, taps, size, setting in zip(place, kernel, x.values.shape[2:], settings, strict=True)
    ]

    def weight_at(c: int, taps: Sequence[int]) -> Index:
        return (c, own, *taps) if transposed else (channel, c - group * each_in, *taps)

    def input_at(c: int, taps: Sequence[int]) -> Index | None:
        spot = [row[k] for row, k in zip(reached, taps, strict=True)]
        return None if None in spot else (item, c, *spot)  # type: ignore[arg-type]

    if transposed or math.prod(kernel) == 1:
        taps = list(itertools.product(*map(range, kernel)))
        pairs = [(i, weight_at(c, k)) for c in channels for k in taps if (i := input_at(c, k)) is not None]
        what = (
            "input that reaches this place times the kernel's weight there"
            if transposed
            else "channel times its weight"
        )
        w.sentence = f"each {what}, summed"
        total = w.products((x, [i for i, _ in pairs]), (weight, [k for _, k in pairs]))
    else:
        w.sentence = "the window of the input times the kernel, summed over all channels"
        lines = []
        for c, depth in itertools.product(channels, itertools.product(*map(range, kernel[:-2]))):
            rows = [[(*depth, *k) for k in row] for row in _rows(kernel[-2:])]
            cells = [[input_at(c, k) for k in row] for row in rows]
            weights = [[weight_at(c, k) for k in row] for row in rows]
            pairs = [(a, b) for ra, rb in zip(cells, weights, strict=True) for a, b in zip(ra, rb, strict=True) if a]
            both = (take(x, [a for a, _ in pairs]), take(weight, [b for _, b in pairs])) if pairs else (torch.zeros(1),)
            lines.append((x, cells, weights, float(torch.stack(both).prod(0).sum())))
        total = _windows_of(w, weight, lines)
    if bias is not None:
        w.sentence += ", plus the bias"
        total = total + w.number(bias, (channel,))
    return total


def _windows_of(w: StepWriter, weight: Held, lines: Sequence[Any]) -> Quantity:
    shown, drawn = set(shown_rows(len(lines), *FEW)), []
    for i, (x, cells, weights, value) in enumerate(lines):
        grids: tuple[Grid, ...] = ()
        if i in shown:
            grids = w.grid(x, cells), w.grid(weight, weights)
            pairs = zip(*(grid.rows for grid in grids), strict=True)
            products = tuple(
                tuple(None if a is None or b is None else a * b for a, b in zip(*rows, strict=True)) for rows in pairs
            )
            blank = replace(grids[0], tensor="product", kind="other", before=(), rows=products)
            grids += (replace(blank, down=(None,) * len(products), across=(None,) * len(products[0])),)
        drawn.append((grids, value))
    first = next((cell for _, cells, _, _ in lines for row in cells for cell in row if cell is not None), None)
    if first is not None:
        w.derivation.derive(lines[0][0], first)
    return atom(w.windows(drawn, "sum of the products"), "Σ x·weight")


def _rows(shape: Sequence[int]) -> list[list[tuple[int, ...]]]:
    """The positions of a plane, row by row; of a line as one row."""
    return [[(*r, k) for k in range(shape[-1])] for r in itertools.product(*map(range, shape[:-1]))]


# --- pools -----------------------------------------------------------------------------------------------------------


def _pool(w: StepWriter, at: Index, spans: Sequence[Sequence[int | None]], maximum: bool) -> tuple[list[Index], Index]:
    """Add the window of a pool as grids, the largest marked: what is in it, and the index of the largest."""
    x, before = w.args[0], at[: len(at) - len(spans)]

    def index(spot: Sequence[int | None]) -> Index | None:
        known = [i for i in spot if i is not None]
        return (*before, *known) if len(known) == len(spot) else None

    inside = [found for spot in itertools.product(*spans) if (found := index(spot)) is not None]
    best = inside[int(take(x, inside).argmax())]
    w.derivation.derive(x, best if maximum else inside[0])
    for depth in itertools.product(*spans[:-2]):
        cells = [[index((*depth, *row, k)) for k in spans[-1]] for row in itertools.product(*spans[-2:-1])]
        marks = [(i, j) for i, row in enumerate(cells) for j, cell in enumerate(row) if maximum and cell == best]
        if any(cell is not None for row in cells for cell in row):
            w.parts.append(GridRow((w.grid(x, cells, marks[0] if marks else None),)))
    return inside, best


def _fixed(w: StepWriter, at: Index, dims: int, dilation: Any = 1) -> list[list[int | None]]:
    """The window of a pool with a kernel size, stride and padding."""
    kernel, stride, padding = w.args[1], w.argument(2, default=()) or w.args[1], w.argument(3, default=0)
    each = [_each(value, dims) for value in (stride, padding, dilation)]
    sizes = w.args[0].values.shape[-dims:]
    return [
        [_reach(p, k, size, s, pad, d, False) for k in range(taps)]
        for p, taps, size, s, pad, d in zip(at[-dims:], _each(kernel, dims), sizes, *each, strict=True)
    ]


def _each(value: Any, dims: int) -> list[int]:
    return [value] * dims if isinstance(value, int) else list(value) * (dims // len(value))


def _adaptive(w: StepWriter, at: Index) -> list[list[int | None]]:
    dims = len(w.args[1])
    sizes = (held.values.shape[-dims:] for held in (w.args[0], w.call.results[0]))
    return [list(range(p * n // out, -(-(p + 1) * n // out))) for p, n, out in zip(at[-dims:], *sizes, strict=True)]


@rule("max_pool1d", "max_pool2d", "max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d",
      "adaptive_max_pool3d")  # fmt: skip
def _max_pool(w: StepWriter, at: Index) -> Quantity:
    name = w.call.name
    dims = int(name[name.index("pool") + 4])
    spans = _adaptive(w, at) if name.startswith("adaptive") else _fixed(w, at, dims, w.argument(4, default=1))
    w.sentence = "the largest number of the window"
    _, best = _pool(w, at, spans, True)
    w.symbol(w.derivation.element(w.args[0], best))
    return atom(float(w.args[0].values[best]), "max(window)")


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d",
      "adaptive_avg_pool2d", "adaptive_avg_pool3d")  # fmt: skip
def _avg_pool(w: StepWriter, at: Index) -> Quantity:
    w.sentence = "the mean of the window"
    spans = _adaptive(w, at) if "adaptive" in w.call.name else _fixed(w, at, int(w.call.name[8]))
    inside, _ = _pool(w, at, spans, False)
    # Padding may count too: the gradient of the mean has the number that it divides by.
    gradient = w.gradient(at)
    divisor = round(1 / float(gradient[1][inside[0]])) if gradient else len(inside)
    return atom(float(take(w.args[0], inside).sum()), "Σ window") / divisor


# --- normalisation and distributions ---------------------------------------------------------------------------------


def _moments(w: StepWriter, x: Held, indices: Sequence[Index], correction: Any = 0) -> tuple[Quantity, Quantity]:
    """Add the mean and the variance of elements."""
    values, n = take(x, indices), len(indices)
    mean = w.equation("mean", atom(float(values.sum()), "Σ x") / n)
    squares = atom(float(((values - mean.value) ** 2).sum()), "Σ (x − mean)²")
    return mean, w.equation("variance", squares / (n - (1 if correction is None else correction)))


def _values(w: StepWriter, x: Held, indices: Sequence[Index], at: Index) -> None:
    """Add the numbers that a normalisation takes together, the one that is explained marked."""
    title = f"{len(indices):,} numbers are normalised together"
    w.table(title, len(indices), w.elements(x, indices), marked=indices.index(at))


def _normalised(
    w: StepWriter, x: Held, at: Index, mean: Quantity, variance: Quantity, eps: float, affine: Any
) -> Quantity:
    scaled = w.equation("x̂", (w.number(x, at) - mean) / sqrt(variance + atom(eps, "eps")))
    for held, index, sign in affine:
        if held is not None and held.values.numel():
            other = w.number(held, index)
            scaled = scaled * other if sign == "·" else scaled + other
    return scaled


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
      "miopen_batch_norm", "_batch_norm_with_update", "_batch_norm_no_update")  # fmt: skip
def _batch_norm(w: StepWriter, at: Index) -> Quantity:
    x, weight, bias, mean, variance = w.args[:5]
    channel, eps = at[1:2], w.args[-1]
    learned = w.call.name.endswith("no_training") or w.args[5] is False
    if learned:
        w.sentence = "normalised by the running mean and variance of the channel, as training left them"
        numbers = w.number(mean, channel), w.number(variance, channel)
    else:
        w.sentence = "normalised by the mean and variance of the channel"
        sizes = x.values.shape
        indices = IndexBox(range(sizes[0]), _only(at[1]), *map(range, sizes[2:]))
        _values(w, x, indices, at)
        numbers = _moments(w, x, indices)
    return _normalised(w, x, at, *numbers, eps, ((weight, channel, "·"), (bias, channel, "+")))


@rule("native_layer_norm")
def _layer_norm(w: StepWriter, at: Index) -> Quantity:
    x, shape, weight, bias, eps = w.args[:5]
    w.sentence = "normalised by the mean and variance of its features"
    before, own = at[: len(at) - len(shape)], at[len(at) - len(shape) :]
    indices = IndexBox(*map(_only, before), *map(range, shape))
    _values(w, x, indices, at)
    return _normalised(w, x, at, *_moments(w, x, indices), eps, ((weight, own, "·"), (bias, own, "+")))


@rule("native_group_norm")
def _group_norm(w: StepWriter, at: Index) -> Quantity:
    x, weight, bias, _, channels, _, groups, eps = w.args[:8]
    w.sentence = "normalised by the mean and variance of its group of channels"
    each = channels // groups
    first = at[1] // each * each
    indices = IndexBox(_only(at[0]), range(first, first + each), *map(range, x.values.shape[2:]))
    _values(w, x, indices, at)
    return _normalised(w, x, at, *_moments(w, x, indices), eps, ((weight, at[1:2], "·"), (bias, at[1:2], "+")))


@rule("_fused_rms_norm")
def _rms_norm(w: StepWriter, at: Index) -> Quantity:
    x, shape, weight, eps = w.args[:4]
    w.sentence = "divided by the root of the mean square of its features"
    indices = IndexBox(*map(_only, at[: len(at) - len(shape)]), *map(range, shape))
    _values(w, x, indices, at)
    squares = w.equation("mean square", atom(float((take(x, indices) ** 2).sum()), "Σ x²") / len(indices))
    eps = torch.finfo(x.values.dtype).eps if eps is None else eps
    scaled = w.number(x, at) / sqrt(squares + atom(eps, "eps"))
    return scaled if weight is None else scaled * w.number(weight, at[len(at) - len(shape) :])


@rule("_softmax", "_log_softmax", "_safe_softmax")
def _softmax(w: StepWriter, at: Index) -> Quantity:
    x, dim = w.args[0], w.args[1] % len(at)
    row = (*at[:dim], *at[dim + 1 :])
    indices = [(*at[:dim], i, *at[dim + 1 :]) for i in range(x.values.shape[dim])]
    w.sentence = "each score's exponential over the sum of all; the largest score is taken off first"
    if str(row) not in w.call.memo:  # else it is another number of a row that is shown
        w.call.memo[str(row)] = _exponentials(w, x, indices, at[dim])
    top: Quantity
    total: Quantity
    top, total = w.call.memo[str(row)]
    z = w.number(x, at)
    if "log" in w.call.name:
        w.sentence = "the logarithm of the softmax: the score less the logarithm of the sum of all exponentials"
        return z - top - log(total)
    return exp(z - top) / total


def _exponentials(w: StepWriter, x: Held, indices: Sequence[Index], own: int) -> tuple[Quantity, Quantity]:
    values = take(x, indices)
    powers = (values - values.max()).exp()
    columns = ValueColumn("exp(x − max)", powers, "sum"), ValueColumn("softmax", powers / powers.sum(), "sum")
    w.table("", len(indices), w.elements(x, indices, own), *columns, marked=own)
    highest = w.equation("max", atom(float(values.max()), "largest score"))
    return highest, w.equation("sum", atom(float(powers.sum()), "Σ exp(x − max)"), "sum")


@rule("scaled_dot_product_attention")
def _attention(w: StepWriter, at: Index) -> Quantity:
    query, key, value = w.args[:3]
    mask, causal, scale = w.argument(3, "attn_mask"), w.argument(5, "is_causal", False), w.argument(6, "scale")
    *batch, t, d = at
    heads = list(batch)
    if w.argument(7, "enable_gqa", False):
        heads[-1] //= query.values.shape[-3] // key.values.shape[-3]

    def of(held: Held, before: Sequence[int], row: int, column: int) -> Index:
        sizes = held.values.shape[:-2]
        return (*(0 if size == 1 else i for i, size in zip(before, sizes, strict=True)), row, column)

    features, keys = range(query.values.shape[-1]), range(key.values.shape[-2])
    factor = query.values.shape[-1] ** -0.5 if scale is None else scale
    q = take(query, [of(query, batch, t, e) for e in features])
    dots = [float((q * take(key, [of(key, heads, j, e) for e in features])).sum()) for j in keys]
    scores = torch.tensor([dot * factor for dot in dots], dtype=torch.float64)
    if causal:
        scores[t + 1 :] = -math.inf
    if mask is not None:
        sizes = (*batch, t)
        rows = torch.stack([mask.values[broadcast((*sizes, j), mask)] for j in keys])
        scores = scores.masked_fill(~rows, -math.inf) if rows.dtype == torch.bool else scores + rows.double()
    top = scores.max()
    weights = (scores - top).exp() / (scores - top).exp().sum()
    used = [j for j in keys if weights[j]] or list(keys)
    first, hidden = used[0], len(keys) - len(used)
    w.sentence = "the query's products with all keys, scaled, are scores; their softmax weighs the values"
    w.equation("scale", 1 / sqrt(len(features)) if scale is None else atom(factor, "scale"))
    dot = w.products(
        (query, [of(query, batch, t, e) for e in features]), (key, [of(key, heads, first, e) for e in features]),
        title=f"query {t} times key {first}", symbol="query·key",
    )  # fmt: skip
    if mask is None:
        w.equation(f"score of key {first}", dot * atom(factor, "scale"))
    spots = [of(value, heads, j, d) for j in used]
    columns = [
        ValueColumn("", lambda i: f"key {used[i]}"), ValueColumn("q·k", torch.tensor(dots, dtype=torch.float64)[used]),
        ValueColumn("score", scores[used]), ValueColumn("softmax", weights[used], "sum"), w.elements(value, spots),
    ]  # fmt: skip
    title = f"query {t}: score = q·k·scale{' + mask' * (mask is not None)}, and the scores' softmax times the values"
    title += f"; {hidden:,} keys are masked" * bool(hidden)
    return w.total(title, columns, weights[used] * take(value, spots), "Σ softmax·value")


@rule("embedding")
def _embedding(w: StepWriter, at: Index) -> Quantity:
    weight, ids = w.args[:2]
    row = int(ids.values[at[:-1]])
    w.sentence = f"row {row} of the table, as {w.derivation.element(ids, at[:-1]).text} = {row}"
    return w.number(weight, (row, at[-1]))


# --- reductions ------------------------------------------------------------------------------------------------------


def _reduced(x: Held, at: Index, dims: Any, keeps: bool) -> IndexBox:
    """The elements that a reduction takes together."""
    count = x.values.dim()
    every = [dims] if isinstance(dims, int) else dims
    gone = {d % count for d in every} if every else set(range(count))
    rest = iter([i for d, i in enumerate(at) if d not in gone] if keeps else at)
    return IndexBox(*(range(size) if d in gone else _only(next(rest)) for d, size in enumerate(x.values.shape)))


def _only(i: int) -> range:
    return range(i, i + 1)


@rule("sum", "mean", "prod", "amax", "amin", "max", "min", "var", "std", "var_mean", "std_mean", "logsumexp", "norm",
      "linalg_vector_norm")  # fmt: skip
def _reduction(w: StepWriter, at: Index) -> Quantity:
    x, name = w.args[0], w.call.name
    norm = "norm" in name
    dims = w.argument(1 + norm, "dim", None) if len(w.args) > 1 + norm or "dim" in w.call.keywords else None
    keeps = len(at) == x.values.dim()
    indices = _reduced(x, at, dims, keeps)
    n = len(indices)
    values = take(x, indices)
    if name in ("sum", "mean"):
        w.sentence = f"the {name} of {n:,} numbers"
        total = w.products((x, indices))
        return total / n if name == "mean" else total
    if name == "logsumexp":
        top, total = _exponentials(w, x, indices, 0)
        return top + log(total)
    if name[:3] in ("var", "std"):
        w.sentence = f"of {n:,} numbers"
        mean, variance = _moments(w, x, indices, w.call.keywords.get("correction", 1))
        return mean if w.result else sqrt(variance) if name[:3] == "std" else variance
    column = w.elements(x, indices)
    if norm:
        p = float(w.argument(1, "ord" if name != "norm" else "p", 2) or 2)
        w.sentence = "the length of a vector" if p == 2 else f"the {p:g}-norm of a vector"
        power = "x²" if p == 2 else f"|x|^{p:g}"
        total = w.total("", [column], values.abs() ** p, f"Σ {power}", power)
        return sqrt(total) if p == 2 else total ** (1 / p)
    marked = None if name == "prod" else int(values.argmax() if "max" in name else values.argmin())
    words = "product" if marked is None else "largest" if "max" in name else "smallest"
    w.sentence = f"the {words} of {n:,} numbers"
    w.table("", n, column, marked=marked)
    return atom(float(values.prod() if marked is None else values[marked]), f"{name.removeprefix('a')} x")


@rule("glu")
def _glu(w: StepWriter, at: Index) -> Quantity:
    x, dim = w.args[0], w.argument(1, default=-1) % len(at)
    w.sentence = "the first half of the input, gated by the sigmoid of the second"
    second = (*at[:dim], at[dim] + x.values.shape[dim] // 2, *at[dim + 1 :])
    return w.number(x, at) * sigmoid(w.number(x, second))


@rule("index_add")
def _index_add(w: StepWriter, at: Index) -> Quantity:
    w.sentence = "what was added at this place"
    return w.added(w.call, at)


# --- losses ----------------------------------------------------------------------------------------------------------


@rule(*LOSSES)
def _loss(w: StepWriter, at: Index) -> Quantity:
    position = {"binary_cross_entropy": 3, "binary_cross_entropy_with_logits": 4}.get(w.call.name, 2)
    reduction = w.argument(position, "reduction", 1)
    if reduction == 0:
        return w.elementwise(at)
    w.sentence = f"the {'mean' if reduction == 1 else 'sum'} of the loss of every element"
    args = replaced(w.args, Held, lambda one: one.values.double() if one.values.is_floating_point() else one.values)
    keywords = {} if len(args) > position else {"reduction": 0}
    args[position : position + 1] = [0] * (not keywords)
    values: torch.Tensor = w.call.function(*args, **keywords)
    w.equation("the first", w.elementwise((0,) * values.dim()))
    spots = list(itertools.product(*map(range, values.shape)))
    columns = [w.elements(held, [broadcast(index, held) for index in spots]) for held in w.args[:2]]
    total = w.total("", columns, values.flatten(), "Σ loss", "loss")
    return total / values.numel() if reduction == 1 else total
