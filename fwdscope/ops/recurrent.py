"""Recurrent layers and cells, counted from their weights: every step of every sequence meets each matrix once.

A cell has G gates of H units. Its two products have G·H·(inputs + hidden) MACs, each bias G·H sums, and then per unit:

LSTM  the sum of both products in four gates, three sigmoids (4 each), two tanh, f·c + i·g, o·tanh(c)   4 + 18
GRU   sum and sigmoid of two gates, n = tanh(a + r·b), (1 - z)·n + z·h                                 2·5 + 3 + 4
RNN   the sum of both products, tanh or relu                                                            2
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from .base import Op, Operand, Term, Terms, flops, is_dense, like, macs, rule
from .base import tensor as contiguous_tensor

# Gates, and results per unit and step, of each kind of cell.
_GATES = {"lstm": (4, 22), "gru": (3, 17), "rnn_tanh": (1, 2), "rnn_relu": (1, 2)}
# cuDNN's and oneDNN's numbers of the kinds.
_MODES = ("rnn_relu", "rnn_tanh", "lstm", "gru")


def _cell(kind: str, steps: int, w_ih: Operand, w_hh: Operand, biases: int, w_hr: Operand | None) -> Iterator[Term]:
    """The terms of so many steps of one cell; w_hr projects an LSTM's output."""
    gates, results = _GATES[kind]
    hidden, inputs, recurrent = w_hh.shape[0] // gates, w_ih.shape[1], w_hh.shape[1]
    yield macs("gates", "T·G·H·(I + R)", T=steps, G=gates, H=hidden, I=inputs, R=recurrent)
    if w_hr is not None:
        yield macs("projection", "T·H·P", T=steps, H=hidden, P=w_hr.shape[0])
    if biases:
        yield flops("biases", f"{biases}·T·G·H", T=steps, G=gates, H=hidden)
    yield flops(kind, f"{results}·T·H", T=steps, H=hidden)


def _cells(params: Sequence[Operand], biased: bool, directions: int) -> list[list[Operand]]:
    """The flat list of weights cut into cells: layer by layer, forward and backward.

    An LSTM with a projection has one weight more in each cell; the number of columns of the second says so.
    """
    projected = len(params) > 2 and params[1].shape[1] != params[0].shape[0] // 4 and params[0].shape[0] % 4 == 0
    size = 2 + 2 * biased
    if projected and len(params) % (size + 1) == 0 and params[size].shape[0] == params[1].shape[1]:
        size += 1
    return [list(params[i : i + size]) for i in range(0, len(params), size)]


def _layers(op: Op, steps: int, params: Sequence[Operand], biased: bool, dropped: float) -> Terms:
    kind = op.name.removeprefix("aten.")
    found = _cells(params, biased, 1)
    for i, cell in enumerate(found):
        for term in _cell(kind, steps, cell[0], cell[1], 2 * biased, cell[-1] if len(cell) % 2 else None):
            yield _of_layer(term, i, len(found))
    if dropped:
        width = op.output.shape[-1]
        layers = op.at(4) if op.overload != "data" else op.at(5)
        yield flops("dropout between layers", "2·T·D·(layers - 1)", T=steps, D=width, layers=layers)


def _of_layer(term: Term, i: int, cells: int) -> Term:
    what = term.what if cells == 1 else f"{term.what}, cell {i + 1} of {cells}"
    return Term(what, term.formula, term.numbers, term.macs, term.flops)


def _padded_output(op: Op) -> tuple[Operand, ...] | None:
    """Output (T, B, directions·width), and the last states as they came in."""
    x, lstm = op.operand(0), op.name == "aten.lstm"
    states = op.at(1) if lstm else (op.operand(1),)
    if op.overload != "input" or len(x.shape) != 3 or not is_dense(x, *states):
        return None
    if not all(isinstance(s, Operand) and s.dtype == x.dtype and len(s.shape) == 3 for s in states):
        return None
    layers, bidirectional, batch_first = op.at(4), op.at(7), op.at(8)
    directions = 2 if bidirectional else 1
    batch = x.shape[0] if batch_first else x.shape[1]
    params = op.at(2)
    if any(s.shape[:2] != (layers * directions, batch) for s in states) or 0 in x.shape:
        return None
    if params[0].shape[1] != x.shape[2] or params[0].dtype != x.dtype or params[1].shape[1] != states[0].shape[2]:
        return None
    width = states[0].shape[2] * directions
    steps = x.shape[1] if batch_first else x.shape[0]
    made = contiguous_tensor((steps, batch, width), x.dtype)
    if batch_first:
        made = made._replace(shape=(batch, steps, width), stride=(width, batch * width, 1))
    return (made, *(like(s) for s in states))


@rule("lstm", "gru", "rnn_tanh", "rnn_relu", output=_padded_output)
def recurrent(op: Op) -> Terms:
    """All layers and directions of a recurrent network over padded sequences, or over packed ones (``data``).

    Padded sequences count every step, also the padding; packed ones the steps that are there.
    """
    if op.overload == "data":
        return _layers(op, op.operand(0).shape[0], op.at(3), op.at(4), op.at(6) if op.at(7) else 0.0)
    return _layers(op, math.prod(op.operand(0).shape[:-1]), op.at(2), op.at(3), op.at(5) if op.at(6) else 0.0)


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def cell(op: Op) -> Terms:
    """One step."""
    biases = (op.at(4) is not None) + (op.at(5) is not None)
    kind = op.name.removeprefix("aten.").removesuffix("_cell")
    return _cell(kind, math.prod(op.operand(0).shape[:-1]), op.operand(2), op.operand(3), biases, None)


@rule("_thnn_fused_lstm_cell", "_thnn_fused_gru_cell")
def fused_cell(op: Op) -> Terms:
    """What follows the two products of a cell, in one kernel of CUDA's."""
    kind = "lstm" if "lstm" in op.name else "gru"
    gates, results = _GATES[kind]
    biases = sum(op.at(i) is not None for i in (3, 4))
    numbers = {"T": math.prod(op.operand(0).shape[:-1]), "H": op.operand(0).shape[-1] // gates}
    if biases:
        yield flops("biases", f"{biases}·T·G·H", **numbers, G=gates)
    yield flops(kind, f"{results}·T·H", **numbers)


@rule("mkldnn_rnn_layer")
def mkldnn(op: Op) -> Terms:
    """oneDNN's: one direction of one layer."""
    return _cell(
        _MODES[op.at(9)], math.prod(op.operand(0).shape[:-1]), op.operand(1), op.operand(2), 2 * op.at(12), None
    )


@rule("_cudnn_rnn")
def cudnn(op: Op) -> Terms:
    """cuDNN's: all layers and directions."""
    weights, stride, kind = op.at(1), op.at(2), _MODES[op.at(6)]
    biases = 2 if stride >= 4 else 0
    steps = math.prod(op.operand(0).shape[:-1])
    for i in range(0, len(weights), stride):
        w_hr = weights[i + stride - 1] if stride % 2 else None
        yield from _cell(kind, steps, weights[i], weights[i + 1], biases, w_hr)
