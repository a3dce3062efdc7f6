"""Golden errors: the problems of each ``err/NAME.yaml`` are in ``err/NAME.out``. A new case is two files and no code.

``UPDATE_GOLDEN=1 pytest tests/language/test_errors.py`` writes the ``.out`` files; read each as the person who made the
mistake.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fwdscope.language import load
from fwdscope.language.problems import SpecError, count
from fwdscope.model import build

CASES = sorted((Path(__file__).parent / "err").glob("*.yaml"))
CORE = ("broken-lines", "shape-cat-in-a-unet", "ten-mistakes", "yaml-indentation")


def problems_of(path: Path) -> SpecError:
    """The problems of a spec's text, else of its shapes, else the promises that it breaks."""
    try:
        network = build(load(path, path.name))
    except SpecError as error:
        return error
    return SpecError(network.broken_promises)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=pytest.mark.core if path.stem in CORE else ()) for path in CASES],
)
def test_a_wrong_spec_has_these_problems_at_places_in_its_file(path: Path) -> None:
    error = problems_of(path)
    assert error.problems, "this spec has no mistake"
    shown = f"{error}\n\n{count(len(error.problems), 'problem')}\n"
    golden = path.with_suffix(".out")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(shown, encoding="utf-8")
    assert shown == golden.read_text(encoding="utf-8")
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    for problem in error.problems:
        for span in (problem.span, *(cause.span for cause in problem.causes if cause.span)):
            assert 0 <= span.start <= span.end <= len(text)


def test_every_golden_file_has_its_spec() -> None:
    assert {p.stem for p in (Path(__file__).parent / "err").glob("*.out")} == {p.stem for p in CASES}
