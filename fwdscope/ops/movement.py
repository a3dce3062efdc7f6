"""What computes nothing: views, which do not even touch memory, and all that copies, selects, pads and fills.

Views have no stated result: only torch can make a tensor that shares another's storage.
"""

from __future__ import annotations

from collections.abc import Iterator

from .base import Op, Operand, Output, Rule, Term, Terms, dimension, flops, is_dense, like, register, rule, tensor
from .embedding import looked_up
from .layout import Shape, broadcast, contiguous, elementwise, looks_channels_last
from .layout import is_dense as gapless
from .promotion import DEFAULT, ITEMSIZE, UnpromotedError, promote

_VIEWS = """
_conj _neg_view _reshape_alias _unsafe_view alias as_strided broadcast_to chunk contiguous detach
diagonal expand expand_as flatten imag lift lift_fresh movedim narrow numpy_T permute real reshape resolve_conj
resolve_neg select set_data slice split split_with_sizes squeeze swapaxes t tensor_split transpose unbind unflatten
unfold unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze view view_as view_as_complex view_as_real
_linalg_check_errors _assert_async _assert_tensor_metadata _nested_tensor_from_mask_left_aligned is_same_size
_fused_sdp_choice _has_compatible_shallow_copy_type sym_size sym_numel sym_stride sym_storage_offset
"""
_CREATIONS = """
arange eye full full_like new_full new_ones new_zeros ones ones_like scalar_tensor tril_indices triu_indices zeros
zeros_like
"""
_EMPTY = "empty empty_like empty_strided empty_permuted new_empty new_empty_strided resize resize_as"
_COPIES = """
_copy_from _to_copy _pin_memory alias_copy as_strided_copy block_diag cat channel_shuffle clone concat constant_pad_nd
detach_copy diag diag_embed diagonal_copy diagonal_scatter expand_copy flip hstack im2col index_copy index_fill
masked_scatter masked_select max_unpool2d max_unpool3d native_channel_shuffle one_hot permute_copy pixel_shuffle
pixel_unshuffle put reflection_pad1d reflection_pad2d reflection_pad3d repeat repeat_interleave replication_pad1d
replication_pad2d replication_pad3d roll rot90 scatter select_copy select_scatter slice_copy slice_scatter
split_with_sizes_copy split_copy stack t_copy tile to transpose_copy tril triu unbind_copy unfold_copy view_copy vstack
_pad_packed_sequence _pack_padded_sequence
"""
_LOOK_UPS = "gather index _unsafe_index index_select take take_along_dim"


def _nothing(op: Op) -> Terms:
    return ()


def _untouched(op: Op) -> tuple[int, int]:
    return 0, 0


def _written(op: Op) -> tuple[int, int]:
    return 0, sum(x.nbytes for x in op.outputs)


def _from_source(op: Op) -> tuple[int, int]:
    """All but the first tensor is read, and as much of the first is written as the last of them has, at most."""
    _, *sources = op.operands
    written = op.output.nbytes
    return sum(x.nbytes for x in sources), min(written, sources[-1].nbytes) if sources else written


register(_VIEWS.split(), Rule(_nothing, traffic=_untouched, free=True))
register(("_local_scalar_dense", "item"), Rule(_nothing))


# -- what copies return -----------------------------------------------------------------------------------------------


def _kept(x: Operand) -> Operand:
    """A gapless copy that keeps the order of dimensions in memory."""
    return x._replace(stride=elementwise(x.shape, ((x.shape, x.stride),)))


def _formatted(op: Op, dtype: str) -> tuple[Operand, ...] | None:
    x, form = op.operand(), op.keyword("memory_format")
    x = x._replace(dtype=dtype, itemsize=ITEMSIZE[dtype])
    if form in (None, "preserve_format"):
        return (_kept(x),)
    return (like(x),) if form == "contiguous_format" else None


def _clone_output(op: Op) -> tuple[Operand, ...] | None:
    return _formatted(op, op.operand().dtype) if op.operand().dtype in ITEMSIZE else None


def _to_copy_output(op: Op) -> tuple[Operand, ...] | None:
    dtype = op.keyword("dtype") or op.operand().dtype
    others = op.keyword("layout") not in (None, "strided") or op.keyword("pin_memory")
    return None if others or dtype not in ITEMSIZE else _formatted(op, dtype)


def _cat_output(op: Op) -> tuple[Operand, ...] | None:
    tensors, dim = op.at(0), op.at(1, 0)
    first: Operand = tensors[0]
    ndim = len(first.shape)
    if not ndim or not -ndim <= dim < ndim:
        return None
    dim = dimension(dim, ndim)
    # One-dimensional empty tensors are skipped by torch, whatever the others are.
    rests = {x.shape[:dim] + x.shape[dim + 1 :] for x in tensors}
    same = len(rests) == 1 and all(len(x.shape) == ndim and x.shape != (0,) for x in tensors)
    # Where all have their channels last, so has the result.
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


def _stack_output(op: Op) -> tuple[Operand, ...] | None:
    tensors, dim = op.at(0), op.at(1, 0)
    ndim = len(tensors[0].shape) + 1
    same = len({(x.shape, x.dtype) for x in tensors}) == 1 and all(is_dense(x) for x in tensors)
    if not same or not -ndim <= dim < ndim:
        return None
    dim = dimension(dim, ndim)
    shape: Shape = tensors[0].shape
    return (like(tensors[0], (*shape[:dim], len(tensors), *shape[dim:])),)


def _same_output(op: Op) -> tuple[Operand, ...] | None:
    x = op.operand()
    return (like(x),) if is_dense(x) and len(x.shape) > 1 else None


def _repeat_output(op: Op) -> tuple[Operand, ...] | None:
    x, repeats = op.operand(), op.at(1)
    if not isinstance(repeats, tuple) or len(repeats) < len(x.shape) or any(r < 0 for r in repeats):
        return None
    shape = (1,) * (len(repeats) - len(x.shape)) + x.shape
    return (like(x, (s * r for s, r in zip(shape, repeats, strict=True))),)


def _pad_output(op: Op) -> tuple[Operand, ...] | None:
    x, pad = op.operand(), op.at(1)
    if not is_dense(x) or len(pad) % 2 or len(pad) > 2 * len(x.shape) or 1 in x.shape:
        return None
    shape = list(x.shape)
    for i in range(len(pad) // 2):
        shape[-1 - i] += pad[2 * i] + pad[2 * i + 1]
    return (like(x, shape),) if min(shape, default=1) > 0 else None


def _index_select_output(op: Op) -> tuple[Operand, ...] | None:
    x, dim, index = op.operand(0), op.at(1), op.operand(2)
    if not x.shape or not -len(x.shape) <= dim < len(x.shape) or len(index.shape) != 1 or not is_dense(x):
        return None
    dim = dimension(dim, len(x.shape))
    return (like(x, (*x.shape[:dim], index.shape[0], *x.shape[dim + 1 :])),)


def _gather_output(op: Op) -> tuple[Operand, ...] | None:
    x, dim, index = op.operand(0), op.at(1), op.operand(2)
    ndim = len(x.shape)
    fits = ndim and len(index.shape) == ndim and -ndim <= dim < ndim and index.dtype == "int64" and is_dense(index)
    if not fits or any(i > s for d, (i, s) in enumerate(zip(index.shape, x.shape, strict=True)) if d != dim % ndim):
        return None
    return (like(x, index.shape),)


def _index_output(op: Op) -> tuple[Operand, ...] | None:
    """Index tensors for the first dimensions, the others whole: ``table[ids]``."""
    x, indices = op.operand(), op.at(1)
    if None in indices or not 0 < len(indices) <= len(x.shape) or not is_dense(x, *indices) or 0 in x.shape:
        return None
    found = broadcast(index.shape for index in indices)
    if found is None or any(index.dtype not in ("int64", "int32") for index in indices):
        return None
    return (like(x, (*found, *x.shape[len(indices) :])),)


def _index_add_output(op: Op) -> tuple[Operand, ...] | None:
    x, dim, index, source = op.operand(0), op.at(1), op.operand(2), op.operand(3)
    ndim = len(x.shape)
    if not ndim or not -ndim <= dim < ndim or len(index.shape) != 1 or len(source.shape) != ndim or not is_dense(x):
        return None
    dim = dimension(dim, ndim)
    fits = source.shape == (*x.shape[:dim], index.shape[0], *x.shape[dim + 1 :]) and source.dtype == x.dtype
    return (like(x),) if fits and index.dtype in ("int64", "int32") else None


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


_OUTPUTS: dict[str, Output] = {
    "clone": _clone_output,
    "_to_copy": _to_copy_output,
    "cat": _cat_output,
    "stack": _stack_output,
    "tril": _same_output,
    "triu": _same_output,
    "repeat": _repeat_output,
    "constant_pad_nd": _pad_output,
    "index_select": _index_select_output,
    "gather": _gather_output,
    "index": _index_output,
    "roll": _same_output,
    "channel_shuffle": _shuffle_output,
    "native_channel_shuffle": _shuffle_output,
    "pixel_shuffle": _pixel_shuffle_output,
}

for _name in _COPIES.split():
    register((_name,), Rule(_nothing, _OUTPUTS.get(_name)))


for _name in _LOOK_UPS.split():
    register((_name,), Rule(_nothing, _OUTPUTS.get(_name), looked_up))


# -- what makes tensors out of nothing --------------------------------------------------------------------------------


def _shaped_output(op: Op) -> tuple[Operand, ...] | None:
    """zeros, ones, new_zeros, …: a shape and a number type. They have no tensor that tells where they are made."""
    prototype = op.at(0) if isinstance(op.at(0), Operand) else None
    shape = op.at(0 if prototype is None else 1)
    dtype = op.keyword("dtype") or (DEFAULT if prototype is None else prototype.dtype)
    plain = op.keyword("memory_format") in (None, "contiguous_format") and op.keyword("layout") in (None, "strided")
    if not plain or not isinstance(shape, tuple) or dtype not in ITEMSIZE or any(s < 0 for s in shape):
        return None
    return (Operand(shape, dtype, ITEMSIZE[dtype], contiguous(shape)),)


def _like_output(op: Op) -> tuple[Operand, ...] | None:
    dtype = op.keyword("dtype") or op.operand().dtype
    return _formatted(op, dtype) if dtype in ITEMSIZE and op.keyword("layout") in (None, "strided") else None


def _full_output(op: Op) -> tuple[Operand, ...] | None:
    """full: without a number type, that of the number it is filled with."""
    shape, number = op.at(0), op.at(1)
    kinds = {bool: "bool", int: "int64", float: DEFAULT}
    dtype = op.keyword("dtype") or kinds.get(type(number), "")
    return (tensor(shape, dtype),) if dtype in ITEMSIZE and min(shape, default=0) >= 0 else None


def _number_output(op: Op) -> tuple[Operand, ...] | None:
    dtype = op.keyword("dtype") or DEFAULT
    return (tensor((), dtype),) if dtype in ITEMSIZE else None


def _linspace_output(op: Op) -> tuple[Operand, ...] | None:
    start, end, steps = op.arguments[:3]
    dtype = op.keyword("dtype") or DEFAULT
    numbers = all(isinstance(x, int | float) for x in (start, end)) and isinstance(steps, int) and steps >= 0
    return (tensor((steps,), dtype),) if numbers and dtype in ITEMSIZE and isinstance(steps, int) else None


def _arange_output(op: Op) -> tuple[Operand, ...] | None:
    bounds = op.arguments
    if not all(type(b) is int for b in bounds):
        return None
    numbers = [b for b in bounds if isinstance(b, int)]
    start, end, step = (0, numbers[0], 1) if len(numbers) == 1 else (*numbers, 1)[:3]
    dtype = op.keyword("dtype") or "int64"
    if dtype not in ITEMSIZE or step == 0 or (end - start) * step < 0:
        return None
    return (tensor((-((start - end) // step),), dtype),)


_MADE: dict[str, Output] = {
    **dict.fromkeys(("zeros", "ones", "new_zeros", "new_ones"), _shaped_output),
    **dict.fromkeys(("zeros_like", "ones_like", "full_like"), _like_output),
    **dict.fromkeys(("empty", "new_empty"), _shaped_output),
    "empty_like": _like_output,
    "arange": _arange_output,
    "full": _full_output,
    "scalar_tensor": _number_output,
}

for _name in _EMPTY.split():
    register((_name,), Rule(_nothing, _MADE.get(_name), _untouched))

for _name in _CREATIONS.split():
    register((_name,), Rule(_nothing, _MADE.get(_name), _written))


@rule("linspace", output=_linspace_output, traffic=_written)
def linspace(op: Op) -> Terms:
    """A product and a sum for each step."""
    return (flops("product, sum", "2·N", N=op.output.numel),)


@rule("logspace", traffic=_written)
def logspace(op: Op) -> Terms:
    """A power more."""
    return (flops("product, sum, power", "3·N", N=op.output.numel),)


# -- what is written onto another tensor ------------------------------------------------------------------------------


def _first_output(op: Op) -> tuple[Operand, ...] | None:
    """The tensor that is filled, if what fills it broadcasts to it."""
    this, *sources = op.operands
    fits = all(broadcast((this.shape, x.shape)) == this.shape for x in sources)
    return (this,) if fits and gapless(this.shape, this.stride) else None


register(("fill_", "zero_"), Rule(_nothing, _first_output, _written))
register(("fill", "zero"), Rule(_nothing, None, _written))
register(("copy_",), Rule(_nothing, _first_output, _from_source))
register(("copy",), Rule(_nothing))
register(("index_copy_", "scatter_", "index_put_", "masked_scatter_", "put_"), Rule(_nothing, None, _from_source))


@rule("index_put", "_index_put_impl", "_unsafe_index_put")
def index_put(op: Op) -> Terms:
    """Written, or with ``accumulate`` summed onto what is there."""
    values = op.operand(2).numel
    return (flops("sums", "N", N=values),) if op.at(3, False) else ()


@rule("scatter_add")
def scatter_add(op: Op) -> Terms:
    """Each element of the source is a sum."""
    return (flops("sums", "N", N=op.operand(3).numel),)


@rule("index_add", output=_index_add_output)
def index_add(op: Op) -> Terms:
    """Each element of the source is a sum, and a product with an alpha that is not 1."""
    n = op.operand(3).numel
    scaled = op.keyword("alpha", 1) != 1
    return (flops("product, sum" if scaled else "sums", "2·N" if scaled else "N", N=n),)


@rule("scatter_reduce", "index_reduce")
def scatter_reduce(op: Op) -> Iterator[Term]:
    """Each element of the source is a sum, product or comparison; a mean divides each result."""
    reduction = op.at(4)
    yield flops("sums, products or comparisons", "N", N=op.operand(3).numel)
    if reduction == "mean":
        yield flops("quotient", "M", M=op.output.numel)


@rule("col2im")
def col2im(op: Op) -> Terms:
    """Every element of every window is summed onto its place."""
    return (flops("sums", "N", N=op.operand().numel),)
