"""Operators, choices, lists and comprehensions: what an expression is worth, as far as its text tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from fwdscope.language import arithmetic
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.calls import Calls
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.scope import NOTHING, PLAIN, Binding, Template, Value, merged, tensor
from fwdscope.limits import limit


class Expressions(Calls):
    """Checks whole expressions."""

    def visit(self, node: Expression) -> Value:
        """What an expression is; a template may be the answer."""
        return self._VISIT[type(node)](self, node)

    def operand(self, node: Expression) -> Value:
        """What an expression is where a value is wanted: a layer not yet called is a problem, in a list too."""
        if isinstance(node, ex.TupleOrList):
            return self.sequence(node, [self.operand(item) for item in node.items])
        return super().operand(node)

    def computed(self, values: list[Value], function: Callable[..., Any], node: Expression) -> Value:
        """The result of an operation on values: its value where the text tells all of them."""
        if any(v.kind == "tensor" for v in values):
            return tensor(any(v.reached for v in values))
        if any(v.kind == "unknown" for v in values):
            return NOTHING
        if not all(v.known for v in values):
            return PLAIN
        try:
            return Value("plain", constant=function(*(v.constant for v in values)))
        except ArithmeticProblem as error:
            return self.problem(node.span, error.message, error.help, error.code)

    # -- operators ----------------------------------------------------------------------------------------------------

    def unary(self, node: ex.Unary) -> Value:
        """``-x``, ``not x``"""
        value = self.operand(node.operand)
        if node.operator == "not" and value.kind == "tensor":
            return self.problem(node.span, "`not` of a tensor depends on its data", "write `~` for masks", "type")
        return self.computed([value], lambda a: arithmetic.unary(node.operator, a), node)

    def binary(self, node: ex.Binary) -> Value:
        """``left operator right``; a whole number times a layer is a stack."""
        if node.operator != "*":
            left, right = self.operand(node.left), self.operand(node.right)
        else:
            left, right = self.visit(node.left), self.visit(node.right)
            if "template" in (left.kind, right.kind):
                return self.stack(node, left, right)
            if self.is_doubtful_stack(node, left):
                return self.doubtful_stack(node)
        return self.computed([left, right], lambda a, b: arithmetic.binary(node.operator, a, b), node)

    def is_doubtful_stack(self, node: ex.Binary, times: Value) -> bool:
        """Whether this is ``6 * Layer(settings)(inputs)``, which Python reads as 6 times a tensor."""
        call = node.right
        if not (isinstance(call, Call) and isinstance(call.function, Call)) or times.kind != "plain":
            return False
        name = ex.spelled(call.function.function)
        whole = type(times.constant) is int if times.known else isinstance(node.left, Name)
        return whole and name is not None and name.rpartition(".")[2][:1].isupper()

    def doubtful_stack(self, node: ex.Binary) -> Value:
        """Both readings of ``6 * Layer(settings)(inputs)``."""
        assert isinstance(node.right, Call)
        times, layer, result = map(self.text, (node.left, node.right.function, node.right))
        stack = f"({times} * {layer}){result[len(layer) :]}"
        help = f"a stack of {times}: `{stack}`; one layer's result, scaled: `{result} * {times}`"
        return self.problem(node.span, "a whole number stands before the result of one layer", help, "type")

    def stack(self, node: ex.Binary, left: Value, right: Value) -> Value:
        """``3 * Block(d)``: so many in series."""
        if left.kind == "template":
            if right.kind != "plain":
                return self.operand(node.left)
            shown = f"{self.text(node.right)} * {self.text(node.left)}"
            return self.problem(node.span, "the number of a stack stands on its left", f"write `{shown}`", "type")
        if left.kind == "tensor":
            return self.operand(node.right)
        if left.known and (type(left.constant) is not int or left.constant < 0):
            message = f"a stack wants a whole number of copies, found {self.text(node.left)}"
            scaled = f"{self.settled(node.right)}({self.an_input()}) * {self.text(node.left)}"
            help = f"to scale a layer's result: `{scaled}`" if type(left.constant) is float else None
            return self.problem(node.left.span, message, help, "type")
        if left.known and left.constant > limit("turns"):
            most = f"at most {limit('turns'):,}"
            return self.problem(node.left.span, f"a stack of {left.constant:,} copies", most, "limit")
        template = right.template
        name, signature = (template.name, template.signature) if template else ("stack", None)
        return Value("template", template=Template(name, signature=signature, series=True))

    def compare(self, node: ex.Compare) -> Value:
        """A chain of comparisons."""
        values = [self.operand(node.left), *(self.operand(right) for right in node.rights)]
        if any(v.kind == "tensor" for v in values) and node.operators[0] not in ("is", "is not", "in", "not in"):
            if len(values) > 2:
                a, b, c = map(self.text, (node.left, *node.rights[:2]))
                help = f"write `({a} {node.operators[0]} {b}) & ({b} {node.operators[1]} {c})`"
                return self.problem(node.span, "a chain of comparisons of tensors depends on their data", help, "type")
            return tensor(any(v.reached for v in values))
        if not all(v.known for v in values):
            return NOTHING if any(v.kind == "unknown" for v in values) else PLAIN

        def fold(*constants: Any) -> bool:
            pairs = zip(node.operators, constants, constants[1:], strict=False)
            return all(arithmetic.compare(sign, a, b) for sign, a, b in pairs)

        return self.computed(values, fold, node)

    def boolean(self, node: ex.Boolean) -> Value:
        """``and``, ``or``"""
        values = [self.operand(v) for v in node.values]
        if any(v.kind == "tensor" for v in values):
            sign = {"and": "&", "or": "|"}[node.operator]
            message = f"`{node.operator}` of tensors depends on their data"
            return self.problem(node.span, message, f"write `{sign}` for masks", "type")
        if not all(v.known for v in values):
            return NOTHING if any(v.kind == "unknown" for v in values) else PLAIN
        result = values[0].constant
        for value in values[1:]:
            result = (result and value.constant) if node.operator == "and" else (result or value.constant)
        return Value("plain", constant=result)

    # -- choices ------------------------------------------------------------------------------------------------------

    def conditional(self, node: ex.Conditional) -> Value:
        """``a if c else b``, chosen while building."""
        test = self.operand(node.test)
        if test.kind == "tensor":
            body, orelse, condition = map(self.text, (node.body, node.orelse, node.test))
            self.refuse_data(test, node.test, "`if … else`", f"write `where({condition}, {body}, {orelse})`")
        body_value, else_value = self.visit(node.body), self.visit(node.orelse)
        if test.known:
            return body_value if test.constant else else_value
        return merged(body_value, else_value)

    def refuse_data(self, test: Value, node: Expression, what: str, help: str | None = None) -> None:
        """A choice made while building cannot depend on data."""
        if test.kind == "tensor":
            help = help or "write `where(condition, a, b)`; `if:` chooses by vars, settings and shapes"
            self.problem(node.span, f"{what} depends on data here, which no shape tells", help, "type")

    # -- lists --------------------------------------------------------------------------------------------------------

    def sequence(self, node: ex.TupleOrList, values: list[Value] | None = None) -> Value:
        """A tuple or a list."""
        values = [self.visit(item) for item in node.items] if values is None else values
        if any(v.kind == "tensor" for v in values):
            return tensor(any(v.reached for v in values))
        if any(v.kind in ("unknown", "template") for v in values):
            return NOTHING
        if all(v.known for v in values) and not any(isinstance(i, ex.Starred) for i in node.items):
            constants = [v.constant for v in values]
            return Value("plain", constant=tuple(constants) if node.kind == "tuple" else constants)
        return PLAIN

    def comprehension(self, node: ex.Comprehension) -> Value:
        """``[element for …]``"""
        outer = self.state
        self.state = outer.copy()
        self.state.frames.insert(0, {})
        for clause in node.clauses:
            self.bind_turns(clause.target, self.items_of(clause.iterable))
            for condition in clause.conditions:
                help = "what a list holds is known while building: choose by numbers and shapes"
                self.refuse_data(self.operand(condition), condition, "the condition", help)
        element = self.visit(node.element)
        self.state = outer
        return PLAIN if element.kind == "plain" else Value(element.kind, element.reached, template=element.template)

    def items_of(self, node: Expression) -> Value:
        """What is gone through; a single number is a problem."""
        value = self.operand(node)
        if value.kind == "plain" and value.known and not isinstance(value.constant, tuple | list | range | str):
            help = f"write `range({self.text(node)})`" if type(value.constant) is int else "write `range(n)`, or a list"
            return self.problem(node.span, f"{self.text(node)} cannot be gone through", help, "type")
        return value

    def bind_turns(self, target: ex.Target, iterable: Value) -> None:
        """Names that go through the items of something."""
        for named in ex.targets(target):
            value = PLAIN if iterable.kind == "plain" else Value(iterable.kind, iterable.reached)
            self.state.frames[0][named.name] = Binding("turn", named.span, value)

    def subscript(self, node: ex.Subscript) -> Value:
        """``value[index]``"""
        value = self.operand(node.value)
        index = self.operand(node.index)
        if value.kind == "plain" and value.known and not isinstance(value.constant, tuple | list | range | str):
            message = f"{self.text(node.value)} is {value.constant!r}, which has no items"
            return self.problem(node.span, message, None, "type")
        if value.kind == "tensor" and isinstance(index.constant, str | float):
            help = "an index is a whole number, a slice, ..., None, or a tensor of indices"
            return self.problem(node.index.span, f"{self.text(node.index)} is no index", help, "type")
        if value.known and index.known and not isinstance(node.index, ex.Slice):

            def pick(items: Any, i: Any) -> Any:
                try:
                    return items[i]
                except (IndexError, KeyError, TypeError) as error:
                    raise ArithmeticProblem(f"{self.text(node)} has no value: {error}") from None

            return self.computed([value, index], pick, node)
        if value.kind == "tensor":
            return tensor(value.reached)
        return value if value.kind == "unknown" else PLAIN

    def slice(self, node: ex.Slice) -> Value:
        """``lower:upper:step``"""
        for part in ex.children(node):
            self.operand(part)
        return PLAIN

    _VISIT: ClassVar[dict[type[Expression], Callable[[Any, Any], Value]]] = {
        ex.Constant: lambda self, node: Value("plain", constant=node.value),
        ex.Name: lambda self, node: self.name(node),
        ex.Attribute: lambda self, node: self.attribute(node),
        ex.Subscript: lambda self, node: self.subscript(node),
        ex.Slice: lambda self, node: self.slice(node),
        ex.Call: lambda self, node: self.call(node),
        ex.Unary: lambda self, node: self.unary(node),
        ex.Binary: lambda self, node: self.binary(node),
        ex.Compare: lambda self, node: self.compare(node),
        ex.Boolean: lambda self, node: self.boolean(node),
        ex.Conditional: lambda self, node: self.conditional(node),
        ex.TupleOrList: lambda self, node: self.sequence(node),
        ex.Starred: lambda self, node: self.operand(node.value),
        ex.Comprehension: lambda self, node: self.comprehension(node),
    }
