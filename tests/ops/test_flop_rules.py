"""Every row of the reference table of FLOPs, on a CPU and on meta.

The table, tests/reference/flop_rules.md, spells out the convention operator by operator and was held against XLA's cost
analysis when it was made; each of its rows is a case here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from counting import costs, traced
from paths import TESTS
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  the table says F

TABLE = TESTS / "reference" / "flop_rules.md"


@dataclass(frozen=True)
class Row:
    """An expression, the tensors that it names, and the number of FLOPs that the table gives."""

    expression: str
    tensors: str
    formula: str
    flops: int

    def __str__(self) -> str:
        return f"{self.expression} {self.tensors}"

    def call(self, device: str) -> Callable[[], Any]:
        """The expression as a function, its tensors made beforehand."""
        names = {"torch": torch, "F": F, **_unlisted(self.expression, device), **tensors(self.tensors, device)}
        return lambda: eval(self.expression, names)


def tensors(text: str, device: str) -> dict[str, Tensor]:
    """``a(4, 5), i([7], 'int64')`` as tensors."""
    found: dict[str, Tensor] = {}
    for name, inside in re.findall(r"(\w+)\(((?:[^()])*)\)", text):
        typed = re.fullmatch(r"\[(.*)\], '(\w+)'", inside)
        sizes = [int(size) for size in (typed[1] if typed else inside).split(",") if size.strip()]
        dtype = getattr(torch, typed[2]) if typed else torch.float32
        found[name] = torch.zeros(sizes, dtype=dtype, device=device)
    return found


# Tensors that an expression uses and the table's second column leaves out for want of room.
UNLISTED = {
    "attn_mask=m": {"m": (4, 6)},
    "batch_norm": {"w": (3,), "b": (3,)},
    "lstm_cell": {"wi": (24, 5), "wh": (24, 6), "bi": (24,), "bh": (24,)},
    "gru_cell": {"wh": (18, 6), "bi": (18,), "bh": (18,)},
    "rnn_tanh_cell": {"wh": (6, 6), "bi": (6,), "bh": (6,)},
}


def _unlisted(expression: str, device: str) -> dict[str, Tensor]:
    shapes = next((names for key, names in UNLISTED.items() if key in expression), {})
    return {name: torch.zeros(shape, device=device) for name, shape in shapes.items()}


def rows() -> list[Row]:
    found = []
    for line in TABLE.read_text().splitlines():
        cells = re.match(r"\| `(.*?)` (.*?) \| (.*) = ([\d,]+) \|", line)
        if cells:
            found.append(Row(cells[1], cells[2], cells[3], int(cells[4].replace(",", ""))))
    return found


ROWS = rows()


def test_the_table_is_read_whole() -> None:
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    assert len(ROWS) == len(lines) > 110


@pytest.mark.core
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_an_operator_costs_what_the_table_says(row: Row, device: str) -> None:
    found = costs(traced(row.call(device)))
    assert sum(c.flops for c in found) == row.flops, " ; ".join(c.text for c in found)
