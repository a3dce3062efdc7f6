"""The page of a comparison: both networks side by side, what changed coloured, and a table of the changes."""

from __future__ import annotations

import sys
from typing import Any

from fwdscope.commands.diff import Comparison
from fwdscope.printable import printable
from fwdscope.render import changes
from fwdscope.render.html.page import page

_FIGURES = ("params", "macs", "flops", "latency")


def render(compared: Comparison, options: changes.DiffOptions) -> str:
    """The page."""
    places = [{id(row): index for index, row in enumerate(one.layers)} for one in (compared.before, compared.after)]
    every = {id(change): index for index, change in enumerate(compared.rows)}
    shown, *_ = changes.shown_rows(compared, options._replace(depth=sys.maxsize))
    names = changes.names_of(compared, options)
    figures = changes.figures_of(shown)
    words: dict[str, Any] = {
        "names": names,
        "counts": changes.counts(compared),
        "legend": [changes.legend(shown), changes.quiet(compared)],
        "totals": [
            [
                delta.before,
                delta.after,
                changes.TITLES[delta.name],
                before,
                after,
                change,
                changes.percent(delta),
                changes.tone(delta),
            ]
            for delta, before, after, change in changes.totals(compared)
        ],
        # Of each pair of rows, their places in the two reports, and how they differ.
        "pairs": [
            [places[0].get(id(one.before)), places[1].get(id(one.after)), one.kind, one.depth] for one in compared.rows
        ],
        "columns": [[title, name] for name, title, _ in figures],
        "changes": [
            {
                "pair": every[id(row.change)],
                "layer": row.layer,
                "what": "; ".join(filter(None, (row.what, *row.remarks))),
                "output": row.output,
                "figures": [[*pairs[place], changes.tone(row.change.delta(name))] for name, _, pairs in figures],
            }
            for place, row in enumerate(shown)
        ],
        "deltas": [
            [[delta.before, delta.after] for delta in map(one.delta, _FIGURES)] if one.kind != "same" else None
            for one in compared.rows
        ],
        "messages": [{"level": "note", "text": printable(note)} for note in compared.notes],
        "measure": None,
        "wholes": {},
        "roofs": [],
    }
    both = ", ".join(
        f'"{side}": {one.dumps()}' for side, one in (("before", compared.before), ("after", compared.after))
    )
    return page("diff", " → ".join(names), f"{{{both}}}", words)
