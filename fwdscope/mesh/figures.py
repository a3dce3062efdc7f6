"""What one rank of a mesh holds, computes and sends, from a recording of its layers and the plan's blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import NamedTuple

from torch import Tensor, nn

from fwdscope.language.plan import Mesh, Plan
from fwdscope.mesh.holdings import Holdings, holdings
from fwdscope.mesh.recording import rank_recorder
from fwdscope.mesh.world import fake_world
from fwdscope.ops.dispatch import OpRecord
from fwdscope.report import LayerRow, Report, Totals
from fwdscope.report.mesh import Collective, CollectiveKind, Direction, MeshDimension, MeshReport, RankFigures, RowShare
from fwdscope.settings import Training, TrainingSettings
from fwdscope.trace.memory import sizes
from fwdscope.trace.parameters import named_tensors
from fwdscope.trace.record import Levels, Node, Recorder, Trace
from fwdscope.trace.rows import RowOperators, row_operators
from fwdscope.trace.training import step_of

# Collectives of DTensor by ATen's names, and whether the whole tensor is what goes in.
_KINDS: dict[str, tuple[CollectiveKind, bool]] = {
    "all_reduce": ("all-reduce", True),
    "all_gather_into_tensor": ("all-gather", False),
    "reduce_scatter_tensor": ("reduce-scatter", True),
    "all_to_all_single": ("all-to-all", True),
    "broadcast": ("broadcast", True),
}
# The caps of DistributedDataParallel's buckets: of the first, and of the others.
_FIRST_BUCKET, _BUCKET = 2**20, 25 * 2**20

# Records the network as the recorder that is made sees it, which is told whether equal copies may run once.
TraceBy = Callable[[Callable[[bool], Recorder]], Trace]


class Rank(NamedTuple):
    """One rank's recording: of its layers, and what it holds."""

    trace: Trace
    module: nn.Module
    holdings: Holdings
    rows: list[RowOperators]


def record_rank(trace_by: TraceBy, module: nn.Module, plan: Plan, mesh: Mesh, training: Training, past: int) -> Rank:
    """Record the first rank of a mesh, in one process with a fake process group where layers are split."""
    held, ranks = holdings(module, plan, mesh), mesh.size("tp")
    if ranks == 1:
        plan = replace(plan, layers=())
    with fake_world("tp", ranks) as world:
        make = partial(rank_recorder, plan, world, mesh, training)
        if ranks > 1:
            trace_by(make)  # DTensor runs the first call of an operator on whole tensors too
        if past:
            recorder = make(False)
            outputs = trace_by(lambda _: recorder).outputs
            found = recorder.find_past([tensor for _, tensor in outputs], past)
            trace = trace_by(lambda _: make(False, found))
        else:
            trace = trace_by(make)
    module = trace.module or module
    if trace.module is not None:
        held = holdings(module, plan, mesh)
    return Rank(trace, module, held, row_operators(trace))


def mesh_report(rank: Rank, report: Report, plan: Plan, mesh: Mesh, training: Training) -> MeshReport:
    """The part of a report that is about a mesh."""
    held, times = rank.holdings, training.accumulate if isinstance(training, TrainingSettings) else 1
    params = list(held.found.values())
    _, _, buffer_bytes = sizes([tensor for _, tensor in named_tensors(rank.module, "buffers")])
    param_bytes = sum(one.padded for one in params)
    trace = rank.trace
    macs, flops, read, written = trace.root.cost()
    inputs = report.totals.input_bytes or 0
    kept = sum([one.nbytes for node in trace.root.nodes() for one in node.cached])
    totals = Totals(
        sum(one.sharded for one in params), 0, 0, param_bytes, buffer_bytes, macs, flops, read, written,
        input_bytes=inputs,
    )  # fmt: skip
    gathered = Gathered(rank)
    step = step_of(trace, [], totals)
    if step is None:
        live, more = max(gathered.forward(), default=(0, 0), key=sum)
        always = param_bytes + buffer_bytes + inputs + kept
        figures = RankFigures(
            totals.params, param_bytes, buffer_bytes, inputs, macs, flops, always + live + more, live, more,
            kv_cache=kept if trace.past is not None else None,
        )  # fmt: skip
    else:
        peak = max(gathered.step(), key=lambda one: one[0])
        always = param_bytes + buffer_bytes + inputs + step.target_bytes + step.state_bytes
        always += step.gradient_bytes if times > 1 else 0
        figures = RankFigures(
            totals.params, param_bytes, buffer_bytes, inputs, step.macs, step.flops, always + peak[0], peak[1], peak[2],
            step.gradient_bytes, step.state_bytes, step.saved_bytes,
        )  # fmt: skip
    collectives = [*layer_collectives(rank, report.layers, times)]
    collectives += folded(block_collectives(rank, mesh, training), report.layers)
    alike = mesh.ranks
    return MeshReport(
        tuple(MeshDimension(name, size) for name, size in mesh.sizes), str(plan), figures,
        figures.params * alike, figures.flops * alike, tuple(collectives),
    )  # fmt: skip


# --- collectives inside layers --------------------------------------------------------------------------------------


def _of_record(record: OpRecord) -> tuple[CollectiveKind, int] | None:
    """The kind and the bytes of a collective."""
    namespace, _, name = record.op.name.partition(".")
    if namespace != "_c10d_functional" or name not in _KINDS:
        return None
    kind, takes_whole = _KINDS[name]
    return kind, (record.op.operand() if takes_whole else record.op.output).nbytes


def layer_collectives(rank: Rank, rows: Sequence[LayerRow], times: int) -> Iterator[Collective]:
    """What layers communicate, in the order of the forward."""
    places, size = places_of(rows, rank.rows), rank.holdings.mesh.size("tp")
    found: dict[Collective, int] = {}

    def add(records: Iterable[OpRecord], path: str, place: int | None, direction: Direction, number: int) -> None:
        for kind, nbytes in filter(None, map(_of_record, records)):
            one = Collective(kind, "tp", size, nbytes, 0, path, direction, place)
            found[one] = found.get(one, 0) + number * times

    for row, place in zip(rank.rows, places, strict=True):
        path = rows[place].path if place is not None else row.path
        add(row.ops, path, place, "forward", row.times)
        add(row.backward, path, place, "backward", row.times)
    for part in rank.trace.step.parts if rank.trace.step else ():
        add(part.records, "loss", None, "forward" if part.name == "loss" else "backward", 1)
    yield from (replace(one, times=number) for one, number in found.items())


def places_of(rows: Sequence[LayerRow], found: Sequence[RowOperators]) -> list[int | None]:
    """The index of each row of a rank among those of the report; a copy's is that of the row it is folded into."""
    waiting: dict[str, list[int]] = {}
    for i, row in reversed(list(enumerate(rows))):
        waiting.setdefault(row.path, []).append(i)
    copies = [(row.path, row.repeat) for row in rows if row.repeat > 1]
    places: list[int | None] = []
    for one in found:
        path = one.path
        if path not in waiting:
            for first, repeat in copies:  # outer copies stand before those inside
                path = _as_first_copy(path, first, repeat)
        several = waiting.get(path, [])
        places.append(several.pop() if len(several) > 1 and path == one.path else several[-1] if several else None)
    return places


def _as_first_copy(path: str, first: str, repeat: int) -> str:
    """A path inside one of equal copies as it is in the first: h.0.attn for h.7.attn."""
    above, _, number = first.rpartition(".")
    start = f"{above}." if above else ""
    own, dot, rest = path.removeprefix(start).partition(".")
    inside = path.startswith(start) and own.isdigit() and number.isdigit()
    return first + dot + rest if inside and 0 <= int(own) - int(number) < repeat else path


# --- what wraps whole blocks ----------------------------------------------------------------------------------------


def block_collectives(rank: Rank, mesh: Mesh, training: Training) -> Iterator[Collective]:
    """What fsdp gathers and reduces, and what dp reduces, by torch's rules for groups of parameters."""
    held, fsdp, dp = rank.holdings, mesh.size("fsdp"), mesh.size("dp")
    is_step = isinstance(training, TrainingSettings)
    times = training.accumulate if isinstance(training, TrainingSettings) else 1
    for group in held.groups if fsdp > 1 else ():
        size = held.gathered(group)
        yield Collective("all-gather", "fsdp", fsdp, size, times, group)
        if not is_step:
            continue
        if group:  # the whole network's own stay gathered
            yield Collective("all-gather", "fsdp", fsdp, size, times, group, "backward")
        trained = sum(one.padded for one in held.found.values() if one.group == group and one.requires_grad)
        if trained:
            yield Collective("reduce-scatter", "fsdp", fsdp, fsdp * trained, times, group, "backward")
            if dp > 1:
                yield Collective("all-reduce", "dp", dp, trained, times, group, "backward")
    if dp > 1 and fsdp == 1 and is_step:
        for size, number in buckets([one.padded for one in held.found.values() if one.requires_grad]):
            yield Collective("all-reduce", "dp", dp, size, number, "", "backward")


def folded(found: Iterable[Collective], rows: Sequence[LayerRow]) -> Iterator[Collective]:
    """Collectives of equal copies as one, with the row that stands for them."""
    copies = [(row.path, row.repeat) for row in rows if row.repeat > 1]
    index = {row.path: i for i, row in reversed(list(enumerate(rows)))}
    times: dict[Collective, int] = {}
    for one in found:
        path = one.path
        for first, repeat in copies if path not in index else ():
            path = _as_first_copy(path, first, repeat)
        key = replace(one, path=path, row=index.get(path), times=0)
        times[key] = times.get(key, 0) + one.times
    yield from (replace(one, times=number) for one, number in times.items())


def buckets(nbytes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The bytes of DistributedDataParallel's buckets, and how many equal ones follow one another.

    Gradients come from the last parameter to the first; a bucket that reaches its cap is full.
    """
    found, filled, cap = [], 0, _FIRST_BUCKET
    for size in reversed(nbytes):
        filled += size
        if filled >= cap:
            found.append(filled)
            filled, cap = 0, _BUCKET
    for size, equal in groupby([*found, *[filled] * bool(filled)]):
        yield size, len(list(equal))


class Gathered:
    """The memory of activations and of gathered parameters, at each moment of a forward or a step.

    In the forward fsdp has the buffer of a group's all-gather beside the parameters copied out of it, until the next
    group's is copied. In the backward it has a group's parameters and the buffer of the group before, its gradients,
    and the buffer of the gradients of the group behind.
    """

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self.fsdp = rank.holdings.mesh.size("fsdp")
        self.sizes = {group: rank.holdings.gathered(group) for group in rank.holdings.groups} if self.fsdp > 1 else {}
        self.inner = max([size for group, size in self.sizes.items() if group], default=0)
        self.around: dict[int, tuple[int, int]] = {}
        self._walk(rank.trace.root, 0, 0)

    def _walk(self, node: Node, whole: int, own: int) -> None:
        """For each node the bytes of the groups around it, and those of the innermost."""
        if node.path and (size := self.sizes.get(node.path)) is not None and node.is_step():
            whole, own = whole + size, size
        elif node is self.rank.trace.root and "" in self.sizes:
            whole = own = self.sizes[""]
        self.around[id(node.ops)] = self.around[id(node)] = whole, own
        for child in node.inside():
            self._walk(child, whole, own)

    def forward(self) -> Iterator[tuple[int, int]]:
        """Bytes of activations, and of gathered parameters with the buffer that they came in."""
        for node, _, _, live in self.rank.trace.lives:
            whole, own = self.around.get(id(node), (0, 0))
            yield live, whole + own
        yield self.rank.trace.peak, self.sizes.get("", 0)

    def step(self) -> Iterator[tuple[int, int, int]]:
        """Bytes beside what is always there; of these activations, and gathered parameters and gradients."""
        step = self.rank.trace.step
        assert step is not None
        for part in step.parts:
            for node, levels in part.stretches:
                yield self.moment(part.name, node, levels)

    def moment(self, part: str, node: Node | None, levels: Levels) -> tuple[int, int, int]:
        """The same of one stretch."""
        live = levels.live - levels.gradients
        if self.fsdp == 1:
            return levels.live, live, 0
        whole, own = self.around.get(id(node), (self.sizes.get("", 0),) * 2) if node is not None else (0, 0)
        more = {"forward": whole + own, "backward": whole + 3 * own}.get(part, 0)
        sharded = -(-levels.gradients // self.fsdp)
        return live + sharded + more, live, more


# --- rows -----------------------------------------------------------------------------------------------------------


def row_shares(rank: Rank, rows: Sequence[LayerRow], collectives: Iterable[Collective]) -> Iterator[RowShare | None]:
    """What a rank has of each row of the report."""
    found: dict[int, RowShare] = {}
    for (i, row), place in zip(enumerate(rank.rows), places_of(rows, rank.rows), strict=True):
        if place is None or place in found:
            continue
        inside = rank.rows[i : i + row.inside + 1]
        params = sum(one.times // row.times * _elements(rank.holdings, one.own) for one in inside)
        sent = [sum(one.times // row.times * _sent(rank, records(one)) for one in inside) for records in _DIRECTIONS]
        macs, flops, *others = row.figures
        values = params, macs, flops, sent[0], *others, *row.backward_figures, sent[1]
        found[place] = RowShare(*values)
    for one in collectives:
        if one.dimension != "tp" and (place := one.row) is not None and place in found:
            each, share = one.sent, found[place]
            if one.direction == "forward":
                found[place] = replace(share, sent=share.sent + each)
            else:
                found[place] = replace(share, backward_sent=share.backward_sent + each)
    return (found.get(i) for i in range(len(rows)))


_DIRECTIONS = (lambda row: row.ops, lambda row: row.backward)


def _elements(held: Holdings, own: Sequence[tuple[str, Tensor]]) -> int:
    return sum(held.found[id(tensor)].sharded for _, tensor in own if id(tensor) in held.found)


def _sent(rank: Rank, records: Iterable[OpRecord]) -> int:
    size = rank.holdings.mesh.size("tp")
    return sum(Collective(kind, "tp", size, n, 1, "").sent for kind, n in filter(None, map(_of_record, records)))
