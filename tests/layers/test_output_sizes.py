"""Formulas of shapes and of parameters: each gives what torch gives, for every layer type and every listed function."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from layer_examples import EXAMPLES, Example
from torch import Tensor

from fwdscope.formula import Size, shape_of
from fwdscope.layers import LAYERS, layer_of, output_sizes, parameter_size

each_example = pytest.mark.parametrize("example", EXAMPLES, ids=str)


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors(item)


def shapes(value: Any) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in tensors(value)]


# --- layers ----------------------------------------------------------------------------------------------------------


# oneDNN says that it leaves projections to another kernel, which is not what is looked at here.
@pytest.mark.filterwarnings("ignore:LSTM with projections")
@each_example
def test_a_layers_formulas_give_the_shapes_that_torch_gives(example: Example) -> None:
    inputs = example.inputs()
    module = example.layer().build(*inputs)
    found = shapes(module(*inputs))
    explained = output_sizes(module, shapes(inputs), found)
    assert None not in explained
    assert [shape_of(sizes or ()) for sizes in explained] == found
    for size in (size for sizes in explained for size in sizes or ()):
        # The numbers shown give the value as well as the symbols do.
        assert Size(size.name, size.with_numbers.replace("(−", "(0−").replace(",", "")).value == size.value


@pytest.mark.core
@pytest.mark.parametrize(
    ("name", "settings", "came", "expected"),
    [
        # 224 + 2·3 − 7 = 223
        ("Conv2d", {"out_channels": 64, "kernel_size": 7, "stride": 2, "padding": 3}, (1, 3, 224, 224),
         "⌊(H + 2·padding − kernel_size) / stride⌋ + 1 = ⌊(224 + 2·3 − 7) / 2⌋ + 1 = 112"),
        ("Conv2d", {"out_channels": 8, "kernel_size": 3, "dilation": 2}, (1, 3, 9, 9),
         "H − dilation·(kernel_size − 1) − 1 + 1 = 9 − 2·(3 − 1) − 1 + 1 = 5"),
        ("ConvTranspose2d", {"out_channels": 8, "kernel_size": 2, "stride": 2}, (1, 3, 28, 28),
         "(H − 1)·stride + kernel_size = (28 − 1)·2 + 2 = 56"),
        ("MaxPool2d", {"kernel_size": 2}, (1, 3, 57, 57),
         "⌊(H − kernel_size) / stride⌋ + 1 = ⌊(57 − 2) / 2⌋ + 1 = 28"),
        ("MaxPool2d", {"kernel_size": 2, "ceil_mode": True}, (1, 3, 57, 57),
         "⌈(H − kernel_size) / stride⌉ + 1 = ⌈(57 − 2) / 2⌉ + 1 = 29"),
        ("Upsample", {"scale_factor": 1.5}, (1, 3, 5, 5), "⌊H·scale_factor⌋ = ⌊5·1.5⌋ = 7"),
        ("ZeroPad2d", {"padding": (1, 2, 3, 4)}, (1, 3, 8, 8), "H + before + after = 8 + 3 + 4 = 15"),
        ("PixelShuffle", {"upscale_factor": 2}, (1, 12, 8, 8), "H·r = 8·2 = 16"),
    ],
)  # fmt: skip
def test_the_height_is_told_as_a_textbook_does(
    name: str, settings: dict[str, Any], came: tuple[int, ...], expected: str
) -> None:
    x = torch.empty(came, device="meta")
    layer = LAYERS[name](**settings)
    with torch.device("meta"):
        module = layer.build(x)
    (sizes,) = output_sizes(module, [came], [tuple(module(x).shape)])
    assert sizes is not None
    assert sizes[2].text == expected


def test_heads_make_the_features_of_attention_and_directions_those_of_an_lstm() -> None:
    first, weights = LAYERS["MultiheadAttention"](12).output_sizes([(5, 2, 768)] * 3, [(5, 2, 768), (2, 5, 5)])
    assert first[-1].text == "num_heads·head_dim = 12·64 = 768"
    assert shape_of(weights) == (2, 5, 5)
    lstm = LAYERS["LSTM"](16, num_layers=3, bidirectional=True)
    out, h, _ = lstm.output_sizes([(5, 2, 8)], [(5, 2, 32), (6, 2, 16), (6, 2, 16)])
    assert out[-1].text == "directions·hidden_size = 2·16 = 32"
    assert h[0].text == "num_layers·directions = 3·2 = 6"


def test_a_formula_that_does_not_give_what_came_out_is_not_shown() -> None:
    linear = torch.nn.Linear(8, 5)
    assert output_sizes(linear, [(2, 8)], [(2, 5)]) != (None,)
    assert output_sizes(linear, [(2, 8)], [(2, 6)]) == (None,)


# --- parameters ------------------------------------------------------------------------------------------------------


@each_example
def test_formulas_of_parameters_sum_to_what_the_module_has(example: Example) -> None:
    module = example.layer().build(*example.inputs())
    found = [parameter_size(layer_of(module), name, p.shape).value for name, p in module.named_parameters()]
    assert sum(found) == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "settings", "came", "expected"),
    [
        ("Conv2d", {"out_channels": 64, "kernel_size": 7}, (1, 3, 224, 224),
         ["out_channels·in_channels·kernel_height·kernel_width = 64·3·7·7 = 9,408", "out_channels = 64"]),
        ("Conv2d", {"out_channels": 64, "kernel_size": 3, "groups": 32, "bias": False}, (1, 64, 8, 8),
         ["out_channels·(in_channels / groups)·kernel_height·kernel_width = 64·(64 / 32)·3·3 = 1,152"]),
        ("ConvTranspose1d", {"out_channels": 6, "kernel_size": 4, "bias": False}, (1, 3, 8),
         ["in_channels·out_channels·kernel_size = 3·6·4 = 72"]),
        ("Linear", {"out_features": 10}, (1, 128), ["out_features·in_features = 10·128 = 1,280", "out_features = 10"]),
        ("GRU", {"hidden_size": 5}, (7, 2, 4),
         ["3·hidden_size·input_size = 3·5·4 = 60", "3·hidden_size·hidden_size = 3·5·5 = 75",
          "3·hidden_size = 3·5 = 15", "3·hidden_size = 3·5 = 15"]),
        ("LSTM", {"hidden_size": 5, "proj_size": 2, "bias": False}, (7, 2, 4),
         ["4·hidden_size·input_size = 4·5·4 = 80", "4·hidden_size·proj_size = 4·5·2 = 40",
          "proj_size·hidden_size = 2·5 = 10"]),
        ("LayerNorm", {}, (2, 8), ["8", "8"]),
    ],
)  # fmt: skip
def test_parameters_are_told_by_what_their_dimensions_stand_for(
    name: str, settings: dict[str, Any], came: tuple[int, ...], expected: list[str]
) -> None:
    layer = LAYERS[name](**settings)
    module = layer.build(torch.rand(came))
    assert [parameter_size(layer, n, p.shape).text for n, p in module.named_parameters()] == expected


def test_a_buffer_that_is_a_single_number_counts_one() -> None:
    norm = LAYERS["BatchNorm2d"]()
    assert parameter_size(norm, "num_batches_tracked", ()).value == 1
    assert parameter_size(LAYERS["Conv2d"](4, 3), "scale", ()).value == 1


def test_formulas_are_read_without_torch() -> None:
    modules = "LAYERS, output_sizes"
    script = f"import sys; from fwdscope.layers import {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
