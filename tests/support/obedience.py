"""A spec as it is once the help of a problem has been obeyed to the letter."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fwdscope.language.problems import Problem

# What a help tells to write: `X` behind "write" or behind words like "call it:".
_TO_WRITE = re.compile(
    r"(?:\bwrite|(?:call it|needs quotes|parentheses|the colon|a name|a stack of \w+|layer's result):) "
    r"`([^`]+)`(?:,? or `([^`]+)`)?|put it in quotes: (.+)$|, such as (\w+)$"
)
# What makes it more than one change, or one to be filled in.
_TO_THINK_OF = re.compile(
    r"…|\b(with a number|for masks|for numbers|below|and read|on a line (above|of its own)|, then)\b|and `"
)
_SETTINGS_THAT_FIT = re.compile(r"(\w+)=(\d+) (?:or \d+ )?would fit")
_LEFT_OUT = re.compile(r"leave (\w+) out")


def mended(problem: Problem) -> list[str]:
    """The texts of the file with each of the problem's fixes made."""
    texts = []
    for fix in problem.fixes:
        text = problem.source.text
        for (start, end), new in sorted(fix.changes, reverse=True):
            text = f"{text[:start]}{new}{text[end:]}"
        texts.append(text)
    return texts


def obeyed(problem: Problem) -> list[str]:
    """The texts of the file that a person may make of it who obeys the help, for each way to read it.

    None where it cannot be obeyed without thinking: it names no text, or one to fill in.
    """
    help_text = problem.help or ""
    written = [] if _TO_THINK_OF.search(help_text) else _TO_WRITE.findall(help_text)
    texts = [text for groups in written for text in groups if text]
    edits = [edit for text in texts for edit in _written(problem, text)]
    if match := _LEFT_OUT.match(help_text):
        edits += _without_setting(problem, match[1])
    if help_text.startswith("remove it"):
        edits += _removed(problem)
    for name, number in _SETTINGS_THAT_FIT.findall(help_text):
        edits += _with_setting(problem, name, number)
    whole = problem.source.text
    return [f"{whole[:start]}{new}{whole[end:]}" for start, end, new in dict.fromkeys(edits)]


def _line(problem: Problem) -> tuple[int, str]:
    """Where the line of a problem begins, and its text."""
    number, column = problem.source.place(problem.span.start)
    return problem.span.start - column + 1, problem.source.line(number)


def _written(problem: Problem, text: str) -> Iterator[tuple[int, int, str]]:
    start, end = problem.span
    yield start, end, text  # in place of what is marked
    begin, line = _line(problem)
    last = begin + len(line)
    if match := re.match(r"\s*(- )?(?:[\w, ()]+ = )?", line):
        # In place of the line's expression, of all that follows the dash, of the line.
        promise = re.search(r"\s*->.*$", line)
        yield begin + match.end(), begin + (promise.start() if promise else len(line)), text
        if match[1]:
            yield begin + match.end(1), last, text
    if match := re.match(r"\s*\w+:\s+", line):  # an entry of modules:
        yield begin + match.end(), last, text
    yield begin + len(line) - len(line.lstrip()), last, text
    call = problem.source[problem.span]
    if re.fullmatch(r"\w+=\S+", text) and call.endswith(")"):
        yield start, end, f"{call[:-1]}, {text})"
    if text.startswith("."):
        yield end, end, text
    if text.endswith(":"):
        yield start, end, text[:-1]
    if "." in call:
        for match in re.finditer(r"\w+", call):
            yield start + match.start(), start + match.end(), text  # of `fc.wieght` the wrong name
    if text.endswith(":") or re.match(r"\w+: ", text):
        yield start, last, text
    if (arrow := line.find("->")) >= 0 and text.startswith("->"):
        yield begin + arrow, last, text


def _without_setting(problem: Problem, name: str) -> Iterator[tuple[int, int, str]]:
    begin, line = _line(problem)
    for match in re.finditer(rf"(?:, )?\b{name}=(?:\([^()]*\)|[^,()]|\([^()]*\))*", line):
        yield begin + match.start(), begin + match.end(), ""


def _removed(problem: Problem) -> Iterator[tuple[int, int, str]]:
    start, end = problem.span
    yield start, end, ""
    begin, line = _line(problem)
    yield begin, begin + len(line) + 1, ""
    yield from _without_setting(problem, re.escape(problem.source[problem.span]))


def _with_setting(problem: Problem, name: str, number: str) -> Iterator[tuple[int, int, str]]:
    start, _ = problem.span
    call = problem.source[problem.span]
    for match in re.finditer(rf"\b{name}=([^,()]+)", call):
        yield start + match.start(1), start + match.end(1), number
    if match := re.match(r"\w+\(([^,()=]+)[,)]", call):
        yield start + match.start(1), start + match.end(1), number
