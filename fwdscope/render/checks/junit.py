"""A check as JUnit XML, which CI systems show as tests: a case for each spec and each thing checked.

Only elements and attributes that all readers know (Jenkins' schema) are used; places are part of the texts.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from fwdscope.commands.check.outcome import CheckMessage, CheckPoint, CheckRun, Outcome
from fwdscope.render.checks import words


def render(run: CheckRun) -> str:
    """The run as one ``testsuite``."""
    suite = ET.Element("testsuite", {"name": "fwdscope check"})
    for outcome in run.outcomes:
        _cases(suite, outcome)
    if run.remarks:
        ET.SubElement(suite, "system-out").text = _xml("\n".join(run.remarks))
    for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(sum(1 for _ in suite.iter(tag))))
    suite.set("time", f"{run.seconds:.3f}")
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def _cases(suite: ET.Element, outcome: Outcome) -> None:
    """Add the cases of one spec: that it can be built, then everything that was checked."""
    built = _case(suite, outcome, "builds", outcome.seconds)
    if outcome.state == "skipped":
        ET.SubElement(built, "skipped", {"message": _xml(outcome.reason or "")})
    if outcome.state == "crashed":
        ET.SubElement(built, "error", {"type": "crashed", "message": _xml(outcome.reason or "")})
    if outcome.problems:
        first, several = outcome.problems[0], len(outcome.problems) > 1
        message = f"{words.verdict(outcome)}, first: {first.message}" if several else first.message
        error = ET.SubElement(built, "error", {"type": first.code, "message": _xml(message)})
        error.text = _xml("\n\n".join(_text(outcome, problem) for problem in outcome.problems))
    if outcome.notes:
        ET.SubElement(built, "system-out").text = _xml("\n".join(note.text for note in outcome.notes))
    for point in outcome.points:
        case = _case(suite, outcome, _name(point))
        if point.state == "skipped":
            ET.SubElement(case, "skipped", {"message": _xml(point.reason or "")})
        elif (problem := point.problem) is not None:
            failure = ET.SubElement(case, "failure", {"type": problem.code, "message": _xml(problem.message)})
            failure.text = _xml(_text(outcome, problem))


def _name(point: CheckPoint) -> str:
    """The name of a case, with the line, since the same text may occur twice."""
    if point.kind == "baseline":
        return "baseline"
    sign = "->" if point.kind == "promise" else "is"
    return " ".join(f"line {point.line}: {point.what} {sign} {point.expected}".split())


def _case(suite: ET.Element, outcome: Outcome, name: str, seconds: float = 0.0) -> ET.Element:
    return ET.SubElement(
        suite, "testcase", {"classname": _xml(outcome.file), "name": _xml(name), "time": f"{seconds:.3f}"}
    )


def _text(outcome: Outcome, message: CheckMessage) -> str:
    return message.text or f"{words.place(outcome, message.line, message.column)}: {message.message}"


def _xml(text: str) -> str:
    """The text without characters that XML cannot contain; ElementTree escapes the rest."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
