"""Findings about parameters, operations, bytes and memory: where a network's cost lies."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from fwdscope import units
from fwdscope.findings.network import MAPS, Checks, Finding, Network, name, parameter, some
from fwdscope.report import LayerRow

check = Checks()

_LARGE_OUTPUT = 2**30
# Networks that move or keep less than this are small enough for any machine.
_WORTH_SAYING = 2**26
# FLOPs per byte under which any processor waits for its memory: they balance at ten and more.
_LOW_INTENSITY = 2


@check
def _most_in_one(network: Network) -> Iterator[Finding]:
    """One layer with at least half of all parameters."""
    total = network.report.totals.params
    holding = [i for i in network.leaves if network.rows[i].params]
    if len(holding) < 2:
        return
    for i in holding:
        row = network.rows[i]
        if network.times[i] == 1 and row.params * 2 >= total:
            made = _what_it_holds(row)
            part = f"{units.exact(row.params)} of the {units.exact(total)} parameters"
            text = f"{name(row)} holds {part} ({units.share(row.params / total)}){made}"
            yield Finding("note", text, name(row))


def _what_it_holds(row: LayerRow) -> str:
    weight = parameter(row, "weight")
    if row.type == "Embedding" and weight:
        return f": a table of {units.exact(weight[0])} × {units.exact(weight[-1])}"
    if row.type == "Linear" and weight:
        return f": a matrix from {units.exact(weight[-1])} to {units.exact(weight[0])}"
    return ""


@check
def _most_work_in_one(network: Network) -> Iterator[Finding]:
    """One layer with at least half of all MACs."""
    total = network.report.totals.macs
    working = [i for i in network.leaves if network.rows[i].macs]
    if not total or len(working) < 2 or network.report.uncounted:
        return
    for i in working:
        row, macs = network.rows[i], network.rows[i].macs or 0
        # Where the parameters are, the MACs are no surprise.
        surprising = row.params * 2 < network.report.totals.params or not row.params
        if network.times[i] == 1 and macs * 2 >= total and surprising:
            part = f"{units.count(macs)} of the {units.count(total)} MACs ({units.share(macs / total)})"
            yield Finding("note", f"{name(row)} does {part}", name(row))


@check
def _tables(network: Network) -> Iterator[Finding]:
    """Embedding tables that are a good part of the parameters, and compute nothing."""
    total = network.report.totals.params
    tied = {tensor for row in network.rows if row.type in MAPS or row.kind == "layer" for tensor in row.reads}
    tables = [
        i
        for i, row in network.of_type("Embedding", "EmbeddingBag")
        if row.params and f"{row.path}.weight" not in tied and row.macs == 0
    ]
    held = sum(network.rows[i].params * network.times[i] for i in tables)
    # A table that holds half by itself is told already.
    if not total or held * 5 < total or any(network.rows[i].params * 2 >= total for i in tables):
        return
    names = some([name(network.rows[i]) for i in tables])
    part = f"{units.exact(held)} of the {units.exact(total)} parameters ({units.share(held / total)})"
    verb = "hold" if len(tables) > 1 else "holds"
    path = name(network.rows[tables[0]]) if len(tables) == 1 else None
    yield Finding("note", f"{names} {verb} {part} and no MACs: a table is looked up, not multiplied", path)


@check
def _bound_by_memory(network: Network) -> Iterator[Finding]:
    """Rows of little arithmetic that move most of the bytes: weights met once, and element-wise steps."""
    totals = network.report.totals
    whole = (totals.bytes_read or 0) + (totals.bytes_written or 0)
    # Where a run took the time, that tells more.
    timed = any(row.latency for row in network.rows)
    if whole < _WORTH_SAYING or network.report.uncounted or not totals.flops or timed:
        return
    low = [i for i in network.leaves if _moves(network.rows[i]) and _is_low(network.rows[i])]
    for has_macs in (True, False):
        moved: Counter[str] = Counter()
        flops = 0
        for i in low:
            row = network.rows[i]
            if bool(row.macs) == has_macs:
                moved[row.type] += _moves(row) * network.times[i]
                flops += (row.flops or 0) * network.times[i]
        if sum(moved.values()) * 2 >= whole:
            names = some([f"{kind} ({units.share(n / whole)})" for kind, n in moved.most_common()])
            part = (
                f"{units.share(sum(moved.values()) / whole)} of all bytes move for {units.share(flops / totals.flops)}"
            )
            text = f"{part} of the FLOPs: {names}; under {_LOW_INTENSITY} FLOPs a byte, memory sets the pace"
            advice = "a larger batch meets each weight more often" if has_macs else "fused, they would move less"
            yield Finding("note", text, None, advice)


def _moves(row: LayerRow) -> int:
    return (row.bytes_read or 0) + (row.bytes_written or 0)


def _is_low(row: LayerRow) -> bool:
    return (row.flops or 0) < _LOW_INTENSITY * _moves(row)


_CAUSAL = re.compile(r"\bis_causal\s*=\s*True\b")


@check
def _causal_counted_dense(network: Network) -> Iterator[Finding]:
    """Causal attention: of T by T scores only those up to the diagonal are needed, (T + 1) / 2T of them."""
    dense = needed = 0.0
    found = []
    for i in network.leaves:
        row, times = network.rows[i], network.times[i]
        # A layer's MACs have projections among them; those of the function are the attention and nothing else.
        if row.type != "scaled_dot_product_attention" or not row.macs or not _CAUSAL.search(row.text):
            continue
        length = _square_length(row)
        if length is not None:
            dense += row.macs * times
            needed += row.macs * times * (length + 1) / (2 * length)
            found.append((name(row), times))
    if found:
        names = some([f"{name} × {times}" if times > 1 else name for name, times in found])
        verb, its = ("are", "their") if len(found) > 1 else ("is", "its")
        part = f"{units.count(needed)} of {its} {units.count(dense)} MACs ({units.share(needed / dense)}) are needed"
        total = network.report.totals.macs
        rest = f"; the others are {units.share((dense - needed) / total)} of all MACs" if total else ""
        path = found[0][0] if len(found) == 1 else None
        yield Finding("note", f"{names} {verb} causal and counted dense: {part}{rest}", path)


def _square_length(row: LayerRow) -> int | None:
    """T where queries and keys are equally many and more than one, the same in every call."""
    if row.varies or len(row.input_shapes) < 2 or min(map(len, row.input_shapes[:2])) < 2:
        return None
    queries, keys = row.input_shapes[0][-2], row.input_shapes[1][-2]
    return queries if queries == keys > 1 else None


@check
def _activations_over_weights(network: Network) -> Iterator[Finding]:
    """Activations that need twice the memory of the weights, or more."""
    totals = network.report.totals
    peak, weights = totals.peak_activations or 0, totals.param_bytes + totals.buffer_bytes
    if weights and peak >= _WORTH_SAYING and peak >= 2 * weights:
        sizes = f"activations peak at {units.byte_size(peak)}, {peak / weights:.1f} times the weights"
        yield Finding("note", f"{sizes}: the size of the input decides what memory is enough")


@check
def _large_output(network: Network) -> Iterator[Finding]:
    """The largest result, where it is so large that it decides what fits."""
    sizes = {i: network.rows[i].output_bytes or 0 for i in network.leaves}
    largest = max(sizes, key=sizes.__getitem__, default=None)
    if largest is not None and sizes[largest] >= _LARGE_OUTPUT and network.rows[largest].output_shapes:
        row = network.rows[largest]
        shape = units.shape(max(row.output_shapes, key=math.prod))
        text = f"{name(row)} gives the largest result: {shape}, {units.byte_size(sizes[largest])}"
        yield Finding("note", text, name(row))
