"""A step behind earlier positions made ready to run: with tensors for what is kept of these.

By the rule of :mod:`fwdscope.trace.past`, the forward of the new positions is recorded on the device and written as a
graph of ATen's operators. Each tensor that the step meets with the earlier positions lies at the end of a buffer that
has them too, into which the new ones are written in place. A network with a cache of its own runs as it is, and its
cache is put back before each step.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from weakref import ref

import torch
from torch import Tensor, fx, nn

from fwdscope.errors import error_text
from fwdscope.ops.dispatch import OpRecord
from fwdscope.ops.nested import tensors
from fwdscope.run.placement import ModuleCall
from fwdscope.run.subject import Subject
from fwdscope.settings import RunError
from fwdscope.torch_private import without_modes
from fwdscope.trace import Recorder
from fwdscope.trace.duplicate import unwrapped
from fwdscope.trace.past import Past
from fwdscope.trace.shared_state import snapshot

_VIEWS = ("aten.view", "aten._unsafe_view", "aten._reshape_alias", "aten.reshape")
_SDPA = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")


def with_own_cache(call: ModuleCall) -> ModuleCall:
    """A call whose cache is before each forward what it is now."""
    restore = [snapshot(one) for one in _holders(call.kwargs, set())]

    def put_back(*_: object) -> None:
        for one in restore:
            one()

    unwrapped(call.module).register_forward_pre_hook(put_back)
    return call


def _holders(value: Any, seen: set[int]) -> Iterator[Any]:
    """The objects, lists and dicts inside a value, without tensors and modules."""
    if id(value) in seen or isinstance(value, Tensor | nn.Module | type) or callable(value):
        return
    seen.add(id(value))
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    state = vars(value) if hasattr(value, "__dict__") else {}
    if state or isinstance(value, list | dict):
        yield value
    for one in (*inside, *state.values()):
        yield from _holders(one, seen)


def with_buffers(subject: Subject, call: ModuleCall) -> tuple[fx.GraphModule, tuple[Tensor, ...]]:
    """A placed network as a graph that runs the step, its nodes numbered as in the trace; and the graph's inputs.

    Raises RunError where an operator cannot run behind earlier positions.
    """
    first = Recorder()
    outputs = subject.run(call, first).outputs
    writer = _Writer(first.find_past([tensor for _, tensor in outputs], subject.past))
    del first
    trace = subject.run(call, writer)
    graph = writer.made_graph([tensor for _, tensor in trace.outputs], subject.name)
    try:
        with torch.inference_mode():
            graph(*writer.given())
    except Exception as error:
        raise RunError(f"--past: the step of {subject.name} does not run with a cache: {error_text(error)}") from error
    return graph, writer.given()


def _write(buffer: Tensor, place: Tensor, new: Tensor) -> Tensor:
    """A buffer with the new positions in their place."""
    place.copy_(new.reshape(place.shape))
    return buffer


class _Writer(Recorder):
    """Writes what it records as a graph of ATen's operators that meet earlier positions."""

    def __init__(self, past: Past) -> None:
        super().__init__(past=past)
        self.behind = past
        self.graph, self.home = fx.Graph(), nn.Module()
        # The node of each tensor by its id, valid while it lives.
        self.nodes: dict[int, tuple[ref[Tensor], fx.Node]] = {}
        # Nodes whose tensors have the earlier positions, and the buffers of others that operators meet with them.
        self.longer: set[fx.Node] = set()
        self.buffers: dict[tuple[fx.Node, int, int], fx.Node] = {}
        # Each node with the id of the list that its record is in.
        self.written: list[tuple[fx.Node, int]] = []

    def op(self, record: OpRecord, arguments: Any, result: Any) -> None:
        """Record an operator, and write it if it runs in the step."""
        number = len(self.flows)
        if not self.nodes:
            for i, tensor in enumerate(self.given()):
                self.set_node(tensor, self.graph.placeholder(f"input_{i}"))
        super().op(record, arguments, result)
        if number not in self.behind.skipped and tensors(result):
            with without_modes():  # what makes buffers is not recorded
                self.write(number, record, arguments, result)

    def write(self, number: int, record: OpRecord, arguments: Any, result: Any) -> None:
        """Write an operator as it runs behind the earlier positions."""
        growth, places = self.behind.grown.get(number), itertools.count()

        def node_of(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            node, dim = self.node_of(value), growth.inputs.get(next(places)) if growth else None
            if growth is None or dim is None or node in self.longer:
                return node
            return self.grow(node, value, dim, growth.length, self.behind.positions)

        keywords = {name: value for name, value in sorted((arguments[1] or {}).items()) if name != "out"}
        args, kwargs = fx.node.map_aggregate((tuple(arguments[0]), keywords), node_of)
        if number in self.behind.windows:
            size, dim = self.behind.windows[number]
            x = arguments[0][0]
            window = self.grow(args[0], x, dim, x.shape[dim], size)
            if record.op.name == "aten.convolution":
                args = (window, *args[1:4], [0], *args[5:])
            else:  # of a shift, all but the last
                args = window, dim, 0, record.op.output.shape[dim]
        function, args, kwargs = self.call_of(number, record, args, dict(kwargs))
        node = self.graph.call_function(function, args, kwargs)
        here: Any = self.stack[-1]
        self.written.append((node, id((getattr(here, "own", None) or here).ops)))
        for j, tensor in enumerate(tensors(result)):
            one = node if isinstance(result, Tensor) else self.graph.call_function(operator.getitem, (node, j))
            self.set_node(tensor, one)
            if growth is not None and j in growth.outputs:
                self.longer.add(one)

    def call_of(
        self, number: int, record: OpRecord, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """An operator with the arguments by which it runs over the earlier positions too."""
        op = record.op
        space, name = op.name.split(".", 1)
        function: Any = getattr(getattr(getattr(torch.ops, space), name, None), op.overload, None)
        if function is None:
            raise RunError(f"--past: {op.name} cannot be run by its name, which a step with a cache takes")
        growth = self.behind.grown.get(number)
        if number in self.behind.windows and name == "constant_pad_nd":
            return torch.ops.aten.slice.Tensor, args, {}
        if growth is None:
            return function, args, kwargs
        grown = self.behind.record(number, record).op
        if op.name in _VIEWS:
            return torch.ops.aten.reshape.default, (args[0], list(grown.output.shape)), {}
        if op.name == "aten.expand":
            return function, (args[0], list(grown.output.shape)), kwargs
        if op.name == "aten.slice" and growth.outputs.get(0) == op.at(1, 0) % len(op.output.shape):
            return function, args[:2], {}  # from the first position to the last
        if name == "scaled_dot_product_attention":
            given = {**dict(zip(_SDPA, args, strict=False)), **kwargs}
            new, every = op.operand(0).shape[-2], growth.length + self.behind.positions
            if given.pop("is_causal", False) and new > 1:
                mask = torch.ones(new, every, dtype=torch.bool, device=self.device).tril(every - new)
                given["attn_mask"] = self.constant(mask)
            return function, (), given
        return function, args, kwargs

    def given(self) -> tuple[Tensor, ...]:
        """The network's inputs, each once."""
        return tuple({id(one): one for mark in self.inputs if (one := mark.ref()) is not None}.values())

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return next(iter([weight.device for weight, _ in self.weights.values()]), torch.device("cpu"))

    def grow(self, node: fx.Node, new: Tensor, dim: int, length: int, earlier: int) -> fx.Node:
        """The node of a tensor of some new positions at the end of a buffer of earlier ones too, laid out as it is."""
        if (node, dim, earlier) not in self.buffers:
            made = self.make_buffer(node, new, dim, length, earlier)
            self.buffers[node, dim, earlier] = self.graph.call_function(_write, made)
        return self.buffers[node, dim, earlier]

    def make_buffer(
        self, node: fx.Node, new: Tensor, dim: int, length: int, earlier: int
    ) -> tuple[fx.Node, fx.Node, fx.Node]:
        # What broadcasting repeats is there once.
        repeated = [d for d in range(new.dim()) if new.shape[d] > 1 and not new.stride(d)]
        once = functools.reduce(lambda x, d: x.narrow(d, 0, 1), repeated, new)
        for d in repeated:
            node = self.graph.call_method("narrow", (node, d, 0, 1))
        times, every = new.shape[dim] // length, length + earlier
        sizes = [times * every if d == dim else n for d, n in enumerate(once.shape)]
        strides = tuple(once.stride())
        order = sorted(range(new.dim()), key=lambda d: -strides[d])
        storage = torch.empty([sizes[d] for d in order], dtype=new.dtype, device=new.device)
        buffer = storage.permute([order.index(d) for d in range(new.dim())])
        parts, given = (x.unflatten(dim, (times, -1)) for x in (buffer, once))
        # Each earlier position is like the first new one, which all others may see. Memory that was never written
        # would be read from one page of zeros on a CPU.
        parts.copy_(given.narrow(dim + 1, 0, 1))
        place = parts.narrow(dim + 1, earlier, length)
        place = place.squeeze(dim) if times == 1 else place
        whole = buffer.expand([n if d in repeated else -1 for d, n in enumerate(new.shape)])
        return self.constant(whole), self.constant(place), node

    def node_of(self, tensor: Tensor) -> fx.Node:
        """The node that gives a tensor: a constant, if no operator of the step made it."""
        known = self.nodes.get(id(tensor))
        if known is None or known[0]() is not tensor:
            # Zeros are written, so that they are not read from one page of these on a CPU.
            self.set_node(tensor, self.constant(tensor if id(tensor) in self.weights else tensor.clone()))
        return self.nodes[id(tensor)][1]

    def set_node(self, tensor: Tensor, node: fx.Node) -> None:
        """Keep the node of a tensor."""
        self.nodes[id(tensor)] = ref(tensor), node

    def constant(self, tensor: Tensor) -> fx.Node:
        """A node that gives a tensor of the network, or one that was made before the step."""
        name = f"tensor_{len(self.home._buffers)}"
        self.home.register_buffer(name, tensor, persistent=False)
        return self.graph.get_attr(name)

    def made_graph(self, outputs: Sequence[Tensor], name: str) -> fx.GraphModule:
        """The graph of all that was recorded."""
        self.graph.output(tuple(map(self.node_of, outputs)))
        steps = {id(node.ops): node.step for node in self.root.nodes()}
        for node, ops in self.written:
            node.meta["step"] = steps.get(ops)
        for node in reversed(self.graph.nodes):
            if node.target is operator.getitem and not node.users:
                self.graph.erase_node(node)
        return fx.GraphModule(self.home, self.graph, class_name=name)
