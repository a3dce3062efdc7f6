"""The budget of a build: limits of single loops, stacks and lists do not multiply."""

from __future__ import annotations

import pytest

from fwdscope.language import check_source
from fwdscope.language.problems import Source, SpecError
from fwdscope.limits import LIMITS, raised
from fwdscope.model import build

LOOPS = """
inputs:
  x: randn(100, 4)
layers:
  - for: i in range(9000)
    do:
      - for: j in range(9000)
        do:
          - {}
"""

DOUBLING = """
inputs:
  x: randn(2, 4)
blocks:
  A(n):
    - if: n > 0
      then:
        - A(n - 1)
        - A(n - 1)
      else:
        - ReLU
layers:
  - A(40)
"""

STACKS = """
inputs:
  x: randn(2, 4)
blocks:
  A:
    - 1000 * B
  B:
    - 1000 * Linear(4)
layers:
  - ReLU
  - A
"""

LISTS = """
inputs:
  x: randn(2, 4)
layers:
  - for: i in range(9000)
    do:
      - prev + {}
"""

VARS = """
vars:
  n: 3
  a: {}
inputs:
  x: randn(2, 4)
layers:
  - ReLU
"""


def built(text: str) -> int:
    """The number of layers of a spec."""
    return len(list(build(check_source(Source("s.yaml", text))).modules()))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (LOOPS.format("prev + 1"), 9),
        (LOOPS.format("Linear(4)"), 9),
        (LOOPS.format("ReLU"), 9),
        (LOOPS.format("stack(prev.unbind(0))"), 9),
        (LOOPS.format("cat(prev.chunk(100))"), 9),
        (LOOPS.format("stack([r for r in prev])"), 9),
        (DOUBLING, 8),
        (STACKS, 6),
        (LISTS.format("len([0] * 900000)"), 7),
        (LISTS.format("len(list(range(900000)))"), 7),
        (LISTS.format("sum(reversed(range(900000)))"), 7),
        (LISTS.format("sum([1 for i in range(900) for j in range(900)])"), 7),
        (LISTS.format("sum([*range(900000)])"), 7),
        (VARS.format("sum([1 for i in range(900000) for j in range(900000) if i < 0])"), 4),
        (VARS.format("[i for i in range(900) for j in range(900)]"), 4),
    ],
)
def test_what_multiplies_ends_at_the_line_that_takes_most(text: str, line: int) -> None:
    # A smaller budget, so that it is soon spent; the one of each build is tried by test_real_sizes_fit.
    with raised({"steps": 20_000}), pytest.raises(SpecError) as error:
        built(text)
    (problem,) = error.value.problems
    assert (problem.code, problem.line) == ("limit", line)
    assert problem.help is not None
    assert problem.help.startswith("at most ")


def test_the_message_says_the_part_of_the_line_and_the_limit_can_be_raised() -> None:
    # The list of rounds takes 100/20 steps, a line 1, a layer 4, and what holds the rounds' layers 4. So the layer of
    # round 49 is step 5 + 4 + 48 · 6 + 5 = 302, of which its line took 4 + 49 · 5 = 249.
    text = "inputs:\n  x: randn(2, 4)\nlayers:\n  - for: i in range(100)\n    do:\n      - ReLU\n      - prev + 1\n"
    with raised({"steps": 299}), pytest.raises(SpecError) as error:
        built(text)
    assert "s.yaml:6:9: error: the build took 302 steps, 82% of them this line [limit]" in str(error.value)
    assert "at most 299; --limit steps=N raises it" in str(error.value)


def test_real_sizes_fit() -> None:
    deep = "inputs:\n  x: randn(2, 4)\nlayers:\n  - 10000 * Linear(4)\n  - 10000 * Linear(4)\n"
    assert built(deep) == 20_000 + 3
    rounds = "inputs:\n  x: randn(2, 4)\nlayers:\n  - for: i in range(10000)\n    do:\n      - Linear(4)\n"
    assert built(rounds) > 10_000
    assert LIMITS["steps"] <= 200_000
