"""Findings about how a network is put together: mistakes in the wiring, shared, unused or frozen weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fwdscope import units
from fwdscope.findings.network import BATCH_NORMS, MAPS, Checks, Finding, RowGraph, list_names, parameter, row_name
from fwdscope.report import LayerRow

check = Checks()

_CONVOLUTIONS = {"Conv1d": 1, "Conv2d": 2, "Conv3d": 3}
_TRANSPOSES = {"ConvTranspose1d": 1, "ConvTranspose2d": 2, "ConvTranspose3d": 3}
_FLATTENING = {"Flatten", "flatten", "view", "reshape"}
# A function and a loss after it that computes the function itself, or expects another form.
_DOUBLED = {
    ("softmax", "cross_entropy"): "logits",
    ("sigmoid", "binary_cross_entropy_with_logits"): "logits",
    ("softmax", "nll_loss"): "log-probabilities",
}
_AS_FUNCTION = {
    "Softmax": "softmax",
    "Softmax2d": "softmax",
    "Sigmoid": "sigmoid",
    "CrossEntropyLoss": "cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "NLLLoss": "nll_loss",
}


@check
def _batch_in_features(network: RowGraph) -> Iterator[Finding]:
    """A flatten that includes the batch; certain only if a convolution shows which dimension is the batch."""
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
                change = f"{row_name(row)} turns {units.shape(before)} into {units.shape(after)}"
                text = f"{change}: it mixes the batch of {batch[0]} into the features"
                yield Finding("warning", text, row_name(row), "use Flatten, which keeps dimension 0")
                return


@check
def _loss_on_probabilities(network: RowGraph) -> Iterator[Finding]:
    """A softmax or sigmoid before a loss that applies it itself: such a network trains, but slowly."""
    for first, second in network.pairs:
        before, loss = network.rows[first], network.rows[second]
        pair = (_AS_FUNCTION.get(before.type, before.type), _AS_FUNCTION.get(loss.type, loss.type))
        if wanted := _DOUBLED.get(pair):
            text = f"{row_name(loss)} takes the output of {row_name(before)}, but expects {wanted}"
            yield Finding("warning", text, row_name(loss))


@check
def _nothing_between(network: RowGraph) -> Iterator[Finding]:
    """Linear layers in series, unless the middle is narrow (a factored matrix): one layer would compute the same."""
    linear = {i for i, row in network.of_type("Linear") if row.input_shapes and row.output_shapes}
    for first, second in network.pairs:
        read_once = network.readers is None or network.readers[first] == 1
        if first in linear and second in linear and read_once:
            a, b = network.rows[first], network.rows[second]
            size_in, middle, size_out = a.input_shapes[0][-1], a.output_shapes[0][-1], b.output_shapes[0][-1]
            if middle >= min(size_in, size_out):
                names, sizes = f"{row_name(a)} and {row_name(b)}", f"{units.exact(size_in)} to {units.exact(size_out)}"
                text = f"{names} have nothing between: as good as one linear layer from {sizes}"
                yield Finding("warning", text, row_name(b), "add an activation between them")
    for i in sorted(linear):
        row, around = network.rows[i], network.parents[i]
        in_series = around is not None and (
            network.rows[around].kind == "stack" or network.rows[around].type == "Sequential"
        )
        if row.kind == "copies" and row.repeat > 1 and in_series:
            text = f"{row_name(row)}: {row.repeat} linear layers with nothing between, as good as one"
            yield Finding("warning", text, row_name(row), "add an activation between them")


@check
def _unread(network: RowGraph) -> Iterator[Finding]:
    """Parameters that no operator of this forward reads."""
    unused = network.report.unused
    if unused:
        verb = "are" if len(unused) > 1 else "is"
        yield Finding("note", f"{list_names(unused)} {verb} not used in this forward")


@check
def _bias_before_batch_norm(network: RowGraph) -> Iterator[Finding]:
    """A batch norm subtracts the mean of each channel, and with it any bias added before."""
    rows, readers = network.rows, network.readers
    # The bias has no effect only if just the norm reads it, which does not follow from shapes.
    if readers is None:
        return
    biased = [
        first
        for first, second in network.pairs
        if rows[second].type in BATCH_NORMS
        and readers[first] == 1
        and parameter(rows[first], "bias")
        and _channels_are_features(rows[first])
    ]
    if biased:
        wasted = sum(math.prod(parameter(rows[i], "bias") or ()) * network.times[i] for i in biased)
        names = list_names([row_name(rows[i]) for i in biased])
        verb = "have" if len(biased) > 1 else "has"
        text = f"{names} {verb} a bias that the batch norm after it cancels: {units.plural(wasted, 'parameter')}"
        path = row_name(rows[biased[0]]) if len(biased) == 1 else None
        yield Finding("note", text, path, "bias=False computes the same")


def _channels_are_features(row: LayerRow) -> bool:
    """Whether a row's bias is one number for each channel (dimension 1) that a batch norm behind it normalizes."""
    return row.type in _CONVOLUTIONS | _TRANSPOSES or (row.type == "Linear" and len(row.output_shapes[0]) == 2)


@check
def _tied(network: RowGraph) -> Iterator[Finding]:
    """Tensors of one layer that another one reads."""
    sizes = {f"{row.path}.{tensor.name}": math.prod(tensor.shape) for row in network.rows for tensor in row.parameters}
    readers: dict[str, list[str]] = {}
    for row in network.rows:
        # A sum over a weight, as for weight decay, does not tie it; mapping an input by it does.
        for tensor in row.reads if row.type in MAPS or row.kind == "layer" else ():
            # A Parameter of the file is there to be read; only a layer's own tensor can be tied.
            if tensor in sizes:
                readers.setdefault(tensor, []).append(row_name(row))
    for tensor, names in readers.items():
        saved = sizes[tensor] * len(set(names))
        verb = "read" if len(set(names)) > 1 else "reads"
        text = f"{list_names(names)} {verb} {tensor}: tied weights, {units.plural(saved, 'parameter')} fewer"
        yield Finding("note", text, tensor)


@check
def _called_again(network: RowGraph) -> Iterator[Finding]:
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
        names = list_names([f"{path} ({n} times)" for path, n in repeated.items()])
        path = next(iter(repeated)) if len(repeated) == 1 else None
        verb = "run" if len(repeated) > 1 else "runs"
        yield Finding("note", f"{names} {verb} more than once; the weights count once", path)


@check
def _all_frozen(network: RowGraph) -> Iterator[Finding]:
    """A network that no training would change."""
    if network.report.totals.params and not network.report.totals.trainable_params:
        yield Finding("note", "no parameter is trainable")


@check
def _one_pixel(network: RowGraph) -> Iterator[Finding]:
    """Kernels on maps of a single pixel, where all but their middle is on padding."""
    lost = []
    for _, row in network.of_type(*_CONVOLUTIONS) if not network.report.past else ():
        weight = parameter(row, "weight")
        maps = row.input_shapes[0][-_CONVOLUTIONS[row.type] :] if row.input_shapes else ()
        if weight and math.prod(weight[2:]) > 1 and set(maps) == {1}:
            lost.append(row_name(row))
    if lost:
        verb = "see" if len(set(lost)) > 1 else "sees"
        text = f"{list_names(lost)} {verb} maps of a single pixel: all of the kernel but its middle is on padding"
        advice = "use a larger input, or fewer strides and pools before"
        yield Finding("note", text, lost[0] if len(lost) == 1 else None, advice)


@check
def _dropout_at_the_end(network: RowGraph) -> Iterator[Finding]:
    """Dropout on the results of the last layer of a classifier."""
    if not network.leaves:
        return
    last = network.leaves[-1]
    row = network.rows[last]
    before = next((first for first, second in network.pairs if second == last), None)
    if row.type != "Dropout" or before is None or network.rows[before].type != "Linear":
        return
    if row.output_shapes and len(row.output_shapes[0]) == 2:
        text = f"{row_name(row)} comes after the last layer: in training it zeroes some of the results"
        yield Finding("note", text, row_name(row), "move it before the last Linear, where it drops features")
