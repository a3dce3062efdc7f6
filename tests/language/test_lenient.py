"""What of a spec with problems is kept, so that the other lines can be built."""

import pytest

from fwdscope.language import tree
from fwdscope.language.check import check_all
from fwdscope.language.expression import Unparsed
from fwdscope.language.lenient import without_problems
from fwdscope.language.names import nearest
from fwdscope.language.parser import parse_all
from fwdscope.language.problems import Source
from fwdscope.layers import LAYERS

SPEC = """\
vars: {d: 8}
inputs:
  x: randn(2, 3, 16, 16)
blocks:
  Block(width):
    - conv = Conv2d(width, 3, padding=1)
    - ReLU
layers:
  - stem = Conv2d(d, 3)
  - if: d > 4
    then:
      - Block(d)
  - for: i in range(2)
    do:
      - Conv2d(d, 1)
  - AdaptiveAvgPool2d(1)     -> (2, 8, 1, 1)
  - Flatten
init:
  Conv2d.weight: zeros()
"""


def wrong_lines(text: str) -> list[str] | None:
    """The texts of the lines that are marked as wrong; None if nothing can be built."""
    source = Source("x.yaml", text)
    spec, problems = parse_all(source)
    assert spec is not None
    checked, more = check_all(spec)
    assert problems or more
    kept = without_problems(checked, [*problems, *more])
    if kept is None:
        return None
    bodies = [*kept.layers, *(line for block in kept.spec.blocks for line in block.body)]
    found = []
    for line in tree.statements(tuple(bodies)):
        heads = tree.expressions(line)
        found += [" ".join(source[line.span].split()) for node in heads if isinstance(node, Unparsed)]
    return found


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        ("Conv2d(width, 3", "Conv2d(wdith, 3", ["conv = Conv2d(wdith, 3, padding=1)"]),
        ("stem = Conv2d(d, 3)", "stem = Covn2d(d, 3)", ["stem = Covn2d(d, 3)"]),
        ("stem = Conv2d(d, 3)", "stem = Conv2d(d, 3", ["stem = Conv2d(d, 3"]),
        ("- Block(d)", "- Block(q)", ["Block(q)"]),
        ("d > 4", "q > 4", ["if: q > 4"]),
        ("range(2)", "range(q)", ["for: i in range(q)"]),
        # The line is right; only its promise is not, and it is left out.
        ("(2, 8, 1, 1)", "(2, q, 1, 1)", []),
        # A line that nothing reads has its value.
        ("- Flatten", "- unread = Linear(4)(stem)\n  - relu(stem)", []),
        # What is wrong with these decides no shape.
        ("zeros()", "zeroes()", []),
        # What is wrong with these decides all of them.
        ("{d: 8}", "{d: 8 +}", None),
        ("{d: 8}", "{d: q}", None),
        ("randn(2", "radn(2", None),
    ],
)
def test_what_is_wrong_with_a_line_leaves_the_others(before: str, after: str, wrong: list[str] | None) -> None:
    assert wrong_lines(SPEC.replace(before, after, 1)) == wrong


@pytest.mark.parametrize(
    ("typed", "meant"),
    # Two letters are swapped, one change; Conv3d takes two. Of equal ones the most letters in common decide.
    [
        ("Convd2", "Conv2d"),
        ("Covn2d", "Conv2d"),
        ("Linaer", "Linear"),
        ("BatchNrom2d", "BatchNorm2d"),
        ("Dorpout", "Dropout"),
    ],
)
def test_swapped_letters_are_one_mistake(typed: str, meant: str) -> None:
    assert nearest(typed, LAYERS) == meant
