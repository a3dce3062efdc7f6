"""Statistics of what the ranks of a mesh have of each tensor."""

from __future__ import annotations

from dataclasses import replace

from torch.distributed.device_mesh import DeviceMesh

from fwdscope.language.plan import Plan
from fwdscope.mesh.recording import OfRank
from fwdscope.report import LayerRow
from fwdscope.report.mesh import RowShare
from fwdscope.run.decided import Decided, pair_steps
from fwdscope.run.forward import run_recorded, with_stats
from fwdscope.run.observation import Observation
from fwdscope.run.prepare import Prepared
from fwdscope.run.ranks import gathered
from fwdscope.run.statistics import Collector, merge


class ShardObservation(OfRank, Observation):
    """Observes the forward of one rank: its parts of all tensors."""

    def __init__(self, plan: Plan, mesh: DeviceMesh, collector: Collector | None) -> None:
        super().__init__(collector)
        self.plan, self.mesh = plan, mesh


def observe_shards(ready: Prepared, plan: Plan, devices: DeviceMesh) -> tuple[LayerRow, ...]:
    """The rows with the statistics of the outputs of all ranks together, and the std of each rank's.

    It is called on all ranks. What each rank has whole is the same on all; what is split has its parts.
    """
    mesh = devices["tp"]
    run_recorded(ready, ShardObservation(plan, mesh, None))  # DTensor runs first calls on whole tensors too
    observation = ShardObservation(plan, mesh, Collector())
    meta, trace = ready.subject.trace, run_recorded(ready, observation)
    # A rank computes another share of each step than the trace on meta, so the steps are not compared.
    found = Decided(meta, {twin: node for node, twin in pair_steps(meta.root, trace.root).items()}, ())
    rows = [row for row, _ in with_stats(ready.rows, found, observation.statistics())]
    shares = {(row.path, row.call): row.rank for row in ready.report.layers}
    every = gathered([row.stats for row in rows])
    result = []
    for row, *of_ranks in zip(rows, *every, strict=True):
        stats = [one for one in of_ranks if one is not None]
        stds = tuple(None if one is None else one.std for one in of_ranks)
        share = shares.get((row.path, row.call))
        share = replace(share or RowShare(0, 0, 0, 0), stds=stds) if stats else share
        result.append(replace(row, stats=merge(stats) if stats else None, rank=share))
    return tuple(result)
