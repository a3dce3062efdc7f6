"""The names of a spec: where each is defined and used, in which scope, and what it stands for.

Names are looked up as the checker does (:mod:`fwdscope.language.name_resolver`), but in lines with problems too, and
for blocks, keywords, paths and names inside parts as well. The tests hold the two to the same answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from fwdscope.functions.functions import CONSTANTS, DTYPES, FUNCTIONS
from fwdscope.functions.signature import Parameter, Signature
from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.expression import Attribute, Binary, Call, Comprehension, Expression, Name, TupleOrList
from fwdscope.language.names import CONSTRUCTORS, MODE, OWN_TENSORS, SERIES
from fwdscope.language.problems import Span
from fwdscope.layers import LAYERS

Kind = Literal["var", "input", "setting", "value", "layer", "part", "loop", "module", "block"]


@dataclass(eq=False)
class NameScope:
    """Names that hide those of ``above``: of blocks, vars, settings, lines, a part, a comprehension."""

    above: NameScope | None = None
    names: dict[str, Symbol] = field(default_factory=dict)
    inner: list[NameScope] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.above is not None:
            self.above.inner.append(self)

    def find(self, name: str) -> Symbol | None:
        """The nearest meaning of a name."""
        scope: NameScope | None = self
        while scope is not None and name not in scope.names:
            scope = scope.above
        return scope.names[name] if scope is not None else None

    def visible(self) -> Iterator[Symbol]:
        """The names that are not hidden, near ones first."""
        seen = set[str]()
        scope: NameScope | None = self
        while scope is not None:
            yield from (one for name, one in scope.names.items() if name not in seen)
            seen |= scope.names.keys()
            scope = scope.above


@dataclass(eq=False)
class Symbol:
    """A name of the file, the places that define it and those that read it."""

    name: str
    kind: Kind
    scope: NameScope
    # The expression that it stands for, at its first definition.
    value: Expression | None = None
    definitions: list[Span] = field(default_factory=list)
    uses: list[Span] = field(default_factory=list)
    # The names inside a part, a block or the named layers of ``modules:``.
    names: NameScope | None = None
    block: tree.Block | None = None

    @property
    def is_layer(self) -> bool:
        """Whether the name is one of a layer, so that paths have it."""
        return self.kind in ("layer", "part", "module")


class SymbolTable:
    """All names of a spec."""

    def __init__(self, spec: tree.ModelSpec) -> None:
        self.spec = spec
        self.symbols: list[Symbol] = []
        # What stands at each place of a name; of the end of a path in ``init`` there may be several.
        self.at: dict[Span, list[Symbol]] = {}
        # Where each name of an expression is read, also those that are not the file's own.
        self.read_in: dict[Span, NameScope] = {}
        # Paths of ``init`` and ``expect`` of which a part is not found in the text.
        self.lost: list[Span] = []
        # Patterns with a star in a name, as ``conv*``, the scope of the names and the place.
        self.patterns: list[tuple[NameScope, str, Span]] = []
        self.blocks = NameScope()
        self.vars = NameScope(self.blocks)
        # The scope of each body, by the place of the block's or part's head, of the section, of a comprehension.
        self.scopes: dict[Span, NameScope] = {}
        self._later: list[tuple[Name, NameScope]] = []
        self._members: list[tuple[Expression, NameScope]] = []
        self._fill()

    def symbol(self, offset: int) -> tuple[Symbol, Span] | None:
        """The name at a place, and its range."""
        found = [(one[0], span) for span, one in self.at.items() if span.start <= offset <= span.end]
        return min(found, key=lambda pair: pair[1].end - pair[1].start, default=None)

    def _fill(self) -> None:
        spec = self.spec
        for block in spec.blocks:
            symbol = self._define(self.blocks, block.name, "block", self._word(block.name, block.span))
            symbol.block, symbol.names = block, NameScope(NameScope(self.vars))
            self.scopes[block.span] = symbol.names
        for variable in spec.variables:
            self._define(self.vars, variable.name, "var", variable.span, variable.value)
        layers = self.scopes[spec.layers_span] = NameScope(self.vars)
        for one in spec.inputs:
            self._read(one.value, self.vars)
            self._define(layers, one.name, "input", one.span, one.value)
        for block in spec.blocks:
            self._block(block)
        if spec.graph:
            lines = [line for line in spec.layers if isinstance(line, tree.Statement)]
            for line in lines:
                self._targets(line, layers)
            for line in lines:
                self._read_line(line, layers)
        else:
            self._lines(spec.layers, layers)
        for value in _outside_lines(spec):
            self._read(value, self.vars)
        for node, scope in self._later:  # read before it is defined
            if (found := scope.find(node.id)) is not None and not is_word(node.id):
                self._use(found, node.span)
        for member, scope in self._members:
            self._member(member, scope)
        self._paths(layers)

    def _block(self, block: tree.Block) -> None:
        lines = self.scopes[block.span]
        assert lines.above is not None
        scopes: tuple[tuple[NameScope, Kind, tuple[tree.BlockParameter, ...]], ...] = (
            (lines.above, "setting", block.settings),
            (lines, "input", block.inputs),
        )
        for scope, kind, parameters in scopes:
            for parameter in parameters:
                if parameter.default is not None:
                    self._read(parameter.default, scope)
                # Without a second pair of parentheses the input is called x, and stands nowhere.
                place = parameter.span if parameter.span != block.span else None
                self._define(scope, parameter.name, kind, place, parameter.default)
        self._lines(block.body, lines)

    def _word(self, word: str, span: Span) -> Span:
        start = self.spec.source.text.find(word, span.start, span.end)
        return Span(start, start + len(word)) if start >= 0 else span

    def _define(
        self, scope: NameScope, name: str, kind: Kind, place: Span | None, value: Expression | None = None
    ) -> Symbol:
        symbol = scope.names.get(name)
        if symbol is None:
            symbol = scope.names[name] = Symbol(name, kind, scope, value)
            self.symbols.append(symbol)
        if place is not None:
            symbol.definitions.append(place)
            self.at.setdefault(place, []).append(symbol)
        return symbol

    def _use(self, symbol: Symbol, place: Span) -> None:
        if place not in symbol.uses:
            symbol.uses.append(place)
            self.at.setdefault(place, []).append(symbol)

    # -- lines ---------------------------------------------------------------------------------------------------------

    def _lines(self, lines: tuple[tree.Line, ...], scope: NameScope) -> None:
        for line in lines:
            match line:
                case tree.Statement():
                    self._read_line(line, scope)
                    self._targets(line, scope)
                case tree.PartLine():
                    self._read_line(line, scope)
                    inner = self.scopes[line.span] = NameScope(scope)
                    self._lines(line.body, inner)
                    self._define(scope, line.name, "part", self._word(line.name, line.span)).names = inner
                case tree.Modules():
                    self._modules(line.entries, scope)
                case tree.For():
                    self._read_line(line, scope)
                    for named in ex.targets(line.target):
                        self._define(scope, named.name, "loop", named.span, line.iterable)
                    self._rounds(line.body, scope)
                    if line.name_span is not None:
                        place = self._word(line.name, line.name_span)
                        self._define(scope, line.name, "part", place).names = scope
                case tree.While():
                    self._read_line(line, scope)
                    self._rounds(line.body, scope)
                case _:
                    self._read_line(line, scope)
                    for body in tree.bodies(line):
                        self._lines(body, scope)

    def _rounds(self, body: tuple[tree.Line, ...], scope: NameScope) -> None:
        """Read the lines of a loop. What the first round reads from outside, others may read from the last one."""
        read = len(self.read_in)
        self._lines(body, scope)
        for place, read_in in list(self.read_in.items())[read:]:
            again = read_in.find(self.spec.source[place])
            if again is not None and again not in self.at.get(place, ()):
                self._use(again, place)

    def _modules(self, entries: tuple[tree.Module, ...], scope: NameScope, outer: NameScope | None = None) -> None:
        for entry in entries:
            symbol = self._define(scope, entry.name, "module", self._word(entry.name, entry.span), entry.value)
            if entry.entries:
                symbol.names = NameScope()
                self._modules(entry.entries, symbol.names, outer or scope)
            else:
                self._read(entry.value, outer or scope)

    def _read_line(self, line: tree.Line, scope: NameScope) -> None:
        for one in tree.expressions(line):
            self._read(one, scope)
        if isinstance(line, tree.Statement) and line.promise is not None:
            self._read(line.promise.shape, scope)

    def _targets(self, line: tree.Statement, scope: NameScope) -> None:
        makes = self.makes_layer(line.value) or (
            isinstance(line.value, Call) and ex.spelled(line.value.function) in OWN_TENSORS
        )
        kind: Kind = "layer" if makes and not isinstance(line.target, ex.TupleTarget) else "value"
        for named in ex.leaves(line.target) if line.target is not None else ():
            if isinstance(named, ex.NameTarget):
                self._define(scope, named.name, kind, named.span, line.value)
            elif isinstance(named, ex.NumberTarget):
                self._define(scope, str(named.number), "layer", None, line.value)

    # -- expressions ---------------------------------------------------------------------------------------------------

    def _read(self, node: Expression, scope: NameScope) -> None:
        waiting = [node]
        while waiting:
            here = waiting.pop()
            if isinstance(here, Comprehension):
                inner = self.scopes[here.span] = NameScope(scope)
                for clause in here.clauses:
                    self._read(clause.iterable, inner)
                    for named in ex.targets(clause.target):
                        self._define(inner, named.name, "loop", named.span, clause.iterable)
                    for condition in clause.conditions:
                        self._read(condition, inner)
                self._read(here.element, inner)
                continue
            if isinstance(here, Name):
                self.read_in[here.span] = scope
                found = scope.find(here.id)
                if found is not None:
                    self._use(found, here.span)
                else:
                    self._later.append((here, scope))
            elif isinstance(here, Attribute) or (isinstance(here, Call) and here.keywords):
                self._members.append((here, scope))
            waiting += reversed(ex.children(here))

    def _member(self, node: Expression, scope: NameScope) -> None:
        """Resolve ``stem.conv1``, and the keywords of a block's settings and inputs."""
        if isinstance(node, Attribute):
            if (found := self.follow(node, scope)) is not None:
                self._use(found, node.name_span)
        elif isinstance(node, Call):
            makes, made = self.block_of(node.function, scope), isinstance(node.function, Name | Call)
            if makes is None or not made:
                return
            settings = isinstance(node.function, Name) and scope.find(node.function.id) is makes
            assert makes.names is not None
            known = makes.names.above if settings else makes.names
            for keyword in node.keywords:
                symbol = known.names.get(keyword.name) if known is not None else None
                if symbol is not None and symbol.kind == ("setting" if settings else "input"):
                    self._use(symbol, keyword.span)

    def follow(self, node: Expression, scope: NameScope) -> Symbol | None:
        """The name of the file that ``stem``, ``stem.conv1`` or ``h[0].attn`` stands for."""
        if isinstance(node, Name):
            return scope.find(node.id)
        if isinstance(node, ex.Subscript):
            return self.follow(node.value, scope)
        if isinstance(node, Attribute) and (base := self.follow(node.value, scope)) is not None:
            inside = self.inside(base)
            return inside.names.get(node.name) if inside is not None else None
        return None

    def inside(self, symbol: Symbol) -> NameScope | None:
        """The names that may follow a name and a dot."""
        if symbol.names is not None:
            return symbol.names
        if not symbol.is_layer or symbol.value is None:
            return None
        block = self.block_of(symbol.value, symbol.scope)
        return block.names if block is not None else None

    def block_of(self, node: Expression, scope: NameScope) -> Symbol | None:
        """The block that an expression makes or calls, also several in series; None if there is none, or several."""
        match node:
            case Call(function=Name(id=name), arguments=parts) if name == SERIES and scope.find(name) is None:
                found = {self.block_of(one, scope) for one in parts}
                return found.pop() if len(found) == 1 else None
            case Call(function=function):
                return self.block_of(function, scope)
            case Binary(operator="*", right=inner) | Comprehension(element=inner) | ex.Subscript(value=inner):
                return self.block_of(inner, scope)
            case TupleOrList(items=items):
                found = {self.block_of(one, scope) for one in items}
                return found.pop() if len(found) == 1 else None
            case Name() | Attribute():
                symbol = self.follow(node, scope)
                if symbol is None or symbol.kind == "block":
                    return symbol
                if symbol.is_layer and symbol.value is not None and symbol.value is not node:
                    return self.block_of(symbol.value, symbol.scope)
        return None

    def makes_layer(self, node: Expression) -> bool:
        """Whether a line with this expression is that of a layer, which its name names."""
        match node:
            case Binary(operator="*", right=inner):
                return self.makes_layer(inner)
            case Call(function=Name() as function):
                return self._is_type(function)
            case Call(function=Call() | Binary() as function):
                return self.makes_layer(function)
        return self._is_type(node)

    def _is_type(self, node: Expression) -> bool:
        name = (ex.spelled(node) or "").rpartition(".")[2]
        return name in self.blocks.names or name in LAYERS or name == SERIES or (ex.is_type_name(node) and "." in name)

    # -- paths ---------------------------------------------------------------------------------------------------------

    def _paths(self, layers: NameScope) -> None:
        """Find the names in the keys of ``init``, which are ends of paths, and in those of ``expect`` and ``shard``."""
        for one in self.spec.init:
            first = one.key.partition(".")[0]
            ends = [symbol for symbol in self.symbols if symbol.name == first and (symbol.is_layer or symbol.value)]
            self._path(one.key, one.span, ends, is_end=True)
        expect, shard = self.spec.expect, self.spec.shard
        places = {one.place: one.layer for one in expect.figures} | {one.place: one.layer for one in expect.outputs}
        places |= {span: pattern for pattern, span in shard.spans.items()} if shard is not None else {}
        for place, path in places.items():
            if place is not None and path is not None:
                first = path.partition(".")[0]
                self._path(path, place, self._matching(layers, first, place))

    def _path(self, path: str, span: Span, found: list[Symbol], is_end: bool = False) -> None:
        """Find the names in a path; what ``is_end`` of one may be a tensor, and begin with a layer type."""
        start = self._word(path, span).start
        for part in re.finditer(r"[^.]+", path):
            if part.start():
                inside = [names for one in found if (names := self.inside(one)) is not None]
                among = [symbol for names in inside for symbol in self._matching(names, part[0], span)]
                # A number, or a star for one, may be that of a copy.
                found = [*(found if part[0].isdigit() or part[0] == "*" else ()), *among]
            if not found:
                if not (is_end and (part.end() == len(path) or not part.start())):
                    self.lost.append(Span(start + part.start(), start + len(path)))
                return
            if not part[0].isdigit():
                for one in found:
                    if one.name == part[0]:
                        self._use(one, Span(start + part.start(), start + part.end()))

    def _matching(self, scope: NameScope, word: str, place: Span) -> list[Symbol]:
        """The names of a scope that a part of a path stands for, in which ``*`` is any name."""
        if "*" not in word:
            return [scope.names[word]] if word in scope.names else []
        self.patterns.append((scope, word, place))
        return [one for name, one in scope.names.items() if fnmatchcase(name, word)]


def _outside_lines(spec: tree.ModelSpec) -> Iterator[Expression]:
    """The expressions that read vars alone, but those of inputs."""
    yield from (one.value for one in spec.variables)
    yield from spec.defaults
    yield from (one.value for one in spec.model.keywords) if spec.model is not None else ()
    yield from (one.call for one in spec.init)
    yield from (one.formula for one in spec.expect.figures if one.formula is not None)
    yield from (one.shape for one in spec.expect.outputs)


def is_word(name: str) -> bool:
    """Whether the language itself has a name."""
    return any(name in names for names in (LAYERS, FUNCTIONS, CONSTRUCTORS, CONSTANTS, DTYPES, (MODE, "prev")))


def symbol_text(symbol: Symbol) -> str:
    """What a name is, in a few words."""
    if symbol.block is not None:
        return f"block {head_text(symbol.block)}"
    return {"loop": "name of a loop", "value": "value", "layer": "layer"}.get(symbol.kind, symbol.kind)


def head_text(block: tree.Block) -> str:
    """The head of a block as it is written: ``Up(width)(x, skip)``."""
    settings, inputs = (
        str(Signature(tuple([Parameter(p.name, "positional", "…" if p.default else None) for p in some])))
        for some in (block.settings, block.inputs)
    )
    named = block.inputs != (tree.BlockParameter("x", block.span),)
    return f"{block.name}{settings if block.settings or named else ''}{inputs if named else ''}"
