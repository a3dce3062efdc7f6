"""What a careful colleague would point out about a network, from its report alone.

A check is a function from the rows to findings; writing one under ``@_check`` is the whole registration. A check
speaks only where the report makes it certain: which row feeds which comes from ``LayerRow.sources``, and where that
is unknown, from shapes that allow no other reading.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from fwdscope import units
from fwdscope.report import LayerRow, Report, Shape, multiplicities, parents

_LARGE_OUTPUT = 2**30

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
_ELEMENT_BYTES = {
    "float64": 8,
    "complex64": 8,
    "int64": 8,
    "complex128": 16,
    "float32": 4,
    "int32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
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
        for tensor in row.reads if row.type in _MAPS else ():
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
    sizes = {i: _output_bytes(network.rows[i]) for i in network.leaves}
    largest = max(sizes, key=sizes.__getitem__, default=None)
    if largest is not None and sizes[largest] >= _LARGE_OUTPUT:
        row = network.rows[largest]
        shape = units.shape(max(row.output_shapes, key=math.prod))
        text = f"{_name(row)} gives the largest result: {shape}, {units.byte_size(sizes[largest])}"
        yield Finding("note", text, _name(row))


def _output_bytes(row: LayerRow) -> int:
    """Bytes of a row's results; a dtype not known counts nothing, so that no size is told that is not certain."""
    return sum(
        math.prod(shape) * _ELEMENT_BYTES.get(dtype, 0)
        for shape, dtype in zip(row.output_shapes, row.output_dtypes, strict=False)
    )


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
