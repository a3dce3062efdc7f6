"""Changes of the text that mend a problem: those that its message proposes, each tried first."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from fwdscope.editor.document import Document
from fwdscope.functions.functions import FUNCTIONS
from fwdscope.functions.methods import ATTRIBUTES, METHODS
from fwdscope.language import expression as ex
from fwdscope.language.bodies import CONTROL
from fwdscope.language.parser import FIGURES, SECTIONS
from fwdscope.language.places import all_lines
from fwdscope.language.problems import Problem, Span
from fwdscope.language.tree import Modules, Statement, expressions, statements
from fwdscope.layers import LAYERS, settings

# Texts that a message proposes as they are: not those that go on lines of their own, nor those that begin a list.
_WRITE = re.compile(
    r"(?:write|call it:|after|parentheses:) (`(?!- )[^`]+`(?:(?:,| or|, or) `[^`]+`)*)(?!,? and|[^;]*\bbelow\b|`)"
)
# The most changes that are tried for one problem.
_MOST_TRIES = 12


class QuickFix(NamedTuple):
    """A change that mends a problem: what it writes, and where."""

    title: str
    changes: tuple[tuple[Span, str], ...]

    def apply(self, text: str) -> str:
        """The text with the change."""
        for span, new in sorted(self.changes, reverse=True):
            text = text[: span.start] + new + text[span.end :]
        return text


# Whether a text has the problem no longer, and no new one.
Mends = Callable[[str], bool]


def quick_fixes(document: Document, problem: Problem, mends: Mends) -> list[QuickFix]:
    """The changes that mend a problem: of those that the message proposes, the ones with which it is gone."""
    found = [QuickFix(f"Write {fix.line}", fix.changes) for fix in problem.fixes if fix.changes]
    tried: dict[str, bool] = {}
    for proposals in _proposed(document, problem):
        for one in proposals:  # the places that the same text may be meant for, the smallest first
            text = one.apply(document.source.text)
            if text not in tried and len(tried) < _MOST_TRIES:
                tried[text] = text != document.source.text and mends(text)
            if tried.get(text):
                found.append(one)
                break
    return list({one.changes: one for one in found}.values())


def mends_text(document: Document, problem: Problem, text: str) -> bool:
    """Whether a text shows the problem no longer, nor a new one where it was changed."""
    changed = Document(text, document.source.name, document.allow_import)
    before = {(one.code, one.message) for one in document.problems}
    left = [(one.code, one.message) for one in changed.problems]
    if (problem.code, problem.message) in left and left.count((problem.code, problem.message)) >= sum(
        (one.code, one.message) == (problem.code, problem.message) for one in document.problems
    ):
        return False
    # A file that did not parse may show problems that were hidden; on the lines that were changed none may.
    was, now = document.lines, changed.lines
    same = next((i for i, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), min(len(was), len(now)))
    tail = next((i for i, (a, b) in enumerate(zip(was[::-1], now[::-1], strict=False)) if a != b), 0)
    new = [one for one in changed.problems if (one.code, one.message) not in before]
    hidden = document.parsed[0] is None
    return not any(not hidden or same < one.line <= len(now) - tail for one in new)


def _proposed(document: Document, problem: Problem) -> Iterator[list[QuickFix]]:
    """What the help of a problem proposes, each at the places that it may be meant for."""
    help = problem.help or ""
    if moved := re.search(r"write `(\w+): (.+?)` under `modules:` above the loop, and here `(.+?)`", help):
        yield list(_into_modules(document, problem, *moved.groups()))
        return
    places = _places(document, problem)
    for texts in _WRITE.findall(help):
        for text in re.findall(r"`([^`]+)`", texts):
            new = text.removeprefix("-> ") if problem.code == "promise" else text
            if _is_meant(document, new):
                yield [QuickFix(f"Write {text}", ((span, _beside(document, span, new)),)) for span in places]
    for name in re.findall(r"[\w.]+", help.removeprefix("did you mean ")) if help.startswith("did you mean ") else ():
        yield [QuickFix(f"Write {name}", ((problem.span, name),))] * (name != "or")
    is_whole = not document.source[Span(document.source.offset(problem.line, 1), problem.span.start)].strip(" -")
    if (problem.code == "flow" and help.endswith("remove it")) or (help == "remove one of them" and is_whole):
        yield list(_removed(document, problem))
    if help == "close it":
        source = document.source
        line = source.line(problem.line)
        end = source.offset(problem.line, 1) + len(line.partition(" #")[0].partition("->")[0].rstrip())
        sign = {"(": ")", "[": "]", "{": "}"}.get(source.text[problem.span.start : problem.span.start + 1], "")
        yield [QuickFix(f"Add {sign}", ((Span(end, end), sign),))] * bool(sign)


@functools.cache
def _known_words() -> frozenset[str]:
    """What a proposed text may use besides what the file has."""
    named = (one.name for layer in LAYERS.values() for one in settings(layer))
    control = (word for head, words in CONTROL.items() for word in (head, *words))
    others = ("in", "i", "1", "True", "False", "None", "prev", "range", *SECTIONS, *FIGURES)
    return frozenset({*LAYERS, *FUNCTIONS, *METHODS, *ATTRIBUTES, *named, *control, *others})


def _is_meant(document: Document, text: str) -> bool:
    """Whether a proposed text is of the file's own names and numbers and of known words: no example, no placeholder."""
    words = re.findall(r"[^\W\d]\w*|\d[\w.]*", re.sub(r"'[^']*'", "", text))
    there = set(re.findall(r"\w+", document.source.text)) | _known_words()
    return words == [text] or all(word in there or set(word.split(".")) <= there for word in words)


def _beside(document: Document, span: Span, text: str) -> str:
    """A text without the colon that follows its place already."""
    return text.removesuffix(":") if document.source.text[span.end : span.end + 1] == ":" else text


def _places(document: Document, problem: Problem) -> list[Span]:
    """Where a proposed text may go, the smallest place first: at the problem, at a call around it, at its line."""
    span, source, spec = problem.span, document.source, document.spec
    written = source.line(problem.line)
    content = re.match(r"[ ]*(?:- +)*", written)
    start = source.offset(problem.line, 1)
    whole = Span(start + (content.end() if content else 0), start + len(written.partition(" #")[0].rstrip()))
    found = {span, whole} if whole.start <= span.start else {span}
    for line in all_lines(spec) if spec is not None else ():
        if not (line.span.start <= span.start and span.end <= max(line.span.end, span.end)):
            continue
        nodes = (node for top in expressions(line) for node in ex.walk(top))
        found |= {node.span for node in nodes if node.span.start <= span.start and span.end <= node.span.end}
        if isinstance(line, Statement) and line.span.start <= span.start and span.end <= line.span.end:
            end = line.promise.span.start if line.promise is not None else line.span.end
            text = document.source.text[line.span.start : end].removesuffix(" ")
            found.add(Span(line.span.start, line.span.start + len(text.rstrip().removesuffix("->").rstrip())))
    return sorted(found, key=lambda one: one.end - one.start)


def _removed(document: Document, problem: Problem) -> Iterator[QuickFix]:
    """The file without the problem's line."""
    source = document.source
    start = source.offset(problem.line, 1)
    end = min(start + len(source.line(problem.line)), len(source.text))
    rest = re.match(r"\r\n|\r|\n|", source.text[end:])
    yield QuickFix("Remove this line", ((Span(start, end + (rest.end() if rest else 0)), ""),))


def _into_modules(document: Document, problem: Problem, name: str, layer: str, call: str) -> Iterator[QuickFix]:
    """A layer that is made in a loop, made under ``modules:`` above it and called in it."""
    source, spec = document.source, document.spec
    if spec is None:
        return
    loop = None
    for line in all_lines(spec):
        inner = [one for one in statements((line,)) if one is not line]
        if any(one.span.start <= problem.span.start and problem.span.end <= one.span.end for one in inner):
            loop = line
            break
    if loop is None or isinstance(loop, Modules):
        return
    start = source.offset(source.place(loop.span.start)[0], 1)
    indent = re.match(r" *", source.text[start:])
    blank = indent[0] if indent else ""
    end = "\r\n" if "\r\n" in source.text else "\n"
    made = f"{blank}- modules:{end}{blank}    {name}: {layer}{end}"
    for span in _places(document, problem):
        yield QuickFix(f"Make {name} under modules:", ((Span(start, start), made), (span, call)))
