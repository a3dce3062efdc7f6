"""Explains errors of the YAML parser, at the place where a person would look."""

from __future__ import annotations

import re

import yaml

from fwdscope.language.problems import Problem, Source, Span

_SPECIAL_AT_START = '[{*&!@%>|?,`"'


def explain_yaml_error(source: Source, error: yaml.YAMLError) -> Problem:
    """Return the problem behind a YAML error."""
    if isinstance(error, yaml.reader.ReaderError):
        message = f"the character U+{error.character:04X} is not allowed in YAML"
        return Problem(source, Span(error.position, error.position + 1), "yaml", message, "remove it")
    assert isinstance(error, yaml.MarkedYAMLError)
    mark = error.problem_mark or error.context_mark
    at = min(mark.index, len(source.text)) if mark else 0
    begun = min(error.context_mark.index, len(source.text)) if error.context_mark else None
    text = error.problem or error.context or ""
    return (
        _never_closed(source, error, begun)
        or _as_first_character(source, begun, at)
        or _as_colon(source, text, at)
        or _as_comment(source, text, at)
        or _as_structure(source, text, begun, at)
    )


def _line_at(source: Source, at: int) -> tuple[str, Span]:
    """Return the line at an offset, and the span of its content without white space."""
    number, column = source.place(at)
    line, start = source.line(number), at - column + 1
    first = start + len(line) - len(line.lstrip())
    return line, Span(first, max(first, start + len(line.rstrip())))


def _problem(source: Source, span: Span, message: str, help: str | None) -> Problem:
    return Problem(source, span, "yaml", message, help)


def _never_closed(source: Source, error: yaml.MarkedYAMLError, begun: int | None) -> Problem | None:
    if begun is None:
        return None
    sign, one = source.text[begun : begun + 1], Span(begun, begun + 1)
    if "unexpected end of stream" in (error.problem or "") and sign in ("'", '"'):
        return _problem(source, one, "this quote is never closed", "close it, or double it inside single quotes")
    if sign in ("[", "{") and "flow" in (error.context or ""):
        line, _ = _line_at(source, begun)
        rest = line[source.place(begun)[1] - 1 :]
        if sum((c in "[{") - (c in "]}") for c in rest) > 0:
            help = f"close it with {']' if sign == '[' else '}'}"
            return _problem(source, one, f"this {sign} is never closed", help)
    return None


def _as_first_character(source: Source, begun: int | None, at: int) -> Problem | None:
    for place in (at,) if begun is None else (begun, at):
        line, content = _line_at(source, place)
        if glob := re.match(r"\s*\*\.?([\w.]*)\s*:", line):
            help = f"write `{glob[1]}: …`, the end of a path, or `Linear.{glob[1]}: …`"
            return _problem(source, content, "a path cannot contain *", help)
        found = re.match(r"\s*(?:- +)*(?:[\w.]+(?:\([^)]*\))*:\s+)?(.)", line)
        in_list = re.match(r"\s*- ", line) is not None
        if not found or found[1] not in _SPECIAL_AT_START or (found[1] in "[{" and not in_list):
            continue
        rest = line[found.start(1) :].rstrip()
        start = place - source.place(place)[1] + 1 + found.start(1)
        help = f"put it in quotes: '{rest}'" if "'" not in rest else "put all of it in quotes"
        if unpacked := re.match(r"\[(.*?)\](\s*=.*)", rest):
            help = f"write `{unpacked[1]}{unpacked[2]}`"
        elif in_list and found[1] not in '["':
            help = "remove it: no line of a spec starts with it"
        sign = "a backtick" if found[1] == "`" else found[1]
        message = f"a {'line' if in_list else 'text'} cannot start with {sign}, which is special in YAML"
        return _problem(source, Span(start, start + len(rest)), message, help)
    return None


def _as_colon(source: Source, text: str, at: int) -> Problem | None:
    if "mapping values are not allowed" not in text:
        return None
    line, _ = _line_at(source, at)
    colon = Span(at, at + 1)
    found = re.match(r"\s*(doc|name)\s*:", line)
    help = "remove the space after the colon, or put the line in quotes"
    if found:
        help = f"write `{found[1]}: |` and the text on the lines below, indented"
    message = f"a colon and a space make a key, also inside this {'text' if found else 'line'}"
    return _problem(source, colon, message, help)


def _as_comment(source: Source, text: str, at: int) -> Problem | None:
    if "'\\t'" in text:
        return _problem(source, Span(at, at + 1), "there is a tab here", "write spaces: YAML does not allow tabs here")
    number, column = source.place(at)
    previous = source.line(number - 1) if number > 1 else ""
    found = re.search(r"\s#", previous)
    if not found or "block end" not in text:
        return None
    begin = source.text.rfind(previous, 0, at - column + 1) + found.start() + 1
    message = "a comment ends the expression, so the next line cannot continue it"
    span = Span(begin, begin + len(previous.rstrip()) - found.start() - 1)
    return _problem(source, span, message, "move the comment above the line")


def _as_structure(source: Source, text: str, begun: int | None, at: int) -> Problem:
    _, content = _line_at(source, at)
    if "could not find expected ':'" in text:
        if begun is not None:
            content = Span(begun, max(begun + 1, _line_at(source, begun)[1].end))
        help = "a line of a list starts with `- `; a key ends with a colon"
        return _problem(source, content, "this is neither a line of a list nor a key", help)
    if "block end" in text or "block collection" in text or "expected the node content" in text:
        help = "indent all lines of a list alike, each with `- `"
        return _problem(source, content, "this does not fit the lines around it", help)
    return _problem(source, Span(at, min(at + 1, len(source.text))), f"this is not YAML: {text}", None)
