"""What would fit: changes of a spec's text, each tried by building the spec with it.

A change is offered only if the problem is gone with it and no other came. Those that people mean most often are tried
first; how many are tried depends on the size of the network, not on a clock, so that a message is the same everywhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from fwdscope.errors import Sides
from fwdscope.formula import divisors
from fwdscope.functions.functions import FUNCTIONS
from fwdscope.functions.methods import METHODS
from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.expression import Call, Constant, Expression, Name
from fwdscope.language.places import all_lines, given_settings, layer_call, statement_at
from fwdscope.language.problems import Fix, Problem, Span
from fwdscope.layers import LAYERS, settings
from fwdscope.model.trail import Change, SizeTrail, Step, Trail, scope_of
from fwdscope.ops.positions import Slide, Spread

MOST_OFFERED = 3

# Whether a changed text, with other values for vars, builds without the problem, and with no new one.
Fits = Callable[[str, Mapping[str, str]], bool]


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
    # The values of the nodes of the line, by id, and of the network's inputs and vars, by name.
    values: Mapping[int, Any]
    inputs: Mapping[str, Tensor]
    variables: Mapping[str, Any]
    # The blocks around the line, the innermost first.
    around: tuple[Step, ...]
    # Where the layer that fails was made, if it is called by its name.
    layer: Span | None

    @property
    def text(self) -> str:
        """What the problem says."""
        return self.problem.message


class Edit(NamedTuple):
    """Other texts for parts of the file."""

    changes: tuple[tuple[Span, str], ...]
    # Whether no other change of its kind is offered beside it.
    only: bool = True
    # Other values for vars that --set gives.
    given: Mapping[str, str] = MappingProxyType({})
    # What is said behind the changed line.
    note: str = ""

    def apply(self, text: str) -> str:
        """The file's text with the change."""
        for span, new in sorted(self.changes, reverse=True):
            text = text[: span.start] + new + text[span.end :]
        return text


def suggest(spec: tree.ModelSpec, fault: Fault, most: int, fits: Fits) -> tuple[Problem, int]:
    """The problem of a fault with the changes that mend it, at most three, and how many changes were tried.

    Kinds of changes are tried in turn, ``most`` in all, and those of the first kind that mends it are offered.
    """
    found: list[Fix] = []
    tried: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    for kind in _Candidates(spec, fault).kinds():
        for edit in kind:
            text, given = edit.apply(spec.source.text), tuple(edit.given.items())
            if (text, given) in tried or len(tried) >= most or len(found) == MOST_OFFERED:
                continue
            tried.add((text, given))
            if fits(text, edit.given):
                found.append(_as_fix(spec, edit))
                if edit.only:
                    break
        if found:
            break
    return replace(fault.problem, fixes=tuple(found), help=None if found else fault.problem.help), len(tried)


def _as_fix(spec: tree.ModelSpec, edit: Edit) -> Fix:
    """A change of text with the line that it makes."""
    if edit.given:
        return Fix((), " ".join(f"--set {name}={value}" for name, value in edit.given.items()) + edit.note)
    (span, new), *_ = edit.changes
    line = spec.source.line(spec.source.place(span.start)[0])
    start = spec.source.offset(spec.source.place(span.start)[0], 1)
    here = [(s, n) for s, n in edit.changes if start <= s.start and s.end <= start + len(line)]
    shown = Edit(tuple((Span(s.start - start, s.end - start), n) for s, n in here)).apply(line)
    inserted = f"{new.partition(chr(10))[0]} on a line before"
    return Fix(edit.changes, inserted if "\n" in new else " ".join(shown.replace("- ", "", 1).split()) + edit.note)


class _Candidates:
    """The changes that may mend a fault, the likeliest kinds first."""

    def __init__(self, spec: tree.ModelSpec, fault: Fault) -> None:
        self.spec = spec
        self.fault = fault
        self.source = spec.source
        self.line = statement_at(spec, fault.node.span)
        self.call = layer_call(spec, fault.node.span) if isinstance(fault.node, Call) else None
        if fault.layer is not None:  # called by its name: its settings stand where it was made
            self.call = layer_call(spec, fault.layer)
        self.type = ex.spelled(self.call.function) or "" if self.call is not None else ""

    def kinds(self) -> Iterator[Iterator[Edit]]:
        """The kinds of changes."""
        for find in (
            self._masks, self._recurrent, self._flatten, self._permuted, self._whole_numbers, self._transposed,
            self._divisors, self._borders, self._spreads, self._forgotten_strides, self._rounded, self._other_dims,
            self._swapped, self._reshape, self._pieces, self._projection, self._set_sizes, self._given_size,
        ):  # fmt: skip
            yield find()

    # -- edits --------------------------------------------------------------------------------------------------------

    def _set(self, call: Call, name: str, value: str, only: bool = True) -> Edit:
        """A call with another value for a setting."""
        given = given_settings(self.spec, call).get(name)
        if given is not None:
            return Edit(((given.span, value),), only)
        comma = "" if self.source[call.span].endswith("()") else ", "
        return Edit(((Span(call.span.end - 1, call.span.end), f"{comma}{name}={value})"),), only)

    def _var(self, variable: tree.Variable, value: int) -> Edit:
        """Another value for a var, where it is given."""
        if variable.given is not None:
            return Edit((), given={variable.name: str(value)})
        return Edit(((variable.value.span, str(value)),))

    def _changed(self, x: Tensor, method: str, layer: str | None = None) -> Iterator[Edit]:
        """A value changed by a method where the failing line reads it: in an operand, or on a line before."""
        for node, value in self.fault.operands:
            if value is x:
                text = self.source[node.span]
                simple = isinstance(node, Name | Call | ex.Attribute | ex.Subscript)
                yield Edit(((node.span, f"{text if simple else f'({text})'}.{method}"),))
        if not self.fault.operands and self.fault.flow is x and self.line is not None:
            start = self.line.span.start
            number, column = self.source.place(start)
            lead = self.source.line(number)[: column - 1]
            if lead.strip() == "-":
                yield Edit(((Span(start, start), f"{layer or f'prev.{method}'}\n{lead}"),))

    def _input(self) -> Tensor | None:
        """The first input of the layer that fails."""
        return self.fault.operands[0][1] if self.fault.operands else self.fault.flow

    def _changes(self) -> Iterator[Change]:
        for trail in self.fault.trails:
            yield from trail.changes

    def _call_of(self, change: Change) -> Call | None:
        """The call of a layer that changes a size, unless it was fine before: a block runs with many settings."""
        step = change.step
        earlier = (one for one in self.fault.trail.layers if one.number < step.number and one.span == step.span)
        is_fine = any(scope_of(one) is not scope_of(step) for one in earlier)
        return layer_call(self.spec, step.span) if step.span is not None and not is_fine else None

    # -- masks, recurrent layers, dtypes -------------------------------------------------------------------------------

    def _masks(self) -> Iterator[Edit]:
        """A mask of (batch, time) is one of padding, not of attention."""
        if not isinstance(self.fault.node, Call) or "mask" not in self.fault.text:
            return
        for keyword in self.fault.node.keywords:
            x = next((v for node, v in self.fault.operands if node.span == keyword.value.span), None)
            prefix = keyword.name.removesuffix("_mask").removesuffix("attn")
            if x is not None and x.dim() == 2 and "padding" not in keyword.name and keyword.name.endswith("mask"):
                text = self.source[keyword.value.span]
                value = text if str(x.dtype) == "torch.bool" else f"({text} == 0)"
                name = f"{prefix}_key_padding_mask".removeprefix("_")
                yield Edit(((Span(keyword.span.start, keyword.value.span.end), f"{name}={value}"),))

    def _recurrent(self) -> Iterator[Edit]:
        """The batch stands first, here or wherever a layer of this type is made."""
        kind = LAYERS.get(self.type)
        if self.call is None or kind is None or all(one.name != "batch_first" for one in settings(kind)):
            return
        for call in (self.call, *(one for one in self.spec.defaults if ex.spelled(one.function) == self.type)):
            given = given_settings(self.spec, call).get("batch_first")
            yield self._set(call, "batch_first", "False" if given is not None else "True")

    def _whole_numbers(self) -> Iterator[Edit]:
        """Token ids are whole numbers."""
        x = self._input()
        if self.call is None or self.type not in ("Embedding", "EmbeddingBag") or x is None:
            return
        words = given_settings(self.spec, self.call).get("num_embeddings")
        for one in self.spec.inputs if x.is_floating_point() and words is not None else ():
            if isinstance(one.value, Call) and self.fault.inputs.get(one.name) is x and words is not None:
                sizes = ", ".join(self.source[a.span] for a in one.value.arguments)
                yield Edit(((one.value.span, f"randint(0, {self.source[words.span]}, ({sizes}))"),))

    # -- a layer whose input has another size than it was given --------------------------------------------------------

    def _given(self) -> tuple[str, int, Tensor] | None:
        """The size that a layer was given and its input has not, and the input."""
        x, kind = self._input(), LAYERS.get(self.type)
        found = re.search(r"(\w+) is given as \(?(\d+),?\)?, but the input has", self.fault.text)
        return (found[1], int(found[2]), x) if found is not None and x is not None and kind is not None else None

    def _flatten(self) -> Iterator[Edit]:
        """A Flatten is missing before a layer that was given the product of the sizes."""
        given = self._given()
        if given is not None:
            _, size, x = given
            for dim in range(1, x.dim() - 1):
                if math.prod(x.shape[dim:]) == size:
                    yield from self._changed(x, f"flatten({dim})", f"Flatten({dim})" if dim > 1 else "Flatten")

    def _permuted(self) -> Iterator[Edit]:
        """The dimension of the given size stands elsewhere."""
        given = self._given()
        if given is None:
            return
        name, size, x = given
        for d in range(1, x.dim()):
            if x.shape[d] == size:
                order = [i for i in range(x.dim()) if i != d]
                order.insert(x.dim() - 1 if name.endswith("features") and name != "num_features" else 1, d)
                method = f"permute({', '.join(map(str, order))})" if x.dim() > 3 else "transpose(1, 2)"
                yield from self._changed(x, method)

    # -- windows ------------------------------------------------------------------------------------------------------

    def _borders(self) -> Iterator[Edit]:
        """A window of an odd kernel keeps sizes with a padding of half of it."""
        for change in self._changes():
            call = self._call_of(change)
            if call is not None and isinstance(change.reading, Slide) and change.reading.kernel % 2:
                half = change.reading.dilation * (change.reading.kernel - 1) // 2
                if change.reading.padding != half:
                    yield self._set(call, "padding", str(half))
        kernel = re.search(r"kernel (\d+)(?:×\1)* is larger than the input", self.fault.text)
        if self.call is not None and kernel is not None and int(kernel[1]) % 2:
            yield self._set(self.call, "padding", str(int(kernel[1]) // 2))

    def _spreads(self) -> Iterator[Edit]:
        """A transposed convolution multiplies sizes by its stride."""
        for change in self._changes():
            call = self._call_of(change)
            if call is None or not isinstance(change.reading, Spread) or len(change.before) != 1:
                continue
            missing = change.before[0] * change.reading.stride - change.after
            given = given_settings(self.spec, call)
            if 0 < missing < change.reading.stride:
                yield self._set(call, "output_padding", str(missing))
            if missing and "output_padding" not in given and change.reading.kernel + missing > 0:
                yield self._set(call, "kernel_size", str(change.reading.kernel + missing))

    def _forgotten_strides(self) -> Iterator[Edit]:
        """A window without a stride, where others have one."""
        found: list[tuple[Slide, Change, Call, Expression | None]] = []
        for side in self.fault.sides:
            for change in self.fault.trail.follow(*side).windows:
                call = layer_call(self.spec, change.step.span) if change.step.span is not None else None
                if call is not None and isinstance(change.reading, Slide):
                    found.append((change.reading, change, call, given_settings(self.spec, call).get("stride")))
        texts = {self.source[given.span]: None for window, _, _, given in found if given and window.stride > 1}
        for window, change, call, given in found:
            if given is None and change.before == (change.after,):
                yield from (self._set(call, "stride", text) for text in texts)
            kernel = given_settings(self.spec, call).get("kernel_size")
            if given is None and kernel is not None and not window.padding and change.before[0] % window.kernel == 0:
                yield self._set(call, "stride", self.source[kernel.span])  # patches

    def _rounded(self) -> Iterator[Edit]:
        """A size that can be halved as often as the network halves it, or that another part of it makes."""
        whole = [self.fault.trail.follow(*side) for side in self.fault.sides]
        steps = {change.step: change.reading for trail in whole for change in trail.changes}
        factor = math.prod(r.stride for r in steps.values() if isinstance(r, Slide))
        ends = {int(end.tensor.shape[end.dim]) for trail in whole for end in trail.ends if end.dim > 1}
        rounded = any("rounded" in change.text for change in self._changes())
        made = {int(x.shape[dim]) for x, dim in self.fault.sides} if any(not one.changes for one in whole) else set()
        for size in sorted(ends):
            fitting = [size - size % factor + factor, size - size % factor] if rounded and size % factor else []
            for other in (*fitting, *(n for n in made if n != size and size in made)):
                note = f", a multiple of {factor}" if other in fitting else ""
                yield from (edit._replace(note=note) for edit in (self._resized(size, other) if other else ()))

    def _resized(self, size: int, fitting: int) -> Iterator[Edit]:
        """The inputs with another size, where a number or a var gives it."""
        found = [v for v in self.spec.variables if isinstance(v.value, Constant) and v.value.value == size]
        edits = [self._var(variable, fitting) for variable in found]
        yield from edits
        given = {name: text for edit in edits for name, text in edit.given.items()}
        yield Edit(tuple(change for edit in edits for change in edit.changes), given=given)  # height and width
        ends = {id(end.tensor) for side in self.fault.sides for end in self.fault.trail.follow(*side).ends}
        inputs = [one for one in self.spec.inputs if id(self.fault.inputs.get(one.name)) in ends]
        nodes = [node for one in inputs for node in ex.walk(one.value)]
        spans = [node.span for node in nodes if isinstance(node, Constant) and node.value == size]
        if spans:
            yield Edit(tuple((span, str(fitting)) for span in spans))

    # -- order of dimensions and arguments -----------------------------------------------------------------------------

    def _transposed(self) -> Iterator[Edit]:
        """A factor of a matrix product stands transposed, or behind the other."""
        if "columns" in self.fault.text:
            if isinstance(self.fault.node, ex.Binary):
                left, right = self.fault.node.left, self.fault.node.right
                yield Edit(((left.span, self.source[right.span]), (right.span, self.source[left.span])))
            for x, _ in reversed(self.fault.sides):
                if x.dim() > 1:
                    yield from self._changed(x, "mT")
        tensors = list({id(x): x for x, _ in self.fault.sides}.values())
        if len(tensors) == 2 and tensors[0].shape != tensors[1].shape:
            for x, y in (tensors, tensors[::-1]):
                for dims in combinations(range(1, x.dim()), 2):
                    if x.transpose(*dims).shape == y.shape:
                        yield from self._changed(x, f"transpose{dims}")

    def _other_dims(self) -> Iterator[Edit]:
        """Another dimension for a call that takes one: the one that fails, or one that made its operands."""
        if " names for " in self.fault.text:
            return  # the number of names is wrong, or that of the pieces
        lines = [self.line] if self.line is not None else []
        for x, _ in self.fault.sides:
            made = self.fault.trail.maker(x)
            if made is not None and made.step.span is not None:
                lines += [one] if (one := statement_at(self.spec, made.step.span)) is not None else []
        for line in dict.fromkeys(lines):
            for call in (node for node in ex.walk(line.value) if isinstance(node, Call)):
                for node in _dims(call):
                    yield from (Edit(((node.span, str(dim)),)) for dim in (-1, 1, 2, 3, 0) if dim != node.value)

    def _swapped(self) -> Iterator[Edit]:
        """Two settings or arguments stand in each other's place, here or in the call of the block around."""
        spans = [change.step.span for change in self._changes() if change.setting is not None]
        calls = [layer_call(self.spec, span) for span in spans if span is not None]
        if self.call is not None and isinstance(self.fault.node, Call) and self.fault.node is not self.call:
            calls.append(self.fault.node)
        for step in self.fault.around:
            line = statement_at(self.spec, step.span) if step.span is not None else None
            nodes = ex.walk(line.value) if line is not None else ()
            calls += [node for node in nodes if isinstance(node, Call) and node.span == step.span]
        for call in calls:
            arguments: Sequence[Expression] = call.arguments if call is not None else ()
            for one, other in pairwise(arguments):
                yield Edit(((one.span, self.source[other.span]), (other.span, self.source[one.span])))

    # -- numbers that do not fit ---------------------------------------------------------------------------------------

    def _divisors(self) -> Iterator[Edit]:
        """A number of heads or groups that divides."""
        found = re.search(r"\((\d+)\) is not divisible by (\w+) \((\d+)\)", self.fault.text)
        if self.call is None or found is None:
            return
        size, name, number = int(found[1]), found[2], int(found[3])
        node = given_settings(self.spec, self.call).get(name)
        if node is None:
            return
        if name == "groups" and isinstance(node, Name):
            for change in self._changes():
                yield from (Edit(((node.span, text),)) for text in self._texts(change))
        near = sorted(divisors(size), key=lambda d: abs(d - number))
        if len(near) > 1 and abs(near[0] - number) < abs(near[1] - number):
            for variable in self.spec.variables:
                if isinstance(node, Name) and variable.name == node.id:
                    yield self._var(variable, near[0])
            if isinstance(node, Constant):
                yield Edit(((node.span, str(near[0])),))

    def _texts(self, change: Change) -> Iterator[str]:
        """The text of the setting that gives a size."""
        call = layer_call(self.spec, change.step.span) if change.step.span is not None else None
        node = given_settings(self.spec, call).get(change.setting) if call is not None and change.setting else None
        if node is not None:
            yield self.source[node.span]

    def _reshape(self) -> Iterator[Edit]:
        """A number of a reshape that fills it."""
        node = self.fault.node
        if not isinstance(node, Call) or "elements do not fill" not in self.fault.text or not self.fault.operands:
            return
        arguments = list(node.arguments if isinstance(node.function, ex.Attribute) else node.arguments[1:])
        if len(arguments) == 1 and isinstance(arguments[0], ex.TupleOrList):
            arguments = list(arguments[0].items)
        sizes = [self.fault.values.get(id(argument)) for argument in arguments]
        numbers = [i for i, argument in enumerate(arguments) if isinstance(argument, Constant)]
        for i in numbers if len(numbers) == 1 else ():
            others = [size for j, size in enumerate(sizes) if j != i]
            if all(isinstance(size, int) and size > 0 for size in others):
                product = math.prod(size for size in others if isinstance(size, int))
                if self.fault.operands[0][1].numel() % product == 0:
                    yield Edit(((arguments[i].span, str(self.fault.operands[0][1].numel() // product)),))

    def _pieces(self) -> Iterator[Edit]:
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

    # -- two sizes that were set ---------------------------------------------------------------------------------------

    def _projection(self) -> Iterator[Edit]:
        """A shortcut around layers that multiply the channels goes through a 1×1 convolution."""
        node = self.fault.node
        if not isinstance(node, ex.Binary) or node.operator != "+" or len(self.fault.operands) < 2:
            return
        for (text, short), (_, long) in (self.fault.operands[:2], self.fault.operands[1::-1]):
            if short.dim() != long.dim() or short.dim() not in (4, 5) or not self.fault.trail.reaches(long, short):
                continue
            strides = {-(-a // b) for a, b in zip(short.shape[2:], long.shape[2:], strict=True) if b}
            if len(strides) == 1 and long.shape[1] > short.shape[1] and long.shape[1] % short.shape[1] == 0:
                stride = strides.pop()
                layer = f"Conv{short.dim() - 2}d({long.shape[1]}, 1{f', stride={stride}' if stride > 1 else ''})"
                yield Edit(((text.span, f"{layer}({self.source[text.span]})"),))

    def _set_sizes(self) -> Iterator[Edit]:
        """A setting or var that gives one side another size than the other: a number before a name, the last first."""
        found: list[tuple[bool, int, list[Edit]]] = []
        for (x, dim), trail in zip(self.fault.sides, self.fault.trails, strict=True):
            for change in trail.changes:
                call = self._call_of(change)
                mine = int(x.shape[dim])
                if call is None or change.setting is None or change.after != mine:
                    continue
                node = given_settings(self.spec, call).get(change.setting)
                others = {int(y.shape[d]): other for (y, d), other in self._pairs() if y is not x}
                given = self._given()
                if given is not None:
                    others = {given[1]: SizeTrail((), (), ())}
                for size, other in others.items():
                    if size != mine and node is not None:
                        texts = self._other_texts(node, size, change, other)
                        edits = [self._set(call, change.setting, text) for text in texts]
                        edits += self._vars(node, size)
                        found.append((isinstance(node, Constant), self.fault.trail.layers.index(change.step), edits))
        for _, _, edits in sorted(found, key=lambda one: one[:2], reverse=True):
            yield from edits

    def _given_size(self) -> Iterator[Edit]:
        """A size given as a number, of an input whose size no window changed."""
        given = self._given()
        node = given_settings(self.spec, self.call).get(given[0]) if given is not None and self.call else None
        if isinstance(node, Constant) and not any(change.before for change in self._changes()):
            yield from (Edit(((node.span, str(int(x.shape[dim]))),)) for x, dim in self.fault.sides[:1])

    def _pairs(self) -> Iterator[tuple[tuple[Tensor, int], SizeTrail]]:
        return zip(self.fault.sides, self.fault.trails, strict=True)

    def _other_texts(self, node: Expression, size: int, change: Change, other: SizeTrail) -> Iterator[str]:
        """How the file says a size in the block of a change: as the other side does, by a var, else as a number."""
        for one in other.changes:
            if scope_of(one.step) is scope_of(change.step):
                yield from self._texts(one)
        if isinstance(node, Constant):
            yield str(size)
        else:
            yield from (name for name, value in self.fault.variables.items() if value == size)

    def _vars(self, node: Expression, size: int) -> Iterator[Edit]:
        """The var that gives a size, if it is a number that not much else is made of."""
        lines = [expression for line in all_lines(self.spec) for expression in tree.expressions(line)]
        read = [one.id for expression in lines for one in ex.walk(expression) if isinstance(one, Name)]
        for variable in self.spec.variables:
            is_read = isinstance(node, Name) and node.id == variable.name and read.count(node.id) < 3
            if is_read and isinstance(variable.value, Constant):
                yield self._var(variable, size)


def _dims(call: Call) -> Iterator[Constant]:
    """The numbers that a call of a function or method gives for a dimension."""
    function = call.function
    is_method = isinstance(function, ex.Attribute)
    found = METHODS.get(function.name) if isinstance(function, ex.Attribute) else None
    found = FUNCTIONS.get(ex.spelled(function) or "") if found is None else found
    if found is None:
        return
    parameters = found.fit(len(call.arguments), tuple(k.name for k in call.keywords)).signature.by_position
    names = [parameter.name for parameter in parameters]
    given = [*zip(names[is_method and names[:1] == ["input"] :], call.arguments, strict=False)]
    for name, node in (*given, *((keyword.name, keyword.value) for keyword in call.keywords)):
        if name in ("dim", "axis") and isinstance(node, Constant) and type(node.value) is int:
            yield node
