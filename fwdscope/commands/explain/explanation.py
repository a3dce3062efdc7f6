"""The explanation of one step of the forward pass, as plain data."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from fwdscope.formula import equation
from fwdscope.report import Shape


@dataclass(frozen=True)
class Formula:
    """A figure: its name, its formula in symbols and with numbers inserted, and its value.

    It is ``plain`` if there is nothing to compute: the input has this size, or a setting gives it.
    """

    name: str
    symbols: str
    numbers: str
    value: int
    note: str = ""
    plain: bool = False

    @property
    def text(self) -> str:
        """``⌊(H + 2·padding − kernel_size) / stride⌋ + 1 = ⌊(224 + 2·3 − 7) / 2⌋ + 1 = 112``."""
        return equation(self.symbols, self.numbers, f"{self.value:,}")


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
class OperatorCost:
    """An operator that ran, and its cost; None if it is not counted.

    ``macs_formula`` and ``flops_formula`` give the count in symbols, with numbers inserted, and its value; they are
    empty if the count is zero. ``times`` is the number of equal calls.
    """

    name: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    sizes: tuple[Formula, ...] | None
    macs_formula: str
    flops_formula: str
    macs: int | None
    flops: int | None
    bytes_read: int | None
    bytes_written: int | None
    times: int = 1


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
class Explanation:
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

    def to_json(self) -> dict[str, Any]:
        """The explanation as JSON's own types."""
        return dataclasses.asdict(self)

    def dumps(self) -> str:
        """The explanation as JSON text."""
        return json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"
