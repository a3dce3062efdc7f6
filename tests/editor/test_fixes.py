"""The changes that mend a problem of a text: what its message proposes, where the problem is gone with it."""

from __future__ import annotations

import pytest

from fwdscope.editor import Document
from fwdscope.editor.fixes import mends_text, quick_fixes


def mended(text: str) -> list[str]:
    """The text with each fix of its first problem."""
    document = Document(text, "spec.yaml")
    problem = document.problems[0]
    found = quick_fixes(document, problem, lambda changed: mends_text(document, problem, changed))
    for one in found:
        left = [(after.code, after.message) for after in Document(one.apply(text), "spec.yaml").problems]
        assert (problem.code, problem.message) not in left
    return [one.apply(text) for one in found]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("- x.shape[0]", []),  # `name = …` is no name, and to remove the only line mends nothing
        ("- relu", ["- relu(x)"]),
        ("- x.relu", ["- x.relu()"]),
        ("- Linear(8)()", ["- Linear(8)(x)"]),
        ("- x += 1", ["- x = x + 1"]),
        ("- Linear(8, bias=no)", ["- Linear(8, bias=False)"]),
        ("- x → (2, 8)", ["- x -> (2, 8)"]),
        ("- Linear(8) => (2, 8)", ["- Linear(8) -> (2, 8)"]),
        ("- mask = causal_mask(8)\n  - Linear(8)", ["- Linear(8)"]),
        ("- out, h = GRU(8)\n  - out", ["- out, _ = GRU(8)\n  - out"]),
        # What is proposed is an example, has a place to fill in, or loses what the line says.
        ("- Conv2d(8)", []),
        ("- x ^ 2", []),
        ("- x[0] = 1", []),
        ("- relu(x, inplace=True)", []),
        ("- a = b = x", []),
        ("- [Linear(8), ReLU]", []),
    ],
)
def test_what_a_message_proposes_mends_its_problem(wrong: str, right: list[str]) -> None:
    spec = "inputs:\n  x: randn(2, 8)\nlayers:\n  {}\n"
    assert mended(spec.format(wrong)) == [spec.format(one) for one in right]


def test_an_example_of_a_figure_is_no_fix() -> None:
    """`250 MiB` stands in the message for what the file should say."""
    assert mended("inputs:\n  x: randn(2, 8)\nlayers:\n  - Linear(8)\nexpect:\n  peak_memory: 40 ms\n") == []


def test_of_two_entries_with_one_name_the_line_goes_or_nothing() -> None:
    assert mended("vars:\n  d: 8\n  d: 16\ninputs:\n  x: randn(2, d)\nlayers:\n  - ReLU\n") == [
        "vars:\n  d: 8\ninputs:\n  x: randn(2, d)\nlayers:\n  - ReLU\n"
    ]
    assert mended("vars: {d: 8, d: 16}\ninputs:\n  x: randn(2, d)\nlayers:\n  - ReLU\n") == []
