"""Views: another shape or another part of the same memory. They compute nothing, and move nothing.

No result is stated, since only torch can make a tensor that shares another's storage. Most views have a variant that
copies (``permute_copy``), with the same sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from fwdscope.formula import Size, kept_size, kept_sizes, regroup, replace_size, set_size

from .base import ResultSizes, Rule, Window, dimension, no_terms, register
from .layout import Shape
from .op import Op
from .positions import Cut, Passage, Passing, Through

_BROADCAST, _RESHAPED = Passing.BROADCAST, Passing.RESHAPED
Sizes = Callable[[Op], ResultSizes]


def untouched(op: Op) -> tuple[int, int]:
    """No byte is read or written."""
    return 0, 0


def _view(names: str, sizes: Sizes | None = None, window: Window | None = None, copies: str = "") -> None:
    """Register views, and the operators that copy the same result."""
    register(names.split(), Rule(no_terms, None, untouched, sizes, window, free=True))
    register(copies.split(), Rule(no_terms, sizes=sizes, window=window))


def asked_sizes(op: Op) -> ResultSizes:
    """The shape that the call asks for."""
    return ([set_size(f"size_{i}", "asked_for", size) for i, size in enumerate(op.output.shape)],)


# --- the same elements in another shape ------------------------------------------------------------------------------


def reshaped_sizes(op: Op) -> ResultSizes:
    """Each size from those that are merged or split; one that is neither stays, though perhaps in another place."""
    before, after = op.operand().shape, op.output.shape
    if math.prod(before) != math.prod(after):
        return ()
    texts = regroup(before, after)
    return ([
        kept_size(f"size_{i}", n) if "·" not in text and "/" not in text and n in before else Size(f"size_{i}", text)
        for i, (text, n) in enumerate(zip(texts, after, strict=True))
    ],)  # fmt: skip


def _unsqueeze(op: Op) -> ResultSizes:
    sizes = list(kept_sizes(op.operand().shape))
    sizes.insert(op.at(1) % (len(sizes) + 1), Size("new", "1", note="put in"))
    return (sizes,)


def _squeeze(op: Op) -> ResultSizes:
    x, dims = op.operand().shape, op.at(1)
    chosen = range(len(x)) if dims is None else (dims,) if isinstance(dims, int) else dims
    gone = {dimension(dim, len(x)) for dim in chosen}
    return ([size for i, size in enumerate(kept_sizes(x)) if i not in gone or x[i] != 1],)


_view("view reshape _unsafe_view _reshape_alias flatten unflatten view_as", reshaped_sizes, _RESHAPED, "view_copy")
_view("unsqueeze", _unsqueeze, _RESHAPED, "unsqueeze_copy")
_view("squeeze", _squeeze, _RESHAPED, "squeeze_copy")


# --- dimensions in another order, or left out ------------------------------------------------------------------------


def _reorder(names: str, order: Callable[[Op, int], Sequence[int]], copies: str = "") -> None:
    """Views of which ``order`` gives the dimensions, by those of the tensor that is viewed."""

    def sizes(op: Op) -> ResultSizes:
        x = op.operand().shape
        return [[kept_size(f"size_{d}", x[d]) for d in order(op, len(x))]] * len(op.outputs)

    def window(op: Op, tensor: int) -> Passage:
        return Passage(tuple(order(op, len(op.operand().shape))))

    _view(names, sizes, window, copies)


def _swapped(op: Op, rank: int) -> Sequence[int]:
    order = list(range(rank))
    if rank:
        one, other = op.at(1) % rank, op.at(2) % rank
        order[one], order[other] = other, one
    return order


def _without(op: Op, rank: int) -> Sequence[int]:
    gone = dimension(op.at(1, 0), rank)
    return [d for d in range(rank) if d != gone]


_reorder("permute", lambda op, rank: [d % rank for d in op.at(1)], "permute_copy")
_reorder("transpose swapaxes", _swapped, "transpose_copy")
_reorder("t numpy_T", lambda op, rank: range(rank)[::-1], "t_copy")
_reorder("select unbind", _without, "select_copy unbind_copy")


# --- parts -----------------------------------------------------------------------------------------------------------


def _slice_bounds(op: Op) -> tuple[int, int, int]:
    return slice(op.at(2), op.at(3), op.at(4, 1)).indices(op.operand().shape[op.at(1, 0)])


def _slice_sizes(op: Op) -> ResultSizes:
    x, dim = op.operand().shape, op.at(1, 0)
    start, end, step = _slice_bounds(op)
    if (start, end, step) == (0, x[dim], 1):
        return (kept_sizes(x),)
    inside = f"{end:,} − {start:,}" if start else f"{end:,}"
    found = Size(f"size_{dimension(dim, len(x))}", inside if step == 1 else f"⌈({inside}) / {step}⌉")
    return (replace_size(x, dim, found),)


def _cut(rank: int, dim: int, start: int, step: int = 1) -> Passage:
    dim = dimension(dim, rank)
    return Passage(tuple(Through(d, Cut(start, step)) if d == dim else d for d in range(rank)))


def _slice_window(op: Op, tensor: int) -> Passage:
    start, _, step = _slice_bounds(op)
    return _cut(len(op.operand().shape), op.at(1, 0), start, step)


def _pieces(op: Op) -> tuple[Shape, int, list[int]]:
    """The shape that is split, the dimension, and where each piece begins."""
    x = op.operand().shape
    dim = dimension(op.at(2, 0), len(x))
    starts = [0]
    for piece in op.outputs:
        starts.append(starts[-1] + piece.shape[dim])
    return x, dim, starts[:-1]


def _split_sizes(op: Op) -> ResultSizes:
    x, dim, starts = _pieces(op)
    found = []
    for piece, start in zip(op.outputs, starts, strict=True):
        is_rest = piece is op.outputs[-1] and start
        text = f"{x[dim]:,} − {start:,}" if is_rest else f"{piece.shape[dim]:,}"
        found.append(replace_size(x, dim, Size(f"size_{dim}", text, note="" if is_rest else f"of {x[dim]:,}")))
    return found


def _split_window(op: Op, tensor: int) -> list[Passage]:
    x, dim, starts = _pieces(op)
    return [_cut(len(x), dim, start) for start in starts]


def _unfold_sizes(op: Op) -> ResultSizes:
    x, size, step = op.operand().shape, op.at(2), op.at(3)
    if not x:
        return ()
    dim = op.at(1) % len(x)
    windows = Size(f"size_{dim}", f"⌊({x[dim]:,} − {size:,}) / {step:,}⌋ + 1", note="windows")
    return ([*replace_size(x, dim, windows), set_size("window", "size", size)],)


_view("slice", _slice_sizes, _slice_window, "slice_copy")
_view(
    "split split_with_sizes chunk unsafe_split unsafe_split_with_sizes unsafe_chunk tensor_split",
    _split_sizes, _split_window, "split_copy split_with_sizes_copy",
)  # fmt: skip
_view("unfold", _unfold_sizes, None, "unfold_copy")


# --- the same elements, repeated or as they are ----------------------------------------------------------------------


def _expand_sizes(op: Op) -> ResultSizes:
    x, out = op.operand().shape, op.output.shape
    aligned: tuple[Any, ...] = (None,) * (len(out) - len(x)) + x
    return ([
        kept_size(f"size_{i}", size) if size == was else Size(f"size_{i}", f"{size:,}", note="repeated without a copy")
        for i, (was, size) in enumerate(zip(aligned, out, strict=True))
    ],)  # fmt: skip


_view("expand broadcast_to expand_as", _expand_sizes, _BROADCAST, "expand_copy")
_view("contiguous detach alias", None, _BROADCAST, "detach_copy alias_copy")
_view("lift lift_fresh", asked_sizes, _BROADCAST)
_view("as_strided diagonal", None, None, "as_strided_copy diagonal_copy")
_view("""
_conj _neg_view imag movedim narrow real resolve_conj resolve_neg set set_data view_as_complex view_as_real
""")

# --- no tensor at all ------------------------------------------------------------------------------------------------

# Checks, questions about a tensor, and what a profiler notes.
_view("""
_linalg_check_errors _assert_async _assert_scalar _assert_tensor_metadata _functional_assert_async
_functional_assert_scalar _nested_tensor_from_mask_left_aligned is_same_size _fused_sdp_choice
_has_compatible_shallow_copy_type _has_same_storage_numel is_pinned record_stream sym_size sym_numel sym_stride
sym_storage_offset
profiler._record_function_enter profiler._record_function_enter_new
profiler._record_function_exit profiler._call_end_callbacks_on_jit_fut prim.device
higher_order.cond higher_order.while_loop
_c10d_functional.wait_tensor _c10d_functional._wrap_tensor_autograd c10d.barrier c10d.monitored_barrier_
""")
