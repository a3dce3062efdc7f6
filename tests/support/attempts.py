"""What fwdscope does with any text: it shows something or refuses it with a sentence, in little time.

Each function takes text of one kind, and raises where fwdscope has a defect.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from fwdscope.cli.options import target_of
from fwdscope.cli.vary import parse_axes
from fwdscope.commands.check.baselines import Baseline, compare
from fwdscope.commands.diff import compare as compare_reports
from fwdscope.errors import InputError
from fwdscope.inspection import inspect_spec, inspect_target
from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.problems import SpecError
from fwdscope.language.source import decode
from fwdscope.limits import raised
from fwdscope.render import Options, render
from fwdscope.report import Report
from fwdscope.targets.arguments import parse_value

# Small, so that one that multiplies is far above it.
FEW = {"steps": 4_000, "turns": 300, "layers": 4_000, "elements": 10**12, "mends": 200}
# Seconds of the processor for one text under these limits.
SECONDS = 3.0
FORMATS = ("table", "tree", "json", "csv", "markdown", "graph", "dot", "mermaid")


def show(report: Report, form: int = 0) -> None:
    """Draw a report, and read back what it is saved as."""
    assert render(report, FORMATS[form % len(FORMATS)], Options(width=80))
    assert Report.loads(report.dumps()).dumps() == report.dumps()


def check_places(error: SpecError, data: bytes) -> None:
    """Every problem has a message of one line and a place in the text, as have the causes of it."""
    size, drawn = len(data.decode("utf-8-sig", errors="replace")), str(error)
    assert error.problems
    for problem in error.problems:
        for span in (problem.span, *(cause.span for cause in problem.causes if cause.span)):
            assert 0 <= span.start <= span.end <= size
        assert problem.message
        assert "\n" not in problem.message
        assert f":{problem.line}:" in drawn


def spec(data: bytes, form: int = 0) -> bool:
    """Inspect a spec. Returns whether it is one that runs."""
    try:
        report = inspect_spec(check(parse(decode(data, "any.yaml"))))
    except SpecError as error:
        check_places(error, data)
        return False
    except InputError:
        return False
    show(report, form)
    return True


def option(data: bytes, target: Path) -> bool:
    """Give a text to ``--set``, ``--input``, ``--vary`` and ``--arg``. Returns whether any takes it."""
    text = data.decode("utf-8", errors="surrogateescape")
    tries: tuple[Callable[[], object], ...] = (
        lambda: show(inspect_target(target_of(str(target), [text], None, "float32"))[0]),
        lambda: show(inspect_target(target_of(str(target), None, [text], "float32"))[0]),
        lambda: parse_axes([text], target_of(str(target), None, None, "float32")),
        lambda: parse_value("--arg x", text),
    )
    taken = False
    for attempt in tries:
        try:
            attempt()
            taken = True
        except InputError:
            continue
    return taken


def saved(data: bytes, other: Report, form: int = 0) -> bool:
    """Read a saved report, draw it, and compare it with another."""
    try:
        report = Report.loads(data.decode("utf-8", errors="replace"))
    except InputError:
        return False
    show(report, form)
    compare_reports(report, other).to_json()
    return True


def baseline(data: bytes, other: Baseline) -> bool:
    """Read a baseline, and compare it with another."""
    try:
        kept = Baseline.loads(data.decode("utf-8", errors="replace"))
    except InputError:
        return False
    compare(kept, other)
    compare(other, kept)
    assert Baseline.loads(kept.dumps()).dumps() == kept.dumps()
    return True


def quickly(attempt: Callable[[], bool]) -> bool:
    """Run one of the above under small limits. Raises AssertionError if it takes long, each of three times."""
    took = []
    with raised(FEW):
        for _ in range(3):
            begun = time.process_time()
            result = attempt()
            took.append(time.process_time() - begun)
            if took[-1] < SECONDS:
                return result
    raise AssertionError(f"each of three times it took {min(took):.1f} s")
