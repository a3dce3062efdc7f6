"""What layers refuse, and in which words: the fact with its numbers, and what to write instead."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
import torch
from layer_examples import EXAMPLES, Example
from layer_refusals import REFUSALS, meta
from torch import Tensor, nn

from fwdscope.errors import LayerError
from fwdscope.layers import LAYERS, Layer
from fwdscope.layers.base import number_kind, required_inputs

# How torch's modules refuse: kernels, shape checks in Python, and slips over what they did not expect.
REFUSED = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, AttributeError, NotImplementedError)


def made(layer: Layer, inputs: tuple[Any, ...]) -> nn.Module:
    """What a caller does: check, then build."""
    layer.check(*inputs)
    return layer.build(*inputs)


@pytest.mark.core
@pytest.mark.parametrize(("name", "settings", "inputs", "message", "help"), REFUSALS, ids=lambda value: str(value)[:40])
def test_a_refusal_says_the_fact_and_the_way_out(
    name: str, settings: dict[str, Any], inputs: tuple[Any, ...], message: str, help: str | None
) -> None:
    layer = LAYERS[name](**settings)
    with pytest.raises(LayerError) as refusal, torch.device("meta"):
        made(layer, inputs)
    assert refusal.value.message == message
    assert refusal.value.help == help


@pytest.mark.parametrize(("name", "settings", "inputs", "message", "help"), REFUSALS, ids=lambda value: str(value)[:40])
def test_torch_refuses_on_a_cpu_what_we_refuse(
    name: str, settings: dict[str, Any], inputs: tuple[Any, ...], message: str, help: str | None
) -> None:
    """Refused is what torch refuses on a CPU, too; so no spec is kept from what torch can do."""
    if name in ("MixtureOfExperts", "TransformerEncoder") or "is given as" in message:
        return  # ours alone; torch has no such size to give, or takes modules

    def on_cpu(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(on_cpu, value))
        return torch.zeros(value.shape, dtype=value.dtype) if isinstance(value, Tensor) else value

    arguments = dict(settings)
    if "weight" in arguments:
        arguments["weight"] = torch.tensor(arguments["weight"])
    arguments |= torch_sizes(name, inputs)
    assert refused_by_torch(name, arguments, tuple(map(on_cpu, inputs)))


def refused_by_torch(name: str, arguments: dict[str, Any], inputs: tuple[Any, ...]) -> bool:
    try:
        module = getattr(nn, name)(**arguments)
    except REFUSED:
        return True
    return refused_by(module.eval(), *inputs)


def refused_by(module: nn.Module, *inputs: Any) -> bool:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module(*inputs)
        except REFUSED:
            return True
    return False


def refused_by_us(layer: Layer, x: Tensor) -> bool:
    try:
        layer.check(x)
    except LayerError as refusal:
        return bool(re.search(r"computes on floating-point numbers|has weights of", refusal.message))
    return False


def torch_sizes(name: str, inputs: tuple[Any, ...]) -> dict[str, Any]:
    """The sizes that torch needs, read as its documentation says, where the input has them at all."""
    x = inputs[0]
    if not isinstance(x, Tensor) or x.dim() == 0:
        return {"in_features": 4}
    last, second = x.shape[-1], x.shape[1] if x.dim() > 1 else 4
    return {
        "Linear": {"in_features": last},
        "Bilinear": {"in1_features": last, "in2_features": last},
        "LSTM": {"input_size": last},
        "GRU": {"input_size": last},
        "GRUCell": {"input_size": last},
        "BatchNorm2d": {"num_features": second},
        "InstanceNorm2d": {"num_features": second},
        "GroupNorm": {"num_channels": second},
        "LayerNorm": {} if name == "LayerNorm" and x.shape == (3, 4) else {"normalized_shape": last},
        "MultiheadAttention": {"embed_dim": last},
        "TransformerEncoderLayer": {"d_model": last},
        "TransformerDecoderLayer": {"d_model": last},
        "AdaptiveLogSoftmaxWithLoss": {"in_features": last},
    }.get(name, {"in_channels": second} if name.startswith("Conv") else {})


# --- numbers that are not floating-point -----------------------------------------------------------------------------

KINDS = [torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float64]
# Taken by torch on a CPU and refused here, each with the reason.
STRICTER = {
    "Dropout": "whole numbers cannot be scaled up: torch takes them in evaluation alone",
    "Dropout1d": "as Dropout",
    "Dropout2d": "as Dropout",
    "Dropout3d": "as Dropout",
    "AlphaDropout": "as Dropout",
    "FeatureAlphaDropout": "as Dropout",
    "AdaptiveAvgPool2d": "complex numbers are averaged by accident, where the output is one cell",
    "AdaptiveAvgPool3d": "as AdaptiveAvgPool2d",
    "MaxPool1d": "whole numbers go through another kernel, with return_indices alone",
    "Upsample": "bytes are interpolated in two dimensions only",
}


def single_inputs() -> list[Example]:
    """An example of each type that takes one tensor, with floating-point numbers, and has a module in torch."""
    found = [e for e in EXAMPLES if required_inputs(LAYERS[e.name]) == ("input",) and len(e.inputs()) == 1]
    found = [e for e in found if e.inputs()[0].is_floating_point() and e.name != "MixtureOfExperts"]
    return list({e.name: e for e in reversed(found)}.values())


@pytest.mark.parametrize("example", single_inputs(), ids=str)
def test_dtypes_that_torch_refuses_on_a_cpu_are_refused_on_meta(example: Example) -> None:
    layer, (numbers,) = example.layer(), example.inputs()
    for dtype in KINDS:
        x = (numbers * 3).to(dtype)
        taken = not refused_by(example.torch_module().eval(), x)
        ours = not refused_by_us(layer, x.to("meta"))
        if not taken:
            assert not ours, f"torch refuses {number_kind(x)} on a CPU"
        elif example.name not in STRICTER:
            assert ours, f"torch takes {number_kind(x)} on a CPU"


def test_half_precision_goes_with_the_weights_of_norms_as_in_torch() -> None:
    half = meta(2, 4, dtype=torch.bfloat16)
    LAYERS["LayerNorm"]().check(half)
    with pytest.raises(LayerError, match="Linear has weights of float32, found an input of bfloat16"):
        LAYERS["Linear"](3).check(half)


def test_weights_have_the_default_dtype() -> None:
    torch.set_default_dtype(torch.bfloat16)
    try:
        LAYERS["Linear"](3).check(meta(2, 4, dtype=torch.bfloat16))
        with pytest.raises(LayerError, match="Linear has weights of bfloat16, found an input of float32"):
            LAYERS["Linear"](3).check(meta(2, 4))
    finally:
        torch.set_default_dtype(torch.float32)


def test_states_of_another_dtype_are_refused() -> None:
    state = meta(1, 2, 5, dtype=torch.float64)
    with pytest.raises(LayerError, match="GRU has weights of float32, found an input of float64 as hx"):
        LAYERS["GRU"](5).check(meta(7, 2, 4), state)


def test_a_custom_encoder_must_be_one() -> None:
    x = meta(5, 2, 8)
    with pytest.raises(LayerError, match="Transformer takes a TransformerEncoder, found a Identity"):
        LAYERS["Transformer"](nhead=2, custom_encoder=LAYERS["Identity"]()).build(x, x)


def test_norms_refuse_a_dtype_that_their_weights_do_not_have() -> None:
    with pytest.raises(LayerError, match="LayerNorm has weights of float32, found an input of float64"):
        LAYERS["LayerNorm"]().check(meta(2, 4, dtype=torch.float64))
    LAYERS["LayerNorm"](elementwise_affine=False).check(meta(2, 4, dtype=torch.float64))
