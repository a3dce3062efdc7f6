"""Run operators by their rules: calls as plain data, and results on meta without torch's slow reference kernels.

On meta, the first element-wise operator, convolution or pooling makes torch import dynamo or sympy for about a second.
If a rule states what its operator returns, :func:`run` makes the result by ``empty_strided`` instead.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fwdscope.default_dtype import default_dtype
from fwdscope.torch_private import coo_parts

from .base import Cost, Results, cost, find, infer
from .nested import tensors
from .op import Op, Operand, SparseOperand, Value
from .promotion import ITEMSIZE, is_complex, is_floating

_DTYPES = {value: name for name in ITEMSIZE if isinstance(value := getattr(torch, name, None), torch.dtype)}
_TORCH = {name: dtype for dtype, name in _DTYPES.items()}
META = torch.device("meta")
SPARSE_LAYOUTS = frozenset((torch.sparse_coo, torch.sparse_csr, torch.sparse_bsr, torch.sparse_csc, torch.sparse_bsc))
_PLAIN = (bool, int, float, complex, str)
_LISTS = (tuple, list)
_ITSELF = frozenset((*_PLAIN, type(None)))
# Types of values that go into a key as they are.
_SIMPLE = _ITSELF | {torch.dtype, torch.layout, torch.memory_format}
_STRIDED = torch.strided

# A function mode sees arguments as the caller gave them, by keyword or not. These are their positions in ATen's schema.
_PARAMETERS = {
    "scaled_dot_product_attention": ("query", "key", "value", "attn_mask", "dropout_p", "is_causal"),
    "lstm_cell": ("input", "hx", "w_ih", "w_hh", "b_ih", "b_hh"),
    **dict.fromkeys(("gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), ("input", "hx", "w_ih", "w_hh", "b_ih", "b_hh")),
}
_DEFAULTS = {"dropout_p": 0.0, "is_causal": False}


def read(func: Any, args: Any, kwargs: Any, result: Any) -> Op:
    """A call as plain data. ``func`` is an operator of the dispatcher or a function such as ``torch.lstm``."""
    name, overload = _named(func)
    if overload == "function":
        # By position, as in the schema.
        kwargs, names = dict(kwargs or {}), _PARAMETERS.get(func.__name__, ())[len(args) :]
        last = max((i for i, key in enumerate(names) if key in kwargs), default=-1)
        args = (*args, *(kwargs.pop(key, _DEFAULTS.get(key)) for key in names[: last + 1]))
        overload = "default"
        if func.__name__ in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
            # The batch sizes of a packed input follow it.
            overload = "data" if isinstance(args[3], _LISTS) else "input"
    keywords = tuple((key, plain(kwargs[key])) for key in sorted(kwargs)) if kwargs else ()
    return Op(name, overload, tuple(map(plain, args)), keywords, _outputs(result))


@cache
def _named(func: Any) -> tuple[str, str]:
    if not callable(getattr(func, "name", None)):
        return f"aten.{func.__name__}", "function"
    name, _, overload = func.name().replace("::", ".").partition(".")[2].partition(".")  # "aten::add.Tensor"
    return f"{func.namespace}.{name}", overload or "default"


def plain(value: Any) -> Value:
    """An argument as plain data, without torch's types."""
    if type(value) in _ITSELF:
        return value  # type: ignore[no-any-return]
    if isinstance(value, Tensor):
        return operand(value)
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, _LISTS):
        return tuple(value) if _ITSELF.issuperset(map(type, value)) else tuple(map(plain, value))
    if isinstance(value, torch.dtype):
        return _DTYPES.get(value) or str(value).removeprefix("torch.")
    if isinstance(value, torch.ScriptObject) and hasattr(value, "unpack"):
        return plain(value.unpack())  # the weight and the bias of a quantized layer
    # Devices, layouts, memory formats and generators by name; other objects by type, as addresses make equal calls
    # differ.
    return re.sub(r"^torch\.| at 0x\w+", "", str(value)) if type(value).__module__ == "torch" else type(value).__name__


def operand(x: Tensor) -> Operand:
    """A tensor's shape, dtype and strides."""
    shape, (name, size) = x.shape, _element(x.dtype)
    if x.layout is not _STRIDED and is_sparse(x):
        parts, sparse = stored_parts(x), SparseOperand(tuple(shape), name, size, (0,) * len(shape))
        sparse.numel, sparse.nbytes = parts[-1].numel(), sum(part.numel() * part.element_size() for part in parts)
        return sparse
    # As Operand(…), which is a function of Python's that does this.
    return tuple.__new__(Operand, (tuple(shape), name, size, x.stride() if x.layout is _STRIDED else (0,) * len(shape)))


@cache
def _element(dtype: torch.dtype) -> tuple[str, int]:
    return _DTYPES.get(dtype) or str(dtype).removeprefix("torch."), dtype.itemsize


def _outputs(result: Any) -> tuple[Operand, ...]:
    if isinstance(result, Tensor):
        return (operand(result),)
    return tuple(map(operand, tensors(result)))


def make(outputs: Results) -> tuple[Tensor | None, ...]:
    """New tensors on meta for the results that a rule states."""
    return tuple([x and torch.empty_strided(x[0], x[3], dtype=_TORCH[x[1]], device=META) for x in outputs])


class OpRecord(NamedTuple):
    """One operator as it ran, and its cost: None where no rule knows it."""

    op: Op
    cost: Cost | None
    # MACs, FLOPs, bytes read and bytes written; zeros where no rule knows the operator.
    figures: tuple[int, int, int, int]
    # Shape, dtype and bytes of each result; elements that broadcasting repeats count as often.
    results: tuple[tuple[tuple[int, ...], str, int], ...]
    # Bytes of intermediate results that it keeps while it runs.
    workspace: int


def record_of(op: Op, is_counted: bool = True) -> OpRecord:
    """The record of an operator."""
    found = cost(op) if is_counted else None
    figures = (0, 0, 0, 0) if found is None else found[:4]
    results = tuple(
        [(x.shape, x.dtype, x.nbytes if type(x) is SparseOperand else x.numel * x.itemsize) for x in op.outputs]
    )
    known = find(op.name)
    return OpRecord(op, found, figures, results, known.workspace(op) if known is not None and known.workspace else 0)


class _Known(NamedTuple):
    """What is remembered of a call: its record, and how to make its result."""

    record: OpRecord
    # Whether a rule states the results. If not, torch runs the operator, and the record is that of its last run.
    is_stated: bool
    # Whether there are several results, or the result is the first argument; else it is one tensor of this shape.
    is_special: bool = False
    shape: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    dtype: torch.dtype | None = None
    # The results if there are several.
    outputs: Results = ()


# Calls on meta by what :func:`_describe` finds in their arguments.
_KNOWN: dict[tuple[Any, ...], _Known] = {}
_MOST_KNOWN = 65536


def run(func: Any, args: Any, kwargs: Any) -> tuple[Any, OpRecord]:
    """Run one operator of the dispatcher, or one function such as ``torch.lstm``: its result and its record.

    Gives what ``func(*args, **kwargs)`` gives, and raises what it raises; on meta tensors without asking torch where a
    rule knows the result. Equal calls on meta nearly always share one record.
    """
    key = [func, default_dtype()]
    on_meta = _describe(key, args)
    if kwargs and on_meta is not None:
        on_meta = _describe_keywords(key, kwargs, on_meta)
    if not on_meta:
        return _run_once(func, args, kwargs)
    found = tuple(key)
    known = _KNOWN.get(found)
    if known is None:
        known = _remember(found, _work_out(func, args, kwargs))
    record, is_stated, is_special, shape, stride, dtype, results = known
    if not is_stated:
        result = _ask_torch(func, args, kwargs or {})
        outputs = _outputs(result)
        if record.cost is None or outputs != record.op.outputs:
            op = record.op._replace(outputs=outputs)
            record = _remember(found, _Known(record_of(op), False)).record
        return result, record
    if is_special:
        return args[0] if record.op.in_place else make(results), record
    return torch.empty_strided(shape, stride, dtype=dtype, device=META), record


def _ask_torch(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operator by torch. On meta, numbers of torch's default dtype become numbers of the network's."""
    if "quantized" in (name := _named(func)[0]) and _on_meta(args, kwargs):
        raise NotImplementedError(f"{name} is not implemented on meta: its weights are packed")
    result, dtype = func(*args, **kwargs), default_dtype()
    if dtype == torch.get_default_dtype() or not _on_meta(args, kwargs):
        return result
    named = kwargs.get("dtype") is not None
    if named or any(is_floating(x.dtype) or is_complex(x.dtype) for x in _outputs([args, list(kwargs.values())])):
        return result
    return _with_dtype(result, dtype)


def _with_dtype(result: Any, dtype: torch.dtype) -> Any:
    """A result on meta with another dtype where it has torch's default."""
    if isinstance(result, Tensor) and result.dtype == torch.get_default_dtype():
        return torch.empty_strided(result.shape, result.stride(), dtype=dtype, device=META)
    return type(result)(_with_dtype(item, dtype) for item in result) if type(result) in _LISTS else result


def _remember(key: tuple[Any, ...], known: _Known) -> _Known:
    if len(_KNOWN) >= _MOST_KNOWN:
        _KNOWN.clear()
    _KNOWN[key] = known
    return known


def _work_out(func: Any, args: Any, kwargs: Any) -> _Known:
    """What to remember of a new call on meta; without its cost if torch has to run it first."""
    op = read(func, args, kwargs, None)
    outputs = _infer_results(op)
    if outputs is None:
        return _Known(record_of(op, False), False)
    record = record_of(op._replace(outputs=tuple(filter(None, outputs))))
    if op.in_place or len(outputs) > 1:
        return _Known(record, True, True, outputs=outputs)
    ((shape, dtype, _, stride),) = record.op.outputs
    return _Known(record, True, False, shape, stride, _TORCH[dtype])


def _run_once(func: Any, args: Any, kwargs: Any) -> tuple[Any, OpRecord]:
    """As :func:`run`, for a call that is not remembered."""
    op = read(func, args, kwargs, None)
    # The rules of results are for tensors that store every element.
    is_stated = _on_meta(args, kwargs) and not any(type(x) is SparseOperand for x in op.operands)
    outputs = _infer_results(op) if is_stated else None
    if outputs is None:
        result = _ask_torch(func, args, kwargs or {})
        op = op._replace(outputs=_outputs(result))
        if any(type(x) is SparseOperand for x in (*op.operands, *op.outputs)):
            op = _read_sparse(op, args)
        return result, record_of(op)
    record = record_of(op._replace(outputs=tuple(filter(None, outputs))))
    if op.in_place:
        return args[0], record
    made = make(outputs)
    return (made if len(made) > 1 else made[0]), record


def _infer_results(op: Op) -> Results | None:
    """The results of a call by its rule, if it states them; for an operator in place, its first argument."""
    outputs = infer(op, _DTYPES[default_dtype()])
    if outputs is not None and op.in_place:
        this = op.operand()
        return (this,) if outputs[0] and (outputs[0].shape, outputs[0].dtype) == (this.shape, this.dtype) else None
    return outputs


def _describe(key: list[Any], values: Any) -> bool | None:
    """Add all properties of arguments that decide an operator's record and results on meta to a flat key.

    Returns whether there is a tensor on meta; None if some argument cannot be described. The arguments are taken as
    they are, as every call needs a key and reading them as plain data takes much longer. Numbers are added with their
    types, since 1 and 1.0 are equal but promote differently.
    """
    on_meta = False
    for value in values:
        kind = type(value)
        if kind is Tensor or isinstance(value, Tensor):
            if not value.is_meta or value.layout is not _STRIDED:
                return None
            on_meta = True
            key += value.shape, value.stride(), value.dtype
        elif kind in _SIMPLE:
            key += kind, value
        elif kind is list or kind is tuple:
            kinds = tuple(map(type, value))
            if _SIMPLE.issuperset(kinds):
                key += kinds, tuple(value)
                continue
            key.append(kinds)
            inside = _describe(key, value)
            if inside is None:
                return None
            on_meta = on_meta or inside
        else:
            return None
    return on_meta


def _describe_keywords(key: list[Any], kwargs: dict[str, Any], on_meta: bool) -> bool | None:
    """Do the same with keywords, which may name the device of the result."""
    for name in sorted(kwargs):
        value = kwargs[name]
        key.append(name)
        if name == "device" and value is not None:
            if torch.device(value) != META:
                return None
            on_meta = True
            continue
        inside = _describe(key, (value,))
        if inside is None:
            return None
        on_meta = on_meta or inside
    return on_meta


def _on_meta(args: Any, kwargs: Any) -> bool:
    """Whether the results of an operator are on meta: by its ``device``, or because all tensors are there.

    A tensor without dimensions may be elsewhere, as everywhere in torch.
    """
    if kwargs and (device := kwargs.get("device")) is not None:
        return torch.device(device).type == "meta"
    found = tensors(args)
    return any(x.is_meta for x in found) and all(x.is_meta or not x.dim() for x in found)


def is_sparse(tensor: Tensor) -> bool:
    """Whether a tensor stores only some of its elements, with their places."""
    return tensor.layout is not _STRIDED and tensor.layout in SPARSE_LAYOUTS


def stored_parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """The tensors that hold the places of a sparse tensor's elements, and the elements."""
    if tensor.layout is torch.sparse_coo:
        return coo_parts(tensor)
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    return tensor.ccol_indices(), tensor.row_indices(), tensor.values()


_PRODUCTS = ("sparse.mm", "sparse.addmm", "sparse._sparse_addmm", "sparse._sparse_sparse_matmul")


def _read_sparse(op: Op, args: Any) -> Op:
    """A call with sparse tensors, under a name of its own; a product of two also with how many elements meet."""
    op = op._replace(name=f"sparse.{op.name.removeprefix('aten.')}")
    given = args[-2:]
    if op.name not in _PRODUCTS or not all(map(is_sparse, given)):
        return op
    (_, columns), (rows, _) = (coo_parts(x.to_sparse())[0] for x in given)
    length = given[1].shape[0]
    meeting = torch.bincount(columns, minlength=length) * torch.bincount(rows, minlength=length)
    return op._replace(arguments=(*op.arguments, int(meeting.sum())))
