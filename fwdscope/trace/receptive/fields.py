"""Receptive fields: how many input pixels each element of a tensor depends on, along convolutions and poolings.

The field of a tensor is followed through the operators of a trace, by what their rules say of positions
(:mod:`fwdscope.ops.positions`). Where branches join, their fields are united; a branch that pools over the whole input
(squeeze-and-excitation, statistics of a norm) is left out. Where positions are mixed otherwise (attention, a linear
layer over positions, an operator without a rule) there is no field from there on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from fwdscope.model.blueprint import Carried
from fwdscope.ops import Op, Rule, find
from fwdscope.ops.positions import Cut, Passage, Passing, Shift, Through
from fwdscope.trace.receptive import windows
from fwdscope.trace.receptive.windows import PIXELS, Axis


class OperatorFlow(NamedTuple):
    """One operator of a trace, and an object for each tensor that went in and came out.

    Only the identity of such an object counts (:attr:`fwdscope.trace.memory.Mark.ref`).
    """

    op: Op
    inputs: tuple[object, ...]
    outputs: tuple[object, ...]


class RepeatedFlows:
    """The operators of equal copies that did not run: those of the copy that ran, ``times`` times more.

    They are the ``count`` flows before this one, each time on the result of the copy before. ``input`` and ``result``
    are those of the copy that ran, ``last`` is the result of the last one.
    """

    __slots__ = ("count", "input", "last", "result", "times")

    def __init__(self, count: int, input: object, result: object) -> None:
        self.count = count
        self.input = input
        self.result = result
        self.last = result
        self.times = 0


class CalledFlows(NamedTuple):
    """The flows of a call that ran, its inputs and results, and what its loops over positions carried."""

    flows: Sequence[Flow]
    inputs: tuple[object, ...]
    results: tuple[object, ...]
    carried: Sequence[Carried]


class ReplayedFlows(NamedTuple):
    """The operators of a call that did not run: those of an equal one on other inputs, with other results."""

    call: CalledFlows
    inputs: tuple[object, ...]
    results: tuple[object, ...]


Flow: TypeAlias = OperatorFlow | RepeatedFlows | ReplayedFlows


def receptive_fields(
    flows: Sequence[Flow], inputs: Sequence[tuple[object, tuple[int, ...]]]
) -> dict[int, tuple[Axis, ...] | None]:
    """The axes of every tensor that depends on the inputs, by the identity of the object that represents it.

    Inputs are given with their shapes. Without windows nothing is followed. Tensors inside equal copies have the fields
    of the last copy.
    """
    rules = map(find, {flow.op.name for flow in flows if isinstance(flow, OperatorFlow)})
    if not any(rule is not None and rule.slides for rule in rules):
        return {}
    fields = {id(key): field_of(tuple([(Factor(n, PIXELS),) for n in shape])) for key, shape in inputs}
    bases: dict[int, int] = {}
    _follow_all(flows, 0, len(flows), fields, bases)
    return {key: field.axes for key, field in fields.items()}


def _follow_all(flows: Sequence[Flow], begin: int, end: int, fields: dict[int, Field], bases: dict[int, int]) -> None:
    for i in range(begin, end):
        flow = flows[i]
        if isinstance(flow, OperatorFlow):
            _follow(flow, fields, bases)
            continue
        assert isinstance(flow, RepeatedFlows), "every call runs where fields are followed"
        input, result = id(flow.input), id(flow.result)
        if result not in fields:
            continue
        outside = fields.get(input)
        for _ in range(flow.times):
            fields[input] = fields[result]
            _follow_all(flows, i - flow.count, i, fields, bases)
        fields[id(flow.last)] = fields[result]
        if outside is None:
            del fields[input]
        else:
            fields[input] = outside


def _follow(flow: OperatorFlow, fields: dict[int, Field], bases: dict[int, int]) -> None:
    """Put the fields of an operator's results among the others; ``bases`` gives the tensor that a view shows."""
    op, inputs, outputs = flow
    rule = find(op.name)
    window = None if rule is None else rule.window
    keys = list(map(id, inputs))
    if rule is not None and rule.free and keys:
        bases |= {key: keys[0] for key in map(id, outputs) if key != keys[0]}
    known = list(map(fields.get, keys))
    if window is Passing.NONE or not any(known):
        return
    for key, result in zip(map(id, outputs), _results(op, rule, known), strict=False):
        if key in keys and fields.get(key) != result:
            base = bases.get(key)
            while base is not None:  # written onto a part of something larger
                fields[base] = LOST
                base = bases.get(base)
        fields[key] = result


def _results(op: Op, rule: Rule | None, known: list[Field | None]) -> list[Field]:
    """The fields of an operator's results, from those of its tensors; None is a tensor that depends on no input."""
    outputs = op.outputs
    if rule is None or rule.window is None or any(field is LOST for field in known):
        return [LOST] * len(outputs)
    shape = outputs[0].shape if outputs else ()
    found = _result(op, rule, known, shape)
    if isinstance(found, list):
        return found
    return [found] if len(outputs) == 1 else [found if out.shape == shape else LOST for out in outputs]


def _result(op: Op, rule: Rule, known: list[Field | None], shape: tuple[int, ...]) -> Field | list[Field]:
    """The field of the first result, or of each."""
    window = rule.window
    if window is Passing.SAME:
        return known[0] or LOST
    followed = [(i, field) for i, field in enumerate(known) if field is not None]
    first = followed[0][1]
    alone = len(followed) == 1
    if window is Passing.BROADCAST:
        # Most operators pass the very same object on.
        unchanged = alone and first.settled and first.shape == shape
        return first if unchanged else field_of(unite([field.known for _, field in followed], shape))
    if window is Passing.RESHAPED:
        return field_of(_reshape(first.known, shape)) if alone and known[0] is first else LOST
    assert callable(window)
    parts: list[Dimensions] = []
    for i, field in followed:
        passage = window(op, i)
        if isinstance(passage, list):
            results = zip(passage, op.outputs, strict=True)
            return [field_of(_pass(one, field.known, out.shape)) for one, out in results] if alone else LOST
        if passage is None or not (alone or passage.joins):
            return LOST
        dimensions = _pass(passage, field.known, shape)
        if dimensions is None:
            return LOST
        parts.append(dimensions)
    return field_of(parts[0] if alone else unite(parts, shape))


# --- fields ----------------------------------------------------------------------------------------------------------


class Factor(NamedTuple):
    """A dimension, or one of those that a reshape merged into one. Without an axis it is not followed."""

    length: int
    axis: Axis | None = None
    # Whether a window went over it.
    spatial: bool = False


# A reshape merges dimensions and splits them again, so that a dimension is one or more factors.
Dimension = tuple[Factor, ...]
Dimensions = tuple[Dimension, ...]


class Field(NamedTuple):
    """The receptive field of a tensor: its dimensions, and what follows from them (:func:`field_of`)."""

    # None where positions are mixed.
    dimensions: Dimensions | None
    shape: tuple[int, ...] = ()
    # The axes that windows went over; None where there are none, or where one is not followed.
    axes: tuple[Axis, ...] | None = None
    # Whether broadcasting it to its own shape leaves it as it is: each dimension is unknown as a whole or followed.
    settled: bool = False

    @property
    def known(self) -> Dimensions:
        """Its dimensions, of a field that is not lost."""
        assert self.dimensions is not None
        return self.dimensions


LOST = Field(None)


def field_of(dimensions: Dimensions | None) -> Field:
    """The field with these dimensions."""
    if dimensions is None:
        return LOST
    axes = [axis for dimension in dimensions for _, axis, spatial in dimension if spatial]
    settled = all((len(d) == 1 and not d[0].spatial) or is_followed(d) for d in dimensions)
    found = tuple([axis for axis in axes if axis is not None])
    return Field(dimensions, tuple(map(length_of, dimensions)), found if 0 < len(found) == len(axes) else None, settled)


@lru_cache(maxsize=4096)
def unknown(length: int) -> Dimension:
    """A dimension that is not followed."""
    return (Factor(length),)


def is_spatial(dimension: Dimension) -> bool:
    """Whether a window went over any part of it."""
    return True in [factor.spatial for factor in dimension]


def is_followed(dimension: Dimension) -> bool:
    """Whether any part of it has an axis."""
    return [factor.axis for factor in dimension].count(None) < len(dimension)


def length_of(dimension: Dimension) -> int:
    """How many places it has."""
    return dimension[0].length if len(dimension) == 1 else math.prod([factor.length for factor in dimension])


def unite(parts: Iterable[Dimensions], shape: tuple[int, ...]) -> Dimensions | None:
    """Broadcast to a shape and unite. A dimension of size 1 that is repeated adds nothing."""
    result: list[Dimension] = [unknown(n) for n in shape]
    for dimensions in parts:
        for i, dimension in enumerate(dimensions, start=len(shape) - len(dimensions)):
            if i < 0:
                continue
            if length_of(dimension) == shape[i]:
                united = _unite_dimension(result[i], dimension)
                if united is None:
                    return None
                result[i] = united
            elif length_of(dimension) != 1 and is_spatial(dimension):
                return None
    return tuple(result)


def _unite_dimension(one: Dimension, other: Dimension) -> Dimension | None:
    """Two dimensions of one length as one; None where they cannot be followed together."""
    if one == other or not is_followed(other):
        return one
    if not is_followed(one):
        return other
    if len(one) != len(other) or any(a.length != b.length for a, b in zip(one, other, strict=True)):
        return None
    factors: list[Factor] = []
    for a, b in zip(one, other, strict=True):
        axis = windows.union(a.axis, b.axis) if a.axis and b.axis else a.axis or b.axis
        spatial = a.spatial or b.spatial
        if axis is None and spatial and (a.axis or b.axis):
            return None
        factors.append(Factor(a.length, axis, spatial))
    return tuple(factors)


# --- through operators -----------------------------------------------------------------------------------------------


def _pass(passage: Passage, x: Dimensions, shape: tuple[int, ...]) -> Dimensions | None:
    """The dimensions of a result of this shape; None where positions are mixed."""
    if len(passage.dims) != len(shape) or any(is_spatial(x[d]) for d in passage.mixed):
        return None
    result: list[Dimension] = []
    for source, n in zip(passage.dims, shape, strict=True):
        if source is None:
            result.append(unknown(n))
        elif isinstance(source, int):
            result.append(x[source] if length_of(x[source]) == n else unknown(n))
        else:
            dimension = _read(source, x[source.dim], n)
            if dimension is None:
                return None
            result.append(dimension)
    return tuple(result)


def _read(source: Through, dimension: Dimension, n: int) -> Dimension | None:
    """A dimension of length n, each place of which reads places of another."""
    before, reading = length_of(dimension), source.reading
    axis = dimension[0].axis if len(dimension) == 1 else None
    if isinstance(reading, Cut):
        if n == before:
            return dimension
        if axis is None:
            return None if is_spatial(dimension) else unknown(n)
    only_moves = isinstance(reading, Cut | Shift)
    if only_moves and len(dimension) > 1:
        return None
    spatial = dimension[0].spatial if only_moves else True
    return (Factor(n, axis and windows.read(axis, reading, before, n), spatial),)


def _reshape(x: Dimensions, shape: tuple[int, ...]) -> Dimensions | None:
    """Merge and split dimensions; a factor that is split is no longer followed."""
    if 0 in shape:
        return None
    if tuple(map(length_of, x)) == shape:
        return x
    rest = [factor for dimension in x for factor in dimension if factor.length > 1]
    rest.reverse()
    result: list[Dimension] = []
    for n in shape:
        factors: list[Factor] = []
        while n > 1:
            factor = rest.pop()
            if n % factor.length:
                shared = math.gcd(n, factor.length)
                if shared == 1 or factor.spatial:
                    return None
                rest.append(Factor(factor.length // shared))
                factor = Factor(shared)
            factors.append(factor)
            n //= factor.length
        result.append(tuple(factors) or unknown(1))
    return tuple(result)
