"""One training step on meta: forward, loss, backward, and torch's own optimizer, with the life of every storage.

A backward operator belongs to the step of the forward whose operator made autograd's node: both carry the number that
autograd gave it. A sum of gradients belongs to the step whose gradient came last.

The memory is that of a step behind the first, when the optimizer has its state: gradients are freed before it, and its
outputs and loss live until its end.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fwdscope.errors import InputError
from fwdscope.ops.dispatch import OpRecord, run
from fwdscope.ops.nested import named
from fwdscope.ops.watch import watching
from fwdscope.report import LayerRow, Moment, Phase, Totals, TrainingStep
from fwdscope.report.training import PhaseName
from fwdscope.settings import Training, TrainingSettings
from fwdscope.torch_private import autograd_number, number_of, uses_of, without_modes
from fwdscope.trace.memory import Memory, size_of, storage_ids
from fwdscope.trace.optimizers import step_optimizer
from fwdscope.trace.past import Past
from fwdscope.trace.record import Node, Part, RecordedStep, Recorder, Trace, sum_figures

_ADD, _ADD_IN_PLACE = torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor


class _StepMemory(Memory):
    """Follows storages, and those among them that the backward needs or that hold a parameter's gradient."""

    def __init__(self) -> None:
        super().__init__()
        # The bytes alive of each kind, and the kinds of storages.
        self.sums = {"saved": 0, "gradient": 0}
        self.kinds: dict[int, str] = {}

    def mark(self, tensor: Tensor, kind: str) -> tuple[int, ...]:
        """Say what the storages of a tensor are for, and return those that had no kind."""
        self.add(tensor)
        fresh = tuple(key for key in storage_ids(tensor) if key in self._storages and key not in self.kinds)
        for key in fresh:
            self.kinds[key] = kind
            self.sums[kind] += self._storages[key][1]
        return fresh

    def size(self, key: int) -> int:
        """The bytes of a storage that is alive, else 0."""
        return self._storages.get(key, (0, 0))[1]

    def _die(self, identity: int, keys: list[int]) -> None:
        sizes = {key: self.size(key) for key in keys}
        super()._die(identity, keys)
        for key, size in sizes.items():
            if key not in self._storages and key in self.kinds:
                self.sums[self.kinds.pop(key)] -= size


class StepRecorder(Recorder):
    """Records a forward, and when it is through, the rest of a training step."""

    def __init__(self, settings: TrainingSettings) -> None:
        super().__init__()
        self.settings = settings
        # Found before anything runs, as inside another backward it would be less.
        self.own_uses = _uses_of_an_own_gradient()
        self.memory: _StepMemory = _StepMemory()
        # For each operator of the forward the number of autograd's next node, and the list that it is filed in, which
        # is that of its node when the node has ended.
        self.numbers: list[int] = []
        self.lists: list[list[OpRecord]] = []
        # The operators of the backward of each of these lists.
        self.backwards: dict[int, list[OpRecord]] = {}
        # The storages that are kept for the backward, and the list of the first step that keeps them.
        self.keepers: dict[int, list[OpRecord]] = {}
        self.parts: dict[PhaseName, list[OpRecord]] = {"forward": []}
        self.stretches: dict[PhaseName, list[tuple[list[OpRecord], int]]] = {"forward": []}
        self.part: PhaseName = "forward"
        # The list whose backward runs, and whether its node is through, so that its gradients are added to others.
        self.running: list[OpRecord] = []
        self.sums_gradients = False
        # The most bytes alive: with gradients, what is kept, the part and the list.
        self.top: tuple[int, int, int, PhaseName, list[OpRecord]] = (-1, 0, 0, "forward", [])

    def gradients(self) -> AbstractContextManager[Any]:
        """With gradients."""

        @contextlib.contextmanager
        def taking() -> Iterator[None]:
            hooks = torch.autograd.graph.saved_tensors_hooks(self.keep, lambda kept: kept)
            with torch.inference_mode(False), torch.enable_grad(), hooks:
                yield

        return taking()

    def watch(self) -> AbstractContextManager[None]:
        """Record every operator that runs inside, by the kernels that train."""
        return watching(self.op, uses=self.uses, before=self.add_in_place, is_training=True)

    def here(self) -> list[OpRecord]:
        """The list that the last operator of the forward was filed in."""
        if self.part != "forward":
            return self.parts[self.part]
        here = self.stack[-1]
        return (here.own or here).ops if type(here) is Node else here.ops

    def op(self, record: OpRecord, arguments: Any, result: Any) -> None:
        """File an operator of any part."""
        if self.part == "forward":
            super().op(record, arguments, result)
            home = self.here()
        else:
            for tensor in named(result).values():
                self.memory.add(tensor)
            home = self.parts[self.part] if self.part == "loss" else self.running
            (self.backwards.setdefault(id(home), []) if self.part == "backward" else home).append(record)
        if self.part != "backward":
            self.numbers.append(autograd_number())
            self.lists.append(home)
        self.reach(self.memory.live + record.workspace, home)

    def reach(self, live: int, home: list[OpRecord]) -> None:
        """Note that so many bytes are alive."""
        stretches = self.stretches[self.part]
        if not stretches or stretches[-1][0] is not home:
            stretches.append((home, live))
        elif live > stretches[-1][1]:
            stretches[-1] = home, live
        if live > self.top[0]:
            sums = self.memory.sums
            self.top = live, sums["gradient"], sums["saved"], self.part, home

    def begin_part(self, name: PhaseName) -> None:
        """Start a part of the step."""
        self.part = name
        self.running = self.parts[name] = []
        self.stretches[name] = []

    # -- what the backward needs --------------------------------------------------------------------------------------

    def keep(self, tensor: Tensor) -> Tensor:
        """Note that autograd keeps a tensor."""
        fresh = self.memory.mark(tensor, "saved")
        home = self.here()
        self.keepers |= dict.fromkeys(fresh, home)
        return tensor

    # -- loss and backward --------------------------------------------------------------------------------------------

    def finish(self, module: nn.Module, outputs: Mapping[str, Tensor]) -> None:
        """Run the rest of the step."""
        trained = [p for p in module.parameters() if p.requires_grad]
        self.begin_part("loss")
        loss, name, targets = self.loss(outputs)
        saved, hooks = self.memory.sums["saved"], []
        owners = {id(node.ops): node for node in self.root.nodes()}
        for key, home in self.keepers.items():
            if (node := owners.get(id(home))) is not None:
                node.saved += self.memory.size(key)
        self.begin_part("backward")
        self.hook_nodes(loss)
        for parameter in trained:
            hooks.append(parameter.register_post_accumulate_grad_hook(self.mark_gradient))
        loss.backward()
        for hook in hooks:
            hook.remove()
        for identity, records in self.backwards.items():
            if (node := owners.get(identity)) is not None:
                node.backward = records
            else:
                self.parts["backward"] += records
        with_gradient = [p for p in trained if p.grad is not None]
        self.begin_part("optimizer")
        with without_modes():
            stepped = step_optimizer(self.settings.optimizer, with_gradient)
        self.parts["optimizer"] += stepped.records
        self.reach(self.memory.live + stepped.workspace, self.running)
        live, gradients, kept, part, at = self.top
        parts = []
        for part_name, records in self.parts.items():
            stretches = [(owners.get(id(one)), peak) for one, peak in self.stretches[part_name]]
            parts.append(Part(part_name, records, stretches))
        total = sum(size_of(p.grad) for p in with_gradient if p.grad is not None)
        self.step = RecordedStep(
            name, stepped.name, tuple(parts), stepped.state, total, targets, saved,
            live, gradients, kept, part, owners.get(id(at)),
        )  # fmt: skip
        for parameter in trained:
            parameter.grad = None

    def loss(self, outputs: Mapping[str, Tensor]) -> tuple[Tensor, str, int]:
        """The loss, what it is, and the bytes of its targets.

        It is an output of the name, or the only output if that is a single number; else of the logits if an output is
        called so, and of all outputs otherwise.
        """
        differentiable = {name: x for name, x in outputs.items() if x.requires_grad}
        if not differentiable:
            raise InputError("there is nothing to train: no output depends on a trainable parameter")
        chosen = {name: x for name, x in differentiable.items() if name in ("loss", "logits")} or differentiable
        kind, (first, x) = self.settings.loss, next(iter(chosen.items()))
        if kind is None and x.dim() == 0 and (first == "loss" or len(chosen) == 1):
            return x, f"the network's own {first}" if first != "output" else "the network's own", 0
        if kind in (None, "sum"):
            total = x.sum()
            for other in list(chosen.values())[1:]:
                total = total + other.sum()
            return total, f"sum of {', '.join(chosen)}", 0
        classes = 1 if x.dim() in (2, 4, 5) else x.dim() - 1
        with without_modes():
            if kind == "mse":
                target = torch.empty(x.shape, dtype=x.dtype, device=x.device)
            elif x.dim():
                shape = (*x.shape[:classes], *x.shape[classes + 1 :])
                target = torch.empty(shape, dtype=torch.int64, device=x.device)
            else:
                raise InputError(f"--loss cross_entropy: the output {first} is a single number, without classes")
        self.memory.exclude(target)
        if kind == "mse":
            return F.mse_loss(x, target), f"mse of {first}", size_of(target)
        logits, flat = (x.flatten(0, -2), target.flatten()) if classes == x.dim() - 1 != 1 else (x, target)
        return F.cross_entropy(logits, flat), f"cross_entropy of {first}", size_of(target)

    def hook_nodes(self, loss: Tensor) -> None:
        """Be called at the begin and end of the backward of each of autograd's nodes."""
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
        """The backward of a node begins."""
        self.running, self.sums_gradients = home, False

    def leave(self, results: Any, gradients: Any) -> None:
        """The backward of a node ends: the engine adds its results to what other nodes gave."""
        self.sums_gradients = True

    def mark_gradient(self, parameter: Tensor) -> None:
        """A parameter has its gradient."""
        if parameter.grad is not None:
            self.memory.mark(parameter.grad, "gradient")

    def add_in_place(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, OpRecord] | None:
        """Add gradients in place where the engine does without a dispatch mode: nothing else has the first one."""
        if func is _ADD and self.sums_gradients and uses_of(args[0]) <= self.own_uses:
            result, record = run(_ADD_IN_PLACE, args, kwargs)
            return result, record
        return None


@cache
def _uses_of_an_own_gradient() -> tuple[int, int]:
    """What :func:`uses_of` finds when the engine adds to a gradient that nothing else has."""
    found: list[tuple[int, int]] = []

    def look(func: Any, args: Any, kwargs: Any) -> None:
        if func is _ADD:
            found.append(uses_of(args[0]))

    with without_modes(), torch.inference_mode(False), torch.enable_grad(), watching(before=look):
        x = torch.empty(1, device="meta", requires_grad=True).neg()
        x.neg().add(x.neg()).sum().backward()
    return found[-1]


def step_of(trace: Trace, rows: Sequence[tuple[LayerRow, tuple[Node, ...]]], totals: Totals) -> TrainingStep | None:
    """What a report says of the training step of a trace, by the indices of the rows that stand for nodes."""
    step = trace.step
    if step is None:
        return None
    index = {node: i for i, (_, nodes) in enumerate(rows) for node in nodes}
    always = totals.param_bytes + totals.buffer_bytes + (totals.input_bytes or 0) + step.targets + step.state
    phases, curve = [], []
    for name, records, stretches in step.parts:
        figures, unknown = sum_figures(records), {r.op.name: None for r in records if r.cost is None}
        if name == "forward":
            figures = trace.root.cost()
            unknown |= {r.op.name: None for r in trace.root.records() if r.cost is None}
        elif name == "backward":
            figures = sum_figures(records, [(1, trace.root.backward_cost())])
            unknown |= {r.op.name: None for n in trace.root.nodes() for r in n.backward if r.cost is None}
        peak = max([bytes for _, bytes in stretches], default=0) + always
        phases.append(Phase(name, *figures, peak, tuple(unknown)))
        curve += [Moment(name, None if node is None else index.get(node), always + peak) for node, peak in stretches]
    return TrainingStep(
        step.loss, step.optimizer, tuple(phases), step.gradients, step.state, step.targets, step.saved,
        always + step.peak, step.peak_part, None if step.peak_node is None else index.get(step.peak_node),
        step.peak_gradients, step.peak_saved, tuple(curve),
    )  # fmt: skip


def notes_on_step(trace: Trace) -> Iterator[str]:
    """What the figures of a training step leave out."""
    if trace.step and any(r.op.name == "aten._cudnn_rnn_backward" for n in trace.root.nodes() for r in n.backward):
        yield (
            "recurrent layers keep the gates and states of each step for the backward; "
            "what cuDNN reserves beyond these is not published"
        )


def recorder_of(training: Training, repeats: bool = False, past: Past | None = None) -> Recorder:
    """The recorder of a forward, or of a whole training step."""
    return StepRecorder(training) if isinstance(training, TrainingSettings) else Recorder(repeats, past)
