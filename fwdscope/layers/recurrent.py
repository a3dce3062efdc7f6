"""Recurrent layers, which read a sequence step by step, and cells, which are a single step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

from fwdscope.errors import LayerError, Sides
from fwdscope.formula import Shape, Size, Sizes, kept_size, set_size

from .base import Count, Layer, Probability, Whole, inferred, shape_text, value_text

Nonlinearity = Literal["tanh", "relu"]


class _Layers(Layer, abstract=True):
    forward = "(input, hx=None)"
    dtype_rule = "same"
    # How many times hidden_size the rows of the weights are: one for each gate.
    gates: ClassVar[int] = 1
    has_cell_state: ClassVar[bool] = False

    input_size: Count = inferred(dim=-1)
    hidden_size: Count

    def states(self, hx: Any) -> list[tuple[str, Any, int]]:
        """The states of a call, with their names and sizes: hx, or of an LSTM h, perhaps projected, and c."""
        if not self.has_cell_state:
            return [("hx", hx, self.hidden_size)]
        name = type(self).__name__
        if not isinstance(hx, tuple | list) or len(hx) != 2:
            raise LayerError(f"{name} takes two states as hx, found {value_text(hx)}", f"write {name}(…)(x, (h, c))")
        return [("h", hx[0], vars(self).get("proj_size") or self.hidden_size), ("c", hx[1], self.hidden_size)]

    def check_state(self, label: str, state: Any, expected: tuple[int, ...], batch: Sides = ()) -> None:
        """Reject a state with another shape; ``batch`` is the dimension of the input that its own must equal."""
        self.check_tensor(state, label)
        if tuple(state.shape) != expected:
            raise LayerError(
                f"{type(self).__name__}'s {label} must have the shape {expected}, found {shape_text(state.shape)}",
                "the sizes are (num_layers · directions, batch, hidden), the batch second also with batch_first"
                if len(expected) == 3
                else None,
                (*batch, (state, 1)) if state.dim() == 3 and batch and state.shape[1] != expected[1] else (),
            )
        self.check_floating(state, label)

    def parameter_sizes(self, name: str, shape: Shape) -> Sequence[Size]:
        if name.startswith("weight_hr"):
            return tuple(map(kept_size, ("proj_size", "hidden_size"), shape))
        rows = f"{self.gates}·hidden_size" if self.gates > 1 else "hidden_size"
        gates = Size("rows", rows, {"hidden_size": self.hidden_size})
        if re.match(r"bias_[ih]h", name):
            return (gates,)
        if name.startswith("weight_hh"):
            return (gates, kept_size("proj_size" if vars(self).get("proj_size") else "hidden_size", shape[1]))
        if name.startswith("weight_ih"):
            # From the second layer on, the inputs are the states of the layer below.
            return (gates, kept_size("input_size" if re.fullmatch(r"weight_ih(_l0\w*)?", name) else "inputs", shape[1]))
        return ()


class _Stacked(_Layers, abstract=True):
    num_layers: Count = 1


class _Nonlinear(_Stacked, abstract=True):
    nonlinearity: Nonlinearity = "tanh"


class _Recurrent(_Stacked, abstract=True):
    bias: bool = True
    batch_first: bool = False
    dropout: Probability = 0.0
    bidirectional: bool = False

    def validate(self, *inputs: Any) -> None:
        x = inputs[0]
        self.check_dimensions(x, "(N, L, H_in)" if self.batch_first else "(L, N, H_in)", "(L, H_in)")
        if x.shape[1 if self.batch_first and x.dim() == 3 else 0] == 0:
            raise LayerError(
                f"{type(self).__name__} needs a sequence of at least one step, found {shape_text(x.shape)}"
            )
        if len(inputs) > 1 and inputs[1] is not None:
            # The batch is the second dimension of a state, also with batch_first.
            side: Sides = ((x, 0 if self.batch_first else 1),) if x.dim() == 3 else ()
            batch = [int(x.shape[dim]) for _, dim in side]
            for label, state, size in self.states(inputs[1]):
                self.check_state(label, state, (self.num_layers * (1 + self.bidirectional), *batch, size), side)

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        shape, directions = inputs[0], 1 + self.bidirectional
        name = "proj_size" if vars(self).get("proj_size") else "hidden_size"
        size = vars(self)[name]
        names = ("L",) if len(shape) == 2 else ("N", "L") if self.batch_first else ("L", "N")
        steps = tuple(map(kept_size, names, shape))
        features = set_size("features", name, size)
        both = Size("features", f"directions·{name}", {"directions": directions, name: size})
        counts = {"num_layers": self.num_layers, "directions": directions}
        layers = (Size("layers", "num_layers·directions", counts), *(one for one in steps if one.name == "N"))
        states = [(*layers, features), (*layers, set_size("features", "hidden_size", self.hidden_size))]
        return ((*steps, features if directions == 1 else both), *states[: len(outputs) - 1])

    def details(self) -> Iterable[str]:
        if texts := [f"{self.num_layers} layers"] * (self.num_layers > 1) + ["bidirectional"] * self.bidirectional:
            yield ", ".join(texts)


class RNN(_Recurrent, _Nonlinear):
    """A plain recurrent network: each state is computed from the input and the previous state.

    h[t] = tanh(W_ih x[t] + b_ih + W_hh h[t−1] + b_hh), h[−1] = 0 or hx; each layer reads the states of the one below.

    input:   (L, N, H_in), (N, L, H_in) with batch_first=True, or (L, H_in); hx: (layers · D, N, H), D directions
    output:  the last layer's states (L, N, D · H), and the last state of each layer (layers · D, N, H):
             rnn = RNN(64), and below it out, h = rnn
    weights: for each layer and direction weight_ih (H, inputs), weight_hh (H, H), bias_ih and bias_hh (H):
             H · (inputs + H + 2) parameters; inputs is H_in, and D · H from the second layer on
    Elman 1990.
    """

    def details(self) -> Iterable[str]:
        if self.nonlinearity != "tanh":
            yield self.nonlinearity
        yield from super().details()


class LSTM(_Recurrent):
    """A recurrent network with gates and a cell state, which remembers over many steps.

    i, f, o = σ(W x[t] + b + U h[t−1] + b'), one each;  g = tanh(W x[t] + b + U h[t−1] + b')
    c[t] = f · c[t−1] + i · g;  h[t] = o · tanh(c[t])

    input:   (L, N, H_in), (N, L, H_in) with batch_first=True, or (L, H_in); hx: (h, c), each (layers · D, N, H)
    output:  the last layer's h (L, N, D · H), and the last (h, c) of each layer:
             lstm = LSTM(256), and below it out, (h, c) = lstm
    weights: for each layer and direction weight_ih (4H, inputs), weight_hh (4H, H), bias_ih and bias_hh (4H):
             4H · (inputs + H + 2) parameters; inputs is H_in, and D · H from the second layer on
    With proj_size P > 0, h is mapped to size P by weight_hr (P, H). Hochreiter and Schmidhuber 1997.
    """

    gates = 4
    has_cell_state = True

    proj_size: Whole = 0

    def validate(self, *inputs: Any) -> None:
        if self.proj_size >= self.hidden_size:
            raise LayerError(f"proj_size ({self.proj_size}) must be smaller than hidden_size ({self.hidden_size})")
        super().validate(*inputs)


class GRU(_Recurrent):
    """A recurrent network with two gates: how much of the old state to keep, and how much to read.

    r, z = σ(W x[t] + b + U h[t−1] + b'), one each;  n = tanh(W x[t] + b + r · (U h[t−1] + b'))
    h[t] = (1 − z) · n + z · h[t−1]

    input:   (L, N, H_in), (N, L, H_in) with batch_first=True, or (L, H_in); hx: (layers · D, N, H), D directions
    output:  the last layer's states (L, N, D · H), and the last state of each layer: out, h = GRU(64)
    weights: for each layer and direction weight_ih (3H, inputs), weight_hh (3H, H), bias_ih and bias_hh (3H):
             3H · (inputs + H + 2) parameters; inputs is H_in, and D · H from the second layer on
    Cho et al. 2014.
    """

    gates = 3


class _Cell(_Layers, abstract=True):
    input_shapes = ("(N, H_in)", "(H_in)")

    bias: bool = True

    def validate(self, *inputs: Any) -> None:
        batch = tuple(int(size) for size in inputs[0].shape[:-1])
        if len(inputs) > 1 and inputs[1] is not None:
            for label, state, size in self.states(inputs[1]):
                self.check_state(label, state, (*batch, size))

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        batch = (kept_size("N", size) for size in inputs[0][:-1])
        return [(*batch, set_size("features", "hidden_size", self.hidden_size))] * len(outputs)


class RNNCell(_Cell):
    """One step of an RNN: h' = tanh(W_ih x + b_ih + W_hh h + b_hh).

    inputs:  (N, H_in) or (H_in), and the state (N, H) or (H), zeros by default
    output:  the new state (N, H) or (H)
    weights: weight_ih (H, H_in), weight_hh (H, H), bias_ih and bias_hh (H)
    """

    nonlinearity: Nonlinearity = "tanh"


class LSTMCell(_Cell):
    """One step of an LSTM, with its input, forget and output gates and cell state.

    i, f, o = σ(W x + b + U h + b'), one each;  g = tanh(W x + b + U h + b');  c' = f · c + i · g;  h' = o · tanh(c')

    inputs:  (N, H_in) or (H_in), and the states (h, c), (N, H) or (H) each, zeros by default
    output:  the new states: h, c = LSTMCell(256)(x, (h, c))
    weights: weight_ih (4H, H_in), weight_hh (4H, H), bias_ih and bias_hh (4H)
    """

    gates = 4
    has_cell_state = True


class GRUCell(_Cell):
    """One step of a GRU: how much of the old state to keep, and how much to read.

    r, z = σ(W x + b + U h + b'), one each;  n = tanh(W x + b + r · (U h + b'));  h' = (1 − z) · n + z · h

    inputs:  (N, H_in) or (H_in), and the state (N, H) or (H), zeros by default
    output:  the new state (N, H) or (H)
    weights: weight_ih (3H, H_in), weight_hh (3H, H), bias_ih and bias_hh (3H)
    """

    gates = 3
