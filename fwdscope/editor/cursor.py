"""What is being written at a place of a spec, from its text alone, since a line that is half typed does not parse."""

from __future__ import annotations

import re
from typing import NamedTuple

from fwdscope.editor.document import Document, TextPosition
from fwdscope.editor.symbols import NameScope, Symbol
from fwdscope.language.characters import without_strings

# A line of a file: its dashes, and a key with its colon.
_LINE = re.compile(
    r"(?P<indent> *)(?P<dashes>(?:- +)*)"
    r"(?P<key>(?:[^:#'\"{\[\s]|\s(?!#)|:(?=\S)|\[[^\]]*\])+?)?\s*:(?:\s+|$)"
)
_ITEM = re.compile(r"(?P<indent> *)(?P<dashes>(?:- +)*(?:-$)?)")
# Physical lines that one line of a spec may be spread over.
_MOST_LINES = 60


class OpenBracket(NamedTuple):
    """A bracket that is not closed before the cursor: its sign, what is called, and the texts of the arguments."""

    sign: str
    callee: str
    # The offset of the bracket in :attr:`Cursor.text`.
    at: int
    arguments: tuple[str, ...]


class Cursor(NamedTuple):
    """What is around a place."""

    offset: int
    # The keys around it, from the section inwards, and where each stands: ("expect", "layers", "fc").
    keys: tuple[str, ...]
    heads: tuple[int, ...]
    # The text from where its line or value begins, without what is behind the cursor.
    text: str
    # Whether a key may be written here, a line of a list, or a value behind a key.
    place: str
    # The name so far.
    word: str
    brackets: tuple[OpenBracket, ...]
    # The first key of the mapping that a key is written in: `for` of a line with `do:`.
    beside: str = ""
    # Whether it stands in a comment or a string.
    quoted: bool = False

    @property
    def before(self) -> str:
        """The text before the name."""
        return self.text[: len(self.text) - len(self.word)]


def cursor_at(document: Document, position: TextPosition) -> Cursor:
    """Find what is being written at a place."""
    offset = document.offset(position)
    place = document.position(offset)
    first, text, quoted = _logical_line(document, place)
    keys, heads, beside = _keys_above(document, first, text)
    kind, value = "key", text.lstrip(" ")
    if item := re.match(r"(?:- +|-$)+", value):
        kind, value = "item", value[item.end() :]
    if (head := _LINE.match(text)) and head["key"] and head.end() <= len(text):
        keys, heads = (*keys, head["key"].strip()), (*heads, document.source.offset(first + 1, head.start("key") + 1))
        kind, value = "value", text[head.end() :]
    brackets = _open_brackets(value)
    if brackets and brackets[0].sign == "{" and value.startswith("{"):
        # A mapping on one line: `{B: 1, d: 64`.
        inside = brackets[0].arguments[-1]
        key, colon, rest = inside.partition(":")
        kind, value = ("value", rest.lstrip()) if colon else ("key", inside.lstrip())
        keys, heads = (*keys, key.strip()) if colon else keys, (*heads, offset) if colon else heads
        brackets = _open_brackets(value)
    word = re.search(r"[^\W\d]?\w*$", value)
    return Cursor(offset, keys, heads, value, kind, word[0] if word else "", brackets, beside, quoted)


def _logical_line(document: Document, place: TextPosition) -> tuple[int, str, bool]:
    """The physical line that a line begins at, its text up to a place, and whether that is in a comment or string."""
    lines, here = document.lines, document.lines[place.line][: place.column]
    first = place.line
    while not _begins(lines[first] if first < place.line else here) and first > 0 and place.line - first < _MOST_LINES:
        first -= 1
    code = [_without_comment(piece) for piece in (*lines[first : place.line], here)]
    is_open = sum(map(_balance, code[:-1])) > 0
    indent = len(here) - len(here.lstrip(" "))
    item = _ITEM.match(lines[first])
    deeper = indent > (len(item[0]) if item else 0) and not code[0].rstrip().endswith(":")
    if first < place.line and not (is_open or (deeper and here.strip())):
        first, code = place.line, code[-1:]
    text = " ".join([code[0], *(one.strip() for one in code[1:-1]), *(one.lstrip() for one in code[1:][-1:])])
    bare = without_strings(text)
    return first, text, len(code[-1]) < len(here) or bare.count("'") % 2 == 1 or bare.count('"') % 2 == 1


def _begins(line: str) -> bool:
    """Whether a physical line begins an item or has a key."""
    item = _ITEM.match(line)
    return bool(item and item["dashes"]) or _LINE.match(line) is not None


def _balance(line: str) -> int:
    bare = without_strings(_without_comment(line))
    return sum((c in "([{") - (c in ")]}") for c in bare)


def _without_comment(line: str) -> str:
    found = re.search(r"(?:^|\s)#", without_strings(line))
    return line[: found.start()] if found else line


def _keys_above(document: Document, first: int, text: str) -> tuple[tuple[str, ...], tuple[int, ...], str]:
    """The keys that a line is under, by its indentation, with their places; and the first key beside it."""
    item = _ITEM.match(text)
    assert item is not None
    column, is_item = len(item["indent"]), bool(item["dashes"])
    own, beside = column, ""
    keys: list[str] = []
    heads: list[int] = []
    for number in range(first - 1, -1, -1):
        line = document.lines[number]
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if column == 0 and not is_item:
            break
        above = _ITEM.match(line)
        assert above is not None
        dash, content = len(above["indent"]), len(above[0])
        head = _LINE.match(line)
        if head and head["key"] and (content < column or (is_item and content == column)):
            keys.insert(0, head["key"].strip())
            heads.insert(0, document.source.offset(number + 1, content + 1))
            column, is_item = content, False
        elif head and head["key"] and content == column == own and above["dashes"]:
            beside = head["key"].strip()
        if above["dashes"] and dash < column:
            column, is_item, own = dash, True, -1
    return tuple(keys), tuple(heads), beside


def _open_brackets(text: str) -> tuple[OpenBracket, ...]:
    """The brackets that are open at the end of a text."""
    bare = without_strings(text)
    stack: list[tuple[str, int, list[int]]] = []
    for at, c in enumerate(bare):
        if c in "([{":
            stack.append((c, at, [at + 1]))
        elif c in ")]}" and stack:
            stack.pop()
        elif c == "," and stack:
            stack[-1][2].append(at + 1)
    found = []
    for sign, at, starts in stack:
        ends = [*(start - 1 for start in starts[1:]), len(text)]
        arguments = tuple(text[a:b] for a, b in zip(starts, ends, strict=True))
        found.append(OpenBracket(sign, _callee(text[:at]), at, arguments))
    return tuple(found)


def _callee(before: str) -> str:
    """What stands directly before a bracket: ``Conv2d``, ``x.view``, ``Block(8)``."""
    at, depth = len(before), 0
    bare = without_strings(before)
    while at > 0 and (depth or bare[at - 1] in ")]}" or bare[at - 1].isalnum() or bare[at - 1] in "_."):
        depth += (bare[at - 1] in ")]}") - (bare[at - 1] in "([{")
        at -= 1
        if depth < 0:
            return before[at + 1 :].strip()
    return before[at:].strip()


def scope_at(document: Document, cursor: Cursor) -> NameScope:
    """The names that a line at the cursor may read: those of its loops on the line too."""
    table = document.symbols
    if table is None:
        return NameScope()
    if cursor.keys[:1] not in (("blocks",), ("layers",), ("graph",)):
        return table.vars
    heads = {document.source.place(span.start)[0]: scope for span, scope in table.scopes.items()}
    scope = table.vars
    for head in cursor.heads:
        scope = heads.get(document.source.place(head)[0], scope)
    around = NameScope(scope)
    around.names = {
        name: one
        for name, one in scope.names.items()
        if not one.definitions or one.definitions[0].start < cursor.offset or table.spec.graph
    }
    around.above = scope.above
    for target in re.findall(r"\bfor\s+([\w\s,()]+?)\s+in\b", cursor.text):
        for name in re.findall(r"[^\W\d]\w*", target):
            around.names[name] = Symbol(name, "loop", around)
    scope.inner.remove(around)
    return around
