"""One run that builds a network and counts it sees what a second run would see."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from fwdscope.errors import InputError
from fwdscope.language import check_source
from fwdscope.language.check import Checked
from fwdscope.language.problems import Source, SpecError
from fwdscope.model.build import build
from fwdscope.model.initialise import materialise
from fwdscope.run.batch import with_variables
from fwdscope.run.subject import totals_of
from fwdscope.targets import Target
from fwdscope.trace import network
from fwdscope.trace.network import build_and_trace, trace
from fwdscope.trace.record import Trace
from fwdscope.trace.replay import EarlierRuns
from fwdscope.trace.rows import figures


def _seen(found: Trace) -> Any:
    """All that a report is made of, without what refers to modules."""
    nodes = [
        (
            n.kind, n.path, n.type, n.text, n.label, n.span, n.call, n.repeat, n.live, n.peak, n.first_flow, n.step,
            n.more_live, n.reads, n.promise, n.note, len(n.copies or ()), [one.path for one in n.sources],
            [(one.op, one.figures) for one in n.ops], [one[:3] for one in (*n.inputs, *n.outputs)],
        )
        for n in found.root.nodes()
    ]  # fmt: skip
    return nodes, _lives(found), found.unused, found.peak, found.fused, sorted(map(str, found.fields.values()))


# Experts in a layer of torch's kind; a list of layers that a loop calls, and blocks in one; Buffers in copies of a
# stack; masks that no input reaches; loops over positions.
@pytest.mark.parametrize("name", ["moe_small", "nerf", "yolov8n", "detr_resnet50", "t5_small", "simple_rnn"])
def test_one_run_sees_what_two_do(name: str) -> None:
    checked = Target(name).load_spec()[0]
    built = build(checked)
    second = trace(built)
    found = build_and_trace(checked)
    assert found is not None
    once, first = found
    assert _seen(first) == _seen(second)
    examples = list(once.example.values())
    assert totals_of(first, once, examples) == totals_of(second, built, examples)
    assert list(once.state_dict()) == list(built.state_dict())


def _checked(text: str) -> Any:
    return check_source(Source("x.yaml", text))


LOOP = """
inputs: {{x: 'randn(4, 8)'}}
blocks:
  Repeated(layer):
    - for: i in range({rounds})
      do:
        - layer
layers:
  - Repeated(Linear(8))
"""


def test_a_loop_that_unexpectedly_makes_layers_takes_two_runs() -> None:
    # The first round is a step of its own if a later one makes layers, which nothing in its lines says.
    assert build_and_trace(_checked(LOOP.format(rounds=2))) is None
    assert build_and_trace(_checked(LOOP.format(rounds=1))) is not None


def test_what_cannot_run_is_refused() -> None:
    with pytest.raises(SpecError, match="Linear"):
        build_and_trace(_checked("inputs: {x: 'randint(0, 9, (4, 8))'}\nlayers:\n  - Linear(8)\n"))


def test_a_network_of_one_run_gets_no_weights() -> None:
    found = build_and_trace(_checked("inputs: {x: 'randn(4, 8)'}\nlayers:\n  - Linear(8)\n"))
    assert found is not None
    with pytest.raises(AssertionError):
        materialise(found[0])


def test_an_expectation_of_a_missing_layer_is_a_problem() -> None:
    text = "inputs: {x: 'randn(4, 8)'}\nlayers:\n  - fc = Linear(8)\nexpect:\n  layers:\n    fd: {params: 72}\n"
    with pytest.raises((SpecError, InputError), match="there is no layer fd"):
        build_and_trace(_checked(text))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many operators ran in each build."""
    counts: list[int] = []

    class Counting(network.BuildRecorder):
        def __init__(self, *how: Any) -> None:
            super().__init__(*how)
            counts.append(0)

        def op(self, record: Any, arguments: Any, result: Any) -> None:
            counts[-1] += not self.pause.depth
            super().op(record, arguments, result)

    monkeypatch.setattr(network, "BuildRecorder", Counting)
    return counts


def _check_equal(checked: Checked, earlier: EarlierRuns) -> None:
    """Compare the figures of a run among others with those of one in which every block runs."""
    brief, whole = build_and_trace(checked, earlier=earlier), build_and_trace(checked)
    assert whole is not None
    assert brief is not None
    for one, other in ((figures(whole[1]), figures(brief[1])), (_lives(whole[1]), _lives(brief[1]))):
        assert one == other
    totals = [totals_of(trace, module, list(module.example.values())) for module, trace in (whole, brief)]
    assert replace(totals[0], fused=None) == totals[1]
    assert list(whole[0].state_dict()) == list(brief[0].state_dict())


# T5's blocks give several results, of which some are their inputs.
@pytest.mark.parametrize("name", ["moe_small", "detr_resnet50", "t5_small"])
def test_equal_blocks_run_once_where_figures_alone_are_wanted(name: str, ran: list[int]) -> None:
    _check_equal(Target(name).load_spec()[0], EarlierRuns())
    assert ran[0] < ran[1]


def test_blocks_that_equal_one_of_an_earlier_run_do_not_run(ran: list[int]) -> None:
    checked, earlier = Target("transformer_base").load_spec()[0], EarlierRuns()
    at = [{"d": 64, "T": 8}, {"d": 64, "T": 12}, {"d": 96, "T": 12}, {"d": 64, "T": 8, "depth": 3}, {"d": 64, "T": 8}]
    for values in at:
        _check_equal(with_variables(checked, values), earlier)
    first, *_, deeper, again = ran[::2]
    # Embedding, positions and the output are lines of the model itself; all blocks are as before.
    assert deeper == again < first / 2


# What a block reads beside its inputs and settings: a var, one that another decides, a default, what a block inside it
# reads.
@pytest.mark.parametrize(
    ("defaults", "inner", "line"),
    [
        ("", "Linear(8)", "Linear(h)(x)"),
        ("", "Linear(8)", "Sequential(Linear(twice), Linear(4))(x)"),
        ("defaults: [Linear(bias=h > 8)]\n", "Linear(8)", "Linear(4)(x)"),
        ("", "Linear(h)", "Inner()(x)"),
    ],
)
def test_blocks_that_read_another_value_run(defaults: str, inner: str, line: str) -> None:
    text = (
        f"vars: {{h: 8, twice: 2 * h}}\ninputs: {{x: 'randn(2, 4)'}}\n{defaults}blocks:\n  Inner: [{inner}]\n"
        f"  Outer:\n    - {line}\n    - Linear(4)\nlayers: [Outer, Outer, Inner]\n"
    )
    checked, earlier = _checked(text), EarlierRuns()
    for h in (8, 16, 8, 4):
        _check_equal(with_variables(checked, {"h": h}), earlier)


def _lives(found: Trace) -> list[tuple[str, str, str, int]]:
    return [(around.path, node.path, name, live) for around, node, name, live in found.lives]


def test_what_torch_imports_on_the_way_keeps_nothing_alive() -> None:
    # A layer norm of bfloat16 is torch's reference, which imports dynamo, which keeps the frames of the run.
    code = (
        "import sys, fwdscope\n"
        "at = dict(variables={'T': 1, 'depth': 2}, dtype='bfloat16', device='meta')\n"
        "first, second = (fwdscope.inspect('gpt2', **at).totals.peak_activations for _ in range(2))\n"
        "assert 'torch._dynamo' in sys.modules\n"
        "print(first, second)\n"
    )
    first, second = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout.split()
    assert first == second
