"""A check as SARIF 2.1.0, which code scanning of GitHub, GitLab and others reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fwdscope.commands.check.outcome import CheckMessage, CheckRun, Outcome
from fwdscope.render.checks import words
from fwdscope.version import __version__

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render(run: CheckRun) -> str:
    """A result for each problem and each note, with its place."""
    results = [one for outcome in run.outcomes for one in _results(outcome)]
    rules = [{"id": code, "name": code} for code in dict.fromkeys(one["ruleId"] for one in results)]
    driver = {"name": "fwdscope", "version": __version__, "rules": rules}
    data = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _results(outcome: Outcome) -> Iterator[dict[str, Any]]:
    for problem in words.problems(outcome):
        yield _result("error", outcome, problem)
    if outcome.state == "crashed":
        yield _result("error", outcome, CheckMessage("crashed", outcome.reason or "fwdscope crashed"))
    for note in outcome.notes:
        yield _result("note", outcome, note)


def _result(level: str, outcome: Outcome, message: CheckMessage) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": Path(outcome.file).as_posix()}}
    if message.line is not None:
        place["region"] = {"startLine": message.line, "startColumn": message.column or 1}
    text = "\n".join([message.message, *message.detail])
    return {
        "ruleId": message.code,
        "level": level,
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    }
