"""The report as indented plain text without a table, for pasting into a message or a comment in code."""

from __future__ import annotations

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render import mesh, summary, training
from fwdscope.render.rows import AT_LEAST, FIGURES, Options, ShownRow, again, described, is_broken, named, view_for
from fwdscope.report import Report


def render(report: Report, options: Options) -> str:
    """A line ``name: Type (shape) params, MACs`` for each row, indented by its level, between name and totals."""
    seen = view_for(report, options)
    lines = [
        f"{printable(report.name)}: {summary.flow(report)}".removesuffix(": "),
        *filter(None, [summary.values(report)]),
    ]
    lines += filter(None, ["  ·  ".join(summary.ran_on(report))])
    lines += map(_line, seen.rows)
    sums = "  ·  ".join(filter(None, [*summary.totals(report), summary.active(report)]))
    memory = "  ·  ".join(
        filter(None, [summary.memory(report), summary.measured_memory(report), *summary.kept(report)])
    )
    times, costs = ("  ·  ".join(texts) for texts in (summary.times(report), summary.costs(report)))
    lines += [text for text in (times, sums, costs, memory) if text]
    lines += filter(None, ["  ·  ".join(texts) for texts in (training.costs(report), training.memory(report))])
    lines += mesh.texts(report)
    lines += [text for text in (summary.convention(report), summary.extent(seen)) if text]
    lines += [text for text in (summary.broken(report), summary.uncounted(report), training.uncounted(report))
              if text]  # fmt: skip
    lines += [*summary.shortfalls(report), *summary.folded_promises(seen)]
    lines += [f"note: {note}" for note in summary.notes(report, (*seen.rows, *seen.folded))]
    return "\n".join(lines) + "\n"


def _line(shown: ShownRow) -> str:
    row = shown.row
    count = shown.times if shown.flat else row.repeat
    label = named(row) if shown.flat else printable(row.label)
    head = f"{label}{f' × {count}' if count > 1 else ''}: " if label else ""
    shapes = ", ".join(map(units.shape, row.output_shapes))
    each = " each" if row.repeat > 1 and not shown.flat else ""
    # Statistics are of all copies together.
    values = summary.spread(row.stats) if row.stats else ""
    broken = summary.broken_promise(row.promise) if row.promise and is_broken(row) else ""
    what = "" if shown.flat and not row.path else f"{described(row)}{again(row)}"
    pieces = (f"{head}{what}", shapes, f"{_figures(shown)}{each}" if _figures(shown) else "", values, broken)
    return "  " * (shown.level + 1) + "  ".join(piece for piece in pieces if piece)


def _figures(shown: ShownRow) -> str:
    """``4,722,432 params, 4.83 G MACs``; nothing for none, and ``? MACs`` for operators without a rule.

    After a run also the time.
    """
    params, macs = shown.amount(FIGURES["params"]), shown.amount(FIGURES["macs"])
    texts = [f"{units.exact(int(params))} params"] if params else []
    if shown.row.uncounted:
        texts.append(f"{AT_LEAST}{units.count(macs)} MACs" if macs else "? MACs")
    elif macs:
        texts.append(f"{units.count(macs)} MACs")
    time = shown.amount(FIGURES["latency"])
    texts += [units.seconds(time)] if time is not None else []
    return ", ".join(texts)
