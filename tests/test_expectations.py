"""``expect``: what holds is silent, what does not is named with what was expected and what came."""

from __future__ import annotations

import pytest

from fwdscope.inspection import inspect_spec
from fwdscope.report import Shortfall
from fwdscope.spec.check import check
from fwdscope.spec.parser import parse
from fwdscope.spec.source import Source

SPEC = """\
vars: {{B: 4, T: 6, d: 8}}
inputs:
  x: randn(B, T, d)
layers:
  - h = 3 * Linear(d)
  - out, (hidden, cell) = LSTM(5, batch_first=True)
  - (out, hidden + cell)
expect:
{expect}
"""


def shortfalls(*expect: str) -> tuple[Shortfall, ...]:
    text = SPEC.format(expect="\n".join(f"  {line}" for line in expect))
    return inspect_spec(check(parse(Source("e.yaml", text)))).shortfalls


# 3 · (8 · 8 + 8) + LSTM: 4 · 5 · (8 + 5) + 2 · 4 · 5
PARAMS = 3 * 72 + 260 + 40


@pytest.mark.parametrize(
    "expect",
    [
        f"params: {PARAMS}",
        f"params: {PARAMS:_}",
        "params: 516 +- 0",
        "params: 0.5K",
        "params: <= 600",
        "params: '>= 500'",
        "params: 500 +- 5%",
        "trainable_params: 516",
        "buffers: 0",
        "param_bytes: <= 3 KiB",
        "output: ((B, T, 5), (1, B, 5))",
        "output: ((B, T, 5), _)",
        "output: (_, _)",
        "output: (B, T, 5)",
        "output: (B, _, 5)",
        "layers: {h.0: {params: 72, output: '(B, T, d)'}}",
        "layers: {h.2: {params: 72}, h: {params: 216}}",
    ],
)
def test_what_holds_is_silent(expect: str) -> None:
    assert shortfalls(expect) == ()


@pytest.mark.parametrize(
    ("expect", "what", "got"),
    [
        ("params: 515", "params", "516"),
        ("params: 0.6K", "params", "516"),
        ("params: < 516", "params", "516"),
        ("param_bytes: <= 2 KiB", "param_bytes", "2,064"),
        ("output: ((B, T, 5), (1, B, 6))", "output", "((4, 6, 5), (1, 4, 5))"),
        ("output: (B, T)", "output", "((4, 6, 5), (1, 4, 5))"),
        ("layers: {h.2: {params: 73}}", "h.2 params", "72"),
        ("layers: {h.1: {output: '(B, T)'}}", "h.1 output", "(4, 6, 8)"),
    ],
)
def test_what_does_not_hold_is_named_with_what_came(expect: str, what: str, got: str) -> None:
    (found,) = shortfalls(expect)
    assert (found.what, found.got, found.line) == (what, got, 9)


def test_costs_are_held() -> None:
    # 3 · 24 · 8 · 8 + LSTM: 24 steps · 4 · 5 · (8 + 5)
    assert shortfalls("macs: 10_848", "layers: {h.1: {macs: 1536}}") == ()
    (found,) = shortfalls("macs: <= 10K")
    assert (found.what, found.got) == ("macs", "10,848")


def test_figures_not_measured_are_neither_held_nor_broken() -> None:
    assert shortfalls("latency: <= 1 ms on cpu") == ()


def test_a_layer_that_a_replaced_var_took_away_falls_short() -> None:
    text = SPEC.format(expect="  layers: {h.2: {params: 72}}").replace("3 * Linear", "n * Linear")
    text = text.replace("{B: 4,", "{n: 3, B: 4,")
    checked = check(parse(Source("e.yaml", text), {"n": "2"}))
    (found,) = inspect_spec(checked).shortfalls
    assert (found.what, found.got) == ("h.2 params", "no layer h.2")


def test_several_fall_short_in_the_files_order() -> None:
    assert [s.what for s in shortfalls("params: 1", "output: (B,)", "buffers: 2")] == ["params", "output", "buffers"]
