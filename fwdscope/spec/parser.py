"""Sections, blocks and lines → ModelSpec.

Every problem that the structure shows is collected and told at once: unknown keys, things of the wrong kind, lines that are no
expressions. What names mean is the next stage's business (:mod:`fwdscope.spec.check`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from fwdscope.spec import expression as ex
from fwdscope.spec import tree
from fwdscope.spec.expression import Call, Constant, Expression, Name, Sequence
from fwdscope.spec.names import suggestion
from fwdscope.spec.problems import Cause, Problem, Source, Span, SpecError
from fwdscope.spec.source import Listing, Node, Scalar, Text, compose
from fwdscope.spec.source import Mapping as YamlMapping
from fwdscope.units import Figure

T = TypeVar("T")

LANGUAGE_VERSION = 1

# The sections of a file; a new one is an entry here and a method of _Parser of the same name.
SECTIONS = ("version", "name", "doc", "vars", "inputs", "defaults", "blocks", "layers", "graph", "init", "expect")

# Figures that ``expect`` may name, beside ``output`` and ``layers``.
FIGURES = (
    "params", "trainable_params", "buffers", "param_bytes", "buffer_bytes", "macs", "flops", "bytes_read", "bytes_written",
    "peak_memory", "latency",
)  # fmt: skip

_CONTROL = {"for": ("do",), "if": ("then", "else"), "while": ("do", "limit")}


def parse(source: Source, variables: Mapping[str, str] | None = None) -> tree.ModelSpec:
    """The spec in a file; ``variables`` replace entries of ``vars`` (``--set``). Raises SpecError with all structural problems."""
    root, problems = compose(source)
    if problems and root is None:
        raise SpecError(problems)
    parser = _Parser(source, problems)
    spec = parser.spec(root, variables or {})
    if parser.problems:
        raise SpecError(parser.problems)
    assert spec is not None
    return spec


class _Parser:
    def __init__(self, source: Source, problems: list[Problem]) -> None:
        self.source = source
        self.problems = list(problems)

    def problem(self, span: Span, message: str, help: str | None = None, code: str = "syntax") -> None:
        self.problems.append(Problem(self.source, span, code, message, help))

    def attempt(self, function: Callable[..., T], *arguments: object) -> T | None:
        """What a function gives, or None with its problems kept."""
        try:
            return function(*arguments)
        except SpecError as error:
            self.problems.extend(error.problems)
            return None

    # -- sections -----------------------------------------------------------------------------------------------------

    def spec(self, root: Node | None, variables: Mapping[str, str]) -> tree.ModelSpec | None:
        if not isinstance(root, YamlMapping):
            span = root.span if root else Span(0, 0)
            span = Span(span.start, min(span.end, span.start + len(self.source.line(self.source.place(span.start)[0]))))
            what = "the file is empty" if root is None else "this is not a spec"
            self.problem(
                span,
                f"{what}: expected the sections `inputs:` and `layers:`",
                "start with `inputs:`, then `layers:`",
                "key",
            )
            return None
        found = {key.value: (key, value) for key, value in root.entries}
        for key, _ in root.entries:
            if key.value not in SECTIONS:
                self.problem(
                    key.span, f"unknown section {key.value}", suggestion(key.value, SECTIONS, _OTHER_SECTIONS), "key"
                )
        self.layers_or_graph(root, found)
        if "inputs" not in found:
            self.problem(
                Span(root.span.start, root.span.start + 1),
                "there are no inputs",
                "add `inputs:` and `image: randn(1, 3, 224, 224)`",
                "key",
            )
        if "version" in found:
            self.version(found["version"][1])
        body_key = "graph" if "graph" in found else "layers"
        key, body = found.get(body_key, (None, None))
        get = {name: value for name, (_, value) in found.items()}
        return tree.ModelSpec(
            source=self.source,
            name=self.plain(get.get("name"))
            or re.sub(r"\.ya?ml$", "", self.source.name.replace("\\", "/").rsplit("/", 1)[-1]),
            doc=self.plain(get.get("doc")),
            variables=self.variables(get.get("vars"), variables),
            inputs=self.inputs(get.get("inputs")),
            defaults=self.defaults(get.get("defaults")),
            blocks=self.blocks(get.get("blocks")),
            layers=self.body(body, f"the section {body_key}") if body else (),
            layers_span=key.span if key else Span(0, 0),
            graph="graph" in found,
            init=self.init(get.get("init")),
            expect=self.expect(get.get("expect")),
        )

    def layers_or_graph(self, root: YamlMapping, found: dict[str, tuple[Scalar, Node]]) -> None:
        if "layers" in found and "graph" in found:
            cause = Cause("layers stands here", found["layers"][0].span)
            message = "a spec has layers or a graph, not both"
            help = "keep `layers:` for lines that run from top to bottom, `graph:` for lines in any order"
            self.problems.append(Problem(self.source, found["graph"][0].span, "key", message, help, (cause,)))
        if "layers" not in found and "graph" not in found:
            self.problem(
                Span(root.span.start, root.span.start + 1),
                "there are no layers",
                "add `layers:` and a list of lines",
                "key",
            )

    def version(self, node: Node) -> None:
        if not isinstance(node, Scalar) or node.value != str(LANGUAGE_VERSION):
            found = f" {node.value}" if isinstance(node, Scalar) else ""
            self.problem(
                node.span,
                f"version{found} of the language is not known",
                f"this fwdscope reads version {LANGUAGE_VERSION}",
                "key",
            )

    def plain(self, node: Node | None) -> str | None:
        if node is None:
            return None
        if not isinstance(node, Scalar):
            self.problem(node.span, "expected a text", "use `doc: |` and the text below", "key")
            return None
        return node.value.strip()

    def scalar(self, node: Node, what: str, help: str) -> Scalar | None:
        """A node that has to be one piece of text on a line."""
        if isinstance(node, Scalar) and node.style in ("literal", "folded"):
            self.problem(
                node.span,
                "| and > begin a text of several lines",
                "they are for doc; a line may go on over several lines without them",
            )
            return None
        if not isinstance(node, Scalar):
            found = "a list" if isinstance(node, Listing) else "keys"
            self.problem(node.span, f"expected {what}, found {found}", help, "key")
            return None
        return node

    def mapping(self, node: Node, what: str, help: str) -> tuple[tuple[Scalar, Node], ...]:
        if isinstance(node, YamlMapping):
            return node.entries
        if isinstance(node, Scalar) and not node.value and not node.quoted:
            self.problem(node.span, f"{what} is empty", help, "key")
        else:
            found = "a list" if isinstance(node, Listing) else "one text"
            self.problem(_first_line(node.span, self.source), f"{what} holds keys, found {found}", help, "key")
        return ()

    def named(self, key: Scalar, what: str) -> bool:
        """Whether a key is a name, told where it is not."""
        target = self.attempt(ex.parse_target, self.source, key.text)
        if target is None:
            return False
        if not isinstance(target, ex.Named):
            self.problem(key.span, f"{key.value} cannot be the name of {what}", "a name is letters, digits and _")
            return False
        return True

    def variables(self, node: Node | None, given: Mapping[str, str]) -> tuple[tree.Variable, ...]:
        result = []
        entries = self.mapping(node, "vars", "write `vars: {B: 1, d: 64}`") if node else ()
        for key, value in entries:
            if self.named(key, "a var"):
                text = given.get(key.value)
                source_value = self.attempt(self._given, key, text) if text is not None else self.variable_value(value)
                if source_value is not None:
                    result.append(tree.Variable(key.value, key.span, source_value, text is not None))
        known = [key.value for key, _ in entries]
        for name in given:
            if name not in known:
                span = Span(0, 0) if node is None else _first_line(node.span, self.source)
                self.problem(
                    span, f"--set {name}: there is no var {name}", suggestion(name, known, what="the var"), "name"
                )
        return tuple(result)

    def _given(self, key: Scalar, text: str) -> Expression:
        """A value of --set. Its places are those of its own text."""
        source = Source(f"--set {key.value}", text)
        value = ex.parse(source, Text(text, tuple(range(len(text))), len(text)))
        return _moved(value, key.span)

    def variable_value(self, node: Node) -> Expression | None:
        """A var: an expression, a quoted string, or a list of such, nested."""
        if isinstance(node, Listing):
            items = [self.variable_value(item) for item in node.items]
            known = tuple(item for item in items if item is not None)
            return Sequence(node.span, "list", known) if len(known) == len(items) else None
        scalar = self.scalar(node, "a number, a string, a boolean or a list", "vars are no nested keys")
        if scalar is None:
            return None
        if scalar.quoted:
            return Constant(scalar.span, scalar.value)
        return self.attempt(ex.parse, self.source, scalar.text)

    def inputs(self, node: Node | None) -> tuple[tree.Input, ...]:
        result = []
        help = "write `inputs:` and `image: randn(1, 3, 224, 224)`"
        for key, value in self.mapping(node, "inputs", help) if node else ():
            scalar = self.scalar(value, "an expression that makes a tensor", "write `image: randn(1, 3, 224, 224)`")
            if scalar is None or not self.named(key, "an input"):
                continue
            if parsed := self.attempt(ex.parse, self.source, scalar.text):
                result.append(tree.Input(key.value, key.span, parsed, scalar.value))
        return tuple(result)

    def defaults(self, node: Node | None) -> tuple[Call, ...]:
        result = []
        for item in self.listing(node, "defaults", "write `defaults:` and `- Conv2d(bias=False)`"):
            scalar = self.scalar(item, "a layer with settings", "write `- Conv2d(bias=False)`")
            parsed = scalar and self.attempt(ex.parse, self.source, scalar.text)
            if not parsed:
                continue
            if not (isinstance(parsed, Call) and isinstance(parsed.function, Name)) or parsed.arguments:
                self.problem(
                    parsed.span, "a default is a layer with settings by keyword", "write `- Conv2d(bias=False)`"
                )
            else:
                result.append(parsed)
        return tuple(result)

    def listing(self, node: Node | None, what: str, help: str) -> tuple[Node, ...]:
        if node is None:
            return ()
        if isinstance(node, Listing):
            return node.items
        empty = isinstance(node, Scalar) and not node.value
        found = "nothing" if empty else "keys" if isinstance(node, YamlMapping) else "one text"
        self.problem(_first_line(node.span, self.source), f"{what} holds a list of lines, found {found}", help, "key")
        return ()

    # -- blocks -------------------------------------------------------------------------------------------------------

    def blocks(self, node: Node | None) -> tuple[tree.Block, ...]:
        result: dict[str, tree.Block] = {}
        help = "write `blocks:`, below it `Block(width):`, below that a list of lines"
        for key, value in self.mapping(node, "blocks", help) if node else ():
            head = self.attempt(self.head, key)
            body = self.body(value, f"the block {key.value}")
            if head is None:
                continue
            name, settings, inputs = head
            if name in result:
                cause = Cause("first given here", result[name].span)
                self.problems.append(
                    Problem(self.source, key.span, "key", f"the block {name} is given twice", None, (cause,))
                )
            else:
                result[name] = tree.Block(name, key.span, settings, inputs, body)
        return tuple(result.values())

    def head(self, key: Scalar) -> tuple[str, tuple[tree.Parameter, ...], tuple[tree.Parameter, ...]]:
        """``Up(width, stride=1)(x, skip)`` → name, settings, inputs. Raises SpecError."""
        parsed = ex.parse(self.source, key.text)
        calls: list[Call] = []
        while isinstance(parsed, Call):
            calls.insert(0, parsed)
            parsed = parsed.function
        form = "write `Block:`, `Block(width, stride=1):` or `Block(width)(x, skip):`"
        if not isinstance(parsed, Name) or len(calls) > 2:
            raise SpecError([Problem(self.source, key.span, "syntax", "this is not the head of a block", form)])
        if not parsed.id[0].isupper():
            capital = parsed.id[0].upper() + parsed.id[1:]
            help = f"write {capital}: types begin with a capital, functions with a small letter"
            raise SpecError(
                [Problem(self.source, parsed.span, "name", f"the block {parsed.id} begins with a small letter", help)]
            )
        settings = self.parameters(calls[0], "setting") if calls else ()
        inputs = self.parameters(calls[1], "input") if len(calls) > 1 else (tree.Parameter("x", key.span),)
        both = [p.name for p in settings]
        for parameter in inputs:
            if parameter.name in both:
                message = f"{parameter.name} is a setting and an input"
                raise SpecError(
                    [Problem(self.source, parameter.span, "name", message, "give one of them another name")]
                )
        return parsed.id, settings, inputs

    def parameters(self, call: Call, what: str) -> tuple[tree.Parameter, ...]:
        result: list[tree.Parameter] = []
        for argument in call.arguments:
            if not isinstance(argument, Name):
                message = f"{self.source[argument.span]} is not the name of a{'n' * (what == 'input')} {what}"
                raise SpecError(
                    [
                        Problem(
                            self.source,
                            argument.span,
                            "syntax",
                            message,
                            f"the head names the {what}s: `Block(width, stride=1)`",
                        )
                    ]
                )
            result.append(tree.Parameter(argument.id, argument.span))
        result += [tree.Parameter(k.name, k.span, k.value) for k in call.keywords]
        for i, parameter in enumerate(result):
            if parameter.name in ("prev", "_"):
                raise SpecError(
                    [Problem(self.source, parameter.span, "name", f"{parameter.name} cannot be the name of a {what}")]
                )
            if any(other.name == parameter.name for other in result[:i]):
                raise SpecError(
                    [Problem(self.source, parameter.span, "name", f"the {what} {parameter.name} is given twice")]
                )
        return tuple(result)

    # -- lines --------------------------------------------------------------------------------------------------------

    def body(self, node: Node | None, what: str) -> tuple[tree.Line, ...]:
        items = self.listing(node, what, "write a list: each line begins with `- `") if node is not None else ()
        if isinstance(node, Listing) and not items:
            self.problem(node.span, f"{what} has no lines", "write at least one", "key")
        lines = [self.line(item) for item in items]
        return tuple(line for line in lines if line is not None)

    def line(self, node: Node) -> tree.Line | None:
        if isinstance(node, Listing):
            help = "a line that begins with [ goes in quotes; a part needs a name: `stem:`"
            self.problem(_first_line(node.span, self.source), "a list stands where a line is expected", help)
            return None
        if isinstance(node, YamlMapping):
            return self.nested(node)
        scalar = self.scalar(node, "a line", "write the line after `- `")
        return self.attempt(self.statement, scalar) if scalar and scalar.style != "alias" else None

    def statement(self, scalar: Scalar) -> tree.Statement:
        text = scalar.text.strip()
        if not text.value:
            raise SpecError(
                [
                    Problem(
                        self.source,
                        scalar.span,
                        "syntax",
                        "this line is empty",
                        "write a layer or an expression, or take the line out",
                    )
                ]
            )
        ex.check_characters(self.source, text)
        ex.check_brackets(self.source, text)
        left, right, arrow = _split(self.source, text)
        target = ex.parse_target(self.source, left) if left is not None else None
        promise = self.promise(arrow) if arrow is not None else None
        value = ex.parse(self.source, right)
        return tree.Statement(scalar.span, target, value, promise, " ".join(right.value.split()))

    def promise(self, text: Text) -> tree.Promise:
        shape = self.shape(text)
        return tree.Promise(shape, " ".join(text.value.split()), shape.span)

    def shape(self, text: Text) -> Expression:
        """A shape, or a tuple of shapes: ``(B, 10)``, ``((B, T, h), _)``, ``2, 4``. Raises SpecError."""
        text = text.strip()
        if not text.value:
            raise SpecError(
                [Problem(self.source, text.span(0, 0), "syntax", "a shape is missing behind ->", "write `-> (B, 10)`")]
            )
        shape = ex.parse(self.source, text)
        one = isinstance(shape, Name) and shape.id == "_"
        if not isinstance(shape, Sequence) and text.value.startswith("(") and text.value.endswith(")") and not one:
            return Sequence(text.span(), "tuple", (shape,))
        if isinstance(shape, Sequence) or one:
            return shape
        help = f"write `({text.value},)` for one dimension, `()` for none"
        raise SpecError([Problem(self.source, text.span(), "syntax", f"{text.value} is not a shape", help)])

    def nested(self, node: YamlMapping) -> tree.Line | None:
        (head, value), rest = node.entries[0], node.entries[1:]
        if head.value in _CONTROL:
            return self.control(head, value, rest, node.span)
        if isinstance(value, Scalar) or rest:
            self.misplaced_colon(node)
            return None
        part = self.attempt(self.part_head, head)
        body = self.body(value, f"the part {head.value}")
        return tree.Part(head.span, part[0], part[1], body) if part else None

    def misplaced_colon(self, node: YamlMapping) -> None:
        head, value = node.entries[0]
        control = next((key for key, _ in node.entries if key.value in _CONTROL), None)
        if control is not None or head.value in ("do", "then", "else", "limit"):
            self.problem(
                head.span,
                f"{head.value}: stands where `for:`, `if:` or `while:` is expected",
                "begin with `- for: …`, then `do:` below",
                "key",
            )
        elif not (isinstance(value, Scalar) and value.value) and (
            not isinstance(value, Scalar) or re.fullmatch(r"\w+(\(.*\))?", head.value)
        ):
            if isinstance(value, Scalar):
                self.problem(head.span, f"the part {head.value} is empty", "list its lines below it, indented", "key")
            else:
                other = node.entries[1][0]
                self.problem(
                    other.span,
                    f"{other.value}: has no place beside {head.value}:",
                    "begin each line of a list with `- `",
                    "key",
                )
        elif head.value.isidentifier():
            span = Span(head.span.end, head.span.end + 1)
            self.problem(
                span, "a colon stands where an equals sign makes a name", f"write `{head.value} = {self.shown(value)}`"
            )
        else:
            span = Span(head.span.end, head.span.end + 1)
            self.problem(
                span,
                "a colon and a space make a key, here inside a line",
                "take the space after the colon away, or quote the line",
                "yaml",
            )

    def shown(self, node: Node) -> str:
        return self.source[_first_line(node.span, self.source)].strip()

    def part_head(self, key: Scalar) -> tuple[str, tuple[Expression, ...] | None]:
        parsed = ex.parse(self.source, key.text)
        if isinstance(parsed, Name):
            target = ex.parse_target(self.source, key.text)
            assert isinstance(target, ex.Named)
            return target.name, None
        if isinstance(parsed, Constant) and isinstance(parsed.value, int) and parsed.value >= 0:
            return str(parsed.value), None
        if isinstance(parsed, Call) and isinstance(parsed.function, Name) and not parsed.keywords:
            return parsed.function.id, parsed.arguments
        help = "a part is `stem:` or `branch(x):`; a line with a colon and a space goes in quotes"
        raise SpecError([Problem(self.source, key.span, "syntax", f"{key.value} is not the head of a part", help)])

    def control(self, head: Scalar, value: Node, rest: tuple[tuple[Scalar, Node], ...], span: Span) -> tree.Line | None:
        word = head.value
        allowed = _CONTROL[word]
        bodies = {key.value: node for key, node in rest}
        for key, _ in rest:
            if key.value not in allowed:
                self.problem(
                    key.span, f"{key.value}: has no place under {word}:", suggestion(key.value, allowed), "key"
                )
        if allowed[0] not in bodies:
            self.problem(
                head.span, f"{word}: has no {allowed[0]}:", f"write `{allowed[0]}:` below it and a list of lines", "key"
            )
        scalar = self.scalar(value, "an expression", f"write `- {word}: …`")
        if scalar is None:
            return None
        body = self.body(bodies.get(allowed[0]), f"{allowed[0]}:")
        place = Span(head.span.start, scalar.span.end)
        text = f"{word} {' '.join(scalar.value.split())}"
        if word == "for":
            clause = self.attempt(self.for_clause, scalar)
            return tree.For(place, clause[0], clause[1], body, text) if clause else None
        test = self.attempt(ex.parse, self.source, scalar.text)
        if word == "if":
            orelse = self.body(bodies["else"], "else:") if "else" in bodies else ()
            return tree.If(place, test, body, orelse, text) if test else None
        limit = self.limit(bodies["limit"]) if "limit" in bodies else None
        return tree.While(place, test, body, limit, text) if test else None

    def limit(self, node: Node) -> Expression | None:
        scalar = self.scalar(node, "a whole number", "write `limit: 1000`")
        return self.attempt(ex.parse, self.source, scalar.text) if scalar else None

    def for_clause(self, scalar: Scalar) -> tuple[ex.Target, Expression]:
        text = scalar.text.strip()
        found = re.search(r"\sin\s", text.value)
        if not found:
            raise SpecError(
                [Problem(self.source, scalar.span, "syntax", f"{text.value} has no `in`", "write `for: t in range(T)`")]
            )
        target = ex.parse_target(self.source, text[: found.start()])
        return target, ex.parse(self.source, text[found.end() :])

    # -- init and expect ----------------------------------------------------------------------------------------------

    def init(self, node: Node | None) -> tuple[tree.Initialiser, ...]:
        result = []
        form = "write `Linear.weight: xavier_uniform()`"
        for key, value in self.mapping(node, "init", form) if node else ():
            if not re.fullmatch(r"\w+(\.\w+)*", key.value):
                help = "the key is the end of a path (`c_proj.weight`), or a layer type and its tensor (`Linear.weight`); there is no *"
                self.problem(key.span, f"{key.value} is not a path", help, "key")
            scalar = self.scalar(value, "a call of torch.nn.init", form)
            parsed = scalar and self.attempt(ex.parse, self.source, scalar.text)
            if isinstance(parsed, Call) and isinstance(parsed.function, Name):
                result.append(tree.Initialiser(key.value, key.span, parsed))
            elif parsed:
                self.problem(parsed.span, "an initialiser is a call", form)
        return tuple(result)

    def expect(self, node: Node | None) -> tree.Expectations:
        figures: list[tree.ExpectedFigure] = []
        outputs: list[tree.ExpectedOutput] = []
        for key, value in self.mapping(node, "expect", "write `expect:` and `params: 25_557_032`") if node else ():
            if key.value == "layers":
                for path, inner in self.mapping(value, "layers", "write `layer4.0.conv2: {macs: 115.6M}`"):
                    for name, item in self.mapping(inner, path.value, "write `layer4.0.conv2: {macs: 115.6M}`"):
                        self.expected(name, item, path.value, figures, outputs)
            else:
                self.expected(key, value, None, figures, outputs)
        return tree.Expectations(tuple(figures), tuple(outputs))

    def expected(
        self,
        key: Scalar,
        value: Node,
        layer: str | None,
        figures: list[tree.ExpectedFigure],
        outputs: list[tree.ExpectedOutput],
    ) -> None:
        known = ("output", *FIGURES) if layer else ("output", "layers", *FIGURES)
        if key.value not in known:
            self.problem(key.span, f"unknown expectation {key.value}", suggestion(key.value, known), "key")
            return
        scalar = self.scalar(
            value, "a shape" if key.value == "output" else "a figure", "write `output: (B, 10)` or `params: 25_557_032`"
        )
        if scalar is None:
            return
        if key.value == "output":
            if shape := self.attempt(self.shape, scalar.text):
                outputs.append(tree.ExpectedOutput(shape.span, shape, scalar.value, layer))
            return
        text, _, device = scalar.value.partition(" on ")
        try:
            figure = Figure.parse(text.strip())
        except ValueError as error:
            help = "write 25_557_032 (exact), 4.09G (rounded), 100 +- 5%, <= 250 MiB, or '>= 10' in quotes"
            self.problem(scalar.span, f"{text.strip() or 'nothing'} is not a figure: {error}", help, "value")
            return
        if device and key.value != "latency":
            self.problem(scalar.span, f"{key.value} is the same on every device", f"take ` on {device}` away", "value")
        figures.append(tree.ExpectedFigure(key.value, scalar.span, figure, scalar.value, layer, device.strip() or None))


_OTHER_SECTIONS = {"model": "layers", "network": "layers", "modules": "layers", "backbone": "layers", "input": "inputs", "var": "vars",
                   "variables": "vars", "params": "vars", "description": "doc", "default": "defaults", "initializers": "init",
                   "checks": "expect", "expected": "expect", "outputs": "expect"}  # fmt: skip


def _first_line(span: Span, source: Source) -> Span:
    """The part of a span on its first line."""
    end = re.compile(r"[\r\n]").search(source.text, span.start, max(span.start, span.end))
    return Span(span.start, max(span.start + 1, end.start() if end else span.end))


def _moved(value: Expression, span: Span) -> Expression:
    """An expression of the command line, all its places at the var that it replaces."""
    from dataclasses import fields, is_dataclass

    def move(node: object) -> object:
        if isinstance(node, Span):
            return span
        if isinstance(node, tuple):
            return tuple(move(item) for item in node)
        if is_dataclass(node) and not isinstance(node, type):
            return type(node)(**{f.name: move(getattr(node, f.name)) for f in fields(node)})
        return node

    moved = move(value)
    assert isinstance(moved, Expression)
    return moved


def _split(source: Source, text: Text) -> tuple[Text | None, Text, Text | None]:
    """A line as target, expression and promised shape. Raises SpecError for a second ``=`` and for assignments that compute."""

    def fail(start: int, stop: int, message: str, help: str) -> None:
        raise SpecError([Problem(source, text.span(start, stop), "syntax", message, help)])

    value = text.value
    depth, equals, arrow = 0, [], None
    for i, c in ex.outside_strings(value):
        depth += (c in "([{") - (c in ")]}")
        if (
            c == "="
            and depth == 0
            and value[i + 1 : i + 2] not in ("=", ">")
            and value[i - 1 : i] not in tuple("=<>!:")
        ):
            equals.append(i)
        if c == "-" and value[i + 1 : i + 2] == ">" and depth == 0:
            arrow = i
    if arrow is not None and value[arrow - 1 : arrow] == "-":
        fail(arrow - 1, arrow + 2, "--> is not part of the language", "a promised shape stands behind ->")
    end = len(value) if arrow is None else arrow
    equals = [i for i in equals if i < end]
    if equals and value[equals[0] - 1 : equals[0]] in tuple("+-*/@%&|^"):
        name, sign = value[: equals[0] - 1].rstrip("/*").strip(), value[equals[0] - 1]
        fail(equals[0] - 1, equals[0] + 1, f"{sign}= is not part of the language", f"write `{name} = {name} {sign} …`")
    if len(equals) > 1:
        first, second = value[: equals[0]].strip(), value[equals[0] + 1 : equals[1]].strip()
        fail(
            equals[1],
            equals[1] + 1,
            "a line gives its value one name",
            f"write `{second} = …`, and `{first} = {second}` on a line below",
        )
    promise = None if arrow is None else text[arrow + 2 :]
    if not equals:
        return None, text[:end].strip(), promise
    return text[: equals[0]].strip(), text[equals[0] + 1 : end].strip(), promise
