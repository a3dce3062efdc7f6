"""A benchmark on real ranks: what each measured, and the collectives that were predicted beside those counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render.lines import Line, paragraph
from fwdscope.render.rows import BROKEN, UNKNOWN
from fwdscope.render.table import Cell, Column, lay_out
from fwdscope.report import Report
from fwdscope.report.mesh import CollectiveKind
from fwdscope.report.ranks import RankRun, Traffic, slowest_rank, traffic_of

_LEGEND = (
    "a repeat begins when all ranks are ready; hidden is what of the collectives runs while the rank computes, "
    "in passes of their own under torch's profiler"
)


def lines(report: Report, width: int) -> Iterator[Line]:
    """The ranks of a benchmark, the slowest marked, and their traffic."""
    ranks = report.run.ranks if report.run else ()
    if not ranks:
        return
    over = f" over {report.mesh.text}" if report.mesh is not None else ""
    yield ((f"{units.plural(len(ranks), 'rank')}{over}", "bold"),)
    yield from lay_out(_columns(ranks), width).lines()
    yield from paragraph(_LEGEND, width, "dim")
    if any(one.traffic for one in ranks) or (report.mesh is not None and report.mesh.collectives):
        yield ()
        yield (("collectives of a rank in a forward", "bold"),)
        yield from lay_out(_traffic(report, ranks), width).lines()


def _columns(ranks: Sequence[RankRun]) -> list[Column]:
    slowest = slowest_rank(ranks)
    styles = ["yellow" if one is slowest and len(ranks) > 1 else "" for one in ranks]
    times = [time for one in ranks for time in (one.median, one.collective_seconds, one.hidden_seconds)]
    texts_of = iter([text or "0" for text in units.shared_seconds(times)])
    found = [[next(texts_of) for _ in range(3)] for _ in ranks]
    several_hosts = len({one.host for one in ranks}) > 1

    def column(title: str, texts: Sequence[str], right: bool = True, drop: int = 0) -> Column:
        cells = [Cell(text, style=style) for text, style in zip(texts, styles, strict=True)]
        return Column(title, cells, right=right, drop=drop)

    return [
        column("rank", [str(one.rank) for one in ranks]),
        *[column("host", [printable(one.host) for one in ranks], right=False, drop=2)] * several_hosts,
        column("device", [printable(one.device) for one in ranks], right=False, drop=1),
        column("median", [texts[0] for texts in found]),
        column("in collectives", [texts[1] for texts in found]),
        column("hidden", [texts[2] for texts in found]),
        column("memory", [UNKNOWN if one.peak_memory is None else units.byte_size(one.peak_memory) for one in ranks]),
        column("params", [units.count(one.params) for one in ranks], drop=1),
        *[column("", ["slowest" if one is slowest else "" for one in ranks], right=False)] * (len(ranks) > 1),
    ]


def _traffic(report: Report, ranks: Sequence[RankRun]) -> list[Column]:
    """What was predicted of each kind over each dimension, and what was counted: on all ranks the same, or the most."""
    predicted = {(one.kind, one.dimension): one for one in traffic_of(report.mesh.collectives if report.mesh else ())}
    counted: dict[tuple[CollectiveKind, str], Traffic] = {}
    for rank in ranks:
        for one in rank.traffic:
            key = one.kind, one.dimension
            counted[key] = max(one, counted.get(key, one), key=lambda traffic: traffic.nbytes)
    keys = list(dict.fromkeys([*predicted, *counted]))
    both = [(predicted.get(key), counted.get(key)) for key in keys]
    sizes = iter(units.shared_bytes([one.nbytes for pair in both for one in pair if one is not None]))
    texts = [[UNKNOWN if one is None else next(sizes) for one in pair] for pair in both]
    calls = [[UNKNOWN if one is None else units.exact(one.calls) for one in pair] for pair in both]
    on_all = Counter[tuple[CollectiveKind, str]]()
    for one in (one for rank in ranks for one in rank.traffic):
        on_all[one.kind, one.dimension] += one.nbytes
    marks = [_mark(on_all[key] / len(ranks), *pair) for key, pair in zip(keys, both, strict=True)]
    styles = ["red" if BROKEN in mark else "green" for mark in marks]
    return [
        Column("over", [dimension for _, dimension in keys]),
        Column("collective", [kind for kind, _ in keys]),
        Column("predicted", [one[0] for one in calls], right=True),
        Column("bytes", [one[0] for one in texts], right=True),
        Column("counted", [one[1] for one in calls], right=True),
        Column("bytes", [one[1] for one in texts], "counted bytes", right=True),
        Column("", [Cell(mark, style=style) for mark, style in zip(marks, styles, strict=True)]),
    ]


def _mark(mean: float, predicted: Traffic | None, counted: Traffic | None) -> str:
    """Whether a prediction holds; what a router sends differs from rank to rank, and comes to the expected in all."""
    if predicted == counted:
        return "as predicted"
    if predicted is None or counted is None or (predicted.calls, predicted.nbytes) != (counted.calls, mean):
        return f"{BROKEN} differs"
    return "as predicted on average"
