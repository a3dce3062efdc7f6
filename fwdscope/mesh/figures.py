"""What one rank of a mesh holds, computes and sends, from a recording of its layers and the plan's blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from torch import nn

from fwdscope.errors import LayerError
from fwdscope.language.plan import Mesh, Plan
from fwdscope.mesh.holdings import Holding, Holdings, expert_ranks, groups_of, holdings
from fwdscope.mesh.recording import rank_recorder
from fwdscope.mesh.sharding import ShardError
from fwdscope.mesh.stages import Stages
from fwdscope.mesh.world import fake_world
from fwdscope.ops.dispatch import OpRecord
from fwdscope.report import LayerRow, Report, multiplicities, parents
from fwdscope.report.mesh import (
    Collective,
    CollectiveKind,
    Direction,
    MeshDimension,
    MeshReport,
    RankFigures,
    RowShare,
    Stage,
)
from fwdscope.settings import Training, TrainingSettings
from fwdscope.trace.memory import sizes
from fwdscope.trace.optimizers import Stepped, step_optimizer
from fwdscope.trace.parameters import named_tensors
from fwdscope.trace.past import Past
from fwdscope.trace.record import Levels, Node, Part, Recorder, Trace, sum_figures
from fwdscope.trace.rows import RowOperators, row_operators
from fwdscope.units import plural

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

# Records the network with the recorder that is made; the argument is whether equal copies may run once.
TraceBy = Callable[[Callable[[bool], Recorder]], Trace]


def record_rank(trace_by: TraceBy, module: nn.Module, plan: Plan, mesh: Mesh, training: Training, past: int) -> Rank:
    """Record the first rank of a mesh, in one process with a fake process group where layers are split."""
    held, ranks = holdings(module, plan, mesh), mesh.size("tp")
    layers = plan if ranks > 1 else replace(plan, layers=())
    with fake_world("tp", ranks) as world, _located(recorders := list[Recorder]()):

        def make(repeats: bool = False, past: Past | None = None) -> Recorder:
            recorders.append(rank_recorder(layers, world, training, repeats, past))
            return recorders[-1]

        if ranks > 1:
            trace_by(make)  # DTensor runs the first call of an operator on whole tensors too
        if past:
            recorder = make(False)
            outputs = trace_by(lambda _: recorder).outputs
            found = recorder.find_past([tensor for _, tensor in outputs], past)
            trace = trace_by(lambda _: make(False, found))
        else:
            trace = trace_by(make)
    if trace.module is not None:
        module, held = trace.module, holdings(trace.module, plan, mesh)
    return Rank(trace, module, held, plan, training)


@contextlib.contextmanager
def _located(recorders: Sequence[Recorder]) -> Iterator[None]:
    """Say in which layer of a module something cannot be split; a spec's lines say so themselves."""
    try:
        yield
    except LayerError as error:
        around = recorders[-1].stack if recorders else ()
        path = next((node.path for node in reversed(around) if isinstance(node, Node) and node.path), "")
        raise ShardError(f"{path}: {error.message}".removeprefix(": "), help=error.help) from error


class _Sums(NamedTuple):
    """MACs, FLOPs, bytes read, bytes written and kernels."""

    macs: int = 0
    flops: int = 0
    read: int = 0
    written: int = 0
    kernels: int = 0

    def plus(self, other: Sequence[int], times: float) -> _Sums:
        return _Sums(*[a + round(times * b) for a, b in zip(self, other, strict=True)])


def _sums(records: Sequence[OpRecord]) -> _Sums:
    return _Sums(*sum_figures(records), sum(record.figures[2:] != (0, 0) for record in records))


class Rank:
    """A recording of one rank's layers, with what it holds, and its figures as if it were in each stage."""

    def __init__(self, trace: Trace, module: nn.Module, held: Holdings, plan: Plan, training: Training) -> None:
        self.trace, self.module, self.held, self.plan, self.mesh = trace, module, held, plan, held.mesh
        self.step = training if isinstance(training, TrainingSettings) else None
        self.micro_batches = self.step.accumulate if self.step is not None else 1
        self.rows = row_operators(trace)
        self.stages = Stages(self.rows, plan, self.mesh)
        self.counts = [self.stages.counts(self.rows, i) for i in range(len(self.rows))]
        self.gathered = Gathered(trace, held)
        # The stages that tied weights are in, beside that of their layer.
        self.tied: dict[str, set[int]] = {}
        for row, counts in zip(self.rows, self.counts, strict=True):
            for name in row.reads:
                self.tied.setdefault(name, set()).update(stage for stage, number in enumerate(counts) if number)

    def holds(self, stage: int) -> list[Holding]:
        """The parameters of a stage."""
        return [one for one in self.held.found.values() if stage in self.stages_of(one)]

    def stages_of(self, held: Holding) -> set[int]:
        """The stages that have a parameter."""
        return {self.stages.of(held.name), *self.tied.get(held.name, ())}

    def work(self, path: str) -> float:
        """How much of a row's work is a rank's: of experts, its own for the positions that all ranks send them."""
        for mixture, share in self.held.experts.items():
            if path.startswith(f"{mixture}.experts."):
                return share * self.mesh.size("ep")
        return 1

    def sums(self, stage: int) -> _Sums:
        """What a rank computes in a stage, of all micro-batches, without the optimizer."""
        found = _Sums()
        for row, counts in zip(self.rows, self.counts, strict=True):
            for records in (row.ops, row.backward):
                found = found.plus(_sums(records), counts[stage] * self.work(row.path) * self.micro_batches)
        for part in self.trace.step.parts if self.trace.step else ():
            if part.name != "optimizer" and stage == self.stages.number - 1:
                found = found.plus(_sums(part.records), self.micro_batches)
        return found

    def stepped(self, stage: int) -> Stepped | None:
        """The optimizer's step for the parameters of a stage."""
        if self.step is None:
            return None
        trained = [one.make() for one in self.holds(stage) if one.requires_grad]
        return step_optimizer(self.step.optimizer, trained, self.step.master_weights and bool(trained))

    def figures(self, stage: int, inputs: int) -> RankFigures:
        """What a rank of a stage holds and computes; the first stage has the network's inputs."""
        held, sums, stepped = self.holds(stage), self.sums(stage), self.stepped(stage)
        param_bytes = sum(one.nbytes for one in held)
        rows = [(row, counts[stage]) for row, counts in zip(self.rows, self.counts, strict=True) if counts[stage]]
        kept = sum(number * row.kept for row, number in rows)
        buffers = [tensor for name, tensor in named_tensors(self.module, "buffers") if self.stages.of(name) == stage]
        buffer_bytes, inputs = sizes(buffers)[2], inputs if stage == 0 else 0
        always = param_bytes + buffer_bytes + inputs + kept
        nodes = {id(node) for row, _ in rows for node in row.nodes}
        figures = RankFigures(
            sum(one.elements for one in held), param_bytes, buffer_bytes, inputs, sums.macs, sums.flops, 0, 0,
            kv_cache=kept if self.trace.past is not None else None,
        )  # fmt: skip
        step, is_only = self.trace.step, self.stages.number == 1
        if step is None or stepped is None:
            moments = [(live, more) for node, live, more in self.gathered.forward() if is_only or node in nodes]
            live, more = max([*moments, (self.trace.peak * is_only, 0)], key=sum)
            return replace(figures, peak_memory=always + live + more, peak_activations=live, gathered_bytes=more)
        gradients = sum(one.nbytes for one in held if one.requires_grad)
        targets = step.targets if stage == self.stages.number - 1 else 0
        always += targets + stepped.state + (gradients if self.micro_batches > 1 else 0)
        saved = sum(number * row.saved for row, number in rows)
        # So many micro-batches are on their way through a stage in 1F1B: Narayanan et al. 2021, section 2.2.
        flying = min(self.micro_batches, self.stages.number - stage) * saved
        found: list[tuple[int, int, int]] = []
        # Those of earlier micro-batches are there throughout.
        share = gradients / (self.held.trained_bytes or 1) if self.micro_batches == 1 else 0
        for part, node, levels in self.gathered.step(step.parts):
            if is_only or node in nodes:
                activations = levels.live - levels.gradients + (0 if is_only else flying - levels.saved)
                found.append((activations, round(levels.gradients * share), self.gathered.more(part, node)))
        last = step.before_optimizer - self.held.trained_bytes * (self.micro_batches == 1)
        found.append((max(0, last) * is_only + stepped.workspace, gradients * (self.micro_batches == 1), 0))
        live, new, more = max(found, key=sum)
        optimizer = _sums(stepped.records)
        return replace(
            figures, macs=sums.macs + optimizer.macs, flops=sums.flops + optimizer.flops,
            peak_memory=always + live + new + more, peak_activations=live, gathered_bytes=more,
            peak_gradients=new if self.micro_batches == 1 else gradients, gradient_bytes=gradients,
            state_bytes=stepped.state, saved_bytes=step.saved if is_only else saved,
        )  # fmt: skip

    # -- collectives --------------------------------------------------------------------------------------------------

    def collectives(self, stage: int, rows: Sequence[LayerRow]) -> list[Collective]:
        """What a rank of a stage communicates, in the order of the forward, by layer and then by block."""
        found = [*self._of_layers(stage, rows), *self._of_mixtures(stage), *self._of_blocks(stage), *self._sends(stage)]
        return list(folded(found, rows))

    def _of_layers(self, stage: int, rows: Sequence[LayerRow]) -> Iterator[Collective]:
        size, times = self.mesh.size("tp"), self.micro_batches

        def found(
            records: Iterable[OpRecord], path: str, place: int | None, direction: Direction, number: int
        ) -> Iterator[Collective]:
            for kind, nbytes in filter(None, map(_of_record, records)):
                yield Collective(kind, "tp", size, nbytes, number * times, path, direction, place)

        places = places_of(rows, self.rows)
        for row, place, counts in zip(self.rows, places, self.counts, strict=True):
            if counts[stage]:
                path = rows[place].path if place is not None else row.path
                yield from found(row.ops, path, place, "forward", counts[stage])
                yield from found(row.backward, path, place, "backward", counts[stage])
        for part in self.trace.step.parts if self.trace.step and stage == self.stages.number - 1 else ():
            yield from found(part.records, "loss", None, "forward" if part.name == "loss" else "backward", 1)

    def _of_mixtures(self, stage: int) -> Iterator[Collective]:
        """What goes to experts and back: how many, positions by their choices; over tp, the sums of their results."""
        ep, ranks = self.mesh.size("ep"), expert_ranks(self.mesh)
        for row, counts in zip(self.rows, self.counts, strict=True):
            if row.path not in self.held.experts or not counts[stage] or ranks == 1:
                continue
            node = row.nodes[0]
            times, choices = counts[stage] * self.micro_batches, int(getattr(node.module, "top_k", 1))
            if ep > 1:  # how many positions each expert gets, as int64
                each = -(-len(node.module.experts) // ep)  # type: ignore[union-attr, arg-type]
                yield Collective("all-to-all", "ep", ep, 8 * ep * each, times, row.path)
            x, y = node.inputs[0].nbytes, node.outputs[0].nbytes
            kind, over = ("all-to-all", "ep") if ep > 1 else ("all-reduce", "tp")
            # Over tp, the gradients of the positions, and of the weights of their choices.
            summed = x, x // node.inputs[0].shape[-1] * choices
            ways = ((choices * x, choices * y),) * 2 if ep > 1 else ((y,), summed)
            for direction, parts in zip(("forward", "backward")[: 2 if self.step else 1], ways, strict=False):
                for nbytes in parts:
                    yield Collective(kind, over, ranks, nbytes, times, row.path, direction)  # type: ignore[arg-type]

    def _of_blocks(self, stage: int) -> Iterator[Collective]:
        """What fsdp gathers and reduces, and what dp and ep reduce, by torch's rules for groups of parameters."""
        fsdp, times, held = self.mesh.size("fsdp"), self.micro_batches, self.holds(stage)
        others = [(name, self.mesh.size(name)) for name in ("dp", "ep") if self.mesh.size(name) > 1]
        for group, inside in groups_of(held).items() if fsdp > 1 else ():
            size = sum(one.gathered(fsdp) for one in inside)
            yield Collective("all-gather", "fsdp", fsdp, size, times, group)
            trained = [one for one in inside if one.requires_grad and self.step is not None]
            if self.step is not None and group:  # the whole network's own stay gathered
                yield Collective("all-gather", "fsdp", fsdp, size, times, group, "backward")
            if trained:
                nbytes = sum(one.gathered(fsdp) for one in trained)
                yield Collective("reduce-scatter", "fsdp", fsdp, nbytes, times, group, "backward")
            for name, ranks in others:
                if nbytes := sum(one.nbytes for one in trained if name == "dp" or not one.mixture):
                    yield Collective("all-reduce", name, ranks, nbytes, times, group, "backward")
        for name, ranks in others if fsdp == 1 and self.step is not None else ():
            reduced = [one.nbytes for one in held if one.requires_grad and (name == "dp" or not one.mixture)]
            for size, number in buckets(reduced):
                yield Collective("all-reduce", name, ranks, size, number, "", "backward")

    def _sends(self, stage: int) -> Iterator[Collective]:
        """What a stage sends to the next, and in the backward to the one before."""
        number = self.stages.number
        for one in self.holds(stage) if self.step is not None else ():  # gradients of tied weights are added up
            if one.requires_grad and (several := len(self.stages_of(one))) > 1:
                path = one.name.rpartition(".")[0]
                yield Collective("all-reduce", "pp", several, one.nbytes, 1, path, "backward")
        for at in (stage, stage + 1):
            if 0 < at < number:
                place = self.stages.begins[at - 1][0]
                marks = self.rows[place].nodes[0].inputs
                if at > stage:
                    nbytes = sum(mark.nbytes for mark in marks)
                    yield Collective("send", "pp", number, nbytes, self.micro_batches, self.stages.paths[at])
                elif self.step is not None and marks:  # what the block flows from, without its tables
                    path = self.stages.paths[at]
                    yield Collective("send", "pp", number, marks[0].nbytes, self.micro_batches, path, "backward")


def mesh_report(rank: Rank, report: Report) -> MeshReport:
    """The part of a report that is about a mesh: of the stage whose ranks need most memory."""
    inputs, number = report.totals.input_bytes or 0, rank.stages.number
    figures = [rank.figures(stage, inputs) for stage in range(number)]
    communicated = [rank.collectives(stage, report.layers) for stage in range(number)]
    stages = tuple(
        Stage(path, one.params, one.param_bytes, one.macs, one.flops, one.peak_memory, sent_by(found))
        for path, one, found in zip(rank.stages.paths, figures, communicated, strict=True)
    )
    heaviest = max(range(number), key=lambda stage: (figures[stage].peak_memory, figures[stage].flops))
    alike = rank.mesh.ranks // number
    notes: list[str] = []
    tied = [one.name for one in rank.held.found.values() if len(rank.stages_of(one)) > 1]
    notes += [f"tied weights are in several stages: {', '.join(tied)}"] * bool(tied)
    if number > 1 and rank.step is not None and rank.micro_batches < number:
        few = plural(rank.micro_batches, "micro-batch")
        notes.append(f"{few} for {number} stages leave most of them idle: --accumulate {4 * number}")
    return MeshReport(
        tuple(MeshDimension(name, size) for name, size in rank.mesh.sizes), str(rank.plan), figures[heaviest],
        alike * sum(one.params for one in figures), alike * sum(one.flops for one in figures),
        tuple(communicated[heaviest]), stages if number > 1 else (), heaviest, rank.micro_batches, tuple(notes),
    )  # fmt: skip


def sent_by(found: Iterable[Collective]) -> int:
    """Bytes that a rank sends in all."""
    return sum(one.times * one.sent for one in found)


def _of_record(record: OpRecord) -> tuple[CollectiveKind, int] | None:
    """The kind and the bytes of a collective."""
    namespace, _, name = record.op.name.partition(".")
    if namespace != "_c10d_functional" or name not in _KINDS:
        return None
    kind, takes_whole = _KINDS[name]
    return kind, (record.op.operand() if takes_whole else record.op.output).nbytes


def places_of(rows: Sequence[LayerRow], found: Sequence[RowOperators]) -> list[int | None]:
    """The index of each row of a rank among those of the report; a copy's is that of the row it is folded into."""
    waiting: dict[str, list[int]] = {}
    for i, row in reversed(list(enumerate(rows))):
        waiting.setdefault(row.path, []).append(i)
    places: list[int | None] = []
    for one in found:
        path = one.path if one.path in waiting else as_in_report(one.path, rows)
        several = waiting.get(path, [])
        places.append(several.pop() if len(several) > 1 and path == one.path else several[-1] if several else None)
    return places


def as_in_report(path: str, rows: Sequence[LayerRow]) -> str:
    """A path inside one of equal copies as it is in the first: h.0.attn for h.7.attn."""
    for row in rows:  # outer copies stand before those inside
        above, _, number = row.path.rpartition(".") if row.repeat > 1 else ("", "", "")
        start = f"{above}." if above else ""
        own, dot, rest = path.removeprefix(start).partition(".")
        if number.isdigit() and path.startswith(start) and own.isdigit() and 0 <= int(own) - int(number) < row.repeat:
            path = row.path + dot + rest
    return path


def folded(found: Iterable[Collective], rows: Sequence[LayerRow]) -> Iterator[Collective]:
    """Collectives of equal copies as one, with the row that stands for them."""
    index = {row.path: i for i, row in reversed(list(enumerate(rows)))}
    times: dict[Collective, int] = {}
    for one in found:
        is_own = one.path in index or one.row is not None or one.kind == "send"
        path = one.path if is_own else as_in_report(one.path, rows)
        key = replace(one, path=path, row=index.get(path) if one.row is None else one.row, times=0)
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
    """The parameters that fsdp has gathered at each moment of a forward or a step.

    In the forward they are a group's and the buffer that they came in, which lives until the next group's is copied. In
    the backward they are a group's, the buffer of the group before, the gradients, and the buffer of the gradients of
    the group behind.
    """

    def __init__(self, trace: Trace, held: Holdings) -> None:
        self.trace, fsdp = trace, held.mesh.size("fsdp")
        groups = groups_of(held.found.values()) if fsdp > 1 else {}
        self.sizes = {group: sum(one.gathered(fsdp) for one in inside) for group, inside in groups.items()}
        # For the operators of each node the bytes of the groups around it, and those of the innermost.
        self.around: dict[int, tuple[int, int]] = {}
        if self.sizes:
            self._walk(trace.root, self.sizes.get("", 0), self.sizes.get("", 0))

    def _walk(self, node: Node, whole: int, own: int) -> None:
        if node.path and (size := self.sizes.get(node.path)) is not None and node.is_step():
            whole, own = whole + size, size
        self.around[id(node)] = whole, own
        for child in node.inside():
            self._walk(child, whole, own)

    def forward(self) -> Iterator[tuple[int, int, int]]:
        """The ``id`` of a node, bytes of activations, and of gathered parameters."""
        for around, node, _, live in self.trace.lives:
            of = id(node) if id(node) in self.around else id(around)
            yield id(node), live, self.more("forward", of)

    def step(self, parts: Iterable[Part]) -> Iterator[tuple[str, int, Levels]]:
        """The part of a step, the ``id`` of a node, and the bytes there."""
        for part in parts:
            for node, levels in part.stretches if part.name != "optimizer" else ():
                yield part.name, id(node), levels

    def more(self, part: str, node: int) -> int:
        """Bytes of gathered parameters and gradients while a node works."""
        whole, own = self.around.get(node, (self.sizes.get("", 0), 0))
        return whole + (3 if part == "backward" else 1) * own


# --- rows -----------------------------------------------------------------------------------------------------------


def _elements(rank: Rank, row: RowOperators) -> int:
    """Elements of a row's own parameters on the rank; of experts that stand for others, its share of each."""
    own = sum(rank.held.found[id(tensor)].elements for _, tensor in row.own if id(tensor) in rank.held.found)
    share = next((one for path, one in rank.held.experts.items() if row.path.startswith(f"{path}.experts.")), 1)
    return round(own * share) if row.times > 1 else own


def _sent(rank: Rank, records: Iterable[OpRecord]) -> int:
    size = rank.mesh.size("tp")
    return sum(Collective(kind, "tp", size, n, 1, "").sent for kind, n in filter(None, map(_of_record, records)))


def row_shares(rank: Rank, rows: Sequence[LayerRow], collectives: Iterable[Collective]) -> Iterator[RowShare | None]:
    """What a rank has of each row of the report."""
    found: dict[int, RowShare] = {}
    for (i, row), place in zip(enumerate(rank.rows), places_of(rows, rank.rows), strict=True):
        if place is None or place in found:
            continue
        params, sums, sent = 0, [_Sums(), _Sums()], [0, 0]
        for one in rank.rows[i : i + row.inside + 1]:
            times, work = one.times // row.times, rank.work(one.path)
            params += times * _elements(rank, one)
            for at, records in enumerate((one.ops, one.backward)):
                sums[at] = sums[at].plus(_sums(records), times * work)
                sent[at] += times * _sent(rank, records)
        forward, backward = sums
        found[place] = RowShare(
            params, forward.macs, forward.flops, sent[0], forward.read, forward.written, forward.kernels,
            backward.macs, backward.flops, backward.read, backward.written, backward.kernels, sent[1],
        )  # fmt: skip
    around, number = parents(rows), multiplicities(rows)
    for each in collectives:
        place = each.row if each.dimension != "tp" else None
        name, row_times = "sent" if each.direction == "forward" else "backward_sent", number[place or 0]
        while place is not None:
            if (share := found.get(place)) is not None:
                more = row_times // number[place] * each.sent
                found[place] = replace(share, **{name: getattr(share, name) + more})
            place = around[place]
    return (found.get(i) for i in range(len(rows)))
