"""What moves data and computes nothing: copies, selections, padding, joins, and what fills or makes tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from fwdscope.formula import (
    Size,
    broadcast_sizes,
    count_windows,
    kept_size,
    kept_sizes,
    multiply,
    replace_size,
    set_size,
    shape_of,
)

from .base import (
    Output,
    ResultSizes,
    Rule,
    Term,
    Terms,
    Traffic,
    Window,
    dimension,
    elements,
    existing_dimension,
    flops,
    is_dense,
    like,
    mix_along,
    no_terms,
    per_dimension,
    register,
    register_formula,
    rule,
    tensor,
)
from .embedding import looked_up
from .layout import broadcast, elementwise, is_gapless, looks_channels_last
from .op import Op, Operand
from .positions import Passage, Passing, Resample, Shift, Slide, Through, over_last
from .promotion import DEFAULT, ITEMSIZE, UnpromotedError, promote
from .views import asked_sizes, reshaped_sizes, untouched


def _written(op: Op) -> tuple[int, int]:
    return 0, sum(x.nbytes for x in op.outputs)


def _from_source(op: Op) -> tuple[int, int]:
    """All tensors but the first are read; of the first, at most as many bytes are written as the last has."""
    _, *sources = op.operands
    written = op.output.nbytes
    return sum(x.nbytes for x in sources), min(written, sources[-1].nbytes) if sources else written


def _moves(
    names: str,
    output: Output | None = None,
    sizes: Callable[[Op], ResultSizes] | None = None,
    window: Window | None = None,
    traffic: Traffic | None = None,
) -> None:
    register(names.split(), Rule(no_terms, output, traffic, sizes, window))


_moves("_local_scalar_dense item")


# --- copies ----------------------------------------------------------------------------------------------------------


def _copy_output(op: Op) -> tuple[Operand, ...] | None:
    """A copy, perhaps of another dtype; by default without gaps, its dimensions in the same order in memory."""
    x, form = op.operand(), op.keyword("memory_format")
    dtype = op.keyword("dtype") or x.dtype
    if dtype not in ITEMSIZE or op.keyword("layout") not in (None, "strided") or op.keyword("pin_memory"):
        return None
    if form in (None, "preserve_format"):
        return (Operand(x.shape, dtype, ITEMSIZE[dtype], elementwise(x.shape, ((x.shape, x.stride),))),)
    return (tensor(x.shape, dtype),) if form == "contiguous_format" else None


def _same_output(op: Op) -> tuple[Operand, ...] | None:
    x = op.operand()
    return (like(x),) if is_dense(x) and len(x.shape) > 1 else None


def _repeat_sizes(op: Op) -> ResultSizes:
    x, times = op.operand().shape, tuple(op.at(1))
    rank = max(len(x), len(times))
    x, times = (1,) * (rank - len(x)) + x, (1,) * (rank - len(times)) + times
    return ([
        kept_size(f"size_{i}", size) if n == 1 else Size(f"size_{i}", f"{size:,}·{n:,}")
        for i, (size, n) in enumerate(zip(x, times, strict=True))
    ],)  # fmt: skip


def _repeat_output(op: Op) -> tuple[Operand, ...] | None:
    x, repeats = op.operand(), op.at(1)
    if not isinstance(repeats, tuple) or len(repeats) < len(x.shape) or any(r < 0 for r in repeats):
        return None
    shape = (1,) * (len(repeats) - len(x.shape)) + x.shape
    return (like(x, (s * r for s, r in zip(shape, repeats, strict=True))),)


_moves("clone _to_copy", _copy_output, None, Passing.BROADCAST)
_moves("to _copy_from _pin_memory", None, None, Passing.BROADCAST)
_moves("repeat", _repeat_output, _repeat_sizes)
_moves("tile", None, _repeat_sizes)
_moves("tril triu", _same_output)
_moves("roll", _same_output, None, mix_along(2))
_moves("flip", None, None, mix_along(1))
_moves("diag diag_embed diagonal_scatter repeat_interleave rot90 select_scatter slice_scatter lu_unpack")
_moves("_new_zeros_with_same_feature_meta", traffic=_written)
_moves("as_strided_scatter narrow_copy _unsafe_masked_index")
_moves("_efficientzerotensor", traffic=untouched)


# --- joins -----------------------------------------------------------------------------------------------------------


def _cat_output(op: Op) -> tuple[Operand, ...] | None:
    tensors: tuple[Operand, ...] = op.at(0)
    first, ndim = tensors[0], len(tensors[0].shape)
    dim = existing_dimension(op.at(1, 0), ndim)
    if dim is None:
        return None
    # torch skips one-dimensional empty tensors, whatever the others are.
    rests = {x.shape[:dim] + x.shape[dim + 1 :] for x in tensors}
    same = len(rests) == 1 and all(len(x.shape) == ndim and x.shape != (0,) for x in tensors)
    # If all are channels last, so is the result.
    if not same or all(looks_channels_last(x.shape, x.stride) for x in tensors):
        return None
    try:
        dtype = first.dtype
        for x in tensors[1:]:
            dtype = promote(dtype, x.dtype)
    except UnpromotedError:
        return None
    shape = (*first.shape[:dim], sum(x.shape[dim] for x in tensors), *first.shape[dim + 1 :])
    return (tensor(shape, dtype),)


def _cat_sizes(op: Op) -> ResultSizes:
    shapes = [x.shape for x in op.at(0) if x.shape != (0,)]  # torch leaves out empty vectors
    if not shapes:
        return ()
    dim = op.at(1, op.keyword("dim", 0)) % len(shapes[0])
    return (replace_size(shapes[0], dim, Size(f"size_{dim}", " + ".join(f"{s[dim]:,}" for s in shapes))),)


def _cat_window(op: Op, tensor: int) -> Passage | None:
    """Along the other dimensions, the fields of the tensors are united."""
    rank = len(op.output.shape)
    dim = dimension(op.at(1, 0), rank)
    if len(op.operands[tensor].shape) != rank:
        return None
    return Passage(tuple(None if d == dim else d for d in range(rank)), (dim,), joins=True)


def _stack_output(op: Op) -> tuple[Operand, ...] | None:
    tensors: tuple[Operand, ...] = op.at(0)
    shape, dim = tensors[0].shape, existing_dimension(op.at(1, 0), len(tensors[0].shape) + 1)
    if dim is None or len({(x.shape, x.dtype) for x in tensors}) > 1:
        return None
    return (like(tensors[0], (*shape[:dim], len(tensors), *shape[dim:])),)


def _stack_sizes(op: Op) -> ResultSizes:
    sizes = list(kept_sizes(op.operands[0].shape))
    sizes.insert(op.at(1, 0) % (len(sizes) + 1), Size("new", str(len(op.operands)), note="one for each tensor"))
    return (sizes,)


def _stack_window(op: Op, tensor: int) -> Passage:
    rank = len(op.output.shape)
    dim = dimension(op.at(1, 0), rank)
    return Passage((*range(dim), None, *range(dim, rank - 1)), joins=True)


def _block_diag_sizes(op: Op) -> ResultSizes:
    shapes = [(1,) * (2 - len(x.shape)) + x.shape for x in op.at(0)]
    return ([Size(f"size_{i}", " + ".join(str(s[i]) for s in shapes)) for i in (0, 1)],)


_moves("cat", _cat_output, _cat_sizes, _cat_window)
_moves("concat", None, _cat_sizes, _cat_window)
_moves("stack", _stack_output, _stack_sizes, _stack_window)
_moves("hstack vstack _pad_packed_sequence _pack_padded_sequence")
_moves("block_diag", None, _block_diag_sizes)


# --- padding and pixels ----------------------------------------------------------------------------------------------


def _pad_output(op: Op) -> tuple[Operand, ...] | None:
    x, pad = op.operand(), op.at(1)
    if not is_dense(x) or len(pad) % 2 or len(pad) > 2 * len(x.shape) or 1 in x.shape:
        return None
    shape = list(x.shape)
    for i in range(len(pad) // 2):
        shape[-1 - i] += pad[2 * i] + pad[2 * i + 1]
    return (like(x, shape),) if min(shape, default=1) > 0 else None


def _padding(op: Op) -> Iterator[tuple[int, int, int]]:
    """Each dimension that is padded, how much before it and how much after."""
    around = op.at(1)
    for i in range(len(around) // 2):
        before, after = around[2 * i], around[2 * i + 1]
        if before or after:
            yield len(op.operand().shape) - 1 - i, before, after


def _pad_sizes(op: Op) -> ResultSizes:
    sizes = list(kept_sizes(op.operand().shape))
    for dim, before, after in _padding(op):
        text = f"{op.operand().shape[dim]:,} + before + after"
        sizes[dim] = Size(f"size_{dim}", text, {"before": before, "after": after})
    return (sizes,)


def _pad_window(op: Op, tensor: int) -> Passage:
    dims: list[int | Through | None] = list(range(len(op.operand().shape)))
    for dim, before, _ in _padding(op):
        dims[dim] = Through(dim, Shift(before))
    return Passage(tuple(dims))


def _shuffle_output(op: Op) -> tuple[Operand, ...] | None:
    x, groups = op.operand(), op.at(1)
    fits = len(x.shape) > 2 and groups > 0 and x.shape[1] % groups == 0 and 0 not in x.shape
    return (like(x),) if fits and is_dense(x) else None


def _pixel_shuffle_output(op: Op) -> tuple[Operand, ...] | None:
    x, factor = op.operand(), op.at(1)
    if len(x.shape) < 3 or factor < 1 or x.shape[-3] % factor**2 or 0 in x.shape or not is_dense(x):
        return None
    *lead, c, h, w = x.shape
    return (like(x, (*lead, c // factor**2, h * factor, w * factor)),)


def _pixel_sizes(op: Op) -> ResultSizes:
    (*front, channels, height, width), r = op.operand().shape, op.at(1)
    if op.name.endswith("_shuffle"):
        texts = f"{channels} / ({r}·{r})", f"{height}·{r}", f"{width}·{r}"
    else:
        texts = f"{channels}·{r}·{r}", f"{height} / {r}", f"{width} / {r}"
    return ([*kept_sizes(front), *map(Size, "CHW", texts)],)


def _pixel_window(op: Op, tensor: int) -> Passage:
    reading = Resample() if op.name.endswith("_shuffle") else Slide(op.at(1), op.at(1))
    return over_last(len(op.operand().shape), [reading] * 2)


def _im2col_sizes(op: Op) -> ResultSizes:
    *front, channels, height, width = op.operand().shape
    kernel, dilation, padding, stride = (per_dimension(op.at(i), 2) for i in (1, 2, 3, 4))
    columns = zip("HW", (height, width), kernel, stride, padding, dilation, strict=True)
    count = "·".join(f"({count_windows(n, s, k, st, p, d).with_numbers})" for n, s, k, st, p, d in columns)
    return ([*kept_sizes(front), Size("rows", multiply((channels, *kernel))), Size("L", count, note="windows")],)


_moves("constant_pad_nd", _pad_output, _pad_sizes, _pad_window)
_moves(
    "reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d",
    None, _pad_sizes, _pad_window,
)  # fmt: skip
_moves("channel_shuffle native_channel_shuffle", _shuffle_output, None, Passing.SAME)
_moves("pixel_shuffle", _pixel_shuffle_output, _pixel_sizes, _pixel_window)
_moves("pixel_unshuffle", None, _pixel_sizes, _pixel_window)
_moves("im2col", None, _im2col_sizes)
_moves("max_unpool2d max_unpool3d")


def _col2im_sizes(op: Op) -> ResultSizes:
    *front, rows, _ = op.operand().shape
    kernel = per_dimension(op.at(2), 2)
    channels = Size("C", f"{rows:,} / ({kernel[0]}·{kernel[1]})")
    return ([*kept_sizes(front), channels, *map(set_size, "HW", ("output_size",) * 2, per_dimension(op.at(1), 2))],)


# Every element of every window is added to its place.
register_formula("col2im", "sums", "N", elements, sizes=_col2im_sizes)


# --- selections by index ---------------------------------------------------------------------------------------------


def _index_select_output(op: Op) -> tuple[Operand, ...] | None:
    x, index = op.operand(0), op.operand(2)
    dim = existing_dimension(op.at(1), len(x.shape))
    if dim is None or len(index.shape) != 1 or not is_dense(x):
        return None
    return (like(x, (*x.shape[:dim], index.shape[0], *x.shape[dim + 1 :])),)


def _index_select_sizes(op: Op) -> ResultSizes:
    index, dim = op.operand(2).shape, op.at(1)
    return (replace_size(op.operand().shape, dim, set_size(f"size_{dim}", "indices", index[0] if index else 1)),)


def _gather_output(op: Op) -> tuple[Operand, ...] | None:
    x, index = op.operand(0), op.operand(2)
    dim = existing_dimension(op.at(1), len(x.shape))
    if dim is None or len(index.shape) != len(x.shape) or index.dtype != "int64" or not is_dense(index):
        return None
    inside = all(i <= n for d, (i, n) in enumerate(zip(index.shape, x.shape, strict=True)) if d != dim)
    return (like(x, index.shape),) if inside else None


def _gather_sizes(op: Op) -> ResultSizes:
    return ([kept_size(f"index_{i}", size) for i, size in enumerate(op.operand(2).shape)],)


def _index_output(op: Op) -> tuple[Operand, ...] | None:
    """Index tensors for the first dimensions, the others whole: ``table[ids]``."""
    x, indices = op.operand(), op.at(1)
    if None in indices or not 0 < len(indices) <= len(x.shape) or not is_dense(x, *indices) or 0 in x.shape:
        return None
    found = broadcast(index.shape for index in indices)
    if found is None or any(index.dtype not in ("int64", "int32") for index in indices):
        return None
    return (like(x, (*found, *x.shape[len(indices) :])),)


def _index_sizes(op: Op) -> ResultSizes:
    """Indices side by side stand in the place of their dimensions, others in front; a mask's size depends on data."""
    x, indices = op.operand().shape, op.at(1)
    dims = [dim for dim, index in enumerate(indices) if index is not None]
    if not dims or any(indices[dim].dtype in ("bool", "uint8") for dim in dims):
        return ()
    common = shape_of(broadcast_sizes(*(indices[dim].shape for dim in dims)))
    chosen = [kept_size(f"index_{i}", size) for i, size in enumerate(common)]
    rest = [size for dim, size in enumerate(kept_sizes(x)) if dim not in dims]
    place = dims[0] if dims[-1] - dims[0] == len(dims) - 1 else 0
    return ([*rest[:place], *chosen, *rest[place:]],)


_moves("index_select", _index_select_output, _index_select_sizes, mix_along(1), looked_up)
_moves("gather", _gather_output, _gather_sizes, None, looked_up)
_moves("take_along_dim", None, _gather_sizes, None, looked_up)
_moves("index", _index_output, _index_sizes, None, looked_up)
_moves("_unsafe_index", None, _index_sizes, None, looked_up)
_moves("take", traffic=looked_up)
_moves("index_copy index_fill masked_scatter masked_select put scatter")
_moves(
    "one_hot", None, lambda op: ([*kept_sizes(op.operand().shape), set_size("classes", "num_classes", op.at(1, -1))],)
)


# --- new tensors -----------------------------------------------------------------------------------------------------


def _new(op: Op, shape: Sequence[int], default: str) -> tuple[Operand, ...] | None:
    """A tensor of the ``dtype`` that is asked for, or of a default one."""
    dtype = op.keyword("dtype") or default
    return (tensor(shape, dtype),) if dtype in ITEMSIZE and min(shape, default=0) >= 0 else None


def _shaped_output(op: Op) -> tuple[Operand, ...] | None:
    """zeros, ones, new_zeros, …: a shape and a dtype."""
    prototype = op.at(0) if isinstance(op.at(0), Operand) else None
    shape = op.at(0 if prototype is None else 1)
    plain = op.keyword("memory_format") in (None, "contiguous_format") and op.keyword("layout") in (None, "strided")
    return _new(op, shape, prototype.dtype if prototype else DEFAULT) if plain and isinstance(shape, tuple) else None


def _full_output(op: Op) -> tuple[Operand, ...] | None:
    """full: without a dtype, that of the fill value."""
    return _new(op, op.at(0), {bool: "bool", int: "int64", float: DEFAULT}.get(type(op.at(1)), ""))


def _linspace_output(op: Op) -> tuple[Operand, ...] | None:
    *ends, steps = op.arguments[:3]
    if not isinstance(steps, int) or not all(isinstance(end, int | float) for end in ends):
        return None
    return _new(op, (steps,), DEFAULT)


def _arange_output(op: Op) -> tuple[Operand, ...] | None:
    numbers = [b for b in op.arguments if isinstance(b, int | float) and not isinstance(b, bool)]
    start, end, step = (0, *numbers, 1)[:3] if len(numbers) == 1 else (*numbers, 1, 1, 1)[:3]
    if len(numbers) < len(op.arguments) or step == 0 or not 0 <= (end - start) * step < math.inf:
        return None
    if all(isinstance(one, int) for one in numbers):
        return _new(op, (int(-((start - end) // step)),), "int64")
    return _new(op, (math.ceil((end - start) / step),), DEFAULT)


_moves("arange", _arange_output, asked_sizes, None, _written)
_moves("full", _full_output, asked_sizes, None, _written)
_moves("scalar_tensor", lambda op: _new(op, (), DEFAULT), asked_sizes, None, _written)
_moves("zeros ones", _shaped_output, asked_sizes, None, _written)
_moves("new_zeros new_ones", _shaped_output, asked_sizes, Passing.NONE, _written)
_moves("new_full", None, asked_sizes, Passing.NONE, _written)
_moves("zeros_like ones_like full_like", _copy_output, None, Passing.NONE, _written)
_moves("eye", None, asked_sizes, None, _written)
_moves("tril_indices triu_indices", None, None, None, _written)
_moves("empty", _shaped_output, asked_sizes, None, untouched)
_moves("new_empty", _shaped_output, asked_sizes, Passing.NONE, untouched)
_moves("empty_like", _copy_output, None, Passing.NONE, untouched)
_moves("empty_strided empty_permuted", None, asked_sizes, None, untouched)
_moves("new_empty_strided", None, asked_sizes, Passing.NONE, untouched)
_moves("resize", None, reshaped_sizes, None, untouched)
_moves("resize_as", None, None, None, untouched)


register_formula("linspace", "product, sum", "2·N", output=_linspace_output, traffic=_written, sizes=asked_sizes)
register_formula("logspace", "product, sum, power", "3·N", traffic=_written, sizes=asked_sizes)


# --- written onto another tensor -------------------------------------------------------------------------------------


def _first_output(op: Op) -> tuple[Operand, ...] | None:
    """The first tensor, if the others broadcast to it."""
    this, *sources = op.operands
    fits = all(broadcast((this.shape, x.shape)) == this.shape for x in sources)
    return (this,) if fits and is_gapless(this.shape, this.stride) else None


_moves("fill_ zero_", _first_output, None, Passing.BROADCAST, _written)
_moves("fill zero", None, None, Passing.BROADCAST, _written)
_moves("copy_", _first_output, None, Passing.BROADCAST, _from_source)
_moves("copy", None, None, Passing.BROADCAST)
_moves("index_copy_ scatter_ index_put_ masked_scatter_ put_", None, None, None, _from_source)
# The results of a body that ran for each element, side by side.
_moves("higher_order.map_impl higher_order.scan higher_order.associative_scan")


@rule("index_put", "_index_put_impl", "_unsafe_index_put")
def index_put(op: Op) -> Terms:
    """A copy, or with ``accumulate`` a sum for each value."""
    values = op.operand(2).numel
    return (flops("sums", "N", N=values),) if op.at(3, False) else ()


def _index_add_output(op: Op) -> tuple[Operand, ...] | None:
    x, index, source = op.operand(0), op.operand(2), op.operand(3)
    dim = existing_dimension(op.at(1), len(x.shape))
    if dim is None or len(index.shape) != 1 or not is_dense(x):
        return None
    fits = source.shape == (*x.shape[:dim], index.shape[0], *x.shape[dim + 1 :]) and source.dtype == x.dtype
    return (like(x),) if fits and index.dtype in ("int64", "int32") else None


register_formula("scatter_add", "sums", "N", lambda op: {"N": op.operand(3).numel})


@rule("index_add", output=_index_add_output)
def index_add(op: Op) -> Terms:
    """Each element of the source is a sum, and a product with an alpha that is not 1."""
    n = op.operand(3).numel
    scaled = op.keyword("alpha", 1) != 1
    return (flops("product, sum" if scaled else "sums", "2·N" if scaled else "N", N=n),)


@rule("scatter_reduce", "index_reduce")
def scatter_reduce(op: Op) -> Iterator[Term]:
    """Each element of the source is a sum, product or comparison; a mean divides each result."""
    yield flops("sums, products or comparisons", "N", N=op.operand(3).numel)
    if op.at(4) == "mean":
        yield flops("quotient", "M", M=op.output.numel)


register_formula("_unsafe_masked_index_put_accumulate", "sums", "N", lambda op: {"N": op.operand(3).numel})

# Between ranks elements are moved; what they are reduced to there is the whole group's work, not one rank's.
_COLLECTIVES = """all_reduce all_reduce_coalesced all_gather_into_tensor all_gather_into_tensor_coalesced
all_gather_into_tensor_out reduce_scatter_tensor reduce_scatter_tensor_coalesced reduce_scatter_tensor_out
all_to_all_single broadcast"""
_moves(" ".join(f"_c10d_functional.{name}" for name in _COLLECTIVES.split()))
_COLLECTIVES = """allreduce_ allreduce_coalesced_ allgather_ _allgather_base_ allgather_coalesced_
allgather_into_tensor_coalesced_ reduce_ reduce_scatter_ _reduce_scatter_base_ reduce_scatter_tensor_coalesced_
broadcast_ gather_ scatter_ alltoall_ alltoall_base_ send recv_ recv_any_source_"""
_moves(" ".join(f"c10d.{name}" for name in _COLLECTIVES.split()))
