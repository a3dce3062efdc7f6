"""Golden errors: each ``err/NAME.yaml`` with what is said of it in ``err/NAME.out``. A new case is two files, no code.

``UPDATE_GOLDEN=1 pytest tests/language/test_errors.py`` writes the ``.out`` files anew; read each as the person who
made the mistake.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fwdscope.language import load
from fwdscope.language.problems import SpecError, summary
from fwdscope.model import build

CASES = sorted((Path(__file__).parent / "err").glob("*.yaml"))


def told(path: Path) -> SpecError:
    """What is wrong with a spec: of its text, else of its shapes, else the promises that it breaks."""
    try:
        network = build(load(path, path.name))
    except SpecError as error:
        return error
    return SpecError(network.broken_promises)


@pytest.mark.core
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_messages_are_these(path: Path) -> None:
    error = told(path)
    assert error.problems, "this spec has no mistake"
    said = f"{error}\n\n{summary(error.problems)}\n"
    golden = path.with_suffix(".out")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(said, encoding="utf-8")
    assert said == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_every_problem_stands_inside_its_file(path: Path) -> None:
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    for problem in told(path).problems:
        for span in (problem.span, *(cause.span for cause in problem.causes if cause.span)):
            assert 0 <= span.start <= span.end <= len(text)


def test_no_golden_stands_alone() -> None:
    here = Path(__file__).parent / "err"
    assert {p.stem for p in here.glob("*.out")} == {p.stem for p in CASES}
    assert len(CASES) >= 90
