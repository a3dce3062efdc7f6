"""Recurrent layers, which read a sequence step by step, and their single steps, the cells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from .base import (
    Count,
    Layer,
    LayerError,
    Probability,
    Whole,
    check_dimensions,
    check_floating,
    inferred,
    is_tensor,
    shape_text,
    value_text,
)

Nonlinearity = Literal["tanh", "relu"]


class _Recurrent(Layer, abstract=True):
    """What RNN, LSTM and GRU share; ``states`` is how many states they hand from step to step."""

    forward: ClassVar[str] = "(input, hx=None)"
    mixing: ClassVar[Literal["any", "same", "narrower"]] = "same"

    input_size: Count = inferred()
    hidden_size: Count
    num_layers: Count = 1

    def sizes(self, *inputs: Any) -> dict[str, Any]:
        """input_size is the last dimension."""
        return {"input_size": int(inputs[0].shape[-1])}

    def check_sequence(self, x: Any, batch_first: bool) -> None:
        """Refuse all but a sequence or a batch of them, of one step at least."""
        batch = "(N, L, H_in)" if batch_first else "(L, N, H_in)"
        check_dimensions(self, x, batch, "(L, H_in)")
        if x.shape[1 if batch_first and x.dim() == 3 else 0] == 0:
            raise LayerError(
                f"{type(self).__name__} needs a sequence of one step at least, found {shape_text(x.shape)}"
            )

    def state_shape(self, x: Any, batch_first: bool, directions: int, size: int) -> tuple[int, ...]:
        """The shape of a state: the batch is its second dimension, also with batch_first."""
        batch = (int(x.shape[0 if batch_first else 1]),) if x.dim() == 3 else ()
        return (self.num_layers * directions, *batch, size)

    def check_state(self, label: str, state: Any, expected: tuple[int, ...]) -> None:
        """Refuse a state of another shape."""
        name = type(self).__name__
        if not is_tensor(state):
            raise LayerError(f"{name} takes a tensor as {label}, found {value_text(state)}")
        if tuple(state.shape) != expected:
            raise LayerError(
                f"{name}'s {label} must have the shape {expected}, found {shape_text(state.shape)}",
                "the sizes are (num_layers · directions, batch, hidden), the batch second also with batch_first"
                if len(expected) == 3
                else None,
            )
        check_floating(self, state, label)


def _layers(num_layers: int, bidirectional: bool) -> Iterable[str]:
    texts = [f"{num_layers} layers"] * (num_layers > 1) + ["bidirectional"] * bidirectional
    if texts:
        yield ", ".join(texts)


class RNN(_Recurrent):
    """A plain recurrent network: each step's state comes from the input and the state before.

    h[t] = tanh(W_ih x[t] + b_ih + W_hh h[t−1] + b_hh), h[−1] = 0 or hx; each layer reads the states of the one below.

    input:   (L, N, H_in), (N, L, H_in) with batch_first=True, or (L, H_in); hx: (layers · D, N, H), D directions
    output:  the last layer's states (L, N, D · H), and the last state of each layer (layers · D, N, H):
             rnn = RNN(64), and below it out, h = rnn
    weights: for each layer and direction weight_ih (H, inputs), weight_hh (H, H), bias_ih and bias_hh (H):
             H · (inputs + H + 2) parameters; inputs is H_in, from the second layer on D · H
    Elman 1990.
    """

    nonlinearity: Nonlinearity = "tanh"
    bias: bool = True
    batch_first: bool = False
    dropout: Probability = 0.0
    bidirectional: bool = False

    def check(self, *inputs: Any) -> None:
        """Refuse a state that does not fit the input."""
        super().check(*inputs)
        x = inputs[0]
        self.check_sequence(x, self.batch_first)
        if len(inputs) > 1 and inputs[1] is not None:
            shape = self.state_shape(x, self.batch_first, 1 + self.bidirectional, self.hidden_size)
            self.check_state("hx", inputs[1], shape)

    def details(self) -> Iterable[str]:
        """Layers, directions, nonlinearity."""
        if self.nonlinearity != "tanh":
            yield self.nonlinearity
        yield from _layers(self.num_layers, self.bidirectional)


class LSTM(_Recurrent):
    """A recurrent network with gates: a cell state that is kept, added to and read from, so that it remembers long.

    i, f, o = σ(W x[t] + b + U h[t−1] + b'), one each;  g = tanh(W x[t] + b + U h[t−1] + b')
    c[t] = f · c[t−1] + i · g;  h[t] = o · tanh(c[t])

    input:   (L, N, H_in), (N, L, H_in) with batch_first=True, or (L, H_in); hx: (h, c), each (layers · D, N, H)
    output:  the last layer's h (L, N, D · H), and the last (h, c) of each layer:
             lstm = LSTM(256), and below it out, (h, c) = lstm
    weights: for each layer and direction weight_ih (4H, inputs), weight_hh (4H, H), bias_ih and bias_hh (4H):
             4H · (inputs + H + 2) parameters; inputs is H_in, from the second layer on D · H
    With proj_size P > 0, h is mapped to size P by weight_hr (P, H). Hochreiter and Schmidhuber 1997.
    """

    bias: bool = True
    batch_first: bool = False
    dropout: Probability = 0.0
    bidirectional: bool = False
    proj_size: Whole = 0

    def check(self, *inputs: Any) -> None:
        """Refuse states that do not fit the input, and a projection that is no smaller than the state."""
        super().check(*inputs)
        x = inputs[0]
        self.check_sequence(x, self.batch_first)
        if self.proj_size >= self.hidden_size:
            raise LayerError(f"proj_size ({self.proj_size}) must be smaller than hidden_size ({self.hidden_size})")
        if len(inputs) > 1 and inputs[1] is not None:
            h, c = _pair(self, inputs[1])
            directions = 1 + self.bidirectional
            size = self.proj_size or self.hidden_size
            self.check_state("h", h, self.state_shape(x, self.batch_first, directions, size))
            self.check_state("c", c, self.state_shape(x, self.batch_first, directions, self.hidden_size))

    def details(self) -> Iterable[str]:
        """Layers, directions."""
        return _layers(self.num_layers, self.bidirectional)


def _pair(layer: Layer, hx: Any) -> tuple[Any, Any]:
    name = type(layer).__name__
    if not isinstance(hx, tuple | list) or len(hx) != 2:
        raise LayerError(f"{name} takes two states as hx, found {value_text(hx)}", f"write {name}(…)(x, (h, c))")
    return hx[0], hx[1]


class GRU(_Recurrent):
    """A recurrent network with two gates: how much of the old state is kept, and how much of it is read.

    r, z = σ(W x[t] + b + U h[t−1] + b'), one each;  n = tanh(W x[t] + b + r · (U h[t−1] + b'))
    h[t] = (1 − z) · n + z · h[t−1]

    input:   (L, N, H_in), (N, L, H_in) with batch_first=True, or (L, H_in); hx: (layers · D, N, H), D directions
    output:  the last layer's states (L, N, D · H), and the last state of each layer: out, h = GRU(64)
    weights: for each layer and direction weight_ih (3H, inputs), weight_hh (3H, H), bias_ih and bias_hh (3H):
             3H · (inputs + H + 2) parameters; inputs is H_in, from the second layer on D · H
    Cho et al. 2014.
    """

    bias: bool = True
    batch_first: bool = False
    dropout: Probability = 0.0
    bidirectional: bool = False

    def check(self, *inputs: Any) -> None:
        """Refuse a state that does not fit the input."""
        super().check(*inputs)
        x = inputs[0]
        self.check_sequence(x, self.batch_first)
        if len(inputs) > 1 and inputs[1] is not None:
            shape = self.state_shape(x, self.batch_first, 1 + self.bidirectional, self.hidden_size)
            self.check_state("hx", inputs[1], shape)

    def details(self) -> Iterable[str]:
        """Layers, directions."""
        return _layers(self.num_layers, self.bidirectional)


class _Cell(Layer, abstract=True):
    """One step of one layer."""

    forward: ClassVar[str] = "(input, hx=None)"
    mixing: ClassVar[Literal["any", "same", "narrower"]] = "same"

    input_size: Count = inferred()
    hidden_size: Count
    bias: bool = True

    def check(self, *inputs: Any) -> None:
        """Refuse all but a vector or a batch of them, and states that do not fit it."""
        super().check(*inputs)
        x = inputs[0]
        check_dimensions(self, x, "(N, H_in)", "(H_in)")
        expected = (*(int(size) for size in x.shape[:-1]), self.hidden_size)
        hx = inputs[1] if len(inputs) > 1 else None
        for label, state in self.states(hx):
            if not is_tensor(state):
                raise LayerError(f"{type(self).__name__} takes a tensor as {label}, found {value_text(state)}")
            if tuple(state.shape) != expected:
                raise LayerError(
                    f"{type(self).__name__}'s {label} must have the shape {expected}, found {shape_text(state.shape)}"
                )
            check_floating(self, state, label)

    def states(self, hx: Any) -> list[tuple[str, Any]]:
        """The states that were given, with their names."""
        return [] if hx is None else [("hx", hx)]

    def sizes(self, *inputs: Any) -> dict[str, Any]:
        """input_size is the last dimension."""
        return {"input_size": int(inputs[0].shape[-1])}


class RNNCell(_Cell):
    """One step of an RNN: h' = tanh(W_ih x + b_ih + W_hh h + b_hh).

    inputs:  (N, H_in) or (H_in), and the state (N, H) or (H), zeros where left out
    output:  the new state (N, H) or (H)
    weights: weight_ih (H, H_in), weight_hh (H, H), bias_ih and bias_hh (H)
    """

    nonlinearity: Nonlinearity = "tanh"


class LSTMCell(_Cell):
    """One step of an LSTM: input, forget and output gate, and the cell state.

    i, f, o = σ(W x + b + U h + b'), one each;  g = tanh(W x + b + U h + b');  c' = f · c + i · g;  h' = o · tanh(c')

    inputs:  (N, H_in) or (H_in), and the states (h, c), (N, H) or (H) each, zeros where left out
    output:  the new states: h, c = LSTMCell(256)(x, (h, c))
    weights: weight_ih (4H, H_in), weight_hh (4H, H), bias_ih and bias_hh (4H)
    """

    def states(self, hx: Any) -> list[tuple[str, Any]]:
        """h and c."""
        return [] if hx is None else list(zip(("h", "c"), _pair(self, hx), strict=True))


class GRUCell(_Cell):
    """One step of a GRU: how much of the old state is kept, and how much of it is read.

    r, z = σ(W x + b + U h + b'), one each;  n = tanh(W x + b + r · (U h + b'));  h' = (1 − z) · n + z · h

    inputs:  (N, H_in) or (H_in), and the state (N, H) or (H), zeros where left out
    output:  the new state (N, H) or (H)
    weights: weight_ih (3H, H_in), weight_hh (3H, H), bias_ih and bias_hh (3H)
    """
