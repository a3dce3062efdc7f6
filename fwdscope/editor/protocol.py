"""Places and problems in the language server protocol's terms: columns count as the client counts them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lsprotocol import types

from fwdscope.editor.document import Document, TextEdit, TextPosition, TextRange
from fwdscope.language.advice import advice
from fwdscope.language.problems import Cause, Problem, Source, Span

SOURCE = "fwdscope"


class Positions:
    """Converts places of a document to those of a client, whose columns count UTF-16 units unless it said otherwise."""

    def __init__(self, document: Document, encoding: str) -> None:
        self.document = document
        self._encoding = encoding

    def _units(self, text: str) -> int:
        if self._encoding == types.PositionEncodingKind.Utf32 or text.isascii():
            return len(text)
        if self._encoding == types.PositionEncodingKind.Utf8:
            return len(text.encode())
        return len(text) + sum(c > "\uffff" for c in text)

    def to_client(self, offset: int) -> types.Position:
        """The client's place of an offset."""
        line, column = self.document.source.place(offset)
        text = self.document.source.line(line)[: column - 1]
        return types.Position(line - 1, self._units(text))

    def span(self, span: Span) -> types.Range:
        """The client's range of a span."""
        return types.Range(self.to_client(span.start), self.to_client(max(span.start, span.end)))

    def range(self, range: TextRange) -> types.Range:
        """The client's range of a range of the document."""
        return self.span(Span(self.document.offset(range.start), self.document.offset(range.end)))

    def edit(self, edit: TextEdit) -> types.TextEdit:
        """The client's edit of an edit of the document."""
        return types.TextEdit(self.range(edit.range), edit.text)

    def from_client(self, position: types.Position) -> TextPosition:
        """The document's place of a client's; that of one beyond a line's end is its end."""
        lines = self.document.lines
        if position.line >= len(lines):
            return self.document.position(len(self.document.source.text))
        text, units = lines[position.line], 0
        for column, character in enumerate(text):
            if units >= position.character:
                return TextPosition(position.line, column)
            units += self._units(character)
        return TextPosition(position.line, len(text))


def diagnostic(problem: Problem, positions: Positions, uri: str) -> types.Diagnostic:
    """A problem as the client shows it: what explains a place is a related place."""
    related = [
        types.DiagnosticRelatedInformation(types.Location(uri, positions.span(cause.span)), cause.text)
        for cause in problem.causes
        if cause.span is not None
    ]
    remarks = [cause.text for cause in problem.causes if cause.span is None]
    helped = [f"help: {problem.help}"] if problem.help else []
    helped += [f"help: {'or' if i else 'write'} {fix.line}" for i, fix in enumerate(problem.fixes)]
    return types.Diagnostic(
        range=positions.span(problem.span),
        message="\n".join([problem.message, *remarks, *helped]),
        severity=types.DiagnosticSeverity.Error,
        code=problem.code,
        source=SOURCE,
        related_information=related or None,
    )


def notes(document: Document, positions: Positions) -> Iterator[types.Diagnostic]:
    """What is allowed but probably a mistake, as ``check`` notes it."""
    checked = document.checked
    if checked is None or not document.is_clean:
        return
    for note in (*checked.notes, *advice(checked.spec)):
        kind = types.DiagnosticSeverity.Information
        yield types.Diagnostic(positions.span(note.span), note.text, severity=kind, code="note", source=SOURCE)


def moved(problems: Iterable[Problem], before: Source, after: Source) -> list[Problem]:
    """Problems at the places where a changed text has what they are about; without those that the change is in."""
    old, new = before.text, after.text
    most = min(len(old), len(new))
    head = next((i for i in range(most) if old[i] != new[i]), most)
    tail = next((i for i in range(most - head) if old[-1 - i] != new[-1 - i]), most - head)

    def move(span: Span) -> Span | None:
        if span.end <= head:
            return span
        by = len(new) - len(old)
        return Span(span.start + by, span.end + by) if span.start >= len(old) - tail else None

    found = []
    for one in problems:
        span = move(one.span)
        causes = [Cause(cause.text, cause.span and move(cause.span)) for cause in one.causes]
        if span is not None:
            found.append(Problem(after, span, one.code, one.message, one.help, tuple(causes)))
    return found


def smallest_edits(document: Document, after: str, positions: Positions) -> list[types.TextEdit]:
    """The lines that differ between a document and another text of it, as edits."""
    import difflib

    before = document.source.text.splitlines(keepends=True)
    later = after.splitlines(keepends=True)
    starts = [0]
    for line in before:
        starts.append(starts[-1] + len(line))
    edits = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, before, later, autojunk=False).get_opcodes():
        if tag != "equal":
            edits.append(types.TextEdit(positions.span(Span(starts[a], starts[b])), "".join(later[c:d])))
    return edits
