"""Text → a tree of YAML nodes with their places.

One pass over ``yaml.parse`` events, so that aliases, tags, depth and duplicate keys are seen where they stand, and
every scalar stays text: YAML's own types (``1e-5`` a string, ``no`` a boolean, ``010`` an octal) are never used.

libyaml makes the same events in a twentieth of the time that PyYAML's own parser takes, but tells of mistakes in other
words and at other places. So a file is read by it first, and again by PyYAML where there is anything to tell.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator

import yaml

from fwdscope.language.characters import BRACKETS, signs_outside_strings
from fwdscope.language.problems import Cause, Problem, Source, Span, SpecError
from fwdscope.language.scalars import scalar_text
from fwdscope.language.source import Scalar, Text, YamlList, YamlMapping, YamlNode
from fwdscope.language.yaml_errors import in_our_words
from fwdscope.limits import limit

_STYLES = {None: "plain", "": "plain", "'": "single", '"': "double", "|": "literal", ">": "folded"}

# Where libyaml and PyYAML may part: line ends and marks beyond ASCII, a carriage return by itself, what one of them
# refuses, ``?`` as the sign of a key, directives and documents, a comment right behind the sign of a block of text.
_READ_DIFFERENTLY = re.compile(
    r"[^\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
    r"|\r(?!\n)|\?|^(?:---|\.\.\.|%)|[|>]\S*#",
    re.M,
)


def compose(source: Source) -> tuple[YamlNode | None, list[Problem]]:
    """The tree of a file and what is wrong with it as YAML. The tree is None where there is nothing to go on with."""
    root = _composed_quickly(source)
    return (root, []) if root is not None else _composed(source)


def _composed_quickly(source: Source) -> YamlNode | None:
    """The tree of a file in which libyaml finds no fault; None where PyYAML has to look."""
    if not yaml.__with_libyaml__ or _READ_DIFFERENTLY.search(source.text):
        return None
    composer = _Composer(source, yaml.CSafeLoader)
    try:
        root = composer.document()
    except (yaml.YAMLError, SpecError):
        return None
    # The place of a value that is left out is another one inside brackets.
    doubtful = composer.problems or any(not s.value and s.style == "plain" for s in composer.scalars)
    return None if doubtful else root


def _composed(source: Source) -> tuple[YamlNode | None, list[Problem]]:
    composer = _Composer(source, yaml.SafeLoader)
    try:
        root = composer.document()
    except yaml.YAMLError as error:
        problem = in_our_words(source, error)
        # What was already told of this line (an alias, a tag) is what tripped YAML.
        told = any(problem.line == other.line for other in composer.problems)
        return None, composer.problems if told else [*composer.problems, problem]
    except SpecError as error:
        return None, [*composer.problems, *error.problems]
    return root, [*composer.problems, *composer.tabs()]


class _Composer:
    """Events in, nodes out; keeps problems that do not stop it."""

    def __init__(self, source: Source, loader: type[yaml.SafeLoader] | type[yaml.CSafeLoader]) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.scalars: list[Scalar] = []
        self.events: Iterator[yaml.Event] = yaml.parse(source.text, Loader=loader)
        self.nodes = 0
        self.most, self.deepest = limit("nodes"), limit("nesting")

    def problem(self, span: Span, message: str, help: str | None = None, *causes: Cause, code: str = "yaml") -> None:
        self.problems.append(Problem(self.source, span, code, message, help, causes))

    def document(self) -> YamlNode | None:
        root: YamlNode | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                help = "one spec a file: move it to a file of its own"
                self.problem(_span(event), "a second document begins here", help)
                return root
            if isinstance(event, yaml.NodeEvent):
                root = self.node(event, 1)
        return root

    def node(self, event: yaml.Event, depth: int) -> YamlNode:
        span = _span(event)
        self.nodes += 1
        if self.nodes > self.most or depth > self.deepest:
            many = self.nodes > self.most
            what = f"more than {self.most:,} nodes" if many else f"nested deeper than {self.deepest}"
            raise SpecError([Problem(self.source, span, "limit", f"the file has {what}")])
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
        """Aliases, anchors and tags."""
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent):
            help = "write the thing again, or make it a block; a line that begins with * goes in quotes"
            self.problem(span, f"aliases (*{anchor}) are not part of the language", help)
        elif anchor is not None:
            help = "make what repeats a block; a line that begins with & goes in quotes"
            self.problem(Span(span.start, span.start + 1), f"anchors (&{anchor}) are not part of the language", help)
        if tag is not None:
            shown = self.source.text[span.start :].split(maxsplit=1)[0]
            help = "leave it out; a line that begins with ! goes in quotes"
            self.problem(
                Span(span.start, span.start + len(shown)), f"tags ({shown}) are not part of the language", help
            )

    # -- collections --------------------------------------------------------------------------------------------------

    def listing(self, span: Span, depth: int) -> YamlList:
        items = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, depth + 1))
        whole = Span(span.start, _span(event).end)
        broken = self.refuse_cut(whole, ((None, item) for item in items))
        return YamlList(
            tuple(item for item in items if not _unbalanced(item)) if broken else tuple(items), whole, broken
        )

    def mapping(self, span: Span, depth: int) -> YamlMapping:
        entries: list[tuple[Scalar, YamlNode]] = []
        seen: dict[str, Scalar] = {}
        broken = self.source.text.startswith("?", span.start)
        if broken:
            message = "a line cannot begin with ?, which is YAML's own"
            self.problem(Span(span.start, span.start + 1), message, "take it away, or put the line in quotes")
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.node(event, depth + 1)
            value = self.node(next(self.events), depth + 1)
            if self.is_key(key, value, seen):
                assert isinstance(key, Scalar)
                seen[key.value] = key
                entries.append((key, value))
        whole = Span(span.start, _span(event).end)
        if self.refuse_cut(whole, entries):
            kept = tuple(entry for entry in entries if not any(map(_unbalanced, entry)))
            return YamlMapping(kept, whole, broken=True)
        return YamlMapping(tuple(entries), whole, broken)

    def is_key(self, key: YamlNode, value: YamlNode, seen: dict[str, Scalar]) -> bool:
        """Whether a key is a name that is new; what it is instead is told."""
        if not isinstance(key, Scalar):
            if not (isinstance(value, Scalar) and not value.value and key.broken):
                self.problem(key.span, "a key has to be a name", "a line that begins with [ or { goes in quotes")
        elif key.style == "alias":
            pass  # told as an alias
        elif key.value == "<<" and not key.quoted:
            self.problem(key.span, "merge keys (<<) are not part of the language", "make what repeats a block")
        elif first := seen.get(key.value):
            cause = Cause("first given here", first.span)
            self.problem(key.span, f"{key.value} is given twice", "leave one of them out", cause, code="key")
        else:
            return True
        return False

    def refuse_cut(self, span: Span, entries: Iterable[tuple[Scalar | None, YamlNode]]) -> bool:
        """Whether YAML cut an expression at a comma inside ``{ }`` or ``[ ]``; told once for the whole collection."""
        signs = self.source.text[span.start : span.start + 1]
        if signs not in ("[", "{"):
            return False
        for key, value in entries:
            for scalar in (key, value):
                if isinstance(scalar, Scalar) and _balance(scalar) > 0:
                    piece = self.source.text[scalar.span.start : self.end_of_piece(scalar.span.start, span.end)]
                    prefix = f"{key.value}: " if key is not None and scalar is value else "- "
                    message = f"YAML cuts {'{ }' if signs == '{' else '[ ]'} at every comma, and one stands inside this"
                    help = f"write it on a line of its own: `{prefix}{piece}`"
                    self.problem(Span(scalar.span.start, scalar.span.start + len(piece)), message, help)
                    return True
        return False

    def end_of_piece(self, start: int, end: int) -> int:
        """Where the brackets of an expression that YAML cut are closed."""
        depth = 0
        for i in range(start, end):
            depth += (self.source.text[i] in "([{") - (self.source.text[i] in ")]}")
            if depth == 0 and self.source.text[i] in ")]}":
                return i + 1
        return end

    # -- scalars ------------------------------------------------------------------------------------------------------

    def scalar(self, value: str, span: Span, style: str) -> Scalar:
        raw = self.source[span]
        if style == "plain":
            self.refuse_swallowed_line(raw, span)
        if style == "double":
            self.refuse_escapes(raw, span)
        return Scalar(scalar_text(raw, value, span, style), span, style)

    def refuse_escapes(self, raw: str, span: Span) -> None:
        """Escapes in double quotes but those of the quote and of the backslash itself; the first is told."""
        for found in re.finditer(r"\\(.)", raw, re.S):
            if found[1] in '"\\':
                continue
            place = Span(span.start + found.start(), span.start + found.end())
            what = "a backslash at the end of a line" if found[1] in "\r\n" else f"the escape {found[0]}"
            help = "the character itself may stand in the text; in single quotes a \\ is only itself"
            self.problem(place, f"{what} is not part of the language", help)
            break

    def refuse_swallowed_line(self, raw: str, span: Span) -> None:
        """``- ReLU`` and, indented under it, ``- Linear(3)``, which YAML reads as ``ReLU - Linear(3)``."""
        for line in re.finditer(r"(?:\r\n|\r|\n)[ \t]*(-(?=\s|$)[^\r\n]*)", raw):
            place = Span(span.start + line.start(1), span.start + line.end(1))
            message = "this line is indented under the one before, so YAML joins both to one"
            help = "give it the indentation of the line before, or give that one a colon to nest under"
            self.problem(place, message, help)

    def tabs(self) -> Iterator[Problem]:
        """Tabs outside quotes and comments."""
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
            yield Problem(self.source, Span(at, found.end()), "yaml", "a tab stands here", "write spaces")


def _span(event: yaml.Event) -> Span:
    assert event.start_mark is not None
    assert event.end_mark is not None
    return Span(event.start_mark.index, event.end_mark.index)


def _balance(node: YamlNode) -> int:
    """How many more brackets a plain text opens than it closes."""
    if not isinstance(node, Scalar) or node.style != "plain":
        return 0
    return sum((c in "([{") - (c in ")]}") for _, c in signs_outside_strings(node.value, BRACKETS))


def _unbalanced(node: YamlNode) -> bool:
    return _balance(node) != 0
