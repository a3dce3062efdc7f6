"""What is left of a spec with problems: its other lines, with those that are wrong marked as such."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from fwdscope.language import tree
from fwdscope.language.check import Checked
from fwdscope.language.expression import Unparsed
from fwdscope.language.problems import Problem, Span

# Sections whose problems leave the values of lines as they are, and those that consist of lines.
_BESIDE, _OF_LINES = ("name", "doc", "version", "init", "expect"), ("layers", "graph", "blocks")


def without_problems(checked: Checked, problems: Iterable[Problem]) -> Checked | None:
    """The spec with each wrong line as one that does not parse, so that a build skips it and what reads it.

    None if what is wrong decides the values of other lines: a var, a default, an input, the head of a block.
    """
    spec = checked.spec
    # A line that nothing reads has its value all the same.
    spans = {one.span for one in problems if one.code != "flow"} | checked.wrong
    cut = _Cut(spans)
    blocks = tuple([block.replace(body=cut.lines(block.body)) for block in spec.blocks])
    layers = cut.lines(checked.layers)
    left = []
    for span in sorted(spans - cut.found):
        # Behind the last line of the file's text a key is looked for too: a problem may stand at its end.
        heads = list(re.finditer(r"^(\w+)[ ]*:", spec.source.text[: span.start + 1] + "\n", re.M))
        section = heads[-1][1] if heads else ""
        if section in _BESIDE:
            continue
        heads_of_blocks = [block.span for block in spec.blocks]
        if section not in _OF_LINES or any(head.start <= span.start <= head.end for head in heads_of_blocks):
            return None
        left.append(span)
    for span in left:  # of no line that was read: what stands below may flow from it
        around = max((block for block in blocks if block.span.start <= span.start), key=_start, default=None)
        if around is not None and (not layers or spec.layers_span.start > span.start or around.span > spec.layers_span):
            body = _with_gap(around.body, span)
            blocks = tuple([block.replace(body=body) if block is around else block for block in blocks])
        else:
            layers = _with_gap(layers, span)
    spec = replace(spec, blocks=blocks, layers=layers, init=(), expect=tree.Expectations())
    return replace(checked, spec=spec, layers=layers)


def _start(one: tree.Block) -> int:
    return one.span.start


class _Cut:
    """Marks lines that have problems. ``found`` are the problems' places that are in a line."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self.spans = sorted(spans)
        self.found: set[Span] = set()

    def lines(self, lines: tuple[tree.Line, ...]) -> tuple[tree.Line, ...]:
        return tuple([self._line(line) for line in lines])

    def _inside(self, *spans: Span) -> list[Span]:
        found = [one for one in self.spans if any(s.start <= one.start and one.end <= s.end for s in spans)]
        self.found.update(found)
        return found

    def _line(self, line: tree.Line) -> tree.Line:
        match line:
            case tree.Statement(value=value, promise=promise):
                wrong = self._inside(line.span)
                promised = [one for one in wrong if promise is not None and promise.span.start <= one.start]
                if promised:
                    line = line.replace(promise=None)
                # The line itself is among the wrong ones, whatever of it is wrong.
                own = [one for one in wrong if one not in promised and (one != line.span or not promised)]
                return line.replace(value=Unparsed(value.span)) if own else line
            case tree.Modules(entries=entries):
                return line.replace(entries=tuple(map(self._module, entries)))
            case tree.PartLine():
                line = line.replace(body=self.lines(line.body))
                heads = [one.span for one in line.inputs or ()]
                return line.replace(inputs=(Unparsed(line.span),)) if self._inside(*heads, line.span) else line
            case tree.For():
                line = line.replace(body=self.lines(line.body))
                return line.replace(iterable=Unparsed(line.span)) if self._head(line, line.iterable.span) else line
            case tree.If():
                line = line.replace(then=self.lines(line.then), orelse=self.lines(line.orelse))
                return line.replace(test=Unparsed(line.span)) if self._head(line, line.test.span) else line
            case tree.While():
                line = line.replace(body=self.lines(line.body))
                return line.replace(test=Unparsed(line.span)) if self._head(line, line.test.span) else line

    def _head(self, line: tree.For | tree.If | tree.While, head: Span) -> bool:
        first = next((inner.span.start for inner in tree.nested(line)), line.span.end)
        known = set(self.found)
        return bool([one for one in self._inside(Span(line.span.start, max(first, head.end))) if one not in known])

    def _module(self, entry: tree.Module) -> tree.Module:
        inside = [entry.span, entry.value.span, *(one.value.span for one in entry.entries)]
        is_wrong = self._inside(*inside, *(one.span for one in entry.entries))
        return entry.replace(value=Unparsed(entry.span), entries=()) if is_wrong else entry


def _with_gap(lines: tuple[tree.Line, ...], span: Span) -> tuple[tree.Line, ...]:
    """The lines with one that does not parse where one could not be read."""
    above = [i for i, line in enumerate(lines) if line.span.start <= span.start]
    at = above[-1] + 1 if above else 0
    inner = lines[at - 1] if above else None
    if isinstance(inner, tree.PartLine | tree.For | tree.While):
        return (*lines[: at - 1], inner.replace(body=_with_gap(inner.body, span)), *lines[at:])
    if isinstance(inner, tree.If):
        last = "orelse" if inner.orelse else "then"
        changed = inner.replace(**{last: _with_gap(getattr(inner, last), span)})
        return (*lines[: at - 1], changed, *lines[at:])
    return (*lines[:at], tree.Statement(span, None, Unparsed(span), None, ""), *lines[at:])
