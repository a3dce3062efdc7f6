"""Layers made in loops and under ``modules:``: as many, at the paths, with the results that Python's would have."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent, indent

import pytest
import torch
from paths import SPECS
from torch import Tensor, nn

from fwdscope.commands.check.one import CheckSettings, check_source
from fwdscope.findings import findings
from fwdscope.language import load
from fwdscope.language.problems import Source
from fwdscope.model import build
from fwdscope.model.initialise import materialise
from fwdscope.model.straight import straight
from fwdscope.run.subject import SpecSubject
from tests.language.test_language import checked, keys, network, paths, problems_of, shape, weights


def params(layers: str, head: str = "") -> int:
    return sum(one.numel() for one in network(layers, head).parameters())


@pytest.mark.core
def test_three_layers_however_the_loop_is_written() -> None:
    """3 · (8 · 8 + 8) weights: in a `for`, in a comprehension, in a stack, from a list of modules."""
    for layers in (
        "- for: i in range(3)\n  do:\n    - fc = Linear(8)",
        "- for: i in range(3)\n  name: stages\n  do:\n    - fc = Linear(8)",
        "- sum([Linear(8)(x) for i in range(3)])",
        "- 3 * Linear(8)",
        "- Sequential(*[Linear(8) for i in range(3)])",
        "- modules:\n    fc: [Linear(8) for i in range(3)]\n- for: i in range(3)\n  do:\n    - fc[i](prev)",
        "- modules:\n    fc: [Linear(8), Linear(8), Linear(8)]\n- for: f in fc\n  do:\n    - f",
        "- modules:\n    fc: [Linear(8) for i in range(3)]\n- Sequential(*fc)",
        "- modules:\n    fc: [Linear(8) for i in range(3)]\n- for: i, f in enumerate(fc)\n  do:\n    - f(prev) * i",
    ):
        assert params(layers) == 216, layers
    shared = "- modules:\n    fc: Linear(8)\n- for: i in range(3)\n  do:\n    - fc(prev)"
    assert params(shared) == 72


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("- for: i in range(2)\n  do:\n    - fc = Linear(8)\n    - Linear(8)", "fc.0 linear.0 fc.1 linear.1"),
        ("- for: i in range(2)\n  do:\n    - for: j in range(2)\n      do:\n        - fc = Linear(8)",
         "fc.0.0 fc.0.1 fc.1.0 fc.1.1"),
        ("- for: i in range(2)\n  name: s\n  do:\n    - for: j in range(2)\n      do:\n        - fc = Linear(8)",
         "s.0.fc.0 s.0.fc.1 s.1.fc.0 s.1.fc.1"),
        ("- for: i in range(2)\n  do:\n    - for: j in range(2)\n      name: s\n      do:\n        - fc = Linear(8)",
         "s.0.0.fc s.0.1.fc s.1.0.fc s.1.1.fc"),
        ("- for: i in range(2)\n  do:\n    - h = 2 * Linear(8)", "h.0.0 h.0.1 h.1.0 h.1.1"),
        ("- for: i in range(2)\n  do:\n    - stem:\n        - fc = Linear(8)\n        - Linear(8)",
         "stem.0.fc stem.0.linear stem.1.fc stem.1.linear"),
        ("- for: i in range(2)\n  do:\n    - sum([Linear(8)(prev) for j in range(2)])",
         "linear.0 linear_2.0 linear.1 linear_2.1"),
        ("- for: i in range(2)\n  do:\n    - modules:\n        fc: Linear(8)\n    - fc(fc(prev))", "fc.0 fc.1"),
        ("- modules:\n    heads: {a: Linear(8), b: [Linear(8), Linear(8)]}\n- heads.a", ""),
        ("- modules:\n    heads: {a: Linear(8), b: Linear(3)}\n- heads['b'](heads.a(x))", "heads.a heads.b"),
        ("- modules:\n    heads:\n      a: Linear(8)\n      b: Linear(3)\n- heads.b(heads.a(x))", "heads.a heads.b"),
    ],
)  # fmt: skip
def test_the_paths_of_layers_that_rounds_make(layers: str, expected: str) -> None:
    if expected:
        assert sorted(weights(network(layers))) == sorted(expected.split())
    else:
        assert problems_of(layers) == "modules: b is no layer: [Linear(8), Linear(8)]"


def test_a_name_is_the_layer_of_the_round_and_after_the_loop_of_the_last() -> None:
    layers = """
    - for: i in range(3)
      do:
        - fc = Linear(8 + i, bias=False)
        - prev @ fc.weight
        - y = fc(prev)
    - y @ fc.weight
    """
    built = materialise(network(layers))
    one, two, three = (built.get_parameter(f"fc.{i}.weight") for i in range(3))
    x = torch.randn(2, 8)
    y = x
    for weight in (one, two, three):
        y = y @ weight.T @ weight @ weight.T
    torch.testing.assert_close(built(x), y @ three)


def test_parameters_and_buffers_of_rounds_are_their_own() -> None:
    layers = """
    - for: i in range(2)
      do:
        - scale = Parameter(ones(8) * (i + 1))
        - table = Buffer(zeros(8) + i)
        - prev * scale + table
    """
    built = materialise(network(layers))
    assert sorted(keys(built)) == ["scale.0", "scale.1", "table.0", "table.1"]
    torch.testing.assert_close(built(torch.ones(2, 8)), torch.full((2, 8), (1 * 1 + 0) * 2 + 1.0))


def test_results_of_rounds_are_collected_beside_the_flow() -> None:
    layers = """
    - ys = []
    - for: i in range(3)
      do:
        - conv = Linear(8 + i)
        - ys = ys + [conv]
    - fc = Linear(2)
    - cat([*ys, fc, ys[-1]], dim=1)
    """
    built = network(layers)
    assert shape(built) == (2, 8 + 9 + 10 + 2 + 10)
    assert built.get_submodule("fc").in_features == 10  # type: ignore[union-attr]


def test_a_list_on_the_last_line_is_the_result() -> None:
    built = network("- a = Linear(3)\n- b = Linear(4)(x)\n- both = [a, b]")
    assert [tuple(one.shape) for one in built(*built.example.values())] == [(2, 3), (2, 4)]


def test_a_layer_of_a_stack_or_a_part_is_called_by_its_number() -> None:
    layers = """
    - h = 3 * Linear(8, bias=False)
    - stem:
        - g = 2 * Linear(8, bias=False)
    - a = h[1](h[-1](x))
    - for: i in range(2)
      do:
        - a = stem.g[i](a)
    - a + stem
    """
    built = materialise(network(layers))
    w = dict(built.state_dict())
    assert sorted(w) == ["h.0.weight", "h.1.weight", "h.2.weight", "stem.g.0.weight", "stem.g.1.weight"]
    x = torch.randn(2, 8)
    names = ("h.0", "h.1", "h.2", "stem.g.0", "stem.g.1")
    h0, h1, h2, g0, g1 = (w[f"{name}.weight"].T for name in names)
    torch.testing.assert_close(built(x), x @ h2 @ h1 @ g0 @ g1 + x @ h0 @ h1 @ h2 @ g0 @ g1)


def test_a_layer_under_modules_is_a_setting_and_has_weights() -> None:
    head = "blocks:\n  Twice(act):\n    - act\n    - act\n"
    layers = "- modules:\n    fc: Linear(8)\n- Twice(fc)\n- prev @ fc.weight"
    assert keys(network(layers, head)) == ["fc.weight", "fc.bias"]


def test_blocks_with_modules_are_copied_with_weights_of_their_own() -> None:
    head = "blocks:\n  B:\n    - modules:\n        fc: [Linear(8), Linear(8)]\n    - fc[0](fc[1](fc[0](x)))\n"
    built = materialise(network("- h = 4 * B", head))
    assert len(weights(built)) == 8
    assert len({id(one) for one in built.parameters()}) == 16
    assert "h.3.fc.1" in paths(built)
    x, y = torch.randn(2, 8), None
    y = x
    for i in range(4):
        fc: Callable[[int, Tensor], Tensor] = lambda k, t, i=i: built.get_submodule(f"h.{i}.fc.{k}")(t)  # noqa: E731
        y = fc(0, fc(1, fc(0, y)))
    torch.testing.assert_close(built(x), y)


def test_a_run_as_plain_calls_equals_the_lines() -> None:
    layers = (
        "- modules:\n    c: [Linear(8) for i in range(2)]\n- for: i in range(4)\n  do:\n    - Linear(8)(c[i % 2](prev))"
    )
    built = materialise(network(layers))
    x = torch.randn(2, 8)
    torch.testing.assert_close(straight(built, [x])(x), built(x))


def test_equal_layers_over_time_are_noted() -> None:
    over = "- for: t in range({n})\n  do:\n    - fc = Linear(8)\n    - prev + fc"
    layers = over.format(n="T")
    note = "line 5: 5 layers of equal settings, Linear, one a round; to share one, modules:"
    made = checked(layers, head="vars: {T: 5}", inputs="x: randn(2, T, 8)")
    assert note in SpecSubject(made).report().notes
    assert any("x.shape" in one or "layers of equal" in one for one in notes(over.format(n="x.shape[1]")))
    assert not notes(over.format(n="3"))
    assert not notes(over.format(n="x.shape[1]").replace("Linear(8)", "Tanh"))


def notes(layers: str) -> list[str]:
    return [note for note in SpecSubject(checked(layers)).report().notes if "equal settings" in note]


@pytest.mark.core
def test_several_values_pass_through_a_stack() -> None:
    """What a copy gives are the first inputs of the next; the input it does not give is given again."""
    head = "blocks:\n  R(k)(x, skip, m):\n    - h = Linear(8)(x) * m\n    - (x + h, skip + Linear(4)(h))\n"
    built = materialise(network("- x2, skip = (3 * R(1))(x, zeros(2, 4), ones(8) * 2)\n- skip + x2.sum()", head))
    x = torch.randn(2, 8)
    y, skip = x, torch.zeros(2, 4)
    for i in range(3):
        first, second = built.get_submodule(f"r.{i}.linear"), built.get_submodule(f"r.{i}.linear_2")
        h = first(y) * 2
        y, skip = y + h, skip + second(h)
    torch.testing.assert_close(built(x), skip + y.sum())


def test_what_rests_on_shapes_alone_stands_beside_the_flow() -> None:
    head = """
    blocks:
      Table(n)():
        - arange(n) * 1.0
      Positions(d)(x):
        - k = x.shape[0]
        - sinusoidal(k, d)
    """
    layers = """
    - table = Table(8)()
    - places = Positions(8)(x)
    - bias:
        - b = zeros(8)
        - b + 1
    - fc = Linear(8)
    - fc + table + places + bias
    """
    built = network(layers, head)
    assert shape(built) == (2, 8)
    assert built.get_submodule("fc").in_features == 8  # type: ignore[union-attr]


def test_training_is_a_name() -> None:
    layers = (
        "- fc = Linear(8)\n- if: training\n  then:\n    - aux = Linear(3)(fc)\n    - (fc, aux)\n  else:\n    - fc * 1"
    )
    one = checked(layers)
    assert weights(build(one)) == ["fc"]
    assert weights(build(one, training=True)) == ["fc", "aux"]
    assert len(SpecSubject(one, training=True).report().outputs) == 2
    dropped = checked("- Dropout(0.5 if training else 0.0)")
    assert torch.equal(build(dropped)(torch.ones(2, 8)), torch.ones(2, 8))
    assert not torch.equal(build(dropped, training=True)(torch.ones(99, 8)), torch.ones(99, 8))


def test_rounds_with_layers_are_rows_and_equal_ones_are_one() -> None:
    named = "- for: i in range({n})\n  name: s\n  do:\n    - fc = Linear(8{i})\n    - ReLU"
    rows = SpecSubject(checked(named.format(n=3, i=""))).report().layers
    assert [(row.kind, row.label, row.repeat, row.params) for row in rows] == [
        ("loop", "s", 1, 216), ("copies", "0–2", 3, 72), ("layer", "fc", 1, 72), ("layer", "relu", 1, 0),
    ]  # fmt: skip
    rows = SpecSubject(checked(named.format(n=2, i=" + i"))).report().layers
    assert [row.path for row in rows] == ["s", "s.0", "s.0.fc", "s.0.relu", "s.1", "s.1.fc", "s.1.relu"]
    alone = SpecSubject(checked("- for: i in range(3)\n  do:\n    - fc = Linear(8)")).report().layers
    assert [(row.kind, row.label, row.repeat) for row in alone] == [("loop", "", 1), ("copies", "fc.0–2", 3)]


def test_parallel_layers_are_not_said_to_be_in_series() -> None:
    report = SpecSubject(checked("- sum([Linear(8)(x) for i in range(3)])")).report()
    assert not [one for one in findings(report) if "between" in one.text]
    assert nn.Linear(8, 8).weight.numel() * 3 + 24 == report.totals.params


def test_loops_with_names_may_have_layers_of_the_same_name() -> None:
    loop = "- for: i in range(2)\n  name: {name}\n  do:\n    - resnets = 2 * Linear(8)\n"
    built = network(loop.format(name="down") + loop.format(name="up"))
    assert [p for p in paths(built) if p.endswith("resnets.1")] == [
        f"{side}.{i}.resnets.1" for side in ("down", "up") for i in range(2)
    ]


def test_what_is_expected_of_a_layer_of_any_round_is_found() -> None:
    layers = """
    - for: i in range(2)
      do:
        - for: j in range(3)
          do:
            - fc = Linear(8)
            - act = ReLU
        - out = Linear(8)
        - Tanh
    """
    tail = "\nexpect:\n  layers:\n    fc.1.2: {params: 72}\n    out.1: {params: 72}\n    fc.0.1: {output: '(2, 8)'}\n"
    text = f"inputs:\n  x: randn(2, 8)\nlayers:\n{indent(dedent(layers).strip(), '  ')}{tail}"
    outcome = check_source(Source("rounds.yaml", text), CheckSettings()).outcome
    assert [(point.state, point.got) for point in outcome.points] == [("met", "72"), ("met", "72"), ("met", "(2, 8)")]


def test_no_line_of_a_right_loop_is_marked_as_wrong() -> None:
    """A loop's body is checked twice, and the second time names of layers in its branches are taken by the first."""
    assert load(SPECS / "deepseek_v2_lite.yaml").wrong == frozenset()
