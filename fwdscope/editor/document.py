"""A spec as an editor holds it: its text, perhaps half typed, with all that can be read of it.

Places are as in the language server protocol, but for columns, which count characters: lines and columns from 0.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from fwdscope.editor.symbols import SymbolTable
from fwdscope.language import formatting, tree
from fwdscope.language.check import Checked, check_all
from fwdscope.language.parser import parse_all, parse_leniently
from fwdscope.language.problems import Problem, Source, Span, SpecError


class TextPosition(NamedTuple):
    """A place between two characters."""

    line: int
    column: int


class TextRange(NamedTuple):
    """A range of a text, up to but not including ``end``."""

    start: TextPosition
    end: TextPosition


class TextEdit(NamedTuple):
    """A range of a text, and the text that replaces it."""

    range: TextRange
    text: str


class Document:
    """A version of a spec's text. What it computes it keeps."""

    def __init__(self, text: str, name: str = "spec.yaml", allow_import: bool = False) -> None:
        self.source = Source(name, text)
        self.allow_import = allow_import

    @cached_property
    def parsed(self) -> tuple[tree.ModelSpec | None, list[Problem]]:
        """The spec if its lines mean something, and what does not parse."""
        return parse_all(self.source)

    @cached_property
    def spec(self) -> tree.ModelSpec | None:
        """All of the spec that can be read, without the lines that break the file."""
        return self.parsed[0] or parse_leniently(self.source)

    @cached_property
    def _checks(self) -> tuple[Checked, list[Problem]] | None:
        return check_all(self.spec, self.allow_import) if self.spec is not None else None

    @property
    def checked(self) -> Checked | None:
        """The spec with its names resolved, as far as they can be."""
        return self._checks[0] if self._checks is not None else None

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Every problem that the text shows, sorted by place."""
        spec, problems = self.parsed
        # Where the rest of the file has no meaning, its names have none either.
        more = self._checks[1] if spec is not None and self._checks is not None else []
        return SpecError([*problems, *more]).problems

    @property
    def is_clean(self) -> bool:
        """Whether the text shows no problem."""
        return not self.problems

    @cached_property
    def symbols(self) -> SymbolTable | None:
        """The names of the spec."""
        return SymbolTable(self.spec) if self.spec is not None else None

    def forget(self) -> None:
        """Let go of all but the problems: it is computed again when it is asked for."""
        for name in ("parsed", "spec", "_checks", "symbols", "lines"):
            self.__dict__.pop(name, None)

    @cached_property
    def lines(self) -> list[str]:
        """The text of each line, without its end."""
        last = self.source.place(len(self.source.text))[0]
        return [self.source.line(number) for number in range(1, last + 1)]

    def offset(self, position: TextPosition) -> int:
        """The offset of a place; of one beyond a line's end or the text's, that end."""
        if position.line >= len(self.lines):
            return len(self.source.text)
        line = max(position.line, 0)
        return self.source.offset(line + 1, min(max(position.column, 0), len(self.lines[line])) + 1)

    def position(self, offset: int) -> TextPosition:
        """The place of an offset."""
        line, column = self.source.place(offset)
        return TextPosition(line - 1, column - 1)

    def range(self, span: Span) -> TextRange:
        """The range of a span."""
        return TextRange(self.position(span.start), self.position(span.end))


def format_edits(document: Document) -> list[TextEdit]:
    """Return the edits that lay out a spec; none if it does not parse."""
    spec, problems = document.parsed
    edits = formatting.format_edits(spec) if spec is not None and not problems else []
    return [TextEdit(document.range(span), text) for span, text in sorted(edits)]
