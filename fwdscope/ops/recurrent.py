"""Recurrent layers and cells: every step of every sequence is multiplied by each weight matrix once.

A cell has G gates of H units. Its two products have G·H·(inputs + hidden) MACs, each bias G·H sums, and then per unit:

LSTM  the sum of both products in four gates, three sigmoids (4 each), two tanh, f·c + i·g, o·tanh(c)   4 + 18
GRU   sum and sigmoid of two gates, n = tanh(a + r·b), (1 - z)·n + z·h                                 2·5 + 3 + 4
RNN   the sum of both products, tanh or relu                                                            2
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from .base import Term, Terms, flops, is_dense, like, macs, rule
from .base import tensor as contiguous_tensor
from .op import Op, Operand

# Gates, and results per unit and step, of each kind of cell.
_GATES = {"lstm": (4, 22), "gru": (3, 17), "rnn_tanh": (1, 2), "rnn_relu": (1, 2)}
# The kinds by cuDNN's and oneDNN's mode numbers.
RNN_MODES = ("rnn_relu", "rnn_tanh", "lstm", "gru")


def _cell(kind: str, steps: int, w_ih: Operand, w_hh: Operand, biases: int, w_hr: Operand | None) -> Iterator[Term]:
    """The terms of ``steps`` steps of one cell; w_hr projects an LSTM's output."""
    hidden = w_hh.shape[0] // _GATES[kind][0]
    return cell_terms(kind, steps, w_ih.shape[1], hidden, biases, None if w_hr is None else w_hr.shape[0])


def cell_terms(
    kind: str, steps: int, inputs: int, hidden: int, biases: int, projected: int | None = None
) -> Iterator[Term]:
    """The terms of ``steps`` steps of one cell of H units, from the sizes of its input and its state."""
    gates, results = _GATES[kind]
    recurrent = hidden if projected is None else projected
    yield macs("gates", "T·G·H·(I + R)", T=steps, G=gates, H=hidden, I=inputs, R=recurrent)
    if projected is not None:
        yield macs("projection", "T·H·P", T=steps, H=hidden, P=projected)
    if biases:
        yield flops("biases", f"{biases}·T·G·H", T=steps, G=gates, H=hidden)
    yield flops(kind, f"{results}·T·H", T=steps, H=hidden)


def _layers(op: Op, first: int) -> Iterator[Term]:
    """All cells of a call whose weights are at position ``first``: layer by layer, forward and backward.

    Behind the weights stand has_biases, num_layers, dropout, train and bidirectional.
    """
    params, biased, layers, dropout, train, bidirectional = op.arguments[first : first + 6]
    assert isinstance(params, tuple)
    assert isinstance(layers, int)
    kind, cells = op.name.removeprefix("aten."), layers * (2 if bidirectional else 1)
    steps = math.prod(op.operand(0).shape[:-1])
    size = len(params) // cells
    for i in range(cells):
        w_ih, w_hh, *rest = (w for w in params[i * size : (i + 1) * size] if isinstance(w, Operand))
        for term in _cell(kind, steps, w_ih, w_hh, 2 * bool(biased), rest[-1] if size % 2 else None):
            yield term if cells == 1 else term._replace(what=f"{term.what}, cell {i + 1} of {cells}")
    if dropout and train and layers > 1:
        yield flops("dropout between layers", "2·T·D·(layers - 1)", T=steps, D=op.output.shape[-1], layers=layers)


def _padded_output(op: Op) -> tuple[Operand, ...] | None:
    """Output (T, B, directions·width), and last states of the shapes of the first ones."""
    x, lstm = op.operand(0), op.name == "aten.lstm"
    states = op.at(1) if lstm else (op.operand(1),)
    if op.overload != "input" or len(x.shape) != 3 or not is_dense(x, *states):
        return None
    if not all(isinstance(s, Operand) and s.dtype == x.dtype and len(s.shape) == 3 for s in states):
        return None
    layers, directions, batch_first, params = op.at(4), 2 if op.at(7) else 1, op.at(8), op.at(2)
    batch, steps = x.shape[:2] if batch_first else x.shape[1::-1]
    if any(s.shape[:2] != (layers * directions, batch) for s in states) or 0 in x.shape:
        return None
    if params[0].shape[1] != x.shape[2] or params[0].dtype != x.dtype or params[1].shape[1] != states[0].shape[2]:
        return None
    width = states[0].shape[2] * directions
    made = contiguous_tensor((steps, batch, width), x.dtype)
    if batch_first:
        made = made._replace(shape=(batch, steps, width), stride=(width, batch * width, 1))
    return (made, *(like(s) for s in states))


def _layer_before(op: Op) -> int:
    """The bytes of a layer's output, which the next layer reads while it writes its own, which is as large."""
    layers = op.at(5 if op.overload == "data" else 4)
    return op.output.nbytes if isinstance(layers, int) and layers > 1 else 0


@rule("lstm", "gru", "rnn_tanh", "rnn_relu", output=_padded_output, workspace=_layer_before)
def recurrent(op: Op) -> Terms:
    """All layers and directions of a recurrent network over padded sequences, or over packed ones (``data``).

    Padded sequences count every step, also the padding; packed ones only real steps.
    """
    return _layers(op, 3 if op.overload == "data" else 2)


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def cell(op: Op) -> Terms:
    """One step."""
    biases = (op.at(4) is not None) + (op.at(5) is not None)
    kind = op.name.removeprefix("aten.").removesuffix("_cell")
    return _cell(kind, math.prod(op.operand(0).shape[:-1]), op.operand(2), op.operand(3), biases, None)


@rule("_thnn_fused_lstm_cell", "_thnn_fused_gru_cell")
def fused_cell(op: Op) -> Iterator[Term]:
    """The part of a cell behind its two products, as one CUDA kernel."""
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
        RNN_MODES[op.at(9)], math.prod(op.operand(0).shape[:-1]), op.operand(1), op.operand(2), 2 * op.at(12), None
    )


@rule("_cudnn_rnn")
def cudnn(op: Op) -> Iterator[Term]:
    """cuDNN's: all layers and directions."""
    weights, stride, kind = op.at(1), op.at(2), RNN_MODES[op.at(6)]
    biases = 2 if stride >= 4 else 0
    steps = math.prod(op.operand(0).shape[:-1])
    for i in range(0, len(weights), stride):
        w_hr = weights[i + stride - 1] if stride % 2 else None
        yield from _cell(kind, steps, weights[i], weights[i + 1], biases, w_hr)
