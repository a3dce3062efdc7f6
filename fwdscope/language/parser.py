"""Parses the sections of a spec file.

All problems of the structure are collected: unknown keys, values of the wrong kind, lines that are not expressions.
Names are resolved by the next stage, :mod:`fwdscope.language.check`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from fwdscope.errors import InputError
from fwdscope.language import grammar, tree
from fwdscope.language.bodies import NodeParser
from fwdscope.language.composer import compose
from fwdscope.language.expression import Binary, Call, Constant, Expression, Name, TupleOrList, walk
from fwdscope.language.names import listed, nearest, suggestion
from fwdscope.language.plan_parser import mesh_of, plan_of
from fwdscope.language.problems import Cause, Problem, Source, Span, SpecError
from fwdscope.language.record import Record
from fwdscope.language.source import Scalar, Text, YamlList, YamlMapping, YamlNode
from fwdscope.settings import TrainingSettings
from fwdscope.units import Figure, positions

LANGUAGE_VERSION = 1
# The sections of a file.
SECTIONS = (
    "version", "name", "doc", "vars", "inputs", "defaults", "blocks", "layers", "graph", "model", "init", "shard",
    "mesh", "expect",
)  # fmt: skip

# The figures that ``expect`` may name besides ``output`` and ``layers``, and what each measures.
FIGURES = {
    "params": "count",
    "trainable_params": "count",
    "active_params": "count",
    "buffers": "count",
    "param_bytes": "bytes",
    "buffer_bytes": "bytes",
    "input_bytes": "bytes",
    "macs": "count",
    "flops": "count",
    "bytes_read": "bytes",
    "bytes_written": "bytes",
    "peak_memory": "bytes",
    "peak_activations": "bytes",
    "kv_cache": "bytes",
    "train_memory": "bytes",
    "saved_activations": "bytes",
    "train_flops": "count",
    "latency": "seconds",
}
# The figures of one rank of a mesh, under ``per_rank``.
RANK_FIGURES = {
    "params": "count",
    "param_bytes": "bytes",
    "macs": "count",
    "flops": "count",
    "memory": "bytes",
    "sent": "bytes",
    "train_flops": "count",
    "train_memory": "bytes",
    "train_sent": "bytes",
}
# Those of a training step.
STEP_FIGURES = ("train_memory", "saved_activations", "train_flops")
# The figures of a single layer.
LAYER_FIGURES = ("params", "trainable_params", "buffers", "macs", "flops", "bytes_read", "bytes_written", "latency")


def parse(source: Source, variables: Mapping[str, str] | None = None) -> tree.ModelSpec:
    """Parse a spec file; ``variables`` replace entries of ``vars`` (``--set``). Raises SpecError with all problems."""
    spec, problems = parse_all(source, variables)
    if problems:
        raise SpecError(problems)
    assert spec is not None
    return spec


def parse_all(source: Source, given: Mapping[str, str] | None = None) -> tuple[tree.ModelSpec | None, list[Problem]]:
    """Parse a spec file as :func:`parse` does, and return its problems with the spec.

    The spec keeps lines that do not parse. It is None if the problems leave open what the rest of the file means.
    """
    root, problems = compose(source)
    if problems and root is None:
        return None, problems
    parser = _SpecParser(source, problems)
    spec = parser.spec(root, given or {})

    def is_kept(problem: Problem) -> bool:
        inside = (one.start <= problem.span.start and problem.span.end <= one.end for one in parser.broken)
        return problem.source is source and any(inside)

    return spec if all(map(is_kept, parser.problems)) else None, parser.problems


def parse_leniently(source: Source) -> tree.ModelSpec | None:
    """Parse all of a file that can be read, with the places of its text; None if that is nothing.

    Lines at which YAML fails are left out: one that is half typed hides no other.
    """
    text = source.text
    for _ in range(_MAX_LINES_LEFT_OUT):
        root, problems = compose(Source(source.name, text))
        if root is not None or not problems or problems[-1].code == "limit":
            return _SpecParser(source, []).spec(root, {}) if root is not None else None
        start = source.offset(problems[-1].line, 1)
        end = start + len(source.line(problems[-1].line))
        if not text[start:end].strip():
            return None
        text = f"{text[:start]}{' ' * (end - start)}{text[end:]}"
    return None


# The most lines that YAML cannot read and that are left out.
_MAX_LINES_LEFT_OUT = 4


class _SpecParser(NodeParser):
    def spec(self, root: YamlNode | None, variables: Mapping[str, str]) -> tree.ModelSpec | None:
        if not isinstance(root, YamlMapping):
            what = "the file is empty" if root is None else "this is not a spec"
            span = self.first_line(root.span) if root else Span(0, 0)
            message = f"{what}: expected the sections `inputs:` and `layers:`"
            self.report(span, message, "start with `inputs:`, then `layers:`", "key")
            return None
        found = {key.value: (key, value) for key, value in root.entries}
        self.check_sections(root, found)
        flow = "graph" if "graph" in found else "layers"
        model = self.model(*found["model"]) if "model" in found else None
        key, body = found.get(flow, (None, None))
        get = {name: value for name, (_, value) in found.items()}
        file = self.source.name.replace("\\", "/").rsplit("/", 1)[-1]
        expect = self.expect(get.get("expect"))
        of_rank = next((one for one in expect.figures if one.name.startswith("per_rank.")), None)
        if of_rank is not None and "mesh" not in found:
            self.report(of_rank.span, "per_rank is of a mesh, and the spec has none", "add `mesh: tp=8`", "key")
        return tree.ModelSpec(
            source=self.source,
            name=self.plain(get.get("name")) or re.sub(r"\.ya?ml$", "", file),
            doc=self.plain(get.get("doc")),
            variables=self.variables(get.get("vars"), variables),
            inputs=self.inputs(get.get("inputs")),
            defaults=self.defaults(get.get("defaults")),
            blocks=self.blocks(get.get("blocks")),
            layers=() if model is not None and body is None else self.body(body, f"the section {flow}"),
            layers_span=key.span if key else Span(0, 0),
            graph=flow == "graph",
            init=self.init(get.get("init")),
            expect=expect,
            shard=plan_of(self, get["shard"]) if "shard" in get else None,
            mesh=mesh_of(self, get.get("mesh")),
            model=model,
            broken=tuple(self.broken),
        )

    def check_sections(self, root: YamlMapping, found: Mapping[str, tuple[Scalar, YamlNode]]) -> None:
        """Report unknown and missing sections, sections that exclude one another, and an unknown version."""
        meant = {name: nearest(name, SECTIONS, _OTHER_SECTIONS) for name in found if name not in SECTIONS}
        there = {*found, *filter(None, meant.values())}
        start = Span(root.span.start, root.span.start + 1)
        if meant and not there & {"inputs", "layers", "graph", "blocks"}:
            message = f"this is not a spec: it has neither `inputs:` nor `layers:`, but {listed(found, 4)}"
            self.report(start, message, "start with `inputs:`, then `layers:`", "key")
            return
        for name in meant:
            help = _NO_SECTIONS.get(name) or suggestion(name, SECTIONS, _OTHER_SECTIONS)
            if name in ("output", "outputs"):
                help = f"the result is the last line of `layers:`: write there `- {_result(found[name][1])}`"
            self.report(found[name][0].span, f"unknown section {name}", help, "key")
        if "layers" in found and "graph" in found:
            cause = Cause("layers is here", found["layers"][0].span)
            message = "a spec has layers or a graph, not both"
            help = "keep `layers:` for lines that run from top to bottom, `graph:` for lines in any order"
            self.report(found["graph"][0].span, message, help, "key", cause)
        if "model" in found and (others := [name for name in ("layers", "graph", "blocks") if name in found]):
            message = f"a spec has {others[0]} or a model in code, not both"
            self.report(found["model"][0].span, message, f"remove `{others[0]}:` or `model:`", "key")
        if not there & {"layers", "graph", "model"}:
            self.report(start, "there are no layers", "add `layers:` and a list of lines", "key")
        _, inputs = found.get("inputs", (None, None))
        if isinstance(inputs, YamlMapping) and not inputs.entries and not inputs.broken:
            self.report(inputs.span, "there are no inputs", _AN_INPUT, "key")
        elif "inputs" not in there and "model" not in found:
            self.report(start, "there are no inputs", _AN_INPUT, "key")
        _, version = found.get("version", (None, None))
        if version is not None and not (isinstance(version, Scalar) and version.value == str(LANGUAGE_VERSION)):
            shown = f" {version.value}" if isinstance(version, Scalar) else ""
            help = f"write `version: {LANGUAGE_VERSION}`, or remove it"
            self.report(version.span, f"version{shown} of the language is unknown", help, "key")

    def model(self, key: Scalar, node: YamlNode) -> tree.ModelInCode | None:
        """Parse the section ``model``."""
        form = "write `package.module:Name(width=64)`, `timm:resnet50` or `transformers:llama`"
        if isinstance(node, YamlList):
            self.report(key.span, "model: names a model in code, found a list", "a list of lines is `layers:`", "key")
            return None
        scalar = self.scalar(node, "a model in code", form)
        if scalar is None:
            return None
        text = scalar.text.strip()
        match = re.fullmatch(r"(?P<target>[\w.]+:[^\s(]+)(?P<call>\(.*\))?", text.value, re.S)
        if match is None:
            self.report(scalar.span, f"{text.value or 'this'} names no model in code", form)
            return None
        call: Expression | None = None
        if match["call"]:  # its parentheses, as those of a call of anything
            inside = text[match.start("call") :]
            head = Text(f"m{inside.value}", (inside.offset(0), *inside.offsets), inside.end)
            call = self.attempt(grammar.parse, self.source, head)
            if isinstance(call, Call) and call.arguments:
                self.report(call.arguments[0].span, "a model's arguments go by keyword", "write `width=64`")
        keywords = call.keywords if isinstance(call, Call) else ()
        return tree.ModelInCode(scalar.span, match["target"], keywords, text.value)

    def plain(self, node: YamlNode | None) -> str | None:
        """Read ``name`` or ``doc``: a plain text."""
        if node is None or isinstance(node, Scalar):
            return None if node is None else node.value.strip()
        self.report(self.first_line(node.span), "expected a text", "put the text in quotes", "key")
        return None

    def variables(self, node: YamlNode | None, given: Mapping[str, str]) -> tuple[tree.Variable, ...]:
        """Parse the section ``vars``, some of whose entries ``--set`` replaces."""
        result, known = [], []
        for key, node_value in self.mapping(node, "vars", "write `vars: {B: 1, d: 64}`"):
            name = self.plain_name(key.text, key.span, "a var")
            if name is None:
                continue
            known.append(name)
            text = given.get(name)
            value = self.variable_value(node_value) if text is None else self.attempt(self.given, key, text)
            if value is not None:
                result.append(tree.Variable(name, key.span, value, text))
        for name in given:
            if name not in known:
                source = Source(f"--set {name}", f"{name}={given[name]}")
                help = suggestion(name, known, what="there is") if known else "the spec has no vars"
                problem = Problem(source, Span(0, len(name)), "name", f"there is no var {name}", help)
                self.problems.append(problem)
        return tuple(result)

    def given(self, key: Scalar, text: str) -> Expression:
        """Parse a value of ``--set``. Its problems are placed in its own text, its nodes at the var."""
        source = Source(f"--set {key.value}", text)
        value = grammar.parse(source, Text(text, range(len(text)), len(text)))
        return _moved(value, key.span)

    def variable_value(self, node: YamlNode) -> Expression | None:
        """Parse a var: an expression, a quoted string, or a nested list of them."""
        only = node.items[0] if isinstance(node, YamlList) and len(node.items) == 1 else None
        in_words = isinstance(only, Scalar) and not only.quoted and re.search(r"\sfor\s.*\sin\s", only.value, re.S)
        if in_words:  # a comprehension, for YAML a list with one text
            raw = self.source[node.span]
            return self.attempt(grammar.parse, self.source, Text(raw, range(*node.span), node.span.end))
        if isinstance(node, YamlList):
            items = [self.variable_value(item) for item in node.items]
            known = tuple(item for item in items if item is not None)
            return None if node.broken or len(known) != len(items) else TupleOrList(node.span, "list", known)
        help = "write each var on a line of its own: `d: 64`"
        scalar = self.scalar(node, "a number, a string, a boolean or a list", help)
        if scalar is None:
            return None
        return Constant(scalar.span, scalar.value) if scalar.quoted else self.parse_or_keep(scalar)

    def inputs(self, node: YamlNode | None) -> tuple[tree.Input, ...]:
        result = []
        for key, value in self.mapping(node, "inputs", _AN_INPUT):
            name = self.plain_name(key.text, key.span, "an input")
            sizes = re.search(r"\[([\w, ]+)\]", self.source[value.span])
            help = f"write `{key.value}: randn({sizes[1] if sizes else '1, 3, 224, 224'})`"
            scalar = self.scalar(value, "an expression that makes a tensor", help)
            if name is not None and scalar is not None:
                result.append(tree.Input(name, key.span, self.parse_or_keep(scalar), scalar.value))
        return tuple(result)

    def defaults(self, node: YamlNode | None) -> tuple[Call, ...]:
        result = []
        for item in self.listing(node, "defaults", "write `defaults:` and `- Conv2d(bias=False)`"):
            scalar = self.scalar(item, "a layer with settings", "write `- Conv2d(bias=False)`")
            parsed = self.attempt(grammar.parse, self.source, scalar.text) if scalar else None
            if parsed is None:
                continue
            function = parsed.function if isinstance(parsed, Call) else parsed
            if isinstance(parsed, Call) and isinstance(function, Name) and not parsed.arguments:
                result.append(parsed)
                continue
            layer = function.id if isinstance(function, Name) else "Conv2d"
            help = f"write `- {layer}(bias=False)`"
            self.report(parsed.span, "a default is a layer with settings by keyword", help)
        return tuple(result)

    def blocks(self, node: YamlNode | None) -> tuple[tree.Block, ...]:
        result: dict[str, tree.Block] = {}
        help = "write `blocks:`, below it `Block(width):`, below that a list of lines"
        for key, value in self.mapping(node, "blocks", help):
            head = self.attempt(self.head, key)
            body = self.body(value, f"the block {key.value}")
            if head is None:
                self.keep_broken(key)
                continue
            name, settings, inputs = head
            if name in result:
                cause = Cause("first given here", result[name].span)
                message = f"the block {name} is given twice"
                self.report(key.span, message, "rename one of them", "key", cause)
            else:
                result[name] = tree.Block(name, key.span, settings, inputs, body)
        return tuple(result.values())

    def head(self, key: Scalar) -> tuple[str, tuple[tree.BlockParameter, ...], tuple[tree.BlockParameter, ...]]:
        """Parse ``Up(width, stride=1)(x, skip)`` into name, settings and inputs. Raises SpecError."""
        parsed = grammar.parse(self.source, key.text)
        calls: list[Call] = []
        while isinstance(parsed, Call):
            calls.insert(0, parsed)
            parsed = parsed.function
        if not isinstance(parsed, Name) or len(calls) > 2:
            help = "write `Block:`, `Block(width, stride=1):` or `Block(width)(x, skip):`"
            self.fail(key.span, "this is not the head of a block", help)
        if not parsed.id[0].isupper():
            capital = parsed.id[0].upper() + parsed.id[1:]
            help = f"write `{capital}`: layers and blocks start with a capital, functions with a small letter"
            self.fail(parsed.span, f"the block {parsed.id} starts with a small letter", help, "name")
        settings = self.parameters(calls[0], "setting") if calls else ()
        inputs = self.parameters(calls[1], "input") if len(calls) > 1 else (tree.BlockParameter("x", key.span),)
        for parameter in inputs:
            first = next((p for p in settings if p.name == parameter.name), None)
            if first is not None:
                span = parameter.span if len(calls) > 1 else first.span
                message = f"{parameter.name} is a setting and an input"
                message += "" if len(calls) > 1 else "; a block without named inputs has one called x"
                self.fail(span, message, "give one of them another name", "name")
        return parsed.id, settings, inputs

    def parameters(self, call: Call, what: str) -> tuple[tree.BlockParameter, ...]:
        """Parse the settings or the inputs in the head of a block. Raises SpecError."""
        result: list[tree.BlockParameter] = []
        article = "an" if what == "input" else "a"
        for argument in call.arguments:
            if not isinstance(argument, Name):
                example = "Block()(x, y)" if what == "input" else "Block(width, stride=1)"
                message = f"{self.source[argument.span]} is not the name of {article} {what}"
                self.fail(argument.span, message, f"the head names the {what}s: `{example}`")
            result.append(tree.BlockParameter(argument.id, argument.span))
        result += [tree.BlockParameter(k.name, k.span, k.value) for k in call.keywords]
        for i, parameter in enumerate(result):
            if parameter.name in ("prev", "_"):
                message = f"{parameter.name} cannot be the name of {article} {what}"
                self.fail(parameter.span, message, "choose another name", "name")
            if any(other.name == parameter.name for other in result[:i]):
                message = f"the {what} {parameter.name} is given twice"
                self.fail(parameter.span, message, "remove one of them", "name")
        return tuple(result)

    def init(self, node: YamlNode | None) -> tuple[tree.Initialiser, ...]:
        result = []
        form = "write `Linear.weight: xavier_uniform()`"
        for key, value in self.mapping(node, "init", form.replace("write", "write `init:` and below it")):
            if not re.fullmatch(r"\w+(\.\w+)*", key.value):
                help = "a key is the end of a path, as in `c_proj.weight`, or a layer type and its tensor: "
                help += "`Linear.weight`"
                help += "; it cannot contain *" if "*" in key.value else ""
                self.report(key.span, f"{key.value} is not a path", help, "key")
            scalar = self.scalar(value, "a call of torch.nn.init", form)
            parsed = self.attempt(grammar.parse, self.source, scalar.text) if scalar else None
            if isinstance(parsed, Call) and isinstance(parsed.function, Name):
                result.append(tree.Initialiser(key.value, key.span, parsed))
            elif parsed is not None:
                shown = self.source[parsed.span]
                help = f"write `constant({shown})`" if re.fullmatch(r"-?[\d.e-]+", shown) else form
                self.report(parsed.span, f"an initialiser must be a call, found {shown}", help)
        return tuple(result)

    def expect(self, node: YamlNode | None) -> tree.Expectations:
        figures: list[tree.ExpectedFigure] = []
        outputs: list[tree.ExpectedOutput] = []
        form = "write `layer4.0.conv2: {macs: 115.6M}`"
        entries: list[tuple[Scalar, YamlNode, Scalar | None]] = []
        training: tuple[tree.TrainingSetting, ...] = ()
        step: Scalar | None = None
        for key, value in self.mapping(node, "expect", "write `expect:` and `params: 25_557_032`"):
            if key.value == "layers":
                for path, inner in self.mapping(value, "layers", form):
                    form = f"write `{path.value}: {{macs: 115.6M}}` or `{path.value}: (B, 64)`"
                    if isinstance(inner, Scalar) and inner.value.startswith("("):
                        outputs += [one for one in [self.expected_shape(inner, path)] if one]
                        continue
                    entries += [(*entry, path) for entry in self.mapping(inner, path.value, form)]
            elif key.value == "per_rank":
                form = "write `per_rank: {memory: <= 80 GB}`"
                for name, item in self.mapping(value, "per_rank", form):
                    figure = self.expected(name, item, None, RANK_FIGURES)
                    figures += [figure] if isinstance(figure, tree.ExpectedFigure) else []
            elif key.value == "training":
                step, training = key, tuple(self.training(value))
            else:
                entries.append((key, value, None))
        named = {name.value for name, _, _ in entries} | {one.name for one in figures}
        if step is not None and training and not any(name in STEP_FIGURES or ".train" in name for name in named):
            self.report(step.span, "nothing is expected of the training step", "add `train_memory: <= 80 GiB`", "key")
        for name, item, layer in entries:
            found = self.expected(name, item, layer)
            if isinstance(found, tree.ExpectedFigure):
                figures.append(found)
            elif found is not None:
                outputs.append(found)
        return tree.Expectations(tuple(figures), tuple(outputs), training)

    def training(self, node: YamlNode) -> Iterator[tree.TrainingSetting]:
        """Parse the settings of the training step whose figures are expected."""
        defaults = {one.name: one.default for one in fields(TrainingSettings)}
        for key, value in self.mapping(node, "training", "write `training: {optimizer: adamw, loss: cross_entropy}`"):
            name = key.value
            if name not in defaults:
                message = f"{name} is a figure of the step, not a setting" if name in FIGURES else None
                help = "write it under `expect:`, beside `training:`" if message else suggestion(name, defaults)
                self.report(key.span, message or f"a training step has no setting {name}", help, "key")
                continue
            form, takes_several = f"write `{name}: {_TYPICAL[name]}`", isinstance(defaults[name], tuple)
            nodes = value.items if isinstance(value, YamlList) and takes_several else (value,)
            texts = [one.value for one in (self.scalar(node, "a value", form) for node in nodes) if one is not None]
            if not texts or len(texts) < len(nodes):
                continue
            found = tuple(texts) if takes_several else _setting(texts[0], defaults[name])
            try:
                TrainingSettings.of({name: found})
            except InputError as error:
                self.report(value.span, str(error), form, "value")
            else:
                yield tree.TrainingSetting(name, value.span, found)

    def expected_shape(self, scalar: Scalar, layer: Scalar | None) -> tree.ExpectedOutput | None:
        """Parse the shape that a layer's output, or the network's, must have."""
        shape = self.attempt(self.shape, scalar.text)
        path, place = (layer.value, layer.span) if layer else (None, None)
        return tree.ExpectedOutput(shape.span, shape, scalar.value, path, place) if shape else None

    def expected(
        self, key: Scalar, value: YamlNode, layer: Scalar | None, of_rank: Mapping[str, str] | None = None
    ) -> tree.ExpectedFigure | tree.ExpectedOutput | None:
        """Parse one expectation, of a layer, of the whole network, or of a rank."""
        name = key.value
        known: Sequence[str] = (
            ("output", *LAYER_FIGURES) if layer else ("output", "layers", "per_rank", "training", *FIGURES)
        )
        known = tuple(of_rank) if of_rank else known
        if name not in known:
            message = f"{name} is a figure of the whole network, not of a layer" if name in FIGURES else None
            self.report(key.span, message or f"unknown expectation {name}", suggestion(name, known), "key")
            return None
        form = "write `output: (B, 10)`" if name == "output" else f"write `{name}: 25_557_032`"
        scalar = self.scalar(value, "a shape" if name == "output" else "a figure", form)
        path, place = (layer.value, layer.span) if layer else (None, None)
        if scalar is None:
            return None
        if name == "output":
            return self.expected_shape(scalar, layer)
        text, _, device = (part.strip() for part in scalar.value.partition(" on "))
        text, _, behind = (part.strip() for part in text.partition(" past "))
        formula = None
        try:
            figure = Figure.parse(text)
        except ValueError as error:
            if (formula := self.formula(scalar)) is None:
                self.report(scalar.span, f"{text or 'nothing'} is not a figure", str(error), "value")
                return None
            figure = Figure(text, None, None)
        try:
            past = positions(behind) if behind else 1
        except ValueError as error:
            message, _, help = str(error).partition(": ")
            self.report(scalar.span, message, help, "value")
            return None
        if behind and name != "kv_cache":
            self.report(scalar.span, f"{name} has no earlier positions", f"write `{name}: {text}`", "value")
        elif device and name != "latency":
            self.report(scalar.span, f"{name} is the same on every device", f"write `{name}: {text}`", "value")
        elif formula is None and (wrong := _wrong_measure(name, (of_rank or FIGURES)[name], figure, text)):
            self.report(scalar.span, *wrong, "value")
            return None
        name = f"per_rank.{name}" if of_rank else name
        return tree.ExpectedFigure(name, scalar.span, figure, scalar.value, path, device or None, place, past, formula)

    def formula(self, scalar: Scalar) -> Expression | None:
        """An expected figure as a formula in vars: a calculation with names; None if it is none."""
        try:
            found = grammar.parse(self.source, scalar.text.strip())
        except SpecError:
            return None
        return found if isinstance(found, Binary) and any(isinstance(one, Name) for one in walk(found)) else None


# A value of each setting of a training step.
_TYPICAL = {
    "loss": "cross_entropy", "optimizer": "adamw", "train_only": "'*lora*'", "checkpoint": "'h.*'", "accumulate": "4",
    "autocast": "bf16", "master_weights": "true",
}  # fmt: skip


def _setting(text: str, default: object) -> object:
    """The value of a setting, of the kind of its default; the text itself where it is of no such kind."""
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    return int(text) if isinstance(default, int) and re.fullmatch(r"[0-9][0-9_]*", text) else text


def _wrong_measure(name: str, measure: str, figure: Figure, text: str) -> tuple[str, str] | None:
    if figure.measure == measure or (figure.measure is None and measure != "seconds"):
        return None
    units = {"bytes": "250 MiB", "seconds": "40 ms", "count": "4.09G"}
    found = {"bytes": "a number of bytes", "seconds": "a time"}.get(figure.measure or "", "a number without a unit")
    wanted = {"bytes": "bytes", "seconds": "a time", "count": "a count"}[measure]
    return f"{name} is {wanted}, found {found}: {text}", f"write `{name}: {units[measure]}`"


def _result(node: YamlNode) -> str:
    """Return the last line that a section ``outputs`` stands for."""
    listed = node.items if isinstance(node, YamlList) else ()
    values = [value for _, value in node.entries] if isinstance(node, YamlMapping) else listed
    names = [one.value for one in values if isinstance(one, Scalar) and one.value.isidentifier()]
    names = names or ([node.value] if isinstance(node, Scalar) and node.value else ["logits", "h"])
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


_AN_INPUT = "write `inputs:` and below it `image: randn(1, 3, 224, 224)`"

# What people call the sections elsewhere.
_OTHER_SECTIONS = {
    **dict.fromkeys(("network", "modules", "backbone", "forward"), "layers"),
    **dict.fromkeys(("var", "variables", "params", "constants"), "vars"),
    **dict.fromkeys(("checks", "expected"), "expect"),
    "input": "inputs",
    "default": "defaults",
    "initializers": "init",
    "description": "doc",
}


# Sections that a spec does not have, and what to do instead.
_NO_SECTIONS = {
    **dict.fromkeys(("loss", "optimizer", "training", "train", "dataset"), "remove it: a spec is the forward pass"),
}


def _moved(value: Expression, span: Span) -> Expression:
    """Move all places of an expression of the command line to the var that it replaces."""

    def move(node: object) -> object:
        if isinstance(node, Span):
            return span
        if isinstance(node, tuple):
            return tuple(move(item) for item in node)
        if isinstance(node, Record):
            return node.replace(**{name: move(getattr(node, name)) for name in type(node)._fields})
        return node

    moved = move(value)
    assert isinstance(moved, Expression)
    return moved
