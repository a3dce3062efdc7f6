"""What a network moves however well its operators are fused: weights, inputs, outputs, and results between products.

A compiler keeps on the chip what one kernel makes and its next step takes. Between two products with weights (a linear
layer, a convolution, a recurrent layer) one tensor has to go through memory, since the second needs all of the first:
the smallest set of tensors that all the rest between them follows from. Everything else may be part of a kernel:

- element-wise operators, norms, softmax, reductions, poolings, gathers, copies and views;
- products of activations alone, as a flash attention's, whose scores are never stored;
- a convolution of each channel by itself, which is as local as a pooling.

What is made again from what is stored costs nothing here, so that a forward's results are stored for the backward only
where nothing smaller gives them, as in the partitioner of torch.compile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from fwdscope.ops import Op, find
from fwdscope.report import FusedTraffic
from fwdscope.trace.receptive.fields import Flow, OperatorFlow, RepeatedFlows

# Products whose second tensor may be different for each item of a batch: attention's.
_BATCHED = frozenset(("aten.bmm", "aten.baddbmm"))
# Where attention has its flag ``is_causal``.
_CAUSAL = {"aten.scaled_dot_product_attention": 5, "aten._scaled_dot_product_flash_attention": 4}
# Beyond so many sources of one tensor they count as none, which keeps the bound below what is moved.
_MOST_SOURCES = 256


class _Value:
    """A tensor as one operator left it, or one from outside: a weight, an input."""

    def __init__(self, nbytes: int, number: int, needs: tuple[_Value, ...] = (), outside: str = "") -> None:
        self.nbytes = nbytes
        # The number of the operator that made it, and how many equal copies of that there are.
        self.number = number
        self.times = 1
        # What has to be read to make it.
        self.needs = needs
        # ``weight`` or ``input``; empty for a result.
        self.outside = outside
        # What it is a part of.
        self.whole: _Value | None = None


def fused_traffic(
    flows: Sequence[Flow],
    figures: Mapping[int, tuple[int, int, int, int]],
    weights: Iterable[object],
    outputs: Iterable[tuple[object, int]],
) -> FusedTraffic:
    """What the operators of a forward move if they are fused.

    ``figures`` are the MACs, FLOPs, bytes read and bytes written of those that count, by their number. Weights are
    given as the objects that represent them in the flows, outputs with their bytes.
    """
    graph = _FusedResults(set(map(id, weights)))
    skipped = 0
    for number, flow in enumerate(flows):
        if isinstance(flow, RepeatedFlows):
            first = number - flow.count
            skipped += (graph.skipped - graph.skipped_before[first]) * flow.times
            graph.repeat(flow, first)
        else:
            assert isinstance(flow, OperatorFlow), "every call runs where fusion is looked at"
            graph.follow(flow, figures.get(number, (0, 0, 0, 0)), number)
    return graph.traffic(list(outputs), graph.skipped + skipped)


class _FusedResults:
    def __init__(self, weights: set[int]) -> None:
        self.weights = weights
        # By the identity of the object that represents a tensor: the stored tensors that it follows from, its bytes,
        # and the tensor that it is a view of.
        self.sources: dict[int, tuple[_Value, ...]] = {}
        self.sizes: dict[int, int] = {}
        self.bases: dict[int, int] = {}
        # The bytes of the tensors that an operator takes and of its results, by its identity: calls share it.
        self.operators: dict[int, tuple[list[int], list[int]]] = {}
        # Tensors from outside, and views of them.
        self.given: set[int] = set()
        self.values: list[_Value] = []
        self.written: list[tuple[int, tuple[_Value, ...]]] = []
        # FLOPs that a kernel need not do, so far and before each operator.
        self.skipped = 0
        self.skipped_before: dict[int, int] = {}

    def follow(self, flow: OperatorFlow, figures: tuple[int, int, int, int], number: int) -> None:
        """Add one operator."""
        op, inputs, outputs = flow
        macs, flops, read, _ = figures
        self.skipped_before[number] = self.skipped
        rule = find(op.name)
        is_view = rule is not None and rule.free
        if (sizes := self.operators.get(id(op))) is None:
            sizes = self.operators[id(op)] = [one.nbytes for one in op.operands], [one.nbytes for one in op.outputs]
        if (place := _CAUSAL.get(op.name)) is not None and op.at(place) is True:
            self.skipped += flops // 2
        taken: dict[_Value, None] = {}
        has_weight = has_result = False
        for key, nbytes in zip(map(id, inputs), sizes[0]):  # noqa: B905 - an ``out`` is no operand
            sources = self._sources_of(key, nbytes, number)
            if key in self.given and not is_view:
                sources[0].nbytes = max(sources[0].nbytes, min(nbytes, read))
            is_weight = bool(sources) and all(one.outside == "weight" for one in sources)
            has_weight, has_result = has_weight or is_weight, has_result or not is_weight
            taken |= dict.fromkeys(sources)
        needs = tuple(taken) if len(taken) <= _MOST_SOURCES else ()
        is_product = bool(macs) and has_weight and has_result and op.name not in _BATCHED and not _is_local(op)
        for key, nbytes in zip(map(id, outputs), sizes[1]):  # noqa: B905
            if key in self.sources and key in map(id, inputs):
                self._write(key, nbytes, needs, number)
            self.sizes[key] = nbytes
            self.sources[key] = self._result(nbytes, needs, number, is_product, is_view)
            self.given.discard(key)
            if is_view and inputs and id(inputs[0]) != key:
                self.bases[key] = id(inputs[0])
                self.given |= {key} if id(inputs[0]) in self.given else set()

    def _sources_of(self, key: int, nbytes: int, number: int) -> tuple[_Value, ...]:
        if key not in self.sources:
            value = _Value(0, number, outside="weight" if key in self.weights else "input")
            self.values.append(value)
            self.given.add(key)
            self.sources[key], self.sizes[key] = (value,), nbytes
        return self.sources[key]

    def _result(
        self, nbytes: int, needs: tuple[_Value, ...], number: int, is_product: bool, is_view: bool
    ) -> tuple[_Value, ...]:
        """A new value, unless it is made of stored ones as cheaply as it is read. All from outside is read anyway."""
        inner = [one for one in needs if not one.outside]
        if not is_product and nbytes >= sum([one.nbytes for one in inner]):
            return needs
        value = _Value(nbytes, number, needs)
        if not is_product:
            # The kernel that makes the largest of them goes on to this one, so that it is not stored for it.
            largest = max(inner, key=lambda one: (one.nbytes, one.number))
            value.needs = tuple(dict.fromkeys([*(one for one in needs if one is not largest), *largest.needs]))
            value.whole = (largest.whole or largest) if is_view and len(inner) == 1 else None
        self.values.append(value)
        return (value,)

    def _write(self, key: int, nbytes: int, needs: tuple[_Value, ...], number: int) -> None:
        """An operator wrote one of its tensors: what that is a view of is another tensor from now on."""
        base = key
        while (base := self.bases.get(base, -1)) >= 0:
            before = self.sources.get(base, ())
            if before and all(one.outside for one in before):
                self.written.append((nbytes, needs))
                return
            value = _Value(self.sizes[base], number, tuple(dict.fromkeys((*before, *needs))))
            self.values.append(value)
            self.sources[base] = (value,)

    def repeat(self, flow: RepeatedFlows, first: int) -> None:
        """Count what the copy that ran made as often as there are copies."""
        for value in reversed(self.values):
            if value.number < first:
                break
            value.times *= flow.times + 1
        if id(flow.result) in self.sources:
            self.sources[id(flow.last)] = self.sources[id(flow.result)]

    def traffic(self, outputs: list[tuple[object, int]], skipped: int) -> FusedTraffic:
        """The bytes of all that the outputs follow from."""
        waiting: list[_Value] = []
        ends: list[tuple[int, _Value | None]] = []
        results = [(nbytes, self.sources.get(id(one), ())) for one, nbytes in outputs]
        for nbytes, sources in [*results, *self.written]:
            own = sources[0] if len(sources) == 1 and not sources[0].outside and sources[0].nbytes == nbytes else None
            waiting += own.needs if own is not None else sources
            ends.append((nbytes, own))
        needed: dict[_Value, None] = {}
        while waiting:
            value = waiting.pop()
            if value not in needed:
                needed[value] = None
                waiting += value.needs
        outside = {what: sum([one.nbytes * one.times for one in needed if one.outside == what]) for what in _OUTSIDE}
        written = sum([nbytes for nbytes, own in ends if own is None or own not in needed])
        between = Counter[int]()
        for nbytes, times in _stored(needed):
            between[nbytes] += times
        return FusedTraffic(outside["weight"], outside["input"] + written, tuple(sorted(between.items())), skipped)


_OUTSIDE = ("weight", "input")


def _stored(needed: Iterable[_Value]) -> Iterator[tuple[int, int]]:
    """The bytes of each result that is stored, and how often; parts of one tensor are no more than it."""
    parts: dict[_Value, int] = {}
    found = {one: None for one in needed if not one.outside and one.nbytes}
    for one in found:
        if one.whole is None:
            yield one.nbytes, one.times
        elif one.whole not in found:
            parts[one.whole] = parts.get(one.whole, 0) + one.nbytes
    for whole, nbytes in parts.items():
        yield min(nbytes, whole.nbytes), whole.times


def _is_local(op: Op) -> bool:
    """Whether it is a convolution of each channel by itself."""
    if op.name in ("aten.convolution", "aten._convolution"):
        return bool(op.at(8, 1) == op.operand().shape[1] > 1)
    return "depthwise" in op.name
