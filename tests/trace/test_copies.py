"""Equal copies of a stack run once and are one node, with the figures that they have when all run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fwdscope.language import load
from fwdscope.model import build
from fwdscope.model.events import StepStart
from fwdscope.model.initialise import materialise
from fwdscope.model.modules import Network
from fwdscope.targets import shipped_specs
from fwdscope.trace import Recorder, Trace, rows, trace

STACKED = [
    "bert_base", "convnext_tiny", "densenet121", "gpt2", "llama3_8b", "mixtral_8x7b", "moe_small", "resnet50",
    "shufflenet_v2_x1_0", "swin_t", "transformer_base", "transformer_encoder", "vit_b_16",
]  # fmt: skip

NESTED = """
inputs:
  x: randn(1, 8, 32, 32)
blocks:
  Inner:
    - conv = Conv2d(8, 3, padding=1)
    - ReLU
  Outer(n=2):
    - start = x * 2
    - inner = n * Inner
    - pool = AvgPool2d(3, stride=1, padding=1)
    - start + prev
layers:
  - first = Conv2d(8, 3, padding=1)
  - stack = 3 * Outer
  - again = stack
  - tall = Sequential(2 * Outer(3), Conv2d(8, 1), 2 * Outer(1))
"""

OWN = """
inputs:
  x: randn(2, 4, 8)
blocks:
  Scaled:
    - scale = Parameter(ones(8))
    - table = Buffer(arange(8) / 8)
    - fc = Linear(8)
    - x + scale * fc + table
layers:
  - 3 * Scaled
"""

STATES = """
inputs:
  x: randn(2, 4, 8)
  y: randn(2, 4, 8)
blocks:
  Twice()(x, y):
    - fc = Linear(8)
    - fc(fc) + y
  Same:
    - x
  Looped:
    - for: i in range(3)
      do:
        - fc = Linear(8)
        - prev + fc.weight[0]
layers:
  - start = Linear(8)
  - a = (3 * Twice())(start, y)
  - b = 3 * Looped
  - c = 3 * Same
  - d = (2 * Twice())(c, c)
  - e = 3 * TransformerEncoderLayer(2, dim_feedforward=16, batch_first=True)
  - f = 2 * Sequential(2 * Linear(8), Dropout(0.5))
"""


def facts(network: Network, traced: Trace) -> dict[str, Any]:
    """All that a report of a network says, and how its modules are registered."""
    homes = {module: path for path, module in network.named_modules()}
    layers = network.blueprint.layers
    return {
        "rows": rows(traced),
        "costs": traced.root.cost(),
        "operators": traced.root.count_operators(),
        "peak": traced.peak,
        "unused": traced.unused,
        "state": [(name, t.shape, t.dtype) for name, t in network.state_dict().items()],
        "layers": {
            homes[module]: (entry.path, entry.template and entry.template.name, entry.span)
            for module, entry in layers.items()
            if module in homes
        },
    }


def both(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The facts of a spec with equal copies run once, and with all of them built and run."""
    checked = load(path)
    network = build(checked)
    repeated = facts(network, trace(network))
    with monkeypatch.context() as patch:
        patch.setattr("fwdscope.model.copies.may_be_duplicated", lambda _: False)
        network = build(checked)
        return repeated, facts(network, trace(network, Recorder()))


@pytest.mark.parametrize("name", STACKED)
def test_repeated_copies_have_the_figures_of_copies_that_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    repeated, run = both(shipped_specs()[name], monkeypatch)
    for key in run:
        assert repeated[key] == run[key], key


@pytest.mark.parametrize("text", [NESTED, OWN, STATES], ids=["nested", "own tensors", "states"])
def test_copies_that_differ_run(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stack.yaml"
    path.write_text(text)
    repeated, run = both(path, monkeypatch)
    for key in run:
        assert repeated[key] == run[key], key


@pytest.mark.core
def test_equal_copies_run_once_and_are_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the 12 blocks of GPT-2."""
    shown: list[str] = []
    begin = Recorder.begin

    def counted(self: Recorder, what: StepStart, inputs: Any) -> None:
        shown.append(what.path)
        begin(self, what, inputs)

    network = build(load(shipped_specs()["gpt2"]))
    monkeypatch.setattr(Recorder, "begin", counted)
    traced = trace(network)
    assert [path for path in shown if path in {f"h.{i}" for i in range(12)}] == ["h.0"]
    assert [node.repeat for node in traced.root.nodes() if node.path == "h.0"] == [12]


def test_every_copy_has_weights_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    path.write_text(
        "inputs:\n  x: randn(2, 8)\nblocks:\n  Layer:\n    - fc = Linear(8)\n    - Tanh\nlayers:\n  - 4 * Layer\n"
    )
    network = materialise(build(load(path)))
    weights = [tensor for name, tensor in network.state_dict().items() if name.endswith("fc.weight")]
    assert len(weights) == 4
    assert len({tensor.data_ptr() for tensor in weights}) == 4
    # Each was filled with numbers of its own: they are drawn one after the other.
    assert all(not torch.equal(weights[0], other) for other in weights[1:])
    x = torch.randn(2, 8)
    expected = x
    for tensor, bias in zip(
        weights, [t for n, t in network.state_dict().items() if n.endswith("fc.bias")], strict=True
    ):
        expected = torch.tanh(expected @ tensor.T + bias)
    assert torch.allclose(network(x), expected, atol=1e-6)
