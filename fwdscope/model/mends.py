"""What would fit: changes of a spec's text, each tried by building the spec with it.

A change is offered only if the problem is gone with it and no other came. Those that people mean most often are tried
first; how many are tried depends on the size of the network, not on a clock, so that a message is the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from fwdscope.errors import Sides
from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.expression import Call, Constant, Expression, Name
from fwdscope.language.places import all_lines, given_settings, layer_call, statement_at
from fwdscope.language.problems import Fix, Problem, Span
from fwdscope.layers import LAYERS, settings
from fwdscope.model.trail import Change, SizeTrail, Trail
from fwdscope.ops.positions import Slide, Spread

MOST_OFFERED = 3
# Changes tried times layers built, which takes about half a second.
MOST_LAYERS_BUILT = 4_000

# Whether a changed text builds without the problem, and with no new one.
Fits = Callable[[str], bool]


class Fault(NamedTuple):
    """A problem of shapes, with what is known of the values it is about."""

    problem: Problem
    node: Expression
    operands: tuple[tuple[Expression, Tensor], ...]
    # The value of the line above, if the node is a layer called on it.
    flow: Tensor | None
    sides: Sides
    # The trail of each side's size, without what it shares with others.
    trails: tuple[SizeTrail, ...]
    trail: Trail
    # The values of the nodes of the line, by id.
    values: Mapping[int, Any]

    @property
    def text(self) -> str:
        """What the problem says."""
        return self.problem.message


class Edit(NamedTuple):
    """Other texts for parts of the file."""

    changes: tuple[tuple[Span, str], ...]

    def apply(self, text: str) -> str:
        """The file's text with the change."""
        for span, new in sorted(self.changes, reverse=True):
            text = text[: span.start] + new + text[span.end :]
        return text


def suggest(spec: tree.ModelSpec, fault: Fault, layers: int, fits: Fits, everything: bool = False) -> Problem:
    """The problem of a fault with the changes that mend it, at most three, the likeliest first.

    ``layers`` is how many layers the network has; ``everything`` tries all changes in a network of any size.
    """
    most = len(spec.source.text) if everything else MOST_LAYERS_BUILT // max(layers, 1)
    found: list[Fix] = []
    tried: set[str] = set()
    for edit in _Candidates(spec, fault):
        text = edit.apply(spec.source.text)
        if text in tried or len(tried) >= most or len(found) == MOST_OFFERED:
            continue
        tried.add(text)
        if fits(text):
            found.append(_as_fix(spec, edit))
    return replace(fault.problem, fixes=tuple(found), help=None if found else fault.problem.help)


def _as_fix(spec: tree.ModelSpec, edit: Edit) -> Fix:
    """A change of text with the lines that it makes."""
    (span, new), *_ = edit.changes
    line = spec.source.line(spec.source.place(span.start)[0])
    start = spec.source.offset(spec.source.place(span.start)[0], 1)
    here = [(s, n) for s, n in edit.changes if start <= s.start and s.end <= start + len(line)]
    shown = Edit(tuple((Span(s.start - start, s.end - start), n) for s, n in here)).apply(line)
    inserted = f"{new.partition(chr(10))[0]} on a line before"
    return Fix(edit.changes, inserted if "\n" in new else " ".join(shown.replace("- ", "", 1).split()))


class _Candidates:
    """The changes that may mend a fault, the likeliest first."""

    def __init__(self, spec: tree.ModelSpec, fault: Fault) -> None:
        self.spec = spec
        self.fault = fault
        self.source = spec.source
        self.line = statement_at(spec, fault.node.span)
        self.call = layer_call(spec, fault.node.span) if isinstance(fault.node, Call) else None
        self.numbers = [node.value for line in all_lines(spec) for e in tree.expressions(line) for node in ex.walk(e)
                        if isinstance(node, Constant) and type(node.value) is int]  # fmt: skip

    def __iter__(self) -> Iterator[Edit]:
        for find in (
            self._masks, self._recurrent, self._flatten, self._channels, self._transposed, self._dtype,
            self._borders, self._projection, self._divisors, self._reshape, self._unpacking, self._rounded,
            self._dimension, self._set_sizes, self._strides, self._swapped,
        ):  # fmt: skip
            yield from find()

    # -- edits --------------------------------------------------------------------------------------------------------

    def _set(self, call: Call, name: str, value: str) -> Edit:
        """A call with another value for a setting."""
        given = given_settings(self.spec, call).get(name)
        if given is not None:
            return Edit(((given.span, value),))
        text = self.source[call.span]
        empty = text.endswith("()")
        return Edit(((Span(call.span.end - 1, call.span.end), f"{'' if empty else ', '}{name}={value})"),))

    def _wrap(self, node: Expression, before: str, after: str) -> Edit:
        return Edit(((node.span, f"{before}{self.source[node.span]}{after}"),))

    def _before(self, text: str) -> Iterator[Edit]:
        """A line of its own before the one that fails."""
        if self.line is not None:
            start = self.line.span.start
            number, column = self.source.place(start)
            lead = self.source.line(number)[: column - 1]
            if lead.strip() == "-":
                yield Edit(((Span(start, start), f"{text}\n{lead}"),))

    def _changed(self, x: Tensor, method: str, layer: str | None = None) -> Iterator[Edit]:
        """The value x changed by a method where the failing line reads it: in an operand, or on a line before."""
        for node, value in self.fault.operands:
            if value is x:
                simple = isinstance(node, Name | Call | ex.Attribute | ex.Subscript)
                yield self._wrap(node, "" if simple else "(", f"{'' if simple else ')'}.{method}")
        if not self.fault.operands and self.fault.flow is x:
            yield from self._before(layer or f"prev.{method}")

    def _first(self) -> Tensor | None:
        """The first input of the layer that fails."""
        return self.fault.operands[0][1] if self.fault.operands else self.fault.flow

    # -- masks, recurrent layers, dtypes -------------------------------------------------------------------------------

    def _masks(self) -> Iterator[Edit]:
        """A mask of (batch, time) is one of padding, not of attention."""
        if not isinstance(self.fault.node, Call) or " mask" not in f" {self.fault.text.replace('_', ' ')}":
            return
        for keyword in self.fault.node.keywords:
            x = next((v for node, v in self.fault.operands if node.span == keyword.value.span), None)
            meant = {"attn_mask": "key_padding_mask"}.get(
                keyword.name, keyword.name.replace("_mask", "_key_padding_mask")
            )
            if x is not None and x.dim() == 2 and "padding" not in keyword.name:
                text = self.source[keyword.value.span]
                value = text if str(x.dtype) == "torch.bool" else f"({text} == 0)"
                yield Edit(((Span(keyword.span.start, keyword.value.span.end), f"{meant}={value}"),))

    def _recurrent(self) -> Iterator[Edit]:
        """The batch stands first."""
        kind = LAYERS.get(ex.spelled(self.call.function) or "") if self.call is not None else None
        if self.call is not None and kind is not None and any(s.name == "batch_first" for s in settings(kind)):
            given = given_settings(self.spec, self.call).get("batch_first")
            yield self._set(self.call, "batch_first", "False" if given else "True")

    def _dtype(self) -> Iterator[Edit]:
        """Token ids are whole numbers."""
        x, call = self._first(), self.call
        if call is None or (ex.spelled(call.function) or "") not in ("Embedding", "EmbeddingBag") or x is None:
            return
        words = given_settings(self.spec, call).get("num_embeddings")
        for end in self.fault.trail.follow(x, 0).ends if x.is_floating_point() and words is not None else ():
            for one in self.spec.inputs:
                if isinstance(one.value, Call) and tuple(end.tensor.shape) == tuple(x.shape):
                    sizes = ", ".join(self.source[a.span] for a in one.value.arguments)
                    assert words is not None
                    yield Edit(((one.value.span, f"randint(0, {self.source[words.span]}, ({sizes}))"),))

    # -- a layer whose input has another size than it was given --------------------------------------------------------

    def _given(self) -> tuple[str, int, Tensor] | None:
        """The size that a layer was given and its input has not, and the input."""
        x = self._first()
        kind = LAYERS.get(ex.spelled(self.call.function) or "") if self.call is not None else None
        if x is None or kind is None or self.call is None:
            return None
        for setting in settings(kind):
            node = given_settings(self.spec, self.call).get(setting.name)
            if setting.inferred and node is not None and f"{setting.name} is given as" in self.fault.text:
                words = self.fault.text.partition("given as ")[2].partition(",")[0].strip("()")
                return (setting.name, int(words), x) if words.isdigit() else None
        return None

    def _flatten(self) -> Iterator[Edit]:
        """A Flatten is missing before a Linear that was given the product of the sizes."""
        given = self._given()
        if given is not None:
            _, size, x = given
            for dim in range(1, x.dim() - 1):
                if math.prod(x.shape[dim:]) == size:
                    yield from self._changed(x, f"flatten({dim})", f"Flatten({dim})" if dim > 1 else "Flatten")

    def _channels(self) -> Iterator[Edit]:
        """The dimension of the given size stands elsewhere."""
        given = self._given()
        if given is None:
            return
        name, size, x = given
        rank = x.dim()
        places = [d for d in range(1, rank) if x.shape[d] == size]
        for d in places:
            order = [i for i in range(rank) if i != d]
            order.insert(1 if name in ("in_channels", "num_features", "num_channels") else rank - 1, d)
            yield from self._changed(x, f"permute({', '.join(map(str, order))})" if rank > 3 else "transpose(1, 2)")
        flattened = any(math.prod(x.shape[d:]) == size for d in range(1, rank - 1))
        if not places and not flattened and self.call is not None:
            found = int(x.shape[1 if name in ("in_channels", "num_features", "num_channels") else -1])
            yield from self._likelier(
                [(found, self._set(self.call, name, str(found)))], list(self._sizes_set(size)), size
            )

    def _likelier(self, here: Sequence[tuple[int, Edit]], there: Sequence[Edit], size: int) -> Iterator[Edit]:
        """Changes here and changes there, first those that keep the size which the file has more often."""
        first = not here or self.numbers.count(here[0][0]) >= self.numbers.count(size) - 1
        mine = [edit for _, edit in here]
        yield from (*mine, *there) if first else (*there, *mine)

    def _sizes_set(self, size: int) -> Iterator[Edit]:
        """The settings that give the sizes of the sides, changed to another size."""
        for change in self._changes():
            call = self._call_of(change)
            if call is not None and change.setting is not None and change.after != size:
                yield self._set(call, change.setting, str(size))

    # -- two sizes that differ -----------------------------------------------------------------------------------------

    def _changes(self) -> Iterator[Change]:
        for trail in self.fault.trails:
            yield from trail.changes

    def _call_of(self, change: Change) -> Call | None:
        return layer_call(self.spec, change.step.span) if change.step.span is not None else None

    def _transposed(self) -> Iterator[Edit]:
        """A factor of a matrix product stands transposed."""
        if "columns" not in self.fault.text:
            return
        for x, _ in reversed(self.fault.sides):
            if x.dim() > 1:
                yield from self._changed(x, "mT")

    def _dimension(self) -> Iterator[Edit]:
        """Tensors are put together along another dimension."""
        node = self.fault.node
        if not isinstance(node, Call) or ex.spelled(node.function) not in ("cat", "concat", "stack"):
            return
        if any(isinstance(change.reading, Slide | Spread) for change in self._changes()):
            return  # then the sizes should be equal
        rank = self.fault.sides[0][0].dim() if self.fault.sides else 0
        given = next((k.value for k in node.keywords if k.name in ("dim", "axis")), None)
        given = node.arguments[1] if given is None and len(node.arguments) > 1 else given
        for dim in range(1, rank):
            if given is not None:
                yield Edit(((given.span, str(dim)),))
            else:
                yield Edit(((Span(node.span.end - 1, node.span.end), f", dim={dim})"),))

    def _borders(self) -> Iterator[Edit]:
        """A window that keeps sizes needs a padding of half its kernel."""
        for change in self._changes():
            call = self._call_of(change)
            if call is None or not isinstance(change.reading, Slide) or change.reading.padding < 0:
                continue
            kernel, stride, padding, dilation = change.reading
            half = dilation * (kernel - 1) // 2
            if padding != half and kernel % 2:
                yield self._set(call, "padding", str(half))
            if stride == 1 and padding != half:
                yield self._set(call, "kernel_size", str(2 * padding // dilation + 1))

    def _projection(self) -> Iterator[Edit]:
        """A shortcut around layers that change the channels goes through a 1×1 convolution."""
        node = self.fault.node
        if not isinstance(node, ex.Binary) or node.operator != "+" or len(self.fault.operands) < 2:
            return
        (_, left), (_, right) = self.fault.operands[:2]
        if left.dim() != right.dim() or left.dim() not in (3, 4, 5):
            return
        for (text, short), (_, long) in (self.fault.operands[:2], self.fault.operands[1::-1]):
            if not self.fault.trail.reaches(long, short) or long.shape[1] % short.shape[1] * (long is short):
                continue
            strides = {-(-a // b) for a, b in zip(short.shape[2:], long.shape[2:], strict=True) if b}
            if len(strides) == 1 and long.shape[1] != short.shape[1]:
                stride = strides.pop()
                layer = f"Conv{left.dim() - 2}d({long.shape[1]}, 1{f', stride={stride}' if stride > 1 else ''})"
                yield self._wrap(text, f"{layer}(", ")")

    def _strides(self) -> Iterator[Edit]:
        """One way is shortened more often than the other."""
        for change in self._changes():
            call = self._call_of(change)
            if call is None or not isinstance(change.reading, Slide | Spread):
                continue
            for stride in (1, 2, 4):
                if stride != change.reading.stride:
                    yield self._set(call, "stride", str(stride))
            if isinstance(change.reading, Spread):
                for extra in (0, 1):
                    yield self._set(call, "output_padding", str(extra))
                for kernel in (change.reading.kernel - 1, change.reading.kernel + 1):
                    yield self._set(call, "kernel_size", str(kernel))
                for padding in (0, 1, 2):
                    yield self._set(call, "padding", str(padding))
            elif isinstance(change.reading, Slide):
                for padding in range(4):
                    yield self._set(call, "padding", str(padding))

    def _rounded(self) -> Iterator[Edit]:
        """An image size that can be halved as often as the network halves it."""
        changes = [c for c in self._changes() if isinstance(c.reading, Slide) and c.reading.stride > 1]
        if not any("rounded" in change.text for change in changes):
            return
        every = {c.step: c for t in self.fault.sides for c in self.fault.trail.follow(*t).changes}
        factor = math.prod(
            c.reading.stride for c in every.values() if isinstance(c.reading, Slide) and c.reading.stride > 1
        )
        sizes = {end.tensor.shape[end.dim] for t in self.fault.sides for end in self.fault.trail.follow(*t).ends}
        for size in sorted(sizes):
            for fitting in (size - size % factor + factor, size - size % factor):
                if fitting and size % factor:
                    yield from self._resize(int(size), fitting)

    def _resize(self, size: int, fitting: int) -> Iterator[Edit]:
        """The inputs with another size, where a number or a var gives it."""
        for variable in self.spec.variables:
            if isinstance(variable.value, Constant) and variable.value.value == size:
                yield Edit(((variable.value.span, str(fitting)),))
        spans = [
            node.span
            for one in self.spec.inputs
            for node in ex.walk(one.value)
            if isinstance(node, Constant) and node.value == size
        ]
        if spans:
            yield Edit(tuple((span, str(fitting)) for span in spans))

    def _set_sizes(self) -> Iterator[Edit]:
        """A setting that gives one side another size than the other."""
        groups: dict[int, list[Edit]] = {}
        for (x, dim), trail in zip(self.fault.sides, self.fault.trails, strict=True):
            mine = int(x.shape[dim])
            for other in dict.fromkeys(int(y.shape[d]) for y, d in self.fault.sides if y is not x):
                for change in trail.changes:
                    call = self._call_of(change)
                    if call is not None and change.setting is not None and change.after == mine != other:
                        groups.setdefault(other, []).append(self._set(call, change.setting, str(other)))
        for size in sorted(groups, key=self.numbers.count, reverse=True):
            yield from groups[size]

    # -- numbers that do not divide ------------------------------------------------------------------------------------

    def _divisors(self) -> Iterator[Edit]:
        """A number of heads or groups that divides."""
        if self.call is None or " is not divisible by " not in self.fault.text:
            return
        name = self.fault.text.partition(" is not divisible by ")[2].partition(" ")[0]
        size = int(self.fault.text.partition(" (")[2].partition(")")[0])
        node = given_settings(self.spec, self.call).get(name)
        given = node.value if isinstance(node, Constant) else None
        if type(given) is int:
            fitting = [d for d in range(1, size + 1) if size % d == 0]
            if name == "groups":
                yield self._set(self.call, name, str(size))
            for divisor in sorted(fitting, key=lambda d: (abs(d - given), d))[:2]:
                yield self._set(self.call, name, str(divisor))

    def _reshape(self) -> Iterator[Edit]:
        """A size of a reshape that fills it."""
        node = self.fault.node
        if not isinstance(node, Call) or "elements do not fill" not in self.fault.text or not self.fault.operands:
            return
        x = self.fault.operands[0][1]
        arguments = list(node.arguments if isinstance(node.function, ex.Attribute) else node.arguments[1:])
        if len(arguments) == 1 and isinstance(arguments[0], ex.TupleOrList):
            arguments = list(arguments[0].items)
        values = self.fault.values
        sizes = [values.get(id(a)) for a in arguments]
        for i, argument in sorted(enumerate(arguments), key=lambda one: not isinstance(one[1], Constant)):
            others = [s for j, s in enumerate(sizes) if j != i]
            if all(isinstance(s, int) and s > 0 for s in others):
                product = math.prod(s for s in others if isinstance(s, int))
                if x.numel() % product == 0:
                    yield Edit(((argument.span, str(x.numel() // product)),))

    def _unpacking(self) -> Iterator[Edit]:
        """As many pieces as there are names."""
        target = self.line.target if self.line is not None else None
        if self.line is None or not isinstance(target, ex.TupleTarget) or " names for " not in self.fault.text:
            return
        for node in ex.walk(self.line.value):
            name = node.function if isinstance(node, Call) else None
            word = name.name if isinstance(name, ex.Attribute) else ex.spelled(name) if name is not None else ""
            if isinstance(node, Call) and word == "chunk":
                count = node.arguments[0 if isinstance(name, ex.Attribute) else 1 :][:1]
                yield from (Edit(((one.span, str(len(target.items))),)) for one in count)

    def _swapped(self) -> Iterator[Edit]:
        """Two arguments stand in each other's place."""
        node = self.fault.node
        is_layer = isinstance(node, Call) and self.call is not None
        arguments: Sequence[Any] = node.arguments if isinstance(node, Call) and is_layer else ()
        for i in range(len(arguments) - 1):
            one, other = arguments[i], arguments[i + 1]
            yield Edit(((one.span, self.source[other.span]), (other.span, self.source[one.span])))
