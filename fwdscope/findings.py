"""What a careful colleague would point out about a network, from its report alone.

A check is a function from the rows to findings; writing one under ``@_check`` is the whole registration. A check
speaks only where the report makes it certain: which row feeds which comes from ``LayerRow.sources``, and where that
is unknown, from shapes that allow no other reading.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from fwdscope import units
from fwdscope.report import LayerRow, Report, Shape, multiplicities, parents

_LARGE_OUTPUT = 2**30
# Networks that move or keep less than this are small enough for any machine.
_WORTH_SAYING = 2**26
# FLOPs per byte under which any processor waits for its memory: they balance at ten and more.
_LOW_INTENSITY = 2

_CONVOLUTIONS = {"Conv1d": 1, "Conv2d": 2, "Conv3d": 3}
_TRANSPOSES = {"ConvTranspose1d": 1, "ConvTranspose2d": 2, "ConvTranspose3d": 3}
_BATCH_NORMS = {"BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"}
_FLATTENING = {"Flatten", "flatten", "view", "reshape"}
# What the second computes on the first's result by itself already, or in another form than it gets.
_DOUBLED = {
    ("softmax", "cross_entropy"): "logits: it takes the softmax itself",
    ("sigmoid", "binary_cross_entropy_with_logits"): "logits: it takes the sigmoid itself",
    ("softmax", "nll_loss"): "the logarithms of probabilities, from log_softmax",
}
_AS_FUNCTION = {
    "Softmax": "softmax",
    "Softmax2d": "softmax",
    "Sigmoid": "sigmoid",
    "CrossEntropyLoss": "cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "NLLLoss": "nll_loss",
}


@dataclass(frozen=True)
class Finding:
    """One thing worth a look. A ``warning`` is most likely a mistake, a ``note`` may well be meant.

    ``path`` is the row it is about, as it stands in ``text``; ``advice`` what to do about it.
    """

    level: Literal["note", "warning"]
    text: str
    path: str | None = None
    advice: str | None = None


def findings(report: Report) -> tuple[Finding, ...]:
    """Everything that stands out, warnings first."""
    network = _Network(report)
    found = [finding for check in _CHECKS for finding in check(network)]
    return tuple(sorted(found, key=lambda finding: finding.level != "warning"))


@dataclass(frozen=True)
class _Network:
    """The rows with what several checks ask of them."""

    report: Report

    @property
    def rows(self) -> tuple[LayerRow, ...]:
        return self.report.layers

    @cached_property
    def parents(self) -> tuple[int | None, ...]:
        return parents(self.rows)

    @cached_property
    def times(self) -> tuple[int, ...]:
        return multiplicities(self.rows)

    @cached_property
    def leaves(self) -> tuple[int, ...]:
        """The rows that contain no other, in the order of execution."""
        around = set(self.parents)
        return tuple(index for index in range(len(self.rows)) if index not in around)

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Childless rows of which the second is known to take the first's result as its first input."""
        computing = [i for i in self.leaves if self.rows[i].kind != "parameter"]
        before = dict(zip(computing[1:], computing, strict=False))
        found = []
        for second in computing:
            sources = self.rows[second].sources
            first = before.get(second) if sources is None else next(iter(sources), None)
            if first is None or not 0 <= first < len(self.rows):
                continue
            taken = _fits(self.rows[first], self.rows[second])
            if taken and (sources is not None or _must_feed(self.rows[first])):
                found.append((first, second))
        return tuple(found)

    @cached_property
    def readers(self) -> Counter[int] | None:
        """How many rows take each childless row's result; None where the report does not tell."""
        taken = [self.rows[i].sources for i in self.leaves]
        return None if None in taken else Counter(source for sources in taken for source in set(sources or ()))

    def of_type(self, *types: str) -> Iterator[tuple[int, LayerRow]]:
        """Childless rows of these types, with their index."""
        return ((i, self.rows[i]) for i in self.leaves if self.rows[i].type in types)


def _fits(first: LayerRow, second: LayerRow) -> bool:
    """Whether the first row's result has the shape of what the second one takes."""
    return bool(first.output_shapes and second.input_shapes) and first.output_shapes[0] == second.input_shapes[0]


def _must_feed(row: LayerRow) -> bool:
    """Whether what fits behind a row must be reading it: beside it on one input, it would take that input's shape."""
    return bool(row.input_shapes) and row.output_shapes[0] != row.input_shapes[0]


_Check = Callable[[_Network], Iterator[Finding]]
_CHECKS: list[_Check] = []


def _check(function: _Check) -> _Check:
    _CHECKS.append(function)
    return function


def _parameter(row: LayerRow, name: str) -> Shape | None:
    return next((tensor.shape for tensor in row.parameters if tensor.name == name), None)


def _name(row: LayerRow) -> str:
    return row.path or row.text or row.type


def _some(names: list[str], most: int = 3) -> str:
    """``a, b, c and 4 more``."""
    names = list(dict.fromkeys(names))
    if len(names) <= most:
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


# --- most likely mistakes --------------------------------------------------------------------------------------------


@_check
def _batch_in_features(network: _Network) -> Iterator[Finding]:
    """A flatten that took the batch along; certain only where a convolution shows which dimension is the batch."""
    batches = {tensor.shape[:1] for tensor in network.report.inputs}
    if len(batches) != 1 or batches == {()}:
        return
    (batch,) = batches
    spatial = _CONVOLUTIONS | _TRANSPOSES
    batched = any(
        row.input_shapes and len(row.input_shapes[0]) == spatial[row.type] + 2 and row.input_shapes[0][:1] == batch
        for _, row in network.of_type(*spatial)
    )
    lost = any(tensor.shape and tensor.shape[:1] != batch for tensor in network.report.outputs)
    if not (batched and lost):
        return
    for _, row in network.of_type(*_FLATTENING):
        if row.input_shapes and row.output_shapes and row.output_shapes[0]:
            (before, *_), (after, *_) = row.input_shapes, row.output_shapes
            if before[:1] == batch != after[:1]:
                change = f"{_name(row)} turns {units.shape(before)} into {units.shape(after)}"
                text = f"{change}: the batch of {batch[0]} is mixed into the features"
                yield Finding(
                    "warning", text, _name(row), "Flatten, which keeps dimension 0, is what image networks use"
                )
                return


@_check
def _loss_on_probabilities(network: _Network) -> Iterator[Finding]:
    """A softmax or sigmoid in front of a loss that has it built in: it trains, slowly, and hides."""
    for first, second in network.pairs:
        before, loss = network.rows[first], network.rows[second]
        pair = (_AS_FUNCTION.get(before.type, before.type), _AS_FUNCTION.get(loss.type, loss.type))
        if wanted := _DOUBLED.get(pair):
            yield Finding(
                "warning", f"{_name(loss)} gets the result of {_name(before)}, and expects {wanted}", _name(loss)
            )


@_check
def _nothing_between(network: _Network) -> Iterator[Finding]:
    """Two linear layers in a row. A narrow middle is meant (a factored matrix); else one would do."""
    linear = {i for i, row in network.of_type("Linear") if row.input_shapes and row.output_shapes}
    for first, second in network.pairs:
        read_once = network.readers is None or network.readers[first] == 1
        if first in linear and second in linear and read_once:
            a, b = network.rows[first], network.rows[second]
            size_in, middle, size_out = a.input_shapes[0][-1], a.output_shapes[0][-1], b.output_shapes[0][-1]
            if middle >= min(size_in, size_out):
                both = f"{_name(a)} and {_name(b)} are two linear layers with nothing between"
                text = f"{both}: together no more than one from {units.exact(size_in)} to {units.exact(size_out)}"
                yield Finding("warning", text, _name(b), "an activation between them makes it two")
    for i in sorted(linear):
        row = network.rows[i]
        if row.kind == "copies" and row.repeat > 1:
            text = (
                f"{_name(row)} is {row.repeat} linear layers in series with nothing between: together no more than one"
            )
            yield Finding("warning", text, _name(row), "an activation between them makes it more")


# --- worth knowing ---------------------------------------------------------------------------------------------------


@_check
def _most_in_one(network: _Network) -> Iterator[Finding]:
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
            text = f"{_name(row)} holds {part} ({units.share(row.params / total)}){made}"
            yield Finding("note", text, _name(row))


def _what_it_holds(row: LayerRow) -> str:
    weight = _parameter(row, "weight")
    if row.type == "Embedding" and weight:
        return f": a table of {units.exact(weight[0])} × {units.exact(weight[-1])}"
    if row.type == "Linear" and weight:
        return f": a matrix from {units.exact(weight[-1])} to {units.exact(weight[0])}"
    return ""


@_check
def _most_work_in_one(network: _Network) -> Iterator[Finding]:
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
            yield Finding("note", f"{_name(row)} does {part}", _name(row))


@_check
def _tables(network: _Network) -> Iterator[Finding]:
    """Embedding tables that are a good part of the parameters, and compute nothing."""
    total = network.report.totals.params
    tied = {tensor for row in network.rows if row.type in _MAPS or row.kind == "layer" for tensor in row.reads}
    tables = [
        i
        for i, row in network.of_type("Embedding", "EmbeddingBag")
        if row.params and f"{row.path}.weight" not in tied and row.macs == 0
    ]
    held = sum(network.rows[i].params * network.times[i] for i in tables)
    # A table that holds half by itself is told already.
    if not total or held * 5 < total or any(network.rows[i].params * 2 >= total for i in tables):
        return
    names = _some([_name(network.rows[i]) for i in tables])
    part = f"{units.exact(held)} of the {units.exact(total)} parameters ({units.share(held / total)})"
    verb = "hold" if len(tables) > 1 else "holds"
    path = _name(network.rows[tables[0]]) if len(tables) == 1 else None
    yield Finding("note", f"{names} {verb} {part} and no MACs: a table is looked up, not multiplied", path)


@_check
def _bound_by_memory(network: _Network) -> Iterator[Finding]:
    """Rows of little arithmetic that move most of the bytes: weights met once, and element-wise steps."""
    totals = network.report.totals
    whole = (totals.bytes_read or 0) + (totals.bytes_written or 0)
    if whole < _WORTH_SAYING or network.report.uncounted or not totals.flops:
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
            names = _some([f"{kind} ({units.share(n / whole)})" for kind, n in moved.most_common()])
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


@_check
def _causal_counted_dense(network: _Network) -> Iterator[Finding]:
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
            found.append((_name(row), times))
    if found:
        names = _some([f"{name} × {times}" if times > 1 else name for name, times in found])
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


@_check
def _activations_over_weights(network: _Network) -> Iterator[Finding]:
    """Activations that need twice the memory of the weights, or more."""
    totals = network.report.totals
    peak, weights = totals.peak_activations or 0, totals.param_bytes + totals.buffer_bytes
    if weights and peak >= _WORTH_SAYING and peak >= 2 * weights:
        sizes = f"activations peak at {units.byte_size(peak)}, {peak / weights:.1f} times the weights"
        yield Finding("note", f"{sizes}: the size of the input decides what memory is enough")


@_check
def _unread(network: _Network) -> Iterator[Finding]:
    """Parameters that no operator of this pass reads."""
    unused = network.report.unused
    if unused:
        verb = "are" if len(unused) > 1 else "is"
        yield Finding("note", f"{_some(list(unused))} {verb} read by nothing in this pass")


@_check
def _bias_before_batch_norm(network: _Network) -> Iterator[Finding]:
    """A batch norm takes the mean of each channel away, and with it any bias added before."""
    rows, readers = network.rows, network.readers
    # A bias is lost only where nothing but the norm reads it, which shapes cannot tell.
    if readers is None:
        return
    biased = [
        first
        for first, second in network.pairs
        if rows[second].type in _BATCH_NORMS
        and readers[first] == 1
        and _parameter(rows[first], "bias")
        and _channels_are_features(rows[first])
    ]
    if biased:
        wasted = sum(math.prod(_parameter(rows[i], "bias") or ()) * network.times[i] for i in biased)
        names = _some([_name(rows[i]) for i in biased])
        verb = "have a bias" if len(biased) > 1 else "has a bias"
        useless = f"{units.plural(wasted, 'parameter')} without effect"
        text = f"{names} {verb} that the batch norm behind takes away again: {useless}"
        path = _name(rows[biased[0]]) if len(biased) == 1 else None
        yield Finding("note", text, path, "bias=False computes the same with less")


def _channels_are_features(row: LayerRow) -> bool:
    """Whether a row's bias is one number for each channel (dimension 1) that a batch norm behind it normalizes."""
    return row.type in _CONVOLUTIONS | _TRANSPOSES or (row.type == "Linear" and len(row.output_shapes[0]) == 2)


# Functions that map an input by a weight.
_MAPS = frozenset({"linear", "bilinear", "matmul", "embedding", "embedding_bag", *(f"conv{d}d" for d in (1, 2, 3)),
                   *(f"conv_transpose{d}d" for d in (1, 2, 3))})  # fmt: skip


@_check
def _tied(network: _Network) -> Iterator[Finding]:
    """Tensors of one layer that another one reads."""
    sizes = {f"{row.path}.{tensor.name}": math.prod(tensor.shape) for row in network.rows for tensor in row.parameters}
    readers: dict[str, list[str]] = {}
    for row in network.rows:
        # A sum over a weight, as of weight decay, is no second use of it: only what maps an input by it is.
        for tensor in row.reads if row.type in _MAPS or row.kind == "layer" else ():
            # A Parameter of the file stands there to be read; only a layer's own tensor is tied by it.
            if tensor in sizes:
                readers.setdefault(tensor, []).append(_name(row))
    for tensor, names in readers.items():
        saved = sizes[tensor] * len(set(names))
        verb = "read" if len(set(names)) > 1 else "reads"
        fewer = f"{units.plural(saved, 'parameter')} fewer than with weights apart"
        text = f"{_some(names)} {verb} {tensor}: tied weights, {fewer}"
        yield Finding("note", text, tensor)


@_check
def _called_again(network: _Network) -> Iterator[Finding]:
    """Layers with weights that run more than once; inside something repeated as a whole, only that."""
    rows = network.rows
    calls: dict[str, int] = {}
    for i, row in enumerate(rows):
        around = network.parents[i]
        while around is not None and rows[around].kind == "loop":
            around = network.parents[around]
        once = around is None or rows[around].calls == rows[around].call == 1
        if row.path and once and row.kind != "loop":
            calls[row.path] = calls.get(row.path, 0) + row.calls
    weighted = {row.path for row in rows if row.params}
    repeated = {path: n for path, n in calls.items() if n > 1 and path in weighted}
    if repeated:
        names = _some([f"{path} ({n} times)" for path, n in repeated.items()])
        path = next(iter(repeated)) if len(repeated) == 1 else None
        verb = "run" if len(repeated) > 1 else "runs"
        yield Finding("note", f"{names} {verb} more than once with the same weights, which count once", path)


@_check
def _all_frozen(network: _Network) -> Iterator[Finding]:
    """A network that no training would change."""
    if network.report.totals.params and not network.report.totals.trainable_params:
        yield Finding("note", "no parameter is trainable: training would change nothing")


@_check
def _one_pixel(network: _Network) -> Iterator[Finding]:
    """Kernels on maps of a single pixel: all but their middle meets padding."""
    lost = []
    for _, row in network.of_type(*_CONVOLUTIONS):
        weight, maps = (
            _parameter(row, "weight"),
            row.input_shapes[0][-_CONVOLUTIONS[row.type] :] if row.input_shapes else (),
        )
        if weight and math.prod(weight[2:]) > 1 and set(maps) == {1}:
            lost.append(_name(row))
    if lost:
        verb = "see" if len(set(lost)) > 1 else "sees"
        yield Finding(
            "note",
            f"{_some(lost)} {verb} maps of a single pixel: of the kernel only one tap meets data, the others padding",
            lost[0] if len(lost) == 1 else None,
            "a larger input, or fewer strides and pools before",
        )


@_check
def _large_output(network: _Network) -> Iterator[Finding]:
    """The largest result, where it is so large that it decides what fits."""
    sizes = {i: network.rows[i].output_bytes or 0 for i in network.leaves}
    largest = max(sizes, key=sizes.__getitem__, default=None)
    if largest is not None and sizes[largest] >= _LARGE_OUTPUT and network.rows[largest].output_shapes:
        row = network.rows[largest]
        shape = units.shape(max(row.output_shapes, key=math.prod))
        text = f"{_name(row)} gives the largest result: {shape}, {units.byte_size(sizes[largest])}"
        yield Finding("note", text, _name(row))


@_check
def _dropout_at_the_end(network: _Network) -> Iterator[Finding]:
    """Dropout on the results of the last layer of a classifier."""
    if not network.leaves:
        return
    last = network.leaves[-1]
    row = network.rows[last]
    before = next((first for first, second in network.pairs if second == last), None)
    if row.type != "Dropout" or before is None or network.rows[before].type != "Linear":
        return
    if row.output_shapes and len(row.output_shapes[0]) == 2:
        text = f"{_name(row)} stands behind the last layer: in training it sets some of the results themselves to zero"
        yield Finding("note", text, _name(row), "before the last Linear it drops features instead")
