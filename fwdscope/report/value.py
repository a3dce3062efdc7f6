"""How one number of an output came about, as plain data: steps, each an equation with the numbers that went in.

``lean`` fields stand in JSON only where they are not the default.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fwdscope.display import InNotebook

# A value of a tensor: any finite number.
Value = Annotated[float, (-sys.float_info.max, sys.float_info.max)]


def lean(default: Any) -> Any:
    """A field that is left out of JSON where it is the default."""
    return dataclasses.field(default=default, metadata={"lean": True})


@dataclass(frozen=True)
class Element:
    """One number of a tensor: an input of the network, a parameter, an output of a layer, or a result of a step here.

    ``other`` is a number without an address, such as what padding puts in.
    """

    tensor: str
    index: tuple[int, ...]
    value: Value
    kind: Literal["input", "parameter", "layer", "step", "other"]
    # Which of the outputs of the layer it is in.
    output: int = lean(0)

    @property
    def indices(self) -> str:
        """``[0, 3, 5, 5]``; empty for a single number."""
        return f"[{', '.join(map(str, self.index))}]" if self.index else ""

    @property
    def text(self) -> str:
        """``conv1[0, 3, 5, 5]``; of the second output ``lstm:1[0, 3]``."""
        return self.name + self.indices

    @property
    def name(self) -> str:
        """The tensor, with the number of the output but for the first."""
        return f"{self.tensor}:{self.output}" if self.output and self.kind != "step" else self.tensor


@dataclass(frozen=True)
class Equation:
    """A named figure: its formula in symbols, with the numbers inserted, its value, and where the numbers are."""

    name: str
    symbols: str
    numbers: str
    value: Value
    operands: tuple[Element, ...] = lean(())
    note: str = lean("")


Cell = Element | Value | str | None


@dataclass(frozen=True)
class TableRow:
    """Cells under the columns of a table; ``rest`` stands for rows that are left out, with their sums."""

    cells: tuple[Cell, ...]
    kind: Literal["", "marked", "rest"] = lean("")


@dataclass(frozen=True)
class ValueTable:
    """Terms of a sum, or the numbers of a distribution, row by row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


@dataclass(frozen=True)
class Grid:
    """A window of a tensor, or a kernel: the numbers, each with its index behind the indices ``before`` all have.

    A number is None in padding, an index None where the rows or columns have none of their own.
    """

    tensor: str
    kind: str
    output: int
    before: tuple[int, ...]
    rows: tuple[tuple[Value | None, ...], ...]
    down: tuple[int | None, ...]
    across: tuple[int | None, ...]
    marked: tuple[int, int] | None = lean(None)

    @property
    def title(self) -> str:
        """``conv1[0, 3]``."""
        return self.tensor + (f"[{', '.join(map(str, self.before))}]" if self.before else "")

    def largest(self) -> Element | None:
        """The marked number, or the largest one by magnitude, with its address."""
        spots = [(i, j) for i, row in enumerate(self.rows) for j, value in enumerate(row) if value is not None]
        if not spots or self.kind == "other":
            return None
        i, j = self.marked or max(spots, key=lambda spot: abs(self.rows[spot[0]][spot[1]] or 0.0))
        index = (*self.before, *(x for x in (self.down[i], self.across[j]) if x is not None))
        return Element(self.tensor, index, self.rows[i][j] or 0.0, self.kind, self.output)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Subtotal:
    """A named number beside grids."""

    name: str
    value: Value


@dataclass(frozen=True)
class GridRow:
    """Grids side by side, and what they give: the sum of their products, and the sum up to here. ``rest`` stands for
    as many rows that are left out.
    """

    grids: tuple[Grid, ...]
    results: tuple[Subtotal, ...] = lean(())
    rest: int = lean(0)


Part = Equation | ValueTable | GridRow


@dataclass(frozen=True)
class ValueStep:
    """One operator at one element; the last part is the equation that gives it."""

    operator: str
    element: Element
    sentence: str
    parts: tuple[Part, ...]

    @property
    def result(self) -> Equation:
        """The equation that gives the element."""
        last = self.parts[-1]
        assert isinstance(last, Equation)
        return last


@dataclass(frozen=True)
class KeptValue:
    """A number that a strip draws, with the steps that computed it. ``cell`` counts the cells of all panels."""

    cell: int
    element: Element
    steps: tuple[ValueStep, ...]
    notes: tuple[str, ...] = lean(())


@dataclass(frozen=True)
class ValueExplanation(InNotebook):
    """One number of an output, explained by the steps that computed it, in their order.

    ``element`` is its address, with the number that the run gave; ``computed`` is the result of the last step, computed
    in double precision. ``activation`` are steps behind it: the activation that the next row applies.
    """

    element: Element
    computed: float
    text: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    device: str
    seed: int
    # The file that the weights are of; None if they were made from the seed, or are the module's own.
    weights: str | None
    steps: tuple[ValueStep, ...]
    activation: tuple[ValueStep, ...] = ()
    # What a reader has to know, and the step of a block that made the number.
    notes: tuple[str, ...] = ()
    source: str | None = None
    line: int | None = None
    column: int | None = None

    def operands(self) -> Iterator[Element]:
        """The numbers that went in, each once, the last step's first."""
        seen: dict[tuple[str, tuple[int, ...], int], Element] = {}
        for step in reversed(self.steps):
            for part in reversed(step.parts):
                found: tuple[Cell, ...] = ()
                if isinstance(part, Equation):
                    found = part.operands
                elif isinstance(part, ValueTable):
                    found = tuple(cell for row in part.rows for cell in row.cells)
                else:
                    found = tuple(grid.largest() for grid in part.grids)
                for one in found:
                    if isinstance(one, Element):
                        seen.setdefault((one.tensor, one.index, one.output), one)
        yield from seen.values()

    def to_json(self) -> dict[str, Any]:
        """The explanation as JSON's own types; a number that is not finite is a string."""
        return {"format": 1, **_plain(dataclasses.asdict(self))}

    def dumps(self) -> str:
        """The explanation as JSON text."""
        return json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and value - value != 0 else value
