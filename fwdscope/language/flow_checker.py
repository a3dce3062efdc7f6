"""Checks lines in order: what each defines, what flows into the next line, and what nothing reads.

The lines of the section ``graph`` come in any order, and are sorted by what they read.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.budget import move_to
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.expression_checker import ExpressionChecker
from fwdscope.language.names import CONSTRUCTORS, OWN_TENSORS, suggestion
from fwdscope.language.problems import Cause, Span
from fwdscope.language.scope import NOTHING, Binding, CheckContext, Definition, FlowState, UncalledLayer, Value, join
from fwdscope.limits import limit

K = TypeVar("K", bound=Hashable)


class FlowChecker:
    """Checks the lines of a body."""

    def __init__(self, context: CheckContext, expressions: ExpressionChecker) -> None:
        self.context = context
        self.expressions = expressions
        # Lines whose value does not flow into the next one.
        self.outside_flow: set[Span] = set()
        # Lines with a problem of their own, of which it is not reported that nothing reads them.
        self.wrong: set[Span] = set()
        self.module_lines: set[Span] = set()
        # Lines whose value is a number, a string or a list of such.
        self.plain: set[Span] = set()
        # The names of layers, parts, Parameters and Buffers, by the place of the body or part that they are in.
        self.given: dict[Span, set[str]] = {}

    def check_lines(self, lines: tuple[tree.Line, ...]) -> None:
        """Check the lines of one scope, in order."""
        body = self.context.body
        outer, body.later = body.later, {**body.later, **{named.name: named.span for named in _defined_names(lines)}}
        for line in lines:
            move_to(line.span)
            match line:
                case tree.Statement():
                    self.check_statement(line)
                case tree.PartLine():
                    self._check_part(line)
                case tree.If():
                    self._check_choice(line)
                case tree.Modules():
                    self._check_modules(line)
                case tree.For():
                    self._check_for(line)
                case tree.While():
                    if line.limit is not None:
                        value, most = self.expressions.operand(line.limit), limit("items")
                        whole = not value.known or (type(value.constant) is int and 0 < value.constant <= most)
                        if value.kind == "tensor" or not whole:
                            message = f"limit: is {self.context.text(line.limit)}"
                            help = f"write a whole number from 1 to {most:_}"
                            self.context.report(line.limit.span, message, help, "type")
                    self.expressions.operand(line.test)
                    self._check_loop(line.body)
                    self.expressions.operand(line.test)
                    self._refuse_layers_of_rounds(line)
        body.later = outer

    def _check_for(self, line: tree.For) -> None:
        """Check a loop that is unrolled. Where it has a name, its layers are named within it."""
        context = self.context
        self.expressions.bind_loop_names(line.target, line.iterable)
        if line.name_span is None:
            self._check_loop(line.body)
            return
        self._claim_name(line.name, line.name_span, "loop")
        # Its layers are named within it, so that another loop may have the same names.
        owner, context.body.owner = context.body.owner, line.span
        around, context.state.layers[0] = context.state.layers[0], {}
        self._check_loop(line.body)
        context.body.owner, context.state.layers[0] = owner, around
        value = context.state.prev or NOTHING
        inner = {named.name: context.state.frames[0][named.name] for named in _defined_names(line.body)}
        found = Binding("part", line.name_span, value, context.state.flow, UncalledLayer(line.name), inner)
        context.state.frames[0][line.name] = found

    def _check_modules(self, line: tree.Modules) -> None:
        """Check layers that lines call by name, and bind their names."""
        context = self.context
        self.module_lines.add(line.span)
        for entry in line.entries:
            reported = len(context.problems)
            inner: dict[str, Binding] = {}
            for one in entry.entries or (entry,):
                value = self.expressions.visit(one.value)
                good = value.kind == "layer" or (value.kind == "layers" and not entry.entries)
                if not good and value.kind != "unknown" and not isinstance(one.value, ex.Unparsed):
                    message = f"modules: {one.name} is no layer: {one.text}"
                    help = f"write `{one.name}: Linear(8)`, or the line `{one.name} = {one.text}` below"
                    context.report(one.value.span, message, help, "type")
                inner[one.name] = Binding("module", one.span, value, layer=value.layer)
            self._claim_name(entry.name, entry.span, "layer")
            found = frozenset([self._definition(entry.span, entry.name, line.span)])
            value = Value("layers") if entry.entries else inner[entry.name].value
            layer = value.layer or UncalledLayer(entry.name)
            names = {name: binding._replace(definitions=found) for name, binding in inner.items()}
            binding = Binding("module", entry.span, value, found, layer, names if entry.entries else None)
            context.state.frames[0][entry.name] = binding
            if len(context.problems) > reported:
                context.mark_read(found)

    def _refuse_layers_of_rounds(self, loop: tree.While) -> None:
        """Report layers that a line in a ``while`` makes: how many there would be, the data decide."""
        layers = self.expressions.names
        for line in tree.statements(loop.body):
            nodes = [n for top in tree.expressions(line) for n in ex.walk(top)]
            own = [n for n in nodes if isinstance(n, Name) and self.context.state.find(n.id) is None]
            made = next((n for n in own if layers.is_layer_type(n.id) or n.id in CONSTRUCTORS), None)
            if made is None:
                continue
            call = next((n for n in nodes if isinstance(n, Call) and n.function is made), made)
            target = line.target if isinstance(line, tree.Statement) else None
            name = target.name if isinstance(target, ex.NameTarget) else made.id.lower()
            help = f"write `{name}: {self.context.text(call)}` under `modules:` above the loop, and here `{name}(prev)`"
            if made.id in OWN_TENSORS or isinstance(line, tree.Modules):
                help = "move this line above the loop"
            message = f"{made.id} is made in a `while`, whose rounds the data decide"
            self.context.report(line.span, message, help, "flow")

    def _check_loop(self, body: tuple[tree.Line, ...]) -> None:
        """Check a body that runs any number of times: its start may read what its end defines."""
        context = self.context
        before = context.state.copy()
        self.check_lines(body)
        context.state = join(before, context.state)
        reported, wrong = len(context.problems), self.wrong.copy()
        self.check_lines(body)
        del context.problems[reported:]  # the first pass reported them
        self.wrong = wrong
        context.state = join(before, context.state)

    def _check_choice(self, line: tree.If) -> None:
        context = self.context
        help = "write `where(condition, a, b)`; `if:` chooses by vars, settings and shapes"
        self.expressions.refuse_data(self.expressions.operand(line.test), line.test, "if:", help)
        before = context.state
        context.state = before.copy()
        self.check_lines(line.then)
        then = context.state
        context.state = before.copy()
        self.check_lines(line.orelse)
        context.state = join(then, context.state)

    def _check_part(self, line: tree.PartLine) -> None:
        context = self.context
        self._claim_name(line.name, line.span, "part")
        outer = context.state
        prev, flow = outer.prev, outer.flow
        if line.inputs is not None:
            values = [self.expressions.operand(node) for node in line.inputs]
            if len(values) != 1:
                help = "make it a block: `Branch()(x, y):`"
                context.report(line.span, f"a part takes one input, found {len(values)}", help, "type")
            prev = values[0] if values else None
            flow = frozenset([Definition(line.span, line.name, line.span, input=True, read=True)])
        context.state = FlowState([{}, *outer.frames], prev, flow, [{}, *outer.layers])
        owner, context.body.owner = context.body.owner, line.span
        self.check_lines(line.body)
        context.body.owner = owner
        inner = context.state
        result = self._result_of_shapes(line.body)
        value, found = inner.prev or NOTHING, inner.flow
        if result is not None:
            context.mark_read(result)
            own = self._definition(line.span, line.name, line.span)
            own.outside_flow = True
            value, found = Value("tensor", False), frozenset([own])
            self.outside_flow.add(line.span)
        else:
            prev, flow = inner.prev, inner.flow
        context.state = FlowState(inner.frames[1:], prev, flow, inner.layers[1:])
        layer, names = UncalledLayer(line.name), inner.frames[0]
        context.state.frames[0][line.name] = Binding("part", line.span, value, found, layer, names)

    def _claim_name(self, name: str, span: Span, what: str) -> None:
        context = self.context
        first = context.state.layers[0].get(name)
        if first is not None and first != span:
            again = f"; to apply the same layer again, call it: `{name}({context.example_input()})`"
            help = f"each layer needs a name of its own{'' if name.isdigit() or what == 'loop' else again}"
            cause = Cause("first used here", first)
            context.report(span, f"{name} names two layers", help, "name", (cause,))
            return
        binding = context.state.find(name)
        if binding is not None and binding.kind in ("input", "setting", "var"):
            kind = f"{'an' if binding.kind == 'input' else 'a'} {binding.kind}"
            cause = Cause(f"the {binding.kind} {name}", binding.span)
            message = f"the {what} {name} has the name of {kind}"
            context.report(span, message, "give it another name", "name", (cause,))
            return
        context.state.layers[0][name] = span
        self.given.setdefault(context.body.owner, set()).add(name)

    def check_statement(self, line: tree.Statement) -> None:
        """Check a line that computes: its value, the names it defines, and whether it flows."""
        reported, flow = len(self.context.problems), self.context.state.flow
        call = line.value
        name = call.function.id if isinstance(call, Call) and isinstance(call.function, Name) else ""
        if isinstance(call, Call) and name in OWN_TENSORS and name not in self.context.blocks:
            self._check_own_tensor(line, call, name)
        elif pairs := self._own_tensors(line):
            help = f"write each on a line of its own: {', '.join(f'`{one} = {made}`' for one, made in pairs)}"
            self.context.report(line.value.span, "a Parameter or a Buffer needs a line of its own", help, "type")
        else:
            self._check_computation(line)
        if len(self.context.problems) > reported or isinstance(line.value, ex.Unparsed):
            self.wrong.add(line.span)
            self.context.mark_read(flow)  # the line may have been meant to read it

    def _own_tensors(self, line: tree.Statement) -> list[tuple[str, str]]:
        """Return the names and texts of ``a, b = Parameter(…), Buffer(…)``."""
        if not (isinstance(line.target, ex.TupleTarget) and isinstance(line.value, ex.TupleOrList)):
            return []
        own = [isinstance(n, Call) and ex.spelled(n.function) in OWN_TENSORS for n in line.value.items]
        names = [leaf.name for leaf in ex.leaves(line.target) if isinstance(leaf, ex.NameTarget)]
        if not any(own) or len(names) != len(own):
            return []
        for named in ex.targets(line.target):
            self._define_name(named, named.span, line.span, NOTHING, None, False)
        return list(zip(names, map(self.context.text, line.value.items), strict=True))

    def _check_computation(self, line: tree.Statement) -> None:
        context = self.context
        value, layer = self._line_value(line)
        if line.promise is not None:
            self.check_shape(line.promise.shape)
        if value.kind == "layers" and not context.in_graph:
            name = line.target.name if isinstance(line.target, ex.NameTarget) else "layers"
            example = context.example_input()
            help = f"make them under `modules:`, `{name}: {line.text}`, and call them by number: `{name}[0]({example})`"
            context.report(line.value.span, "a list of layers cannot be made on a line", help, "type")
            value = NOTHING
        self.plain |= {line.span} if value.kind == "plain" else set()
        flows = value.kind == "unknown" or (value.kind == "tensor" and value.reached)
        if value.several and isinstance(line.target, ex.NameTarget):
            flows = False  # a list of tensors, kept for later lines
        definitions = self._define(line, value, layer, flows)
        if context.in_graph:
            return
        if flows:
            # A tensor flows, whatever is wrong with the line that makes it.
            context.state.prev = Value("tensor", True) if value.kind == "unknown" else value
            context.state.flow = definitions
            return
        self.outside_flow.add(line.span)

    def _check_own_tensor(self, line: tree.Statement, call: Call, kind: str) -> None:
        """Check ``table = Buffer(rand(20, 20))``: a tensor of the body's own."""
        report, values = self.context.report, self.expressions.calls.arguments(call)
        if not isinstance(line.target, ex.NameTarget):
            help = f"write `name = {line.text}` and read `name` on a later line"
            report(line.span, f"a {kind} needs a name", help, "flow")
            return
        if len(call.arguments) != 1 or call.keywords:
            report(call.span, f"{kind} takes one tensor", f"write `{kind}(zeros(8))`", "type")
        elif values[0].kind == "plain":
            shown = self.context.text(call.arguments[0])
            size = shown if type(values[0].constant) is int else 8
            help = f"write `zeros({size})`, `ones({size})`, `randn({size})` or `tensor([1.0, 2.0])`"
            report(call.arguments[0].span, f"a {kind} holds a tensor, found {shown}", help, "type")
        elif values[0].kind == "tensor" and values[0].reached:
            help = "its shape may use sizes: `zeros(x.shape[1])`"
            report(call.span, f"a {kind} cannot be computed from the values of an input", help, "flow")
        if line.promise is not None:
            self.check_shape(line.promise.shape)
        self._claim_name(line.target.name, line.target.span, kind)
        self._define(line, Value("tensor", False), None, False)
        if not self.context.in_graph:
            self.outside_flow.add(line.span)

    def _line_value(self, line: tree.Statement) -> tuple[Value, UncalledLayer | None]:
        node, context = line.value, self.context
        value = self.expressions.visit(node)
        if value.kind == "layer":
            if context.in_graph:
                help = f"write `{self.expressions.callable_text(node)}({context.example_input()})`"
                message = "a line of a graph must name its inputs"
                return context.report(node.span, message, help, "flow"), value.layer
            binding = context.state.find(node.id) if isinstance(node, Name) else None
            shared = (binding is not None and binding.kind in ("module", "turn")) or isinstance(node, ex.Subscript)
            return self._flow_into(node, value), None if shared else value.layer
        if not (isinstance(node, Call) and self._makes_layer(node.function)):
            return value, None
        reported = len(context.problems)
        made = self.expressions.visit(node.function)
        del context.problems[reported:]
        return value, made.layer

    def _makes_layer(self, function: Expression) -> bool:
        """Whether calling this makes a layer of its own: ``Linear(8)``, ``(6 * Block())``, a setting ``act``."""
        match function:
            case Call(function=inner):
                return ex.is_type_name(inner)
            case ex.Binary(operator="*", right=right):
                return self._makes_layer(right) or isinstance(right, Name)
            case Name(id=name):
                binding = self.context.state.find(name)
                return binding is not None and binding.kind == "setting" and binding.value.kind == "layer"
        return False

    def _flow_into(self, node: Expression, value: Value) -> Value:
        context, layer = self.context, value.layer
        signature = layer.signature if layer is not None else None
        if layer is not None and signature is not None and not signature.parameters:
            form = self.expressions.callable_text(node)
            message = f"{layer.name} takes no input, and the line above would flow into it"
            return context.report(node.span, message, f"call it: `name = {form}()`", "type")
        if context.state.prev is None:
            return self.expressions.names.previous(node.span)
        context.mark_read(context.state.flow)
        if layer is not None and signature is not None and signature.bind(1, []):
            names, form = [p.name for p in signature.parameters if p.required], self.expressions.callable_text(node)
            known = [name if context.state.find(name) else context.example_input() for name in names]
            above = {d.line for d in context.state.flow}
            unpacked = [d.name for d in context.body.definitions.values() if d.line in above and d.unpacked]
            help = f"write `{form}({', '.join(unpacked if len(unpacked) == len(names) else known)})`"
            if not unpacked and layer.layer is None:
                letters = ", ".join("abcdefgh"[: len(names)])
                help += f"; results of the line above are unpacked first: `{letters} = …`, then `{form}({letters})`"
            message = f"{layer.name} needs {', '.join(names)}; only one value flows into it from the line above"
            context.report(node.span, message, help, "type")
            context.mark_read(d for d in context.body.definitions.values() if d.line in above)
        return Value("tensor", context.state.prev.reached and not (layer is not None and layer.of_shapes))

    def _define(
        self, line: tree.Statement, value: Value, layer: UncalledLayer | None, flows: bool
    ) -> frozenset[Definition]:
        """Bind the names of a line. Returns what the next line reads of it."""
        target, context = line.target, self.context
        if isinstance(target, ex.TupleTarget):
            if value.kind == "plain" and value.known and not isinstance(value.constant, tuple | list):
                message = f"{line.text} is a single value and cannot be unpacked"
                context.report(line.value.span, message, "give it one name", "type")
            names = ex.targets(target)
            defined = [self._define_name(named, named.span, line.span, value, None, flows) for named in names]
            # The first item flows on.
            return defined[0] if isinstance(ex.leaves(target)[0], ex.NameTarget) else frozenset()
        if isinstance(target, ex.NameTarget):
            if layer is not None:
                self._claim_name(target.name, target.span, "layer")
            before = context.state.frames[0].get(target.name)
            kept = layer or (before.layer if before else None)
            found = self._define_name(target, line.span, line.span, value, kept, flows)
            call = line.value
            if layer is not None and not (isinstance(call, Call) and self._makes_layer(call.function)):
                for definition in found:
                    definition.made = context.text(call)
            return found
        if isinstance(target, ex.NumberTarget):
            if layer is not None:
                self._claim_name(str(target.number), target.span, "layer")
            elif value.kind != "unknown":
                message = "a number is only a path for a layer, and this line makes no layer"
                context.report(target.span, message, "give the line a name", "type")
        if target is None and layer is not None:
            context.body.unnamed.setdefault(layer.name.lower(), []).append(line.span)
        definition = self._definition(line.span, "", line.span)
        definition.read |= isinstance(target, ex.DiscardTarget)
        definition.outside_flow = not flows
        return frozenset([definition])

    def _define_name(
        self, named: ex.NameTarget, span: Span, line: Span, value: Value, layer: UncalledLayer | None, flows: bool
    ) -> frozenset[Definition]:
        definition = self._definition(span, named.name, line)
        definition.unpacked, definition.outside_flow = span != line, not flows
        definition.read |= named.name in self.context.body.read_too_early
        found = frozenset([definition])
        self.context.state.frames[0][named.name] = Binding("value", named.span, value, found, layer)
        return found

    def _definition(self, span: Span, name: str, line: Span) -> Definition:
        """Return the one definition at a place, however often the body of a loop is checked."""
        return self.context.body.definitions.setdefault((span, name), Definition(span, name, line))

    def check_shape(self, shape: Expression) -> None:
        """Check a promised or expected shape: numbers, vars, settings, ``_``."""
        context = self.context
        if isinstance(shape, Name) and shape.id == "_":
            return
        if isinstance(shape, ex.TupleOrList):
            kinds = {isinstance(i, ex.TupleOrList) for i in shape.items if not (isinstance(i, Name) and i.id == "_")}
            if len(kinds) == 2:
                help = "one tensor has `(B, 10)`, several results have `((B, 10), (B, 3))`"
                context.report(shape.span, f"{context.text(shape)} mixes sizes and shapes", help, "type")
            for item in shape.items:
                self.check_shape(item)
            return
        if isinstance(shape, Name) and context.state.find(shape.id) is None and shape.id not in context.body.later:
            plain = {name: b.value for frame in context.state.frames for name, b in frame.items()}
            sizes = [n for n, v in plain.items() if v.kind == "plain" and (not v.known or type(v.constant) is int)]
            help = suggestion(shape.id, sizes, what="sizes in scope:") if sizes else "write whole numbers and _"
            context.report(shape.span, f"unknown size {shape.id}", help)
            return
        value = self.expressions.operand(shape)
        if value.kind == "tensor" or (value.known and (type(value.constant) is not int or value.constant < 0)):
            help = "a shape holds whole numbers, vars, settings and _"
            context.report(shape.span, f"{context.text(shape)} is not a size", help, "type")

    def _result_of_shapes(self, lines: tuple[tree.Line, ...]) -> frozenset[Definition] | None:
        """Return what the last line defines if it stands beside the flow: it is the result, and so flows on."""
        last = lines[-1] if lines else None
        if last is None or last.span not in self.outside_flow or last.span in self.wrong:
            return None
        definitions = self.context.body.definitions.values()
        found = frozenset([one for one in definitions if one.line == last.span])
        if isinstance(last, tree.PartLine):
            found = self.context.state.frames[0][last.name].definitions
        self.outside_flow.discard(last.span)
        return found

    def close_body(self, lines: tuple[tree.Line, ...], block: str | None = None) -> None:
        """Check the result of a body, and report what nothing reads. That of a ``block`` may rest on shapes alone."""
        last, result = lines[-1] if lines else None, self._result_of_shapes(lines)
        if result is not None and last is not None:
            self.context.mark_read(result)
            if not any(self._reached(one.name) for one in result):
                if block is not None and last.span not in self.plain:
                    self.context.of_shapes.add(block)
                else:
                    message = "the last line's value is the result, and this one depends on no input"
                    self.context.report(last.span, message, "end with a line that depends on an input", "flow")
                    self.wrong.add(last.span)
        self.context.mark_read(self.context.state.flow)
        self.report_unread(self.context.body.definitions.values())

    def _reached(self, name: str) -> bool:
        """Whether the value of a name depends on an input: a list of tensors that do stands beside the flow too."""
        binding = self.context.state.find(name) if name else None
        return binding is not None and binding.value.reached

    def report_unread(self, definitions: Iterable[Definition]) -> None:
        """Report definitions that nothing reads."""
        for definition in definitions:
            name = definition.name
            if not definition.unread or definition.line in self.wrong or name in self.context.broken_names:
                continue
            what = f"the input {name}" if definition.input else name or "this line"
            message = f"nothing reads {what}"
            if definition.input:
                help = "read it by its name on some line, or remove it"
            elif definition.shape_read:
                message = f"nothing reads the values of {what}, only their shape"
                help = "read it by `prev` or by its name, or remove it"
            elif definition.line in self.module_lines:
                binding = self.context.state.find(name)
                several = binding is not None and binding.value.kind == "layers"
                item = f".{next(iter(binding.inner))}" if binding and binding.inner else "[0]" * several
                message, help = f"{name} is never called", f"call it on a line below: `{name}{item}(x)`, or remove it"
            elif definition.unpacked:
                help = "write `_` in its place"
            elif definition.made and definition.called:
                message = f"nothing reads what {name} makes of the line above"
                help = f"make the layer where it is first called: `{name} = {definition.made}{definition.called}`"
            elif definition.outside_flow and name:
                help = "read it by its name on a later line, or remove it"
            elif definition.outside_flow:
                message += ": its value comes from no input, so it does not flow, and it has no name"
                shown = self.context.spec.source[definition.line].partition("->")[0]
                help = f"write `name = {' '.join(shown.split())}` and read `name` on a later line, or remove it"
            elif name:
                message += ", not even the next line"
                help = f"use `prev` in the next line, or `{what}` in a later one"
            else:
                message += ", not even the next one"
                help = "use `prev` in the next line, or give this one a name that a later line reads"
            self.context.report(definition.span, message, help, "flow")

    # -- graphs -------------------------------------------------------------------------------------------------------

    def check_graph(self) -> tuple[tree.Line, ...]:
        """Check the lines of a graph. Returns them, each after the lines that it reads."""
        context = self.context
        context.in_graph = True
        context.state.prev, context.state.flow = None, frozenset()
        reported = len(context.problems)
        order = self._sort_lines(*self._graph_lines())
        for named in (n for line in order for n in ex.targets(line.target)):
            # A circle leaves names without a value. It is reported once, as the circle.
            context.state.frames[0].setdefault(named.name, Binding("value", named.span, NOTHING))
        for line in order:
            self.check_statement(line)
        if len(context.problems) == reported and not context.spec.broken:
            self._check_result(order)
        context.in_graph = False
        return tuple(order)

    def _graph_lines(self) -> tuple[list[tree.Statement], dict[str, tree.Statement]]:
        report = self.context.report
        defined: dict[str, tree.Statement] = {}
        lines: list[tree.Statement] = []
        for line in self.context.spec.layers:
            if not isinstance(line, tree.Statement):
                word = "modules:" if isinstance(line, tree.Modules) else f"the part {getattr(line, 'name', '')}"
                if isinstance(line, tree.For | tree.If | tree.While):
                    word = f"{line.text.split()[0]}:"
                help = "write it under `layers:`, or make it a block"
                report(line.span, f"{word} is not allowed in a graph", help, "flow")
                continue
            if isinstance(line.value, ex.Unparsed):
                continue
            names = ex.targets(line.target)
            if not names:
                report(line.span, "a line of a graph needs a name", f"write `name = {line.text}`", "flow")
                continue
            reported = len(self.context.problems)
            for named in names:
                first, binding = defined.get(named.name), self.context.state.find(named.name)
                if found := first or binding:
                    text = f"the {binding.kind} {named.name}" if binding and not first else "first used here"
                    help = "in a graph each name is defined once"
                    report(named.span, f"{named.name} is given twice", help, "name", (Cause(text, found.span),))
            defined |= {named.name: line for named in names if named.name not in defined}
            if len(self.context.problems) == reported:
                lines.append(line)
        return lines, defined

    def _sort_lines(self, lines: list[tree.Statement], defined: dict[str, tree.Statement]) -> list[tree.Statement]:
        by_span = {line.span: line for line in lines}

        def uses(span: Span) -> list[Span]:
            nodes = ex.walk(by_span[span].value)
            names = dict.fromkeys(n.id for n in nodes if isinstance(n, Name) and n.id in defined)
            return [defined[name].span for name in names if defined[name].span in by_span]

        order, circles = sort_by_use(by_span, uses)
        for circle in circles:
            names = [ex.targets(by_span[span].target)[0].name for span in circle]
            causes = tuple(Cause(f"{a} reads {b}", span) for a, b, span in zip(names, names[1:], circle, strict=False))
            message = f"these lines depend on themselves: {' → '.join(names)}"
            self.context.report(circle[0], message, "let one of them read something else", "flow", causes)
        return [by_span[span] for span in order]

    def _check_result(self, order: list[tree.Statement]) -> None:
        """Check that exactly one line is read by no other: the result."""
        definitions = self.context.body.definitions.values()
        ends = []
        for line in order:
            own = [d for d in definitions if d.line == line.span]
            if own and all(d.unread for d in own):
                ends.append(line)
            else:
                self.report_unread(own)
        self.report_unread(d for d in definitions if d.input)
        if len(ends) > 1:
            names = [ex.targets(line.target)[0].name for line in ends]
            causes = tuple(Cause(f"{name} = {line.text}", line.span) for name, line in zip(names, ends, strict=True))
            help = "the result is the line that no other reads: let a line read the others, or remove them"
            message = f"no line reads {', '.join(names[:-1])} or {names[-1]}"
            self.context.report(ends[0].span, message, help, "flow", causes)


def _defined_names(lines: tuple[tree.Line, ...]) -> Iterable[ex.NameTarget]:
    """Yield the names that the lines of one scope define; those inside a part are the part's."""
    for line in lines:
        match line:
            case tree.Statement(target=target):
                yield from ex.targets(target)
            case tree.For(body=body) | tree.While(body=body):
                yield from _defined_names(body)
            case tree.If(then=then, orelse=orelse):
                yield from _defined_names((*then, *orelse))
            case tree.Modules(entries=entries):
                yield from (ex.NameTarget(entry.name, entry.span) for entry in entries)


def sort_by_use(items: Iterable[K], uses: Callable[[K], Iterable[K]]) -> tuple[list[K], list[list[K]]]:
    """Return all items, each after those it uses and otherwise in the given order, and the circles among them.

    A circle is a path that ends where it starts; no two share an item. There is no recursion, since a file may have
    50,000 items in a row.
    """
    order: list[K] = []
    circles: list[list[K]] = []
    done: dict[K, bool] = {}
    for start in items:
        path = [] if start in done else [(start, iter(uses(start)))]
        done.setdefault(start, False)
        while path:
            item, rest = path[-1]
            for used in rest:
                if used not in done:
                    done[used] = False
                    path.append((used, iter(uses(used))))
                    break
                if not done[used]:
                    names = [name for name, _ in path]
                    circles.append([*names[names.index(used) :], used])
            else:
                path.pop()
                done[item] = True
                order.append(item)
    # The first circle of each group that shares items.
    kept: list[list[K]] = []
    seen: set[K] = set()
    for circle in circles:
        if not seen & set(circle):
            seen.update(circle)
            kept.append(circle)
    return order, kept
