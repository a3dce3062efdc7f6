"""Checks the shapes and dtypes of an operation before torch runs it.

Here is what torch's own messages say badly, and what a CPU refuses but meta does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from torch import Tensor

from fwdscope.errors import LayerError
from fwdscope.functions.functions import FUNCTIONS
from fwdscope.layers.base import dtype_text as dtype_text
from fwdscope.layers.base import value_text
from fwdscope.limits import at_most, limit
from fwdscope.torch_private import without_functions


def shape_text(x: Tensor) -> str:
    """Return the shape of a tensor: ``(2, 3, 8)``."""
    return str(tuple(x.shape))


# --- operators -------------------------------------------------------------------------------------------------------


def check_operands(sign: str, left: Any, right: Any) -> None:
    """Check an operator of two tensors. Raises LayerError."""
    if not (isinstance(left, Tensor) and isinstance(right, Tensor)):
        if sign == "@" and any(isinstance(value, int | float) for value in (left, right)):
            raise LayerError("@: a number is not a matrix", "a number scales by `*`")
        return
    with without_functions():
        if sign == "@":
            check_matmul(left, right, "@")
        else:
            _check_aligned(left, right, sign, left.shape, right.shape)


def _check_aligned(left: Tensor, right: Tensor, name: str, one: Sequence[int], two: Sequence[int]) -> None:
    """Check that sizes of two tensors broadcast: all of them, or those before the last two of a matrix product."""
    clashes: dict[int, tuple[int, int]] = {}
    for i in range(min(len(one), len(two)), 0, -1):
        a, b = one[-i], two[-i]
        if a != b and 1 not in (a, b):
            clashes[len(one) - i if len(one) == len(two) else -i - (left.dim() - len(one))] = a, b
    _report_clashes(name, clashes, (left, right))


def _report_clashes(name: str, clashes: Mapping[int, tuple[int, int]], operands: tuple[Tensor, Tensor]) -> None:
    if not clashes:
        return
    *most, last = map(str, clashes)
    where = f"dimensions {', '.join(most)} and {last}" if most else f"dimension {last}"
    one, two = (tuple(pair[side] for pair in clashes.values()) for side in (0, 1))
    left, right = (one, two) if len(clashes) > 1 else (one[0], two[0])
    message = f"{name}: sizes differ in {where}: {{0}} has {left}, {{1}} has {right}"
    # Dimensions are counted from the end where the operands have different numbers of them.
    raise LayerError(message, None, tuple((operand, dim) for operand in operands for dim in clashes))


def check_matmul(left: Tensor, right: Tensor, name: str) -> None:
    """Check a matrix product: columns of the left, rows of the right, and dtypes. Raises LayerError."""
    if not left.dim() or not right.dim():
        message = f"{name}: a number is not a matrix: {shape_text(left)} and {shape_text(right)}"
        raise LayerError(message, "a number scales by `*`", ((left, 0), (right, 0)))
    inner = right.shape[-2] if right.dim() > 1 else right.shape[0]
    if left.shape[-1] != inner:
        message = f"{name}: {{0}} has {left.shape[-1]} columns and {{1}} {inner} rows"
        transposed = right.dim() > 1 and left.shape[-1] == right.shape[-1]
        help = "transpose the right one: `.mT`" if transposed else None
        raise LayerError(message, help, ((left, -1), (right, max(-2, -right.dim()))))
    _check_aligned(left, right, name, left.shape[:-2], right.shape[:-2])
    _check_dtypes(name, left, right)


def _check_dtypes(name: str, *tensors: Any) -> None:
    dtypes = list(dict.fromkeys(dtype_text(t) for t in tensors if isinstance(t, Tensor)))
    if len(dtypes) > 1:
        message = f"{name}: dtypes do not mix: {' and '.join(dtypes)}"
        raise LayerError(message, f"convert the {dtypes[1]} one: `.to({dtypes[0]})`", code="type")


# --- functions and methods -------------------------------------------------------------------------------------------


def check_call(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    """Check a call of a function or method. Raises LayerError."""
    with without_functions():
        check = _CHECKS.get(name)
        if check is not None and arguments:
            check(name, arguments, keywords)
        # A new dimension may come after the last.
        if name in FUNCTIONS and name not in ("unsqueeze", "stack", "unflatten", "diag_embed"):
            _check_dim(name, arguments, keywords)


def arguments_by_name(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a function or method by the names of its parameters, as far as they are known."""
    return {**dict(zip(_names_by_position(name, len(arguments), *keywords), arguments, strict=False)), **keywords}


@cache
def _names_by_position(name: str, count: int, *keywords: str) -> tuple[str, ...]:
    fitting = FUNCTIONS[name].fit(count, keywords) if name in FUNCTIONS else None
    return tuple([p.name for p in fitting.signature.by_position]) if fitting is not None else ()


def _check_dim(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    """Check that a dimension exists, which not all of torch's meta kernels do."""
    given = arguments_by_name(name, arguments, keywords)
    dim, x = given.get("dim", given.get("axis")), next(iter(given.values()), None)
    x = x[0] if isinstance(x, list | tuple) and x else x
    if not isinstance(x, Tensor) or type(dim) is not int:
        return
    rank = max(x.dim(), 1)
    if not -rank <= dim < rank:
        raise LayerError(f"{name}: there is no dimension {dim}: it may be from {-rank} to {rank - 1}")


def check_elements(value: Any) -> None:
    """Check that a tensor has not too many elements. Raises LayerError."""
    with without_functions():
        if isinstance(value, Tensor) and value.numel() > limit("elements"):
            message = f"a tensor of {value.numel():,} elements: {shape_text(value)}"
            raise LayerError(message, at_most("elements"), code="limit")


def _check_creation(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    sizes = arguments[0] if name == "full" or isinstance(arguments[0], list | tuple) else arguments
    for size in sizes if isinstance(sizes, list | tuple) else ():
        if type(size) is not int or size < 0:
            found = size if isinstance(size, int | float | str) else value_text(size)
            raise LayerError(f"{name}: {found} is not a size", "a size is an integer; // divides without a remainder")


def _check_matmul_call(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    others = [*arguments[1:2], *(keywords[k] for k in ("other", "mat2", "vec") if k in keywords)]
    if others and isinstance(arguments[0], Tensor) and isinstance(others[0], Tensor):
        check_matmul(arguments[0], others[0], name)


def _check_linear(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    x, weight = arguments[0], arguments[1] if len(arguments) > 1 else keywords.get("weight")
    if not (isinstance(x, Tensor) and isinstance(weight, Tensor)):
        return
    if x.dim() and weight.dim() and x.shape[-1] != weight.shape[-1]:
        message = f"linear: {{0}} has {x.shape[-1]} features and the weight {{1}} {weight.shape[-1]} columns"
        help = f"a weight of ({weight.shape[0]}, {x.shape[-1]}) fits" if weight.dim() == 2 else None
        raise LayerError(message, help, ((x, -1), (weight, -1)))
    _check_dtypes(name, x, weight)


def _check_cat(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    tensors = arguments[0]
    dim = keywords.get("dim", keywords.get("axis", arguments[1] if len(arguments) > 1 else 0))
    if not isinstance(tensors, list | tuple) or not tensors or not all(isinstance(t, Tensor) for t in tensors):
        return
    first = tensors[0]
    for other in tensors[1:]:
        if other.dim() != first.dim():
            message = f"{name}: {{0}} has {first.dim()} dimensions, {{1}} has {other.dim()}"
            raise LayerError(message, None, ((first, 0), (other, 0)))
        along = dim % first.dim() if name != "stack" and first.dim() and isinstance(dim, int) else None
        sizes = enumerate(zip(first.shape, other.shape, strict=True))
        _report_clashes(name, {i: (a, b) for i, (a, b) in sizes if i != along and a != b}, (first, other))


def _check_view(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    x = arguments[0]
    sizes = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], list | tuple) else arguments[1:]
    if not isinstance(x, Tensor) or not sizes or not all(isinstance(s, int) for s in sizes):
        return
    known, free = math.prod(s for s in sizes if s != -1), sum(s == -1 for s in sizes)
    shown = f"({', '.join(map(str, sizes))}{',' * (len(sizes) == 1)})"
    help = "one size may be -1, which is then inferred"
    if free > 1:
        raise LayerError(f"{name}: more than one size is -1 in {shown}", help)
    if free == 0 and known != x.numel():
        message = f"{name}: {x.numel():,} elements do not fill {shown}, which takes {known:,}"
        # What the shapes share in front is not wrong.
        kept = next(i for i, (a, b) in enumerate([*zip(x.shape, sizes, strict=False), (0, 1)]) if a != b)
        rest, found, places = sizes[kept:], math.prod(x.shape[kept:]), range(kept, len(sizes))
        fits = [i for i in places if sizes[i] and math.prod(rest) and x.numel() % (known // sizes[i]) == 0]
        if not fits:
            wrong = f"{'·'.join(map(str, rest))} must be {found:,}, and is {math.prod(rest):,}"
            raise LayerError(message, wrong if rest else None, tuple((x, i) for i in range(kept, x.dim())))
        last = sizes[fits[-1]]
        help = f"{x.numel() // (known // last)} fits in place of {last}; -1 there is inferred"
        raise LayerError(message, help, tuple((x, i) for i in range(kept, x.dim())))
    if free and (known == 0 or x.numel() % known):
        raise LayerError(f"{name}: {x.numel():,} elements do not fill {shown}: {known:,} does not divide them")


def _check_unflatten(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    given = dict(zip(("input", "dim", "sizes"), arguments, strict=False)) | dict(keywords)
    x, dim, sizes = (given.get(n) for n in ("input", "dim", "sizes"))
    whole = isinstance(sizes, list | tuple) and all(isinstance(s, int) for s in sizes)
    if not isinstance(x, Tensor) or not isinstance(dim, int) or not whole or not -x.dim() <= dim < x.dim():
        return
    assert isinstance(sizes, list | tuple)
    size, known, free = x.shape[dim], math.prod(s for s in sizes if s != -1), sum(s == -1 for s in sizes)
    if free > 1 or known == 0 or size % known or (not free and size != known):
        message = f"unflatten: dimension {dim % x.dim()} has {size}, which {tuple(sizes)} does not divide"
        fitting = [n for n in (size - size % known, size - size % known + known) if n] if known and free else []
        raise LayerError(message, f"{' or '.join(map(str, fitting))} would fit" if fitting else None, ((x, dim),))


def _check_attention(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    names = ("query", "key", "value")
    given = [arguments[i] if i < len(arguments) else keywords.get(n) for i, n in enumerate(names)]
    tensors = [t for t in given if isinstance(t, Tensor) and t.dim() >= 2]
    if len(tensors) != 3:
        return
    q, k, v = tensors
    if q.shape[-1] != k.shape[-1]:
        message = f"attention: the query {{0}} has {q.shape[-1]} features per head and the key {{1}} {k.shape[-1]}"
        raise LayerError(message, None, ((q, -1), (k, -1)))
    if k.shape[-2] != v.shape[-2]:
        message = f"attention: the key {{0}} has {k.shape[-2]} positions and the value {{1}} {v.shape[-2]}"
        raise LayerError(message, None, ((k, -2), (v, -2)))
    _check_heads(q, k, bool(keywords.get("enable_gqa")))
    _check_dtypes("attention", q, k, v)
    mask, scores = keywords.get("attn_mask", arguments[3] if len(arguments) > 3 else None), (*q.shape[:-1], k.shape[-2])
    for i in range(1, min(mask.dim(), len(scores)) + 1 if isinstance(mask, Tensor) else 0):
        if mask.shape[-i] not in (1, scores[-i]):
            message = f"attention: the mask {shape_text(mask)} does not broadcast to the scores {tuple(scores)}"
            wanted = [m if m in (1, s) else s for m, s in zip(mask.shape, scores[-mask.dim() :], strict=False)]
            help = f"the scores are (…, heads, queries, keys): a mask of {tuple(wanted)} fits"
            raise LayerError(message, help, ((mask, -i),))


def _check_heads(q: Tensor, k: Tensor, grouped: bool) -> None:
    heads, groups = (q.shape[-3], k.shape[-3]) if q.dim() > 2 and k.dim() > 2 else (1, 1)
    if grouped and groups and heads % groups:
        message = f"attention: {groups} key heads do not divide {heads} query heads"
        raise LayerError(message, None, ((q, -3), (k, -3)))
    if not grouped and heads != groups and 1 not in (heads, groups):
        help = "for grouped-query attention add `enable_gqa=True`" if groups and heads % groups == 0 else None
        message = f"attention: the query {{0}} has {heads} heads and the key {{1}} {groups}"
        raise LayerError(message, help, ((q, -3), (k, -3)))


_CHECKS = {
    **dict.fromkeys(("rand", "randn", "zeros", "ones", "full"), _check_creation),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv"), _check_matmul_call),
    "linear": _check_linear,
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), _check_cat),
    **dict.fromkeys(("view", "reshape"), _check_view),
    "unflatten": _check_unflatten,
    "scaled_dot_product_attention": _check_attention,
}
