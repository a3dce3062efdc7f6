"""Weights and caches stored in fewer bits than they are computed with: ``int8``, ``int4:g128``, ``fp8``.

Weights are the parameters of two dimensions or more, of linear layers, convolutions and embeddings; norms and biases
stay. An integer format has a scale for each row, or for each group of a row's elements, in the dtype of the weights,
and no zero points; ``fp8`` has a scale for each tensor, of four bytes. Operators read what is stored, and compute in
the dtype of the activations: unpacking is not counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from fwdscope import units
from fwdscope.report.report import CachedTensor, LayerRow, Report, TensorInfo, multiplicities, parents
from fwdscope.storage import ITEMSIZE, Format, Stored

# Operators that read weights: products, convolutions, recurrent layers, and tables.
_READING = re.compile(r"(add|badd)?b?mm|linear|matmul|mv|convolution|lstm|gru|rnn_\w+|embedding|index_select")


def as_stored(report: Report, stored: Stored) -> Report:
    """The report with the bytes of weights and of the cache as they are stored, in memory and in traffic."""
    rows, around, times = report.layers, parents(report.layers), multiplicities(report.layers)
    weights = {f"{row.path}.{one.name}".lstrip("."): one for row in rows for one in row.parameters}
    reading = [_saved_reading(row, weights, stored.weights) for row in rows]
    cached = [tuple(replace(one, nbytes=_bytes_kept(one, stored.cache)) for one in row.cached) for row in rows]
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
    sums = report.totals
    totals = replace(
        sums,
        param_bytes=sums.param_bytes - param_bytes,
        bytes_read=_minus(sums.bytes_read, whole["read"]),
        peak_memory=_minus(sums.peak_memory, param_bytes + whole["kept"]),
        kv_cache=_minus(sums.kv_cache, whole["kept"]),
    )
    unmatched = sum(n * missed for (_, missed), n in zip(reading, times, strict=True))
    notes = (*report.notes, *_notes(report, stored, totals.param_bytes, unmatched))
    return replace(report, layers=layers, totals=totals, notes=notes)


def _minus(value: int | None, less: int) -> int | None:
    return None if value is None else value - less


def _notes(report: Report, stored: Stored, param_bytes: int, unmatched: int) -> Iterator[str]:
    if stored.weights is not None:
        sizes = f"with scales {units.byte_size(param_bytes)}, not {units.byte_size(report.totals.param_bytes)}"
        yield (
            f"weights of two dimensions or more are stored as {stored.weights} ({sizes}); "
            f"arithmetic is {report.dtype}, and unpacking is not counted"
        )
    if unmatched:
        yield f"{units.plural(unmatched, 'weight')} read in parts: the reading is counted as of {report.dtype}"
    if stored.cache is not None:
        yield f"keys and values of earlier positions are stored as {stored.cache}, with scales"


def _saved(one: TensorInfo, format: Format | None) -> int:
    """Bytes fewer of a parameter as stored."""
    found = format.nbytes(one.shape, one.dtype) if format is not None else None
    return 0 if found is None else math.prod(one.shape) * ITEMSIZE[one.dtype] - found


def _bytes_kept(one: CachedTensor, format: Format | None) -> int:
    found = format.nbytes(one.shape, one.dtype) if format is not None and one.kind != "state" else None
    return one.nbytes if found is None else found


def _saved_reading(row: LayerRow, weights: Mapping[str, TensorInfo], format: Format | None) -> tuple[int, int]:
    """Bytes fewer that a row reads itself, in all its calls, and how many of its weights no operator reads whole.

    Of a table the rows that are looked up are read.
    """
    saved = missed = 0
    own = [*row.parameters, *(weights[name] for name in row.reads if name in weights)]
    reading = [ran for ran in row.operators if _READING.fullmatch(ran.name)]
    for one in own if format is not None and reading else ():
        fewer = _saved(one, format)
        found = [ran for ran in reading if one.shape in ran.inputs or one.shape[::-1] in ran.inputs]
        missed += bool(fewer) and not found
        for ran in found if fewer else ():
            if ran.bytes_read:
                looked_up = ran.name in ("embedding", "index_select")
                share = math.prod(ran.outputs[0]) / math.prod(one.shape) if looked_up else 1
                saved += round(fewer * share) * ran.times * row.calls
    return saved, missed
