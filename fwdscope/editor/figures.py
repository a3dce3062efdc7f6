"""What a report says beside the lines of its spec: parameters and MACs of a line, of a block, of the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from fwdscope.editor.messages import Lens, LineFigures
from fwdscope.language.tree import ModelSpec
from fwdscope.report import LayerRow, Report, parents
from fwdscope.units import byte_size, count, exact, plural, shape, share

# Steps of one line that are listed under the first.
_MOST_STEPS = 6


class Sums(NamedTuple):
    """The figures of a file or a block that two versions are compared by."""

    params: int
    macs: int


def _times(report: Report) -> list[int]:
    """How often each row stands for the same: the copies around it, and itself."""
    found: list[int] = []
    for row, parent in zip(report.layers, parents(report.layers), strict=True):
        found.append(row.repeat * (found[parent] if parent is not None else 1))
    return found


def line_figures(report: Report) -> dict[int, LineFigures]:
    """The figures of each line, by its number from 1."""
    rows, around = report.layers, parents(report.layers)
    total = report.totals.macs or 0
    found: dict[int, LineFigures] = {}
    first: dict[int, int] = {}
    for i, (row, times) in enumerate(zip(rows, _times(report), strict=True)):
        parent = around[i]
        # A step inside another of the same line, as the members of a stack, is part of it.
        if row.line is None or (parent is not None and rows[parent].line == row.line and row.kind != "copies"):
            continue
        before = found.get(row.line, LineFigures(0, 0, 0.0))
        macs = row.macs or 0
        if row.kind == "copies" and parent is not None and rows[parent].line == row.line:
            continue
        shared = before.share_of_macs + (macs * times / total if total else 0.0)
        if first.setdefault(row.line, i) == i or around[first[row.line]] == parent:
            before = LineFigures(before.params + row.params, before.macs + macs, shared)
        found[row.line] = before._replace(share_of_macs=shared)
    return found


def block_rows(report: Report) -> dict[str, list[tuple[LayerRow, int]]]:
    """The rows of each block of the file by its name, each with how many copies and calls it stands for."""
    found: dict[str, list[tuple[LayerRow, int]]] = {}
    for row, times in zip(report.layers, _times(report), strict=True):
        if row.kind in ("block", "copies"):
            found.setdefault(row.type, []).append((row, times))
    return found


def sums(report: Report) -> dict[str, Sums]:
    """The figures of the file, under "", and of each of its blocks, of all their copies."""
    found = {"": Sums(report.totals.params, report.totals.macs or 0)}
    for name, rows in block_rows(report).items():
        params = sum(row.params * times for row, times in rows)
        found[name] = Sums(params, sum((row.macs or 0) * times for row, times in rows))
    return found


def change(now: Sums, before: Sums | None, since: str) -> str:
    """What changed: ``since HEAD: +1.2 M params, −3.1 % MACs``; nothing where nothing did."""
    if before is None:
        return ""
    params, macs = now.params - before.params, now.macs - before.macs
    parts = [f"{'+' if params > 0 else '−'}{count(abs(params))} params"] if params else []
    if macs and before.macs:
        parts.append(f"{'+' if macs > 0 else '−'}{share(abs(macs) / before.macs)} MACs")
    elif macs:
        parts.append(f"+{count(macs)} MACs")
    return f"since {since}: {', '.join(parts)}" if parts else ""


def lenses(spec: ModelSpec, report: Report, before: Mapping[str, Sums], since: str) -> list[Lens]:
    """The texts above the file and above each of its blocks that runs."""
    now, totals = sums(report), report.totals
    figures = [f"{count(totals.params)} params"]
    figures += [f"{count(totals.macs)} MACs"] if totals.macs is not None else []
    figures += [f"peak {byte_size(totals.peak_memory)}"] if totals.peak_memory is not None else []
    found = [Lens(0, "  ·  ".join(filter(None, (*figures, change(now[""], before.get(""), since)))))]
    rows = block_rows(report)
    for block in spec.blocks:
        if block.name in rows:
            line = spec.source.place(block.span.start)[0] - 1
            text = _of_block(rows[block.name], change(now[block.name], before.get(block.name), since))
            found.append(Lens(line, text, rows[block.name][0][0].path))
    return found


def _of_block(rows: list[tuple[LayerRow, int]], changed: str) -> str:
    def spread(values: Iterable[int], text: str) -> str:
        known = sorted(set(values))
        if not known or known == [0]:
            return ""
        return text.format(count(known[0]) if len(known) == 1 else f"{count(known[0])}–{count(known[-1])}")

    peaks = sorted({row.live_bytes for row, _ in rows if row.live_bytes})
    times = sum(times for _, times in rows)
    parts = [
        f"× {times}" if times > 1 else "",
        spread((row.params for row, _ in rows), "{} params"),
        spread((row.macs for row, _ in rows if row.macs is not None), "{} MACs"),
        f"peak {byte_size(peaks[-1])}" if peaks else "",
        changed,
    ]
    return "  ·  ".join(filter(None, parts))


def line_page(report: Report, line: int) -> str | None:
    """What a report says of the steps of a line, counted from 1, as Markdown; None where nothing runs.

    The first is explained; of others, as where a block is used with other settings, there are the figures.
    """
    rows = [(row, times) for row, times in zip(report.layers, _times(report), strict=True) if row.line == line]
    shown = [pair for i, pair in enumerate(rows) if pair[0].kind != "copies" or i == 0]
    if not shown:
        return None
    found = list(_page(report, *shown[0]))
    others = []
    for row, times in shown[1 : _MOST_STEPS + 1]:
        facts = [f"out `{', '.join(map(shape, row.output_shapes))}`"]
        facts += [f"{count(row.params)} params"] * bool(row.params) + [f"{count(row.macs or 0)} MACs"] * bool(row.macs)
        others.append(f"- **{row.path or row.text}**" + f" × {times}" * (times > 1) + f"  {', '.join(facts)}")
    if len(shown) > _MOST_STEPS + 1:
        others.append(f"- and {len(shown) - _MOST_STEPS - 1} more")
    return "\n".join([*found, *(["", *others] if others else [])])


def _page(report: Report, row: LayerRow, times: int) -> Iterator[str]:
    name = row.path or row.text
    yield f"**{name}** `{row.settings or row.text or row.type}`" + (f" × {times}" if times > 1 else "") + "  "
    made = ", ".join(map(shape, row.output_shapes))
    size = f", {byte_size(row.output_bytes)}" if row.output_bytes else ""
    dtypes = ", ".join(dict.fromkeys(row.output_dtypes))
    taken = ", ".join(map(shape, row.input_shapes))
    yield f"{f'in `{taken}`  →  ' if taken else ''}out `{made}` {dtypes}{size}  "
    total, macs = report.totals.macs, row.macs
    parts = [plural(row.params, "parameter") if row.params < 1000 else f"{exact(row.params)} parameters"] * bool(
        row.params
    )
    if macs:
        parts.append(f"{count(macs)} MACs" + (f" ({share(macs * times / total)} of all)" if total else ""))
    parts += [f"{count(row.flops)} FLOPs"] if row.flops else []
    if parts:
        yield "  ·  ".join(parts) + (", of each copy" if times > 1 else "") + "  "
    formulas = [*row.formulas]
    for operator in row.operators:
        formulas += [f"{operator.name}  {one}" for one in (operator.macs_formula, operator.flops_formula) if one]
    if formulas:
        yield "\n```text\n" + "\n".join(dict.fromkeys(formulas)) + "\n```"
    if row.note:
        yield f"_{row.note}_"
