"""A spec's names, types and flow, checked from the text: the second stage, before torch is loaded.

:func:`check` says what every later stage needs to know of a file (values of vars, lines in running order, what stands beside the
flow), or raises SpecError with all that is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fwdscope.layers import LAYERS
from fwdscope.layers.functions import FUNCTIONS
from fwdscope.spec import arithmetic, tree
from fwdscope.spec import expression as ex
from fwdscope.spec.calls import OWN_TENSORS, SERIES, Expressions
from fwdscope.spec.evaluate import Plain
from fwdscope.spec.expression import Call, Expression, Name
from fwdscope.spec.names import listed, suggestion
from fwdscope.spec.problems import Cause, Problem, Span, SpecError
from fwdscope.spec.scope import (
    NOTHING, PLAIN, Binding, Definition, State, Template, Value, block_signature, joined, merged, tensor,
)  # fmt: skip

# torch.nn.init's functions without the underscore, and the settings each takes by keyword or position.
INITIALISERS: dict[str, tuple[str, ...]] = {
    "uniform": ("a", "b"),
    "normal": ("mean", "std"),
    "trunc_normal": ("mean", "std", "a", "b"),
    "constant": ("val",),
    "ones": (),
    "zeros": (),
    "eye": (),
    "dirac": ("groups",),
    "xavier_uniform": ("gain",),
    "xavier_normal": ("gain",),
    "kaiming_uniform": ("a", "mode", "nonlinearity"),
    "kaiming_normal": ("a", "mode", "nonlinearity"),
    "orthogonal": ("gain",),
    "sparse": ("sparsity", "std"),
}


@dataclass(frozen=True)
class Note:
    """Something right but worth knowing: a block that hides torch's layer."""

    span: Span
    text: str


@dataclass(frozen=True)
class Checked:
    """A spec whose text holds no mistake, and what reading it showed."""

    spec: tree.ModelSpec
    # The values of vars, in the file's order.
    variables: Mapping[str, Any]
    # The model's lines in running order.
    layers: tuple[tree.Line, ...]
    # Lines whose value stands beside the flow.
    beside: frozenset[Span]
    # Names given to layers, parts, Parameters and Buffers, by the place of the block or part that they stand in (the section
    # ``layers`` for the model): default paths are numbered around them.
    given: Mapping[Span, frozenset[str]] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    allow_import: bool = False


def check(spec: tree.ModelSpec, allow_import: bool = False) -> Checked:
    """Check names, types and flow. Raises SpecError with every problem that the text shows."""
    return _Checker(spec, allow_import).run()


@dataclass
class _Body:
    """What one body (the model's, a block's) has made while it is read."""

    definitions: dict[tuple[Span, str], Definition] = field(default_factory=dict)
    where: str = ""


class _Checker(Expressions):
    def __init__(self, spec: tree.ModelSpec, allow_import: bool) -> None:
        super().__init__(spec, allow_import)
        self.beside: set[Span] = set()
        self.notes: list[Note] = []
        self.body = _Body()
        self.given: dict[Span, set[str]] = {}
        self.owner = spec.layers_span
        self.layer_settings_of: set[tuple[str, str]] = set()

    def run(self) -> Checked:
        spec = self.spec
        variables = self.variables()
        constants = {name: value.constant for name, value in variables.items() if value.known}
        top: dict[str, Binding] = {}
        for variable in spec.variables:
            top[variable.name] = Binding("var", variable.span, variables.get(variable.name, NOTHING))
        self.find_layer_settings()
        self.defaults(top)
        for block in spec.blocks:
            self.block(block, top)
        self.refuse_endless_blocks()
        order = self.model(top)
        self.initialisers(top)
        if self.problems:
            raise SpecError(self.problems)
        for block in spec.blocks:
            if block.name in LAYERS:
                self.notes.append(
                    Note(block.span, f"the block {block.name} stands for torch's layer of that name in this file")
                )
        given = {span: frozenset(names) for span, names in self.given.items()}
        return Checked(spec, constants, order, frozenset(self.beside), given, tuple(self.notes), self.allow_import)

    # -- vars ---------------------------------------------------------------------------------------------------------

    def variables(self) -> dict[str, Value]:
        """The values of vars, each computed after those it uses; a circle is named with its path."""
        by_name = {v.name: v for v in self.spec.variables}
        values: dict[str, Value] = {}
        for name in by_name:
            self.variable(name, by_name, values, [])
        return values

    def variable(self, name: str, by_name: dict[str, tree.Variable], values: dict[str, Value], path: list[str]) -> None:
        if name in values:
            return
        if name in path:
            circle = [*path[path.index(name) :], name]
            span = by_name[circle[0]].span
            self.problem(span, f"vars in a circle: {' → '.join(circle)}", "give one of them a number", "name")
            values.update(dict.fromkeys(circle, NOTHING))
            return
        variable = by_name[name]
        for node in ex.walk(variable.value):
            if isinstance(node, Name) and node.id in by_name:
                self.variable(node.id, by_name, values, [*path, name])
        if name in values:
            return
        self.state = State([{n: Binding("var", by_name[n].span, v) for n, v in values.items()}])
        value = self.operand(variable.value)
        if value.kind == "tensor" or value.kind == "template":
            self.problem(
                variable.value.span,
                f"the var {name} is a tensor",
                "vars are numbers, strings, booleans and lists; a tensor is an input or a Buffer",
                "type",
            )
            value = NOTHING
        elif not value.known and value.kind == "plain":
            value = self.listed_value(variable.value)
        values[name] = value

    def listed_value(self, node: Expression) -> Value:
        """The value of a comprehension or another expression that is not folded on the way."""
        names = {n: b.value.constant for frame in self.state.frames for n, b in frame.items() if b.value.known}
        try:
            return Value("plain", constant=Plain(names).evaluate(node))
        except arithmetic.ArithmeticProblem as error:
            return self.problem(node.span, error.message, error.help, error.code)

    # -- blocks -------------------------------------------------------------------------------------------------------

    def find_layer_settings(self) -> None:
        """Which settings of blocks are layers, by their defaults and by what calls hand them, through any number of blocks."""
        uses = list(self.block_calls())
        found: set[tuple[str, str]] = set()
        for block in self.spec.blocks:
            found |= {
                (block.name, p.name)
                for p in block.settings
                if p.default is not None and self.looks_like_layer(p.default)
            }
        while True:
            more = {
                (name, setting)
                for inside, name, setting, node in uses
                if self.looks_like_layer(node) or (isinstance(node, Name) and (inside, node.id) in found)
            }
            if more <= found:
                break
            found |= more
        self.layer_settings_of = found

    def block_calls(self) -> list[tuple[str, str, str, Expression]]:
        """(calling block, called block, setting, what it is given), for every call of a block in the file."""
        uses = []
        for inside, lines in [("", self.spec.layers), *((b.name, b.body) for b in self.spec.blocks)]:
            for node in (n for line in tree.statements(lines) for top in _expressions(line) for n in ex.walk(top)):
                if isinstance(node, Call) and isinstance(node.function, Name) and node.function.id in self.blocks:
                    block = self.blocks[node.function.id]
                    for parameter, argument in zip(block.settings, node.arguments, strict=False):
                        uses.append((inside, block.name, parameter.name, argument))
                    uses += [(inside, block.name, k.name, k.value) for k in node.keywords]
        return uses

    def looks_like_layer(self, node: Expression) -> bool:
        match node:
            case Name(id=name):
                return name in self.blocks or name in LAYERS
            case Call(function=function):
                name = ex.spelled(function)
                return name is not None and name.rpartition(".")[2][:1].isupper()
            case ex.Binary(operator="*", right=right):
                return self.looks_like_layer(right)
            case ex.Conditional(body=body, orelse=orelse):
                return self.looks_like_layer(body) or self.looks_like_layer(orelse)
        return False

    def defaults(self, top: dict[str, Binding]) -> None:
        self.state = State([dict(top)])
        for call in self.spec.defaults:
            assert isinstance(call.function, Name)
            name = call.function.id
            if name in self.blocks:
                self.problem(
                    call.function.span,
                    f"{name} is a block of this file",
                    f"give its settings defaults in its head: `{name}(width=64):`",
                    "type",
                )
                for keyword in call.keywords:
                    self.operand(keyword.value)
            elif name not in LAYERS:
                self.unknown(name, call.function.span)
            else:
                before = len(self.problems)
                self.layer_settings(call, LAYERS[name])
                # A default need not give all settings.
                kept = [p for p in self.problems[before:] if not p.message.startswith(f"{name} wants ")]
                self.problems[before:] = kept

    def block(self, block: tree.Block, top: dict[str, Binding]) -> None:
        settings: dict[str, Binding] = {}
        self.state = State([settings, dict(top)])
        for parameter in block.settings:
            if parameter.default is not None:
                self.visit(parameter.default)
            layer = (block.name, parameter.name) in self.layer_settings_of
            value = Value("template", template=Template(parameter.name)) if layer else PLAIN
            settings[parameter.name] = Binding("setting", parameter.span, value)
        self.body = _Body(where=f"the block {block.name}")
        self.owner = block.span
        inputs: dict[str, Binding] = {}
        for parameter in block.inputs:
            if parameter.default is not None:
                self.operand(parameter.default)
            inputs[parameter.name] = self.input(parameter.name, parameter.span)
        first = inputs[block.inputs[0].name] if block.inputs else None
        self.state = State(
            [inputs, settings, dict(top)],
            first.value if first else None,
            first.definitions if first else frozenset(),
            [{}, {}, {}],
        )
        self.lines(block.body)
        self.close(block.body, block.span)

    def input(self, name: str, span: Span) -> Binding:
        definition = Definition(span, f"the input {name}", True, input=True)
        self.body.definitions[span, name] = definition
        return Binding("input", span, tensor(True), frozenset([definition]))

    def refuse_endless_blocks(self) -> None:
        """Blocks that use one another outside any choice never end."""
        uses: dict[str, list[str]] = {}
        for block in self.spec.blocks:
            uses[block.name] = sorted(self.unconditional(block.body))
        told: set[str] = set()

        def follow(name: str, path: list[str]) -> None:
            if name in path:
                circle = [*path[path.index(name) :], name]
                if not told & set(circle):
                    told.update(circle)
                    self.problem(
                        self.blocks[name].span,
                        f"blocks in a circle: {' → '.join(circle)}",
                        "a block may use itself under an `if:` that ends it",
                        "name",
                    )
                return
            for used in uses[name]:
                follow(used, [*path, name])

        for name in uses:
            if name not in told:
                follow(name, [])

    def unconditional(self, lines: tuple[tree.Line, ...]) -> set[str]:
        """Blocks that a body uses whatever is chosen."""
        found: set[str] = set()
        for line in lines:
            match line:
                case tree.Statement(value=value):
                    found |= _mentioned(value, self.blocks)
                case tree.Part(body=body):
                    found |= self.unconditional(body)
        return found

    # -- the model ----------------------------------------------------------------------------------------------------

    def model(self, top: dict[str, Binding]) -> tuple[tree.Line, ...]:
        spec = self.spec
        inputs: dict[str, Binding] = {}
        self.body = _Body(where="the model")
        self.owner = spec.layers_span
        for one in spec.inputs:
            self.state = State([dict(top)])
            self.input_value(one)
            if one.name in top:
                cause = Cause("the var", top[one.name].span)
                self.problem(
                    one.span, f"{one.name} is a var and an input", "give one of them another name", "name", (cause,)
                )
            inputs[one.name] = self.input(one.name, one.span)
        first = inputs[spec.inputs[0].name] if spec.inputs else None
        flow = first.definitions if first else frozenset()
        self.state = State([inputs, dict(top)], first.value if first else None, flow, [{}, {}])
        if spec.graph:
            return self.graph()
        self.lines(spec.layers)
        if spec.layers:
            self.close(spec.layers, spec.layers_span)
        return spec.layers

    def input_value(self, one: tree.Input) -> None:
        before = len(self.problems)
        value = self.operand(one.value)
        if value.kind == "plain" and len(self.problems) == before:
            text = self.text(one.value)
            help = "write `randn(1, 3, 224, 224)`, `rand(…)`, `randint(0, 10, (B, T))`, `zeros(…)` or `ones(…)`"
            self.problem(one.value.span, f"the input {one.name} is {text}, not a tensor", help, "type")

    def graph(self) -> tuple[tree.Line, ...]:
        """The lines of a graph, sorted by what they read."""
        self.in_graph = True
        self.state.prev, self.state.flow = None, frozenset()
        made: dict[str, tree.Statement] = {}
        lines: list[tree.Statement] = []
        for line in self.spec.layers:
            if not isinstance(line, tree.Statement):
                word = line.text.split()[0] + ":" if not isinstance(line, tree.Part) else f"the part {line.name}"
                self.problem(
                    line.span, f"{word} has no place in a graph", "write it under `layers:`, or make it a block", "flow"
                )
                continue
            names = list(ex.targets(line.target))
            if not names:
                self.problem(line.span, "a line of a graph has a name", f"write `name = {line.text}`", "flow")
                continue
            lines.append(line)
            for named in names:
                if named.name in made or self.state.find(named.name):
                    place = made[named.name].span if named.name in made else self.state.find(named.name).span  # type: ignore[union-attr]
                    cause = Cause("first given here", place)
                    self.problem(
                        named.span,
                        f"{named.name} is given twice",
                        "in a graph each name is given once",
                        "name",
                        (cause,),
                    )
                made.setdefault(named.name, line)
        order = self.sorted_lines(lines, made)
        for line in order:
            self.statement(line)
        self.graph_result(order)
        return tuple(order)

    def sorted_lines(self, lines: list[tree.Statement], made: dict[str, tree.Statement]) -> list[tree.Statement]:
        """Lines in an order in which each comes after what it reads; among equals the file's order. A circle is named."""
        order: list[tree.Statement] = []
        state: dict[Span, str] = {}
        path: list[tuple[str, Span]] = []

        def place(line: tree.Statement, name: str) -> None:
            if state.get(line.span) == "done":
                return
            if state.get(line.span) == "open":
                first = next(i for i, (_, span) in enumerate(path) if span == line.span)
                circle = [*(n for n, _ in path[first:]), path[first][0]]
                self.problem(
                    line.span,
                    f"a circle: {' → '.join(circle)}",
                    "each arrow reads the next; let one of them read something else",
                    "flow",
                )
                return
            state[line.span] = "open"
            path.append((name, line.span))
            for used in dict.fromkeys(n.id for n in ex.walk(line.value) if isinstance(n, Name)):
                if used in made:
                    place(made[used], used)
            path.pop()
            state[line.span] = "done"
            order.append(line)

        for line in lines:
            place(line, next(ex.targets(line.target)).name)
        return order

    def graph_result(self, order: list[tree.Statement]) -> None:
        """Exactly one line is read by nothing, and is the result."""
        ends = []
        for line in order:
            definitions = [
                d for (span, _), d in self.body.definitions.items() if line.span.start <= span.start < line.span.end
            ]
            if definitions and all(d.lost for d in definitions):
                ends.append(line)
            else:
                self.report_lost(definitions)
        self.report_lost([d for d in self.body.definitions.values() if d.input])
        if len(ends) > 1:
            names = [next(ex.targets(line.target)).name for line in ends]
            causes = tuple(Cause(name, line.span) for name, line in zip(names, ends, strict=True))
            help = "the result is what no other line reads: let a line read the others, or take them out"
            self.problem(
                ends[0].span, f"{len(ends)} lines are read by nothing: {', '.join(names)}", help, "flow", causes
            )

    # -- lines --------------------------------------------------------------------------------------------------------

    def lines(self, lines: tuple[tree.Line, ...]) -> None:
        """Read the lines of one scope, in order."""
        outer = self.later
        self.later = {
            **outer,
            **{
                n.name: n.span
                for line in tree.statements(lines)
                if isinstance(line, tree.Statement)
                for n in ex.targets(line.target)
            },
        }
        for line in lines:
            self.line(line)
        self.later = outer

    def line(self, line: tree.Line) -> None:
        match line:
            case tree.Statement():
                self.statement(line)
            case tree.Part():
                self.part(line)
            case tree.If():
                self.branch(line)
            case tree.For():
                iterable = self.operand(line.iterable)
                if (
                    iterable.known
                    and iterable.kind == "plain"
                    and not isinstance(iterable.constant, tuple | list | range | str)
                ):
                    self.problem(
                        line.iterable.span,
                        f"{self.text(line.iterable)} cannot be gone through",
                        "write `range(n)`, or a list",
                        "type",
                    )
                self.bind_turns(line.target, iterable)
                self.loop(line.body)
            case tree.While():
                if line.limit is not None:
                    self.while_limit(line.limit)
                self.operand(line.test)
                self.loop(line.body)
                self.operand(line.test)

    def while_limit(self, node: Expression) -> None:
        value = self.operand(node)
        if value.kind == "tensor" or (
            value.known and (type(value.constant) is not int or not 0 < value.constant <= arithmetic.MAX_ITEMS)
        ):
            self.problem(
                node.span, f"limit: is {self.text(node)}", f"a whole number from 1 to {arithmetic.MAX_ITEMS:,}", "type"
            )

    def loop(self, body: tuple[tree.Line, ...]) -> None:
        """A body that runs any number of times: what its end makes may be read at its beginning."""
        before = self.state.copy()
        self.lines(body)
        again = joined(before, self.state, ("", ""))
        told = len(self.problems)
        self.state = again
        self.lines(body)
        del self.problems[told:]  # the first reading told them
        self.state = joined(before, self.state, ("do", "do"))
        for frame in self.state.frames:  # made in every round
            for name, binding in frame.items():
                if binding.branch == "do":
                    frame[name] = Binding(
                        binding.kind, binding.span, binding.value, binding.definitions, binding.layer, binding.inner
                    )

    def branch(self, line: tree.If) -> None:
        test = self.operand(line.test)
        self.refuse_data(test, line.test, "if:")
        self.choices += 1
        before = self.state
        self.state = before.copy()
        self.lines(line.then)
        then = self.state
        self.state = before.copy()
        self.lines(line.orelse)
        self.state = joined(then, self.state, ("then", "else"))
        self.choices -= 1

    def part(self, line: tree.Part) -> None:
        if self.conflict(line.name, line.span, "part"):
            return
        outer = self.state
        prev, flow = outer.prev, outer.flow
        if line.inputs is not None:
            values = [self.operand(node) for node in line.inputs]
            if len(values) != 1:
                self.problem(
                    line.span,
                    f"a part takes one input, found {len(values)}",
                    "make it a block: `Branch()(x, y):`",
                    "type",
                )
            prev = values[0] if values else None
            entering = Definition(line.span, f"the input of {line.name}", False, input=True, read=True)
            flow = frozenset([entering])
        inner = State([{}, *outer.frames], prev, flow, [{}, *outer.layers])
        self.state = inner
        outer_owner, self.owner = self.owner, line.span
        self.lines(line.body)
        self.owner = outer_owner
        self.refuse_beside_end(line.body)
        inner = self.state
        value = inner.prev or NOTHING
        names = inner.frames[0]
        self.state = State(inner.frames[1:], inner.prev, inner.flow, inner.layers[1:])
        self.state.frames[0][line.name] = Binding("part", line.span, value, inner.flow, Template(line.name), names)

    def conflict(self, name: str, span: Span, what: str) -> bool:
        """A layer's or part's name that is already another layer's, an input's, a setting's or a var's."""
        first = self.state.layers[0].get(name) if self.state.layers else None
        if first is not None and first != span:
            cause = Cause("first given here", first)
            self.problem(span, f"{name} names two layers", "a layer's name is given once; to apply the same layer again, call it: "
                         f"`{name}(x)`", "name", (cause,))  # fmt: skip
            return True
        binding = self.state.find(name)
        if binding is not None and binding.kind in ("input", "setting", "var"):
            cause = Cause(f"the {binding.kind} {name}", binding.span)
            self.problem(
                span,
                f"the {what} {name} is called like {'an input' if binding.kind == 'input' else 'a ' + binding.kind}",
                "give it another name",
                "name",
                (cause,),
            )
            return True
        if self.state.layers:
            self.state.layers[0][name] = span
        self.given.setdefault(self.owner, set()).add(name)
        return False

    def statement(self, line: tree.Statement) -> None:
        """One line: what it is, what it names, whether it flows."""
        if self.own_tensor(line):
            return
        value, layer = self.line_value(line)
        if value.kind == "unknown":
            self.read(self.state.flow)  # what is wrong here may well have read it
        if line.promise is not None:
            self.promise(line.promise.shape)
        flows = value.kind in ("tensor", "unknown") and (value.reached or value.kind == "unknown")
        definitions = self.define(line, value, layer, flows)
        if self.in_graph:
            return
        if flows:
            self.state.prev, self.state.flow = value, definitions
        else:
            self.beside.add(line.span)
            if line.target is None:
                what = "makes a number" if value.kind == "plain" else "is reached by no input"
                self.problem(
                    line.span,
                    f"this line {what}, so it stands beside the flow and nothing can read it",
                    f"give it a name: `name = {line.text}`",
                    "flow",
                )

    def own_tensor(self, line: tree.Statement) -> bool:
        """``table = Buffer(rand(20, 20))``: a tensor of the block's own. Whether the line is one."""
        call = line.value
        if not (isinstance(call, Call) and isinstance(call.function, Name) and call.function.id in OWN_TENSORS):
            return False
        kind = call.function.id
        if kind in self.blocks:
            return False
        if not isinstance(line.target, ex.Named):
            self.problem(line.span, f"a {kind} needs a name", f"write `name = {line.text}`", "flow")
            self.arguments(call)
            return True
        if len(call.arguments) != 1 or call.keywords:
            self.problem(call.span, f"{kind} takes one tensor", f"write `{kind}(zeros(8))`", "type")
        values = self.arguments(call)
        if any(v.reached for v in values):
            self.problem(
                call.span,
                f"a {kind} cannot be made from an input's values",
                "its shape may use sizes: `zeros(x.shape[1])`",
                "flow",
            )
        if values and values[0].kind == "plain":
            self.problem(
                call.arguments[0].span if call.arguments else call.span,
                f"a {kind} holds a tensor, found {self.text(call.arguments[0])}",
                "write `zeros(8)`, `ones(8)`, `randn(8, 8)`, `full((8,), 0.5)` or `tensor([1.0, 2.0])`",
                "type",
            )
        if line.promise is not None:
            self.promise(line.promise.shape)
        self.conflict(line.target.name, line.target.span, kind)
        self.define(line, tensor(False), None, False)
        if not self.in_graph:
            self.beside.add(line.span)
        return True

    def line_value(self, line: tree.Statement) -> tuple[Value, Template | None]:
        """The value of a line, and the layer that its name names."""
        node = line.value
        value = self.shared_layer(node) or self.visit(node)
        if value.kind == "template":
            if self.in_graph:
                name = self.text(node)
                call = name if name.endswith(")") else f"{name}()"
                self.problem(node.span, "a line of a graph says its inputs", f"write `{call}(x)`", "flow")
                return NOTHING, value.template
            return self.flow_into(node, value), value.template
        makes = isinstance(node, Call) and self.makes_layer(node.function)
        template = None
        if makes:
            before = len(self.problems)
            assert isinstance(node, Call)
            reads = self.state
            made = self.visit(node.function)
            self.state = reads
            del self.problems[before:]
            template = made.template
        return value, template

    def shared_layer(self, node: Expression) -> Value | None:
        """A line that is only a layer's name reads its value, not the layer; nothing special, unless it is a setting."""
        if isinstance(node, Name):
            binding = self.state.find(node.id)
            if binding is not None and binding.kind == "setting" and binding.value.kind == "template":
                return binding.value
        return None

    def makes_layer(self, function: Expression) -> bool:
        """Whether calling this makes a layer of its own: ``Linear(8)``, ``(6 * Block())``, a setting ``act``."""
        match function:
            case Call(function=inner):
                name = ex.spelled(inner)
                return name is not None and name.rpartition(".")[2][:1].isupper()
            case ex.Binary(operator="*", right=right):
                return self.makes_layer(right) or isinstance(right, Name)
            case Name(id=name):
                binding = self.state.find(name)
                return binding is not None and binding.kind == "setting" and binding.value.kind == "template"
        return False

    def flow_into(self, node: Expression, value: Value) -> Value:
        """A layer on the value of the line above."""
        template = value.template
        if self.state.prev is None:
            return self.previous(node.span)
        self.read(self.state.flow)
        if template is not None and template.signature is not None and not (template.name == SERIES):
            missing = [m for m in template.signature.bind(1, [])]
            if missing:
                shown = self.text(node)
                call = shown if shown.endswith(")") else f"{shown}()"
                call = f"({call})" if isinstance(node, ex.Binary) else call
                names = [p.name for p in template.signature.parameters if p.required]
                example = ", ".join(["x"] * len(names)) if template.layer else ", ".join(names)
                self.problem(
                    node.span,
                    f"{template.name} wants {', '.join(names)}; the line above is one value",
                    f"write `{call}({example})`",
                    "type",
                )
        return tensor(self.state.prev.reached)

    def define(self, line: tree.Statement, value: Value, layer: Template | None, flows: bool) -> frozenset[Definition]:
        """Bind a line's names; what the next line reads of it."""
        target = line.target
        what = line.text if len(line.text) < 50 else line.text[:49] + "…"
        if target is None or isinstance(target, ex.Indexed | ex.Discard):
            if isinstance(target, ex.Indexed):
                if layer is None and value.kind != "unknown":
                    self.problem(
                        target.span,
                        "a number makes a path, and this line makes no layer",
                        "give the line a name",
                        "type",
                    )
                elif layer is not None:
                    self.conflict(str(target.number), target.span, "layer")
            definition = self.definition(line.span, "", what, named=False)
            definition.read |= isinstance(target, ex.Discard)
            return frozenset([definition])
        if isinstance(target, ex.Named):
            if layer is not None:
                self.conflict(target.name, target.span, "layer")
            definition = self.definition(line.span, target.name, f"{target.name} = {what}", named=True)
            definition.beside = not flows
            before = self.state.frames[0].get(target.name)
            kept = layer or (before.layer if before else None)
            self.state.frames[0][target.name] = Binding("value", target.span, value, frozenset([definition]), kept)
            return frozenset([definition])
        if value.kind == "plain" and value.known and not isinstance(value.constant, tuple | list):
            self.problem(target.span, f"{what} is one value and cannot be taken apart", "give it one name", "type")
        return self.define_several(line, target, value, flows)

    def define_several(
        self, line: tree.Statement, target: ex.Several, value: Value, flows: bool
    ) -> frozenset[Definition]:
        first: frozenset[Definition] | None = None
        for named in ex.targets(target):
            definition = self.definition(named.span, named.name, named.name, named=True)
            definition.beside = not flows
            self.state.frames[0][named.name] = Binding("value", named.span, value, frozenset([definition]))
            first = first or frozenset([definition])
        leaf: ex.Target = target
        while isinstance(leaf, ex.Several):
            leaf = leaf.items[0]
        return first if first is not None and isinstance(leaf, ex.Named) else frozenset()

    def definition(self, span: Span, name: str, what: str, named: bool) -> Definition:
        """The definition at a place: one, however often a loop's body is read."""
        return self.body.definitions.setdefault((span, name), Definition(span, what, named))

    def promise(self, shape: Expression) -> None:
        """A promised shape: numbers, vars, settings, ``_``."""
        if isinstance(shape, Name) and shape.id == "_":
            return
        if isinstance(shape, ex.Sequence):
            for item in shape.items:
                self.promise(item)
            return
        value = self.operand(shape)
        if value.kind == "tensor" or (value.known and type(value.constant) is not int):
            self.problem(
                shape.span,
                f"{self.text(shape)} is not a size",
                "a shape holds whole numbers, vars, settings and _",
                "type",
            )

    # -- the end of a body --------------------------------------------------------------------------------------------

    def refuse_beside_end(self, lines: tuple[tree.Line, ...]) -> None:
        last = lines[-1] if lines else None
        if isinstance(last, tree.Statement) and last.span in self.beside and last.target is not None:
            message = "the last line stands beside the flow, and the last line's value is the result"
            self.problem(last.span, message, "end with a line that an input reaches", "flow")

    def close(self, lines: tuple[tree.Line, ...], span: Span) -> None:
        """The result of a body, and what nothing reads."""
        self.refuse_beside_end(lines)
        self.read(self.state.flow)
        self.report_lost(list(self.body.definitions.values()))

    def report_lost(self, definitions: list[Definition]) -> None:
        spans = {p.span for p in self.problems}
        for definition in definitions:
            if not definition.lost or definition.span in spans:
                continue
            if definition.input:
                self.problem(
                    definition.span,
                    f"nothing reads {definition.what}",
                    "read it by its name on some line, or take it out",
                    "flow",
                )
                continue
            if definition.shape_read:
                message, help = (
                    "nothing reads the values of this line, only their shape",
                    "read it by `prev` or by its name, or take it out",
                )
            elif definition.named and definition.beside:
                message, help = "nothing reads this line", "read it by its name, or take it out"
            elif definition.what.isidentifier():
                message, help = f"nothing reads {definition.what}", "write _ in its place"
            else:
                message = "nothing reads this line: the next one does not go on with it"
                help = "let the next line read `prev`" + (
                    "" if definition.named else ", or give this one a name that a later line reads"
                )
            self.problem(definition.span, message, help, "flow")

    # -- init ---------------------------------------------------------------------------------------------------------

    def initialisers(self, top: dict[str, Binding]) -> None:
        self.state = State([dict(top)])
        self.in_graph = False
        for one in self.spec.init:
            call = one.call
            assert isinstance(call.function, Name)
            name = call.function.id
            known = INITIALISERS.get(name.removesuffix("_"))
            values = self.arguments(call)
            if known is None or name.endswith("_"):
                help = (
                    f"write {name.removesuffix('_')}"
                    if known is not None
                    else suggestion(name, INITIALISERS, what="initialisers:")
                )
                self.problem(call.function.span, f"unknown initialiser {name}", help)
                continue
            for keyword in call.keywords:
                if keyword.name not in known:
                    self.problem(
                        keyword.span,
                        f"{name} has no setting {keyword.name}",
                        suggestion(keyword.name, known, what=f"{name}'s:") if known else "it has none",
                    )
            if len(call.arguments) > len(known):
                self.problem(
                    call.span,
                    f"{name} takes {listed(known) if known else 'nothing'}, found {len(call.arguments)} values",
                    None,
                    "type",
                )
            if any(v.kind == "tensor" for v in values):
                self.problem(call.span, f"{name} takes numbers", None, "type")


def _expressions(line: tree.Line) -> list[Expression]:
    """The expressions that stand on a line itself."""
    match line:
        case tree.Statement(value=value):
            return [value]
        case tree.Part(inputs=inputs):
            return list(inputs or ())
        case tree.For(iterable=iterable):
            return [iterable]
        case tree.If(test=test) | tree.While(test=test):
            return [test]
    return []


def _mentioned(node: Expression, blocks: Mapping[str, tree.Block]) -> set[str]:
    """Blocks that an expression uses outside any choice in it."""
    if isinstance(node, Name):
        return {node.id} if node.id in blocks else set()
    if isinstance(node, ex.Conditional | ex.Boolean | ex.Comprehension):
        return set()
    if isinstance(node, ex.Binary) and node.operator == "*" and not isinstance(node.left, ex.Constant):
        return set()  # a stack of a number that may be 0
    found: set[str] = set()
    for child in ex.children(node):
        found |= _mentioned(child, blocks)
    return found


__all__ = ["FUNCTIONS", "Checked", "Note", "block_signature", "check", "merged"]
