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


# Of more, those that send least are left out.
_MOST_ROWS = 16


def lines(report: Report, width: int) -> Iterator[Line]:
    """The part of a report that is about a mesh, if it has one."""
    mesh = report.mesh
    if mesh is None:
        return
    spread = ", ".join(f"{one.name} {one.size} ({_SPREADS[one.name]})" for one in mesh.dimensions)
    yield from paragraph(f"on a mesh of {units.plural(mesh.ranks, 'rank')}: {spread}", width, "bold")
    yield from pack(per_rank(report, mesh), width)
    if mesh.stages:
        yield from lay_out(stages(mesh), width).lines()
        yield ()
    if mesh.collectives:
        yield from lay_out(columns(mesh), width).lines()
        yield from paragraph(traffic(report, mesh), width, "dim")
    else:
        yield from paragraph("ranks send nothing to one another", width, "dim")


def texts(report: Report) -> list[str]:
    """The same and the estimates as plain text."""
    parts = (lines, mesh_times.lines, ranks.lines, estimates.lines)
    blocks = [list(part(report, 120)) for part in parts]
    drawn = [line for block in blocks if block for line in [*block, ()]][:-1]
    return ["".join(text for text, _ in line).rstrip() for line in drawn]


def per_rank(report: Report, mesh: MeshReport) -> tuple[str, ...]:
    """``each rank has 1.00 G parameters (3.74 GiB)``, its MACs and FLOPs, its memory."""
    rank = mesh.rank
    parts = [("weights", rank.param_bytes), ("optimizer state", rank.state_bytes or 0), ("cache", rank.kv_cache or 0)]
    parts += [("gradients", rank.peak_gradients), ("gathered weights", rank.gathered_bytes)]
    parts.append(("other" if report.training else "activations", rank.peak_activations))
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


def traffic(report: Report, mesh: MeshReport) -> str:
    """``a rank sends 15.7 GiB in a forward``, and over which dimensions."""
    sent: dict[str, int] = {}
    for one in mesh.collectives:
        sent[one.dimension] = sent.get(one.dimension, 0) + one.times * one.sent
    parts = [(name, size) for name, size in sent.items() if size] if len(sent) > 1 else []
    step = "training step" if report.training else "step" if report.past else "forward"
    total = units.byte_sum(sum(sent.values()), parts) if parts else units.byte_size(sum(sent.values()))
    hidden = len(mesh.collectives) - len(columns(mesh)[0].cells)
    more = f"  ·  {units.plural(hidden, 'collective')} more that send less" if hidden else ""
    return f"a rank sends {total} in a {step}, in rings{more}"


def stages(mesh: MeshReport) -> list[Column]:
    """The stages of a pipeline."""
    found, counted = mesh.stages, units.shared_counts
    names = "param_bytes", "peak_memory", "sent"
    weights, peaks, sent = (units.shared_bytes([getattr(one, name) for one in found]) for name in names)
    memory = tuple(Cell(text, style="bold" * (i == mesh.stage)) for i, text in enumerate(peaks))
    return [
        Column("stage", [units.exact(i) for i in range(len(found))], right=True),
        Column("from", [printable(one.path) for one in found], cut="middle", min_width=12),
        Column("weights", weights, right=True),
        Column("MACs", counted([one.macs for one in found]), right=True),
        Column("peak memory", memory, right=True),
        Column("sent", sent, right=True),
    ]


def columns(mesh: MeshReport) -> list[Column]:
    """What a rank takes part in: by the dimensions of the mesh, and in each those that send most first."""
    order = [one.name for one in mesh.dimensions]
    found = sorted(mesh.collectives, key=lambda one: (order.index(one.dimension), -one.times * one.sent))
    most = sorted((one.times * one.sent for one in found), reverse=True)[:_MOST_ROWS]
    found = [one for one in found if one.times * one.sent >= most[-1]]
    sent = [one.times * one.sent for one in found]
    each, every = units.shared_bytes([one.nbytes for one in found], 4), units.shared_bytes(sent, 4)
    return [
        Column("over", [one.dimension for one in found]),
        Column("collective", [one.kind for one in found]),
        Column("in the", [one.direction for one in found]),
        Column("layer", [_layer(one) for one in found], cut="middle", min_width=12),
        Column("times", [units.exact(one.times) for one in found], right=True),
        Column("each", each, right=True),
        Column("sent", every, right=True),
    ]


def _layer(one: Collective) -> str:
    return printable(one.path) or "the whole network"
