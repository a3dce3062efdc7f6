"""Every help of the golden errors that can be obeyed mechanically is obeyed: its problem goes, and none comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwdscope.language import check_source
from fwdscope.language.problems import Problem, Source, SpecError
from fwdscope.model import build

CASES = sorted((Path(__file__).parent / "err").glob("*.yaml"))

# Helps that lead to the next problem of the same words, which has a help of its own: the layer of another framework has
# other inputs, a default of a function has no settings, a section has another form, a quote has a second.
NEXT = {
    ("defaults-of-layers", 8),
    ("layer-of-keras", 8),
    ("sections-unknown", 1),
    ("method-misspelt", 7),
    ("yaml-quote-first", 4),
    ("characters-that-look-alike", 6),
    ("expect-wrong", 6),
}
# Marks of helps that leave a part to the reader.
SCHEMATIC = re.compile(
    r"…|with a number for|below it|and read|on a line above|condition|a if c else b|cat\(\[a, b\]|dim0|cast|to scale"
    r"|` and `"
)


def problems_of(text: str) -> list[Problem]:
    try:
        return list(build(check_source(Source("net.yaml", text))).broken_promises)
    except SpecError as error:
        return list(error.problems)


def obeyed(text: str, problem: Problem) -> Iterator[str]:
    """The file with what the help says: in place of what is marked, of the line's expression, or of the line."""
    help, (start, end) = problem.help or "", problem.span
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", start) if "\n" in text[start:] else len(text)
    line = text[first:last]
    if help == "remove it":
        yield text[:start] + text[end:]
        yield text[:first] + text[last + 1 :]
    elif found := re.match(r"(\w+) takes such an input", help):
        yield text[:first] + line.replace(problem.message.split()[0], found[1]) + text[last:]
    elif found := re.match(r"put it in quotes: (.*)", help):
        yield text[:start] + found[1] + text[end:]
    elif (found := re.search(r"write `(?:- )?([^`]+)`|it: `([^`]+)`", help)) and not SCHEMATIC.search(help):
        new = (found[1] or found[2]).removesuffix(":")
        yield text[:start] + new.removeprefix("-> ") + text[end:]
        for head in (r"\s*- (?:[\w, ()]+ = )?", r"\s*(?:- )?", r".*?->\s*"):
            if before := re.match(head, line):
                promise = re.search(r"\s+->.*$", line) if "->" not in new else None
                yield text[:first] + before[0] + new.removeprefix("-> ") + (promise[0] if promise else "") + text[last:]
        yield text[:first] + re.sub(re.escape(problem.message.split()[-1]), new, line) + text[last:]
        at, close = text.rfind(new.partition("(")[0], first, start + 1), text.find(")", end)
        if at >= 0:
            yield text[:at] + new + text[max(close, end - 1) + 1 :]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_help_that_is_obeyed_mends(path: Path) -> None:
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    before = problems_of(text)
    messages = [problem.message for problem in before]
    for problem in before:
        tries = list(obeyed(text, problem)) if problem.source.text == text else []
        if not tries or (path.stem, problem.line) in NEXT:
            continue
        others = set(messages) - {problem.message}
        for new in tries:
            after = [one.message for one in problems_of(new)]
            # What a line with a problem reads or leaves unread is told only once it has none.
            added = [one for one in after if one not in messages and not one.startswith("nothing reads")]
            if after.count(problem.message) < messages.count(problem.message) and not added:
                break
        else:
            pytest.fail(
                f"{path.name}:{problem.line}: {problem.message}\n  help: {problem.help}\n  then: {added} {others}"
            )
