"""Rows sum to the total, whichever modules are called how often, and unlike modules are not one row."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fwdscope.inspection import inspect_module, inspect_spec
from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.source import Source
from fwdscope.model.build import build
from fwdscope.report import Report, parents
from fwdscope.trace.network import trace
from fwdscope.trace.rows import figures, rows


class Calls(nn.Module):
    """Calls its modules in an order, some of them several times."""

    def __init__(self, modules: Sequence[nn.Module], order: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(modules)
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        for i in self.order:
            x = self.layers[i % len(self.layers)](x)
        return x


LEAVES = {
    "linear": lambda: nn.Linear(8, 8),
    "without bias": lambda: nn.Linear(8, 8, bias=False),
    "frozen": lambda: nn.Linear(8, 8).requires_grad_(False),
    "relu": nn.ReLU,
}
# A module as nested lists: names of leaves, and the order in which a list of modules is called.
Plan = str | tuple[list["Plan"], list[int]]
CALLS = st.lists(st.integers(0, 3), min_size=1, max_size=5)
PLANS: st.SearchStrategy[Plan] = st.recursive(
    st.sampled_from(sorted(LEAVES)),
    lambda inner: st.tuples(st.lists(inner, min_size=1, max_size=3), CALLS),
    max_leaves=6,
)


def module_of(plan: Plan) -> nn.Module:
    return LEAVES[plan]() if isinstance(plan, str) else Calls([module_of(one) for one in plan[0]], plan[1])


FIGURES = ("macs", "flops", "bytes_read", "bytes_written")


def assert_conserved(report: Report) -> None:
    """Children sum to their parents, and the rows on top to the totals."""
    for name in FIGURES:
        sums: dict[int | None, int] = {}
        for row, parent in zip(report.layers, parents(report.layers), strict=True):
            sums[parent] = sums.get(parent, 0) + row.repeat * getattr(row, name)
        assert sums.pop(None) == getattr(report.totals, name), name
        assert sums == {i: getattr(report.layers[i], name) for i in sums}, name


PAIR: Plan = (["linear", "without bias"], [0, 1])


@given(st.lists(PLANS, min_size=1, max_size=3), CALLS)
@settings(max_examples=60, deadline=None)
@example([PAIR], [0, 0])
@example([(["linear", "linear", "frozen"], [0, 1, 0, 2]), PAIR], [0, 1, 0, 1, 1])
def test_rows_of_repeated_calls_sum_to_the_total(plans: list[Plan], order: list[int]) -> None:
    assert_conserved(inspect_module(Calls([module_of(plan) for plan in plans], order), (torch.ones(2, 8),)))


@pytest.mark.core
def test_modules_that_cost_differently_are_not_one_row_when_called_again() -> None:
    pair = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8, bias=False))
    report = inspect_module(Calls([pair], [0, 0]), (torch.ones(5, 8),))
    assert report.totals.flops == 2 * (2 * 2 * 5 * 8 * 8 + 5 * 8)
    assert sum(row.repeat * row.flops for row in report.layers if row.depth == 1) == report.totals.flops


def test_layers_called_in_turn_are_one_row_with_their_copies_and_calls() -> None:
    """The calls of each head are joined before equal heads are folded: 3 heads of 2 calls each."""
    found = inspect_spec(check(parse(Source("heads.yaml", HEADS))))
    assert_conserved(found)
    assert [(row.repeat, row.calls) for row in found.layers if row.kind == "copies"] == [(2, 1), (3, 2)]


HEADS = """
inputs: {x: "randn(2, 8)"}
layers:
  - h = Sequential(Linear(8), Linear(8))
  - modules:
      heads: 3 * Linear(8)
  - for: i in range(2)
    do:
      - heads
"""


def test_what_a_layer_computes_itself_counts_in_each_round_that_calls_it() -> None:
    found = inspect_spec(check(parse(Source("rounds.yaml", ROUNDS))))
    assert_conserved(found)
    # Two residual sums and a ReLU of 16 inner features for each of 2 * 3 positions, in 3 rounds.
    own = {row.path: row.flops for row in found.layers if row.type in ("add", "relu")}
    assert own == {"att.add": 3 * 2 * 3 * 8, "att.add_1": 3 * 2 * 3 * 8, "att.relu": 3 * 2 * 3 * 16}


ROUNDS = """
inputs: {x: "randn(2, 3, 8)"}
layers:
  - modules:
      att: TransformerEncoderLayer(2, dim_feedforward=16, batch_first=True)
  - for: i in range(3)
    do:
      - att
"""


SHARED = """
inputs: {x: "randn(2, 8)"}
blocks:
  Pair(layer): [layer, Linear(8)]
layers:
  - fc = Linear(8)
  - 2 * Pair(fc)
  - for: i in range(2)
    do:
      - Pair(fc)
"""


@pytest.mark.parametrize("text", [HEADS, ROUNDS, SHARED])
def test_figures_alone_are_those_of_the_rows_also_where_they_were_kept_with_nodes(text: str) -> None:
    found = trace(build(check(parse(Source("x.yaml", text)))))
    first, kept = figures(found), figures(found)
    assert first == kept
    of_row = attrgetter("path", "type", "kind", "depth", "call", "repeat", "params", *FIGURES, "kernels")
    assert list(map(of_row, first)) == list(map(of_row, rows(found)))
