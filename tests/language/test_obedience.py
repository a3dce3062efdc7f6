"""Obeying the help of a problem to the letter removes the problem and makes no other on its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from obedience import mended, obeyed

from fwdscope.language import check_source
from fwdscope.language.problems import Problem, Source, SpecError
from fwdscope.language.source import read
from fwdscope.model import build

CASES = sorted((Path(__file__).parent / "err").glob("*.yaml"))

# Helps whose text is an example, and lines with a second mistake, which stands out once the first is mended.
NOT_TO_THE_LETTER = {
    "broken-lines:17": "an example",
    "defaults-of-layers:8": "two mistakes",
    "expression-not-python-either:7": "an example",
    "flow-unread-pieces:5": "two mistakes",
    "function-keywords:4": "two mistakes",
    "function-not-called:6": "an example",
    "layer-of-keras:8": "two mistakes",
    "layer-of-keras:9": "an example",
    "layer-in-a-while:8": "two places",
    "method-misspelt:7": "two mistakes",
    "modules-no-layers:8": "two mistakes",
    "modules-wrong:8": "an example",
    "parameter-without-a-name:4": "two mistakes",
    "promise-misspelt:8": "an example",
    "sections-empty:6": "an example",
    "sections-wrong:11": "an example",
    "per-rank:5": "two mistakes",
    "setting-complete-already:5": "two mistakes",
    "shard:12": "an example",
    "takes-no-input:7": "what reads it is another line",
    "characters-that-look-alike:6": "the other quote has a problem of its own",
    "yaml-list-first:4": "two mistakes",
    "yaml-quote-first:4": "two mistakes",
}


def problems(source: Source) -> tuple[Problem, ...]:
    try:
        network = build(check_source(source))
    except SpecError as error:
        return error.problems
    return tuple(network.broken_promises)


def left(problem: Problem, before: tuple[Problem, ...], text: str) -> list[str]:
    """What the problem's line is told once the file reads ``text``, and was not told before."""
    moved = text.count("\n") - problem.source.text.count("\n")
    known = {(p.line, p.message) for p in before} | {(p.line + moved, p.message) for p in before}
    known.discard((problem.line, problem.message))
    after = problems(Source(problem.source.name, text))
    return [p.message for p in after if p.line == problem.line and (p.line, p.message) not in known]


@pytest.fixture(scope="module")
def golden() -> dict[str, tuple[Problem, ...]]:
    """The problems of each golden error."""
    return {path.stem: problems(read(path, path.name)) for path in CASES}


def test_every_fix_removes_its_problem_and_makes_none_on_its_line(golden: dict[str, tuple[Problem, ...]]) -> None:
    failed = {
        f"{stem}:{problem.line}": messages
        for stem, before in golden.items()
        for problem in before
        for text in mended(problem)
        if (messages := left(problem, before, text))
    }
    assert failed == {}


def test_obeying_a_help_removes_its_problem_and_makes_none_on_its_line(
    golden: dict[str, tuple[Problem, ...]],
) -> None:
    # Where a help can be read in several ways, one that works is enough.
    left_over: dict[str, list[str]] = {}
    for stem, before in golden.items():
        for problem in before:
            if readings := obeyed(problem):
                best = min((left(problem, before, text) for text in readings), key=len)
                left_over.setdefault(f"{stem}:{problem.line}", []).extend(best)
    assert len(left_over) > 150
    wrong = {place: messages for place, messages in left_over.items() if messages}
    assert {place: wrong[place] for place in wrong.keys() - NOT_TO_THE_LETTER.keys()} == {}
