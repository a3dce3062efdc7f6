"""The shape of each operator's results as formulas, for what a spec computes between its layers.

As in :mod:`shape_formulas`, a formula is held against the shapes that came out before it is shown. Where an operator
has none of its own, its result may still have the shape of its first operand, or the common one of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

from fwdscope.formula import (
    SPATIAL,
    Shape,
    Size,
    Sizes,
    broadcast_sizes,
    count_windows,
    kept_size,
    kept_sizes,
    multiply,
    regroup,
    set_size,
    shape_of,
)


class HasShape(Protocol):
    """A tensor that an operator reads or makes."""

    @property
    def shape(self) -> Shape:
        """Its sizes."""


class Operator(Protocol):
    """An operator's call as :mod:`fwdscope.ops` records it: its name, its arguments in order, its results."""

    @property
    def name(self) -> str:
        """ATen's: ``aten.addmm``."""

    @property
    def operands(self) -> Iterable[HasShape]:
        """All tensors that go in."""

    @property
    def outputs(self) -> Sequence[HasShape]:
        """All that come out."""

    def at(self, position: int, default: Any = None) -> Any:
        """The argument at a position, or its default."""

    def keyword(self, name: str, default: Any = None) -> Any:
        """The keyword argument of a name, or its default."""


Formula: TypeAlias = Callable[[Operator], Sequence[Sequence[Size]]]
FORMULAS: dict[str, Formula] = {}


def _formula(*names: str) -> Callable[[Formula], Formula]:
    def decorate(formula: Formula) -> Formula:
        for name in names:
            assert name not in FORMULAS, f"{name} has two formulas"
            FORMULAS[name] = formula
        return formula

    return decorate


def operator_shapes(op: Operator) -> tuple[Sizes | None, ...]:
    """For each result the formulas of its sizes; None where none gives the shape that came out."""
    inputs = [x.shape for x in op.operands]
    name = op.name.rpartition(".")[2]
    formula = FORMULAS.get(name) or FORMULAS.get(name.removesuffix("_"))
    own = list(formula(op)) if formula is not None else []
    shapes = [y.shape for y in op.outputs]
    return tuple(
        _first_true([own[i] if i < len(own) else None, *_general(inputs)], shape) for i, shape in enumerate(shapes)
    )


def _first_true(candidates: Iterable[Sequence[Size] | None], shape: Shape) -> Sizes | None:
    return next((tuple(one) for one in candidates if one is not None and shape_of(one) == shape), None)


def _general(inputs: Sequence[Shape]) -> Iterator[Sizes]:
    """What holds of most operators: the shape of the first operand, the common one, a single number."""
    if inputs:
        yield kept_sizes(inputs[0])
        yield broadcast_sizes(*inputs)
    yield ()


def _tensor(op: Operator, position: int = 0) -> Shape:
    shape: Shape = op.at(position).shape
    return shape


def _out(op: Operator) -> Shape:
    return op.outputs[0].shape


def _each(value: Any, dimensions: int) -> tuple[int, ...]:
    """One setting for each dimension, as ATen expands lists of one."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return values * dimensions if len(values) == 1 else values


# --- views -----------------------------------------------------------------------------------------------------------


@_formula("view", "reshape", "_unsafe_view", "_reshape_alias", "flatten", "unflatten", "view_copy", "resize")
def _view(op: Operator) -> Sequence[Sequence[Size]]:
    before, after = _tensor(op), _out(op)
    if math.prod(before) != math.prod(after):
        return ()
    texts = regroup(before, after)
    # What is neither merged nor cut stays, though perhaps not in its place.
    return ([
        kept_size(f"size_{i}", n) if "·" not in text and "/" not in text and n in before else Size(f"size_{i}", text)
        for i, (text, n) in enumerate(zip(texts, after, strict=True))
    ],)  # fmt: skip


@_formula("permute", "permute_copy")
def _permute(op: Operator) -> Sequence[Sequence[Size]]:
    x = _tensor(op)
    return ([kept_size(f"size_{dim % len(x)}", x[dim]) for dim in op.at(1)],)


@_formula("transpose", "transpose_copy", "swapaxes")
def _transpose(op: Operator) -> Sequence[Sequence[Size]]:
    sizes = list(kept_sizes(_tensor(op)))
    if sizes:
        one, other = op.at(1) % len(sizes), op.at(2) % len(sizes)
        sizes[one], sizes[other] = sizes[other], sizes[one]
    return (sizes,)


@_formula("t", "t_copy", "numpy_T")
def _reversed(op: Operator) -> Sequence[Sequence[Size]]:
    return (kept_sizes(_tensor(op))[::-1],)


@_formula("unsqueeze", "unsqueeze_copy")
def _unsqueeze(op: Operator) -> Sequence[Sequence[Size]]:
    sizes = list(kept_sizes(_tensor(op)))
    sizes.insert(op.at(1) % (len(sizes) + 1), Size("new", "1", note="put in"))
    return (sizes,)


@_formula("squeeze", "squeeze_copy")
def _squeeze(op: Operator) -> Sequence[Sequence[Size]]:
    x, dims = _tensor(op), op.at(1)
    chosen = range(len(x)) if dims is None else (dims,) if isinstance(dims, int) else dims
    gone = {dim % len(x) for dim in chosen} if x else set()
    return ([size for i, size in enumerate(kept_sizes(x)) if i not in gone or x[i] != 1],)


@_formula("expand", "expand_copy", "broadcast_to", "expand_as")
def _expand(op: Operator) -> Sequence[Sequence[Size]]:
    x, out = _tensor(op), _out(op)
    aligned = (None,) * (len(out) - len(x)) + x
    return ([
        kept_size(f"size_{i}", size) if size == was else Size(f"size_{i}", f"{size:,}", note="repeated without a copy")
        for i, (was, size) in enumerate(zip(aligned, out, strict=True))
    ],)  # fmt: skip


@_formula("repeat", "tile")
def _repeat(op: Operator) -> Sequence[Sequence[Size]]:
    x, times = _tensor(op), tuple(op.at(1))
    rank = max(len(x), len(times))
    x, times = (1,) * (rank - len(x)) + x, (1,) * (rank - len(times)) + times
    return ([
        kept_size(f"size_{i}", size) if n == 1 else Size(f"size_{i}", f"{size:,}·{n:,}")
        for i, (size, n) in enumerate(zip(x, times, strict=True))
    ],)  # fmt: skip


# --- pieces and joins ------------------------------------------------------------------------------------------------


def _with(x: Shape, dim: int, *sizes: Size) -> list[Size]:
    """The sizes of x with others in the place of one dimension."""
    dim %= max(len(x), 1)
    return [*kept_sizes(x[:dim]), *sizes, *kept_sizes(x[dim + 1 :], dim + 1)]


@_formula("cat", "concat", "concatenate")
def _cat(op: Operator) -> Sequence[Sequence[Size]]:
    shapes = [x.shape for x in op.at(0) if x.shape != (0,)]  # torch leaves out empty vectors
    if not shapes:
        return ()
    dim = op.at(1, op.keyword("dim", 0)) % len(shapes[0])
    return (_with(shapes[0], dim, Size(f"size_{dim}", " + ".join(f"{s[dim]:,}" for s in shapes))),)


@_formula("stack")
def _stack(op: Operator) -> Sequence[Sequence[Size]]:
    shapes = [x.shape for x in op.at(0)]
    sizes = list(kept_sizes(shapes[0]))
    sizes.insert(op.at(1, 0) % (len(sizes) + 1), Size("new", str(len(shapes)), note="one for each tensor"))
    return (sizes,)


@_formula("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk", "tensor_split", "split_copy",
          "unsafe_split_with_sizes", "split_with_sizes_copy")  # fmt: skip
def _split(op: Operator) -> Sequence[Sequence[Size]]:
    x, dim = _tensor(op), op.at(2, 0)
    dim %= len(x)
    done = 0
    pieces: list[Sequence[Size]] = []
    for i, piece in enumerate(op.outputs):
        size, last = piece.shape[dim], i == len(op.outputs) - 1
        text = f"{x[dim]:,} − {done:,}" if last and done else f"{size:,}"
        pieces.append(_with(x, dim, Size(f"size_{dim}", text, note=f"of {x[dim]:,}" * (not last or not done))))
        done += size
    return pieces


@_formula("unbind", "unbind_copy")
def _unbind(op: Operator) -> Sequence[Sequence[Size]]:
    return [_with(_tensor(op), op.at(1, 0))] * len(op.outputs)


@_formula("select", "select_copy")
def _select(op: Operator) -> Sequence[Sequence[Size]]:
    return (_with(_tensor(op), op.at(1)),)


@_formula("slice", "slice_copy")
def _slice(op: Operator) -> Sequence[Sequence[Size]]:
    x, dim, step = _tensor(op), op.at(1, 0), op.at(4, 1)
    size = x[dim]
    start, end, _ = slice(op.at(2), op.at(3), step).indices(size)
    if (start, end, step) == (0, size, 1):
        return (kept_sizes(x),)
    name = f"size_{dim % len(x)}"
    inside = f"{end:,} − {start:,}" if start else f"{end:,}"
    return (_with(x, dim, Size(name, inside if step == 1 else f"⌈({inside}) / {step}⌉")),)


@_formula("index_select")
def _index_select(op: Operator) -> Sequence[Sequence[Size]]:
    index, dim = _tensor(op, 2), op.at(1)
    return (_with(_tensor(op), dim, set_size(f"size_{dim}", "indices", index[0] if index else 1)),)


@_formula("index", "_unsafe_index")
def _index(op: Operator) -> Sequence[Sequence[Size]]:
    """Indices side by side are put in the place of theirs, others in front; what a mask takes the data decide."""
    x, indices = _tensor(op), op.at(1)
    dims = [dim for dim, index in enumerate(indices) if index is not None]
    if not dims or any(indices[dim].dtype in ("bool", "uint8") for dim in dims):
        return ()
    put = [
        kept_size(f"index_{i}", s.value) for i, s in enumerate(broadcast_sizes(*(indices[dim].shape for dim in dims)))
    ]
    rest = [size for dim, size in enumerate(kept_sizes(x)) if dim not in dims]
    place = dims[0] if dims[-1] - dims[0] == len(dims) - 1 else 0
    return ([*rest[:place], *put, *rest[place:]],)


@_formula("gather", "take_along_dim")
def _gather(op: Operator) -> Sequence[Sequence[Size]]:
    return ([kept_size(f"index_{i}", size) for i, size in enumerate(_tensor(op, 2))],)


@_formula("topk")
def _topk(op: Operator) -> Sequence[Sequence[Size]]:
    dim = op.at(2, -1) % max(len(_tensor(op)), 1)
    return [_with(_tensor(op), dim, set_size(f"size_{dim}", "k", op.at(1)))] * 2 if _tensor(op) else ()


@_formula("unfold", "unfold_copy")
def _unfold(op: Operator) -> Sequence[Sequence[Size]]:
    x, dim, size, step = _tensor(op), op.at(1) % max(len(_tensor(op)), 1), op.at(2), op.at(3)
    if not x:
        return ()
    windowed = Size(f"size_{dim}", f"⌊({x[dim]:,} − {size:,}) / {step:,}⌋ + 1", note="windows")
    return ([*_with(x, dim, windowed), set_size("window", "size", size)],)


@_formula("block_diag")
def _block_diag(op: Operator) -> Sequence[Sequence[Size]]:
    shapes = [(1,) * (2 - len(x.shape)) + x.shape for x in op.at(0)]
    return ([Size(f"size_{i}", " + ".join(str(s[i]) for s in shapes)) for i in (0, 1)],)


@_formula("constant_pad_nd", *(f"{kind}_pad{d}d" for kind in ("reflection", "replication") for d in (1, 2, 3)))
def _pad(op: Operator) -> Sequence[Sequence[Size]]:
    x, around = _tensor(op), op.at(1)
    sizes = list(kept_sizes(x))
    for i in range(len(around) // 2):
        dim, before, after = len(x) - 1 - i, around[2 * i], around[2 * i + 1]
        if before or after:
            sizes[dim] = Size(f"size_{dim}", f"{x[dim]:,} + before + after", {"before": before, "after": after})
    return (sizes,)


# --- products --------------------------------------------------------------------------------------------------------


def _matrices(one: Shape, other: Shape) -> list[Size]:
    """(…, M, K) by (…, K, N): K is summed over."""
    batch = broadcast_sizes(one[:-2], other[:-2]) if len(one) > 2 or len(other) > 2 else ()
    rows = [kept_size("M", one[-2], f"K = {one[-1]:,} is summed over")] if len(one) > 1 else []
    return [*batch, *rows, *([kept_size("N", other[-1])] if len(other) > 1 else [])]


@_formula("mm", "bmm", "matmul", "mv", "dot", "_int_mm", "vdot")
def _product(op: Operator) -> Sequence[Sequence[Size]]:
    return (_matrices(_tensor(op), _tensor(op, 1)),)


@_formula("addmm", "baddbmm", "addmv", "_addmm_activation")
def _added_product(op: Operator) -> Sequence[Sequence[Size]]:
    return (_matrices(_tensor(op, 1), _tensor(op, 2)),)


@_formula("addbmm")
def _summed_products(op: Operator) -> Sequence[Sequence[Size]]:
    return (_matrices(_tensor(op, 1)[1:], _tensor(op, 2)[1:]),)


@_formula("linear")
def _linear(op: Operator) -> Sequence[Sequence[Size]]:
    return ([*kept_sizes(_tensor(op)[:-1]), *(set_size("features", "rows_of_weight", n) for n in _tensor(op, 1)[:-1])],)


@_formula("scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu",
          "_scaled_dot_product_attention_math")  # fmt: skip
def _attention(op: Operator) -> Sequence[Sequence[Size]]:
    query, value = _tensor(op), _tensor(op, 2)
    names = ("B", "H", "L")[-len(query) + 1 :] if len(query) <= 4 else [f"size_{i}" for i in range(len(query) - 1)]
    return ([*map(kept_size, names, query), kept_size("head_dim", value[-1], "the values' width")],)


@_formula("embedding")
def _embedding(op: Operator) -> Sequence[Sequence[Size]]:
    return ([*kept_sizes(_tensor(op, 1)), set_size("features", "embedding_dim", _tensor(op)[-1])],)


@_formula("cdist", "_cdist_forward")
def _cdist(op: Operator) -> Sequence[Sequence[Size]]:
    one, other = _tensor(op), _tensor(op, 1)
    batch = broadcast_sizes(one[:-2], other[:-2]) if len(one) > 2 else ()
    return ([*batch, kept_size("P", one[-2]), kept_size("R", other[-2])],)


@_formula("_pdist_forward")
def _pdist(op: Operator) -> Sequence[Sequence[Size]]:
    return ([Size("pairs", "N·(N − 1) / 2", {"N": _tensor(op)[0]})],)


# --- windows ---------------------------------------------------------------------------------------------------------


@_formula("convolution", "_convolution")
def _convolution(op: Operator) -> Sequence[Sequence[Size]]:
    x, weight = _tensor(op), _tensor(op, 1)
    dimensions = len(weight) - 2
    stride, padding, dilation, extra = (_each(op.at(i), dimensions) for i in (3, 4, 5, 7))
    batch = [kept_size("N", x[0])] * (len(x) == len(weight))
    columns = zip(SPATIAL[dimensions], x[-dimensions:], weight[2:], stride, padding, dilation, extra, strict=True)
    if op.at(6):
        channels = Size("C", f"{weight[1]:,}·groups", {"groups": op.at(8)})
        spread = [Size(n, f"({s} − 1)·{st} − 2·{p} + {d}·({k} − 1) + 1 + {e}") for n, s, k, st, p, d, e in columns]
        return ([*batch, channels, *spread],)
    channels = set_size("C", "filters", weight[0])
    return ([*batch, channels, *(count_windows(n, s, k, st, p, d) for n, s, k, st, p, d, _ in columns)],)


@_formula(*(f"{kind}_pool{d}d{end}" for d in (1, 2, 3) for kind, end in (
    ("avg", ""), ("max", ""), ("max", "_with_indices"))))  # fmt: skip
def _pool(op: Operator) -> Sequence[Sequence[Size]]:
    x, dimensions = _tensor(op), int(op.name.rpartition("pool")[2][0])
    maximum = "max" in op.name
    kernel = _each(op.at(1), dimensions)
    stride = _each(op.at(2), dimensions) if op.at(2) else kernel
    padding, dilation = _each(op.at(3, 0), dimensions), _each(op.at(4, 1) if maximum else 1, dimensions)
    columns = zip(SPATIAL[dimensions], x[-dimensions:], kernel, stride, padding, dilation, strict=True)
    ceil_mode = op.at(5 if maximum else 4, False)
    sizes = [count_windows(n, s, k, st, p, d, ceil_mode) for n, s, k, st, p, d in columns]
    return [[*kept_sizes(x[:-dimensions]), *sizes]] * len(op.outputs)


@_formula(*(f"{kind}adaptive_{of}_pool{d}d" for kind in ("", "_") for of in ("avg", "max") for d in (1, 2, 3)))
def _adaptive(op: Operator) -> Sequence[Sequence[Size]]:
    x, dimensions = _tensor(op), int(op.name.rpartition("pool")[2][0])
    sizes = map(set_size, SPATIAL[dimensions], ("output_size",) * 3, _each(op.at(1), dimensions))
    return [[*kept_sizes(x[:-dimensions]), *sizes]] * len(op.outputs)


@_formula(*(f"upsample_{mode}" for mode in (
    "nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d", "bicubic2d", "trilinear3d")),
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d")  # fmt: skip
def _upsample(op: Operator) -> Sequence[Sequence[Size]]:
    x, out = _tensor(op), _out(op)
    scaled = [
        Size(name, f"{was:,}·{made // was}") if made % was == 0 else set_size(name, "size", made)
        for name, was, made in zip(SPATIAL[len(x) - 2], x[2:], out[2:], strict=True)
    ]
    return ([*kept_sizes(x[:2]), *scaled],)


@_formula("pixel_shuffle", "pixel_unshuffle")
def _pixels(op: Operator) -> Sequence[Sequence[Size]]:
    (*front, channels, height, width), r = _tensor(op), op.at(1)
    forms = (
        ("{} / ({r}·{r})", "{}·{r}", "{}·{r}")
        if op.name.endswith("_shuffle")
        else ("{}·{r}·{r}", "{} / {r}", "{} / {r}")
    )
    sizes = [Size(n, form.format(s, r=r)) for n, form, s in zip("CHW", forms, (channels, height, width), strict=True)]
    return ([*kept_sizes(front), *sizes],)


@_formula("grid_sampler_2d", "grid_sampler_3d")
def _grid(op: Operator) -> Sequence[Sequence[Size]]:
    grid = _tensor(op, 1)
    return (
        [*kept_sizes(_tensor(op)[:2]), *map(kept_size, (f"grid_{i}" for i in range(1, len(grid) - 1)), grid[1:-1])],
    )


@_formula("im2col")
def _im2col(op: Operator) -> Sequence[Sequence[Size]]:
    *front, channels, height, width = _tensor(op)
    kernel, dilation, padding, stride = (_each(op.at(i), 2) for i in (1, 2, 3, 4))
    columns = zip("HW", (height, width), kernel, stride, padding, dilation, strict=True)
    count = "·".join(f"({count_windows(*column).with_numbers})" for column in columns)
    return ([*kept_sizes(front), Size("rows", multiply((channels, *kernel))), Size("L", count, note="windows")],)


@_formula("col2im")
def _col2im(op: Operator) -> Sequence[Sequence[Size]]:
    *front, rows, _ = _tensor(op)
    kernel = _each(op.at(2), 2)
    channels = Size("C", f"{rows:,} / ({kernel[0]}·{kernel[1]})")
    return ([*kept_sizes(front), channels, *map(set_size, "HW", ("output_size",) * 2, _each(op.at(1), 2))],)


# --- reductions ------------------------------------------------------------------------------------------------------

_REDUCTIONS = (
    "sum", "mean", "prod", "amax", "amin", "max", "min", "aminmax", "argmax", "argmin", "any", "all", "std", "var",
    "std_mean", "var_mean", "median", "nanmedian", "mode", "norm", "linalg_vector_norm", "logsumexp", "nansum",
    "count_nonzero", "kthvalue",
)  # fmt: skip


@_formula(*_REDUCTIONS)
def _reduction(op: Operator) -> Sequence[Sequence[Size]]:
    """The dimensions reduced stand where each operator has them: the first reading that gives the result is it."""
    x, out = _tensor(op), _out(op)
    for dims in (op.at(1), op.keyword("dim"), op.at(2), tuple(range(len(x)))):
        if not _are_dimensions(dims, len(x)):
            continue
        gone = {dim % len(x) for dim in ((dims,) if isinstance(dims, int) else dims or range(len(x)))}
        dropped = [size for i, size in enumerate(kept_sizes(x)) if i not in gone]
        stay = [Size(s.name, "1", note="keepdim=True") if i in gone else s for i, s in enumerate(kept_sizes(x))]
        for sizes in (dropped, stay):
            if shape_of(sizes) == out:
                return [sizes] * len(op.outputs)
    return ()


def _are_dimensions(value: Any, rank: int) -> bool:
    values = (value,) if isinstance(value, int) else value
    if isinstance(value, bool) or not isinstance(values, tuple):
        return False
    return rank > 0 and all(isinstance(dim, int) and -rank <= dim < rank for dim in values)


@_formula("_fft_r2c")
def _real_fft(op: Operator) -> Sequence[Sequence[Size]]:
    x, last = _tensor(op), op.at(1)[-1]
    half = Size(f"size_{last % len(x)}", f"⌊{x[last]:,} / 2⌋ + 1", note="the other half mirrors it")
    return (_with(x, last, half),) if op.at(3, True) else (kept_sizes(x),)


@_formula("one_hot")
def _one_hot(op: Operator) -> Sequence[Sequence[Size]]:
    return ([*kept_sizes(_tensor(op)), set_size("classes", "num_classes", op.at(1, -1))],)


@_formula("arange", "zeros", "ones", "full", "empty", "eye", "rand", "randn", "randint", "linspace", "logspace",
          "new_zeros", "new_ones", "new_full", "new_empty", "scalar_tensor", "randperm", "empty_strided",
          "new_empty_strided", "empty_permuted", "lift", "lift_fresh")  # fmt: skip
def _made(op: Operator) -> Sequence[Sequence[Size]]:
    return ([set_size(f"size_{i}", "asked_for", size) for i, size in enumerate(_out(op))],)
