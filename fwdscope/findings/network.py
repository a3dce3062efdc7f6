"""Findings, the rows as a graph, and the names of rows in a sentence: the base of all checks of a report.

A check is a function from the rows to findings; ``@check`` of its family registers it. It reports only what is certain:
which row feeds which comes from ``LayerRow.sources`` or, if that is unknown, from shapes that allow no other reading.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from fwdscope import units
from fwdscope.report import LayerRow, Report, Shape, multiplicities, parents

BATCH_NORMS = {"BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"}
# Functions that map an input by a weight.
MAPS = frozenset({"linear", "bilinear", "matmul", "embedding", "embedding_bag", *(f"conv{d}d" for d in (1, 2, 3)),
                   *(f"conv_transpose{d}d" for d in (1, 2, 3))})  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing worth a look. A ``warning`` is most likely a mistake, a ``note`` may well be meant.

    ``path`` is the row it is about, as it stands in ``text``; ``advice`` what to do about it.
    """

    level: Literal["note", "warning"]
    text: str
    path: str | None = None
    advice: str | None = None


@dataclass(frozen=True)
class RowGraph:
    """The rows of a report as a graph, for the checks."""

    report: Report

    @property
    def rows(self) -> tuple[LayerRow, ...]:
        """The rows of the report."""
        return self.report.layers

    @cached_property
    def parents(self) -> tuple[int | None, ...]:
        """For each row the index of the one around it."""
        return parents(self.rows)

    @cached_property
    def times(self) -> tuple[int, ...]:
        """How many equal ones each row stands for."""
        return multiplicities(self.rows)

    @cached_property
    def leaves(self) -> tuple[int, ...]:
        """The rows that contain no other, in the order of execution."""
        around = set(self.parents)
        return tuple(index for index in range(len(self.rows)) if index not in around)

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of childless rows in which the second takes the result of the first as its first input."""
        computing = [i for i in self.leaves if self.rows[i].kind != "parameter"]
        before = dict(zip(computing[1:], computing, strict=False))
        found = []
        for second in computing:
            sources = self.rows[second].sources
            first = before.get(second) if sources is None else next(iter(sources), None)
            if first is None or not 0 <= first < len(self.rows):
                continue
            given, result = (self.rows[first].input_shapes[:1], self.rows[first].output_shapes[:1])
            # Without sources the second must read the first if it takes a shape that only the first makes.
            fits = bool(result) and result == self.rows[second].input_shapes[:1]
            if fits and (sources is not None or (given and given != result)):
                found.append((first, second))
        return tuple(found)

    @cached_property
    def readers(self) -> Counter[int] | None:
        """How many rows take each childless row's result; None if the report does not contain it."""
        taken = [self.rows[i].sources for i in self.leaves]
        return None if None in taken else Counter(source for sources in taken for source in set(sources or ()))

    def of_type(self, *types: str) -> Iterator[tuple[int, LayerRow]]:
        """Childless rows of these types, with their index."""
        return ((i, self.rows[i]) for i in self.leaves if self.rows[i].type in types)


Check = Callable[[RowGraph], Iterator[Finding]]


class Checks(list[Check]):
    """The checks of a family, in the order of their findings; a check joins it as a decorator."""

    def __call__(self, function: Check) -> Check:
        """Register a check."""
        self.append(function)
        return function


def parameter(row: LayerRow, name: str) -> Shape | None:
    """The shape of a row's own parameter; None if it has none of this name."""
    return next((tensor.shape for tensor in row.parameters if tensor.name == name), None)


def row_name(row: LayerRow) -> str:
    """A row as a sentence names it: its path, else its text."""
    return row.path or row.text or row.type


def group_name(rows: Sequence[LayerRow], times: int) -> str:
    """Rows of one type, which stand for ``times`` equal ones: by their type, and expressions by the first one's path.

    ``BatchNorm2d × 53``, ``layer1.0.add × 16``, and the path alone of a single row.
    """
    if times == 1 or rows[0].kind == "expression":
        return row_name(rows[0]) + f" × {units.exact(times)}" * (times > 1)
    return f"{rows[0].type} × {units.exact(times)}"


# Names in a sentence take no more characters than this, so that the finding is one line.
MAX_NAMES = 50


def list_names(names: Iterable[str], room: int = MAX_NAMES) -> str:
    """``a, b, c and 4 more``: at most three names, and the first in any case."""
    found = list(dict.fromkeys(names))
    kept = 1
    while kept < min(3, len(found)) and sum(map(len, found[: kept + 1])) + 2 * kept <= room:
        kept += 1
    shown = found[:kept] + [f"{len(found) - kept} more"] * (len(found) > kept)
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
