"""One training step on meta: forward, loss, backward, and torch's own optimizer, with the life of every storage.

A backward operator belongs to the step of the forward whose operator made autograd's node: both carry the number that
autograd gave it. A sum of gradients belongs to the step whose gradient came last.

The memory is that of a step behind the first, when the optimizer has its state: gradients are freed before it, and its
outputs and loss live until its end.
"""

from __future__ import annotations

import contextlib
import gc
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from operator import add, sub
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.errors import StepError
from fwdscope.model.events import StepStart
from fwdscope.ops.attention import ATTENTIONS, masked_macs
from fwdscope.ops.autocast import Autocast
from fwdscope.ops.dispatch import OpRecord, run
from fwdscope.ops.nested import named
from fwdscope.ops.watch import watching
from fwdscope.report import LayerRow, Moment, Phase, Totals, TrainingStep
from fwdscope.report.training import PhaseName
from fwdscope.settings import Training, TrainingSettings
from fwdscope.torch_private import autograd_number, is_dynamo_loaded, number_of, uses_of, without_modes
from fwdscope.trace.checkpointing import checkpointed
from fwdscope.trace.memory import size_of, sizes, storage_ids
from fwdscope.trace.objective import loss_of
from fwdscope.trace.optimizers import step_optimizer
from fwdscope.trace.past import Past
from fwdscope.trace.patterns import find_checkpointed, freeze_others
from fwdscope.trace.record import NOTHING, Levels, Node, Part, RecordedStep, Recorder, Trace, sum_figures
from fwdscope.trace.step_memory import (
    AliveAt,
    AliveInCopies,
    CopiesDifferError,
    CopiesOfStep,
    NextCopy,
    StepMemory,
    empty_bytes,
)

_BATCHED = ("aten.bmm", "aten.baddbmm")
_ADD, _ADD_IN_PLACE = torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor


class StepRecorder(Recorder):
    """Records a forward, then the rest of a training step."""

    def __init__(self, settings: TrainingSettings, repeats: bool = False) -> None:
        super().__init__(repeats)
        self.settings = settings
        self.has_dynamo = is_dynamo_loaded()
        # Found before anything runs, as inside another backward it would be less.
        self.own_uses = _uses_of_an_own_gradient()
        self.memory: StepMemory = StepMemory()
        # For each operator of the forward the number of autograd's next node, and the list that it is filed in, which
        # is that of its node when the node has ended.
        self.numbers: list[int] = []
        self.lists: list[list[OpRecord]] = []
        # The operators of the backward of each of these lists.
        self.backwards: dict[int, list[OpRecord]] = {}
        # In each of these lists, the MACs of batched products of two activations: attention that is written out.
        self.written_out: dict[int, int] = {}
        # The storages that are kept for the backward, and the list of the first step that keeps them.
        self.keepers: dict[int, list[OpRecord]] = {}
        # All storages that were kept, in order, and those of weights that autocast has cast; their numbers, those of
        # all storages made, of the stretches and of the moments, and the bytes alive, when each node began.
        self.kept: list[int] = []
        self.casts: list[int] = []
        self.before: dict[Node, tuple[int, int, int, int, int, Levels]] = {}
        # What copies that did not run would have cast, and autocast keeps.
        self.autocast: Autocast | None = None
        self.casts_of_copies: list[Tensor] = []
        # Copies of stacks that did not run, by the node of that which did; the parameters of these for those of others.
        self.copies: dict[Node, CopiesOfStep] = {}
        self.twins: dict[int, Tensor] = {}
        # Of these, the ones whose backward runs, the innermost last.
        self.open: list[CopiesOfStep] = []
        self.held: list[Tensor] = []
        self.targets: list[Tensor] = []
        self.parts: dict[PhaseName, list[OpRecord]] = {"forward": []}
        self.stretches: dict[PhaseName, list[tuple[list[OpRecord], Levels]]] = {"forward": []}
        self.part: PhaseName = "forward"
        # The list whose backward runs, and whether its node is through, so that its gradients are added to others.
        self.running: list[OpRecord] = []
        self.sums_gradients = False
        # The most bytes alive, the part and the list.
        self.top: tuple[Levels, PhaseName, list[OpRecord]] = (NOTHING._replace(live=-1), "forward", [])
        # The bytes alive during each operator of what ran.
        self.moments: list[AliveAt] = []
        # The parameters that got a gradient, and the storages of those that hold one of earlier micro-batches.
        self.with_gradient: set[int] = set()
        self.accumulated: set[int] = set()

        # The modules that each pattern checkpoints, those that were called, and how many of them are running.
        self.checkpointed: dict[str, list[nn.Module]] = {}
        self.ran: set[nn.Module] = set()
        self.regions = 0
        # The node whose forward is computed again, or was just now, and how many storages had been made before.
        self.again: Node | None = None
        self.restored: tuple[Node, int] | None = None

    @contextlib.contextmanager
    def prepared(self, module: nn.Module) -> Iterator[None]:
        """Freeze what is not trained, and checkpoint modules."""
        if self.settings.train_only:
            freeze_others(module, self.settings.train_only)
        self.checkpointed = find_checkpointed(module, self.settings.checkpoint)
        with contextlib.ExitStack() as stack:
            for inner in {one for found in self.checkpointed.values() for one in found}:
                own = vars(inner)
                restore = partial(own.__setitem__, "forward", own["forward"]) if "forward" in own else None
                stack.callback(restore or partial(own.pop, "forward"))
                own["forward"] = checkpointed(inner, self.region, self.begin_region)
            yield

    def gradients(self) -> AbstractContextManager[Any]:
        """Enable gradients while the forward runs."""

        @contextlib.contextmanager
        def taking() -> Iterator[None]:
            hooks = torch.autograd.graph.saved_tensors_hooks(self.keep, lambda kept: kept)
            with torch.inference_mode(False), torch.enable_grad(), hooks:
                yield

        return taking()

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Record every operator that runs inside, as the kernels used in training."""
        watch = watching(self.op, uses=self.uses, before=self.add_in_place, is_training=True)
        with watch as self.functions, self.casting() as self.autocast:
            yield

    @contextlib.contextmanager
    def casting(self) -> Iterator[Autocast | None]:
        """Cast by autocast if it is asked for, until the end or before."""
        if self.settings.autocast is None:
            yield None
            return
        with Autocast(getattr(torch, self.settings.autocast), self.cast_weight) as autocast:
            try:
                yield autocast
            finally:
                autocast.end()

    def cast_weight(self, cast: Tensor) -> None:
        """Record a weight that autocast has cast."""
        self.memory.mark(cast, "cast")
        self.casts += storage_ids(cast)

    def here(self) -> list[OpRecord]:
        """The list of operators of the current row."""
        if self.part != "forward":
            return self.parts[self.part]
        here = self.stack[-1]
        return (here.own or here).ops if type(here) is Node else here.ops

    def op(self, record: OpRecord, arguments: Any, result: Any) -> None:
        """Record an operator of any phase."""
        if not self.has_dynamo and is_dynamo_loaded():
            # Python's references of the kernel that loaded it hold tensors in cycles.
            self.has_dynamo = True
            gc.collect()
        if self.part == "forward":
            super().op(record, arguments, result)
            home = self.here()
            if record.op.name in _BATCHED and not any(map(self.memory.is_weight, arguments[0][-2:])):
                self.written_out[id(home)] = self.written_out.get(id(home), 0) + record.figures[0]
        else:
            if self.restored is not None and self.again is None:
                node, made = self.restored
                node.recomputed_bytes += self.memory.mark_since(made, "saved")
                self.restored = None
            for tensor in named(result).values():
                self.memory.add(tensor)
            if self.again is not None:
                self.again.recomputed.append(record)
            home = self.parts[self.part] if self.part == "loss" else self.running
            if self.accumulated.isdisjoint(storage_ids(result) if record.op.name == "aten.add_" else ()):
                (self.backwards.setdefault(id(home), []) if self.part == "backward" else home).append(record)
        if self.part != "backward":
            self.numbers.append(autograd_number())
            self.lists.append(home)
        levels = self.memory.levels(record.workspace)
        self.moments.append(AliveAt(self.part, home, record.op.name, levels.live))
        self.reach(levels, home)

    def reach(self, levels: Levels, home: list[OpRecord]) -> None:
        """Record the number of live bytes."""
        stretches = self.stretches[self.part]
        if not stretches or stretches[-1][0] is not home:
            stretches.append((home, levels))
        elif levels[0] > stretches[-1][1][0]:
            stretches[-1] = home, levels
        self.reach_top(levels, home)

    def reach_top(self, levels: Levels, home: list[OpRecord]) -> None:
        """Update the overall peak, and the peak inside copies that stand for others."""
        if levels[0] > self.top[0][0]:
            self.top = levels, self.part, home
        for copies in self.open:
            copies.reach(levels, home)

    def begin_part(self, name: PhaseName) -> None:
        """Start a phase of the step."""
        self.part = name
        self.running = self.parts[name] = []
        self.stretches[name] = []

    # -- what the backward needs --------------------------------------------------------------------------------------

    def keep(self, tensor: Tensor) -> Tensor:
        """Record that autograd saves a tensor."""
        fresh = self.memory.mark(tensor, "saved")
        self.keepers |= dict.fromkeys(fresh, self.here())
        self.kept += storage_ids(tensor)
        return tensor

    @contextlib.contextmanager
    def region(self) -> Iterator[None]:
        """Run the forward of a checkpointed module, in which every copy of a stack runs."""
        self.regions += 1
        try:
            yield
        finally:
            self.regions -= 1

    def begin_region(self) -> Callable[[], AbstractContextManager[None]]:
        """Start a checkpointed module; returns what is entered when it is computed again."""
        node = self.stack[-1]
        assert isinstance(node, Node)
        assert node.module is not None
        self.ran.add(node.module)
        node.recomputed = []
        return partial(self.compute_again, node)

    @contextlib.contextmanager
    def compute_again(self, node: Node) -> Iterator[None]:
        """Record what runs inside as a part of the backward of a node, without steps of its own."""
        around = self.running, self.sums_gradients, self.again
        self.running, self.sums_gradients, self.again = node.ops, False, node
        self.restored = node, self.memory.made
        silent = dict.fromkeys(("begin", "end", "turn", "line", "line_end", "note"), lambda *_: None)
        vars(self).update(silent)
        try:
            with self.region(), self.functions, self.casting():
                yield
        finally:
            self.running, self.sums_gradients, self.again = around
            for name in silent:
                del vars(self)[name]

    # -- copies of a stack that do not run ----------------------------------------------------------------------------

    def begin(self, what: StepStart, inputs: Any) -> None:
        """Start a node."""
        super().begin(what, inputs)
        if self.repeats:
            node = self.stack[-1]
            assert isinstance(node, Node)
            counts = len(self.kept), len(self.casts), self.memory.made, len(self.stretches[self.part])
            self.before[node] = (*counts, len(self.moments), self.memory.levels())

    def is_repeatable(self, x: Tensor, others: Sequence[Tensor], result: Tensor) -> bool:
        """Whether further copies keep what the layer that just ended keeps."""
        if self.regions:
            return False
        node = self.parent()[-1]
        number, cast, made, place, moment, start = self.before[node]
        kept, casts = set(self.kept[number:]), set(self.casts[cast:])
        if any(other is x or other.requires_grad for other in others) or self.maker(result) not in set(node.nodes()):
            return False
        own, (before,), (behind,) = {id(one.ops) for one in node.nodes()}, storage_ids(x), storage_ids(result)
        keeps_x, keeps_result = before in kept, behind in self.keepers
        first = {key for key in kept if id(self.keepers.get(key)) in own}
        # The first to keep a copy's input is the copy itself, or the one before, whose result it is.
        is_first = before in first
        if any(self.memory.born.get(key, made) < made for key in first - {before}):
            return False  # what all copies keep, as a mask, is kept once
        in_cache, casts_kept = (sum(map(self.memory.size, one)) for one in (casts - kept, casts & kept))
        left = self.memory.live - node.live - self.memory.size(behind) - in_cache - casts_kept
        highest = max([levels for _, levels in self.stretches["forward"][place:]], default=start)
        rise = Levels(*map(sub, highest, start))
        self.copies[node] = CopiesOfStep(node, own, (left, casts_kept, in_cache), keeps_x, keeps_result, rise)
        self.copies[node].alive["forward"] = AliveInCopies(moment, len(self.moments), start.live)
        return is_first == (keeps_x and not keeps_result)

    def may_repeat(self, modules: Mapping[nn.Module, nn.Module]) -> bool:
        """Whether the same parameters of a copy are trained, and the same modules checkpointed."""
        chosen = {one for found in self.checkpointed.values() for one in found}
        if any((old in chosen) != (new in chosen) for old, new in modules.items()):
            return False
        trained = [
            [p.requires_grad for p in module.parameters(recurse=False)] for module in (*modules, *modules.values())
        ]
        return trained[: len(modules)] == trained[len(modules) :] and super().may_repeat(modules)

    def result_of_copy(self, node: Node, x: Tensor, result: Tensor, modules: Mapping[nn.Module, nn.Module]) -> Tensor:
        """The result of a copy that does not run, with a backward and with the bytes that the copy before it saved."""
        copies, levels = self.copies[node], self.memory.levels()
        self.reach(Levels(*map(add, levels, copies.forward_rise)), node.ops)
        copies.alive["forward"].other = levels.live
        self.stretches["forward"].append(([], NOTHING))  # so that each copy has a stretch of its own
        self.memory.mark(empty_bytes(copies.casts_in_cache, self.casts_of_copies), "cast")
        copies.gradients = 0
        for old, new in modules.items():
            for (_, one), (_, twin) in zip(old._parameters.items(), new._parameters.items(), strict=True):
                if one is not None and twin is not None and one.requires_grad:
                    self.twins[id(twin)] = one
                    copies.gradients += size_of(one)
        connected: Tensor = NextCopy.apply(self.memory, self.replay, copies, x)
        return connected

    def replay(self, copies: CopiesOfStep, gradient: Tensor) -> None:
        """Start the backward of a copy that did not run; it costs what that of the copy that ran will cost."""
        if 0 in gradient.stride():  # as the first of all, where one number fills it, which is less to read
            raise CopiesDifferError
        stretches = self.stretches["backward"]
        copies.starts.append((self.memory.levels(), len(stretches)))
        copies.alive.setdefault("backward", AliveInCopies(other=self.memory.live))
        stretches.append((copies.node.ops, NOTHING))
        if self.settings.accumulate == 1:
            self.memory.mark(empty_bytes(copies.gradients, self.held), "gradient")
        if len(copies.starts) == copies.node.repeat - 1:
            self.open.append(copies)

    def close(self) -> None:
        """End the backward of the innermost copy that stands for others."""
        copies = self.open.pop()
        copies.alive["backward"].end = len(self.moments)
        for levels, place in copies.starts:
            reached = Levels(*map(add, levels, copies.rise))
            self.stretches["backward"][place] = copies.node.ops, reached
            self.reach_top(reached, copies.at)

    # -- loss and backward --------------------------------------------------------------------------------------------

    def finish(self, module: nn.Module, outputs: Mapping[str, Tensor]) -> None:
        """Run the rest of the step."""
        trained = [p for p in module.parameters() if p.requires_grad]
        ran = {one for node in self.root.nodes() for one in node.copies or ()} | self.ran
        for pattern, modules in self.checkpointed.items():
            if ran.isdisjoint(modules):
                raise StepError(f"--checkpoint {pattern}: no module that it matches is called in the forward")
        self.begin_part("loss")
        loss, name = loss_of(outputs, self.settings.loss, self.make_target)
        if self.autocast is not None:
            self.autocast.end()
            self.casts_of_copies.clear()
        saved = self.memory.sums["saved"]
        owners = {id(node.ops): node for node in self.root.nodes()}
        for key, home in self.keepers.items():
            if (node := owners.get(id(home))) is not None:
                node.saved += self.memory.size(key)
        self.run_backward(loss, trained)
        for identity, records in self.backwards.items():
            if (node := owners.get(identity)) is not None:
                node.backward = records
            else:
                self.parts["backward"] += records
        with_gradient = [p for p in trained if id(self.twins.get(id(p), p)) in self.with_gradient]
        self.begin_part("optimizer")
        with without_modes():
            held = self.stepped(with_gradient)
            stepped = step_optimizer(self.settings.optimizer, held, self.settings.master_weights)
            adds = [run(_ADD_IN_PLACE, (p, p), {})[1] for p in held if self.accumulated]
        self.parts["optimizer"] += stepped.records
        levels = self.memory.levels(stepped.workspace)
        names = {id(p): re.sub(r"\d+", "*", name) for name, p in module.named_parameters()}
        needed = {
            (f"cast {names[id(one)]}" if i else names[id(one)], self.memory.live + more): None
            for one, needs in zip(with_gradient, stepped.needs, strict=True)
            for i, more in enumerate(reversed(needs))
        }
        self.moments += [AliveAt("optimizer", self.running, *one) for one in needed]
        self.reach(levels._replace(gradients=levels.gradients + stepped.more_gradients), self.running)
        parts = []
        for part, records in self.parts.items():
            stretches = [(owners.get(id(one)), peak) for one, peak in self.stretches[part] if peak.live]
            parts.append(Part(part, records, stretches))
        levels, part, at = self.top
        self.step = RecordedStep(
            self.settings, name, tuple(parts), adds, stepped.state, stepped.master, sizes(held)[2],
            sizes(self.targets)[2], saved, levels, part, owners.get(id(at)), with_gradient, self.memory.live,
            self.written_out, list(self.alive(owners)),
        )  # fmt: skip
        for parameter in trained:
            parameter.grad = None
        self.held.clear()

    def alive(self, owners: Mapping[int, Node]) -> Iterator[tuple[PhaseName, Node | None, str, int]]:
        """The bytes alive during each operator: of equal copies that did not run, as of that farthest from what ran.

        What a copy finds alive grows or shrinks from one to the next by the same, so that none between has the most.
        """
        more: list[tuple[int, AliveAt]] = []
        for copies in self.copies.values():  # those inside others before these
            for part, one in copies.alive.items():
                if one.other is None:
                    continue
                found = [*self.moments[one.begin : one.end], *[m for at, m in more if one.begin <= at < one.end]]
                inside = [m for m in found if m.part == part and id(m.home) in copies.inside]
                more += [(one.begin, m._replace(live=m.live + one.other - one.start)) for m in inside]
        for moment in (*self.moments, *(moment for _, moment in more)):
            yield moment.part, owners.get(id(moment.home)), moment.operator, moment.live

    def is_added_to(self, parameter: Tensor) -> bool:
        """Whether torch can add to the gradient of a parameter in place: of any."""
        return True

    def stepped(self, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        """What the optimizer steps, of the parameters with a gradient: all of them."""
        return parameters

    def make_target(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Count a tensor that lives for the whole step, as inputs do."""
        with without_modes():
            self.targets.append(torch.empty(shape, dtype=dtype, device="meta"))
        self.memory.exclude(self.targets[-1])
        return self.targets[-1]

    def run_backward(self, loss: Tensor, trained: Sequence[Tensor]) -> None:
        """Take the gradients of a loss."""
        self.begin_part("backward")
        self.hook_nodes(loss)
        hooks = [parameter.register_post_accumulate_grad_hook(self.mark_gradient) for parameter in trained]
        if self.settings.accumulate > 1:  # those of a micro-batch before, which are alive throughout
            for parameter in filter(self.is_added_to, trained):
                with without_modes():
                    parameter.grad = torch.empty_like(parameter.detach())
                self.accumulated.update(self.memory.exclude(parameter.grad))
        try:
            loss.backward()
        except RuntimeError as error:
            found = re.match(r"derivative for aten::(\w+) is not implemented", str(error))
            if found is None:
                raise
            raise StepError(f"there is no training step: torch has no derivative of {found[1]}") from error
        while self.open:
            self.close()
        for hook in hooks:
            hook.remove()
        for copies in self.copies.values():
            if copies.starts and copies.gradients != copies.own_gradients(self.with_gradient):
                raise CopiesDifferError

    def hook_nodes(self, loss: Tensor) -> None:
        """Hook the beginning and the end of the backward of each autograd node."""
        waiting = [loss.grad_fn]
        seen = set(waiting)
        while waiting:
            node = waiting.pop()
            if node is None or hasattr(node, "variable"):  # the gradient of a parameter
                continue
            place = bisect_right(self.numbers, number_of(node))
            home = self.lists[place] if place < len(self.lists) else self.parts["loss"]
            node.register_prehook(partial(self.enter, home))
            node.register_hook(self.leave)
            for following, _ in node.next_functions:
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)

    def enter(self, home: list[OpRecord], gradients: Any) -> None:
        """Called before the backward of an autograd node."""
        self.running, self.sums_gradients = home, False
        while self.open and self.open[-1].start is not None and id(home) not in self.open[-1].inside:
            self.close()
        if self.open and self.open[-1].start is None:
            copies, copies.start = self.open[-1], self.memory.levels()
            copies.alive["backward"].begin, copies.alive["backward"].start = len(self.moments), copies.start.live

    def leave(self, results: Any, gradients: Any) -> None:
        """Called after the backward of an autograd node, before the engine sums gradients."""
        self.sums_gradients = True

    def mark_gradient(self, parameter: Tensor) -> None:
        """Called when a parameter has its gradient."""
        if parameter.grad is not None:
            self.with_gradient.add(id(parameter))
            self.memory.mark(parameter.grad, "gradient")

    def add_in_place(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, OpRecord] | None:
        """Add gradients in place where the engine does so without a dispatch mode: to one that only it holds."""
        if func is _ADD and self.sums_gradients and uses_of(args[0]) <= self.own_uses:
            result, record = run(_ADD_IN_PLACE, args, kwargs)
            return result, record
        return None


@cache
def _uses_of_an_own_gradient() -> tuple[int, int]:
    """The reference count that :func:`uses_of` returns for a gradient that only the engine holds."""
    found: list[tuple[int, int]] = []

    def look(func: Any, args: Any, kwargs: Any) -> None:
        if func is _ADD:
            found.append(uses_of(args[0]))

    with without_modes(), torch.inference_mode(False), torch.enable_grad(), watching(before=look):
        x = torch.empty(1, device="meta", requires_grad=True).neg()
        x.neg().add(x.neg()).sum().backward()
    return found[-1]


def step_of(trace: Trace, rows: Sequence[tuple[LayerRow, tuple[Node, ...]]], totals: Totals) -> TrainingStep | None:
    """The training step of a report, from that of a trace and the row index of each node."""
    step = trace.step
    if step is None:
        return None
    index = {node: i for i, (_, nodes) in enumerate(rows) for node in nodes}
    times = step.settings.accumulate
    accumulated = step.gradients if times > 1 else 0
    always = totals.param_bytes + totals.buffer_bytes + (totals.input_bytes or 0) + step.targets + step.state
    always += accumulated
    phases, curve = [], []
    for name, records, stretches in step.parts:
        figures, unknown = sum_figures(records), {r.op.name: None for r in records if r.cost is None}
        if name == "forward":
            figures = trace.root.cost()
            unknown |= {r.op.name: None for r in trace.root.records() if r.cost is None}
        elif name == "backward":
            figures = sum_figures(records, [(1, trace.root.backward_cost())])
            unknown |= {r.op.name: None for n in trace.root.nodes() for r in n.backward if r.cost is None}
        if name != "optimizer":
            added = [(times - 1, record.figures) for record in step.additions if name == "backward"]
            figures = sum_figures((), [(times, figures), *added])
        highest = max([levels.live for _, levels in stretches], default=0) + always
        phases.append(Phase(name, *figures, highest, tuple(unknown)))
        for node, (live, gradients, saved, casts) in stretches:
            row = None if node is None else index.get(node)
            curve.append(Moment(name, row, always + live, accumulated + gradients, saved, casts))
    peak, settings, repeated = step.peak, step.settings, trace.root.recomputed_cost()
    attention, masked, masked_backward = (times * macs for macs in _attention(trace, step))
    return TrainingStep(
        step.loss, settings.optimizer, tuple(phases), step.gradients, step.state, step.targets, step.saved,
        always + peak.live, step.peak_part, None if step.peak_node is None else index.get(step.peak_node),
        accumulated + peak.gradients, peak.saved, tuple(curve), times, settings.autocast, settings.train_only,
        settings.checkpoint, step.master, peak.casts, times * repeated[0], times * repeated[1], repeated[2],
        attention, masked, masked_backward,
    )  # fmt: skip


def _attention(trace: Trace, step: RecordedStep) -> tuple[int, int, int]:
    """The MACs of attention in the forward, those of them on scores that causality masks, and such in the backward."""
    found = [0, 0, 0]
    waiting = [(trace.root, 1)]
    while waiting:
        node, times = waiting.pop()
        times *= node.repeat
        found[0] += times * step.written_out.get(id(node.ops), 0)
        for backward, records in enumerate((node.ops, node.backward)):
            for record in records:
                if "attention" in record.op.name and (record.op.name in ATTENTIONS or backward):
                    macs = times * record.figures[0]
                    found[0] += 0 if backward else macs
                    found[1 + backward] += masked_macs(record.op, macs)
        waiting += [(inner, times) for inner in node.inside()]
    return found[0], found[1], found[2]


def notes_on_step(trace: Trace) -> Iterator[str]:
    """Notes on what the figures of a training step leave out."""
    if trace.step and any(r.op.name == "aten._cudnn_rnn_backward" for n in trace.root.nodes() for r in n.backward):
        yield (
            "recurrent layers keep the gates and states of each step for the backward; "
            "what cuDNN reserves beyond these is not published"
        )


def recorder_of(training: Training, repeats: bool = False, past: Past | None = None) -> Recorder:
    """The recorder of a forward, or of a whole training step."""
    return StepRecorder(training, repeats) if isinstance(training, TrainingSettings) else Recorder(repeats, past)
