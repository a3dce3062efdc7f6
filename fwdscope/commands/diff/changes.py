"""What differs between matched rows, and between the totals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fwdscope.display import Paged
from fwdscope.report import STEP_FIGURES, LayerRow, Report
from fwdscope.report.matching import Item, Pair, matched
from fwdscope.report.mesh import RANK_FIGURES, MeshReport
from fwdscope.report.speedup import differences

Kind = Literal["added", "removed", "changed", "renamed", "moved", "same"]

# Figures of a row that add up over copies and over rows.
SUMS = ("params", "trainable_params", "buffers", "macs", "flops", "bytes_read", "bytes_written", "latency",
"backward_macs", "saved_activations")  # fmt: skip
# Those of the backward in a training step: compared where both have one.
_OF_BACKWARD = {"backward_macs": "macs", "saved_activations": "saved_bytes"}
# The other fields that are compared.
FACTS = ("type", "text", "repeat", "calls", "call", "output_shapes", "output_dtypes", "output_bytes",
"receptive_field", "reads", "uncounted")  # fmt: skip
# Fields that change with other rows, or between runs: alone they are no change of a row.
QUIET = frozenset({"receptive_field", "latency"})


@dataclass(frozen=True)
class Delta:
    """A figure before and after; None if it is not known."""

    name: str
    before: float | None
    after: float | None

    @property
    def change(self) -> float | None:
        """The difference."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def ratio(self) -> float | None:
        """The difference relative to before: 0.05 for 5 % more. None if it was 0."""
        return self.change / self.before if self.change is not None and self.before else None


@dataclass(frozen=True)
class RowChange:
    """A row before and after. A removed one has no ``after``, a new one no ``before``.

    ``what`` names the fields in which one copy of each differs; ``deltas`` are of all copies together, so that those of
    the rows inside add up to those of the row around them.
    """

    kind: Kind
    before: LayerRow | None
    after: LayerRow | None
    depth: int
    what: tuple[str, ...]
    deltas: tuple[Delta, ...]

    @property
    def row(self) -> LayerRow:
        """The row after, or before if it was removed."""
        row = self.after or self.before
        assert row is not None
        return row

    def delta(self, name: str) -> Delta:
        """The figure of this name."""
        return next(delta for delta in self.deltas if delta.name == name)

    def to_json(self) -> dict[str, Any]:
        """The change as JSON's own types, with the fields and figures that differ."""
        sides = {"before": self.before, "after": self.after}
        fields = [name for name in self.what if name != "name"]
        return {
            "kind": self.kind,
            **{f"path_{side}": row.path if row else None for side, row in sides.items()},
            "type": self.row.type,
            "repeat": {side: row.repeat if row else None for side, row in sides.items()},
            "fields": {name: {side: getattr(row, name) for side, row in sides.items() if row} for name in fields},
            "totals": {delta.name: _plain(delta) for delta in self.deltas if delta.change},
        }


@dataclass(frozen=True)
class Comparison(Paged):
    """Two reports and what changed from the first to the second.

    ``rows`` are all rows of both in the order of execution, a parent before what it contains.
    """

    before: Report
    after: Report
    totals: tuple[Delta, ...]
    rows: tuple[RowChange, ...]
    # Why the two may not be comparable.
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[RowChange, ...]:
        """The rows that changed."""
        return tuple(row for row in self.rows if row.kind != "same")

    def total(self, name: str) -> Delta:
        """The total of this name. Raises KeyError."""
        return {delta.name: delta for delta in self.totals}[name]

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON's own types: totals, and every row that changed."""
        return {
            "version": 1,
            "before": {"name": self.before.name, "source": self.before.source},
            "after": {"name": self.after.name, "source": self.after.source},
            "totals": {one.name: _plain(one) for one in self.totals if (one.before, one.after) != (None, None)},
            "changes": [change.to_json() for change in self.changes],
            "notes": list(self.notes),
        }


def compare(before: Report, after: Report) -> Comparison:
    """What changed from one report to another."""
    pairs = matched(before.layers, after.layers)
    both = [(a, b) for pair in pairs for one in pair.within() if (a := one.before) and (b := one.after)]
    names = {a.name: b.name for a, b in both if a.name and b.name}
    blocks = {a.row.type: b.row.type for a, b in both if a.children and b.children}
    rows = tuple(change for pair in pairs for change in _changes(pair, 1, names | blocks))
    totals = tuple(Delta(name, _total(before, name), _total(after, name)) for name in FIGURES)
    renamed = [f"the block {one} is now called {other}" for one, other in blocks.items() if one != other]
    return Comparison(before, after, totals, rows, (*renamed, *_notes(before, after)))


def _changes(pair: Pair, depth: int, words: Mapping[str, str]) -> Iterator[RowChange]:
    what = tuple(_differing(pair.before, pair.after, words))
    deltas = tuple(Delta(name, _sum(pair, "before", name), _sum(pair, "after", name)) for name in SUMS)
    before, after = (item.row if item else None for item in (pair.before, pair.after))
    yield RowChange(_kind(pair, what), before, after, depth, what, deltas)
    for child in pair.children:
        yield from _changes(child, depth + 1, words)


def _kind(pair: Pair, what: tuple[str, ...]) -> Kind:
    if pair.before is None:
        return "added"
    if pair.after is None:
        return "removed"
    # A row with another name and the same parent did not move.
    parents = [item.row.path.rpartition(".")[0] for item in (pair.before, pair.after)]
    if pair.moved and (parents[0] != parents[1] or pair.before.name == pair.after.name):
        return "moved"
    differing = set(what) - QUIET
    return "changed" if differing - {"name"} else "renamed" if differing else "same"


def _differing(before: Item | None, after: Item | None, words: Mapping[str, str]) -> Iterator[str]:
    if before is None or after is None:
        return
    if before.name != after.name:
        yield "name"
    for name in (*FACTS, *SUMS):
        one, other = row_figure(before.row, name), row_figure(after.row, name)
        if name in _OF_BACKWARD and None in (one, other):
            continue
        if name in ("text", "reads") or (name == "type" and before.children and after.children):
            # A line that only uses the new name of a layer or a block did not change.
            one, other = _reworded(one, words), _reworded(other, {})
        if one != other:
            yield name


def row_figure(row: LayerRow, name: str) -> Any:
    """A figure or another field of a row; None where it is not known."""
    if (of_backward := _OF_BACKWARD.get(name)) is None:
        return getattr(row, name)
    return None if row.backward is None else getattr(row.backward, of_backward)


def _reworded(text: str | tuple[str, ...], words: Mapping[str, str]) -> str:
    joined = text if isinstance(text, str) else " ".join(text)
    return re.sub(r"[^\W\d]\w*", lambda found: words.get(found[0], found[0]), joined)


def _sum(pair: Pair, side: Literal["before", "after"], name: str) -> float | None:
    """A figure of all copies together; 0 for a new or removed row, without the rows that moved into it or out of it."""
    item: Item | None = getattr(pair, side)
    if item is None:
        return sum(_sum(child, side, name) or 0 for child in pair.children)
    value = row_figure(item.row, name)
    if value is None:
        return None
    away = sum((row_figure(other.row, name) or 0) * other.times for other in pair.away)
    return float(value * item.times - away) if name == "latency" else int(value * item.times - away)


FIGURES = (
    *("params", "trainable_params", "active_params", "buffers", "macs", "flops", "bytes", "bytes_read"),
    *("bytes_written", "param_bytes", "buffer_bytes", "peak_memory", "peak_activations", "kv_cache"),
    *("train_flops", "train_memory", "saved_activations", *RANK_FIGURES, "latency"),
)
# Those in bytes.
BYTES = (
    *("bytes", "bytes_read", "bytes_written", "param_bytes", "buffer_bytes", "peak_memory", "peak_activations"),
    *("kv_cache", "train_memory", "saved_activations", "rank_param_bytes", "rank_memory", "rank_sent"),
)


def _total(report: Report, name: str) -> float | None:
    if name == "latency":
        return report.run.latency.median if report.run and report.run.latency else None
    if name == "bytes":
        read, written = report.totals.bytes_read, report.totals.bytes_written
        return None if read is None or written is None else read + written
    if name in RANK_FIGURES:
        return report.mesh.figures[name] if report.mesh else None
    step = report.training.figures if report.training else {}
    value: float | None = step.get(name) if name in STEP_FIGURES else getattr(report.totals, name)
    return value


def _notes(before: Report, after: Report) -> Iterator[str]:
    """Reasons why two reports may not be comparable."""
    if before.dtype != after.dtype:
        yield f"the dtypes differ: {before.dtype}, then {after.dtype}"
    shapes = [tuple((one.name, one.shape) for one in report.inputs) for report in (before, after)]
    if [s for _, s in shapes[0]] != [s for _, s in shapes[1]]:
        texts = [", ".join(f"{name} {shape}" for name, shape in one) for one in shapes]
        yield f"the inputs differ: {texts[0]}, then {texts[1]}"
    if before.convention != after.convention:
        yield "the two were counted by different conventions"
    runs = [report.run for report in (before, after)]
    if all(run is not None and run.latency is not None for run in runs):
        known = ("model ", "inputs ", "dtype ")
        how = [text for text in differences(before, after, ("first", "then")) if not text.startswith(known)]
        if how:
            yield f"the latencies differ in how they were measured: {'; '.join(how)}"
    steps = [before.training, after.training]
    if steps[0] and steps[1]:
        texts = [f"{step.optimizer} and {step.loss}" for step in steps if step]
        if texts[0] != texts[1]:
            yield f"the training steps differ: {texts[0]}, then {texts[1]}"
    elif any(steps):
        yield f"only the {'first' if steps[0] else 'second'} is of a training step; its forward is in training mode"
    yield from _notes_on_meshes(before.mesh, after.mesh)
    for report, which in ((before, "first"), (after, "second")):
        if report.uncounted:
            yield f"no rule counts {', '.join(report.uncounted)} in the {which}: its costs are at least what is shown"


def _notes_on_meshes(before: MeshReport | None, after: MeshReport | None) -> Iterator[str]:
    if before is not None and after is not None:
        if before.text != after.text:
            yield f"the meshes differ: {before.text}, then {after.text}"
        elif before.plan != after.plan:
            yield "the plans of the mesh differ"
    elif one := before or after:
        yield f"only the {'first' if before else 'second'} is on a mesh, {one.text}"


def _plain(delta: Delta) -> dict[str, Any]:
    return {"before": delta.before, "after": delta.after, "change": delta.change, "ratio": delta.ratio}
