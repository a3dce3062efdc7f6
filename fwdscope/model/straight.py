"""Records a spec's network as a ``torch.fx`` graph of its calls, as fast as a module written by hand.

A :class:`Network` interprets its lines in every forward, which takes time that a module written by hand would not
need. If nothing depends on data, the calls are the same each time, and one run records them. The graph calls every
layer and function that the lines call, in their order, on the same modules; numbers (shapes, settings) are constants
in it, tensors never.
"""

from __future__ import annotations

import contextlib
import operator
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from fwdscope.model.events import LineResult, Observer, StepCounter, StepKey, StepStart
from fwdscope.model.modules import Network
from fwdscope.ops.nested import tensors

# Registers hooks that report the modules inside torch's composite layers to an observer.
Hooks = Callable[[Observer], Iterable[Any]]


class NotStraight(BaseException):
    """The reason why a network cannot be recorded as plain calls.

    Not an Exception, which a run would report as a mistake in the line that is running.
    """


def straight(network: Network, inputs: Sequence[Tensor], hooks: Hooks | None = None) -> fx.GraphModule:
    """Run a network once on ``inputs``, on the device where it is, and return the graph of its calls.

    Layers are called by their paths, so the ``state_dict`` keys are the network's. ``meta["step"]`` of a node is the
    key of its step, as in the trace; ``meta["inside"]`` marks layers with others inside, which ``hooks`` report. Run it
    under the network's default dtype (:func:`fwdscope.model.process_state.torch_default_dtype`). Raises NotStraight if
    data decide which lines run.
    """
    writer = _GraphRecorder(network, inputs)
    blueprint = network.blueprint
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, blueprint, "observer", blueprint.observer)
        blueprint.observer = writer
        for handle in hooks(writer) if hooks else ():
            stack.callback(handle.remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(writer)
        value = network(*inputs)
    writer.graph.output(writer.with_nodes(value))
    for node in reversed(writer.graph.nodes):
        if node.target is operator.getitem and not node.users:
            writer.graph.erase_node(node)
    return fx.GraphModule(network, writer.graph, class_name=network.spec.name)


class _GraphRecorder(TorchFunctionMode):
    """Records calls: layers are reported by the network, functions by torch."""

    def __init__(self, network: Network, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.graph = fx.Graph()
        # The node of each tensor by id; a weak reference, to keep no activation alive.
        self.nodes: dict[int, tuple[weakref.ref[Tensor], fx.Node]] = {}
        named = network.named_parameters(remove_duplicate=False), network.named_buffers(remove_duplicate=False)
        self.tensors = {id(tensor): name for tensors in named for name, tensor in tensors}
        self.steps = StepCounter()
        # The steps and lines that are running: their kind and key, a layer's call, and the functions that they called.
        self.stack: list[tuple[str, StepKey | None, fx.Node | None, list[fx.Node]]] = []
        self.inside = 0
        for name, tensor in zip(network.example, inputs, strict=True):
            self.set_node(tensor, self.graph.placeholder(name))

    # -- reported by the network --------------------------------------------------------------------------------------

    def begin(self, what: StepStart, inputs: Any) -> None:
        """Record a layer that is not inside another as one call."""
        key, node = self.steps.step(what.path), None
        if self.inside:
            outer = next(call for _, _, call, _ in self.stack if call is not None)
            outer.meta["inside"] = True
        if what.kind == "loop" and what.type == "while":
            raise NotStraight("the data decide how often a `while` runs")
        if what.kind == "layer":
            if not self.inside:
                pieces = what.path.split(".")
                if what.module is None or any(hasattr(nn.Module, one) or one == "training" for one in pieces):
                    raise NotStraight(f"{what.path} has the name of something that every module has")
                arguments, keywords = self.with_nodes(tuple(inputs[0])), self.with_nodes(dict(inputs[1]))
                node = self.graph.call_module(what.path, arguments, keywords)
                node.meta["step"] = key
            self.inside += 1
        self.stack.append((what.kind, key, node, []))

    def end(self, outputs: Any) -> None:
        """Keep the node of the layer's outputs."""
        kind, key, node, functions = self.stack.pop()
        for function in functions:
            function.meta["step"] = key
        if kind == "layer":
            self.inside -= 1
            if node is not None:
                self.set_node(outputs, node)

    def line(self) -> None:
        """Start a line."""
        self.stack.append(("line", None, None, []))

    def line_end(self, end: LineResult, value: Any) -> None:
        """End a line: only now its path is known."""
        key = self.steps.line(end.path)
        for function in self.stack.pop()[3]:
            function.meta["step"] = key

    def note(self, *_: Any, **__: Any) -> None:
        """Ignore notes of the report and rounds of a loop."""

    turn = note

    # -- reported by torch --------------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made, name = tensors(result), getattr(func, "__name__", "")
        if self.inside or not made:
            return result
        in_place = name.endswith("_") and not name.endswith("__")
        if in_place and any(self.find_node(tensor) is not None for tensor in made):
            raise NotStraight(f"{name} changes a tensor in place")
        given, named = self.with_nodes(args), self.with_nodes(kwargs or {})
        of_tensors = getattr(func, "__qualname__", "").startswith(("Tensor.", "TensorBase."))
        if name == "__get__":
            node = self.graph.call_function(getattr, (*given, func.__self__.__name__))
        elif of_tensors or getattr(func, "__objclass__", None) is not None:
            node = self.graph.call_method(name, given, named)
        else:
            node = self.graph.call_function(func, given, named)
        if self.stack:
            self.stack[-1][3].append(node)
        self.set_node(result, node)
        return result

    # -- the graph ----------------------------------------------------------------------------------------------------

    def set_node(self, value: Any, node: fx.Node) -> None:
        """Keep the node of a result's tensors; each of several results gets a node of its own."""
        if isinstance(value, Tensor):
            self.nodes[id(value)] = weakref.ref(value), node
        elif isinstance(value, tuple | list):
            for i, item in enumerate(value):
                if tensors(item):
                    piece = self.graph.call_function(operator.getitem, (node, i))
                    piece.meta = dict(node.meta)
                    if self.stack and "step" not in piece.meta:
                        self.stack[-1][3].append(piece)
                    self.set_node(item, piece)

    def find_node(self, tensor: Tensor) -> fx.Node | None:
        """Return the node that made a tensor, if it was made in this run."""
        found = self.nodes.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    def with_nodes(self, value: Any) -> Any:
        """Return a value with nodes in place of its tensors."""
        if isinstance(value, Tensor):
            node = self.find_node(value)
            if node is None:
                if id(value) not in self.tensors:
                    raise NotStraight("a line reads a tensor made outside this run")
                node = self.graph.get_attr(self.tensors[id(value)])
                self.nodes[id(value)] = weakref.ref(value), node
            return node
        if isinstance(value, Mapping):
            return {key: self.with_nodes(item) for key, item in value.items()}
        if isinstance(value, torch.Size):
            return tuple(value)
        if isinstance(value, list | tuple):
            items = [self.with_nodes(item) for item in value]
            return items if isinstance(value, list) else tuple(items)
        if isinstance(value, slice):
            return slice(self.with_nodes(value.start), self.with_nodes(value.stop), self.with_nodes(value.step))
        return value
