"""The explanation of one step of the forward pass, as plain data."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from fwdscope.display import InNotebook
from fwdscope.formula import Formula
from fwdscope.report import Backward, CachedTensor, OperatorCost, Shape


@dataclass(frozen=True)
class InputTensor:
    """A tensor that goes into the step, and the step that made it; None if that is not known."""

    shape: Shape
    dtype: str
    name: str = ""
    source: str | None = None


@dataclass(frozen=True)
class OutputTensor:
    """A result of the step; ``sizes`` is None if no formula of its shape is known."""

    shape: Shape
    dtype: str
    bytes: int
    sizes: tuple[Formula, ...] | None = None


@dataclass(frozen=True)
class Weight:
    """A parameter or a buffer of the layer; ``shared`` lists the other paths where it is used."""

    name: str
    shape: Shape
    dtype: str
    count: Formula
    bytes: int
    trainable: bool = True
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class InnerStep:
    """A step inside a block, with the sums over all inside it; ``times`` equal ones in a row are one."""

    path: str
    text: str
    params: int
    macs: int
    flops: int
    times: int = 1


@dataclass(frozen=True)
class FigureFormula:
    """A figure of the layer in the spec's vars, for reading and as Python."""

    figure: str
    text: str
    python: str


@dataclass(frozen=True)
class Explanation(InNotebook):
    """One step of the forward pass, explained. Counts are elements, sizes bytes, of one call."""

    path: str
    type: str
    text: str
    kind: str
    sentence: str
    inputs: tuple[InputTensor, ...]
    outputs: tuple[OutputTensor, ...]
    parameters: tuple[Weight, ...]
    buffers: tuple[Weight, ...]
    operators: tuple[OperatorCost, ...]
    parts: tuple[InnerStep, ...]
    params: int
    macs: int
    flops: int
    bytes_read: int
    bytes_written: int
    output_bytes: int
    # Operators here or inside that are not counted; the figures are then lower bounds.
    uncounted: tuple[str, ...] = ()
    receptive_field: Shape | None = None
    source: str | None = None
    line: int | None = None
    column: int | None = None
    # The number of calls of the layer in one forward, and the MACs and FLOPs of all of them.
    calls: int = 1
    macs_of_calls: int = 0
    flops_of_calls: int = 0
    # Other steps on the same line of the file.
    beside: tuple[str, ...] = ()
    # The steps whose results go in, and the tensors of other layers that it reads.
    sources: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    note: str | None = None
    # What it keeps between steps of generation, here and inside, each with how many are alike.
    cached: tuple[tuple[CachedTensor, int], ...] = ()
    # The formats that weights and caches are stored in, of which bytes are then.
    weights_format: str | None = None
    cache_format: str | None = None
    # Its backward in a training step, here and inside, and the operators of that as those of the forward.
    backward: Backward | None = None
    backward_operators: tuple[OperatorCost, ...] = ()
    # Its figures in the spec's vars, and the values of these that they were checked for; empty if they are not known.
    formulas: tuple[FigureFormula, ...] = ()
    checked: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The explanation as JSON's own types."""
        return dataclasses.asdict(self)

    def dumps(self) -> str:
        """The explanation as JSON text."""
        return json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"
