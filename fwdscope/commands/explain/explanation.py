"""What is told of one step of the forward pass, as plain data."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from fwdscope.formula import equation
from fwdscope.report import Shape


@dataclass(frozen=True)
class Formula:
    """A figure: what it is of, its formula, the formula with the numbers put in, and its value.

    ``plain`` says that there is nothing to compute: a size that stays as it came in, or one that a setting gives.
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
class Incoming:
    """A tensor that comes in, and the step whose result it is; None where it is not known which."""

    shape: Shape
    dtype: str
    name: str = ""
    source: str | None = None


@dataclass(frozen=True)
class Result:
    """A tensor that comes out; ``sizes`` is None where no formula of its shape is known."""

    shape: Shape
    dtype: str
    bytes: int
    sizes: tuple[Formula, ...] | None = None


@dataclass(frozen=True)
class Weight:
    """A parameter or a buffer of the layer; ``shared`` is where else it is used under another path."""

    name: str
    shape: Shape
    dtype: str
    count: Formula
    bytes: int
    trainable: bool = True
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class OperatorCost:
    """An operator that ran, and its cost; None where no rule knows it.

    ``macs_formula`` and ``flops_formula`` give the count in symbols, with the numbers put in, and its value; empty
    where there is nothing of the kind to compute.
    ``times`` is how many calls were the same.
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
class Part:
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
    inputs: tuple[Incoming, ...]
    outputs: tuple[Result, ...]
    parameters: tuple[Weight, ...]
    buffers: tuple[Weight, ...]
    operators: tuple[OperatorCost, ...]
    parts: tuple[Part, ...]
    params: int
    macs: int
    flops: int
    bytes_read: int
    bytes_written: int
    output_bytes: int
    # Operators here or inside that no rule knows; the figures are then at least so much.
    uncounted: tuple[str, ...] = ()
    receptive_field: Shape | None = None
    source: str | None = None
    line: int | None = None
    column: int | None = None
    # How often the layer is called in one forward, and the MACs and FLOPs of all its calls.
    calls: int = 1
    macs_of_calls: int = 0
    flops_of_calls: int = 0
    # Other steps on the same line of the file.
    beside: tuple[str, ...] = ()
    # The steps whose results come in, and the tensors of layers elsewhere that it reads.
    sources: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    note: str | None = None

    @property
    def title(self) -> str:
        """Its path and what it is: ``conv1  ·  Conv2d 7×7 /2``."""
        return "  ·  ".join(dict.fromkeys(filter(None, (self.path, self.text or self.type))))

    def to_json(self) -> dict[str, Any]:
        """The explanation as JSON's own types."""
        return dataclasses.asdict(self)

    def dumps(self) -> str:
        """The explanation as JSON text."""
        return json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"
