"""One step of generation behind earlier positions: what is kept of these, and which operators meet them.

The forward of the new positions is recorded and read here. Each attention keeps the smallest set of tensors that its
keys and values can be made from and that serve nothing else: keys and values as they are, heads that are repeated later
once, or the latent vector of multi-head latent attention. Behind these tensors every operator runs over the earlier
positions too, as far as the attention itself; in a second recording they are counted with tensors as long as that. What
only an encoder's input decides ran with the first position, and what the decoder takes of it is kept.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import operator
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from fwdscope.model.blueprint import Carried
from fwdscope.ops import Op, find
from fwdscope.ops.dispatch import OpRecord, record_of
from fwdscope.ops.layout import contiguous
from fwdscope.ops.op import Operand
from fwdscope.ops.positions import Cut, Passing, Through
from fwdscope.report import CachedTensor, Shape
from fwdscope.trace.receptive.fields import Flow, OperatorFlow, RepeatedFlows, ReplayedFlows

_WHOLE = ("aten.scaled_dot_product_attention", "higher_order.flex_attention")
_SOFTMAX = ("aten._softmax", "aten.softmax", "aten._safe_softmax")
_PRODUCTS = ("aten.mm", "aten.bmm", "aten.addmm", "aten.baddbmm", "aten.matmul")
_REDUCED = ("aten.mean", "aten.sum", "aten.amax")
_RECURRENT = ("aten.lstm", "aten.gru", "aten.rnn_tanh", "aten.rnn_relu")
_CELLS = tuple([f"{name}_cell" for name in _RECURRENT])
_STATEFUL = frozenset({*_RECURRENT, *_CELLS})
_WINDOWED = ("aten.constant_pad_nd", "aten.convolution")
_OUTSIDE = -1


class Growth(NamedTuple):
    """The dimension of positions of an operator's inputs and results, by their places: ``length`` new positions."""

    length: int
    inputs: dict[int, int]
    outputs: dict[int, int]


@dataclass
class Past:
    """How earlier positions change the operators of a recorded forward, by their numbers in running order."""

    positions: int
    grown: dict[int, Growth] = field(default_factory=dict)
    # Operators that ran with the first position.
    skipped: set[int] = field(default_factory=set)
    cached: dict[int, list[CachedTensor]] = field(default_factory=dict)
    # Operators whose window is full: how many inputs before the new ones each meets, and along which dimension; and the
    # records of those that are others then.
    windows: dict[int, tuple[int, int]] = field(default_factory=dict)
    replaced: dict[int, OpRecord] = field(default_factory=dict)
    # Operators that make keys and values of what is kept, in each step.
    rebuilt: set[int] = field(default_factory=set)
    # The places of the network's inputs that an encoder takes.
    fixed: tuple[int, ...] = ()
    # The tensors of the network's own cache, which it takes and replaces, by their identity.
    own: dict[int, CachedTensor] = field(default_factory=dict)
    is_of_network: bool = False
    # Whether some attention is causal, or a state is kept: with neither, nothing is generated.
    generates: bool = False
    # The new positions of a sequence; None where they are not known.
    new: int | None = None
    notes: list[str] = field(default_factory=list)

    def growth(self, number: int) -> float:
        """How many times larger an operator's results are with the earlier positions."""
        found = self.grown.get(number)
        if number in self.replaced:
            new = self.replaced[number].op.output.shape[-1]
            return new / (new + self.windows[number][0])
        return (found.length + self.positions) / found.length if found is not None and found.outputs else 1

    def note(self, number: int, record: OpRecord) -> str | None:
        """The note on an operator that computes keys and values from the cache."""
        is_product = number in self.rebuilt and record.figures[0]
        return f"over all positions, {self.positions:,} of them from the cache" if is_product else None

    def record(self, number: int, record: OpRecord) -> OpRecord:
        """An operator's record with the earlier positions."""
        found = self.grown.get(number)
        if found is None:
            return self.replaced.get(number, record)
        op, longer = record.op, (found.length, found.length + self.positions)
        inputs = iter([_grow(x, found.inputs.get(i), *longer) for i, x in enumerate(op.operands)])
        outputs = tuple([_grow(x, found.outputs.get(i), *longer) for i, x in enumerate(op.outputs)])
        arguments = _replaced(op.arguments, inputs)
        keywords = tuple([(name, value if name == "out" else _replaced(value, inputs)) for name, value in op.keywords])
        return record_of(Op(op.name, op.overload, arguments, keywords, outputs))


def _grow(x: Operand, dim: int | None, before: int, after: int) -> Operand:
    """An operand with ``after`` positions instead of ``before`` along a dimension or a factor of it."""
    if dim is None:
        return x
    step, n = x.stride[dim], x.shape[dim]
    shape = (*x.shape[:dim], n // before * after, *x.shape[dim + 1 :])
    stride = [s // before * after if step and d != dim and s >= step * n else s for d, s in enumerate(x.stride)]
    return x._replace(shape=shape, stride=tuple(stride))


def _replaced(value: Any, operands: Iterator[Operand]) -> Any:
    """An argument with other operands, in their order."""
    if isinstance(value, Operand):
        return next(operands)
    if isinstance(value, tuple) and value and not isinstance(value[0], int):
        return tuple([_replaced(item, operands) for item in value])
    return value


def _input_dim(op: Op, place: int, result: int, dim: int, length: int = 0) -> int | None:
    """The input dimension that becomes a dimension of the result; None if there is none, or if positions are mixed.

    If the dimension has more than ``length`` positions, they are a factor of it, and the input's that has only them.
    """
    rule, x, out = find(op.name), op.operands[place].shape, op.outputs[result].shape
    window = rule.window if rule is not None else None
    if op.name in _SOFTMAX or (window is Passing.SAME and place == 0):
        return dim
    if window is Passing.BROADCAST:
        at = dim - len(out) + len(x)
        return at if at >= 0 and x[at] == out[dim] else None
    if window is Passing.RESHAPED:
        return _reshaped_dim(out, dim, x, length)
    if op.name in _REDUCED:
        dims = op.at(1) if isinstance(op.at(1), tuple) else (op.at(1),)
        left = [d for d in range(len(x)) if None not in dims and d not in {n % len(x) for n in dims}]
        kept = range(len(x)) if op.at(2) else left
        return kept[dim] if len(kept) == len(out) and kept[dim] in left else None
    if not callable(window):
        return None
    found = window(op, place)
    passage = found[result] if isinstance(found, list) else found
    source = passage.dims[dim] if passage is not None and dim < len(passage.dims) else None
    if isinstance(source, Through) and source.reading == Cut(0):
        source = source.dim
    return source if isinstance(source, int) and x[source] == out[dim] else None


def _reshaped_dim(shape: Shape, dim: int, other: Shape, length: int = 0) -> int | None:
    """The dimension of another shape of the same elements that holds a dimension of this one, or a factor of it."""
    before = math.prod(shape[:dim])
    behind = before * shape[dim]
    fits = []
    for d, n in enumerate(other):
        at = math.prod(other[:d])
        if before % at == 0 and at * n % behind == 0:
            fits.append(d)
    if not fits and length < shape[dim]:
        # A batch and its positions are split again, in either order.
        split = [(d, math.prod(other[:d])) for d, n in enumerate(other) if n == length]
        return next((d for d, at in split if at * length == behind or at == before), None)
    # Of dimensions of size 1, which all fit, that with the same ones before it or behind it.
    same = [d for d in fits if other[d] == shape[dim]] or fits
    alike = [d for d in same if other[:d] == shape[:dim] or other[d + 1 :] == shape[dim + 1 :]]
    return next(iter(alike or same), None)


class _Flow(NamedTuple):
    """An operator with numbers for its inputs and results; writing a tensor in place gives it a new number."""

    op: Op
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class _Attention(NamedTuple):
    """An attention: its first operator, the numbers of its query, keys and values, and its operators' growth."""

    at: int
    query: int
    keys: tuple[int, int]  # and the dimension of their positions
    values: tuple[int, int]
    length: int
    growth: dict[int, Growth]
    is_masked: bool


class _Graph:
    """The operators of a forward: what made each tensor, what takes it, and the network's inputs that it depends on."""

    def __init__(
        self,
        flows: Sequence[Flow],
        inputs: Sequence[object],
        carried: Iterable[Carried],
        calls: dict[int, _Graph] | None = None,
    ) -> None:
        self.flows: list[_Flow] = []
        self.depends: list[int] = [1 << i for i in range(len(inputs))]
        self.numbers = {id(one): i for i, one in enumerate(inputs)}
        # Written-out attention whose parts are not recognised, by its softmax.
        self.unread: list[int] = []
        # What loops carry, with the numbers of its first and last tensor.
        self.carried: list[tuple[Carried, int, int]] = []
        # Operators that stand for those of so many copies, with the tensors of one and of the copy before it.
        self.copies: list[tuple[range, range, int]] = []
        # Those of calls, by identity; their inputs have the first numbers.
        calls = {} if calls is None else calls
        begins: dict[int, list[RepeatedFlows]] = {}
        for i, flow in enumerate(flows):
            if isinstance(flow, RepeatedFlows):
                begins.setdefault(i - flow.count, []).append(flow)
        starts: list[tuple[int, int]] = []
        taken: dict[int, int] = {}
        for i, flow in enumerate(flows):
            taken |= {id(one): self._number(one.input) for one in begins.get(i, ())}
            starts.append((len(self.flows), len(self.depends)))
            if isinstance(flow, OperatorFlow):
                self._add_operator(flow)
            elif isinstance(flow, ReplayedFlows):
                call = flow.call
                if id(call) not in calls:
                    calls[id(call)] = _Graph(call.flows, call.inputs, call.carried, calls)
                part = calls[id(call)]
                results = [part._number(one) for one in call.results]
                places = [self._number(one) for one in flow.inputs]
                self._add_again(part, places, part.carried)
                self.numbers.update({id(one): places[n] for one, n in zip(flow.results, results, strict=True)})
            else:
                # One copy more is added for all that follow the first: what these get depends on the same. Tensors
                # that are older than the first come from outside, but for its input.
                begin, first = starts[i - flow.count]
                places, end, result = list(range(first)), len(self.flows), self.numbers[id(flow.result)]
                places[taken[id(flow)]] = result
                inside = [*self.carried, *self._loops(carried)]
                self._add_again(self, places, [one for one in inside if one[2] >= first], begin)
                self.numbers[id(flow.last)] = places[result]
                self.copies.append((range(end, len(self.flows)), range(first, len(self.depends)), flow.times))
        self.carried += self._loops(carried)

    def _loops(self, carried: Iterable[Carried]) -> Iterator[tuple[Carried, int, int]]:
        for one in carried:
            first, last = self.numbers.get(id(one.first)), self.numbers.get(id(one.last))
            if first is not None and last is not None:
                yield one, first, last

    def _add_operator(self, flow: OperatorFlow) -> None:
        taken, made, depends = tuple([self._number(one) for one in flow.inputs]), [], 0
        for number in taken:
            depends |= self.depends[number]
        for one in flow.outputs:
            self.numbers.pop(id(one), None)
            made.append(self._number(one, depends))
        self.flows.append(_Flow(flow.op, taken, tuple(made)))

    def _number(self, one: object, depends: int = 0) -> int:
        """The number of a tensor, made where it has none."""
        number = self.numbers.setdefault(id(one), len(self.depends))
        if number == len(self.depends):
            self.depends.append(depends)
        return number

    def _add_again(
        self, part: _Graph, places: list[int], carried: Iterable[tuple[Carried, int, int]], begin: int = 0
    ) -> None:
        """Add the operators of a graph from ``begin`` on. Of its tensors the first have the ``places`` here that are
        given; further ones, which are appended to these, are other tensors each time."""
        depends, flows = self.depends, part.flows[begin:]
        at, by = len(self.flows) - begin, len(depends) - len(places)
        places += range(len(depends), by + len(part.depends))
        depends += [0] * (by + len(part.depends) - len(depends))
        for op, taken, made in flows:
            taken, made = tuple([places[n] for n in taken]), tuple([places[n] for n in made])
            of = 0
            for n in taken:
                of |= depends[n]
            for n in made:
                depends[n] = of
            self.flows.append(tuple.__new__(_Flow, (op, taken, made)))
        self.carried += [(one, places[first], places[last]) for one, first, last in carried]
        self.copies += [
            (range(one.start + at, one.stop + at), range(other.start + by, other.stop + by), times)
            for one, other, times in part.copies
            if one.start >= begin
        ]

    @cached_property
    def maker(self) -> dict[int, int]:
        """The operator that made each tensor."""
        return {number: i for i, (_, _, made) in enumerate(self.flows) for number in made}

    @cached_property
    def takers(self) -> dict[int, list[tuple[int, int]]]:
        """The operators that take each tensor, and its place among their inputs."""
        found: dict[int, list[tuple[int, int]]] = {}
        for i, (op, taken, _) in enumerate(self.flows):
            for place, number in enumerate(taken if not op.keywords else taken[: len(op.operands)]):  # no ``out``
                found.setdefault(number, []).append((i, place))
        return found

    def operand(self, number: int) -> Operand:
        """A tensor as an operator takes it, or as one made it."""
        for i, place in reversed(self.takers.get(number, ())):
            if i != _OUTSIDE:
                return self.flows[i].op.operands[place]
        op, _, made = self.flows[self.maker[number]]
        return op.outputs[made.index(number)]

    def times(self, at: int, number: int) -> int:
        """For how many copies an operator and a tensor that it meets stand."""
        found = (times for operators, tensors, times in self.copies if at in operators and number in tensors)
        return math.prod(found)

    def loops(self) -> list[tuple[Carried, int, int]]:
        """What loops carry that takes up inputs on the way, with the numbers of its first and last tensor."""
        return [(one, first, last) for one, first, last in self.carried if self.depends[last] & ~self.depends[first]]

    def pass_on(self) -> None:
        """Let results depend on all that operands do."""
        for _, taken, made in self.flows:
            for number in made:
                self.depends[number] |= functools.reduce(operator.or_, [self.depends[one] for one in taken], 0)

    # -- attention ----------------------------------------------------------------------------------------------------

    def attentions(self) -> Iterator[_Attention]:
        """Every attention that is recognised: as one operator, or written out around a softmax."""
        for i, (op, inputs, _) in enumerate(self.flows):
            if op.name in _WHOLE:
                key, value = op.operand(1).shape, op.operand(2).shape
                dims = {1: len(key) - 2, 2: len(value) - 2}
                if len(inputs) > 3 and self._has_positions(op.operands[3].shape, -1, key[-2]):
                    dims[3] = len(op.operands[3].shape) - 1
                # A mask that is the same for all queries hides what pads a sequence.
                by_query = len(inputs) > 3 and self._has_positions(op.operands[3].shape, -2, op.operand().shape[-2])
                is_masked = by_query or bool(op.at(5) or op.keyword("is_causal")) or op.name != _WHOLE[0]
                growth = {i: Growth(key[-2], dims, {})}
                yield _Attention(i, inputs[0], (inputs[1], dims[1]), (inputs[2], dims[2]), key[-2], growth, is_masked)
            elif op.name in _SOFTMAX:
                made = self._scores(i)
                if made is not None and self.depends[self.flows[made[0]].inputs[-1]]:
                    found = self._written_out(*made)
                    self.unread += [i] * (found is None)
                    yield from [found] if found else []

    def _has_positions(self, shape: Shape, at: int, length: int) -> bool:
        return len(shape) > 1 and len(shape) >= -at and shape[at] == length

    def _scores(self, softmax: int) -> tuple[int, int] | None:
        """The matrix product whose result a softmax normalises, and the dimension; None if there is none."""
        (op, (value, *_), _), made = self.flows[softmax], self.maker.get(self.flows[softmax].inputs[0])
        dim = op.at(1) % max(1, len(op.output.shape))
        while made is not None and self.flows[made].op.name not in _PRODUCTS:
            op, inputs, outputs = self.flows[made]
            j = outputs.index(value)
            of_inputs = [(number, place) for place, number in enumerate(inputs) if self.depends[number]]
            sources = ((number, _input_dim(op, place, j, dim)) for number, place in of_inputs)
            value, at = next(((number, at) for number, at in sources if at is not None), (_OUTSIDE, 0))
            made, dim = self.maker.get(value), at or 0
        return (made, dim) if made is not None else None

    def _written_out(self, product: int, dim: int) -> _Attention | None:
        """The attention whose scores, queries times keys, this operator computes."""
        op, inputs, (scores, *_) = self.flows[product]
        rank, first = len(op.output.shape), len(inputs) - 2
        if rank < 2 or dim < rank - 2 or not self.depends[inputs[first]]:
            return None
        place = first + (dim == rank - 1)  # keys are the second factor of q·kᵀ
        key_dim, length = _input_dim(op, place, 0, dim), op.output.shape[dim]
        if key_dim is None:
            return None
        growth = {product: Growth(length, {place: key_dim}, {0: dim})}
        if first and self._has_positions(op.operands[0].shape, dim - rank, length):  # a mask that is added
            growth[product].inputs[0] = dim - rank + len(op.operands[0].shape)
        values, is_masked = self._follow_scores(scores, dim, length, growth)
        if values is None:
            return None
        query = inputs[first + (place == first)]
        return _Attention(product, query, (inputs[place], key_dim), values, length, growth, is_masked or first > 0)

    def _follow_scores(
        self, scores: int, dim: int, length: int, growth: dict[int, Growth]
    ) -> tuple[tuple[int, int] | None, bool]:
        """The values that scores meet, with the dimension of their positions, and whether scores are masked before.

        What takes scores grows. The values are None where not all can be followed.
        """
        waiting, values, is_masked = [(scores, dim)], None, False
        while waiting:
            number, dim = waiting.pop()
            for i, place in self.takers.get(number, ()):
                if i == _OUTSIDE:
                    continue
                op, taken, outputs = self.flows[i]
                if op.name in _PRODUCTS:
                    one, rank = len(taken) - 2, len(op.operands[place].shape)
                    if place < one or dim != (rank - 1 if place == one else rank - 2):
                        return None, False
                    other = one + (place == one)
                    value_dim = len(op.operands[other].shape) - (2 if place == one else 1)
                    values = taken[other], value_dim
                    growth[i] = Growth(length, {place: dim, other: value_dim}, {})
                    continue
                known = growth.setdefault(i, Growth(length, {}, {}))
                known.inputs[place] = dim
                for j, out in enumerate(op.outputs):
                    at = next((d for d in range(len(out.shape)) if _input_dim(op, place, j, d) == dim), None)
                    if at is None:
                        return None, False
                    waiting += [(outputs[j], at)] * (j not in known.outputs)
                    known.outputs[j] = at
                    for other, x in enumerate(op.operands):
                        if other != place and self._has_positions(x.shape, at - len(out.shape), length):
                            known.inputs.setdefault(other, at - len(out.shape) + len(x.shape))
                            is_masked = True
        return values, is_masked

    # -- what is kept -------------------------------------------------------------------------------------------------

    def kept(self, attention: _Attention) -> tuple[dict[int, tuple[int, str]], dict[int, Growth]]:
        """What an attention keeps of earlier positions: tensors with the dimension of these and a name; and the growth
        of the operators that make keys and values of it in each step."""
        dims, growth = dict([attention.keys, attention.values]), dict[int, Growth]()
        ends = {(i, place) for i, one in attention.growth.items() for place in one.inputs}
        edges: dict[int, set[int]] = {}
        # Operators are visited from the last one on, those that made what is among ``dims``.
        waiting, seen = [-self.maker[number] for number in dims if number in self.maker], set[int]()
        heapq.heapify(waiting)
        while waiting:
            i = -heapq.heappop(waiting)
            if i in seen:
                continue
            seen.add(i)
            op, inputs, outputs = self.flows[i]
            takers = [taker for number in outputs for taker in self.takers.get(number, ())]
            results = {j: dims[number] for j, number in enumerate(outputs) if number in dims}
            if not all(taker[0] in growth or taker in ends for taker in takers):
                continue
            found: dict[int, int] = {}
            for place, number in enumerate(inputs):
                at = {_input_dim(op, place, j, dim, attention.length) for j, dim in results.items()}
                d = at.pop() if len(at) == 1 else None
                if d is not None and op.operands[place].shape[d] % attention.length == 0 and dims.get(number, d) == d:
                    found[place] = d
            if all(place in found for place, number in enumerate(inputs) if self.depends[number]):
                growth[i] = Growth(attention.length, found, results)
                for place, d in found.items():
                    if self.depends[inputs[place]]:
                        dims[inputs[place]] = d
                        if inputs[place] in self.maker:
                            heapq.heappush(waiting, -self.maker[inputs[place]])
                        edges.setdefault(inputs[place], set()).update(outputs)
        ends_at = {attention.keys[0], attention.values[0]}
        sizes = {number: self._size(number, growth, ends_at) for number in dims}
        sources = [number for number in dims if self.maker.get(number) not in growth]
        cut, behind = smallest_cut(edges, sizes, sources, ends_at)
        grown = {i: one for i, one in growth.items() if not behind.isdisjoint(self.flows[i].outputs)}
        becomes: dict[int, set[str]] = {attention.keys[0]: {"keys"}}
        becomes.setdefault(attention.values[0], set()).add("values")
        for i in sorted(growth, reverse=True):
            names = set[str]().union(*[becomes.get(number, ()) for number in self.flows[i].outputs])
            for number in self.flows[i].inputs:
                becomes.setdefault(number, set()).update(names)
        names_of = {number: "latent" if len(becomes[number]) > 1 else min(becomes[number]) for number in cut}
        return {number: (dims[number], names_of[number]) for number in cut}, grown

    def _size(self, number: int, growth: Container[int], ends: Container[int]) -> float:
        """The bytes of a tensor that may be kept; infinite for one that serves something else, in whatever shape."""
        size, maker = self.operand(number).nbytes, self.maker.get(number, -1)
        if number in ends:
            return size
        if maker not in growth:
            return math.inf
        op, inputs, _ = self.flows[maker]
        rule, is_same = find(op.name), self.operand(inputs[0]).nbytes <= size
        return self._size(inputs[0], growth, ends) if rule is not None and rule.free and is_same else size


def smallest_cut(
    edges: Mapping[int, Iterable[int]], sizes: Mapping[int, float], sources: Iterable[int], ends: Iterable[int]
) -> tuple[list[int], set[int]]:
    """A minimum cut: the nodes of least total size that separate the sources from the end, and the nodes after them.

    Of several such sets, the one nearest to the ends (Ford and Fulkerson 1956; paths by Edmonds and Karp 1972).
    """
    # A node is an edge of its size from 2n to 2n + 1.
    start, end, left = -1, -2, dict[int, dict[int, float]]()

    def connect(one: int, other: int, size: float) -> None:
        left.setdefault(one, {})[other] = size
        left.setdefault(other, {}).setdefault(one, 0)

    for number, size in sizes.items():
        connect(2 * number, 2 * number + 1, size)
    for number, following in edges.items():
        for other in following:
            if other in sizes:
                connect(2 * number + 1, 2 * other, math.inf)
    for number in sources:
        connect(start, 2 * number, math.inf)
    for number in ends:
        connect(2 * number + 1, end, math.inf)
    while path := _path(left, start, end):
        most = min(left[one][other] for one, other in path)
        for one, other in path:
            left[one][other] -= most if left[one][other] != math.inf else 0
            left[other][one] += most
    reaching, waiting = {end}, [end]
    for node in waiting:
        fresh = [other for other in left[node] if left[other].get(node, 0) > 0 and other not in reaching]
        reaching |= set(fresh)
        waiting += fresh
    cut = [number for number in sizes if 2 * number not in reaching and 2 * number + 1 in reaching]
    return cut, {number for number in sizes if 2 * number in reaching}


def _path(left: Mapping[int, Mapping[int, float]], start: int, end: int) -> list[tuple[int, int]]:
    """The shortest path along edges with capacity left, as its edges; empty if there is none."""
    came: dict[int, int] = {start: start}
    waiting = [start]
    for node in waiting:
        fresh = [other for other, size in left.get(node, {}).items() if size > 0 and other not in came]
        came |= dict.fromkeys(fresh, node)
        waiting += fresh
    path = []
    while end in came and end != start:
        path.append((came[end], end))
        end = came[end]
    return path


_Kind = Literal["past", "encoder", "state"]


def _cached(x: Operand, name: str, kind: _Kind, dim: int = 0, *longer: int) -> CachedTensor:
    x = _grow(x, dim, *longer) if longer else x
    shape = tuple([n for n, step in zip(x.shape, x.stride, strict=True) if step or n == 1])  # others repeat it
    return CachedTensor(name, kind, shape, x.dtype, x.nbytes)


def find_past(
    flows: Sequence[Flow],
    inputs: Sequence[object],
    outputs: Iterable[object],
    positions: int,
    carried: Iterable[Carried] = (),
) -> Past:
    """The effect of ``past`` earlier positions on a recorded forward.

    Where some copies or calls did not run, what is kept is right, and operators have other numbers.
    """
    graph, past = _Graph(flows, inputs, carried), Past(positions)
    for one in outputs:
        if id(one) in graph.numbers:
            graph.takers.setdefault(graph.numbers[id(one)], []).append((_OUTSIDE, 0))
    found, depends = list(graph.attentions()), graph.depends
    # Queries that depend on an input that keys and values do not meet those of an encoder.
    fixed = 0
    for each in found:
        read = depends[each.keys[0]] | depends[each.values[0]]
        fixed |= read if depends[each.query] & ~read else 0
    # What decides how a state begins ran with the first position too.
    loops = graph.loops()
    for _, first, last in loops:
        fixed |= depends[first]
        past.skipped |= {graph.maker[first]} if first in graph.maker else set()
        depends[first] |= depends[last]
    graph.pass_on() if loops else None
    past.fixed = tuple([i for i in range(len(inputs)) if fixed >> i & 1])
    for i, flow in enumerate(graph.flows if fixed else ()):
        if flow.outputs and depends[flow.outputs[0]] and not depends[flow.outputs[0]] & ~fixed:
            past.skipped.add(i)
    names = {number: name for one in found for number, name in ((one.keys[0], "keys"), (one.values[0], "values"))}
    growing = [each for each in found if depends[each.keys[0]] & ~fixed]
    kept: set[int] = set()
    several = (
        _carried(graph, loops),
        _held(graph, past.skipped, names, {first for _, first, _ in loops}),
        _states(graph, past),
        _windows(graph, past),
        _growing(graph, growing, past),
    )
    for at, number, tensor in itertools.chain(*several):
        if number not in kept:
            past.cached.setdefault(at, []).extend([tensor] * graph.times(at, number))
        kept.add(number)
    past.new = next((n for n in (*[one.length for one in growing], *[one.rounds for one, *_ in loops])), past.new)
    past.notes += dict.fromkeys(f"{one.loop} carries {one.name} from one position to the next" for one, *_ in loops)
    causal = [each.is_masked or each.length == 1 for each in growing]
    past.generates = any(causal) or any(one.kind == "state" for tensors in past.cached.values() for one in tensors)
    if not all(causal):
        past.notes.append("some attention is not causal: earlier keys and values are counted as kept all the same")
    if count := len(graph.unread):
        what = f"{count} softmaxes over products are" if count > 1 else "a softmax over a product is"
        past.notes.append(f"{what} not recognised as attention, and counted without earlier positions")
    return past


def _growing(graph: _Graph, attentions: Iterable[_Attention], past: Past) -> Iterator[tuple[int, int, CachedTensor]]:
    """The tensors that attentions cache; the growth of operators is recorded in ``past``."""
    for one in attentions:
        tensors, growth = graph.kept(one)
        past.grown |= {**growth, **one.growth}
        past.rebuilt |= growth.keys()
        for number, (dim, name) in tensors.items():
            yield one.at, number, _cached(graph.operand(number), name, "past", dim, one.length, past.positions)


def _held(
    graph: _Graph, skipped: set[int], names: Mapping[int, str], states: Container[int]
) -> Iterator[tuple[int, int, CachedTensor]]:
    """The tensors of the first position's forward that a later step reads, but for states."""
    for i, flow in enumerate(graph.flows):
        for number in flow.inputs if skipped and i not in skipped else ():
            if graph.maker.get(number) in skipped and number not in states:
                yield i, number, _cached(graph.operand(number), names.get(number, "encoded"), "encoder")


def _carried(graph: _Graph, loops: Iterable[tuple[Carried, int, int]]) -> Iterator[tuple[int, int, CachedTensor]]:
    """What loops over positions carry, where an operator first reads it."""
    for one, first, last in loops:
        at = next((i for i, _ in graph.takers.get(first, ()) if i != _OUTSIDE), graph.maker[last])
        yield at, last, _cached(graph.operand(last), one.name, "state")


def _states(graph: _Graph, past: Past) -> Iterator[tuple[int, int, CachedTensor]]:
    """The states of recurrent layers; for a cell called several times, those of the last call."""
    for i, (op, taken, made) in enumerate(graph.flows):
        if op.name not in _STATEFUL or i in past.skipped:
            continue
        following = [graph.flows[taker] for number in made for taker, _ in graph.takers.get(number, ()) if taker >= 0]
        if op.name in _RECURRENT and op.overload == "input":
            past.new = op.operand().shape[1 if op.at(8) else 0]
            note = "a bidirectional layer reads later positions too, so that its state alone goes on with none"
            past.notes += [note] * (bool(op.at(7)) and note not in past.notes)
        if op.name in _RECURRENT or not any(flow.inputs[-4:] == taken[-4:] for flow in following):
            for number, x in list(zip(made, op.outputs, strict=False))[op.name in _RECURRENT :]:
                yield i, number, _cached(x, "state", "state")


def _windows(graph: _Graph, past: Past) -> Iterator[tuple[int, int, CachedTensor]]:
    """The last inputs of causal convolutions and of shifts by padding, which the next step reads again."""
    for i, (op, taken, made) in enumerate(graph.flows):
        if op.name not in _WINDOWED or i in past.skipped or not graph.depends[taken[0]]:
            continue
        x, size, dim, name = op.operands[0], 0, -1, "conv state"
        takers = [graph.flows[taker].op for taker, _ in graph.takers.get(made[0], ()) if taker != _OUTSIDE]
        if op.name == "aten.constant_pad_nd":
            pads = op.at(1)
            padded = [d for d in range(len(pads) // 2) if pads[2 * d] or pads[2 * d + 1]]
            if len(padded) == 1:
                before, after = pads[2 * padded[0] : 2 * padded[0] + 2]
                name, dim = ("conv state" if not after else "shift state"), -1 - padded[0]
                feeds = dim == -1 and takers and all(_span(one) == before and one.at(4) == (0,) for one in takers)
                size = before if before > 0 and (after == -before or (after == 0 and feeds)) else 0
        elif (span := _span(op)) and op.at(4) == (span,):
            new = x.shape[-1]
            cut = (one.name == "aten.slice" and not one.at(2) and one.output.shape[-1] == new for one in takers)
            size = span if takers and all(cut) else 0
        if not size:
            continue
        past.new = past.new or x.shape[dim]
        past.windows[i] = size, dim % len(x.shape)
        if op.name == "aten.convolution":
            longer, out = (*x.shape[:-1], new + size), (*op.output.shape[:-1], new)
            arguments = x._replace(shape=longer, stride=contiguous(longer)), *op.arguments[1:4], (0,), *op.arguments[5:]
            result = op.output._replace(shape=out, stride=contiguous(out))
            past.replaced[i] = record_of(op._replace(arguments=arguments, outputs=(result,)))
        shape = [size if d == dim % len(x.shape) else n for d, n in enumerate(x.shape)]
        yield i, taken[0], CachedTensor(name, "state", tuple(shape), x.dtype, math.prod(shape) * x.itemsize)


def _span(op: Op) -> int:
    """How many positions before its own a convolution over a sequence reads; 0 for another operator."""
    if op.name != "aten.convolution" or len(op.operand().shape) != 3 or op.at(3) != (1,) or op.at(6):
        return 0
    return int((op.operand(1).shape[-1] - 1) * op.at(5)[0])
