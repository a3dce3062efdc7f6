"""Weights and caches stored in fewer bits than they are computed with: ``int8``, ``int4:g128``, ``fp8``.

Weights are the parameters of two dimensions or more, of linear layers, convolutions and embeddings; norms and biases
stay. An integer format has a scale for each row, or for each group of a row's elements, in the dtype of the weights,
and no zero points; ``fp8`` has a scale for each tensor, of four bytes. Operators read what is stored, and compute in
the dtype of the activations: unpacking is not counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from fwdscope import units
from fwdscope.report.report import (
    CachedTensor,
    LayerRow,
    OperatorCost,
    Report,
    Shape,
    TensorInfo,
    multiplicities,
    parents,
)
from fwdscope.storage import ITEMSIZE, Format, Stored

# Operators that read weights: products, convolutions, recurrent layers, and tables.
_READING = re.compile(r"(add|badd)?b?mm|linear|matmul|mv|convolution|lstm|gru|rnn_\w+|embedding|index_select")


def as_stored(report: Report, stored: Stored) -> Report:
    """The report with the bytes of weights and of the cache as they are stored, in memory and in traffic."""
    rows, around, times = report.layers, parents(report.layers), multiplicities(report.layers)
    weights = _weights(rows)
    reading = [_saved_reading(row, weights, stored.weights) for row in rows]
    cached = [cached_as_stored(row.cached, stored.cache) for row in rows]
    kept = [
        sum(a.nbytes - b.nbytes for a, b in zip(row.cached, new, strict=True))
        for row, new in zip(rows, cached, strict=True)
    ]
    param_bytes = sum(
        n * _saved(one, stored.weights) for row, n in zip(rows, times, strict=True) for one in row.parameters
    )
    less = [one + more for (one, _), more in zip(reading, kept, strict=True)]
    whole = {"read": 0, "kept": 0}
    for i in reversed(range(len(rows))):
        above, n = around[i], rows[i].repeat
        if above is None:
            whole = {"read": whole["read"] + n * less[i], "kept": whole["kept"] + n * kept[i]}
        else:
            less[above] += n * less[i]
            kept[above] += n * kept[i]
    layers = tuple(
        replace(row, bytes_read=_minus(row.bytes_read, read), kv_cache=_minus(row.kv_cache, fewer), cached=new)
        for row, read, fewer, new in zip(rows, less, kept, cached, strict=True)
    )
    sums, fused = report.totals, report.totals.fused
    if fused is not None:
        # A weight that is read again is read once if it is fused.
        fewer = min(param_bytes, whole["read"] - whole["kept"], fused.weights)
        fused = replace(fused, weights=fused.weights - fewer, ends=fused.ends - whole["kept"])
        if stored.products:
            # What one product leaves for the next is written in a byte each.
            size = ITEMSIZE.get(report.dtype, 1)
            fused = replace(fused, between=tuple((nbytes // size, n) for nbytes, n in fused.between))
    totals = replace(
        sums,
        fused=fused,
        param_bytes=sums.param_bytes - param_bytes,
        bytes_read=_minus(sums.bytes_read, whole["read"]),
        peak_memory=_minus(sums.peak_memory, param_bytes + whole["kept"]),
        kv_cache=_minus(sums.kv_cache, whole["kept"]),
    )
    unmatched = sum(n * missed for (_, missed), n in zip(reading, times, strict=True))
    notes = (*report.notes, *_notes(report, stored, totals.param_bytes, unmatched))
    return replace(report, layers=layers, totals=totals, notes=notes, products=stored.products)


def _minus(value: int | None, less: int) -> int | None:
    return None if value is None else value - less


def _notes(report: Report, stored: Stored, param_bytes: int, unmatched: int) -> Iterator[str]:
    if stored.weights is not None:
        sizes = f"with scales {units.byte_size(param_bytes)}, not {units.byte_size(report.totals.param_bytes)}"
        yield (
            f"weights of two dimensions or more are stored as {stored.weights} ({sizes}); "
            + (
                f"products run in {stored.products}, all else in {report.dtype}; casting activations is not counted"
                if stored.products
                else f"arithmetic is {report.dtype}, and unpacking is not counted"
            )
        )
    if unmatched:
        yield f"{units.plural(unmatched, 'weight')} read in parts: the reading is counted as of {report.dtype}"
    if stored.cache is not None:
        yield f"keys and values of earlier positions are stored as {stored.cache}, with scales"


def _saved(one: TensorInfo, format: Format | None) -> int:
    """Bytes fewer of a parameter as stored."""
    found = format.nbytes(one.shape, one.dtype) if format is not None else None
    return 0 if found is None else math.prod(one.shape) * ITEMSIZE[one.dtype] - found


def bytes_as_stored(nbytes: int, shape: Shape, dtype: str, format: Format | None) -> int:
    """The bytes of a tensor as stored, which are ``nbytes`` if it stays as it is."""
    found = format.nbytes(shape, dtype) if format is not None else None
    return nbytes if found is None else found


def cached_as_stored(cached: Iterable[CachedTensor], format: Format | None) -> tuple[CachedTensor, ...]:
    """What is kept, with its bytes as stored; states stay as they are."""
    return tuple(
        one if one.kind == "state" else replace(one, nbytes=bytes_as_stored(one.nbytes, one.shape, one.dtype, format))
        for one in cached
    )


def _weights(rows: Sequence[LayerRow]) -> dict[str, TensorInfo]:
    return {f"{row.path}.{one.name}".lstrip("."): one for row in rows for one in row.parameters}


def bytes_saved_inside(rows: Sequence[LayerRow], index: int, stored: Stored) -> int:
    """Bytes fewer that a row and those inside it read as stored, in one call of it."""
    weights, around = _weights(rows), parents(rows)
    saved, times = 0, {index: 1}
    for i in range(index, len(rows)):
        if i != index and around[i] not in times:
            continue
        times.setdefault(i, times.get(around[i] or 0, 1) * rows[i].repeat)
        kept = sum(one.nbytes for one in rows[i].cached)
        kept -= sum(one.nbytes for one in cached_as_stored(rows[i].cached, stored.cache))
        saved += times[i] * (_saved_reading(rows[i], weights, stored.weights)[0] + kept)
    return saved // rows[index].calls


def bytes_saved_by(ran: OperatorCost, weights: Iterable[TensorInfo], format: Format | None) -> int:
    """Bytes fewer that one call of an operator reads of weights."""
    if format is None or not _READING.fullmatch(ran.name) or not ran.bytes_read:
        return 0
    saved = 0
    for one in weights:
        if one.shape in ran.inputs or one.shape[::-1] in ran.inputs:
            looked_up = ran.name in ("embedding", "index_select")
            saved += round(_saved(one, format) * (math.prod(ran.outputs[0]) / math.prod(one.shape) if looked_up else 1))
    return saved


def _saved_reading(row: LayerRow, weights: Mapping[str, TensorInfo], format: Format | None) -> tuple[int, int]:
    """Bytes fewer that a row reads itself, in all its calls, and how many of its weights no operator reads whole.

    Of a table the rows that are looked up are read.
    """
    own = [*row.parameters, *(weights[name] for name in row.reads if name in weights)]
    reading = [ran for ran in row.operators if _READING.fullmatch(ran.name)] if format is not None else []
    saved = sum(bytes_saved_by(ran, own, format) * ran.times * row.calls for ran in reading)
    read = {shape for ran in reading for shape in ran.inputs}
    unread = [one for one in own if one.shape not in read and one.shape[::-1] not in read]
    return saved, sum(_saved(one, format) > 0 for one in unread) if reading else 0
