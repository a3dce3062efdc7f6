"""The trail of a size: from a tensor back, past every step that keeps it, to the steps that changed or set it.

A :class:`Trail` observes a run that fails, of a spec or of a module. What each step does to each dimension is read off
the rules of its operators and the formulas of its layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn

from fwdscope.formula import Size
from fwdscope.language.problems import Span
from fwdscope.layers import LAYERS, output_sizes
from fwdscope.model.events import LineResult, StepStart
from fwdscope.model.modules import Series
from fwdscope.ops import result_sizes
from fwdscope.ops.dispatch import OpRecord
from fwdscope.ops.nested import tensors
from fwdscope.ops.op import Op
from fwdscope.ops.positions import Reading, Slide
from fwdscope.ops.sources import sources

Shape = tuple[int, ...]
# Beyond this many dimensions a trail is not followed.
MOST_PLACES = 2_000


@dataclass(eq=False)
class Step:
    """A call of a layer or block, a line of a spec, or a line of a module's own code."""

    text: str = ""
    path: str = ""
    span: Span | None = None
    module: nn.Module | None = None
    outer: Step | None = None
    # What it was called with, and the tensors in it.
    arguments: Any = ()
    given: tuple[Tensor, ...] = ()
    inputs: tuple[Shape, ...] = ()
    outputs: tuple[Shape, ...] = ()
    # The results by identity, to find which of them a tensor is.
    results: tuple[Tensor, ...] = ()
    # How many steps began before it.
    number: int = 0

    def around(self) -> Iterator[Step]:
        """It and the steps around it, the innermost first."""
        step: Step | None = self
        while step is not None:
            yield step
            step = step.outer


class Made(NamedTuple):
    """How a tensor was made: by which result of which operator, from what, in which step."""

    op: Op
    result: int
    operands: tuple[Tensor, ...]
    # How each operand was made at that time; None for inputs and weights.
    makers: tuple[Made | None, ...]
    step: Step


class Change(NamedTuple):
    """A step that changes a size, or sets it: then there is nothing ``before``."""

    step: Step
    before: Shape
    after: int
    size: Size | None
    reading: Reading | None
    op: Op

    @property
    def setting(self) -> str | None:
        """The setting of the layer that gives the size."""
        size = self.size if is_leaf(self.step) and not self.before else None
        return size.formula if size is not None and size.is_plain and not size.is_kept else None

    @property
    def text(self) -> str:
        """The arithmetic in words: ``208 became 210: kernel 1, padding 1 adds a border: 208 + 2·1 − 1 + 1``."""
        numbers = self.size.with_numbers if self.size is not None else ""
        if not self.before:
            if self.setting is not None:
                return f"{self.setting} sets {self.after}"
            computed = self.size is not None and not self.size.is_plain and numbers != f"{self.after:,}"
            return f"{self.after} = {numbers}" if computed else f"{self.after} is set here"
        if len(self.before) > 1:
            joint = " + " if sum(self.before) == self.after else "·"
            return f"{self.after} = {joint.join(map(str, self.before))}"
        why = ": ".join(filter(None, (self._why(), numbers if numbers != f"{self.after:,}" else "")))
        verb = "stays" if self.before == (self.after,) else "became"
        return f"{self.before[0]} {verb} {self.after}" + f": {why}" * bool(why)

    def _why(self) -> str:
        if not isinstance(self.reading, Slide):
            return ""
        kernel, stride, padding, _ = self.reading
        (before,) = self.before
        if before == self.after:
            return f"kernel {kernel}, stride {stride}"
        if stride > 1:
            rounded = "up" if self.after * stride > before else "down"
            return f"stride {stride}, rounded {rounded}" if self.after * stride != before else f"stride {stride}"
        return f"kernel {kernel}, padding {padding} {'adds a border' if self.after > before else 'cuts the border off'}"


class Place(NamedTuple):
    """A dimension of an input or of a weight, at which a trail ends."""

    tensor: Tensor
    dim: int


class SizeTrail(NamedTuple):
    """The changes of a size, the nearest first, and the inputs' dimensions that it began with.

    ``windows`` are all steps whose windows slide along it, those that keep it too.
    """

    changes: tuple[Change, ...]
    ends: tuple[Place, ...]
    windows: tuple[Change, ...]

    def without(self, other: SizeTrail) -> SizeTrail:
        """What the other does not share."""
        shared = {(id(change.step), change.after, change.before) for change in other.changes}
        changes = [c for c in self.changes if (id(c.step), c.after, c.before) not in shared]
        ends = {(id(end.tensor), end.dim) for end in other.ends}
        left = tuple(end for end in self.ends if (id(end.tensor), end.dim) not in ends)
        slid = {id(change.step) for change in other.windows}
        return SizeTrail(tuple(changes), left, tuple(one for one in self.windows if id(one.step) not in slid))


@dataclass(eq=False)
class Trail:
    """Observes a run, and remembers how each tensor was made. Tensors are kept, so it is for meta tensors."""

    # Names the place in a module's own code that runs now; of a spec the lines do.
    own_code: Callable[[], str] | None = None
    repeats: bool = True
    stack: list[Step] = field(default_factory=lambda: [Step()])
    # How many steps were open when each line that runs began.
    lines: list[int] = field(default_factory=list)
    made: dict[int, tuple[Tensor, Made | None]] = field(default_factory=dict)
    own: dict[tuple[int, str], Step] = field(default_factory=dict)
    # What a problem of shapes is about, for finding what would fit.
    faults: list[Any] = field(default_factory=list)
    count: int = 0
    # What the operator that ran last took.
    last: tuple[Tensor, ...] = ()
    # The layers that were called, in order.
    layers: list[Step] = field(default_factory=list)

    # -- events of the run --------------------------------------------------------------------------------------------

    def begin(self, what: StepStart, inputs: Any) -> None:
        """A layer, block, stack, part or loop starts."""
        given = tuple(tensors(inputs))
        shapes = tuple(tuple(t.shape) for t in given)
        text = f"{what.label} = {what.text}" if what.label and what.label != what.text else what.text
        self._start(Step(text, what.path, what.span, what.module, self.stack[-1], inputs, given, shapes))
        self.layers.append(self.stack[-1])

    def _start(self, step: Step) -> None:
        self.count += 1
        step.number = self.count
        self.stack.append(step)

    def end(self, outputs: Any) -> None:
        """It ends."""
        step, found = self.stack.pop(), tensors(outputs)
        step.results, step.outputs = tuple(found), tuple(tuple(t.shape) for t in found)

    def turn(self) -> None:
        """A round of a loop starts."""

    def line(self) -> None:
        """A line starts."""
        self.lines.append(len(self.stack))
        self._start(Step(outer=self.stack[-1]))

    def line_end(self, end: LineResult, value: Any) -> None:
        """A line ends, and with it the steps inside that an error left open."""
        depth, line = self.lines.pop(), end.line
        step = self.stack[depth]
        del self.stack[depth:]
        step.text = f"{end.label} = {line.text}" if end.label else line.text
        step.span = line.span

    def note(self, text: str) -> None:
        """Notes say nothing of sizes."""

    def is_repeatable(self, x: Tensor, others: Sequence[Tensor], result: Tensor) -> bool:
        """Equal copies keep every size."""
        return True

    def may_repeat(self, modules: Mapping[nn.Module, nn.Module]) -> bool:
        """Equal copies keep every size."""
        return True

    def repeat(self, x: Tensor, result: Tensor, modules: Mapping[nn.Module, nn.Module]) -> None:
        """The result of a copy is like its input."""
        self.made[id(result)] = result, self.maker(x)

    def op(self, record: OpRecord, arguments: Any, result: Any) -> None:
        """Remember how an operator's results were made."""
        operands, step = tuple(tensors(arguments)), self.stack[-1]
        self.last = operands
        if self.own_code is not None and not is_leaf(step):
            place = self.own_code()
            self.count += 1
            own = Step(place, step.path, None, step.module, step, number=self.count)
            step = self.own.setdefault((id(step), place), own)
        makers = tuple(map(self.maker, operands))
        for i, tensor in enumerate(tensors(result)):
            if i < len(record.op.outputs):
                self.made[id(tensor)] = tensor, Made(record.op, i, operands, makers, step)

    def maker(self, tensor: Tensor) -> Made | None:
        """How a tensor was made; None if it is an input or a weight."""
        found = self.made.get(id(tensor))
        return found[1] if found is not None and found[0] is tensor else None

    def unsqueezed(self, tensor: Tensor) -> tuple[Tensor, int] | None:
        """The dimension that should have been squeezed to make a tensor, but has more than one place."""
        made = self.maker(tensor)
        if made is None or made.op.name != "aten.squeeze" or not isinstance(dim := made.op.at(1), int):
            return None
        return (made.operands[0], dim) if made.operands[0].dim() == tensor.dim() else None

    def reaches(self, tensor: Tensor, source: Tensor) -> bool:
        """Whether a tensor was computed from another."""
        waiting, seen = [self.maker(tensor)], set[int]()
        while waiting:
            made = waiting.pop()
            if made is not None and id(made) not in seen:
                seen.add(id(made))
                if any(operand is source for operand in made.operands):
                    return True
                waiting += made.makers
        return False

    # -- trails -------------------------------------------------------------------------------------------------------

    def follow(self, tensor: Tensor, dim: int) -> SizeTrail:
        """The trail of the size of a dimension."""
        changes: list[Change] = []
        windows: list[Change] = []
        ends: dict[tuple[int, int], Place] = {}
        waiting: list[tuple[Tensor, int, Made | None]] = [(tensor, dim % max(tensor.dim(), 1), self.maker(tensor))]
        seen: set[tuple[int, int]] = set()
        while waiting and len(seen) < MOST_PLACES:
            tensor, dim, made = waiting.pop()
            if (id(tensor), dim) in seen:
                continue
            seen.add((id(tensor), dim))
            if made is None:
                ends[id(tensor), dim] = Place(tensor, dim)
                continue
            change, before = self._through(tensor, dim, made)
            if change.before != (change.after,):
                changes.append(change)
            if isinstance(change.reading, Slide):
                windows.append(change)
            waiting += reversed(before)
        for found in (changes, windows):
            found.sort(key=lambda change: change.step.number, reverse=True)
        return SizeTrail(tuple(changes), tuple(ends.values()), tuple(windows))

    def _through(self, tensor: Tensor, dim: int, made: Made) -> tuple[Change, list[tuple[Tensor, int, Made | None]]]:
        """What the step that made a tensor does to a dimension, and the dimensions that the step reads for it."""
        step, before, waiting = made.step, [], [(tensor, dim, made)]
        changing: list[tuple[Op, Size | None, Reading | None]] = []
        weights = {id(p) for p in step.module.parameters()} if step.module is not None and is_leaf(step) else set()
        while waiting:
            _, d, here = waiting.pop()
            found = sources(here.op, here.result, d)
            size = here.op.outputs[here.result].shape[d]
            read = [
                (s, here.operands[s.operand], here.makers[s.operand]) for s in found if s.operand < len(here.operands)
            ]
            read = [one for one in read if id(one[1]) not in weights]
            if [operand.shape[s.dim] for s, operand, _ in read] != [size] or found[0].reading is not None:
                stated = result_sizes(here.op)[here.result]
                changing.append((here.op, stated[d] if stated else None, found[0].reading if found else None))
            for s, operand, maker in read:
                if maker is not None and maker.step is step:
                    waiting.append((operand, s.dim, maker))
                else:
                    before.append((operand, s.dim, maker))
        op, size_of, reading = changing[0] if len(changing) == 1 else (made.op, None, None)
        sizes = self._layer_sizes(step, tensor)
        size_of = sizes[dim] if sizes else size_of
        after = int(tensor.shape[dim])
        if len(before) > 1 and (len(changing) > 1 if size_of is None else size_of.is_kept):
            # Merged with others and split again, as a Linear does with all dimensions but the last.
            before = [one for one in before if one[1] == dim and one[0].shape[dim] == after] or before
        return Change(step, tuple(int(x.shape[d]) for x, d, _ in before), after, size_of, reading, op), before

    def _layer_sizes(self, step: Step, tensor: Tensor) -> Sequence[Size] | None:
        """The layer's own formulas of the sizes of one of its results."""
        if step.module is None or not step.inputs or type(step.module).__name__ not in LAYERS:
            return None
        found = output_sizes(step.module, step.inputs, step.outputs)
        return next((sizes for one, sizes in zip(step.results, found, strict=False) if one is tensor), None)


def scope_of(step: Step) -> Step | None:
    """The block around a step."""
    around = (one for one in step.around() if one is not step)
    return next((one for one in around if one.module is not None and not isinstance(one.module, Series)), None)


def is_leaf(step: Step) -> bool:
    """Whether a step is a call of a layer, whose operators are its own."""
    module = step.module
    return module is not None and (not module._modules or type(module).__module__.startswith("torch.nn."))
