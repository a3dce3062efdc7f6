"""A check as workflow commands of GitHub Actions, which annotate the lines of a pull request.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fwdscope.commands.check.outcome import CheckMessage, CheckRun, Outcome
from fwdscope.render.checks import words


def render(run: CheckRun) -> str:
    """An error for each problem, a notice for each note, and the totals for the log."""
    lines = [line for outcome in run.outcomes for line in _commands(outcome)]
    lines += [_command("warning", {"title": "fwdscope check"}, remark) for remark in run.remarks]
    return "\n".join([*lines, words.tally(run)]) + "\n"


def _commands(outcome: Outcome) -> Iterator[str]:
    for problem in words.problems(outcome):
        yield _at("error", outcome, problem)
    if outcome.state == "crashed":
        yield _command("error", {"file": _file(outcome), "title": "fwdscope check"}, outcome.reason or "")
    for point in outcome.skipped:
        place = {"file": _file(outcome), "line": point.line, "title": f"{outcome.name}: skipped"}
        yield _command("notice", place, f"{point.what} {' '.join(point.expected.split())}: {point.reason}")
    for note in outcome.notes:
        yield _at("notice", outcome, note)


def _at(level: str, outcome: Outcome, message: CheckMessage) -> str:
    title = f"{outcome.name}: {message.code}"
    place = {"file": _file(outcome), "line": message.line, "col": message.column, "title": title}
    return _command(level, place, "\n".join([message.message, *message.detail]))


def _file(outcome: Outcome) -> str:
    """The path of the file from the root of the repository, if a workflow says which that is."""
    root = os.environ.get("GITHUB_WORKSPACE")
    path = Path(outcome.file).absolute()
    if root and path.is_relative_to(Path(root).absolute()):
        return path.relative_to(Path(root).absolute()).as_posix()
    return Path(outcome.file).as_posix()


def _command(level: str, properties: dict[str, str | int | None], message: str) -> str:
    known = ((name, _data(str(value))) for name, value in properties.items() if value is not None)
    settings = ",".join(f"{name}={value.replace(':', '%3A').replace(',', '%2C')}" for name, value in known)
    return f"::{level} {settings}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
