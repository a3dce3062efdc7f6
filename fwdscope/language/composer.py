"""Composes the YAML nodes of a file, with their places.

One pass over the events of ``yaml.parse`` sees aliases, tags, depth and duplicate keys where they are, and keeps every
scalar as text: YAML's own types (``1e-5`` a string, ``no`` a boolean, ``010`` an octal) are never used.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator

import yaml

from fwdscope.language.characters import BRACKETS, find_outside_strings
from fwdscope.language.problems import Cause, Problem, Source, Span, SpecError
from fwdscope.language.source import Scalar, Text, YamlList, YamlMapping, YamlNode
from fwdscope.language.yaml_errors import explain_yaml_error
from fwdscope.limits import at_most, limit

_STYLES = {None: "plain", "": "plain", "'": "single", '"': "double", "|": "literal", ">": "folded"}


def compose(source: Source) -> tuple[YamlNode | None, list[Problem]]:
    """Return the root node of a file and its problems as YAML. The root is None if nothing can be read."""
    composer = _Composer(source)
    try:
        root = composer.document()
    except yaml.YAMLError as error:
        problem = explain_yaml_error(source, error)
        # If the line has a problem already (an alias, a tag), that is what stopped YAML.
        known = any(problem.line == other.line for other in composer.problems)
        return None, composer.problems if known else [*composer.problems, problem]
    except SpecError as error:
        return None, [*composer.problems, *error.problems]
    return root, [*composer.problems, *composer.tabs()]


class _Composer:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.scalars: list[Scalar] = []
        text, self.lists = _hide_lists_of_layers(source.text)
        self.events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)
        self.nodes = 0
        self.max_nodes, self.max_depth = limit("nodes"), limit("nesting")

    def problem(self, span: Span, message: str, help: str | None = None, *causes: Cause, code: str = "yaml") -> None:
        self.problems.append(Problem(self.source, span, code, message, help, causes))

    def document(self) -> YamlNode | None:
        root: YamlNode | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                help = "write one spec per file"
                self.problem(_span(event), "a second document starts here", help)
                return root
            if isinstance(event, yaml.NodeEvent):
                root = self.node(event, 1)
        return root

    def node(self, event: yaml.Event, depth: int) -> YamlNode:
        span = _span(event)
        self.nodes += 1
        if self.nodes > self.max_nodes or depth > self.max_depth:
            many = self.nodes > self.max_nodes
            what = f"more than {self.max_nodes:,} nodes" if many else f"nested deeper than {self.max_depth}"
            help = at_most("nodes" if many else "nesting")
            raise SpecError([Problem(self.source, span, "limit", f"the file has {what}", help)])
        self.refuse_marks(event, span)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.listing(span, depth)
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(span, depth)
        if isinstance(event, yaml.AliasEvent):
            return Scalar(Text("", (), span.end), span, "alias")
        assert isinstance(event, yaml.ScalarEvent)
        scalar = self.scalar(event.value, span, _STYLES[event.style])
        self.scalars.append(scalar)
        return scalar

    def refuse_marks(self, event: yaml.Event, span: Span) -> None:
        """Report aliases, anchors and tags."""
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent):
            help = "write its value again, or make what repeats a block"
            if not self.source.text[: span.start].endswith("- "):
                help += "; put a text that starts with * in quotes"
            self.problem(span, f"aliases (*{anchor}) are not part of the language", help)
        elif anchor is not None:
            help = "remove it, and make what repeats a block"
            self.problem(Span(span.start, span.start + 1), f"anchors (&{anchor}) are not part of the language", help)
        if tag is not None:
            shown = self.source.text[span.start :].split(maxsplit=1)[0]
            place = Span(span.start, span.start + len(shown))
            self.problem(place, f"tags ({shown}) are not part of the language", "remove it")

    def listing(self, span: Span, depth: int) -> YamlList:
        items = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, depth + 1))
        whole = Span(span.start, _span(event).end)
        broken = self.refuse_cut(whole, ((None, item) for item in items))
        return YamlList(tuple(item for item in items if not (broken and _balance(item))), whole, broken)

    def mapping(self, span: Span, depth: int) -> YamlMapping:
        entries: list[tuple[Scalar, YamlNode]] = []
        seen: dict[str, Scalar] = {}
        broken = self.source.text.startswith("?", span.start)
        if broken:
            message = "a line cannot start with ?, which is special in YAML"
            self.problem(Span(span.start, span.start + 1), message, "remove it, or put the line in quotes")
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.node(event, depth + 1)
            value = self.node(next(self.events), depth + 1)
            if self.is_key(key, value, seen):
                assert isinstance(key, Scalar)
                seen[key.value] = key
                entries.append((key, value))
        whole = Span(span.start, _span(event).end)
        if self.refuse_cut(whole, entries):
            kept = tuple(entry for entry in entries if not any(map(_balance, entry)))
            return YamlMapping(kept, whole, broken=True)
        return YamlMapping(tuple(entries), whole, broken)

    def is_key(self, key: YamlNode, value: YamlNode, seen: dict[str, Scalar]) -> bool:
        """Whether a key is a new name; report it otherwise."""
        if not isinstance(key, Scalar):
            if not (isinstance(value, Scalar) and not value.value and key.broken):
                self.problem(key.span, "a key must be a name", "write an equals sign, not a colon")
        elif key.style == "alias":
            return False  # reported as an alias
        elif key.value == "<<" and not key.quoted:
            self.problem(key.span, "merge keys (<<) are not part of the language", "write its keys out")
        elif first := seen.get(key.value):
            cause = Cause("first given here", first.span)
            self.problem(key.span, f"{key.value} is given twice", "remove one of them", cause, code="key")
        else:
            return True
        return False

    def refuse_cut(self, span: Span, entries: Iterable[tuple[Scalar | None, YamlNode]]) -> bool:
        """Whether YAML cut an expression at a comma inside ``{ }`` or ``[ ]``, which is reported once a collection."""
        signs = self.source.text[span.start : span.start + 1]
        if signs not in ("[", "{"):
            return False
        for key, value in entries:
            for scalar in (key, value):
                if isinstance(scalar, Scalar) and _balance(scalar) > 0:
                    end = _end_of_brackets(self.source.text, scalar.span.start, span.end) or span.end
                    piece = self.source.text[scalar.span.start : end]
                    prefix = f"{key.value}: " if key is not None and scalar is value else "- "
                    brackets = "{ }" if signs == "{" else "[ ]"
                    message = f"YAML splits {brackets} at every comma, also at the one inside this"
                    help = f"write it on a line of its own: `{prefix}{piece}`"
                    self.problem(Span(scalar.span.start, scalar.span.start + len(piece)), message, help)
                    return True
        return False

    def scalar(self, value: str, span: Span, style: str) -> Scalar:
        raw = self.source[span]
        if span.start in self.lists:
            return Scalar(Text(raw, range(*span), span.end), span, style)
        if style == "plain":
            self.refuse_swallowed_line(raw, span)
        if style == "double":
            self.refuse_escapes(raw, span)
        return Scalar(_scalar_text(raw, value, span, style), span, style)

    def refuse_escapes(self, raw: str, span: Span) -> None:
        """Report the first escape in double quotes, except of the quote and of the backslash itself."""
        for found in re.finditer(r"\\(.)", raw, re.S):
            if found[1] in '"\\':
                continue
            place = Span(span.start + found.start(), span.start + found.end())
            what = "a backslash at the end of a line" if found[1] in "\r\n" else f"the escape {found[0]}"
            help = "write the character itself; in single quotes a \\ is an ordinary character"
            self.problem(place, f"{what} is not part of the language", help)
            break

    def refuse_swallowed_line(self, raw: str, span: Span) -> None:
        """Report ``- Linear(3)`` indented under ``- ReLU``, which YAML reads as ``ReLU - Linear(3)``."""
        for line in re.finditer(r"(?:\r\n|\r|\n)[ \t]*(-(?=\s|$)[^\r\n]*)", raw):
            place = Span(span.start + line.start(1), span.start + line.end(1))
            message = "this line is indented under the one before, so YAML joins the two"
            help = "indent it like the line before, or end that one with a colon to nest this one in it"
            self.problem(place, message, help)

    def tabs(self) -> Iterator[Problem]:
        """Yield the tabs outside quotes and comments."""
        text = self.source.text
        starts = [scalar.span.start for scalar in self.scalars]
        for found in re.finditer(r"\t+", text):
            at = found.start()
            i = bisect_right(starts, at) - 1
            near = self.scalars[i] if i >= 0 else None
            inside = near is not None and at < near.span.end
            if inside and near is not None and near.style != "plain":
                continue
            begin = max(text.rfind("\n", 0, at) + 1, near.span.end if near is not None and not inside else 0)
            if not inside and "#" in text[begin:at]:
                continue
            yield Problem(self.source, Span(at, found.end()), "yaml", "there is a tab here", "write spaces")


def _hide_lists_of_layers(text: str) -> tuple[str, set[int]]:
    """Replace lists and mappings under ``modules:`` by plain text of their length, since YAML cuts them at commas.

    ``convs: [Conv2d(8, 3) for i in range(n)]`` is one value. Returns the text and where such values begin.
    """
    found: list[tuple[int, int]] = []
    for head in _MODULES.finditer(text) if "modules:" in text else ():
        at, indent = head.end() + 1, len(head[1])
        while (line := _LINE.match(text, at)) and line[0] and (len(line[1]) > indent or not line[2]):
            at = line.end()
            if value := _LIST.match(line[2]):
                start = line.start(2) + value.end()
                stop = _end_of_brackets(text, start)
                if stop is None:  # YAML says so
                    return text, set()
                found.append((start, stop))
                at = max(at, stop)
    pieces, end = [], 0
    for start, stop in sorted(set(found)):
        pieces += [text[end:start], re.sub(r"\S", "x", text[start:stop])]
        end = stop
    return "".join([*pieces, text[end:]]), {start for start, _ in found}


_MODULES = re.compile(r"^([ ]*)(?:- +)*modules:[ ]*(?:#.*)?\r?$", re.M)
_LINE = re.compile(r"([ ]*)([^\r\n]*)(?:\r?\n|\r)?")
_LIST = re.compile(r"[^\W\d]\w*[ ]*:[ ]+(?=[\[{])")


def _end_of_brackets(text: str, start: int, end: int | None = None) -> int | None:
    """Return where the bracket that opens at ``start`` is closed."""
    depth = 0
    for found in BRACKETS.finditer(text, start, len(text) if end is None else end):
        depth += 1 if found[0] in "([{" else -1
        if depth == 0:
            return found.end()
    return None


def _span(event: yaml.Event) -> Span:
    assert event.start_mark is not None
    assert event.end_mark is not None
    return Span(event.start_mark.index, event.end_mark.index)


def _balance(node: YamlNode) -> int:
    if not isinstance(node, Scalar) or node.style != "plain":
        return 0
    return sum((c in "([{") - (c in ")]}") for _, c in find_outside_strings(node.value, BRACKETS))


def _scalar_text(raw: str, value: str, span: Span, style: str) -> Text:
    """Return the text of a scalar, which stands in the file as ``raw`` and which YAML reads as ``value``."""
    if style in ("literal", "folded"):
        return Text(value, (span.start,) * len(value), span.end)
    inside = raw if style == "plain" else raw[1:-1]
    if inside == value and value:
        # Most scalars: neither an escape nor a folded line changes them.
        start = span.start + (style != "plain")
        return Text(value, range(start, start + len(value)), start + len(value))
    if style == "plain":
        pairs = _folded(raw, span.start, plain=True)
    else:
        pairs = _unescaped(_folded(raw[1:-1], span.start + 1, plain=False), style)
    if "".join(c for c, _ in pairs) != value:
        # An escape, which is reported elsewhere, or one of Unicode's own line ends: take the place of the whole.
        return Text(value, (span.start,) * len(value), span.end)
    return Text(value, tuple(at for _, at in pairs), pairs[-1][1] + 1 if pairs else span.end)


def _folded(raw: str, start: int, plain: bool) -> list[tuple[str, int]]:
    count = len(re.findall(r"\r\n|\r|\n", raw)) + 1
    lines = list(re.finditer(r"([^\r\n]*)(\r\n|\r|\n|$)", raw))[:count]
    pairs: list[tuple[str, int]] = []
    breaks: list[int] = []
    for number, line in enumerate(lines):
        content, left = line[1], line.start(1)
        if number or plain:
            stripped = content.lstrip(" \t")
            left += len(content) - len(stripped)
            content = stripped
        if number < len(lines) - 1 or plain:
            content = content if content.endswith("\\") else content.rstrip(" \t")
        if content or number in (0, len(lines) - 1):
            # One line break becomes a space; several become one break less.
            pairs += [(" ", breaks[0])] if len(breaks) == 1 else [("\n", at) for at in breaks[1:]]
            breaks = []
        pairs += ((c, start + left + i) for i, c in enumerate(content))
        if number < len(lines) - 1:
            breaks.append(start + line.start(2))
    return pairs


def _unescaped(pairs: list[tuple[str, int]], style: str) -> list[tuple[str, int]]:
    """Replace ``''``, ``\\"`` and ``\\\\`` by one character, at the offset of the first."""
    mark, escapable = ("'", "'") if style == "single" else ("\\", '"\\')
    result, i = [], 0
    while i < len(pairs):
        character, at = pairs[i]
        if character == mark and i + 1 < len(pairs) and pairs[i + 1][0] in escapable:
            result.append((pairs[i + 1][0], at))
            i += 2
        else:
            result.append((character, at))
            i += 1
    return result
