"""Writes the constructor of a class: the text that makes each layer, with the sizes that the spec leaves out."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from fwdscope.commands.annotate.sizes import KnownSize, describe_size
from fwdscope.commands.export.observe import BodyView, LayerRun, Turns
from fwdscope.commands.export.shared import PythonModule
from fwdscope.commands.export.text import bracketed, clause_text, literal, local_name, python, target_text
from fwdscope.functions.functions import CONSTANTS, DTYPES, FUNCTIONS
from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.names import MODE, SERIES
from fwdscope.language.problems import Span
from fwdscope.layers import Buildable, Layer, settings
from fwdscope.model.templates import (
    TEMPLATES,
    BlockTemplate,
    ImportedTemplate,
    LayerTemplate,
    SeriesTemplate,
    Template,
    flatten,
)

# Settings whose values are sizes of outputs, which inputs of later layers may equal.
_SIZES = ("out_channels", "out_features", "embedding_dim", "hidden_size")
# Where torch's layers keep a layer that they were given as a setting.
_INSIDE = {
    "encoder_layer": "layers.0", "decoder_layer": "layers.0", "expert": "experts.0", "shared": "shared_experts",
    "custom_encoder": "encoder", "custom_decoder": "decoder",
}  # fmt: skip
# The most runs of equal copies in a stack that are written one after the other.
_MAX_RUNS = 3


class Group(NamedTuple):
    """The layers that an expression made in one round of one run; ``round`` counts those of a loop being written."""

    view: BodyView
    turns: Turns
    made: list[tuple[nn.Module, Template]]
    round: int = 0


# Values of a size or setting, each with where it was found.
Values = Sequence[tuple[Group, Any]]


class Argument(NamedTuple):
    """An argument of a class, and its value in each run; a ``flag`` says whether a branch is taken."""

    kind: str  # size, setting, var or flag
    type: str
    default: str | None
    values: Mapping[BodyView, Any]
    comment: str = ""

    @property
    def of_rounds(self) -> bool:
        """Whether it has a value for each round of a loop."""
        return self.kind in ("size", "flag") and self.type.startswith("tuple")

    @property
    def order(self) -> tuple[bool, int]:
        """Its place: those with a default come last."""
        return self.default is not None, ("size", "setting", "var", "flag").index(self.kind)


class Constructor(ABC):
    """Writes the constructor of one class, whose body are ``lines`` of the network, of a block or of a part."""

    def __init__(
        self,
        module: PythonModule,
        name: str,
        lines: tuple[tree.Line, ...],
        views: Sequence[BodyView],
        block: tree.Block | None = None,
        part: bool = False,
    ) -> None:
        self.module, self.name, self.body, self.views, self.block = module, name, lines, views, block
        self.is_part, self.is_network = part, block is None and not part
        self.arguments: dict[str, Argument] = {}
        # Lines before and after the call of nn.Module's constructor: vars that are computed, then what is made.
        self.computed: dict[str, str] = {}
        self.made: list[tuple[int, str, str]] = []
        self.made_depth = 0
        self.buffers: list[str] = []
        # The sizes so far as text, the latest last.
        self.sizes: list[tuple[str, dict[BodyView, int]]] = []
        # The names of attributes, and of those without weights or a name, by the text that makes them.
        self.attributes: set[str] = set()
        self.unnamed: dict[str, str] = {}
        self.stored: dict[str, None] = {}
        # The names of the loops around what is made now, and the sizes that differ between their rounds.
        self.bound: list[set[str]] = []
        self.rounds: list[dict[str, list[str]]] = []
        # The tests around a line in the loop that is being written.
        self.conditions: list[Expression] = []

    # What the writer of the lines knows (:mod:`fwdscope.commands.export.forward`).

    @abstractmethod
    def known_name(self, name: str) -> str | None:
        """Return how the constructor reads a value that a line makes from no input."""

    @abstractmethod
    def call_function(self, node: Call, name: str, inner: Callable[[Expression], str], forward: bool) -> str:
        """Return the call of a function."""

    def argument_of_setting(self, values: dict[BodyView, Any], default: str | None) -> Argument:
        """Return the argument for a setting of the block."""
        return Argument("setting", type_text(values.values()), default, values)

    def make(self, text: str, comment: str = "") -> None:
        """Add a statement to the constructor."""
        self.made.append((self.made_depth, text, comment))

    # -- names --------------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the block around."""
        return self.views[0].settings

    def is_setting_or_var(self, name: str) -> bool:
        """Whether a name is that of a setting or var."""
        return name in self.settings or name in self.module.checked.variables

    def constant_name(self, name: str) -> bool:
        """Whether the constructor knows a name. A setting or var becomes an argument, a computed var a line."""
        if any(name in names for names in self.bound) or name in self.arguments or name in self.computed:
            return True
        if not self.is_setting_or_var(name):
            return False
        values = {view: view.constants.get(name) for view in self.views}
        default, comment = None, ""
        if self.is_network:
            variables = self.module.checked.variables
            entry = next(one for one in self.module.spec.variables if one.name == name)
            if any(isinstance(node, Name) and node.id in variables for node in ex.walk(entry.value)):
                self.computed[name] = ""
                text = python(entry.value, self.replace_constant)
                del self.computed[name]  # its place is behind those that it reads
                self.computed[name] = f"{name} = {text}"
                return True
            if isinstance(variables[name], list | tuple):
                rows = (literal(tuple(row) if isinstance(row, list) else row) for row in variables[name])
                self.computed[name] = f"{name} = [{', '.join(rows)}]"
                return True
            default = python(entry.value, self.replace_constant)
            line = self.module.source.line(self.module.source.place(entry.span.start)[0])
            comment = "" if "{" in line.partition("#")[0] else self.module.comments(entry.span)[1]
        self.arguments[name] = Argument("var", type_text(values.values()), default, values, comment)
        return True

    def store(self, name: str) -> str:
        """Let the constructor keep a setting or var, and return how ``forward`` reads it."""
        self.constant_name(name)
        self.stored[name] = None
        return f"self.{name}"

    def definition(self, name: str) -> tree.Statement | None:
        """Return the line that makes a value, if it runs once."""
        todo = list(self.body)
        for line in todo:
            if isinstance(line, tree.Statement) and name in [one.name for one in ex.targets(line.target)]:
                return line
            if isinstance(line, tree.If):
                todo += [*line.then, *line.orelse]
        return None

    # -- constants ----------------------------------------------------------------------------------------------------

    def recorded(self, node: Expression) -> list[tuple[Group, Any]]:
        """The values of an expression, and where."""
        return [(Group(view, turns, []), value) for view in self.views for turns, value in view.all(node)]

    def constant(self, node: Expression) -> str:
        """Return an expression that the constructor computes."""
        return python(node, self.replace_constant)

    def replace_constant(self, node: Expression) -> str | None:
        """Return the text of a node that is not written as it stands: sizes in place of shapes."""
        match node:
            case Name(id=name):
                if self.constant_name(name):
                    return local_name(name)
                line = self.definition(name)
                if line is None and (name in CONSTANTS or name in DTYPES):
                    return f"math.{name}" if name in CONSTANTS else f"torch.{DTYPES[name]}"
                if line is None or not isinstance(line.target, ex.NameTarget):
                    return self._sizes_at(node) or self.known_name(name)
                return self.known_name(name)
            case ex.Attribute() | ex.Subscript():
                plain = not any(isinstance(one, ex.Attribute | Call) for one in ex.walk(node))
                names = [one.id for one in ex.walk(node) if isinstance(one, Name)]
                return None if plain and all(map(self.constant_name, names)) else self._sizes_at(node)
            case Call(function=Name(id=name)) if name in FUNCTIONS and not self.constant_name(name):
                return self.call_function(node, name, self.constant, False)
            case Call(function=ex.Attribute()):
                return self._sizes_at(node)
        return None

    def _sizes_at(self, node: Expression) -> str | None:
        """Return a node whose values are numbers that rest on shapes as sizes."""
        values = self.recorded(node)
        if values and all(type(value) is int for _, value in values):
            return self.size(values, "size", node.span)
        if values and all(isinstance(value, tuple) and len(value) == len(values[0][1]) for _, value in values):
            items = [[(group, value[i]) for group, value in values] for i in range(len(values[0][1]))]
            if all(type(value) is int for item in items for _, value in item):
                return f"({', '.join(self.size(item, 'size', node.span) for item in items)},)"
        return None

    def rests_on_rounds(self, node: Expression) -> bool:
        """Whether an expression reads what the rounds of a loop in ``forward`` make."""
        lines = [one for one in tree.statements(self.body) if isinstance(one, tree.Statement | tree.For)]
        assigned = {name.name for one in lines for name in ex.targets(one.target)}
        names = {one.id for one in ex.walk(node) if isinstance(one, Name)} & assigned
        return any(not any(name in known for known in self.bound) and self.definition(name) is None for name in names)

    def value_text(self, node: Expression | None, values: Values, span: Span) -> str:
        """Return the value of a setting: the file's expression, or else a size or a number."""
        names = {one.id for one in ex.walk(node) if isinstance(one, Name)} if node is not None else set()
        if node is not None and MODE not in names and not self.rests_on_rounds(node):
            text = self.constant(node)
            # An expression of shapes alone is a number here.
            return text if re.search(r"[^\W\d]", text) or not names else literal(values[0][1])
        if all(type(value) is int for _, value in values):
            return self.size(values, "size", span)
        now = [value for group, value in values if not group.view.changed]
        if all(isinstance(value, tuple) and len(value) == len(now[0]) for _, value in values):
            items = [self.value_text(None, [(g, v[i]) for g, v in values], span) for i in range(len(now[0]))]
            return f"({', '.join(items)}{',' * (len(items) == 1)})"
        if all(value == now[0] for value in now):
            return literal(now[0])
        raise self.module.problem(span, "this differs between uses, by no rule that the constructor could state")

    # -- sizes --------------------------------------------------------------------------------------------------------

    def size(self, values: Values, name: str, span: Span) -> str:
        """Return a size as text: an earlier size, an expression of settings and vars, a number, or an argument."""
        for text, known in reversed(self.sizes):
            if all(known.get(group.view) == value for group, value in values):
                return text
        now: list[KnownSize] = []
        changed: list[KnownSize] = []
        for group, value in values:
            (changed if group.view.changed else now).append(KnownSize(value, dict(self._whole_numbers(group.view))))
        if not now:
            return "0"  # of what is never made
        names = list(dict.fromkeys(n for one in (*now, *changed) for n in one.names))
        text = describe_size(now, changed, names)
        if text.isdigit() and any(one.size != int(text) for one in changed):
            # It rests on several vars, as one that a choice decides. A rule for one of them is better than none.
            by_vars: dict[tuple[str, ...], list[KnownSize]] = {}
            for group, value in values:
                at = KnownSize(value, dict(self._whole_numbers(group.view)))
                by_vars.setdefault(group.view.changed_vars, []).append(at)
            texts = [describe_size(now, by_vars[one], names) for one in by_vars if one]
            text = next((one for one in texts if not one.isdigit() and one != "_"), text)
        if text != "_":
            for word in re.findall(r"[^\W\d]\w*", text):
                self.constant_name(word)
            return text
        if self.rounds and (found := self._size_of_rounds(values, name, span)):
            return found
        return self._argument(values, name, span)

    def _whole_numbers(self, view: BodyView) -> Iterator[tuple[str, int]]:
        names = view.constants
        names |= {n: one.values[view] for n, one in self.arguments.items() if one.kind == "size" and view in one.values}
        return ((n, value) for n, value in names.items() if type(value) is int)

    def _size_of_rounds(self, values: Values, name: str, span: Span) -> str | None:
        """Return the name of a size that differs between the rounds of a loop, but is the same in all runs."""
        by_round: dict[int, list[tuple[Group, Any]]] = {}
        for group, value in values:
            by_round.setdefault(group.round, []).append((group, value))
        now = {i: {v for group, v in one if not group.view.changed} for i, one in by_round.items()}
        if any(len(one) > 1 for one in now.values()):
            return self._argument_of_rounds(values, name, "size")
        names = self.rounds.pop()
        count = max((i for i, one in now.items() if one), default=0) + 1
        texts = [self.size(by_round.get(i, []), name, span) for i in range(count)]
        self.rounds.append(names)
        return self.name_of_rounds(name, texts)

    def _argument_of_rounds(self, values: Values, name: str, kind: str) -> str | None:
        """Return the name of a size or flag in the rounds of a loop, which an argument gives as a tuple."""
        found: dict[BodyView, dict[int, Any]] = {}
        for group, value in values:
            if found.setdefault(group.view, {}).setdefault(group.round, value) != value:
                return None
        if self.is_network:
            return None
        tuples = {view: tuple(one.get(i, 0) for i in range(max(one) + 1)) for view, one in found.items()}
        argument = self.free_argument(name if name.endswith("s") else f"{name}s")
        hint = f"tuple[{'int' if kind == 'size' else 'bool'}, ...]"
        self.arguments[argument] = Argument(kind, hint, None, tuples)
        self.rounds[-1][name] = [argument]
        return name

    def free_argument(self, name: str) -> str:
        """Return a name that no argument has."""
        names = (name, *(f"{name}_{i}" for i in range(2, 99)))
        return next(n for n in names if n not in self.arguments and not self.is_setting_or_var(n))

    def name_of_rounds(self, name: str, texts: list[str]) -> str:
        """Return a name that takes these values in the rounds of the loop being written."""
        names = self.rounds[-1]
        while name in names and names[name] != texts:
            name = f"{name}_"
        names[name] = texts
        return name

    def _argument(self, values: Values, name: str, span: Span) -> str:
        """Return the name of a new argument of the class with these values: where it can, a size of an input."""
        found: dict[BodyView, int] = {}
        for group, value in values:
            if found.setdefault(group.view, value) != value:
                message = "the sizes of these layers follow no rule that the constructor could state"
                raise self.module.problem(span, message)
        for inputs in zip(*(view.inputs.items() for view in self.views), strict=False):
            shapes = [tuple(x.shape) if isinstance(x, Tensor) else () for _, x in inputs]
            for dim in (1, -1, 0, 2, 3):
                sizes = [shape[dim] if -len(shape) <= dim < len(shape) else None for shape in shapes]
                every = dict(zip(self.views, sizes, strict=True))
                if all(every[view] == value for view, value in found.items()):
                    found = {view: value for view, value in every.items() if value is not None}
        name = self.free_argument(name)
        self.arguments[name] = Argument("size", "int", None, found)
        self.sizes.append((name, found))
        return name

    def _keep_size(self, text: str, values: Values) -> None:
        """Keep a size that later layers may take in."""
        found: dict[BodyView, int] = {}
        in_loop = {*(n for names in self.bound for n in names), *(n for names in self.rounds for n in names)}
        if in_loop.isdisjoint(re.findall(r"\w+", text)):
            for group, value in values:
                if type(value) is not int or found.setdefault(group.view, value) != value:
                    return
            self.sizes.append((text, found))

    # -- layers in series ---------------------------------------------------------------------------------------------

    def groups(self, runs: Iterable[tuple[BodyView, LayerRun]]) -> list[Group]:
        """Return what the calls of one layer made; of a stack its layers, one by one."""
        found: dict[tuple[BodyView, Turns], Group] = {}
        for view, run in runs:
            made: list[tuple[nn.Module, Template]] = []
            if run.module is not None:
                made.append((run.module, run.template))
            if isinstance(run.template, SeriesTemplate) and run.module is not None:
                made = list(zip(run.module.children(), run.template.items, strict=True))
            found.setdefault((view, run.turns), Group(view, run.turns, made))
        return list(found.values())

    def elements(self, node: Expression, groups: list[Group]) -> list[str]:
        """Return the texts that make the layers of an expression, one after the other."""
        match node:
            case Call(function=Name(id=name)) if name == SERIES and self.module.spec.block(name) is None:
                return self._series(node, groups)
            case ex.Binary(operator="*", left=times, right=layer):
                return self._stack(times, layer, groups)
            case ex.Comprehension():
                return [self._comprehension(node, groups)]
        return [self.element(node, groups, node.span)]

    def _series(self, node: Call, groups: list[Group]) -> list[str]:
        texts: list[str] = []
        starts = [0] * len(groups)
        for argument in node.arguments:
            inner: Expression = argument.value if isinstance(argument, ex.Starred) else argument
            pieces = []
            for i, group in enumerate(groups):
                value = group.view.at(inner, group.turns)
                several = [value] if isinstance(value, TEMPLATES) else value
                count = sum(len(list(flatten(one))) for one in several)
                pieces.append(group._replace(made=group.made[starts[i] : starts[i] + count]))
                starts[i] += count
            if any(piece.made for piece in pieces):
                texts += self.elements(inner, pieces)
        return texts

    def _stack(self, times: Expression, layer: Expression, groups: list[Group]) -> list[str]:
        """Return the copies of a stack: a list of equal ones, or several where their sizes differ."""
        copies: list[list[Group]] = []  # of each group
        for group in groups:
            inner = len(list(flatten(group.view.at(layer, group.turns))))
            made = [group.made[i : i + inner] for i in range(0, len(group.made), max(inner, 1))]
            copies.append([group._replace(made=one) for one in made])
        number = self.value_text(times, [(g, len(one)) for g, one in zip(groups, copies, strict=True)], times.span)
        runs = list(map(_equal_runs, copies))
        now = [len(one) for one, group in zip(runs, groups, strict=True) if not group.view.changed]
        most = max(now, default=0)
        if most <= 1:
            return [self._copies(number, layer, [copy for one in copies for copy in one])] if most else []
        if most > _MAX_RUNS or len(set(now)) > 1:
            return [self._unequal_copies(layer, copies)]
        alike = [one for one in runs if len(one) == most]
        texts = []
        for k in range(most):
            others = sum(len(one) for j, one in enumerate(alike[0]) if j != k)
            rest = str(int(number) - others) if number.isdigit() else f"{bracketed(number, 9)} - {others}"
            count = rest if k == most - 1 else str(len(alike[0][k]))
            texts.append(self._copies(count, layer, [copy for one in alike for copy in one[k]]))
        return texts

    def _copies(self, count: str, layer: Expression, groups: list[Group]) -> str:
        texts = self.elements(layer, groups)
        if count == "1" and len(texts) == 1:
            return texts[0]
        if len(texts) == 1 and not texts[0].startswith("*"):
            return f"*[{texts[0]} for _ in range({count})]"
        return f"*[layer for _ in range({count}) for layer in ({', '.join(texts)},)]"

    def _unequal_copies(self, layer: Expression, copies: list[list[Group]]) -> str:
        """Return copies with a size that differs from one to the next."""
        rounds = [copy._replace(round=i) for one in copies for i, copy in enumerate(one)]
        self.rounds.append({})
        texts = self.elements(layer, rounds)
        names = self.rounds.pop()
        tables = list(map(_table, names.values()))
        heads = tables[0] if len(tables) == 1 else f"zip({', '.join(tables)})"
        return f"*[{texts[0]} for {', '.join(names)} in {heads}]"

    def _comprehension(self, node: ex.Comprehension, groups: list[Group]) -> str:
        rounds: list[Group] = []
        for group in groups:
            at = 0
            made = [(t, v) for t, v in group.view.all(node.element) if t[: len(group.turns)] == group.turns]
            for i, (turns, value) in enumerate(made):
                count = len(list(flatten(value)))
                if at + count > len(group.made):
                    break
                rounds.append(Group(group.view, turns, group.made[at : at + count], i))
                at += count
        return f"*{self.comprehension(node.clauses, lambda: self.elements(node.element, rounds))}"

    def comprehension(self, clauses: tuple[ex.Clause, ...], write: Callable[[], list[str]]) -> str:
        """Return a list with what is written for a round; sizes that differ between rounds stand beside its items."""
        names = list(dict.fromkeys(one.name for clause in clauses for one in ex.targets(clause.target)))
        self.bound.append(set(names))
        self.rounds.append({})
        texts = write()
        heads = [clause_text(one, self.constant) for one in clauses]
        self.bound.pop()
        if sizes := self.rounds.pop():
            tables = ", ".join(map(_table, sizes.values()))
            read = [n for n in names if any(re.search(rf"\b{n}\b", text) for text in texts)]
            items, target = self.constant(clauses[0].iterable), target_text(clauses[0].target)
            if len(clauses) > 1:
                target = f"{', '.join(read)}{',' * (len(read) == 1)}"
                items = f"[({target}) {' '.join(heads)}]"
            if not read:
                heads = [f"for {', '.join(sizes)} in {tables if len(sizes) == 1 else f'zip({tables})'}"]
            else:
                target = f"({target})" if "," in target else target
                tests = (
                    "".join(f" if {self.constant(test)}" for test in clauses[0].conditions) if len(clauses) == 1 else ""
                )
                heads = [f"for {', '.join(sizes)}, {target} in zip({tables}, {items}){tests}"]
        if len(texts) == 1 and not texts[0].startswith("*"):
            return f"[{texts[0]} {' '.join(heads)}]"
        return f"[layer {' '.join(heads)} for layer in ({', '.join(texts)},)]"

    def whole(self, node: Expression, groups: list[Group]) -> str:
        """Return the text of one module, also of layers in series."""
        if not isinstance(groups[0].made[0][1], SeriesTemplate):
            return self.elements(node, groups)[0]
        inner = []
        for group in groups:
            module, series = group.made[0]
            inner.append(group._replace(made=list(zip(module.children(), flatten(series), strict=True))))
        return f"nn.Sequential({', '.join(self.elements(node, inner))})"

    # -- one layer ----------------------------------------------------------------------------------------------------

    def element(self, node: Expression | None, groups: list[Group], span: Span) -> str:
        """Return the text that makes one layer; without a node, from its settings alone."""
        groups = [group for group in groups if group.made]
        template = groups[0].made[0][1]
        call = node if isinstance(node, Call) else None
        if isinstance(node, Name) and node.id in self.settings and self.constant_name(node.id):
            return f"{node.id}()"
        if isinstance(template, LayerTemplate):
            return self._torch_layer(template.layer, call, groups, span)
        if isinstance(template, BlockTemplate):
            writer = self.module.block(template.name, span)
            views = {view.body: view for view in writer.views}
            return self.construct(writer, groups, lambda group: views.get(group.made[0][0]), call)
        if isinstance(template, ImportedTemplate) and node is not None:
            dotted = ex.spelled(call.function if call else node) or ""
            self.module.imports.add(dotted.rpartition(".")[0])
            arguments = [self.constant(one) for one in call.arguments] if call else []
            arguments += [f"{k.name}={self.constant(k.value)}" for k in call.keywords] if call else []
            return f"{dotted}({', '.join(arguments)})"
        raise self.module.problem(span, "a layer that another place made cannot be exported here")

    def _torch_layer(self, layer: Layer, call: Call | None, groups: list[Group], span: Span) -> str:
        """Return the call of torch's class: sizes of the input first, then what is given or differs from torch's."""
        kind = type(layer)
        positional = [one.name for one in settings(kind) if one.positional]
        given: dict[str, Expression] = {}
        for default in self.module.spec.defaults:
            if isinstance(default.function, Name) and default.function.id == kind.__name__:
                given |= {one.name: one.value for one in default.keywords}
        by_position = dict(zip(positional, call.arguments, strict=False)) if call and not call.starred else {}
        given |= by_position
        given |= {one.name: one.value for one in call.keywords} if call else {}
        texts: list[str] = []
        in_order = True
        for one in settings(kind):
            values = [(group, _setting_of(group, one.name, one.inferred)) for group in groups]
            if one.name in given or (not one.inferred and any(value != one.default for _, value in values)):
                text = self._setting(one.name, given.get(one.name), values, span)
            elif one.inferred and any(value is not None for _, value in values):
                text = self._inferred(one.name, values, span)
            else:
                in_order = False
                continue
            if one.name in _SIZES or one.inferred:
                self._keep_size(text, values)
            in_order = in_order and (one.inferred or one.required or one.name in by_position)
            texts.append(text if in_order else f"{one.name}={text}")
        if kind.__name__ == "MixtureOfExperts":
            self.module.helpers.add(kind.__name__)
            sizes = [(group, group.made[0][0].gate.in_features) for group in groups]  # type: ignore[union-attr]
            return f"{kind.__name__}({', '.join([self.size(sizes, 'in_features', span), *texts])})"
        return f"nn.{kind.__name__}({', '.join(texts)})"

    def _inferred(self, name: str, values: Values, span: Span) -> str:
        if all(type(value) is int for _, value in values):
            return self.size(values, name, span)
        name = "features" if name == "normalized_shape" else name
        items = [self.size([(g, v[i]) for g, v in values], name, span) for i in range(len(values[0][1]))]
        return items[0] if len(items) == 1 else f"({', '.join(items)})"

    def _setting(self, name: str, node: Expression | None, values: Values, span: Span) -> str:
        """Return a setting of a torch layer, which may be a layer too."""
        if not isinstance(values[0][1], Buildable):
            return self.value_text(node, values, span)
        inner = []
        for group, value in values:
            module = group.made[0][0].get_submodule(_INSIDE.get(name, name))
            inner.append(group._replace(made=[(module, LayerTemplate(value) if isinstance(value, Layer) else value)]))
        text = self.element(node, inner, span)
        self._keep_size(text, [])
        return _factory(text) if name == "expert" else text

    def construct(
        self, writer: Constructor, groups: list[Group], view_of: Callable[[Group], BodyView | None], call: Call | None
    ) -> str:
        """Return the call of a class that was written, with arguments of what is known here."""
        span = call.span if call else self.body[0].span
        names = [one.name for one in writer.block.settings] if writer.block else []
        starred = call is not None and call.starred
        given = dict(zip(names, call.arguments, strict=False)) if call and not starred else {}
        given |= {one.name: one.value for one in call.keywords} if call else {}
        texts: list[str] = []
        in_order = True
        for name, argument in sorted(writer.arguments.items(), key=lambda item: item[1].order):
            values = [(g, argument.values[v]) for g in groups if (v := view_of(g)) is not None and v in argument.values]
            if argument.of_rounds:
                count = max((len(v) for g, v in values if not g.view.changed), default=0)
                items = [[(g, v[i]) for g, v in values if i < len(v)] for i in range(count)]
                write = self._flag if argument.kind == "flag" else self.size
                text = f"({', '.join(write(item, name, span) for item in items)}{',' * (count == 1)})"
            elif argument.kind == "size":
                text = self.size(values, name, span)
            elif argument.kind == "flag":
                text = self._flag(values, name, span)
            elif name in names:
                if starred and name not in given:
                    continue
                text = self._block_setting(name, given.get(name), values, groups, span)
                if name not in given and (call is not None or text == argument.default) and argument.default:
                    text = argument.default
            elif self.constant_name(name):
                text = name
            else:
                raise self.module.problem(span, f"{writer.name} reads {name}, which is another thing here")
            if text == argument.default and name not in given:
                in_order = False
                continue
            by_keyword = call is not None and name in [one.name for one in call.keywords]
            in_order = in_order and not by_keyword and (argument.default is None or name in given)
            texts.append(text if in_order else f"{name}={text}")
        if starred and call is not None:
            place = sum(argument.kind == "size" for argument in writer.arguments.values())
            texts[place:place] = [self.constant(one) for one in call.arguments]
        return f"{writer.name}({', '.join(texts)})"

    def _flag(self, values: Values, name: str, span: Span) -> str:
        """Return whether a class makes the layers of a branch."""
        now = {value for group, value in values if not group.view.changed}
        if len(now) == 1:
            return literal(now.pop())
        by_round: dict[int, set[bool]] = {}
        for group, value in values:
            if not group.view.changed:
                by_round.setdefault(group.round, set()).add(value)
        if self.rounds and all(len(one) == 1 for one in by_round.values()):
            return self.name_of_rounds(name, [literal(by_round.get(i) == {True}) for i in range(max(by_round) + 1)])
        if self.rounds and (found := self._argument_of_rounds(values, name, "flag")):
            return found
        return self.flag_argument(name, {group.view: value for group, value in values}, span)

    def flag_argument(self, name: str, values: dict[BodyView, bool], span: Span) -> str:
        """Return an argument that says whether a branch is taken."""
        if self.is_network:
            raise self.module.problem(span, "which branch is taken differs between layers, by no rule to state")
        name = next(n for n in (name, *(f"{name}_{i}" for i in range(2, 99)))
                    if self.arguments.get(n, Argument("flag", "", "", values)).values == values)  # fmt: skip
        self.arguments[name] = Argument("flag", "bool", "False", values)
        return name

    def _block_setting(
        self, name: str, node: Expression | None, values: Values, groups: list[Group], span: Span
    ) -> str:
        """Return a setting of a block; a layer becomes a function that makes it."""
        if not any(isinstance(value, TEMPLATES) for _, value in values):
            return self.value_text(node, values, span)
        if isinstance(node, Name) and node.id in self.settings and self.constant_name(node.id):
            return node.id
        if isinstance(node, ex.Conditional):
            texts = []
            for branch, wanted in ((node.body, True), (node.orelse, False)):
                chosen = [(g, v) for g, v in values if bool(g.view.at(node.test, g.turns)) is wanted]
                texts.append(self._block_setting(name, branch, chosen, groups, span) if chosen else "")
            if all(texts):
                return f"{texts[0]} if {self.constant(node.test)} else {texts[1]}"
            return next(filter(None, texts))
        made: list[Group] = []
        for group, value in values:
            layers = group.view.body.blueprint.layers
            inside = [one for one in group.made[0][0].modules() if one in layers and layers[one].template is value]
            made += [group._replace(made=[(module, value)]) for module in inside]
        return _factory(self.element(node, made, span)) if made else "nn.Identity"

    # -- attributes ---------------------------------------------------------------------------------------------------

    def attribute(self, name: str, span: Span) -> str:
        """Return how ``forward`` reads what has this name. Raises SpecError for a name that every module has."""
        if name.isdigit():
            return f'self.get_submodule("{name}")'
        if not name.isidentifier() or hasattr(nn.Module, name) or name == "training":
            message = f"a layer called {name} would hide what every nn.Module has"
            raise self.module.problem(span, message, "give it another name")
        return f"self.{name}"

    def register(self, name: str, text: str, span: Span, comment: str = "") -> str:
        """Let the constructor make a layer, and return how ``forward`` reads it."""
        attribute = self.attribute(name, span)
        if name not in self.attributes:
            self.attributes.add(name)
            self.make(f'self.add_module("{name}", {text})' if name.isdigit() else f"{attribute} = {text}", comment)
        return attribute

    def make_layer(
        self,
        node: Expression,
        runs: list[tuple[BodyView, LayerRun]],
        label: str,
        plain: bool,
        loops: Sequence[tree.For],
    ) -> str:
        """Let the constructor make the layer of a place, and return how ``forward`` reads it.

        ``plain`` is whether a stack can be called as a whole, ``loops`` are those around that make a layer a round.
        """
        names = {self.name_of(view, run) for view, run in runs if run.module is not None}
        if len({run.turns for view, run in runs if view is runs[0][0]}) > 1 and not loops and len(names) > 1:
            help = "make them under modules: and call them by number"
            raise self.module.problem(node.span, "layers that a list on a line makes cannot be exported", help)
        series = isinstance(runs[0][1].template, SeriesTemplate)
        groups = self.groups(runs)
        if loops:
            text = self._layers_of_loop(node, groups, series, loops)
        elif series:
            items = ", ".join(self.elements(node, groups))
            listed = items[1:] if re.fullmatch(r"\*\[[^\[\]]*\]", items) else f"[{items}]"
            text = f"nn.Sequential({items})" if plain else f"nn.ModuleList({listed})"
        else:
            text = self.element(node, groups, node.span)
        if label or loops or any(run.module.state_dict() for _, run in runs if run.module is not None):
            if len(names) > 1:
                message = f"this layer has other paths in other uses of the block: {', '.join(sorted(names))}"
                raise self.module.problem(node.span, message, "give it a name")
            return self.register(names.pop(), text, node.span)
        if text not in self.unnamed:
            kind = runs[0][1].template.name.lower()
            taken = {*self.attributes, *self.module.checked.given.get(self.views[0].body.span, ())}
            self.unnamed[text] = next(n for n in (kind, *(f"{kind}_{i}" for i in range(2, 999))) if n not in taken)
        return self.register(self.unnamed[text], text, node.span)

    def _layers_of_loop(self, node: Expression, groups: list[Group], series: bool, loops: Sequence[tree.For]) -> str:
        if len(loops) > 1:
            message = "layers made in loops inside loops cannot be exported"
            raise self.module.problem(node.span, message, "make the inner ones a block")
        rounds = [group._replace(round=group.turns[-1]) for group in groups]
        clause = ex.Clause(loops[0].target, self.rounds_of(loops[0]), tuple(self.conditions))
        for view in self.views:
            made = sorted(group.round for group in rounds if group.view is view)
            if made != list(range(len(made))):
                raise self.module.problem(node.span, "a layer that only later rounds make cannot be exported")

        def write() -> list[str]:
            texts = self.elements(node, rounds)
            return [f"nn.Sequential({', '.join(texts)})"] if series else texts

        return f"nn.ModuleList({self.comprehension((clause,), write)})"

    def rounds_of(self, loop: tree.For) -> Expression:
        """Return what a loop that makes layers goes over, which the constructor has to compute."""
        if self.rests_on_rounds(loop.iterable):
            raise self.module.problem(loop.iterable.span, "how many layers a loop makes has to follow from vars")
        return loop.iterable

    def name_of(self, view: BodyView, run: LayerRun, part: str = "") -> str:
        """Return the first name of a layer's path here, or in a part."""
        assert run.module is not None
        path = view.body.blueprint.path(run.module)
        for piece in filter(None, (view.path, part)):
            path = path.removeprefix(f"{piece}.")
        return path.split(".")[0]


def _setting_of(group: Group, name: str, inferred: bool) -> Any:
    """Return the value of a setting of a torch layer; of an inferred one what its module has."""
    module, template = group.made[0]
    assert isinstance(template, LayerTemplate)
    value = getattr(template.layer, name)
    if not inferred:
        return value
    entry = group.view.body.blueprint.layers.get(module)
    if entry is not None and entry.sizes:
        return entry.sizes.get(name, value)
    attention: Any = getattr(module, "self_attn", None)
    return attention.embed_dim if name == "d_model" and attention is not None else getattr(module, name, value)


def _factory(text: str) -> str:
    """Return a function without arguments that makes what the text makes."""
    found = re.fullmatch(r"([\w.]+)\(\)", text)
    return found[1] if found else f"lambda: {text}"


def _equal_runs(copies: list[Group]) -> list[list[Group]]:
    """Return copies in runs of those with the same tensors."""
    runs: list[list[Group]] = []
    last = None
    for copy in copies:
        shapes = [(name, tuple(t.shape)) for module, _ in copy.made for name, t in module.state_dict().items()]
        if shapes != last:
            runs.append([])
        runs[-1].append(copy)
        last = shapes
    return runs


def _table(texts: list[str]) -> str:
    """Return the values of a size as a range if they grow evenly, or as a tuple."""
    if len(texts) == 1 and texts[0].isidentifier():
        return texts[0]  # an argument with the sizes
    numbers = [int(text) for text in texts if text.isdigit()]
    step = numbers[1] - numbers[0] if len(numbers) == len(texts) > _MAX_RUNS else 0
    if step and numbers == list(range(numbers[0], numbers[-1] + step, step)):
        return f"range({numbers[0]}, {numbers[-1] + step}, {step})"
    return f"({', '.join(texts)}{',' * (len(texts) == 1)})"


def type_text(values: Iterable[Any]) -> str:
    """Return the type of values as a hint."""
    values = list(values)
    tuples = [one for one in values if isinstance(one, tuple) and not isinstance(one, TEMPLATES)]
    if len({len(one) for one in tuples}) == 1 and tuples and len(tuples[0]) < 7:
        items = [type_text(one) for one in zip(*tuples, strict=True)]
        same = len(items) > 2 and len(set(items)) == 1
        whole = f"tuple[{f'{items[0]}, ...' if same else ', '.join(items) or '()'}]"
        others = [one for one in values if one is None]
        return f"{whole} | None" if others else whole
    kinds = dict.fromkeys(map(_type, values))
    if "float" in kinds:
        kinds.pop("int", None)
    return " | ".join(sorted(kinds, key=lambda kind: kind == "None"))


def _type(value: Any) -> str:
    if isinstance(value, TEMPLATES):
        return "Callable[[], nn.Module]"
    if isinstance(value, tuple):
        same = len(value) > 2 and len(set(map(_type, value))) == 1
        return (
            f"tuple[{', '.join(map(_type, value)) if not same else f'{_type(value[0])}, ...'}]"
            if value
            else "tuple[()]"
        )
    if isinstance(value, list):
        return f"list[{type_text(value) or 'Tensor'}]"
    if value is None or isinstance(value, Tensor):
        return "None" if value is None else "Tensor"
    return type(value).__name__ if isinstance(value, bool | int | float | str) else "Any"
