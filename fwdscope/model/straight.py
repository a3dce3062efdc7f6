"""A spec's network as the plain calls that its lines make: what a module written by hand would run.

A :class:`Network` reads its lines anew in every forward, which costs time of Python's that a module written by hand
would not need. Where nothing depends on the data, the calls are the same each time: one run writes them down as a
``torch.fx`` graph. The graph runs every layer and every function that the lines run, in their order, on the same
modules; numbers (shapes, settings) are constants in it, tensors never.
"""

from __future__ import annotations

import contextlib
import operator
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from fwdscope.model.events import LineResult, Observer, StepStart
from fwdscope.model.modules import Network

# Puts hooks that tell an observer of modules of which the network itself says nothing.
Hooks = Callable[[Observer], Iterable[Any]]

# Where in the order of a run something stands, as the trace's recorder counts: the n-th thing that began, or the n-th
# line.
Key = tuple[str, int]


class NotStraight(BaseException):
    """Why a network cannot be written down as plain calls.

    It is no Exception: a run takes those for mistakes of the line that it is at, and says so.
    """


def straight(network: Network, inputs: Sequence[Tensor], hooks: Hooks | None = None) -> fx.GraphModule:
    """The network as a graph of its calls, on the device where it lives; it is run once on ``inputs``.

    Layers are called by their paths, so that the ``state_dict`` keys are the network's. Each node's ``meta["step"]`` is
    the step it belongs to, as the trace's recorder numbers steps, where ``hooks`` tell of the same modules; those of
    layers that have others inside say so by ``meta["inside"]``. Run it under the network's default dtype
    (:func:`fwdscope.model.process_state.torch_default_dtype`). Raises NotStraight where the data decide which lines
    run.
    """
    writer = _Writer(network, inputs)
    blueprint = network.blueprint
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, blueprint, "observer", blueprint.observer)
        blueprint.observer = writer
        for handle in hooks(writer) if hooks else ():
            stack.callback(handle.remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(writer)
        value = network(*inputs)
    writer.graph.output(writer.noted(value))
    for node in reversed(writer.graph.nodes):
        if node.target is operator.getitem and not node.users:
            writer.graph.erase_node(node)
    return fx.GraphModule(network, writer.graph, class_name=network.spec.name)


class _Writer(TorchFunctionMode):
    """Writes down what runs: told of layers by the network, of functions by torch."""

    def __init__(self, network: Network, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.graph = fx.Graph()
        # The node of a tensor, by the tensor's identity while it lives: no activation is kept alive for this.
        self.nodes: dict[int, tuple[weakref.ref[Tensor], fx.Node]] = {}
        self.tensors = {id(tensor): name for name, tensor in _named_tensors(network)}
        self.begun = 0
        self.lines = 0
        # What is running: layers, and the lines around them.
        self.stack: list[tuple[str, Key, fx.Node | None]] = []
        self.inside = 0
        for name, tensor in zip(network.example, inputs, strict=True):
            self.hold(tensor, self.graph.placeholder(name))

    # -- told by the network ------------------------------------------------------------------------------------------

    def begin(self, what: StepStart, inputs: Any) -> None:
        """A layer that stands in no other becomes one call."""
        key, node = ("begin", self.begun), None
        self.begun += 1
        if self.inside:
            outer = next(call for _, _, call in self.stack if call is not None)
            outer.meta["inside"] = True
        if what.kind == "loop" and what.type == "while":
            raise NotStraight("the data decide how often a `while` runs")
        if what.kind == "layer":
            if not self.inside:
                node = self.called(what.path, what.module, inputs)
                node.meta |= {"step": key, "lines": self.lines}
            self.inside += 1
        self.stack.append((what.kind, key, node))

    def end(self, outputs: Any) -> None:
        """It ends."""
        kind, key, node = self.stack.pop()
        if kind == "layer":
            self.inside -= 1
            if node is not None:
                self.hold(outputs, node)
        elif kind == "parameter" and not self.inside:
            self.held(outputs).meta["step"] = key

    def turn(self) -> None:
        """A round of a loop."""

    def line(self) -> None:
        """A line begins."""
        self.stack.append(("line", ("line", self.lines), None))
        self.lines += 1

    def line_end(self, end: LineResult, value: Any) -> None:
        """A line ends."""
        self.stack.pop()

    def note(self, text: str) -> None:
        """A loop that the data decide says so, on meta."""

    # -- told by torch ------------------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.inside or not any(True for _ in _tensors(result)):
            return result
        if any(self.known(tensor) is not None for tensor in _tensors(result)) and _in_place(func):
            raise NotStraight(f"{func.__name__} changes a tensor in place")
        name = getattr(func, "__name__", "")
        given, named = self.noted(args), self.noted(kwargs or {})
        if name == "__get__":
            node = self.graph.call_function(getattr, (*given, func.__self__.__name__))
        elif _is_method(func):
            node = self.graph.call_method(name, given, named)
        else:
            node = self.graph.call_function(func, given, named)
        if self.stack:
            node.meta["step"] = self.stack[-1][1]
        self.hold(result, node)
        return result

    # -- the graph ----------------------------------------------------------------------------------------------------

    def called(self, path: str, module: nn.Module | None, inputs: Any) -> fx.Node:
        """The call of a layer."""
        pieces = path.split(".")
        if module is None or any(hasattr(nn.Module, piece) or piece == "training" for piece in pieces):
            raise NotStraight(f"{path} has the name of something that every module has")
        arguments, keywords = inputs
        return self.graph.call_module(path, self.noted(tuple(arguments)), self.noted(dict(keywords)))

    def hold(self, value: Any, node: fx.Node) -> None:
        """A result's tensors come from a node; pieces of several results are taken out of it where they are read."""
        if isinstance(value, Tensor):
            self.nodes[id(value)] = weakref.ref(value), node
        elif isinstance(value, tuple | list):
            for i, item in enumerate(value):
                if any(True for _ in _tensors(item)):
                    piece = self.graph.call_function(operator.getitem, (node, i))
                    piece.meta = dict(node.meta)
                    self.hold(item, piece)

    def known(self, tensor: Tensor) -> fx.Node | None:
        """The node that made a tensor."""
        found = self.nodes.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    def held(self, tensor: Tensor) -> fx.Node:
        """The node of a tensor, which a line made or a module holds."""
        node = self.known(tensor)
        if node is None:
            if id(tensor) not in self.tensors:
                raise NotStraight("a line reads a tensor that was made outside this run")
            node = self.graph.get_attr(self.tensors[id(tensor)])
            self.nodes[id(tensor)] = weakref.ref(tensor), node
        return node

    def noted(self, value: Any) -> Any:
        """A value with its tensors' nodes in their place."""
        if isinstance(value, Tensor):
            return self.held(value)
        if isinstance(value, Mapping):
            return {key: self.noted(item) for key, item in value.items()}
        if isinstance(value, torch.Size):
            return tuple(value)
        if isinstance(value, list):
            return [self.noted(item) for item in value]
        if isinstance(value, tuple):
            return tuple(self.noted(item) for item in value)
        if isinstance(value, slice):
            return slice(self.noted(value.start), self.noted(value.stop), self.noted(value.step))
        return value


def _in_place(func: Any) -> bool:
    name = getattr(func, "__name__", "")
    return name.endswith("_") and not name.endswith("__")


def _is_method(func: Any) -> bool:
    """Whether a function is one of the class of tensors, and not of torch's modules."""
    owner = getattr(func, "__objclass__", None)
    return owner is not None or getattr(func, "__qualname__", "").startswith(("Tensor.", "TensorBase."))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)
