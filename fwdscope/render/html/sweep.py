"""The page of a network at several sizes: curves, a table, and what is known of each combination."""

from __future__ import annotations

from collections.abc import Sequence

from fwdscope.printable import printable
from fwdscope.render import bench, sweep_costs
from fwdscope.render import sweep as timed
from fwdscope.render.html.page import page
from fwdscope.report import median_interval
from fwdscope.report.generation import items
from fwdscope.report.speedup import Speedup
from fwdscope.report.sweep import Sweep


def render(
    sweep: Sweep, compared: Sequence[Speedup | None] = (), title: str | None = None, texts: Sequence[str] = ()
) -> str:
    """The page; ``compared`` has for each point how it compares with an earlier benchmark, ``texts`` come first."""
    latencies = [point.report.run.latency if point.report and point.report.run else None for point in sweep.points]
    is_timed = any(latencies)
    rows = list(timed.timed_rows(sweep, compared)) if is_timed else sweep_costs.cost_rows(sweep)
    name, facts = next(sweep_costs.head(sweep), ("no combination could run", ""))
    notes = timed.notes_of(sweep) if is_timed else sweep_costs.notes_of(sweep)
    knee = [text] if is_timed and (text := timed.knee_of(sweep)) else []
    verdicts = [
        f"{', '.join(map('='.join, point.values))}: {bench.against(one)}"
        for point, one in zip(sweep.points, compared, strict=False)
        if one is not None
    ]
    name = title or name
    words = {
        "name": name,
        "ends": timed.ends_of(sweep),
        "facts": "  ·  ".join([timed.ends_of(sweep), *timed.facts_of_sweep(sweep)]) if is_timed else facts,
        "timed": is_timed,
        "varied": [axis.name for axis in sweep.axes],
        "columns": [column.title for column in timed.columns_of(rows, ())],
        "rows": rows,
        "items": [point.report and items(point.report)[0] for point in sweep.points],
        "unit": next((items(point.report)[1] for point in sweep.points if point.report), "items"),
        "intervals": [one and median_interval(one.times) for one in latencies],
        "messages": [{"level": "note", "text": text} for text in (*texts, *verdicts, *knee, *map(printable, notes))],
        "legend": [] if is_timed else [*sweep_costs.small_print(sweep)],
    }
    return page("sweep", name, sweep.dumps(), words)
