"""The times of a step on a mesh of devices that are not here: in words for one cluster, as a table for several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render.estimates import byte_rate, sold
from fwdscope.render.lines import Line, paragraph
from fwdscope.render.rows import BROKEN, UNKNOWN
from fwdscope.render.table import Cell, Column, lay_out
from fwdscope.report import Report
from fwdscope.report.cluster import Cluster, Interconnect, MeshEstimate
from fwdscope.report.throughput import items

# What the times are of.
LEGEND = (
    "a rank computes each layer at the rates that the device reaches; collectives take their bytes at the bandwidth "
    "that is reached, and the latency of their steps; fsdp and dp hide behind the work of other blocks, tp does not"
)


def lines(report: Report, width: int) -> Iterator[Line]:
    """The report's times on a mesh, if it has any."""
    found = report.mesh_estimates
    if not found:
        return
    if len(found) == 1:
        yield from _in_words(report, found[0], width)
    else:
        yield (("on clusters", "bold"),)
        yield from lay_out(columns(report, found), width).lines()
    yield from paragraph(LEGEND, width, "dim")


def _in_words(report: Report, one: MeshEstimate, width: int) -> Iterator[Line]:
    answer = f"on {described(one.cluster)} in {one.dtype}: "
    if one.seconds is None:
        yield from paragraph(f"{answer}no time, since no {one.dtype} peak is published", width, "bold")
    else:
        answer += f"about {units.seconds(one.seconds)}{' a step' * (report.training is not None)}"
        rest = f", at least {units.seconds(one.least)}" if one.least is not None else ""
        if one.rate is not None and (many := items(report)) is not None:
            rest += f": {units.count(one.rate)} {many[1]}/s"
        first, *more = paragraph(f"{answer}{rest}", width, "")
        text = "".join(piece for piece, _ in first)
        yield ((text[: len(answer)], "bold"), (text[len(answer) :], ""))
        yield from more
        parts = [f"computes {units.seconds(one.compute_seconds or 0.0)}"]
        parts += [f"waits for collectives {units.seconds(one.exposed_seconds)}"] * bool(one.exposed_seconds)
        parts += [f"for other stages {units.seconds(one.bubble_seconds)}"] * bool(one.bubble_seconds)
        yield from paragraph(f"a rank {', '.join(parts)}: {bound_in_words(one)}", width, "", "  ", "    ")
    yield from paragraph(fit_in_words(one), width, "red" if one.fits is False else "", "  ", "    ")
    if one.collectives:
        yield from lay_out(_collectives(one), width).lines()


def bound_in_words(one: MeshEstimate) -> str:
    """``bound by tp all-reduce``, ``memory-bound``."""
    if one.bound in ("compute", "memory"):
        return f"{one.bound}-bound"
    return f"bound by {one.bound}" if one.bound else "bound by nothing that is known"


def fit_in_words(one: MeshEstimate) -> str:
    """``fits: a rank needs 15.1 GiB of 80 GB``."""
    needs = f"a rank needs {units.byte_size(one.needed)}"
    if one.memory is None:
        return f"{needs}; the memory of {printable(one.cluster.device)} is not known"
    of = f"{needs}, {units.share(one.needed / one.memory)} of {sold(one.memory)}"
    return f"fits: {of}" if one.fits else f"{BROKEN} does not fit: {of}"


def described(cluster: Cluster) -> str:
    """``64 × H100 SXM 80GB in nodes of 8 (NVLink 4 450 GB/s, InfiniBand NDR 50 GB/s)``."""

    def link(one: Interconnect) -> str:
        each = {"mesh": " to each", "torus": " a link"}.get(one.shape, "")
        return f"{printable(one.name)} {byte_rate(one.bandwidth)}{each}"

    nodes = f" in nodes of {cluster.node}" if cluster.number > cluster.node else ""
    found = [link(one) for one in (cluster.inner, cluster.outer) if one is not None]
    links = f" ({', '.join(found)})" if found else ""
    return f"{units.exact(cluster.number)} × {printable(cluster.device)}{nodes}{links}"


def columns(report: Report, found: Sequence[MeshEstimate]) -> list[Column]:
    """A row for each cluster."""
    styles = ["red" if one.fits is False else "" for one in found]

    def column(title: str, texts: Sequence[str], right: bool = True, drop: int = 0) -> Column:
        return Column(
            title, [Cell(t, style=style) for t, style in zip(texts, styles, strict=True)], right=right, drop=drop
        )

    names = ("seconds", "least", "compute_seconds", "exposed_seconds")
    values = [[getattr(one, name) for one in found] for name in names]
    texts = iter(units.shared_seconds([value for some in values for value in some if value is not None]))
    about, least, computes, waits = ([UNKNOWN if v is None else next(texts) or "0" for v in some] for some in values)
    what = (items(report) or (1, "items"))[1]
    return [
        column("cluster", [described(one.cluster).partition(" (")[0] for one in found], right=False),
        column("about", about),
        column("at least", least, drop=2),
        column("computes", computes, drop=1),
        column("waits", waits, drop=1),
        column(f"{what}/s", [units.count(one.rate) if one.rate else UNKNOWN for one in found]),
        column("bound by", [one.bound or UNKNOWN for one in found], right=False, drop=1),
        column("needed", [_needed(one) for one in found]),
    ]


def _needed(one: MeshEstimate) -> str:
    if one.memory is None:
        return units.byte_size(one.needed)
    return f"{BROKEN} " * (one.fits is False) + units.share(one.needed / one.memory)


def _collectives(one: MeshEstimate) -> list[Column]:
    """The collectives, those that are waited for most first."""
    found = sorted(one.collectives, key=lambda cost: -cost.exposed)
    sizes = units.shared_bytes([cost.nbytes for cost in found])
    times = units.shared_seconds([time for cost in found for time in (cost.seconds, cost.exposed)])
    return [
        Column("over", tuple(Cell(cost.dimension) for cost in found)),
        Column("collective", tuple(Cell(cost.kind) for cost in found)),
        Column("in the", tuple(Cell(cost.direction) for cost in found), drop=2),
        Column("times", tuple(Cell(units.exact(cost.times)) for cost in found), right=True),
        Column("bytes", tuple(map(Cell, sizes)), right=True),
        Column("link", tuple(Cell(printable(cost.link)) for cost in found), drop=1),
        Column("by", tuple(Cell(cost.algorithm) for cost in found), drop=2),
        Column("take", tuple(map(Cell, times[::2])), right=True),
        Column("waited for", tuple(Cell(time or "0") for time in times[1::2]), right=True),
    ]
