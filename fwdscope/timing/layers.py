"""Timing each layer, in passes apart from those of the whole.

The layers of a spec are timed as its graph of plain calls runs (:mod:`fwdscope.model.straight`), so that evaluating the
spec's lines is in no layer's time; where the data decide which lines run, while they are evaluated. The layers of a
module are timed by hooks. An asynchronous device is delayed before each stretch of a pass until the host has launched
it, so that the device's work is timed and not the gaps between launches.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn

from fwdscope.model.events import StepKey
from fwdscope.model.modules import Network, Scope
from fwdscope.model.process_state import torch_default_dtype
from fwdscope.model.straight import NotStraight, straight
from fwdscope.report import LayerRow, multiplicities, parents
from fwdscope.timing.clock import Clock, clock_for, empty_pair
from fwdscope.timing.stopwatch import LaunchDelays, Stopwatch
from fwdscope.trace import Node
from fwdscope.trace.module import hook_modules
from fwdscope.trace.network import hook_composites
from fwdscope.trace.parameters import named_modules

PASSES = 5
# Passes that are not counted since they show where the host launches too late.
SETTLING = 3


@dataclass(frozen=True)
class LayerTimes:
    """Seconds of each step in each pass; ``interrupted`` if Ctrl-C ended it early."""

    passes: tuple[Mapping[StepKey, float], ...]
    interrupted: bool = False
    # Seconds below which the time of a call is not known.
    noise: float = 0.0
    # Steps whose times have launching in them: they launch more than the device queues, or wait for it.
    exposed: frozenset[StepKey] = frozenset()

    def of(self, keys: Sequence[StepKey]) -> tuple[float, ...]:
        """Seconds of some steps together in each pass; empty if none of them was timed."""
        if not any(key in times for times in self.passes for key in keys):
            return ()
        return tuple(sum(times.get(key, 0.0) for key in keys) for times in self.passes)


@dataclass(frozen=True)
class LayeredCall:
    """A call of a network or module whose layers are timed, and what is set during each pass.

    ``graph`` is the network's, if it is known. The mode is left to the caller.
    """

    module: nn.Module
    inputs: Sequence[Any]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    graph: fx.GraphModule | None = None
    during: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext


def latencies(
    module: nn.Module,
    inputs: Sequence[Any],
    keywords: Mapping[str, Any] | None = None,
    *,
    passes: int = PASSES,
    budget: float | None = None,
    clock: Clock | None = None,
    graph: fx.GraphModule | None = None,
    during: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
) -> LayerTimes:
    """Time the layers of a network or module on the device where it and its inputs are; see :func:`in_turn`."""
    if clock is None:
        devices = (t.device for t in (*module.parameters(), *module.buffers(), *inputs) if isinstance(t, Tensor))
        clock = clock_for(next(devices, torch.device("cpu")))
    return in_turn([LayeredCall(module, inputs, keywords or {}, graph, during)], clock, passes, budget)[0]


def in_turn(
    calls: Sequence[LayeredCall],
    clock: Clock,
    passes: int = PASSES,
    budget: float | None = None,
    order: random.Random | None = None,
) -> list[LayerTimes]:
    """Time the layers of several calls on one device, a pass of each in turn, in random order if one is given.

    At least one pass of each is timed, and at most ``passes``, within ``budget`` seconds. Ctrl-C ends it early, with
    the passes so far.
    """
    began, empty = clock.now(), empty_pair(clock)
    every: list[tuple[list[Mapping[StepKey, float]], Sequence[LaunchDelays]]] = [([], ()) for _ in calls]
    interrupted = False
    with torch.inference_mode(), contextlib.ExitStack() as stack:
        try:
            one_pass = []
            for i, call in enumerate(calls):
                with call.during():
                    run, delays = stack.enter_context(_passes(call, clock, empty.seconds))
                    one_pass.append(run)
                    every[i] = [], delays
                    run()  # warm-up
            settling, done = SETTLING, 0
            while done < passes and not (done and budget is not None and clock.now() - began > budget):
                found = {}
                for i in (order or random).sample(range(len(calls)), len(calls)) if len(calls) > 1 else (0,):
                    with calls[i].during():
                        found[i] = one_pass[i]()
                if settling and any(delay.changed for _, delays in every for delay in delays):
                    settling -= 1
                    continue
                done += 1
                for i, times in found.items():
                    every[i][0].append(times)
        except KeyboardInterrupt:
            interrupted = True
    return [
        LayerTimes(
            tuple(times),
            interrupted,
            empty.noise,
            frozenset(key for delay in delays for key, n in delay.late.items() if 2 * n > len(times)),
        )
        for times, delays in every
    ]


Pass: TypeAlias = Callable[[], dict[StepKey, float]]


@contextlib.contextmanager
def _passes(call: LayeredCall, clock: Clock, empty: float) -> Iterator[tuple[Pass, Sequence[LaunchDelays]]]:
    """A function that runs one pass and returns its times, and the delays that it makes."""
    module, args, graph = call.module, tuple(call.inputs), call.graph
    with contextlib.ExitStack() as stack:

        def watched() -> dict[StepKey, float]:
            watch.restart()
            with torch_default_dtype(module.blueprint.dtype) if isinstance(module, Network) else nullcontext():
                module(*args, **call.keywords)
            return watch.read()

        if graph is None and not isinstance(module, Network):
            watch = Stopwatch(clock, empty=empty)
            for handle in hook_modules(named_modules(module), watch):
                stack.callback(handle.remove)
            yield watched, [watch.delays]
            return
        if isinstance(module, Network) and graph is None:
            try:
                with torch_default_dtype(module.blueprint.dtype):
                    graph = straight_with_steps(module, args)
            except NotStraight:
                watch = stack.enter_context(_observing(module, clock, LaunchDelays(clock), empty))
                yield watched, [watch.delays]
                return
        assert graph is not None
        one = _GraphPass(graph, module if isinstance(module, Network) else None, args, clock, empty)
        yield one, [one.delays, one.delays_inside]


def straight_with_steps(network: Network, inputs: Sequence[Tensor]) -> fx.GraphModule:
    """The network's graph, its nodes numbered as the steps of the trace. Raises NotStraight."""
    return straight(network, inputs, lambda observer: hook_composites(network.blueprint, observer))


@contextlib.contextmanager
def _observing(network: Network, clock: Clock, delays: LaunchDelays, empty: float) -> Iterator[Stopwatch]:
    """A stopwatch that observes a network, also inside torch's composite layers."""
    watch = Stopwatch(clock, delays, empty)
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, network.blueprint, "observer", network.blueprint.observer)
        network.blueprint.observer = watch
        for handle in hook_composites(network.blueprint, watch):
            stack.callback(handle.remove)
        yield watch


class _GraphPass:
    """Runs a graph node by node, with marks around each call."""

    def __init__(
        self, graph: fx.GraphModule, network: Network | None, inputs: tuple[Any, ...], clock: Clock, empty: float
    ) -> None:
        self.graph = graph
        self.empty = empty
        self.network = network
        self.inputs = inputs
        self.clock = clock
        self.composites = any(node.meta.get("inside") for node in graph.graph.nodes if _is_timed(node))
        self.delays, self.delays_inside = LaunchDelays(clock), LaunchDelays(clock)

    def __call__(self) -> dict[StepKey, float]:
        """Run one pass. Modules inside composite layers are timed in another, since hooks disable torch's fast path."""
        with torch_default_dtype(self.network.blueprint.dtype) if self.network is not None else nullcontext():
            runner = _Runner(self, None)
            runner.run(*self.inputs, enable_io_processing=False)
            times = runner.read()
            if self.composites and self.network is not None:
                with _observing(self.network, self.clock, self.delays_inside, self.empty) as watch:
                    _Runner(self, watch).run(*self.inputs, enable_io_processing=False)
                    times |= watch.read()
        return times


def _is_timed(node: fx.Node) -> bool:
    return node.meta.get("step") is not None and node.op in ("call_module", "call_function", "call_method")


class _Runner(fx.Interpreter):
    """One run of a graph. With a stopwatch, only what is inside composite layers is timed."""

    def __init__(self, of: _GraphPass, watch: Stopwatch | None) -> None:
        super().__init__(of.graph)
        self.clock, self.delays, self.empty = of.clock, of.delays, of.empty
        self.delays.restart()
        self.watch = watch
        self.spans: list[tuple[StepKey, Any, Any]] = []
        self.modules: dict[str, nn.Module] = dict(of.graph.named_modules(remove_duplicate=False))

    def run_node(self, n: fx.Node) -> Any:
        """Run and time a node."""
        if not _is_timed(n):
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        # The function is looked up before it is timed.
        run: Callable[..., Any] = n.target  # type: ignore[assignment]
        if n.op == "call_module":
            run = self.modules[str(n.target)]
        elif n.op == "call_method":
            run = getattr(type(args[0]), str(n.target))
        if self.watch is not None:
            return run(*args, **kwargs)
        if self.delays.begin(n.meta["step"]):
            self.delays.wait()
        begin = self.clock.mark()
        value = run(*args, **kwargs)
        self.spans.append((n.meta["step"], begin, self.clock.mark()))
        return value

    def read(self) -> dict[StepKey, float]:
        """Seconds of each step."""
        self.delays.end_pass()
        times: dict[StepKey, float] = {}
        seconds = self.clock.read([(begin, end) for _, begin, end in self.spans])
        for (step, _, _), spent in zip(self.spans, seconds, strict=True):
            times[step] = times.get(step, 0.0) + max(0.0, spent - self.empty)
        return times


# --- onto rows -------------------------------------------------------------------------------------------------------


def row_times(
    pairs: Sequence[tuple[LayerRow, tuple[Node, ...]]], times: LayerTimes
) -> tuple[list[tuple[float, ...] | None], tuple[float, ...]]:
    """Seconds of each row in each pass, None of one that was not timed, and those of all layers.

    They are of one copy with all its calls: the mean of the copies that the row stands for. In a spec, a row with
    others inside is their sum. ``pairs`` are :func:`fwdscope.trace.rows_with_nodes` of the same network.
    """
    rows = [row for row, _ in pairs]
    above, many = parents(rows), multiplicities(rows)
    nothing = (0.0,) * len(times.passes)
    inside: list[tuple[float, ...]] = [nothing] * len(rows)
    whole = nothing
    found: list[tuple[float, ...]] = [nothing] * len(rows)
    # A module's own work is not timed where the module is a part of one call.
    known = [True] * len(rows)
    for i in reversed(range(len(rows))):
        own = times.of([node.step for node in pairs[i][1] if node.step is not None])
        node = pairs[i][1][0]
        known[i] = bool(own) or node.is_step()
        # Blocks, parts and loops of a spec are the sum of what is inside; all other rows are timed with it.
        summed = isinstance(node.module, Scope) or node.kind in ("loop", "part")
        found[i] = inside[i] if summed or not own else nothing
        if own:
            found[i] = tuple(a + b / many[i] for a, b in zip(found[i], own, strict=True))
        together = tuple(one * rows[i].repeat for one in found[i])
        parent = above[i]
        if parent is None:
            whole = tuple(map(sum, zip(whole, together, strict=True)))
        else:
            inside[parent] = tuple(map(sum, zip(inside[parent], together, strict=True)))
    return [one if is_timed else None for one, is_timed in zip(found, known, strict=True)], whole


def with_latencies(
    pairs: Sequence[tuple[LayerRow, tuple[Node, ...]]], times: LayerTimes
) -> tuple[tuple[LayerRow, ...], float | None]:
    """The rows with their latencies, and the sum of all layers: medians over the passes of :func:`row_times`."""
    if not times.passes:
        return tuple(row for row, _ in pairs), None
    found, whole = row_times(pairs, times)
    filled = [
        dataclasses.replace(row, latency=statistics.median(one), latency_range=(min(one), max(one))) if one else row
        for (row, _), one in zip(pairs, found, strict=True)
    ]
    return tuple(filled), statistics.median(whole)
