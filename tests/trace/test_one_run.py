"""The run that makes a network's layers is recorded as a run of its own would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_copies import NESTED, OWN, STATES, everything
from torch import nn

from fwdscope.inspection import shipped
from fwdscope.language import load
from fwdscope.language.problems import SpecError
from fwdscope.layers import LAYERS
from fwdscope.model import build
from fwdscope.model.duplicates import built
from fwdscope.trace import built_and_traced, rows, trace

GRAPH = """
inputs:
  x: randn(2, 8)
graph:
  - out = y + table
  - y = Linear(8)(x)
  - table = Buffer(arange(8) / 8)
"""

LOOP = """
inputs:
  x: randn(2, 8)
layers:
  - for: i in range(3)
    do:
      - fc = Linear(8)
  - while: prev.sum() > 1
    do:
      - half = Linear(8)
"""

WRONG = """
inputs:
  x: randn(2, 8)
layers:
  - a = Linear(4)
  - b = Linear(5)(x)
  - c = x @ randn(4, 4)
  - cat([a + b, c])
"""

PROMISE = "inputs:\n  x: randn(2, 8)\nlayers:\n  - Linear(4) -> (2, 5)\n  - MultiheadAttention(2)(prev, prev, prev)\n"


def both(path: Path) -> tuple[Any, Any]:
    """A network and its trace made in one run, and in two."""
    checked = load(path)
    network = build(checked)
    return built_and_traced(checked), (network, trace(network))


@pytest.mark.parametrize("name", shipped())
def test_one_run_tells_what_two_tell(name: str) -> None:
    one, two = both(shipped()[name])
    told, expected = everything(*one), everything(*two)
    for key in expected:
        assert told[key] == expected[key], key


@pytest.mark.parametrize("text", [NESTED, OWN, STATES, GRAPH, LOOP, PROMISE], ids=range(6))
def test_one_run_tells_what_two_tell_of_small_specs(text: str, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(text)
    one, two = both(path)
    told, expected = everything(*one), everything(*two)
    for key in expected:
        assert told[key] == expected[key], key
    assert one[0].broken_promises == two[0].broken_promises
    assert one[0].blueprint.data_dependent == two[0].blueprint.data_dependent


def test_one_run_runs_each_line_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    forward = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: (calls.append(self), forward(self, x))[1])
    checked = load(shipped()["alexnet"])
    network, _ = built_and_traced(checked)
    assert len(calls) == sum(isinstance(one, nn.Conv2d) for one in network.modules())


def test_what_is_wrong_is_told_whole(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG)
    checked = load(path)
    with pytest.raises(SpecError) as one:
        built_and_traced(checked)
    with pytest.raises(SpecError) as two:
        build(checked)
    assert len(one.value.problems) == 2
    assert str(one.value) == str(two.value)


def test_nothing_is_left_on_the_layers(tmp_path: Path) -> None:
    path = tmp_path / "composite.yaml"
    path.write_text(
        "inputs:\n  x: randn(2, 4, 8)\nlayers:\n"
        "  - 3 * TransformerEncoderLayer(2, dim_feedforward=16, batch_first=True)\n"
        "  - MixtureOfExperts(Linear(8), 4, top_k=2)\n"
    )
    network, _ = built_and_traced(load(path))
    assert len(list(network.modules())) > 20
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._forward_pre_hooks_with_kwargs
    assert network.blueprint.observer is network.blueprint.greet is None


def test_what_a_layer_finds_of_its_inputs_is_no_line(tmp_path: Path) -> None:
    """A mixture asks its expert about rows of the input, at its first call and at none like it."""
    path = tmp_path / "mixture.yaml"
    path.write_text(
        "inputs:\n  x: randn(2, 4, 8)\nlayers:\n"
        "  - mixed = MixtureOfExperts(Linear(8), 4, top_k=2)\n  - mixed(prev)\n  - GELU\n"
    )
    _, traced = built_and_traced(load(path))
    assert [row.path for row in rows(traced) if row.depth == 1] == ["mixed", "mixed", "gelu"]


class TestDuplicates:
    """Layers of equal settings are duplicates of one that never runs."""

    def test_two_layers_share_nothing_that_can_change(self) -> None:
        with torch.device("meta"):
            one, two = (built(LAYERS["BatchNorm2d"](), [torch.empty(1, 8, 4, 4)]) for _ in range(2))
        assert one is not two
        for name, tensor in one.state_dict(keep_vars=True).items():
            other = two.state_dict(keep_vars=True)[name]
            assert tensor is not other
            assert tensor.untyped_storage()._cdata != other.untyped_storage()._cdata
            assert (type(tensor), tensor.shape, tensor.dtype) == (type(other), other.shape, other.dtype)
            assert tensor.requires_grad == other.requires_grad
        one.eval()
        one.register_buffer("extra", None)
        one.register_forward_hook(lambda *_: None)
        assert two.training
        assert "extra" not in two._buffers
        assert not two._forward_hooks

    def test_settings_that_are_equal_but_not_alike_are_told_apart(self) -> None:
        x = torch.empty(1, 8, device="meta")
        with torch.device("meta"):
            one, two = (built(LAYERS["Dropout"](p), [x]) for p in (1, 1.0))
        assert (type(one.p), type(two.p)) == (int, float)

    def test_the_default_dtype_is_that_of_now(self) -> None:
        x = torch.empty(1, 8, device="meta")
        with torch.device("meta"):
            single = built(LAYERS["Linear"](8), [x])
            torch.set_default_dtype(torch.float64)
            try:
                double = built(LAYERS["Linear"](8), [x])
            finally:
                torch.set_default_dtype(torch.float32)
        assert (single.weight.dtype, double.weight.dtype) == (torch.float32, torch.float64)

    @pytest.mark.parametrize("name", ["LSTM", "MultiheadAttention", "Linear", "Conv2d", "BatchNorm1d"])
    def test_a_duplicate_is_as_its_constructor_makes_it(self, name: str) -> None:
        x = torch.empty(2, 8, 8, device="meta")
        settings, inputs = {
            "LSTM": ((4,), [x]), "MultiheadAttention": ((2,), [x, x, x]), "Linear": ((4,), [x]),
            "Conv2d": ((4, 3), [x[None]]), "BatchNorm1d": ((), [x]),
        }[name]  # fmt: skip
        layer = LAYERS[name](*settings)
        with torch.device("meta"):
            made, again = layer.build(*inputs), [built(layer, inputs) for _ in range(2)][1]
        assert repr(made) == repr(again)
        assert list(made.state_dict()) == list(again.state_dict())
        assert vars(made).keys() == vars(again).keys()
