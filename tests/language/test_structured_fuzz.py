"""Specs that are valid at first, with lines moved, copied, removed or changed: shown, or refused at a place."""

from __future__ import annotations

import re

import attempts
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_specs import made_specs

# Lines that may stand between others; most keep sizes as they are.
LINES = ("ReLU", "prev + 1", "Dropout(0.5)", "Identity", "Linear(d)", "a = sin(prev)", "prev.sum()", "n * GELU",
         "Sequential(Tanh, ReLU)", "x", "prev.reshape(B, -1)", "Linear(k)(x)", "(_, rest) = prev.chunk(2)")  # fmt: skip
NUMBERS = ("1", "2", "3", "4", "8", "0", "300", "-1")


@st.composite
def changed_specs(draw: st.DrawFn) -> str:
    """A made spec with at most three changes: two thirds of them keep it valid."""
    text = draw(made_specs()).text
    head, layers = text.split("layers:\n")
    lines = re.split(r"(?m)^(?=  - )", layers)[1:]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(("insert", "insert", "copy", "stack", "swap", "remove", "number", "var"))):
            case "insert":
                lines.insert(at, f"  - {draw(st.sampled_from(LINES))}\n")
            case "copy":
                lines.insert(at, lines[at])
            case "stack":
                lines[at] = re.sub(r"^  - ([A-Z])", r"  - 2 * \1", lines[at])
            case "swap":
                lines[at], lines[0] = lines[0], lines[at]
            case "remove":
                del lines[at]
                lines = lines or ["  - ReLU\n"]
            case "number":
                lines[at] = re.sub(r"\d+", draw(st.sampled_from(NUMBERS)), lines[at], count=1)
            case "var":
                name = draw(st.sampled_from("Bdkn"))
                head = re.sub(rf"\b{name}: \d+", f"{name}: {draw(st.sampled_from(NUMBERS))}", head)
    return f"{head}layers:\n{''.join(lines)}"


CASES: list[bool] = []


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(changed_specs(), st.integers(0, len(attempts.FORMATS) - 1))
def check_one(text: str, form: int) -> None:
    CASES.append(attempts.quickly(lambda: attempts.spec(text.encode(), form)))


def test_specs_with_changed_lines_are_shown_or_refused_at_a_place() -> None:
    CASES.clear()
    check_one()
    assert len(CASES) >= 100
    # At least half show what becomes of a valid spec, and some what becomes of a wrong one.
    assert sum(CASES) >= len(CASES) / 2, f"only {sum(CASES)} of {len(CASES)} cases are valid specs"
    assert sum(CASES) <= len(CASES) * 0.95


@pytest.mark.parametrize(
    "text",
    [
        # Divisors of a number of channels were searched one by one.
        "inputs:\n  x: randn(1, 83250029, 2, 2)\nlayers:\n  - ChannelShuffle(2)\n",
    ],
)
def test_what_was_found(text: str) -> None:
    attempts.quickly(lambda: attempts.spec(text.encode()))
