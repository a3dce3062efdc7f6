"""What a comparison says, in words: the rows that changed in the tree that holds them, the totals that moved.

The terminal and Markdown draw the same (:mod:`fwdscope.render.diff`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from fwdscope import units
from fwdscope.commands.diff import Comparison, Delta, RowChange
from fwdscope.commands.diff.changes import QUIET
from fwdscope.render.rows import MOST_ROWS, printable
from fwdscope.report import LayerRow, Report, Shape

MARKS = {"added": "+", "removed": "−", "changed": "~", "renamed": "=", "moved": "»", "same": " "}
TITLES = {
    "params": "parameters", "trainable_params": "trainable", "active_params": "active parameters",
    "buffers": "in buffers", "macs": "MACs", "flops": "FLOPs", "bytes": "bytes moved", "peak_memory": "peak memory",
    "peak_activations": "peak activations", "latency": "latency",
}  # fmt: skip
# Totals that stand in the table also where they did not move.
_ALWAYS = ("params", "macs")
_BYTES = ("bytes", "peak_memory", "peak_activations")


@dataclass(frozen=True)
class DiffOptions:
    """What a reader may choose: the levels of nesting to show, and what the two are called."""

    depth: int | None = None
    names: tuple[str, str] | None = None


@dataclass(frozen=True)
class Shown:
    """A row as it is shown: its cells in words, the figures apart."""

    change: RowChange
    layer: str
    what: str
    output: str
    remarks: tuple[str, ...] = ()
    folded: int = 0


# --- the rows that are shown -----------------------------------------------------------------------------------------


@dataclass
class _Node:
    """A row that changed, or that holds one."""

    change: RowChange
    children: list[_Node] = field(default_factory=list)

    def count(self) -> int:
        """How many rows there are here and inside."""
        return 1 + sum(child.count() for child in self.children)


def _tree(rows: Sequence[RowChange]) -> list[_Node]:
    """The rows that changed in those that hold them. What is inside a new row, or one that is gone, is not said."""
    roots: list[_Node] = []
    open_nodes: list[_Node] = []
    for change in rows:
        node = _Node(change)
        while len(open_nodes) >= change.depth:
            open_nodes.pop()
        (open_nodes[-1].children if open_nodes else roots).append(node)
        open_nodes.append(node)
    return [kept for node in roots if (kept := _pruned(node))]


def _pruned(node: _Node) -> _Node | None:
    children = [kept for child in node.children if (kept := _pruned(child))]
    kind = node.change.kind
    if kind in ("added", "removed") and all(child.change.kind == kind and not child.children for child in children):
        children = []
    return _Node(node.change, children) if children or kind != "same" else None


def shown_rows(compared: Comparison, options: DiffOptions) -> tuple[list[Shown], int, int]:
    """The rows to show, the depth they go to, and how deep they could go."""
    nodes = _tree(compared.rows)
    deepest = max((node.change.depth for node in _all(nodes)), default=0)
    depth = options.depth or _depth_that_fits(nodes, deepest)
    return list(_cut(nodes, depth)), min(depth, deepest), deepest


def _all(nodes: Sequence[_Node]) -> Iterator[_Node]:
    for node in nodes:
        yield node
        yield from _all(node.children)


def _depth_that_fits(nodes: Sequence[_Node], deepest: int) -> int:
    """As many levels as fit on about a screen."""
    depths = [node.change.depth for node in _all(nodes)]
    fitting = [d for d in range(1, deepest + 1) if sum(depth <= d for depth in depths) <= MOST_ROWS]
    return max(fitting, default=1)


def _cut(nodes: Sequence[_Node], depth: int) -> Iterator[Shown]:
    for node in nodes:
        inside = node.change.depth < depth
        yield _row(node.change, 0 if inside else node.count() - 1)
        if inside:
            yield from _cut(node.children, depth)


# --- a row in words --------------------------------------------------------------------------------------------------


def _row(change: RowChange, folded: int) -> Shown:
    before, after = change.before, change.after
    both = (before, after) if before and after else (change.row, change.row)
    layer = _layer(*both)
    if change.kind == "moved" and before and after:
        layer = f"{_label(after)} (was {before.path})"
    text = _arrow(*map(_said, both)) if {"text", "type"} & set(change.what) else _said(change.row)
    output = ""
    if not before or not after:
        output = _shapes(change.row.output_shapes)
    elif "output_shapes" in change.what:
        output = _moved_shapes(before.output_shapes, after.output_shapes)
    remarks = tuple(_remarks(change)) if before and after else ()
    return Shown(change, layer, text, output, remarks, folded)


def _layer(before: LayerRow, after: LayerRow) -> str:
    """The name as it is; the numbers of copies follow from how many there are."""
    if before.kind == after.kind == "copies" and before.repeat != after.repeat:
        return f"{printable(after.label)} × {before.repeat:,} → {after.repeat:,}"
    return _arrow(_label(before), _label(after))


def _label(row: LayerRow) -> str:
    return printable(row.label) + (f" × {row.repeat:,}" if row.repeat > 1 else "")


def _said(row: LayerRow) -> str:
    return printable(row.text or row.type)


def _arrow(before: str, after: str) -> str:
    """What differs of two texts among the words that they share: ``Conv2d 3×3 → 5×5``, ``12 → 24 × Block``."""
    if before == after:
        return after
    old, new = before.split(" "), after.split(" ")
    head = _shared(old, new)
    tail = _shared(old[head:][::-1], new[head:][::-1])
    middles = [" ".join(words[head : len(words) - tail]) for words in (old, new)]
    if not all(middles):
        return f"{before or '(unnamed)'} → {after or '(unnamed)'}"
    return " ".join([*new[:head], f"{middles[0]} → {middles[1]}", *new[len(new) - tail :]])


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many of the first words are the same."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _shapes(shapes: Sequence[Shape]) -> str:
    return "; ".join(map(units.shape_cell, shapes[:1])) + (f" +{len(shapes) - 1}" if len(shapes) > 1 else "")


def _moved_shapes(before: Sequence[Shape], after: Sequence[Shape]) -> str:
    """The sizes that moved among those that did not: ``1 64→96 112 112``."""
    if not before or not after or len(before[0]) != len(after[0]) or before[0] == after[0]:
        return f"{_shapes(before) or 'none'} → {_shapes(after) or 'none'}"
    sizes = (str(b) if a == b else f"{a}→{b}" for a, b in zip(before[0], after[0], strict=True))
    return " ".join(sizes) + (f" +{len(after) - 1}" if len(after) > 1 else "")


def _remarks(change: RowChange) -> Iterator[str]:
    """What moved beside what the columns say."""
    before, after = change.before, change.after
    assert before is not None
    assert after is not None
    if "output_dtypes" in change.what:
        yield f"dtype {', '.join(before.output_dtypes)} → {', '.join(after.output_dtypes)}"
    if "receptive_field" in change.what:
        yield f"receptive field {_field(before)} → {_field(after)}"
    if "calls" in change.what:
        yield f"calls {before.calls:,} → {after.calls:,}"
    if "reads" in change.what:
        yield f"reads {', '.join(before.reads) or 'nothing'} → {', '.join(after.reads) or 'nothing'}"
    if "trainable_params" in change.what and "params" not in change.what:
        yield f"trainable {before.trainable_params:,} → {after.trainable_params:,}"
    if "buffers" in change.what and "params" not in change.what:
        yield f"in buffers {before.buffers:,} → {after.buffers:,}"
    if set(change.what) - QUIET <= {"bytes_read", "bytes_written", "flops", "output_bytes"} - {"output_shapes"}:
        sums = [change.delta(name) for name in ("flops", "bytes_read", "bytes_written")]
        for delta in sums:
            if delta.change:
                yield f"{_FIGURE_WORDS[delta.name]} {_signed(delta, _amount(delta.name))}{_percent_behind(delta)}"


_FIGURE_WORDS = {"flops": "FLOPs", "bytes_read": "bytes read", "bytes_written": "bytes written"}


def _field(row: LayerRow) -> str:
    return "×".join(map(str, row.receptive_field)) if row.receptive_field else "unknown"


# --- figures ---------------------------------------------------------------------------------------------------------


def _amount(name: str) -> Callable[[float], str]:
    if name == "latency":
        return _time
    return units.byte_size if name in (*_BYTES, "bytes_read", "bytes_written") else units.count


def _time(seconds: float) -> str:
    return units.seconds(seconds)


def _signed(delta: Delta, text: Callable[[float], str]) -> str:
    return f"{'+' if (delta.change or 0) > 0 else '−'}{text(abs(delta.change or 0))}"


def percent(delta: Delta) -> str:
    """The change in percent: ``+5.0 %``, ``−100 %``; of what was nothing it is new."""
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
    amount = _exact if delta.name in ("params", "trainable_params", "buffers") else _amount(delta.name)
    before, after = ("—" if value is None else amount(value) for value in (delta.before, delta.after))
    part = percent(delta)
    return f"{before} → {after}" + (f", {part}" if part else "")


def _percent_behind(delta: Delta) -> str:
    text = percent(delta)
    return f" ({text})" if text not in ("", "new") else ""


def totals(compared: Comparison) -> Iterator[tuple[Delta, str, str, str]]:
    """The totals that moved, with their words: before, after, change."""
    for delta in compared.totals:
        if delta.name not in TITLES or (delta.before is None and delta.after is None):
            continue
        if delta.before == delta.after and delta.name not in _ALWAYS:
            continue
        if delta.name == "trainable_params" and _as_many(compared):
            continue
        if delta.name == "active_params" and _same_as_params(compared):
            continue
        amount = _exact if delta.name in ("params", "trainable_params", "buffers") else _amount(delta.name)
        before, after = ("—" if value is None else amount(value) for value in (delta.before, delta.after))
        change = "" if delta.change is None else _signed(delta, amount) if delta.change else ""
        yield delta, before, after, change


def tone(delta: Delta) -> str:
    """``more``, ``less``, or nothing where a figure did not move."""
    return "" if not delta.change else "more" if delta.change > 0 else "less"


def _exact(value: float) -> str:
    return units.exact(int(value))


def _as_many(compared: Comparison) -> bool:
    return all(one.totals.params == one.totals.trainable_params for one in (compared.before, compared.after))


def _same_as_params(compared: Comparison) -> bool:
    return all(one.totals.active_params in (None, one.totals.params) for one in (compared.before, compared.after))


def figures_of(shown: Sequence[Shown]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Name, title, and of each row the change and its percent, for the figures that moved."""
    made = []
    for name, title in (("params", "parameters"), ("macs", "MACs"), ("latency", "time")):
        deltas = [row.change.delta(name) for row in shown]
        moved = [d.change or 0 for d in deltas]
        if not any(moved):
            continue
        if name == "params":
            sizes = units.count_column([abs(int(change)) for change in moved])
        elif name == "macs":
            sizes = units.shared_counts([abs(int(change)) for change in moved])
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


# --- sentences -------------------------------------------------------------------------------------------------------


def names_of(compared: Comparison, options: DiffOptions) -> tuple[str, str]:
    """What the two are called: as they were asked for, else their files."""
    both = options.names or (_source(compared.before), _source(compared.after))
    return printable(both[0]), printable(both[1])


def _source(report: Report) -> str:
    return report.source or report.name


def counts(compared: Comparison) -> str:
    """``3 changed, 1 added, 158 as before``."""
    kinds = [row.kind for row in compared.rows]
    words = [(kinds.count(kind), kind) for kind in ("changed", "added", "removed", "renamed", "moved")]
    said = [f"{count:,} {word}" for count, word in words if count]
    same = kinds.count("same")
    if not said:
        return f"nothing changed: {units.plural(same, 'row')} as before"
    return f"{', '.join(said)}, {same:,} as before"


def extent(shown: Sequence[Shown], depth: int, deepest: int) -> str:
    """How deep the rows go, and how many are folded; empty where none is."""
    folded = sum(row.folded for row in shown)
    return (
        f"depth {depth} of {deepest}  ·  {units.plural(folded, 'row')} folded  ·  --depth {deepest} shows all"
        if folded
        else ""
    )


def quiet(compared: Comparison) -> str:
    """How many rows differ in what follows from others alone."""
    count = sum(row.kind == "same" and "receptive_field" in row.what for row in compared.rows)
    return f"{units.plural(count, 'other row')} with another receptive field" if count else ""


def legend(shown: Sequence[Shown]) -> str:
    """The marks that are used, in words."""
    words = {"~": "changed", "+": "added", "−": "removed", "=": "renamed", "»": "moved"}
    used = dict.fromkeys(MARKS[row.change.kind] for row in shown)
    texts = [f"{mark} {words[mark]}" for mark in words if mark in used]
    copies = any((row.change.before and row.change.before.repeat > 1) or row.change.row.repeat > 1 for row in shown)
    return "  ".join([*texts, *["× n  changes are of all copies together"] * copies])
