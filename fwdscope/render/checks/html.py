"""A check as a page, for the artifacts of CI: what went wrong first, each promise with what was expected and found."""

from __future__ import annotations

from fwdscope.commands.check.outcome import CheckRun
from fwdscope.render.checks import json, words
from fwdscope.render.html.page import page


def render(run: CheckRun) -> str:
    """The page of all files."""
    texts = {
        "tally": words.tally(run),
        "verdicts": [words.verdict(outcome) for outcome in run.outcomes],
        "costs": [words.costs(outcome) for outcome in run.outcomes],
    }
    return page("check", "fwdscope check", json.render(run), texts)
