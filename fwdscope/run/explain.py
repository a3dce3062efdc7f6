"""Run a network once on a device, and explain one number of one output, or those of its small outputs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from fwdscope.model.events import StepKey
from fwdscope.report import Strip
from fwdscope.report.value import (
    Cell,
    Element,
    Equation,
    KeptValue,
    Part,
    ValueExplanation,
    ValueStep,
    ValueTable,
)
from fwdscope.run.choose import find_device
from fwdscope.run.forward import run_recorded
from fwdscope.run.prepare import Prepared, prepared
from fwdscope.run.strips import WantedStrips, drawn_cells, strip_of
from fwdscope.run.subject import Subject
from fwdscope.settings import DeviceSettings, RunError
from fwdscope.trace import Node, OwnWork, Trace, without_compiling
from fwdscope.trace.own_work import operator_name
from fwdscope.trace.parameters import named_tensors
from fwdscope.trace.steps import find, steps
from fwdscope.units import number
from fwdscope.units import shape as shape_text
from fwdscope.values import recurrent as recurrent
from fwdscope.values import rules as rules
from fwdscope.values.calls import CallKeeper, Held, Index
from fwdscope.values.derivation import Derivation
from fwdscope.values.elementwise import ACTIVATIONS

# Outputs of at most so many numbers of one item are explained on the page: at most so many numbers of a report, in so
# many seconds and so many bytes of JSON, unless one more forward takes long.
MOST_NUMBERS_OF_LAYER, MOST_NUMBERS, MOST_SECONDS, MOST_BYTES = 128, 256, 3.0, 300_000
MOST_MACS = 10**10
# How far the number of the run may be from the one computed in double precision before a note says so.
_ROUNDING = 1e-5


def parse_index(text: str) -> tuple[int, ...]:
    """``0,3,5,5`` or ``[0, 3, 5, 5]`` as numbers; empty for a single number. Raises RunError for anything else."""
    inner = text.strip()
    if inner[:1] + inner[-1:] in ("[]", "()"):
        inner = inner[1:-1]
    entries = [entry.strip() for entry in inner.rstrip(", ").split(",")] if inner.strip() else []
    for entry in entries:
        if not re.fullmatch(r"-?[0-9]{1,18}", entry):
            found = repr(entry) if entry else "nothing"
            raise RunError(f"--value {text}: found {found} where a whole number was expected, as in --value 0,3,5,5")
    return tuple(map(int, entries))


def explain_value(
    subject: Subject, layer: str, index: Sequence[int], settings: DeviceSettings, output: int = 0
) -> ValueExplanation:
    """Explain an element of an output of a layer, by the numbers of a run on a device, the CPU if none is named.

    The run is the one of ``inspect``: the same seed, weights and inputs give the same numbers. Raises LookupError if
    there is no such layer, RunError for an index that does not fit, or a network that cannot run.
    """
    report, trace = subject.report(), subject.trace_every_copy()
    node, _ = find(trace, layer)
    at = _check(node, layer, tuple(index), output)
    source = _source(node, output)
    following = _activation_after(trace, source.last, output)
    keys = source.keys | {one.step for one in (following,) if one is not None and one.step is not None}
    device = find_device(settings.device or "cpu")
    with without_compiling(), prepared(subject, report, device, settings, copied=False) as ready:
        keeper = _run(ready, keys, frozenset((source.shown,)))
        held = _held(keeper, source.shown, output)
        if held is None:
            raise RunError(f"--value: {layer} did not run on these inputs: the data decided what ran")
        at = _check(node, layer, at, output, held)
        derivation = Derivation(keeper, keys)
        steps, notes, computed = _derived(derivation, source, held, at)
        behind: tuple[ValueStep, ...] = ()
        after = _held(keeper, following.step, 0) if following is not None else None
        if after is not None and after.values.shape == held.values.shape:
            count = len(derivation.steps)
            derivation.derive(after, at)
            behind = tuple(derivation.steps[count:])
    line, column = trace.source.place(node.span.start) if node.span and trace.source else (None, None)
    return ValueExplanation(
        element=steps[-1].element, computed=computed, text=node.text or node.type, kind=node.kind,
        shape=tuple(held.values.shape), dtype=str(held.values.dtype).removeprefix("torch."), device=device.device,
        seed=settings.seed, weights=str(settings.weights) if settings.weights else None,
        steps=steps, activation=behind, notes=notes,
        source=trace.source.name if trace.source else None, line=line, column=column,
    )  # fmt: skip


def explained_strips(
    ready: Prepared, wanted: WantedStrips, found: Sequence[tuple[Strip, Node | None]]
) -> tuple[Strip, ...]:
    """The strips, those of small outputs with the derivation of each number that they draw.

    The network runs once more for them; where its numbers are others then, there are none.
    """
    sources: dict[int, tuple[_MadeBy, list[Index | None]]] = {}
    left = MOST_NUMBERS
    # The smallest first.
    for i, (strip, node) in sorted(enumerate(found), key=lambda one: math.prod(one[1][0].shape)):
        if node is not None and node.step is not None and node.outputs:
            cells, numbers = drawn_cells(strip.shape, wanted.names.get(node.path, ()), wanted.batch)
            is_float = node.outputs[0].dtype.startswith(("float", "bfloat"))
            if is_float and numbers <= MOST_NUMBERS_OF_LAYER and len(cells) <= left:
                sources[i] = _source(node, 0), cells
                left -= len(cells)
    strips = [strip for strip, _ in found]
    if not sources or (ready.report.totals.macs or 0) > MOST_MACS:
        return tuple(strips)
    keys = frozenset[StepKey]().union(*(source.keys for source, _ in sources.values()))
    keeper = _run(ready, keys, frozenset(source.shown for source, _ in sources.values()))
    end, room = time.monotonic() + MOST_SECONDS, MOST_BYTES
    for i, (source, cells) in sources.items():
        held, strip = _held(keeper, source.shown, 0), strips[i]
        names = wanted.names.get(source.node.path, ())
        again = strip_of(held.values, names, wanted.batch) if held is not None else None
        if held is None or again is None:
            continue
        if (again.panels, again.low, again.high) != (strip.panels, strip.low, strip.high):
            continue
        values = []
        for cell, at in enumerate(cells):
            if at is not None and room > 0 and time.monotonic() < end:
                steps, notes, _ = _derived(Derivation(keeper, source.keys), source, held, at)
                value = KeptValue(cell, steps[-1].element, tuple(map(_finite, steps)), notes)
                with contextlib.suppress(ValueError):  # JSON has no infinite numbers
                    room -= len(json.dumps(dataclasses.asdict(value), allow_nan=False))
                    values.append(value)
        strips[i] = replace(strip, values=tuple(values))
    return tuple(strips)


def _finite(step: ValueStep) -> ValueStep:
    """The step without infinite operands, as scores that are masked, or in tables with text for them."""

    def cell(one: Cell) -> Cell:
        value = one.value if isinstance(one, Element) else one
        return number(value) if isinstance(value, float) and not math.isfinite(value) else one

    def part(one: Part) -> Part:
        if isinstance(one, ValueTable):
            return replace(one, rows=tuple(replace(row, cells=tuple(map(cell, row.cells))) for row in one.rows))
        if isinstance(one, Equation):
            return replace(one, operands=tuple(each for each in one.operands if math.isfinite(each.value)))
        return one

    return replace(step, parts=tuple(map(part, step.parts)))


@dataclass(frozen=True)
class _MadeBy:
    """Where an output of a step is made: the step without others inside, and the steps whose operators are kept."""

    node: Node
    last: Node
    output: int
    keys: frozenset[StepKey]

    @property
    def shown(self) -> StepKey:
        """The step whose outputs are kept."""
        found = self.node.step or self.last.step
        assert found is not None
        return found


def _source(node: Node, output: int) -> _MadeBy:
    last = _last_step(node, output)
    keys = {last.step} if last.step is not None else set()
    if isinstance(last, OwnWork) and node.step is not None:
        keys.add(("own", *node.step[1:]) if last is not node else last.step or node.step)
    if last is not node and _activation(last):
        # Of a block that ends with an activation, what it is an activation of too.
        keys |= {one.step for one in last.sources if one.step is not None}
    return _MadeBy(node, last, output, frozenset(keys))


def _run(ready: Prepared, keys: frozenset[StepKey], shown: frozenset[StepKey]) -> CallKeeper:
    """A forward that keeps the operators of some steps."""
    module = getattr(ready.call.module, "module", ready.call.module)
    names = {id(tensor): name for what in ("buffers", "parameters") for name, tensor in named_tensors(module, what)}
    names |= {id(tensor): name for name, tensor in ready.subject.named_inputs(ready.call).items()}
    keeper = CallKeeper(keys, shown, names)
    run_recorded(ready, keeper)
    return keeper


def _derived(
    derivation: Derivation, source: _MadeBy, held: Held, at: Index
) -> tuple[tuple[ValueStep, ...], tuple[str, ...], float]:
    """The steps of an element of an output, notes, and what the steps give."""
    node, last = source.node, source.last
    result = derivation.derive(held, at)
    steps, notes = derivation.steps, []
    address = Element(node.path or node.type, at, float(held.values[at]), "layer", source.output)
    if last is not node:
        kind = node.kind if node.kind in ("block", "stack", "part", "loop") else "module with others inside"
        ends = "these are the steps that it computes itself"
        ends = ends if isinstance(last, OwnWork) else f"its last step is {last.path}"
        notes.append(f"{node.path or 'the network'} is a {kind}; {ends}")
    if result.kind == "step":
        steps = [*steps[:-1], replace(steps[-1], element=address)]
        computed = steps[-1].result.value
    else:
        computed = result.value
        ran = [call.name for call in derivation.kept if call.owner in (node, last)]
        steps = [*steps, _passed_on(address, result, ran)]
    scale = max(1.0, abs(address.value)) * _ROUNDING
    if math.isfinite(address.value) and abs(computed - address.value) > scale:
        dtype = str(held.values.dtype).removeprefix("torch.")
        notes.append(f"the run gives {number(address.value)}: {dtype} rounds each product and sum")
    if derivation.cut:
        notes.append("earlier steps are left out")
    return tuple(steps), tuple(notes), computed


def _passed_on(address: Element, source: Element, ran: Sequence[str]) -> ValueStep:
    """The step of a layer that only moves a number."""
    names = ", ".join(dict.fromkeys(operator_name(f"aten.{name}") for name in ran))
    sentence = {
        "parameter": "a parameter or buffer: learned, or set when the weights are made",
        "other": f"a constant that {names} puts in" if names else "a constant",
    }.get(source.kind, f"{names} only moves numbers" if names else "passed on as it is: nothing is computed here")
    equation = Equation("", source.text, number(source.value), source.value, (source,))
    return ValueStep("", address, sentence, (equation,))


def _check(node: Node, layer: str, index: Index, output: int, held: Held | None = None) -> Index:
    """The index with negative entries counted from the start. Raises RunError where it does not fit the output."""
    shapes = [one.shape for one in node.outputs]
    if not shapes:
        raise RunError(f"--value: {layer} has no tensor as output")
    if not 0 <= output < len(shapes):
        there = ", ".join(f"{i} {shape_text(one)}" for i, one in enumerate(shapes))
        raise RunError(f"--of {output}: {layer} has the outputs {there}")
    sizes = tuple(held.values.shape) if held is not None else shapes[output]
    dtype = str(held.values.dtype).removeprefix("torch.") if held is not None else node.outputs[output].dtype
    text = f"--value {','.join(map(str, index))}"
    example = ",".join("0" for _ in sizes) or '""'
    if len(index) != len(sizes):
        want = f"{len(sizes)} indices" if len(sizes) != 1 else "1 index"
        raise RunError(f"{text}: {layer} has the shape {shape_text(sizes)}, which takes {want}: --value {example}")
    for dim, (i, size) in enumerate(zip(index, sizes, strict=True)):
        if not -size <= i < size:
            there = f"from 0 to {size - 1}" if size else "none"
            raise RunError(f"{text}: index {i} is outside dimension {dim} of {shape_text(sizes)}; there is {there}")
    if not dtype.startswith(("float", "bfloat")):
        raise RunError(f"{text}: the output of {layer} is {dtype}; only real floating-point numbers are explained")
    return tuple(i % size for i, size in zip(index, sizes, strict=True))


def _last_step(node: Node, output: int) -> Node:
    """The step without others inside that made an output of a step."""
    if not node.inside() or output >= len(node.outputs):
        return node
    made = node.outputs[output].ref
    inner = [one for one in node.nodes() if one is not node and not one.inside()]
    makers = [one for one in inner if any(given.ref is made for given in one.outputs)]
    return makers[-1] if makers else inner[-1]


def _activation(node: Node) -> bool:
    names = [record.op.name.removeprefix("aten.").rstrip("_") for record in node.records()]
    return len(names) == 1 and names[0] in ACTIVATIONS


def _activation_after(trace: Trace, node: Node, output: int) -> Node | None:
    """The next step, if it applies an activation to the output of this one."""
    if output or _activation(node):
        return None
    every = [one for one in steps(trace.root) if not one.inside()]
    behind = chain(every[every.index(node) + 1 :]) if node in every else iter(())
    return next((one for one in behind if one.sources == (node,) and _activation(one)), None)


def _held(keeper: CallKeeper, key: StepKey | None, output: int) -> Held | None:
    for node, outputs in keeper.outputs:
        if node.step == key and output < len(outputs):
            return outputs[output]
    return None
