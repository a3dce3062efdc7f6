"""What a module computes itself between two calls of the modules inside it, and the name of that."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fwdscope.ops.dispatch import OpRecord

# Operators by the names of the functions that people call; others drop what ATen puts around theirs.
_NAMES = {
    "_to_copy": "to",
    "mm": "matmul",
    "bmm": "matmul",
    "mv": "matmul",
    "addmm": "linear",
    "rsub": "sub",
    "_unsafe_view": "view",
    "constant_pad_nd": "pad",
    "max_pool2d_with_indices": "max_pool2d",
}
# A row names so many operators; of more it names the two that cost most.
MOST_NAMES = 3


def operator_name(name: str) -> str:
    """An operator as people write it: add for aten.add_, softmax for aten._softmax."""
    if not name.startswith("aten."):
        return name
    name = name.removeprefix("aten.")
    return _NAMES.get(name) or name.strip("_").removeprefix("native_")


def main_operators(records: Sequence[OpRecord]) -> tuple[str, ...]:
    """The names of the operators that cost something, in order: those with FLOPs, else those that move bytes.

    Of more than three, the two that cost most and ``…``. Operators that no rule counts are always among them.
    """
    flops: dict[str, float] = {}
    moved: dict[str, float] = {}
    for record in records:
        name, figures = operator_name(record.op.name), record.figures
        unknown = math.inf if record.cost is None else 0
        flops[name] = flops.get(name, 0) + figures[1] + unknown
        moved[name] = moved.get(name, 0) + figures[2] + figures[3]
    costs = flops if any(flops.values()) else moved
    names = [name for name in costs if costs[name]] or list(costs)
    if len(names) <= MOST_NAMES:
        return tuple(names)
    most = sorted(names, key=lambda name: -costs[name])[:2]
    return (*(name for name in names if name in most), "…")
