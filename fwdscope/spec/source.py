"""Files → trees of YAML nodes with their places.

One pass over ``yaml.parse`` events composes the tree, so that aliases, tags, depth and duplicate keys are seen where they stand, and
every scalar stays text: YAML's own types (``1e-5`` a string, ``no`` a boolean, ``010`` an octal) are never used.
A scalar's :class:`Text` knows the place of each of its characters, through quotes and folded lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from fwdscope.spec.problems import Cause, Problem, Source, Span, SpecError

MAX_BYTES = 1 << 20
MAX_NODES = 50_000
MAX_DEPTH = 64

_STYLES = {None: "plain", "": "plain", "'": "single", '"': "double", "|": "literal", ">": "folded"}


@dataclass(frozen=True)
class Text:
    """A string of which each character knows its offset in the file. Slicing and stripping keep the places."""

    value: str
    offsets: tuple[int, ...]
    end: int

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, part: slice) -> Text:
        start, stop, _ = part.indices(len(self.value))
        stop = max(start, stop)
        end = self.offsets[stop - 1] + 1 if stop > start else self.offset(start)
        return Text(self.value[start:stop], self.offsets[start:stop], end)

    def strip(self) -> Text:
        """Without white space at either end."""
        left = len(self.value) - len(self.value.lstrip())
        return self[left : len(self.value.rstrip())] if self.value.strip() else self[len(self.value) :]

    def offset(self, index: int) -> int:
        """The file's offset of a character of the text; of its end, for an index at or behind it."""
        return self.offsets[index] if index < len(self.offsets) else self.end

    def span(self, start: int = 0, stop: int | None = None) -> Span:
        """The stretch of the file that holds these characters."""
        stop = len(self.value) if stop is None else stop
        first = self.offset(start)
        return Span(first, max(first, self.offsets[stop - 1] + 1) if start < stop <= len(self.value) else first)


@dataclass(frozen=True)
class Scalar:
    """A piece of text: a line, a name, a value."""

    text: Text
    span: Span
    style: str

    @property
    def value(self) -> str:
        """The text as YAML reads it."""
        return self.text.value

    @property
    def quoted(self) -> bool:
        """Whether it stands in quotes."""
        return self.style in ("single", "double")


@dataclass(frozen=True)
class Listing:
    """A YAML sequence."""

    items: tuple[Node, ...]
    span: Span


@dataclass(frozen=True)
class Mapping:
    """A YAML mapping, its entries in the file's order."""

    entries: tuple[tuple[Scalar, Node], ...]
    span: Span

    def get(self, key: str) -> Node | None:
        """The value of a key, or None."""
        return next((value for name, value in self.entries if name.value == key), None)


Node = Scalar | Listing | Mapping


def read(path: Path, name: str | None = None) -> Source:
    """The text of a spec file. Raises SpecError for one too large or not UTF-8, OSError for one that cannot be read."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    return decode(data, name or str(path))


def decode(data: bytes, name: str) -> Source:
    """Bytes as UTF-8 text, with or without a mark. Raises SpecError."""
    if len(data) > MAX_BYTES:
        raise SpecError(
            [Problem(Source(name, ""), Span(0, 0), "limit", f"the file is larger than {MAX_BYTES:,} bytes")]
        )
    try:
        return Source(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        good = Source(name, data[: error.start].decode("utf-8-sig"))
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        problem = Problem(good, Span(len(good.text), len(good.text)), "yaml", message, "save the file as UTF-8")
        raise SpecError([problem]) from None


def compose(source: Source) -> tuple[Node | None, list[Problem]]:
    """The tree of a file and what is wrong with it as YAML. The tree is None where there is nothing to go on with."""
    composer = _Composer(source)
    try:
        root = composer.document()
    except yaml.YAMLError as error:
        problem = _translate(source, error)
        # What was already told of this line (an alias, a tag) is what tripped YAML.
        told = any(problem.line == other.line for other in composer.problems)
        return None, composer.problems if told else [*composer.problems, problem]
    except SpecError as error:
        return None, [*composer.problems, *error.problems]
    return root, [*composer.problems, *composer.tabs()]


class _Composer:
    """Events in, nodes out; keeps problems that do not stop it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.scalars: list[Scalar] = []
        self.events: Iterator[yaml.Event] = yaml.parse(source.text, Loader=yaml.SafeLoader)
        self.nodes = 0

    def problem(self, span: Span, message: str, help: str | None = None, code: str = "yaml") -> None:
        self.problems.append(Problem(self.source, span, code, message, help))

    def document(self) -> Node | None:
        root: Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                span = Span(event.start_mark.index, event.end_mark.index)
                self.problem(span, "a second document begins here", "one spec a file: move it to a file of its own")
                return root
            if isinstance(event, yaml.NodeEvent):
                root = self.node(event, 1)
        return root

    def node(self, event: yaml.Event, depth: int) -> Node:
        span = Span(event.start_mark.index, event.end_mark.index)
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            what = f"more than {MAX_NODES:,} nodes" if self.nodes > MAX_NODES else f"nested deeper than {MAX_DEPTH}"
            raise SpecError([Problem(self.source, span, "limit", f"the file has {what}")])
        self.refuse_marks(event, span)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.listing(span, depth)
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(span, depth)
        if isinstance(event, yaml.AliasEvent):
            return Scalar(Text("", (), span.end), span, "alias")
        assert isinstance(event, yaml.ScalarEvent)
        style = _STYLES[event.style]
        scalar = Scalar(self.text(event.value, span, style), span, style)
        self.scalars.append(scalar)
        return scalar

    def refuse_marks(self, event: yaml.Event, span: Span) -> None:
        if isinstance(event, yaml.AliasEvent):
            help = "write the thing again, or make it a block; a line that begins with * goes in quotes"
            self.problem(span, f"aliases (*{event.anchor}) are not part of the language", help)
            return
        if getattr(event, "anchor", None) is not None:
            text = f"anchors (&{event.anchor}) are not part of the language"  # type: ignore[attr-defined]
            self.problem(
                Span(span.start, span.start + 1), text, "make what repeats a block; quote a line that begins with &"
            )
        if getattr(event, "tag", None) is not None:
            tag = self.source.text[span.start :].split(maxsplit=1)[0]
            mark = Span(span.start, span.start + len(tag))
            self.problem(mark, f"tags ({tag}) are not part of the language", "quote a line that begins with !")

    def listing(self, span: Span, depth: int) -> Listing:
        items = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, depth + 1))
        return Listing(tuple(items), Span(span.start, event.end_mark.index))

    def mapping(self, span: Span, depth: int) -> Mapping:
        entries: list[tuple[Scalar, Node]] = []
        seen: dict[str, Scalar] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.node(event, depth + 1)
            value = self.node(next(self.events), depth + 1)
            if not isinstance(key, Scalar):
                self.problem(key.span, "a key has to be a name", "a line that begins with [ or { goes in quotes")
                continue
            if key.value == "<<" and not key.quoted:
                self.problem(key.span, "merge keys (<<) are not part of the language", "make what repeats a block")
                continue
            if first := seen.get(key.value):
                causes = (Cause("first given here", first.span),)
                self.problems.append(Problem(self.source, key.span, "key", f"{key.value} is given twice", None, causes))
                continue
            seen[key.value] = key
            entries.append((key, value))
        return Mapping(tuple(entries), Span(span.start, event.end_mark.index))

    def text(self, value: str, span: Span, style: str) -> Text:
        raw = self.source[span]
        if style in ("literal", "folded"):
            return Text(value, (span.start,) * len(value), span.end)
        if style == "plain":
            self.refuse_swallowed_line(raw, span)
            pairs = _fold(raw, span.start, plain=True)
        else:
            pairs = _unescape(_fold(raw[1:-1], span.start + 1, plain=False), style)
            if style == "double" and (bad := re.search(r'(?<!\\)(?:\\\\)*(\\[^"\\])', raw, re.S)):
                start = span.start + bad.start(1)
                help = "single quotes need no escapes; the character itself may stand in the text"
                self.problem(Span(start, start + 2), f"the escape {bad[1]!r} is not part of the language", help)
        found = "".join(c for c, _ in pairs)
        if found != value:  # an escape that was refused above; its place is told, the rest need not be exact
            return Text(value, (span.start,) * len(value), span.end)
        end = pairs[-1][1] + 1 if pairs else span.end
        return Text(value, tuple(at for _, at in pairs), end)

    def refuse_swallowed_line(self, raw: str, span: Span) -> None:
        for line in re.finditer(r"(?:\r\n|\r|\n)[ \t]*(-(?=\s|$)[^\r\n]*)", raw):
            place = Span(span.start + line.start(1), span.start + line.end(1))
            message = "this line is indented under the one before, so YAML joins both to one"
            self.problem(
                place, message, "give it the indentation of the line before, or a name with a colon to nest under"
            )

    def tabs(self) -> Iterator[Problem]:
        """Tabs outside comments and ``doc`` texts."""
        text = self.source.text
        for found in re.finditer(r"\t+", text):
            at = found.start()
            inside = next((s for s in self.scalars if s.span.start <= at < s.span.end), None)
            if inside is not None and inside.style != "plain":
                continue
            line_start = text.rfind("\n", 0, at) + 1
            before = max([line_start, *(s.span.end for s in self.scalars if line_start < s.span.end <= at)])
            if inside is None and "#" in text[before:at]:
                continue
            yield Problem(self.source, Span(at, found.end()), "yaml", "a tab stands here", "write spaces")


def _fold(raw: str, start: int, plain: bool) -> list[tuple[str, int]]:
    """The characters of a flow scalar with their offsets, its lines folded as YAML does: one break is a space, more are breaks less one."""
    lines = list(re.finditer(r"([^\r\n]*)(\r\n|\r|\n|$)", raw))[
        : raw.count("\n") + len(re.findall(r"\r(?!\n)", raw)) + 1
    ]
    pairs: list[tuple[str, int]] = []
    breaks: list[int] = []
    for number, line in enumerate(lines):
        content, left = line[1], line.start(1)
        if number or plain:
            stripped = content.lstrip(" \t")
            left += len(content) - len(stripped)
            content = stripped
        if number < len(lines) - 1 or plain:
            content = content.rstrip(" \t") if not _escaped_break(content) else content
        if content or number in (0, len(lines) - 1):
            pairs += _breaks(breaks)
            breaks = []
        pairs += ((c, start + left + i) for i, c in enumerate(content))
        if number < len(lines) - 1:
            breaks.append(start + line.start(2))
    return pairs


def _escaped_break(content: str) -> bool:
    return content.endswith("\\")


def _breaks(offsets: list[int]) -> list[tuple[str, int]]:
    if len(offsets) == 1:
        return [(" ", offsets[0])]
    return [("\n", at) for at in offsets[1:]]


def _unescape(pairs: list[tuple[str, int]], style: str) -> list[tuple[str, int]]:
    """Quoted characters with ``''``, ``\\"`` and ``\\\\`` made one; an escape sits at its first character."""
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


# --- YAML's complaints in the language's words ---------------------------------------------------------------------------

_CANNOT_BEGIN = '[{*&!@%>|?,`"'


def _translate(source: Source, error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        message = f"the character U+{error.character:04X} is not allowed in YAML"
        return Problem(source, Span(error.position, error.position + 1), "yaml", message, "take it out")
    assert isinstance(error, yaml.MarkedYAMLError)
    mark = error.problem_mark or error.context_mark
    at = min(mark.index, len(source.text)) if mark else 0
    return _as_first_character(source, error, at) or _as_known(source, error, at)


def _as_first_character(source: Source, error: yaml.MarkedYAMLError, at: int) -> Problem | None:
    """A problem for a line that begins with one of YAML's own signs, at the place of the error or of what led to it."""
    places = [at] if error.context_mark is None else [error.context_mark.index, at]
    for place in places:
        number, _ = source.place(min(place, len(source.text)))
        line = source.line(number)
        found = re.match(r"\s*(?:- +)*(?:[\w.]+(?:\([^)]*\))*:\s+)?(.)", line)
        if not found or found[1] not in _CANNOT_BEGIN:
            continue
        start = source.text.find(line, place - len(line) if place >= len(line) else 0)
        start = place - (source.place(min(place, len(source.text)))[1] - 1) + found.start(1)
        rest = line[found.start(1) :]
        help = f"put it in quotes: '{rest.strip()}'" if "'" not in rest else "put the whole line in quotes"
        span = Span(start, start + len(rest.rstrip()))
        return Problem(source, span, "yaml", f"a line cannot begin with {found[1]}, which is YAML's own", help)
    return None


def _as_known(source: Source, error: yaml.MarkedYAMLError, at: int) -> Problem:
    text = error.problem or error.context or "this is not YAML"
    number, column = source.place(at)
    line = source.line(number)
    start = at - column + 1
    content = Span(start + len(line) - len(line.lstrip()), start + max(1, len(line.rstrip())))

    def problem(message: str, help: str | None, span: Span = content) -> Problem:
        return Problem(source, span, "yaml", message, help)

    if "mapping values are not allowed" in text:
        span = Span(at, at + 1)
        if re.match(r"\s*(doc|name)\s*:", line):
            key = line.split(":")[0].strip()
            return problem(
                "a colon and a space make a key, and one stands inside this text",
                f"use `{key}: |` and the text below",
                span,
            )
        return problem(
            "a colon and a space make a key, here inside a line",
            "take the space after the colon away, or quote the line",
            span,
        )
    if "'\\t'" in text:
        return problem("a tab stands here", "indent with spaces", Span(at, at + 1))
    if number > 1 and re.search(r"\s#", source.line(number - 1)) and "block end" in text:
        previous = source.line(number - 1)
        hash_at = start - len(previous) - 1 + re.search(r"\s#", previous).start() + 1  # type: ignore[union-attr]
        span = Span(hash_at, hash_at + len(previous) - previous.index("#"))
        return problem(
            "a comment ends the line, so the next one cannot go on with it", "move the comment above the line", span
        )
    if "unexpected end of stream" in text and error.context and "quoted" in error.context and error.context_mark:
        opened = error.context_mark.index
        return problem(
            "this quote is never closed", "close it, or double it inside single quotes", Span(opened, opened + 1)
        )
    if "expected ',' or" in text and error.context_mark:
        opened = error.context_mark.index
        sign = source.text[opened]
        return problem(
            f"this {sign} is never closed", f"close it with {']' if sign == '[' else '}'}", Span(opened, opened + 1)
        )
    if "could not find expected ':'" in text:
        help = "a line of a list begins with `- `; a section ends with a colon"
        if error.context_mark:
            begun = error.context_mark.index
            rest = source.line(source.place(begun)[0])[source.place(begun)[1] - 1 :]
            return problem(
                "this is neither a line of a list nor a key", help, Span(begun, begun + max(1, len(rest.rstrip())))
            )
        return problem("this is neither a line of a list nor a key", help)
    if "block end" in text or "block collection" in text or "expected the node content" in text:
        return problem(
            "this does not fit in with the lines around it",
            "indent lines of one list alike, each with `- `; quote a line that begins with a quote",
        )
    return problem(f"this is not YAML: {text}", None, Span(at, at + 1))
