"""Sections, blocks and lines → ModelSpec.

Every problem that the structure shows is collected and told at once: unknown keys, things of the wrong kind, lines that
are no expressions. What names mean is the next stage's business (:mod:`fwdscope.spec.check`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from fwdscope.spec import expression as ex
from fwdscope.spec import grammar, tree
from fwdscope.spec.bodies import BodyParser, first_line
from fwdscope.spec.composer import compose
from fwdscope.spec.expression import Call, Constant, Expression, Name, Sequence
from fwdscope.spec.names import suggestion
from fwdscope.spec.problems import Cause, Problem, Source, Span, SpecError
from fwdscope.spec.source import Listing, Node, Scalar, Text
from fwdscope.spec.source import Mapping as YamlMapping
from fwdscope.units import Figure

LANGUAGE_VERSION = 1


# The sections of a file; a new one is an entry here and a method of _Parser of the same name.
SECTIONS = ("version", "name", "doc", "vars", "inputs", "defaults", "blocks", "layers", "graph", "init", "expect")


# Figures that ``expect`` may name, beside ``output`` and ``layers``.
FIGURES = (
    "params", "trainable_params", "buffers", "param_bytes", "buffer_bytes", "macs", "flops", "bytes_read", "bytes_written",
    "peak_memory", "latency",
)  # fmt: skip


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


class _Parser(BodyParser):
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
        key, body = found[body_key] if body_key in found else (None, None)
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

    def named(self, key: Scalar, what: str) -> bool:
        """Whether a key is a name, told where it is not."""
        target = self.attempt(grammar.parse_target, self.source, key.text)
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
                span = Span(0, 0) if node is None else first_line(node.span, self.source)
                self.problem(
                    span, f"--set {name}: there is no var {name}", suggestion(name, known, what="the var"), "name"
                )
        return tuple(result)

    def _given(self, key: Scalar, text: str) -> Expression:
        """A value of --set. Its places are those of its own text."""
        source = Source(f"--set {key.value}", text)
        value = grammar.parse(source, Text(text, tuple(range(len(text))), len(text)))
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
        return self.attempt(grammar.parse, self.source, scalar.text)

    def inputs(self, node: Node | None) -> tuple[tree.Input, ...]:
        result = []
        help = "write `inputs:` and `image: randn(1, 3, 224, 224)`"
        for key, value in self.mapping(node, "inputs", help) if node else ():
            scalar = self.scalar(value, "an expression that makes a tensor", "write `image: randn(1, 3, 224, 224)`")
            if scalar is None or not self.named(key, "an input"):
                continue
            if parsed := self.attempt(grammar.parse, self.source, scalar.text):
                result.append(tree.Input(key.value, key.span, parsed, scalar.value))
        return tuple(result)

    def defaults(self, node: Node | None) -> tuple[Call, ...]:
        result = []
        for item in self.listing(node, "defaults", "write `defaults:` and `- Conv2d(bias=False)`"):
            scalar = self.scalar(item, "a layer with settings", "write `- Conv2d(bias=False)`")
            parsed = scalar and self.attempt(grammar.parse, self.source, scalar.text)
            if not parsed:
                continue
            if not (isinstance(parsed, Call) and isinstance(parsed.function, Name)) or parsed.arguments:
                self.problem(
                    parsed.span, "a default is a layer with settings by keyword", "write `- Conv2d(bias=False)`"
                )
            else:
                result.append(parsed)
        return tuple(result)

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
        parsed = grammar.parse(self.source, key.text)
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

    def init(self, node: Node | None) -> tuple[tree.Initialiser, ...]:
        result = []
        form = "write `Linear.weight: xavier_uniform()`"
        for key, value in self.mapping(node, "init", form) if node else ():
            if not re.fullmatch(r"\w+(\.\w+)*", key.value):
                help = "the key is the end of a path (`c_proj.weight`), or a layer type and its tensor (`Linear.weight`); there is no *"
                self.problem(key.span, f"{key.value} is not a path", help, "key")
            scalar = self.scalar(value, "a call of torch.nn.init", form)
            parsed = scalar and self.attempt(grammar.parse, self.source, scalar.text)
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


def _moved(value: Expression, span: Span) -> Expression:
    """An expression of the command line, all its places at the var that it replaces."""

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
