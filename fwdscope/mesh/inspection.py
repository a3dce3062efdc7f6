"""A network on a mesh: from a subject and a plan to the part of the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, Protocol

from torch import nn

from fwdscope.errors import InputError
from fwdscope.language.plan import Mesh, Plan
from fwdscope.language.problems import Problem, SpecError
from fwdscope.mesh.figures import mesh_report, record_rank, row_shares
from fwdscope.mesh.propose import propose
from fwdscope.mesh.sharding import ShardError
from fwdscope.report import Report
from fwdscope.settings import Training
from fwdscope.trace.record import Recorder, Trace


class Recordable(Protocol):
    """A subject, as far as it is looked at here."""

    trace: Trace
    training: Training
    past: int

    @property
    def module(self) -> nn.Module:
        """The network."""

    def trace_by(self, make: Callable[[bool], Recorder]) -> Trace:
        """The network on meta as a recorder sees it."""


def with_mesh(subject: Recordable, report: Report, mesh: Mesh, plan: Plan | Literal["auto"]) -> Report:
    """The report with what one rank of a mesh has. Raises SpecError or InputError where it cannot be sharded so."""
    notes = []
    if plan == "auto":
        plan, whole = propose(subject.trace, mesh)
        notes = ["the plan is proposed: --shard auto:plan.yaml writes it to a file, to be edited and given by --shard"]
        if mesh.size("tp") > 1 and not any(one.style == "colwise" for one in plan.layers):
            raise InputError(
                f"--mesh {mesh}: no layers of {report.name} are seen that can be split over tp: "
                f"name them under shard: in a plan (--shard FILE){''.join(f'; {text}' for text in whole[:3])}"
            )
        notes += whole
    try:
        rank = record_rank(subject.trace_by, subject.module, plan, mesh, subject.training, subject.past)
        found = mesh_report(rank, report)
        shares = row_shares(rank, report.layers, found.collectives)
        layers = tuple(replace(row, rank=share) for row, share in zip(report.layers, shares, strict=True))
    except ShardError as error:
        if plan.source is None or error.pattern not in plan.spans:
            raise
        problem = Problem(plan.source, plan.spans[error.pattern], "shard", error.message, error.help)
        raise SpecError([problem]) from None
    return replace(report, layers=layers, mesh=replace(found, notes=(*notes, *found.notes)))
