"""A comparison in words: the rows that changed, in the tree that contains them, and the totals that changed.

The terminal and Markdown draw the same (:mod:`fwdscope.render.diff`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from fwdscope import units
from fwdscope.commands.diff import BYTES, Comparison, Delta, RowChange
from fwdscope.commands.diff.changes import QUIET
from fwdscope.printable import printable
from fwdscope.render.rows import MOST_ROWS, described
from fwdscope.report import LayerRow, Shape, depth_within

MARKS = {"added": "+", "removed": "−", "changed": "~", "renamed": "=", "moved": "»", "same": " "}
TITLES = {
    "params": "parameters", "trainable_params": "trainable", "active_params": "active parameters",
    "buffers": "in buffers", "macs": "MACs", "flops": "FLOPs", "bytes": "bytes moved", "peak_memory": "peak memory",
    "peak_activations": "peak activations", "kv_cache": "KV cache", "train_flops": "FLOPs of a training step",
    "rank_params": "params of a rank", "rank_param_bytes": "weights of a rank", "rank_macs": "MACs of a rank",
    "rank_flops": "FLOPs of a rank", "rank_memory": "peak memory of a rank", "rank_sent": "bytes sent by a rank",
    "train_memory": "peak memory of a step", "saved_activations": "saved activations", "latency": "latency",
}  # fmt: skip
# Totals that are shown even if they did not change.
_ALWAYS = ("params", "macs")
_EXACT = ("params", "trainable_params", "buffers")


class DiffOptions(NamedTuple):
    """A reader's choices: the levels of nesting to show, and the names of the two."""

    depth: int | None = None
    names: tuple[str, str] | None = None


class Shown(NamedTuple):
    """A row to show: its cells as text, without the figures."""

    change: RowChange
    layer: str
    what: str
    output: str
    remarks: tuple[str, ...] = ()
    folded: int = 0


def shown_rows(compared: Comparison, options: DiffOptions) -> tuple[list[Shown], int, int]:
    """The rows to show, how deep they go, and how deep they could; by default, as deep as fits on a screen."""
    every = _changed(compared.rows)
    depths = [change.depth for change in every]
    deepest = max(depths, default=0)
    depth = options.depth or depth_within(depths, MOST_ROWS)
    shown: list[Shown] = []
    for change in every:
        if change.depth <= depth:
            shown.append(_row(change))
        else:
            shown[-1] = shown[-1]._replace(folded=shown[-1].folded + 1)
    return shown, min(depth, deepest), deepest


def _changed(rows: Sequence[RowChange]) -> list[RowChange]:
    """The rows that changed, and those that contain one. A row that is new or gone stands for all inside it."""
    kept: list[RowChange] = []  # from the last to the first
    for change in reversed(rows):
        inside = []
        while kept and kept[-1].depth > change.depth:
            inside.append(kept.pop())
        if change.kind in ("added", "removed") and all(one.kind == change.kind for one in inside):
            inside = []
        kept += reversed(inside)
        if inside or change.kind != "same":
            kept.append(change)
    return kept[::-1]


def _row(change: RowChange) -> Shown:
    before, after = change.before, change.after
    if before is None or after is None:
        return Shown(change, _label(change.row), described(change.row), _shapes(change.row.output_shapes))
    layer = f"{_label(after)} (was {before.path})" if change.kind == "moved" else _layer(before, after)
    text = _arrow(described(before), described(after)) if {"text", "type"} & set(change.what) else described(after)
    output = _moved_shapes(before.output_shapes, after.output_shapes) if "output_shapes" in change.what else ""
    return Shown(change, layer, text, output, tuple(_remarks(change, before, after)))


def _layer(before: LayerRow, after: LayerRow) -> str:
    """The name, with what changed of it; the numbers of copies follow from how many there are."""
    if before.kind == after.kind == "copies" and before.repeat != after.repeat:
        return f"{printable(after.label)} × {before.repeat:,} → {after.repeat:,}"
    return _arrow(_label(before), _label(after))


def _label(row: LayerRow) -> str:
    return printable(row.label) + (f" × {row.repeat:,}" if row.repeat > 1 else "")


def _arrow(before: str, after: str) -> str:
    """The words that differ, among those that two texts share: ``Conv2d 3×3 → 5×5``, ``12 → 24 × Block``."""
    if before == after:
        return after
    old, new = before.split(" "), after.split(" ")
    head = tail = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    middles = [" ".join(words[head : len(words) - tail]) for words in (old, new)]
    if not all(middles):
        return f"{before or '(unnamed)'} → {after or '(unnamed)'}"
    return " ".join([*new[:head], f"{middles[0]} → {middles[1]}", *new[len(new) - tail :]])


def _shapes(shapes: Sequence[Shape]) -> str:
    return "; ".join(map(units.shape_cell, shapes[:1])) + (f" +{len(shapes) - 1}" if len(shapes) > 1 else "")


def _moved_shapes(before: Sequence[Shape], after: Sequence[Shape]) -> str:
    """The sizes that changed among those that did not: ``1 64→96 112 112``."""
    if not before or not after or len(before[0]) != len(after[0]) or before[0] == after[0]:
        return f"{_shapes(before) or 'none'} → {_shapes(after) or 'none'}"
    sizes = (str(b) if a == b else f"{a}→{b}" for a, b in zip(before[0], after[0], strict=True))
    return " ".join(sizes) + (f" +{len(after) - 1}" if len(after) > 1 else "")


def _remarks(change: RowChange, before: LayerRow, after: LayerRow) -> Iterator[str]:
    what = set(change.what)
    if "output_dtypes" in what:
        yield f"dtype {', '.join(before.output_dtypes)} → {', '.join(after.output_dtypes)}"
    if "receptive_field" in what:
        fields = ["×".join(map(str, row.receptive_field or ())) or "unknown" for row in (before, after)]
        yield f"receptive field {fields[0]} → {fields[1]}"
    if "calls" in what:
        yield f"calls {before.calls:,} → {after.calls:,}"
    if "reads" in what:
        yield f"reads {', '.join(before.reads) or 'nothing'} → {', '.join(after.reads) or 'nothing'}"
    if "trainable_params" in what and "params" not in what:
        yield f"trainable {before.trainable_params:,} → {after.trainable_params:,}"
    if "buffers" in what and "params" not in what:
        yield f"in buffers {before.buffers:,} → {after.buffers:,}"
    figures = {
        "flops": "FLOPs",
        "backward_macs": "backward MACs",
        "bytes_read": "bytes read",
        "bytes_written": "bytes written",
    }
    if what - QUIET <= {*figures, "output_bytes", "saved_activations"}:
        for name, title in figures.items():
            delta = change.delta(name)
            if delta.change:
                share = f" ({percent(delta)})" if delta.ratio is not None else ""
                yield f"{title} {_signed(delta)}{share}"


def _format(name: str) -> Callable[[float], str]:
    if name in _EXACT:
        return lambda value: units.exact(int(value))
    return units.seconds if name == "latency" else units.byte_size if name in BYTES else units.count


def _signed(delta: Delta) -> str:
    change = delta.change or 0
    return f"{'+' if change > 0 else '−'}{_format(delta.name)(abs(change))}" if change else ""


def _before_and_after(delta: Delta) -> tuple[str, str]:
    before, after = ("—" if value is None else _format(delta.name)(value) for value in (delta.before, delta.after))
    return before, after


def percent(delta: Delta) -> str:
    """The change in percent: ``+5.0 %``, ``−100 %``; ``new`` if it was 0."""
    if delta.change is None:
        return ""
    if not delta.change:
        return "="
    if delta.ratio is None:
        return "new"
    size, sign = abs(delta.ratio) * 100, "+" if delta.ratio > 0 else "−"
    if size < 0.05:
        return f"{sign}<0.1 %"
    return f"{sign}{size:,.0f} %" if size >= 99.95 else f"{sign}{size:.1f} %"


def movement(delta: Delta) -> str:
    """A figure before and after in words: ``4.09 G → 8.19 G, +100 %``."""
    part = percent(delta)
    return " → ".join(_before_and_after(delta)) + (f", {part}" if part else "")


def totals(compared: Comparison) -> Iterator[tuple[Delta, str, str, str]]:
    """The totals that changed, as text: before, after, change."""
    both = [report.totals for report in (compared.before, compared.after)]
    # Figures that repeat the number of parameters.
    repeats = set()
    if all(one.params == one.trainable_params for one in both):
        repeats.add("trainable_params")
    if all(one.active_params in (None, one.params) for one in both):
        repeats.add("active_params")
    for delta in compared.totals:
        unknown = delta.before is None and delta.after is None
        equal = delta.before == delta.after and delta.name not in _ALWAYS
        if delta.name in TITLES and not unknown and not equal and delta.name not in repeats:
            yield delta, *_before_and_after(delta), _signed(delta)


def tone(delta: Delta) -> str:
    """``more``, ``less``, or empty for a figure that did not change."""
    return "" if not delta.change else "more" if delta.change > 0 else "less"


def figures_of(shown: Sequence[Shown]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """The figures that changed: name, title, and the change and its percentage for each row."""
    made = []
    titles = {"params": "parameters", "macs": "MACs", "saved_activations": "saved", "latency": "time"}
    for name, title in titles.items():
        deltas = [row.change.delta(name) for row in shown]
        moved = [d.change or 0 for d in deltas]
        if not any(moved):
            continue
        if name == "params":
            sizes = units.count_column([abs(int(change)) for change in moved])
        elif name == "macs":
            sizes = units.shared_counts([abs(int(change)) for change in moved])
        elif name == "saved_activations":
            sizes = [units.byte_size(abs(int(change))) if change else "" for change in moved]
        else:
            sizes = [units.seconds(abs(change)) if change else "" for change in moved]
        signed = [
            f"{'+' if change > 0 else '−'}{text}" if text else "" for change, text in zip(moved, sizes, strict=True)
        ]
        parts = [
            percent(d) if d.change and row.change.before and row.change.after else ""
            for d, row in zip(deltas, shown, strict=True)
        ]
        made.append((name, title, list(zip(signed, parts, strict=True))))
    return made


def names_of(compared: Comparison, options: DiffOptions) -> tuple[str, str]:
    """The names of the two: those asked for, else their files."""
    before, after = options.names or (one.source or one.name for one in (compared.before, compared.after))
    return printable(before), printable(after)


def counts(compared: Comparison) -> str:
    """``3 changed, 1 added, 158 as before``."""
    kinds = [row.kind for row in compared.rows]
    changes = [
        f"{n:,} {kind}" for kind in ("changed", "added", "removed", "renamed", "moved") if (n := kinds.count(kind))
    ]
    same = kinds.count("same")
    return (
        f"{', '.join(changes)}, {same:,} as before"
        if changes
        else f"nothing changed: {units.plural(same, 'row')} as before"
    )


def extent(shown: Sequence[Shown], depth: int, deepest: int) -> str:
    """How deep the rows go, and how many are folded; empty if none is."""
    folded = sum(row.folded for row in shown)
    return (
        f"depth {depth} of {deepest}  ·  {units.plural(folded, 'row')} folded  ·  --depth {deepest} shows all"
        if folded
        else ""
    )


def quiet(compared: Comparison) -> str:
    """How many rows differ only in what follows from others."""
    count = sum(row.kind == "same" and "receptive_field" in row.what for row in compared.rows)
    return f"{units.plural(count, 'other row')} with another receptive field" if count else ""


def legend(shown: Sequence[Shown]) -> str:
    """The meaning of the marks that are used."""
    kinds = {row.change.kind for row in shown}
    texts = [f"{MARKS[kind]} {kind}" for kind in ("changed", "added", "removed", "renamed", "moved") if kind in kinds]
    copies = any((row.change.before and row.change.before.repeat > 1) or row.change.row.repeat > 1 for row in shown)
    return "  ".join([*texts, *["× n  changes are of all copies together"] * copies])
