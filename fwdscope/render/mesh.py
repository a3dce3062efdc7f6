"""A mesh of devices in words and as a table: what one rank holds, computes and sends."""

from __future__ import annotations

from collections.abc import Iterator

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render import estimates, mesh_times, ranks
from fwdscope.render.lines import Line, pack, paragraph
from fwdscope.render.table import Cell, Column, lay_out
from fwdscope.report import Report
from fwdscope.report.mesh import Collective, MeshReport

# What a dimension spreads, beside the name.
_SPREADS = {
    "pp": "stages of layers",
    "dp": "batches",
    "fsdp": "batches and parameters",
    "ep": "batches and experts",
    "tp": "layers and heads",
}


def lines(report: Report, width: int) -> Iterator[Line]:
    """The part of a report that is about a mesh, if it has one."""
    mesh = report.mesh
    if mesh is None:
        return
    spread = ", ".join(f"{one.name} {one.size} ({_SPREADS[one.name]})" for one in mesh.dimensions)
    yield from paragraph(f"on a mesh of {units.plural(mesh.ranks, 'rank')}: {spread}", width, "bold")
    yield from pack(per_rank(report, mesh), width)
    if mesh.collectives:
        yield from lay_out(columns(mesh), width).lines()
        sent = sum(one.times * one.sent for one in mesh.collectives)
        step = "training step" if report.training else "forward"
        yield from paragraph(f"a rank sends {units.byte_size(sent)} in a {step}, in rings", width, "dim")
    else:
        yield from paragraph("ranks send nothing to one another", width, "dim")


def texts(report: Report) -> list[str]:
    """The same and the estimates as plain text."""
    parts = (lines, mesh_times.lines, ranks.lines, estimates.lines)
    drawn = [line for part in parts for line in part(report, 120)]
    return ["".join(text for text, _ in line).rstrip() for line in drawn]


def per_rank(report: Report, mesh: MeshReport) -> tuple[str, ...]:
    """``each rank has 1.00 G parameters (3.74 GiB)``, its MACs and FLOPs, its memory."""
    rank = mesh.rank
    parts = [("weights", rank.param_bytes), ("optimizer state", rank.state_bytes or 0), ("cache", rank.kv_cache or 0)]
    parts += [("gathered weights", rank.gathered_bytes), ("activations", rank.peak_activations)]
    parts = [(name, size) for name, size in parts if size * 200 >= rank.peak_memory]
    texts = [
        f"a rank has {units.count(rank.params)} parameters ({units.byte_size(rank.param_bytes)})",
        f"{units.count(rank.macs)} MACs",
        f"{units.count(rank.flops)} FLOPs{' a step' * bool(report.training)}, {units.count(mesh.total_flops)} in all",
        f"peak memory {units.byte_sum(rank.peak_memory, parts)}",
    ]
    if rank.gradient_bytes is not None:
        texts.append(f"gradients {units.byte_size(rank.gradient_bytes)}")
    if rank.kv_cache:
        texts.append(f"KV cache {units.byte_size(rank.kv_cache)}")
    return tuple(texts)


def columns(mesh: MeshReport) -> list[Column]:
    """What a rank takes part in: by the dimensions of the mesh, and in each those that send most first."""
    order = [one.name for one in mesh.dimensions]
    found = sorted(mesh.collectives, key=lambda one: (order.index(one.dimension), -one.times * one.sent))
    sent = [one.times * one.sent for one in found]
    each, every = units.shared_bytes([one.nbytes for one in found]), units.shared_bytes(sent)
    return [
        Column("over", tuple(Cell(one.dimension) for one in found)),
        Column("collective", tuple(Cell(one.kind) for one in found)),
        Column("in the", tuple(Cell(one.direction) for one in found)),
        Column("layer", tuple(Cell(_layer(one)) for one in found), cut="middle", min_width=12),
        Column("times", tuple(Cell(units.exact(one.times)) for one in found), right=True),
        Column("each", tuple(map(Cell, each)), right=True),
        Column("a rank sends", tuple(map(Cell, every)), right=True),
    ]


def _layer(one: Collective) -> str:
    return printable(one.path) or "the whole network"
