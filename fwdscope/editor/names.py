"""Where the names of a spec are: their definition, their uses, and another name in all these places."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from fnmatch import fnmatchcase
from keyword import iskeyword

from fwdscope.editor.document import Document, TextEdit, TextPosition, TextRange
from fwdscope.editor.symbols import NameScope, Symbol, SymbolTable, symbol_text
from fwdscope.errors import InputError
from fwdscope.functions.functions import CONSTANTS, DTYPES, FUNCTIONS
from fwdscope.language.names import CONSTRUCTORS, MODE
from fwdscope.language.problems import Span
from fwdscope.layers import LAYERS

_RESERVED = ("prev", "_", "true", "false", "null")


def definition(document: Document, position: TextPosition) -> list[TextRange]:
    """Return where the name at a place is defined; of a name that several lines give a value, each of them."""
    return [document.range(place) for one in _at(document, position) for place in one.definitions]


def references(document: Document, position: TextPosition, declaration: bool = True) -> list[TextRange]:
    """Return every place of the name at a place, in the file's order."""
    found = {place for one in _at(document, position) for place in (one.definitions if declaration else []) + one.uses}
    return [document.range(place) for place in sorted(found)]


def _at(document: Document, position: TextPosition) -> list[Symbol]:
    table = document.symbols
    found = table.symbol(document.offset(position)) if table is not None else None
    return table.at[found[1]] if table is not None and found is not None else []


def prepare_rename(document: Document, position: TextPosition) -> TextRange:
    """Return the range of the name at a place. Raises InputError if there is none that can be renamed."""
    return document.range(_renamed(document, position)[1])


def _renamed(document: Document, position: TextPosition) -> tuple[Symbol, Span]:
    table = document.symbols
    if table is None:
        raise InputError(f"the file has to be read first: {_first_problem(document)}")
    found = table.symbol(document.offset(position))
    if found is None:
        raise InputError("only names of the file can be renamed: vars, inputs, lines, settings, blocks, parts, modules")
    symbol, place = found
    if len(table.at[place]) > 1 and place not in table.read_in:
        lines = sorted({_line(document, one.definitions[0]) for one in table.at[place] if one.definitions})
        raise InputError(f"{symbol.name} here stands for several layers: rename it where one is made, lines {lines}")
    if not symbol.definitions:
        raise InputError(f"{symbol.name} is the input of every block without named inputs: name it in the block's head")
    return symbol, place


def rename(document: Document, position: TextPosition, name: str) -> list[TextEdit]:
    """Return the edits that give the name at a place another name, at every place and in the paths that hold it.

    Raises InputError, with the reason, if that would clash or change what another name means.
    """
    symbol, _ = _renamed(document, position)
    table = document.symbols
    assert table is not None
    if name == symbol.name:
        return []
    group = _together(table, symbol)
    for one in group:
        reason = _unfit(one, name) or _clash(document, table, one, name) or _unseen(document, table, one, group)
        if reason is not None:
            raise InputError(reason)
    places = sorted({place for one in group for place in (*one.definitions, *one.uses)})
    after = _replaced(document.source.text, places, name)
    _check_meaning(document, Document(after, document.source.name, document.allow_import), symbol, places, name)
    return [TextEdit(document.range(place), name) for place in places]


def _together(table: SymbolTable, symbol: Symbol) -> list[Symbol]:
    """The name, and those that the rounds of a loop read at the same places."""
    found = [symbol]
    for one in found:
        for place in one.uses:
            found += [other for other in table.at[place] if place in table.read_in and other not in found]
    return found


def _unfit(symbol: Symbol, name: str) -> str | None:
    """Why a text cannot be the name of such a thing."""
    if not name.isidentifier():
        return f"{name or 'an empty text'} is not a name: letters, digits and _, not starting with a digit"
    if iskeyword(name) or name in _RESERVED:
        return f"{name} is a reserved word"
    if symbol.kind == "block" and not name[0].isupper():
        return f"a block starts with a capital: {name[0].upper()}{name[1:]}"
    return None


def _clash(document: Document, table: SymbolTable, symbol: Symbol, name: str) -> str | None:
    """Which other meaning a new name would have, or take from another name."""

    def at(other: Symbol) -> str:
        line = f", line {_line(document, other.definitions[0])}" if other.definitions else ""
        return f"{symbol_text(other) if other.block is None else 'block'}{line}"

    for among, pattern, place in table.patterns:
        if among is symbol.scope and fnmatchcase(name, pattern) != fnmatchcase(symbol.name, pattern):
            return f"line {_line(document, place)} has a pattern, {pattern}, that only one of the two names matches"
    if (other := symbol.scope.names.get(name)) is not None:
        return f"there is a {name} already ({at(other)})"
    for use in symbol.uses:
        scope = table.read_in.get(use)
        nearest = scope.find(name) if scope is not None else None
        if nearest is not None and _is_inside(nearest.scope, symbol.scope):
            return f"line {_line(document, use)} would read another {name} ({at(nearest)})"
    inner = set(_with_inner(symbol.scope))
    for use in (use for use, scope in table.read_in.items() if scope in inner):
        other = next(iter(table.at.get(use, ())), None)
        if other is not None and other.name == name and _is_inside(symbol.scope, other.scope):
            return f"line {_line(document, use)} reads the {name} that is a {at(other)}, which this would hide"
        if other is None and document.source[use] == name:
            return f"line {_line(document, use)} uses {_what(name)}, which this would hide"
    return None


def _what(name: str) -> str:
    for kind, names in (("layer type", (*LAYERS, *CONSTRUCTORS)), ("function", FUNCTIONS), ("number", CONSTANTS)):
        if name in names:
            return f"the {kind} {name}"
    return f"the dtype {name}" if name in DTYPES else name if name != MODE else "the mode training"


def _is_inside(scope: NameScope, other: NameScope) -> bool:
    """Whether a scope is inside another one, and not the same."""
    above = scope.above
    while above is not None and above is not other:
        above = above.above
    return above is other


def _with_inner(scope: NameScope) -> Iterator[NameScope]:
    yield scope
    for inner in scope.inner:
        yield from _with_inner(inner)


def _unseen(document: Document, table: SymbolTable, symbol: Symbol, group: list[Symbol]) -> str | None:
    """Where the name may be used and is not seen: lines that do not parse, paths that cannot be followed."""
    words = re.compile(rf"(?<!\w){re.escape(symbol.name)}(?!\w)")
    assert document.spec is not None
    if document.parsed[0] is None:
        return f"the file has to be read first: {_first_problem(document)}"
    for place in document.spec.broken:
        if words.search(document.source[place]):
            return f"line {_line(document, place)} has a {symbol.name} and does not parse: mend it first"
    for place in table.lost if symbol.is_layer else ():
        if words.search(document.source[place]):
            return f"line {_line(document, place)} has a path with {symbol.name} that cannot be followed"
    for place in symbol.uses:
        shared = [one for one in table.at[place] if one not in group]
        if shared:
            lines = [_line(document, one.definitions[0]) for one in shared]
            return f"line {_line(document, place)} names other layers called {symbol.name} too: those of lines {lines}"
    return None


def _first_problem(document: Document) -> str:
    return next((f"line {one.line}: {one.message}" for one in document.problems), "it is empty")


def _line(document: Document, place: Span) -> int:
    return document.source.place(place.start)[0]


def _replaced(text: str, places: list[Span], name: str) -> str:
    for place in reversed(places):
        text = f"{text[: place.start]}{name}{text[place.end :]}"
    return text


def _check_meaning(before: Document, after: Document, symbol: Symbol, places: list[Span], name: str) -> None:
    """Raise InputError unless each name stands for the same after a renaming, and no problem is new."""
    grown, starts = len(name) - len(symbol.name), [place.start for place in places]

    def moved(span: Span) -> Span:
        return Span(*(offset + grown * bisect_left(starts, offset) for offset in span))

    one, other = before.checked, after.checked
    if one is None or other is None:
        raise InputError(f"the file would not be read: {_first_problem(after)}")
    uses = {moved(use): moved(given) for use, given in one.uses.items()}
    if wrong := set(uses.items()) ^ set(other.uses.items()):
        line = min(after.source.place(use.start)[0] for use, _ in wrong)
        raise InputError(f"a name on line {line} would mean something else")
    known = {(moved(problem.span), problem.code) for problem in before.problems}
    if new := [problem for problem in after.problems if (problem.span, problem.code) not in known]:
        raise InputError(f"line {new[0].line} would be wrong: {new[0].message}")
