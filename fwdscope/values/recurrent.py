"""One unit of an LSTM, a GRU or an RNN at one time: its gates, and how the state came from the one before."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fwdscope.report.value import Element
from fwdscope.values.calls import Held, Index

from .derivation import StepWriter, ValueColumn, rule
from .quantity import Quantity, atom, largest, sigmoid, tanh

# The gates in the order of the rows of their weights, each with the letter of torch's documentation.
_GATES = {
    "lstm": (("i", "input gate"), ("f", "forget gate"), ("g", "cell gate"), ("o", "output gate")),
    "gru": (("r", "reset gate"), ("z", "update gate"), ("n", "new state")),
    "rnn": (("h", "new state"),),
}
_BEFORE = {"lstm": "the states h′ and c′ before"} | dict.fromkeys(("gru", "rnn"), "the state h′ before")


class RecurrentCell(NamedTuple):
    """One layer in one direction: its kind, and its weights."""

    kind: str
    w_ih: Held
    w_hh: Held
    b_ih: Held | None
    b_hh: Held | None
    relu: bool


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def _cell(w: StepWriter, at: Index) -> Quantity:
    x, hx, w_ih, w_hh = w.args[:4]
    b_ih, b_hh = w.argument(4, "b_ih"), w.argument(5, "b_hh")
    states = hx if isinstance(hx, list) else [hx]
    cell = RecurrentCell(w.call.name.split("_")[0], w_ih, w_hh, b_ih, b_hh, "relu" in w.call.name)
    *item, unit = at
    w.sentence = f"one step from its input x and {_BEFORE[cell.kind]}"
    rows = [[w.derivation.element(held, (*item, i)) for i in range(held.values.shape[-1])] for held in (x, *states)]
    return _write(w, cell, unit, *rows, wants_c=w.result == 1)


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def _sequence(w: StepWriter, at: Index) -> Quantity:
    if isinstance(w.args[3], list):
        value = float(w.call.results[w.result].values[at])
        return atom(value).noted("the steps of a packed sequence are not shown")
    x, hx, flat, has_bias, layers, _, _, both, batch_first = w.args[:9]
    states = hx if isinstance(hx, list) else [hx]
    kind, directions, out = w.call.name.split("_")[0], 1 + both, w.call.results[0].values.shape[-1] // (1 + both)
    steps = x.values.shape[1 if batch_first else 0]
    if w.result == 0:
        t, item = (at[1], at[0]) if batch_first else (at[0], at[1])
        layer, (backward, unit) = layers - 1, divmod(at[2], out)
    else:
        (layer, backward), item, unit = divmod(at[0], directions), at[1], at[2]
        t = 0 if backward else steps - 1
    size = len(flat) // (layers * directions)

    if size in (3, 5) and w.result < 2:
        return atom(float(w.call.results[w.result].values[at])).noted("a projection of the state is not shown")

    def input_at(time: int, i: int) -> Index:
        return (item, time, i) if batch_first else (time, item, i)

    def run(inputs: Tensor, layer: int, direction: int, count: int) -> tuple[Tensor, list[Tensor]]:
        """The outputs of one layer in one direction, and its states after so many steps."""
        place = layer * directions + direction
        now = [one.values[place, item].double()[None, None] for one in states]
        if not count:
            return inputs, now
        weights = [one.values.double() for one in flat[place * size :][:size]]
        given = (inputs.flip(0) if direction else inputs)[:count, None]
        settings = has_bias, 1, 0.0, False, False, False
        made, *now = getattr(torch, w.call.name)(given, now if len(now) > 1 else now[0], weights, *settings)
        return (made.flip(0) if direction else made)[:, 0], now

    inputs = (x.values.double() if batch_first else x.values.double().transpose(0, 1))[item]
    for each in range(layer):
        inputs = torch.cat([run(inputs, each, direction, steps)[0] for direction in range(directions)], -1)
    before = [one.flatten() for one in run(inputs, layer, backward, steps - 1 - t if backward else t)[1]]
    previous = t + 1 if backward else t - 1
    is_first, place = not 0 <= previous < steps, layer * directions + backward
    below = [
        w.derivation.element(x, input_at(t, i))
        if layer == 0
        else Element(f"output of layer {layer - 1}", (t, i), float(value), "other")
        for i, value in enumerate(inputs[t])
    ]
    names = ("h", "c") if len(states) > 1 else ("h",)
    olds = []
    for k, (name, state) in enumerate(zip(names, states, strict=True)):
        values = before[k]
        if is_first:
            old = [w.derivation.element(state, (place, item, i)) for i in range(len(values))]
        elif k == 0 and layer == layers - 1:
            spots = [input_at(previous, backward * out + i) for i in range(len(values))]
            old = [w.derivation.element(w.call.results[0], spot) for spot in spots]
        else:
            old = [Element(f"{name} of step {previous}", (i,), float(value), "other") for i, value in enumerate(values)]
        olds.append(old)
    w.sentence = f"step {t} (0 to {steps - 1})" + f", layer {layer} (0 to {layers - 1})" * (layers > 1)
    w.sentence += ", backward" * bool(backward) + f": from its input x and {_BEFORE[kind]}"
    own = flat[place * size :][:size]
    b_ih, b_hh = own[2:4] if has_bias else (None, None)
    cell = RecurrentCell(kind, own[0], own[1], b_ih, b_hh, "relu" in w.call.name)
    return _write(w, cell, unit, below, *olds, wants_c=w.result == 2)


def _write(
    w: StepWriter,
    cell: RecurrentCell,
    unit: int,
    x: list[Element],
    h: list[Element],
    c: list[Element] | None = None,
    *,
    wants_c: bool,
) -> Quantity:
    """The equations of one unit: its gates in order, and its state."""
    size = cell.w_hh.values.shape[0] // len(_GATES[cell.kind])
    gates: dict[str, Quantity] = {}
    for number, (letter, name) in enumerate(_GATES[cell.kind]):
        row = number * size + unit
        sums: list[Quantity] = []
        for what, weight, bias, terms in (("i", cell.w_ih, cell.b_ih, x), ("h", cell.w_hh, cell.b_hh, h)):
            vector = "x" if what == "i" else "h′"
            label = f"W_{what}{letter}·{vector}"
            elements = [w.derivation.element(weight, (row, i)) for i in range(len(terms))]
            if number == 0:
                total = _dot(w, terms, elements, f"{label} of the {name}", label)
            else:
                total = atom(sum(a.value * b.value for a, b in zip(terms, elements, strict=True)), label)
            if bias is not None:
                total = total + w.symbol(w.derivation.element(bias, (row,)), f"b_{what}{letter}")
            sums.append(total)
        from_x, from_h = sums
        if cell.kind == "gru" and letter == "n":
            gate = tanh(from_x + gates["r"] * from_h)
        elif cell.kind == "rnn":
            return largest(0, from_x + from_h) if cell.relu else tanh(from_x + from_h)
        else:
            gate = tanh(from_x + from_h) if letter == "g" else sigmoid(from_x + from_h)
        gates[letter] = w.equation(f"{letter}, the {name}", gate, letter)
    before = w.symbol(h[unit], "h′") if cell.kind == "gru" else w.symbol((c or [])[unit], "c′")
    if cell.kind == "gru":
        return (1 - gates["z"]) * gates["n"] + gates["z"] * before
    state = gates["f"] * before + gates["i"] * gates["g"]
    return state if wants_c else gates["o"] * tanh(w.equation("c, the cell state", state, "c"))


def _dot(w: StepWriter, left: list[Element], right: list[Element], title: str, name: str) -> Quantity:
    """Add a table of products; returns their sum."""
    columns = [ValueColumn(part[0].tensor, part.__getitem__) for part in (left, right)]
    products = [a.value * b.value for a, b in zip(left, right, strict=True)]
    return w.total(title, columns, torch.tensor(products, dtype=torch.float64), name)
