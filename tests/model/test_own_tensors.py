"""Parameters and Buffers made from the values of other lines have the right numbers on a device."""

from __future__ import annotations

import torch

from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.source import Source
from fwdscope.model import Network, build
from fwdscope.model.initialise import materialise

SPEC = """\
inputs:
  x: randn(2, 8)
blocks:
  Table(n):
    - at = Buffer(arange(n))
    - pair = (at * 100, at + 1)
    - inner:
      - row, column = at // 4, at % 4
      - row = row * 10
      - index = Buffer(row + column + pair[0])
      - x + index
layers:
  - table = Table(8)
  - ramp = linspace(0, 7, 8)
  - ramp = ramp * 2
  - scale = Parameter(ramp + 1)
  - table * scale
"""


def network() -> Network:
    return build(check(parse(Source("own.yaml", SPEC))))


def test_a_buffer_is_made_from_tensors_of_the_lines_above_it() -> None:
    state = materialise(network()).state_dict()
    # 100 i + 10 (i // 4) + i % 4
    assert state["table.inner.index"].tolist() == [0, 101, 202, 303, 410, 511, 612, 713]


def test_a_name_assigned_twice_has_the_value_that_the_line_read() -> None:
    assert materialise(network()).state_dict()["scale"].tolist() == [1, 3, 5, 7, 9, 11, 13, 15]


def test_weights_can_be_made_twice() -> None:
    built = materialise(network())
    first = {key: value.clone() for key, value in built.state_dict().items()}
    for tensor in built.state_dict().values():
        tensor.zero_()
    assert all(torch.equal(value, first[key]) for key, value in materialise(built).state_dict().items())


def test_random_numbers_that_a_line_reads_twice_are_drawn_once() -> None:
    text = "inputs:\n  x: randn(4)\nlayers:\n  - r = randn(4)\n  - d = Buffer(r - r)\n  - x + d\n"
    built = materialise(build(check(parse(Source("twice.yaml", text)))))
    assert built.state_dict()["d"].tolist() == [0, 0, 0, 0]
