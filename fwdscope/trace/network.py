"""The forward pass of a spec's network, recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fwdscope.language.check import Checked
from fwdscope.language.expression import Call, Name, walk
from fwdscope.language.problems import Span
from fwdscope.language.tree import For, Line, ModelSpec, Modules, PartLine, expressions, statements
from fwdscope.layers import LAYERS, describe_module
from fwdscope.model.blueprint import Blueprint
from fwdscope.model.build import build_recorded, named_outputs
from fwdscope.model.events import Observer, StepStart
from fwdscope.model.modules import Body, Network, Scope, Series
from fwdscope.ops.dispatch import OpRecord
from fwdscope.torch_private import is_dynamo_loaded, without_dispatch, without_functions
from fwdscope.trace.parameters import named_tensors
from fwdscope.trace.receptive.windows import Axis
from fwdscope.trace.record import Recorder, Trace, hook, recording
from fwdscope.trace.replay import EarlierRuns, Replays


def trace(
    network: Network, recorder: Recorder | None = None, inputs: Mapping[str, Tensor] | None = None, past: int = 0
) -> Trace:
    """Run a network once and record it, on its example inputs if no others are given.

    With ``past`` it is counted as behind so many earlier positions, which takes a run more.

    Equal copies of a stack are one node, unless ``recorder`` is given: one of a subclass may look at more. The network
    is left as it was, also after an exception.
    """
    if past:
        first = Recorder()
        outputs = trace(network, first, inputs).outputs
        recorder = Recorder(past=first.find_past([tensor for _, tensor in outputs], past))
    recorder = recorder or Recorder(repeats=True)
    given = tuple((inputs or network.example).values())
    with contextlib.ExitStack() as stack:
        stack.enter_context(recorder.prepared(network))
        for handle in hook_composites(network.blueprint, recorder):
            stack.callback(handle.remove)
        weights = [tensor for what in ("parameters", "buffers") for _, tensor in named_tensors(network, what)]
        outputs = _record(network, recorder, weights, given)
    return _trace_of(network, recorder, outputs)


class Pause(AbstractContextManager[None]):
    """Stretches in which operators are ignored, of which there are many: how many have begun and not ended."""

    def __init__(self) -> None:
        self.depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        self.depth -= 1


class BuildRecorder(Recorder):
    """Records the run that builds a network. With ``earlier`` runs less is read off it than a report shows."""

    def __init__(self, loops: frozenset[Span], earlier: EarlierRuns | None = None) -> None:
        super().__init__(repeats=True)
        # Where all operators are counted and none is followed, equal blocks run once.
        self.replays = Replays(self, earlier) if earlier is not None else None
        self.only_figures = earlier is not None
        self.is_unlike, self.pause = False, Pause()
        self.loops, self.split = loops, set[Span]()
        self.blueprint: Blueprint | None = None
        # The layers of torch's that modules are inside.
        self.homes: dict[nn.Module, nn.Module] = {}

    def op(self, record: OpRecord, arguments: Any, result: Any) -> None:
        """File an operator, unless it makes or checks a layer."""
        if not self.pause.depth:
            super().op(record, arguments, result)

    def paused(self) -> AbstractContextManager[None]:
        """Ignore operators that run inside."""
        return self.pause

    @contextlib.contextmanager
    def hooked(self, module: nn.Module) -> Iterator[None]:
        """Observe the calls of the modules inside a layer of torch's."""
        assert self.blueprint is not None
        # One inside two layers is named after the first.
        self.is_unlike |= any(self.homes.setdefault(inner, module) is not module for inner in module.modules())
        handles = list(hook_composites(self.blueprint, self, [module]))
        yield
        for handle in handles:
            handle.remove()

    def run_new(
        self,
        module: nn.Module,
        template: Any,
        inputs: tuple[Any, ...],
        keywords: dict[str, Any],
        call: Callable[[], Any],
    ) -> Any:
        """What a block or layer that was just made of a template gives: by ``call``, or as an equal one gave it."""
        if self.replays is None or self.blueprint is None:
            return call()
        return self.replays.run(self.blueprint, module, template, (inputs, keywords), call)

    def as_weight(self, made: Tensor) -> Tensor:
        """A weight of a storage of its own, as if an earlier run had made it; one of another weight's is tied."""
        if self.memory.excludes(made):
            return made.detach()
        with without_dispatch(), without_functions():
            return torch.empty_strided(made.shape, made.stride(), dtype=made.dtype, device=made.device)

    def fields(self) -> dict[int, tuple[Axis, ...] | None]:
        """The receptive fields, for a report."""
        return {} if self.only_figures else super().fields()


def build_and_trace(
    checked: Checked,
    replaced: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    training: bool = False,
    earlier: EarlierRuns | None = None,
) -> tuple[Network, Trace] | None:
    """The network of a spec and its trace, by one run; None if it takes one to build it and one to trace it.

    It can be run on no device. Raises SpecError where lines cannot run, which :func:`build` explains better.
    """
    if checked.allow_import:
        return None  # modules in code may make weights while they run
    recorder = BuildRecorder(_loops_of_layers(checked.spec), earlier)
    outputs: list[tuple[str, Tensor]] = []

    def record(network: Network) -> None:
        recorder.blueprint = network.blueprint
        network.blueprint.builder = recorder
        try:
            outputs.extend(_record(network, recorder, (), tuple(network.example.values())))
        finally:
            network.blueprint.builder = None

    before = is_dynamo_loaded()
    try:
        network = build_recorded(checked, replaced, dtype, training, record)
    except Exception:  # without what refers to itself, a network that is refused is freed at once too
        recorder.replays = None
        if recorder.blueprint is not None:
            recorder.blueprint.layers = {}
        raise
    if not before and is_dynamo_loaded():
        # References of some operators import dynamo when they first run. It keeps the stack of its import, and with it
        # tensors, which would count as alive.
        return build_and_trace(checked, replaced, dtype, training, earlier)
    if recorder.is_unlike or recorder.split != network.blueprint.loops:
        return None
    if earlier is not None and recorder.replays is not None:
        earlier.add(recorder.replays.known)
    recorder.replays = None  # which refers to the recorder: without, both are freed with the trace
    return network, _trace_of(network, recorder, tuple(outputs))


def _loops_of_layers(spec: ModelSpec) -> frozenset[Span]:
    """The loops whose rounds probably make layers, by the place of their line."""
    lines = [*statements(spec.layers), *chain.from_iterable(statements(block.body) for block in spec.blocks)]
    # One layer under ``modules:`` is made by the first round; of several, each round calls another.
    entries = [entry for line in lines if isinstance(line, Modules) for entry in line.entries]
    listed = {one.name for one in entries if one.entries or not isinstance(one.value, Call | Name)}

    def makes(line: Line) -> bool:
        names = (node.id for one in expressions(line) for node in walk(one) if isinstance(node, Name))
        is_part = isinstance(line, PartLine | Modules) or (isinstance(line, For) and bool(line.name))
        return is_part or any(name in LAYERS or name in listed or spec.block(name) for name in names)

    loops = (line for line in lines if isinstance(line, For))
    return frozenset(one.span for one in loops if one.name or any(map(makes, statements(one.body))))


def _record(
    network: Network, recorder: Recorder, weights: Iterable[Tensor], given: Sequence[Tensor]
) -> tuple[tuple[str, Tensor], ...]:
    """Run a network under a recorder, and return its outputs by name."""
    recorder.carried = network.blueprint.carried = []
    network.blueprint.observer = recorder
    try:
        with recording(recorder, weights, given):
            value = network(*given)
            outputs = named_outputs(network, value)
            recorder.finish(network, dict(outputs))
    finally:
        network.blueprint.observer = None
    return outputs


def _trace_of(network: Network, recorder: Recorder, outputs: tuple[tuple[str, Tensor], ...]) -> Trace:
    makers = tuple([recorder.maker(tensor) for _, tensor in outputs])
    root, peak, fields = recorder.root, recorder.memory.peak, recorder.fields()
    source = network.spec.source
    is_brief = isinstance(recorder, BuildRecorder) and recorder.only_figures
    unused = () if is_brief else recorder.unread(named_tensors(network, "parameters"))
    fused = None if is_brief else recorder.fused([tensor for _, tensor in outputs])
    return Trace(
        root, outputs, source, peak, makers, unused, fields, past=recorder.past, step=recorder.step,
        lives=tuple(recorder.lives), fused=fused,
        find_past=partial(recorder.find_past, [tensor for _, tensor in outputs]),
    )  # fmt: skip


def hook_composites(
    blueprint: Blueprint, recorder: Observer, among: Iterable[nn.Module] | None = None
) -> Iterator[RemovableHandle]:
    """Hook the modules inside torch's composite layers, whose calls the network does not report itself.

    A block or a series in such a layer, as the expert of a mixture, reports its own calls.
    """
    hooked: set[nn.Module] = set()
    layers = blueprint.layers
    for module in list(layers) if among is None else among:
        if module in hooked or isinstance(module, Scope):
            continue
        entry, modules = layers[module], dict(module.named_modules())
        for name, inner in modules.items():
            around, _, label = name.rpartition(".")
            if inner is module or inner in hooked or isinstance(modules.get(around), Scope):
                continue
            if inner in layers and not isinstance(inner, Body | Series):
                continue
            hooked.add(inner)
            kind = "block" if isinstance(inner, Body) else "stack" if isinstance(inner, Series) else "layer"
            template = inner.template if isinstance(inner, Body | Series) else None
            text = template.brief if template is not None else describe_module(inner)
            what = StepStart(kind, f"{entry.path}.{name}", inner._get_name(), text, label, entry.span, inner)
            yield from hook(inner, what, recorder)
