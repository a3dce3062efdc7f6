"""Checks that specs are laid out as ``fwdscope format`` writes them, from their text alone."""

from __future__ import annotations

import time

from fwdscope import disk
from fwdscope.commands.check.files import SpecFile, looks_like_spec
from fwdscope.commands.check.outcome import CheckMessage, CheckPoint, CheckRun, Outcome, State
from fwdscope.language.formatting import format_text
from fwdscope.language.problems import Problem, Source, Span, SpecError
from fwdscope.language.source import decode
from fwdscope.units import plural

_EXPECTED = "as fwdscope format writes it"


def check_layouts(files: tuple[SpecFile, ...]) -> CheckRun:
    """Check the layout of files. Raises OSError if one cannot be read."""
    before = time.perf_counter()
    outcomes = tuple(map(_check_layout, files))
    wrong = [outcome.file for outcome in outcomes if outcome.state == "failed"]
    remark = f"fwdscope format writes {plural(len(wrong), 'file')} anew: fwdscope format {' '.join(wrong)}"
    return CheckRun(outcomes, time.perf_counter() - before, (remark,) if wrong else ())


def _check_layout(file: SpecFile) -> Outcome:
    before = time.perf_counter()
    data = disk.read_bytes(file.path) if file.content is None else file.content
    if not file.named and not looks_like_spec(data.decode("utf-8", "replace")):
        return Outcome(file.shown, file.path.stem, "skipped", reason="not a spec")
    try:
        source = decode(data, file.shown)
        after = format_text(source)
    except SpecError as error:
        problems = tuple(map(CheckMessage.of, error.problems))
        return Outcome(file.shown, file.path.stem, "invalid", problems=problems)
    points = tuple(_points(source, after)) or (CheckPoint("format", "layout", _EXPECTED, "met"),)
    state: State = "ok" if points[0].state == "met" else "failed"
    return Outcome(file.shown, file.path.stem, state, points, seconds=time.perf_counter() - before)


def _points(source: Source, after: str) -> list[CheckPoint]:
    """A point for each line that would change; lines neither come nor go."""
    found, new = [], Source(source.name, after)
    last = source.place(len(source.text))[0]
    for number in range(1, last + 1):
        was, is_now = source.line(number), new.line(number)
        if was != is_now:
            start = source.offset(number, 1)
            first = next(at for at in range(len(is_now) + 1) if was[: at + 1] != is_now[: at + 1])
            span = Span(start + first, start + max(len(was.rstrip()), first + 1))
            problem = Problem(source, span, "format", "this line is laid out otherwise", f"write `{is_now.strip()}`")
            message = CheckMessage.of(problem)
            found.append(CheckPoint("format", "layout", _EXPECTED, "failed", number, was.strip(), problem=message))
    return found
