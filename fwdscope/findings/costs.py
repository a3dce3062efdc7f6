"""Findings about parameters, operations, bytes and memory: where a network's cost lies."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from fwdscope import units
from fwdscope.findings.network import MAPS, Checks, Finding, RowGraph, group_name, list_names, parameter, row_name
from fwdscope.report import LayerRow

check = Checks()

_LARGE_OUTPUT = 2**30
# Networks that move or store less than this are small enough for any machine.
_WORTH_SAYING = 2**26
# FLOPs per byte under which any processor waits for its memory: they balance at ten or more.
_LOW_INTENSITY = 2


@check
def _most_in_one(network: RowGraph) -> Iterator[Finding]:
    """One layer with at least half of all parameters."""
    total = network.report.totals.params
    weighted = [i for i in network.leaves if network.rows[i].params]
    if len(weighted) < 2:
        return
    for i in weighted:
        row = network.rows[i]
        if network.times[i] == 1 and row.params * 2 >= total > 0:
            made = _table_or_matrix(row)
            share = units.share(row.params / total)
            text = f"{row_name(row)} has {share} of the parameters: {units.exact(row.params)}{made}"
            yield Finding("note", text, row_name(row))


def _table_or_matrix(row: LayerRow) -> str:
    weight = parameter(row, "weight")
    if row.type == "Embedding" and weight:
        return f", a table of {units.exact(weight[0])} × {units.exact(weight[-1])}"
    if row.type == "Linear" and weight:
        return f", a matrix from {units.exact(weight[-1])} to {units.exact(weight[0])}"
    return ""


@check
def _most_work_in_one(network: RowGraph) -> Iterator[Finding]:
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
            share = f"{units.share(macs / total)} of the MACs: {units.count(macs)} of {units.count(total)}"
            yield Finding("note", f"{row_name(row)} does {share}", row_name(row))


@check
def _tables(network: RowGraph) -> Iterator[Finding]:
    """Embedding tables with a fifth of the parameters or more, which compute nothing."""
    total = network.report.totals.params
    tied = {tensor for row in network.rows if row.type in MAPS or row.kind == "layer" for tensor in row.reads}
    tables = [
        i
        for i, row in network.of_type("Embedding", "EmbeddingBag")
        if row.params and f"{row.path}.weight" not in tied and row.macs == 0
    ]
    params = sum(network.rows[i].params * network.times[i] for i in tables)
    # A table with half of them has a finding of its own.
    if not total or params * 5 < total or any(network.rows[i].params * 2 >= total for i in tables):
        return
    names = list_names([row_name(network.rows[i]) for i in tables])
    verb = "have" if len(tables) > 1 else "has"
    path = row_name(network.rows[tables[0]]) if len(tables) == 1 else None
    text = f"{names} {verb} {units.share(params / total)} of the parameters and no MACs: they are looked up"
    yield Finding("note", text, path)


@check
def _bound_by_memory(network: RowGraph) -> Iterator[Finding]:
    """Rows of low intensity that move most of the bytes: weights used once, and element-wise operators."""
    totals = network.report.totals
    whole = (totals.bytes_read or 0) + (totals.bytes_written or 0)
    # Measured times are better.
    timed = any(row.latency for row in network.rows)
    if whole < _WORTH_SAYING or network.report.uncounted or not totals.flops or timed:
        return
    low = [i for i in network.leaves if (network.rows[i].flops or 0) < _LOW_INTENSITY * _moves(network.rows[i])]
    for has_macs in (True, False):
        groups: dict[str, list[int]] = {}
        for i in low:
            if bool(network.rows[i].macs) == has_macs:
                groups.setdefault(network.rows[i].type, []).append(i)
        moved = {kind: sum(_moves(network.rows[i]) * network.times[i] for i in group) for kind, group in groups.items()}
        flops = sum((network.rows[i].flops or 0) * network.times[i] for group in groups.values() for i in group)
        if sum(moved.values()) * 2 >= whole:
            names = list_names(
                f"{group_name([network.rows[i] for i in groups[kind]], sum(network.times[i] for i in groups[kind]))}"
                f" ({units.share(moved[kind] / whole)})"
                for kind in sorted(moved, key=lambda kind: -moved[kind])
            )
            shares = f"{units.share(sum(moved.values()) / whole)} of bytes"
            text = f"{shares} for {units.share(flops / totals.flops)} of FLOPs: {names}"
            how = "a larger batch reuses each weight more" if has_macs else "fused operators move fewer bytes"
            yield Finding("note", text, None, f"memory-bound: {how}")


def _moves(row: LayerRow) -> int:
    return (row.bytes_read or 0) + (row.bytes_written or 0)


_CAUSAL = re.compile(r"\bis_causal\s*=\s*True\b")


@check
def _causal_counted_dense(network: RowGraph) -> Iterator[Finding]:
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
            found.append((row_name(row), times))
    if found:
        names = list_names(f"{name} × {times}" if times > 1 else name for name, times in found)
        total = network.report.totals.macs
        share = units.share((dense - needed) / total) if total else units.count(dense - needed)
        text = f"{names}: {share} of MACs are causally masked"
        yield Finding("note", text, found[0][0] if len(found) == 1 else None, "counted, but fused kernels skip them")


def _square_length(row: LayerRow) -> int | None:
    """T if there are T > 1 queries and keys in every call, else None."""
    if row.varies or len(row.input_shapes) < 2 or min(map(len, row.input_shapes[:2])) < 2:
        return None
    queries, keys = row.input_shapes[0][-2], row.input_shapes[1][-2]
    return queries if queries == keys > 1 else None


@check
def _activations_over_weights(network: RowGraph) -> Iterator[Finding]:
    """Activations that need twice the memory of the weights, or more."""
    totals = network.report.totals
    peak, weights = totals.peak_activations or 0, totals.param_bytes + totals.buffer_bytes
    if weights and peak >= _WORTH_SAYING and peak >= 2 * weights:
        sizes = f"activations peak at {units.byte_size(peak)}, {peak / weights:.1f} times the weights"
        yield Finding("note", f"{sizes}: the size of the input decides the memory")


@check
def _large_output(network: RowGraph) -> Iterator[Finding]:
    """The largest output, if it is so large that it decides whether the network fits."""
    sizes = {i: network.rows[i].output_bytes or 0 for i in network.leaves}
    largest = max(sizes, key=sizes.__getitem__, default=None)
    if largest is not None and sizes[largest] >= _LARGE_OUTPUT and network.rows[largest].output_shapes:
        row = network.rows[largest]
        shape = units.shape(max(row.output_shapes, key=math.prod))
        text = f"{row_name(row)} has the largest output: {shape}, {units.byte_size(sizes[largest])}"
        yield Finding("note", text, row_name(row))
