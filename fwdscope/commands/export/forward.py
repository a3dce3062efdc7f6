"""Writes the lines of the network, of a block or of a part as the ``forward`` of a class."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor

from fwdscope.commands.annotate.sizes import KnownSize, describe_size
from fwdscope.commands.export.constructor import Constructor, Group, type_text
from fwdscope.commands.export.layout import docstring, lay_out
from fwdscope.commands.export.observe import BodyView, LayerRun
from fwdscope.commands.export.shared import PythonModule
from fwdscope.commands.export.text import bracketed, local_name, python, target_text
from fwdscope.functions.functions import CONSTANTS, DTYPES, FUNCTIONS
from fwdscope.functions.methods import ATTRIBUTES
from fwdscope.functions.python_functions import holds_tensor
from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.evaluate import assign
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.names import MODE, OWN_TENSORS
from fwdscope.language.problems import Span
from fwdscope.model.templates import TEMPLATES, LayerDict, LayerTemplate, SeriesTemplate, Shared
from fwdscope.model.values import Results

# Layers that give several results.
_SEVERAL = ("RNN", "LSTM", "GRU", "LSTMCell", "MultiheadAttention")


class _Statement:
    """A line of ``forward``; one that is ``extra`` goes if nothing reads the ``names`` that it assigns."""

    def __init__(self, depth: int, text: str, comment: str, names: Sequence[str], extra: bool) -> None:
        self.depth, self.text, self.comment, self.names, self.extra = depth, text, comment, tuple(names), extra


class ClassWriter(Constructor):
    """Writes one class: the layers in its constructor, its lines in ``forward``."""

    def __init__(
        self,
        module: PythonModule,
        name: str,
        lines: tuple[tree.Line, ...],
        views: Sequence[BodyView],
        block: tree.Block | None = None,
        outer: ClassWriter | None = None,
    ) -> None:
        super().__init__(module, name, lines, views, block, outer is not None)
        self.doc = ""
        self.inputs = [one.name for one in block.inputs] if block is not None else []
        # The arguments of a Sequential, if the class is one; lines at the end of the constructor.
        self.chain: list[str] | None = None
        self.after: list[tuple[int, str, str]] = []
        self.statements: list[_Statement] = []
        self.depth = 0
        # What lines read by name, as text: values (``stem.h`` too), and layers.
        self.values: dict[str, str] = {}
        self.layers: dict[str, str] = {}
        # The value of the line above; examples of it; a line that took it apart, with the text of the whole.
        self.flow: str | None = None
        self.flow_values: list[Any] = []
        self.unpacked: tuple[_Statement, str] | None = None
        self.variable = "x"
        self.last_shape = ""
        self.in_constructor: set[str] = set()
        # The loops around a line, and the name that counts the rounds of one that makes layers.
        self.loops: list[tuple[tree.For, str]] = []
        # Of a part: what it reads from outside with its type, whether that includes the flow, and the values of its
        # lines that are read outside.
        self.outer = outer
        self.examples: dict[str, list[Any]] = {}
        self.free: dict[str, str] = {}
        self.read_outside: dict[str, str] = {}
        self.reads_flow = False
        self.wanted: list[str] = []
        self.result: list[str] = []

    # -- the class as text --------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Write everything, and put the class behind those that it uses."""
        for one in self.block.settings if self.block is not None else ():
            values = {view: view.settings[one.name] for view in self.views}
            default = None
            if one.default is not None and not any(isinstance(value, TEMPLATES) for value in values.values()):
                names = [node for node in ex.walk(one.default) if isinstance(node, Name)]
                default = None if names else python(one.default, lambda node: None)
            elif isinstance(one.default, Name) and all(isinstance(v, LayerTemplate) for v in values.values()):
                plain = next((v for v in values.values() if v.name == one.default.id), None)
                default = f"nn.{one.default.id}" if plain is not None and "(" not in repr(plain.layer)[:-2] else None
            self.arguments[one.name] = self.argument_of_setting(values, default)
        self.read = {*_read_names(self.body), *self.wanted}
        taken = {*self.read, *self.inputs, *self.module.checked.variables, *self.settings}
        taken |= set(self.outer.values) if self.outer else set()
        self.variable = next(n for n in ("x", "out", "y", "hidden", "value") if n not in (taken - {self._own_input()}))
        if self.chain is None and not self._is_sequential():
            self._write_forward()
        self.module.classes.append(self)

    def _own_input(self) -> str:
        """The name of the first input if only the flow reads it, so that it may be assigned again."""
        return "" if not self.inputs or self.inputs[0] in self.read else self.inputs[0]

    def _write_forward(self) -> None:
        for name in self.inputs:
            self.values[name] = local_name(name)
        if self.inputs and not (self.is_network and self.module.spec.graph):
            self.flow = self.values[self.inputs[0]]
            self.flow_values = [view.inputs.get(self.inputs[0]) for view in self.views]
        self.write_lines(self.body)
        self.result = [self.flow] if self.flow is not None else []
        last = self.statements[-1] if self.statements else None
        line = self.body[-1]
        is_tuple = (
            isinstance(line, tree.Statement) and isinstance(line.value, ex.TupleOrList) and line.value.kind == "tuple"
        )
        if is_tuple and last is not None and last.names == (self.flow,) and last.text.startswith(f"{self.flow} = ("):
            self.statements.pop()
            self.result = [last.text.partition(" = ")[2][1:-1]]
        if self.result and re.fullmatch(r"\(\w+(, \w+)+\)", self.result[0]):
            self.result = [self.result[0][1:-1]]
        self.result += [self.values[name] for name in self.wanted]
        self._leave_out_unread()
        self._add_hint()

    def _leave_out_unread(self) -> None:
        """Leave out lines that nothing reads, since only the constructor needs them; mark names that nothing reads."""
        for i in reversed(range(len(self.statements))):
            one = self.statements[i]
            unread = [name for name in one.names if not self._is_read(name, i)]
            if one.extra and len(unread) == len(one.names):
                del self.statements[i]
            elif len(one.names) > 1 and unread:
                left, _, right = one.text.partition(" = ")
                words = re.split(r"(\W+)", left)
                one.text = f"{''.join('_' * (word in unread) + word for word in words)} = {right}"

    def _is_read(self, name: str, place: int) -> bool:
        """Whether anything reads a name after a statement, before it is assigned again."""
        depth, ways = self.statements[place].depth, [self.statements[place + 1 :]]
        if depth:  # the next round of a loop reads it, too
            start = max(i for i in range(place) if self.statements[i].depth == 0)
            ways.append(self.statements[start:place])
        word = re.compile(rf"\b{name}\b")
        for way in ways:
            for one in way:
                if word.search(one.text.partition(" = ")[2] if one.names else one.text):
                    return True
                if one.names == (name,) and one.depth <= depth:
                    break
            else:
                if any(word.search(text) for text in self.result):
                    return True
        return False

    def _add_hint(self) -> None:
        """Give the variable that is returned its type, which calls of modules do not show."""
        name = self.result[0] if len(self.result) == 1 else ""
        if not name.isidentifier() or name in (*map(local_name, self.inputs), *self.free):
            return
        place = next((i for i, one in enumerate(self.statements) if one.names == (name,)), None)
        if place is None:
            return
        first = self.statements[place]
        if not first.depth:
            first.text = f"{name}: {self.result_type()}{first.text.removeprefix(name)}"
            return
        while self.statements[place].depth:
            place -= 1
        self.statements.insert(place, _Statement(0, f"{name}: {self.result_type()}", "", [name], False))

    def lines(self) -> Iterator[str]:
        """Yield the lines of the class."""
        yield f"class {self.name}(nn.{'Module' if self.chain is None else 'Sequential'}):"
        if self.doc:
            yield from [*docstring(self.doc, 4), ""]
        if self.buffers:
            yield from [*(f"    {name}: Tensor" for name in self.buffers), ""]
        arguments = sorted(self.arguments.items(), key=lambda item: item[1].order)
        texts = [f"{n}: {a.type}" + (f" = {a.default}" if a.default is not None else "") for n, a in arguments]
        if any(one.comment for _, one in arguments):
            yield from ["    def __init__(", "        self,"]
            for text, (_, one) in zip(texts, arguments, strict=True):
                yield from lay_out(f"{text},", 8, one.comment)
            yield "    ) -> None:"
        else:
            yield from lay_out(f"def __init__({', '.join(['self', *texts])}) -> None:", 4)
        if self.chain is not None:
            yield from ["        super().__init__(", *(f"        {line}" for line in self.chain), "        )"]
            return
        yield "        super().__init__()"
        for text in [*self.computed.values(), *(f"self.{name} = {local_name(name)}" for name in self.stored)]:
            yield from lay_out(text, 8)
        for depth, text, comment in [*self.made, *self.after]:
            if "\n" in text:
                yield from (f"{'    ' * (2 + depth)}{line}" for line in text.split("\n"))
            else:
                yield from lay_out(text, 8 + 4 * depth, comment)
        yield ""
        yield from self._forward_lines()

    def _forward_lines(self) -> Iterator[str]:
        parameters = ["self"]
        defaults = {one.name: one.default for one in self.block.inputs} if self.block is not None else {}
        for name in self.inputs:
            kinds = type_text([view.inputs[name] for view in self.views if name in view.inputs])
            if (default := defaults.get(name)) is not None:
                if isinstance(default, ex.Constant) and default.value is None and "None" not in kinds.split(" | "):
                    kinds = f"{kinds} | None" if kinds else "None"
                parameters.append(f"{local_name(name)}: {kinds} = {python(default, lambda node: None)}")
            else:
                parameters.append(f"{local_name(name)}: {kinds}")
        parameters += [f"{name}: {kind}" for name, kind in self.free.items()]
        yield from lay_out(f"def forward({', '.join(parameters)}) -> {self.result_type()}:", 4)
        for one in self.module.spec.inputs if self.is_network else ():
            text = " ".join(self.module.source[one.value.span].split())
            yield from lay_out(f"# {one.name} = {text}{'    ' if (c := self.module.comment(one.span)) else ''}{c}", 8)
        for statement in self.statements:
            yield from lay_out(statement.text, 8 + 4 * statement.depth, statement.comment)
        yield from lay_out(f"return {', '.join(self.result)}", 8)

    def result_type(self) -> str:
        """The type of what the method returns."""
        if self.outer is None:
            return type_text([view.result for view in self.views])
        values = [self.flow_values] if self.flow is not None else []
        for name in self.wanted:
            values.append(self.examples.get(name) or self._unpacked_values(name, self.definition(name)))
        kinds = [type_text(one) for one in values]
        return kinds[0] if len(kinds) == 1 else f"tuple[{', '.join(kinds)}]"

    def _unpacked_values(self, name: str, line: tree.Statement | None) -> list[Any]:
        """Examples of a name that a line takes apart."""
        if line is None or not isinstance(line.target, ex.TupleTarget):
            return []
        place = [isinstance(one, ex.NameTarget) and one.name == name for one in line.target.items].index(True)
        return [value[place] for value in self.values_of(line.value)]

    def add(self, text: str, comment: str = "", names: Sequence[str] = (), extra: bool = False) -> _Statement:
        """Add a statement."""
        self.statements.append(_Statement(self.depth, text, comment, names, extra))
        return self.statements[-1]

    def assign(self, name: str, text: str, comment: str = "", extra: bool = False) -> None:
        """Assign to a variable."""
        self.add(f"{name} = {text}", comment, [name], extra)

    # -- what was recorded --------------------------------------------------------------------------------------------

    def values_of(self, node: Expression) -> list[Any]:
        """The values of an expression in all runs."""
        return [value for view in self.views for turns, value in view.all(node)
                if turns[: len(view.turns)] == view.turns]  # fmt: skip

    def runs(self, span: Span) -> list[tuple[BodyView, LayerRun]]:
        """The calls of the layer at a place."""
        return [(view, run) for view in self.views for run in view.runs(span)]

    def calls(self, node: Expression) -> bool:
        """Whether an expression is the call of a layer."""
        return not isinstance(node, ex.Starred) and bool(self.runs(node.span))

    def is_results(self, node: Expression) -> bool:
        """Whether an expression gives several results of a layer."""
        return _are_results(self.values_of(node))

    def own_tensor(self, line: tree.Line) -> Call | None:
        """The call of Parameter or Buffer that a line is."""
        call = line.value if isinstance(line, tree.Statement) else None
        if isinstance(call, Call) and isinstance(call.function, Name) and call.function.id in OWN_TENSORS:
            return call if self.module.spec.block(call.function.id) is None else None
        return None

    def ran(self, line: tree.Line) -> bool:
        """Whether a line ran."""
        match line:
            case tree.Statement(value=value):
                call = self.own_tensor(line)
                return bool(self.values_of(call.arguments[0] if call else value))
            case tree.Modules():
                return True
            case tree.PartLine(body=body):
                return any(map(self.ran, body))
        return any(map(self.values_of, tree.expressions(line)))

    def makes_layers(self, lines: tuple[tree.Line, ...]) -> bool:
        """Whether lines make layers or tensors that the ``state_dict`` holds."""
        nodes = [node for line in tree.statements(lines) for top in tree.expressions(line) for node in ex.walk(top)]
        runs = [run for node in nodes for _, run in self.runs(node.span) if not isinstance(run.template, Shared)]
        stateful = any(run.module is not None and run.module.state_dict() for run in runs)
        return stateful or any(self.own_tensor(line) for line in tree.statements(lines))

    # -- lines --------------------------------------------------------------------------------------------------------

    def write_lines(self, lines: tuple[tree.Line, ...]) -> None:
        """Write the lines that ran."""
        for line in filter(self.ran, lines):
            match line:
                case tree.Statement():
                    self._write_statement(line)
                case tree.If():
                    self._write_if(line)
                case tree.For():
                    self._write_for(line)
                case tree.While():
                    self._write_while(line)
                case tree.PartLine():
                    self._write_part(line)
                case tree.Modules():
                    self._write_modules(line)

    def _write_statement(self, line: tree.Statement) -> None:
        above, behind = self.module.comments(line.span)
        if call := self.own_tensor(line):
            self._write_own_tensor(line, call)
            return
        if above:
            self.add(f"# {above}")
        outside = line.span in self.module.checked.outside_flow
        name = line.target.name if isinstance(line.target, ex.NameTarget) else ""
        target = local_name(name) if name and (name in self.read or outside) else self.variable
        label = str(line.target.number) if isinstance(line.target, ex.NumberTarget) else name
        results = self.values_of(line.value)
        if isinstance(results[0], TEMPLATES):
            results = [run.value for _, run in self.runs(line.value.span)]
            text = self._apply(line.value.span, line.value, [self.flow_text()], [], label, target)
        elif label and isinstance(line.value, Call) and self.calls(line.value):
            text = self._call_layer(line.value, label, target)
        else:
            text = self.text(line.value)
        if name and self.calls(line.value):
            self.layers.setdefault(name, f"self.{name}")
        comment = line.promise.text if line.promise else self.shape_text(results)
        comment = f"{comment}{'    ' * bool(comment and behind)}{behind}"
        self._bind(line, text, target, results, comment, outside)

    def _bind(
        self, line: tree.Statement, text: str, target: str, results: list[Any], comment: str, outside: bool
    ) -> None:
        """Assign the value of a line to its names, and let it flow."""
        is_tensor = _are_results(results) or all(isinstance(value, Tensor) for value in results)
        if isinstance(line.target, ex.TupleTarget) and self._write_apart(line, comment):
            if not outside:
                names = [local_name(one.name) for one in ex.targets(line.target)]
                self.flow, self.flow_values, self.unpacked = f"({', '.join(names)})", results, None
            return
        if isinstance(line.target, ex.TupleTarget):
            names = [local_name(one.name) for one in ex.targets(line.target)]
            statement = self.add(f"{target_text(line.target)} = {text}", comment, names, outside)
            self.values |= {one.name: local_name(one.name) for one in ex.targets(line.target)}
            if not outside:
                first = ex.leaves(line.target)[0]
                known = _are_results(results) and isinstance(first, ex.NameTarget)
                self.flow, self.unpacked = (local_name(first.name) if known else None), (statement, text)  # type: ignore[union-attr]
                self.flow_values = [value[0] for value in results] if known else results
            return
        if target == self.variable and not is_tensor:
            target = next(n for n in ("results", "values", "items") if n not in self.read)
        if isinstance(results[0], list) and text == "[]":
            self.add(f"{target}: {self._list_type(line)} = []", comment, [target])
        elif line.target is None and not is_tensor and re.fullmatch(r"\w+(, \w+)+", text):
            target = f"({text})"
        elif text != target:
            self.assign(target, text, comment, outside)
        if isinstance(line.target, ex.NameTarget):
            self.values[line.target.name] = target
            self.examples[line.target.name] = results
        if not outside:
            self.flow, self.flow_values, self.unpacked = target, results, None

    def _write_apart(self, line: tree.Statement, comment: str) -> bool:
        """Write ``a, b = c, d`` as a line for each, if none reads what another assigns."""
        target, node = line.target, line.value
        if not isinstance(target, ex.TupleTarget) or not isinstance(node, ex.TupleOrList):
            return False
        given = {one.name for one in ex.targets(target)}
        read = {one.id for one in ex.walk(node) if isinstance(one, Name)}
        pairs = list(zip(target.items, node.items, strict=False))
        if given & read or any(not isinstance(one, ex.NameTarget) or isinstance(v, ex.Starred) for one, v in pairs):
            return False
        for one, value in pairs:
            piece = line.replace(target=one, value=value)
            self._bind(piece, self.text(value), local_name(one.name), self.values_of(value), comment, True)  # type: ignore[union-attr]
            comment = ""
        return True

    def _list_type(self, line: tree.Statement) -> str:
        """The type of a list that begins empty: of what later lines assign to its name."""
        names = [one.name for one in ex.targets(line.target)]
        lines = [one for one in tree.statements(self.body) if isinstance(one, tree.Statement)]
        again = [one for one in lines if [name.name for name in ex.targets(one.target)] == names]
        lists = [value for one in again for value in self.values_of(one.value) if value]
        return type_text(lists[:1]) or "list[Tensor]"

    def shape_text(self, results: list[Any]) -> str:
        """The shape of a line's value, if it differs from that of the line above."""
        views = [view for view in self.views for _ in range(len(results) // max(len(self.views), 1))]
        if not all(isinstance(value, Tensor) for value in results) or len(views) != len(results):
            return ""
        seen = list(zip(views, results, strict=True))
        rank = results[0].dim()
        if any(value.dim() != rank for value in results) or not rank:
            return ""
        texts = []
        for dim in range(rank):
            known: tuple[list[KnownSize], list[KnownSize]] = [], []
            for view, value in seen:
                named = {n: v for n, v in view.constants.items() if type(v) is int}
                known[view.changed].append(KnownSize(value.shape[dim], named))
            texts.append(describe_size(*known, list(known[0][0].names)) if known[0] else "_")
        text = f"({', '.join(texts)}{',' * (rank == 1)})"
        last, self.last_shape = self.last_shape, text
        return text if text != last else ""

    def flow_whole(self) -> str:
        """The value of the line above."""
        if self.flow is None and self.unpacked is not None:
            statement, text = self.unpacked
            apart = statement.text.replace(f" = {text}", f" = {self.variable}")
            place = self.statements.index(statement) + 1
            self.statements.insert(place, _Statement(statement.depth, apart, "", statement.names, False))
            statement.text, statement.names = f"{self.variable} = {text}", (self.variable,)
            self.flow, self.unpacked = self.variable, None
        if self.flow is None and self.outer is not None:
            self.flow, self.reads_flow = self.variable, True
            self.flow_values = self.outer.flow_values
            self.free = {self.flow: type_text(self.flow_values) or "Tensor", **self.free}
        assert self.flow is not None, self.body[0]
        return self.flow

    def flow_text(self) -> str:
        """The value of the line above, of several results the first."""
        text = self.flow_whole()
        return f"{text}[0]" if _are_results(self.flow_values) else text

    # -- Parameters, Buffers, and what the constructor computes -------------------------------------------------------

    def _write_own_tensor(self, line: tree.Statement, call: Call) -> None:
        name = line.target.name  # type: ignore[union-attr]
        if self.loops:
            raise self.module.problem(line.span, "Parameters and Buffers made in loops cannot be exported")
        text, attribute = self.constant(call.arguments[0]), self.attribute(name, line.span)
        value = self.values_of(call.arguments[0])[0]
        text += "" if value.is_contiguous() else ".contiguous()"
        if isinstance(call.function, Name) and call.function.id == "Buffer":
            self.buffers.append(name)
            self.make(f'self.register_buffer("{name}", {text})', self.module.comment(line.span))
        else:
            trained = value.is_floating_point() or value.is_complex()
            made = f"nn.Parameter({text}{'' if trained else ', requires_grad=False'})"
            self.make(f"{attribute} = {made}", self.module.comment(line.span))
        self.values[name] = attribute

    def known_name(self, name: str) -> str | None:
        """Return a Parameter, or a value that a line computes from no input, computed in the constructor too."""
        if self.values.get(name, "").startswith("self."):
            return self.values[name]
        line = self.definition(name)
        if line is None or line.target is None:
            return None
        if name not in self.in_constructor:
            self.in_constructor |= {one.name for one in ex.targets(line.target)}
            self.make(f"{target_text(line.target)} = {self.constant(line.value)}")
        return local_name(name)

    # -- branches and loops -------------------------------------------------------------------------------------------

    def _write_if(self, line: tree.If) -> None:
        taken = {bool(value) for value in self.values_of(line.test)}
        if len(taken) == 1:
            self.write_lines(line.then if taken.pop() else line.orelse)
            return
        if comment := self.module.comment(line.test.span):
            self.add(f"# {comment}")
        makes = [self.makes_layers(body) for body in (line.then, line.orelse)]
        in_loop = any(index for _, index in self.loops)
        conditions = list(self.conditions)
        if in_loop and any(makes):
            self.conditions.append(line.test)
            makes = [False, False]
        test = self._test_of_constructor(line) if any(makes) else ""
        head, flow, values = f"if {self.text(line.test)}:", self.flow, self.flow_values
        start = len(self.statements)
        ends: list[tuple[int, str | None]] = []
        before, made_before = (set(self.attributes), dict(self.unnamed)), len(self.made)
        attributes: set[str] = set()
        for body, word, made, no in ((line.then, head, makes[0], ""), (line.orelse, "else:", makes[1], "not ")):
            self.flow, self.flow_values = flow, values
            if any(makes):  # either branch makes its own
                self.attributes, self.unnamed = set(before[0]), dict(before[1])
            if body:
                self.add(word)
                self.depth += 1
                if made:
                    self.make("else:" if all(makes) and no else f"if {no}{bracketed(test, 4) if no else test}:")
                    self.made_depth += 1
                self.write_lines(body)
                self.made_depth -= made
                self.depth -= 1
            attributes |= self.attributes
            ends.append((len(self.statements), self.flow))
            if in_loop and len(self.conditions) > len(conditions):
                self.conditions[-1] = ex.Unary(line.test.span, "not", line.test)
        self.conditions = conditions
        if all(makes):
            self._declare_twice_made(made_before)
        self.attributes |= attributes
        self.unnamed = dict(before[1]) if any(makes) else self.unnamed
        self._join_flows(line, ends, start)

    def _join_flows(self, line: tree.If, ends: list[tuple[int, str | None]], start: int) -> None:
        """Let the values that two branches give have one name; ``ends`` are where each ends, and its value."""
        if len({text for _, text in ends}) > 1:
            for (place, text), body in reversed(list(zip(ends, (line.then, line.orelse), strict=True))):
                if text != self.variable:
                    made = f"{self.variable} = {text}"
                    one = _Statement(self.depth + bool(body), made, "", [self.variable], False)
                    self.statements.insert(place if body else start, one)
            self.flow = self.variable

    def _declare_twice_made(self, start: int) -> None:
        """Give attributes that either branch makes a type that covers both."""
        first: dict[str, int] = {}
        for i, (_, text, _) in enumerate(self.made[start:], start):
            name, equals, _ = text.partition(" = ")
            if equals and name in first:
                other = self.made[first[name]]
                if other[1].partition("(")[0] != text.partition("(")[0] and ":" not in other[1].partition(" = ")[0]:
                    self.made[first[name]] = (other[0], other[1].replace(" = ", ": nn.Module = ", 1), other[2])
            elif equals and name.startswith("self."):
                first[name] = i

    def _test_of_constructor(self, line: tree.If) -> str:
        """Return the condition for the layers of a branch: as in the file, or an argument if it rests on shapes."""
        names = {node.id for node in ex.walk(line.test) if isinstance(node, Name)}
        if all(map(self.is_setting_or_var, names)):
            return self.constant(line.test)
        values = {view: bool(view.at(line.test)) for view in self.views if view.all(line.test)}
        lines = [one for one in (*line.then, *line.orelse) if isinstance(one, tree.Statement) and self.calls(one.value)]
        labels = [name.name for one in lines for name in ex.targets(one.target)]
        return self.flag_argument(labels[0] if labels else "branch", values, line.test.span)

    def _write_for(self, line: tree.For) -> None:
        if line.name:
            self._write_named_loop(line)
            return
        target, head, index = target_text(line.target), self.text(line.iterable), ""
        if found := re.fullmatch(r"list\((\w+\(.*\))\)", head):
            head = found[1]
        if self.makes_layers(line.body):
            if re.fullmatch(r"range\([^,]*\)", head):
                index = target
            else:
                index = next(n for n in ("i", "j", "k", "round_") if n not in self.read)
                target = f"{index}, ({target})" if "," in target else f"{index}, {target}"
                head = f"enumerate({head})"
        self.loops.append((line, index))
        for one in ex.targets(line.target):
            self.values[one.name] = self.layers[one.name] = local_name(one.name)
        self._write_rounds(line.body, lambda: f"for {target} in {head}:")
        self.loops.pop()

    def _write_while(self, line: tree.While) -> None:
        self._write_rounds(line.body, lambda: f"while {self.text(line.test)}:", line.text)

    def _write_named_loop(self, line: tree.For) -> None:
        """Write a loop with a name: a class for its rounds, in a list."""
        if self.loops:
            raise self.module.problem(line.span, "a loop with a name in a loop cannot be exported", "make it a block")
        views: dict[BodyView, tuple[BodyView, int]] = {}
        for view in self.views:
            for i, item in enumerate(view.at(line.iterable)):
                items: dict[str, Any] = {}
                assign(line.target, item, items)
                path = ".".join(filter(None, (view.path, line.name, str(i))))
                views[view.inside(path, (*view.turns, i), items)] = view, i
        part = ClassWriter(self.module, self.module.class_name(line.name), line.body, list(views), None, self)
        lines = [one for one in tree.statements(line.body) if isinstance(one, tree.Statement)]
        given = {name.name for one in lines if not self.own_tensor(one) for name in ex.targets(one.target)}
        part.wanted = sorted(given & {*_read_names(self.body, line), *self.values})
        part.write()
        groups = [Group(view, one.turns, [], i) for one, (view, i) in views.items()]
        by_round = {(view, i): one for one, (view, i) in views.items()}
        clause = ex.Clause(line.target, self.rounds_of(line), ())

        def write() -> list[str]:
            return [self.construct(part, groups, lambda group: by_round[group.view, group.round], None)]

        text = f"nn.ModuleList({self.comprehension((clause,), write)})"
        attribute = self.register(line.name, text, line.span, self.module.comment(line.iterable.span))
        if part.reads_flow or part.flow is not None:
            self._settle_flow()
        arguments = [self._from_outside(name, None, part) for name in part.free]
        names = [*([self.variable] if part.flow is not None else []), *map(local_name, part.wanted)]
        self.values |= {name: local_name(name) for name in part.wanted}
        self.add(f"for layer in {attribute}:")
        self.depth += 1
        self.add(f"{', '.join(names)} = layer({', '.join(arguments)})", "", names)
        self.depth -= 1
        self.layers[line.name], self.flow_values = attribute, part.flow_values or self.flow_values

    def _write_rounds(self, body: tuple[tree.Line, ...], head: Callable[[], str], test: str = "") -> None:
        """Write the lines of a loop. A value that flows into the next round has one name in all."""
        if flows := self._reads_flow(body) or re.search(r"\bprev\b", test):
            self._settle_flow()
        self.add(head())
        self.depth += 1
        self.write_lines(body)
        if flows:
            self._settle_flow()
        self.depth -= 1

    def _reads_flow(self, lines: tuple[tree.Line, ...]) -> bool:
        """Whether lines read the value that flows into them."""
        for line in filter(self.ran, lines):
            nodes = [node for top in tree.expressions(line) for node in ex.walk(top)]
            if any(isinstance(node, Name) and node.id == "prev" for node in nodes):
                return True
            if isinstance(line, tree.Statement):
                if not self.own_tensor(line) and isinstance(self.values_of(line.value)[0], TEMPLATES):
                    return True
                if line.span not in self.module.checked.outside_flow:
                    return False
            elif not (isinstance(line, tree.PartLine) and line.inputs) and any(
                map(self._reads_flow, tree.bodies(line))
            ):
                return True
        return False

    def _settle_flow(self) -> None:
        text = self.flow_text()
        if text != self.variable:
            self.assign(self.variable, text, extra=True)
        self.flow, self.flow_values = self.variable, [value[0] if isinstance(value, Results) else value
                                                      for value in self.flow_values]  # fmt: skip

    # -- parts and modules --------------------------------------------------------------------------------------------

    def _write_part(self, line: tree.PartLine) -> None:
        """Write a part: layers in series in place, any other as a class of its own."""
        target = local_name(line.name) if line.name in self.read else self.variable
        given = self.operand(line.inputs[0]) if line.inputs else None
        if self.loops:
            raise self.module.problem(line.span, "a part in a loop cannot be exported", "make it a block")
        last = line.body[-1]
        comment = last.promise.text if isinstance(last, tree.Statement) and last.promise else ""
        if (items := self._sequential(line.body, line.name)) is not None:
            text = "\n".join(["nn.Sequential(", *items, ")"])
            attribute = self.register(line.name, text, line.span)
            call, names = f"{attribute}({given or self.flow_text()})", [target]
            results = [run.value for _, run in self.runs(last.value.span)]  # type: ignore[union-attr]
        else:
            part = self._part_class(line)
            pairs = dict(zip(self.views, part.views, strict=True))
            groups = [Group(view, view.turns, []) for view in self.views]
            text = self.construct(part, groups, lambda group: pairs[group.view], None)
            attribute = self.register(line.name, text, line.span, self.module.comment(line.span))
            arguments = [self._from_outside(name, given, part) for name in part.free]
            call, names = f"{attribute}({', '.join(arguments)})", [target] if part.flow is not None else []
            for name in part.wanted:
                self.values[f"{line.name}.{name}"] = local_name(f"{line.name}_{name}")
                names.append(local_name(f"{line.name}_{name}"))
            own = {n: text for n, text in part.values.items() if text.startswith("self.")}
            self.values |= {f"{line.name}.{n}": f"{attribute}.{text[5:]}" for n, text in own.items()}
            self.layers |= {f"{line.name}.{n}": f"{attribute}.{text[5:]}" for n, text in part.layers.items()}
            results = part.flow_values
        self.layers[line.name], self.values[line.name] = attribute, target
        if len(names) == 1:
            self.assign(names[0], call, comment)
        else:
            self.add(f"{', '.join(names)} = {call}", comment, names)
        if line.span not in self.module.checked.outside_flow:
            self.flow, self.flow_values, self.unpacked = target, results, None

    def _from_outside(self, name: str, given: str | None, part: ClassWriter) -> str:
        if name == part.variable and part.reads_flow:
            return given or self.flow_text()
        if name.endswith("_layer") and name.removesuffix("_layer") in self.layers:
            return self.layers[name.removesuffix("_layer")]
        return self.value(part.read_outside.get(name, name)) or name

    def _part_class(self, line: tree.PartLine) -> ClassWriter:
        views = [view.inside(".".join(filter(None, (view.path, line.name))), view.turns, {}) for view in self.views]
        part = ClassWriter(self.module, self.module.class_name(line.name), line.body, views, None, self)
        nodes = [node for one in tree.statements(self.body) for top in tree.expressions(one) for node in ex.walk(top)]
        attributes = [node for node in nodes if isinstance(node, ex.Attribute)]
        whole = [node for node in attributes if any(view.all(node) for view in self.views)]
        read = {node.name for node in whole if ex.spelled(node) == f"{line.name}.{node.name}"}
        defined = [n.name for one in line.body if isinstance(one, tree.Statement) and not self.own_tensor(one)
                   for n in ex.targets(one.target)]  # fmt: skip
        part.wanted = [name for name in defined if name in read]
        part.write()
        return part

    def _write_modules(self, line: tree.Modules) -> None:
        """Let the constructor make layers that lines call by name."""
        for entry in line.entries:
            texts = []
            for one in entry.entries or (entry,):
                groups = self._groups_under(entry.name, one.name if entry.entries else "", one.value)
                if isinstance(one.value, ex.TupleOrList):
                    for i, item in enumerate(one.value.items):
                        texts.append(self.whole(item, [g._replace(made=g.made[i : i + 1]) for g in groups]))
                elif isinstance(one.value, ex.Comprehension):
                    texts.append(f"*{self._list_of_modules(one.value, groups)}")
                else:
                    texts.append(self.whole(one.value, groups))
            items = ", ".join(texts)
            if entry.entries:
                pairs = (f'"{one.name}": {text}' for one, text in zip(entry.entries, texts, strict=True))
                items = f"nn.ModuleDict({{{', '.join(pairs)}}})"
            elif isinstance(entry.value, ex.Comprehension | ex.TupleOrList):
                items = f"nn.ModuleList({items[1:] if items.startswith('*[') else f'[{items}]'})"
            attribute = self.register(entry.name, items, entry.span, self.module.comment(entry.span))
            self.values[entry.name] = self.layers[entry.name] = attribute

    def _list_of_modules(self, node: ex.Comprehension, groups: list[Group]) -> str:
        rounds = [g._replace(made=[one], round=i, turns=(*g.turns, i)) for g in groups for i, one in enumerate(g.made)]
        return self.comprehension(node.clauses, lambda: [self.whole(node.element, rounds)])

    def _groups_under(self, name: str, key: str, node: Expression) -> list[Group]:
        """Return the layers under a name of ``modules:`` in each run."""
        found = []
        for view in self.views:
            blueprint = view.body.blueprint
            here: Any = view.body.get_submodule(view.path.removeprefix(blueprint.path(view.body)).lstrip("."))
            here = here.get_submodule(f"{name}.{key}".rstrip("."))
            made = list(here.children()) if isinstance(node, ex.Comprehension | ex.TupleOrList) else [here]
            found.append(Group(view, view.turns, [(one, blueprint.layers[one].template) for one in made]))  # type: ignore[misc]
        return found

    # -- layers in series ---------------------------------------------------------------------------------------------

    def _is_sequential(self) -> bool:
        """Make the class a Sequential if its lines are layers in series, at paths that are numbers."""
        if self.block is None or len(self.inputs) != 1:
            return False
        self.chain = self._sequential(self.body, "")
        return self.chain is not None

    def _sequential(self, lines: tuple[tree.Line, ...], part: str) -> list[str] | None:
        """Return the arguments of a Sequential, if these are layers in series with a number among their names."""
        found: list[tuple[tree.Statement, list[tuple[BodyView, LayerRun]]]] = []
        for one in lines:
            if not isinstance(one, tree.Statement) or isinstance(one.target, ex.TupleTarget | ex.NameTarget):
                return None
            runs = self.runs(one.value.span)
            if len(runs) < len(self.views) or not isinstance(self.values_of(one.value)[0], TEMPLATES):
                return None
            if (
                not self._is_plain(runs, 1)
                or any(run.module is None for _, run in runs)
                or _are_results([runs[0][1].value])
            ):
                return None
            found.append((one, runs))
        if not any(isinstance(one.target, ex.NumberTarget) for one, _ in found):
            return None
        names = [self.name_of(*runs[0], part) for _, runs in found]
        weighty = [bool(runs[0][1].module.state_dict()) for _, runs in found]  # type: ignore[union-attr]
        in_place = all(not made or name == str(i) for i, (name, made) in enumerate(zip(names, weighty, strict=True)))
        texts: list[str] = []
        for name, (one, runs) in zip(names, found, strict=True):
            elements = self.elements(one.value, self.groups(runs))
            text = (
                f"nn.Sequential({', '.join(elements)})"
                if isinstance(runs[0][1].template, SeriesTemplate)
                else elements[0]
            )
            above, behind = self.module.comments(one.span)
            shape = one.promise.text if one.promise else ""
            comment = "    ".join(filter(None, (shape, above, behind)))
            item = f"{text}," if in_place else f'("{name}", {text}),'
            texts += [line[8:] for line in lay_out(item, 12 if in_place else 20, comment, inside=True)]
        return texts if in_place else ["    OrderedDict(", "        [", *texts, "        ]", "    )"]

    def _is_plain(self, runs: list[tuple[BodyView, LayerRun]], inputs: int) -> bool:
        """Whether a stack can be called as a whole: one tensor goes from each layer to the next."""
        for _, run in runs:
            if isinstance(run.template, SeriesTemplate) and run.module is not None:
                several = any(isinstance(one, LayerTemplate) and one.name in _SEVERAL for one in run.template.items)
                if inputs != 1 or isinstance(run.value, tuple) or several:
                    return False
        return True

    # -- calls of layers ----------------------------------------------------------------------------------------------

    def _call_layer(self, node: Call, label: str = "", target: str = "") -> str:
        """Return the call of a layer on values."""
        arguments = [
            self.text(one) if i and len(node.arguments) == 2 else self.operand(one)
            for i, one in enumerate(node.arguments)
        ]
        keywords = [
            f"{k.name}={self.text(k.value) if k.name == 'hx' else self.operand(k.value)}" for k in node.keywords
        ]
        shared = isinstance(self.runs(node.span)[0][1].template, Shared)
        return self._apply(node.span, node if shared else node.function, arguments, keywords, label, target)

    def _apply(
        self, span: Span, node: Expression, arguments: list[str], keywords: list[str], label: str = "", target: str = ""
    ) -> str:
        """Return the call of a layer. A stack that is called layer by layer becomes a loop before the line."""
        runs = self.runs(span)
        template = runs[0][1].template
        if all(run.module is None for _, run in runs):
            return arguments[0]
        if isinstance(template, Shared):
            callee = node.function if isinstance(node, Call) else node
            return f"{python(callee, self._replace_layer)}({', '.join([*arguments, *keywords])})"
        plain = self._is_plain(runs, len(arguments) + len(keywords))
        stateful = label or any(run.module is not None and run.module.state_dict() for _, run in runs)
        own = [(one, index) for one, index in self.loops if index and stateful]
        text = self.make_layer(node, runs, label, plain, [one for one, _ in own])
        text += "".join(f"[{index}]" for _, index in own)
        if plain:
            return f"{text}({', '.join([*arguments, *keywords])})"
        value, target = runs[0][1].value, target or self.variable
        several = len(value) if type(value) is tuple else 1
        names = [target] if several == 1 else [f"{target}_{i + 1}" for i in range(several)]
        for name, argument in zip(names, arguments, strict=False):
            if name != argument:
                optional = several > 1 and any(view.inputs.get(argument, 0) is None for view in self.views)
                self.add(f"{name}{': Any' * optional} = {argument}", "", [name])
        first = "[0]" if _are_results([value]) else ""
        self.add(f"for layer in {text}:")
        self.depth += 1
        self.add(
            f"{', '.join(names)} = layer({', '.join([*names, *arguments[several:], *keywords])}){first}", "", names
        )
        self.depth -= 1
        return ", ".join(names)

    def _replace_layer(self, node: Expression) -> str | None:
        """Return the text of a layer's name in a path: ``stem.conv1``, ``h[1]``, ``heads.cls``."""
        spelled = ex.spelled(node)
        if spelled is not None and spelled in self.layers:
            return self.layers[spelled]
        if isinstance(node, Name) and self.outer is not None and node.id in self.outer.layers:
            self.free.setdefault(f"{node.id}_layer", "nn.Module")
            return f"{node.id}_layer"
        if isinstance(node, ex.Attribute) and any(isinstance(v, LayerDict) for v in self.values_of(node.value)):
            return f'{python(node.value, self._replace_layer)}["{node.name}"]'
        return None if isinstance(node, ex.Attribute | ex.Subscript) else self.replace(node)

    # -- expressions --------------------------------------------------------------------------------------------------

    def text(self, node: Expression) -> str:
        """Return an expression of ``forward``."""
        return python(node, self.replace)

    def operand(self, node: Expression) -> str:
        """Return an expression where one tensor is wanted: of several results the first."""
        text = self.flow_text() if isinstance(node, Name) and node.id == "prev" else self.text(node)
        if isinstance(node, Name) and node.id == "prev":
            return text
        return f"{bracketed(text, 20)}[0]" if self.is_results(node) else text

    def replace(self, node: Expression) -> str | None:
        """Return the text of a node that is not written as it stands."""
        match node:
            case Name(id=name):
                return self._name(node, name)
            case ex.Attribute():
                return self._attribute_text(node)
            case Call() if self.calls(node):
                return self._call_layer(node)
            case Call(function=Name(id=name)) if name in FUNCTIONS:
                return self.call_function(node, name, self.operand, True)
            case Call(function=ex.Attribute(value=value, name=name), arguments=arguments, keywords=keywords):
                given = [*map(self.operand, arguments), *(f"{k.name}={self.operand(k.value)}" for k in keywords)]
                return f"{bracketed(self.operand(value), 20)}.{name}({', '.join(given)})"
            case ex.Binary(left=left, right=right) if self.is_results(left) or self.is_results(right):
                return python(node, lambda one: None if one is node else self.operand(one))
        return None

    def _name(self, node: Expression, name: str) -> str:
        if name == "prev":
            return self.flow_whole()
        if (text := self.value(name, node)) is not None:
            return text
        if name in CONSTANTS or name in DTYPES:
            return f"math.{name}" if name in CONSTANTS else f"torch.{DTYPES[name]}"
        if any(isinstance(value, TEMPLATES) for value in self.values_of(node)):
            raise self.module.problem(node.span, "a layer that is not called here cannot be exported")
        return "self.training" if name == MODE else local_name(name)  # of a comprehension

    def value(self, name: str, node: Expression | None = None) -> str | None:
        """Return the value of a name, ``stem.h`` too, here or outside of the part; None for any other name."""
        if name in self.values:
            return self.values[name]
        if self.outer is not None and not self.is_setting_or_var(name) and self.outer.value(name) is not None:
            text = local_name(name.replace(".", "_"))
            self.free[text] = (type_text(self.values_of(node)) if node is not None else "") or "Tensor"
            self.values[name] = text
            self.read_outside[text] = name
            return text
        return self.store(name) if self.is_setting_or_var(name) else None

    def _attribute_text(self, node: ex.Attribute) -> str:
        """Return a tensor of a layer, a value of a part, or an attribute of a tensor."""
        spelled = ex.spelled(node)
        if spelled is not None and (text := self.value(spelled, node)) is not None:
            return text
        base: Expression = node
        while isinstance(base, ex.Attribute | ex.Subscript):
            base = base.value
        known = {*self.layers, *(self.outer.layers if self.outer else ())}
        values = self.values_of(node)
        if isinstance(base, Name) and base.id in known and node.name not in ATTRIBUTES and values:
            if isinstance(node.value, Name) or (ex.spelled(node.value) or "") in known:
                return f"{python(node.value, self._replace_layer)}.{node.name}"
            named = self.views[0].body.named_parameters(remove_duplicate=False)
            path = next((name for name, one in named if one is values[0]), "")
            if path:
                return f'self.get_parameter("{path}")'
        return f"{bracketed(self.operand(node.value), 20)}.{node.name}"

    def call_function(self, node: Call, name: str, inner: Callable[[Expression], str], forward: bool) -> str:
        """Return the call of a function: torch's, or Python's where no argument is a tensor."""
        function, nodes = FUNCTIONS[name], (*node.arguments, *(k.value for k in node.keywords))
        plain = [one.value if isinstance(one, ex.Starred) else one for one in nodes]
        given = [f"*{inner(p)}" if p is not n else inner(n) for p, n in zip(plain, node.arguments, strict=False)]
        given += [f"{'dim' if k.name == 'axis' else k.name}={inner(k.value)}" for k in node.keywords]
        if function.makes and forward:
            of = next((local_name(n) for n in self.inputs if isinstance(self.views[0].inputs.get(n), Tensor)), "")
            of = of or next((n for n, kind in self.free.items() if kind == "Tensor"), "")
            given += [f"device={of}.device"] if of else []
        text = ", ".join(given)
        if function.target == "own":
            self.module.helpers.add(name)
            return f"{name}({text})"
        of_tensors = any(holds_tensor(value) for one in plain for value in self.values_of(one))
        if function.numbers is not None and not of_tensors:
            place, _, called = function.numbers.partition(".")
            called = "math.prod" if called == "prod" else f"math.{called}" if place == "math" else called
            return f"{called}({text})"
        if function.target == "python":
            return f"list({name}({text}))" if name in ("zip", "enumerate", "reversed") else f"{name}({text})"
        if name == "sum" and len(given) == 1 and all(isinstance(v, list | tuple) for v in self.values_of(plain[0])):
            return f"functools.reduce(operator.add, {text})"
        return f"{'F' if function.target == 'torch.nn.functional' else function.target}.{name}({text})"


def _are_results(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(value, Results) for value in values)


def _read_names(lines: tuple[tree.Line, ...], without: tree.Line | None = None) -> Iterable[str]:
    """Return the names that the expressions of lines read."""
    inside = [*tree.statements((without,))] if without is not None else []
    for line in (one for one in tree.statements(lines) if one not in inside):
        for top in tree.expressions(line):
            yield from (node.id for node in ex.walk(top) if isinstance(node, Name))
