"""One unit of an LSTM, a GRU or an RNN at one time: its gates, and how the state came from the one before."""

from __future__ import annotations

from collections.abc import Sequence
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
    """One layer in one direction: its kind, its weights, and what was before the step that is explained."""

    kind: str
    w_ih: Held
    w_hh: Held
    b_ih: Held | None
    b_hh: Held | None
    project: Held | None
    relu: bool

    def run(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The next hidden and cell state, in double precision."""
        from_x, from_h = self.w_ih.values.double() @ x, self.w_hh.values.double() @ h
        from_x = from_x if self.b_ih is None else from_x + self.b_ih.values.double()
        from_h = from_h if self.b_hh is None else from_h + self.b_hh.values.double()
        if self.kind == "rnn":
            return ((from_x + from_h).relu() if self.relu else (from_x + from_h).tanh()), c
        if self.kind == "gru":
            (xr, xz, xn), (hr, hz, hn) = from_x.chunk(3), from_h.chunk(3)
            n, z = (xn + (xr + hr).sigmoid() * hn).tanh(), (xz + hz).sigmoid()
            return (1 - z) * n + z * h, c
        i, f, g, o = (from_x + from_h).chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return (h if self.project is None else self.project.values.double() @ h), c


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def _cell(w: StepWriter, at: Index) -> Quantity:
    x, hx, w_ih, w_hh = w.args[:4]
    b_ih, b_hh = w.argument(4, "b_ih"), w.argument(5, "b_hh")
    states = hx if isinstance(hx, list) else [hx]
    cell = RecurrentCell(w.call.name.split("_")[0], w_ih, w_hh, b_ih, b_hh, None, "relu" in w.call.name)
    *item, unit = at
    w.sentence = f"one step from its input x and {_BEFORE[cell.kind]}"
    rows = [[(held, (*item, i)) for i in range(held.values.shape[-1])] for held in (x, *states)]
    return _write(w, cell, unit, *(_elements(w, row) for row in rows), wants_c=w.result == 1)


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

    def cell(layer: int, backward: int) -> RecurrentCell:
        own = flat[(layer * directions + backward) * size :][:size]
        b_ih, b_hh = own[2:4] if has_bias else (None, None)
        project = own[-1] if size in (3, 5) else None
        return RecurrentCell(kind, own[0], own[1], b_ih, b_hh, project, "relu" in w.call.name)

    def input_at(time: int, i: int) -> Index:
        return (item, time, i) if batch_first else (time, item, i)

    inputs = (x.values.double() if batch_first else x.values.double().transpose(0, 1))[item]
    before = None
    for each in range(layer + 1):
        outputs = []
        for direction in range(directions):
            h, *c = (one.values[each * directions + direction, item].double() for one in states)
            made: dict[int, Tensor] = {}
            cells = c[0] if c else h
            for time in reversed(range(steps)) if direction else range(steps):
                if (each, direction, time) == (layer, backward, t):
                    before = h, cells, inputs[time]
                h, cells = cell(each, direction).run(inputs[time], h, cells)
                made[time] = h
            outputs.append(torch.stack([made[time] for time in range(steps)]))
        inputs = torch.cat(outputs, -1)
    assert before is not None
    previous = t + 1 if backward else t - 1
    is_first, place = not 0 <= previous < steps, layer * directions + backward
    below = [
        w.derivation.element(x, input_at(t, i))
        if layer == 0
        else Element(f"output of layer {layer - 1}", (t, i), float(value), "other")
        for i, value in enumerate(before[2])
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
    return _write(w, cell(layer, backward), unit, below, *olds, wants_c=w.result == 2)


def _elements(w: StepWriter, row: Sequence[tuple[Held, Index]]) -> list[Element]:
    return [w.derivation.element(*one) for one in row]


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
    """The equations of one unit: its gates in order, and its state; of a projection first the sum over the units."""
    if cell.project is not None and not wants_c:
        vectors = [torch.tensor([one.value for one in part], dtype=torch.float64) for part in (x, h, c or [])]
        states = cell._replace(project=None).run(*vectors)[0]
        hidden = _write(w, cell._replace(project=None), 0, x, h, c, wants_c=False)
        w.equation("unit 0", hidden)
        units = [Element("unit", (i,), float(value), "other") for i, value in enumerate(states)]
        weights = [w.derivation.element(cell.project, (unit, i)) for i in range(len(units))]
        return _dot(
            w,
            units,
            weights,
            f"h = W_hr·units: the projection to {cell.project.values.shape[0]} numbers",
            "Σ W_hr·unit",
        )
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
