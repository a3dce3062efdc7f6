from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from fwdscope.findings import Finding, findings
from fwdscope.report import Environment, LayerRow, Report, Shape, TensorInfo, Totals, multiplicities

IMAGE = (8, 3, 32, 32)


def row(
    path: str, type: str, shapes: tuple[Shape, Shape], weights: dict[str, Shape] | None = None, **fields: Any
) -> LayerRow:
    """A row from the first shape to the second, with these parameters."""
    own = tuple(TensorInfo(name, shape, "float32") for name, shape in (weights or {}).items())
    params = sum(math.prod(tensor.shape) for tensor in own)
    given: dict[str, Any] = {"kind": "layer", "depth": 1, "text": type, "label": path, "output_dtypes": ("float32",)}
    given |= {"input_shapes": shapes[:1], "output_shapes": shapes[1:], "parameters": own}
    given |= {"params": params, "trainable_params": params}
    return LayerRow(path, type, **(given | fields))


def linear(path: str, before: Shape, size: int, **fields: Any) -> LayerRow:
    weights = {"weight": (size, before[-1]), "bias": (size,)}
    return row(path, "Linear", (before, (*before[:-1], size)), weights, **fields)


def conv(path: str, before: Shape, after: Shape, kernel: int = 3, bias: bool = True, **fields: Any) -> LayerRow:
    weights = {"weight": (after[1], before[1], kernel, kernel)} | ({"bias": (after[1],)} if bias else {})
    return row(path, "Conv2d", (before, after), weights, **fields)


def norm(path: str, shape: Shape, type: str = "BatchNorm2d", **fields: Any) -> LayerRow:
    return row(path, type, (shape, shape), {"weight": shape[1:2], "bias": shape[1:2]}, **fields)


def network(
    *rows: LayerRow, inputs: tuple[Shape, ...] | None = None, outputs: tuple[Shape, ...] | None = None
) -> Report:
    top = [row for row in rows if row.depth == 1]
    params = sum(row.params * row.repeat for row in top)
    trainable = sum(row.trainable_params * row.repeat for row in top)
    inputs = (rows[0].input_shapes[:1]) if inputs is None else inputs
    outputs = rows[-1].output_shapes if outputs is None else outputs
    return Report(
        name="net",
        inputs=tuple(TensorInfo(f"x{i}", shape, "float32") for i, shape in enumerate(inputs)),
        outputs=tuple(TensorInfo("", shape, "float32") for shape in outputs),
        layers=rows,
        totals=Totals(params, trainable, 0, 4 * params, 0),
        environment=Environment("0.1.0", "3.11", "2.13.0", "linux"),
    )


def finding_about(*rows: LayerRow, about: str, **fields: Any) -> Finding | None:
    """The only finding whose text has these words, if there is one."""
    found = [finding for finding in findings(network(*rows, **fields)) if about in finding.text]
    assert len(found) <= 1
    return found[0] if found else None


# --- the batch among the features ------------------------------------------------------------------------------------


def _flattened(start: int) -> list[LayerRow]:
    after = (8, 16 * 900) if start else (8 * 16 * 900,)
    return [
        conv("conv", IMAGE, (8, 16, 30, 30)),
        row("flatten", "Flatten", ((8, 16, 30, 30), after)),
        linear("fc", after, 10),
    ]


def test_a_flatten_over_the_batch_is_a_warning() -> None:
    finding = finding_about(*_flattened(0), about="into the features")
    assert finding is not None
    assert finding.level == "warning"
    assert finding.path == "flatten"
    assert finding.text.startswith("flatten turns (8, 16, 30, 30) into (115200,): it mixes the batch of 8")


def test_a_flatten_behind_the_batch_is_none() -> None:
    assert finding_about(*_flattened(1), about="mixes") is None


def test_an_unbatched_image_may_be_flattened_whole() -> None:
    rows = [
        row("conv", "Conv2d", ((3, 32, 32), (16, 30, 30))),
        row("flatten", "Flatten", ((16, 30, 30), (14400,))),
        linear("fc", (14400,), 10),
    ]
    assert finding_about(*rows, about="mixes") is None


def test_a_batch_mixed_and_taken_apart_again_is_no_finding() -> None:
    rows = [
        conv("conv", IMAGE, (8, 16, 30, 30)),
        row("", "reshape", ((8, 16, 30, 30), (7200, 16))),
        linear("fc", (7200, 16), 4),
        row("", "reshape", ((7200, 4), (8, 900, 4))),
    ]
    assert finding_about(*rows, about="mixes") is None


def test_a_loss_of_one_number_is_no_lost_batch() -> None:
    rows = [*_flattened(1), row("", "cross_entropy", ((8, 10), ()))]
    assert finding_about(*rows, about="mixes", inputs=(IMAGE, (8,))) is None


# --- losses on probabilities -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "loss", "wrong"),
    [
        ("Softmax", "CrossEntropyLoss", True),
        ("softmax", "cross_entropy", True),
        ("Sigmoid", "BCEWithLogitsLoss", True),
        ("Softmax", "NLLLoss", True),
        ("LogSoftmax", "NLLLoss", False),
        ("Sigmoid", "BCELoss", False),
        ("ReLU", "CrossEntropyLoss", False),
    ],
)
def test_a_loss_that_has_the_activation_built_in_gets_logits(activation: str, loss: str, wrong: bool) -> None:
    rows = [
        linear("fc", (8, 20), 10, sources=()),
        row("act", activation, ((8, 10), (8, 10)), sources=(0,)),
        row("loss", loss, ((8, 10), ()), sources=(1,)),
    ]
    finding = finding_about(*rows, about="but expects")
    assert (finding is not None) == wrong
    if finding:
        assert (finding.level, finding.path) == ("warning", "loss")


def test_probabilities_are_right_next_to_a_loss_on_logits() -> None:
    rows = [
        linear("fc", (8, 20), 10, sources=()),
        row("probabilities", "Softmax", ((8, 10), (8, 10)), sources=(0,)),
        row("loss", "CrossEntropyLoss", ((8, 10), ()), sources=(0,)),
    ]
    assert finding_about(*rows, about="but expects") is None
    # Without knowing what feeds what, the same rows could be either net.
    assert finding_about(*(replace(each, sources=None) for each in rows), about="but expects") is None


# --- linear after linear ---------------------------------------------------------------------------------------------


@pytest.mark.core
def test_two_linear_layers_with_nothing_between_are_one() -> None:
    finding = finding_about(linear("a", (8, 20), 256), linear("b", (8, 256), 10), about="nothing between")
    assert finding is not None
    assert finding.level == "warning"
    assert finding.text == ("a and b have nothing between: as good as one linear layer from 20 to 10")


def test_an_activation_between_linear_layers_makes_two() -> None:
    relu = row("relu", "ReLU", ((8, 256), (8, 256)))
    assert finding_about(linear("a", (8, 20), 256), relu, linear("b", (8, 256), 10), about="nothing between") is None


def test_a_narrow_middle_is_a_factored_matrix_and_no_finding() -> None:
    assert finding_about(linear("down", (8, 512), 16), linear("up", (8, 16), 512), about="nothing between") is None


def test_linear_layers_side_by_side_are_not_in_series() -> None:
    # q, k, v of an attention: the same shapes, one input.
    rows = [linear(name, (1, 9, 64), 64) for name in "qkv"]
    assert finding_about(*rows, about="nothing between") is None
    known = [replace(each, sources=()) for each in rows]
    assert finding_about(*known, about="nothing between") is None


def test_square_linear_layers_in_series_are_a_finding_if_sources_are_known() -> None:
    rows = [linear("a", (8, 64), 64, sources=()), linear("b", (8, 64), 64, sources=(0,))]
    assert finding_about(*rows, about="nothing between") is not None


def test_a_linear_result_that_others_read_too_is_no_waste() -> None:
    rows = [
        linear("a", (8, 64), 128, sources=()),
        linear("b", (8, 128), 64, sources=(0,)),
        row("relu", "ReLU", ((8, 128), (8, 128)), sources=(0,)),
    ]
    assert finding_about(*rows, about="nothing between") is None


def test_a_stack_of_bare_linear_layers_is_one() -> None:
    stack = row("h", "Linear", ((8, 64), (8, 64)), kind="stack", params=3 * 4160)
    copies = linear("h.0–2", (8, 64), 64, kind="copies", repeat=3, depth=2)
    finding = finding_about(stack, copies, about="as good as one")
    assert finding is not None
    assert "3 linear layers" in finding.text
    assert finding_about(stack, replace(copies, repeat=1), about="as good as one") is None


# --- where the parameters are ----------------------------------------------------------------------------------------


def test_a_layer_with_half_of_all_parameters_is_named_with_their_number() -> None:
    finding = finding_about(linear("fc1", (8, 3136), 128), linear("fc2", (8, 128), 10), about="of the parameters")
    assert finding == Finding("note", "fc1 has 99.7 % of the parameters: 401,536, a matrix from 3,136 to 128", "fc1")


def test_an_embedding_is_called_a_table() -> None:
    table = row("wte", "Embedding", ((1, 5), (1, 5, 8)), {"weight": (1000, 8)})
    finding = finding_about(table, linear("fc", (1, 5, 8), 8), about="of the parameters")
    assert finding is not None
    assert finding.text.endswith(", a table of 1,000 × 8")


def test_less_than_half_or_a_single_layer_is_no_finding() -> None:
    assert finding_about(*(linear(name, (8, 64), 64) for name in "abc"), about="of the parameters") is None
    assert finding_about(linear("only", (8, 64), 64), about="of the parameters") is None


def test_copies_are_not_one_layer() -> None:
    copies = linear("h.0–2", (8, 64), 64, kind="copies", repeat=3, depth=2)
    stack = row("h", "Linear", ((8, 64), (8, 64)), kind="stack", params=3 * copies.params)
    assert finding_about(stack, copies, linear("fc", (8, 64), 2), about="of the parameters") is None


# --- bias before batch norm ------------------------------------------------------------------------------------------

MAPS = (8, 16, 30, 30)


def _conv_norm(**fields: Any) -> list[LayerRow]:
    return [conv("conv", IMAGE, MAPS, sources=(), **fields), norm("bn", MAPS, sources=(0,))]


@pytest.mark.core
def test_a_bias_in_front_of_a_batch_norm_does_nothing() -> None:
    finding = finding_about(*_conv_norm(), about="batch norm")
    assert finding is not None
    assert (finding.level, finding.path) == ("note", "conv")
    assert "cancels: 16 parameters" in finding.text
    assert finding_about(*_conv_norm(bias=False), about="batch norm") is None


def test_biases_of_copies_count_as_often_as_there_are_copies() -> None:
    around_them = row("h.0–3", "Block", (MAPS, MAPS), kind="copies", repeat=4, params=2368)
    stack = replace(around_them, path="h", kind="stack", repeat=1, params=4 * 2368)
    rows = [
        stack,
        replace(around_them, depth=2),
        conv("h.conv", MAPS, MAPS, depth=3, sources=()),
        norm("h.bn", MAPS, depth=3, sources=(2,)),
    ]
    assert multiplicities(rows)[2] == 4
    finding = finding_about(*rows, about="batch norm")
    assert finding is not None
    assert "cancels: 64 parameters" in finding.text  # 4 · 16


def test_a_bias_is_kept_where_something_else_reads_the_convolution() -> None:
    skip = row("", "add", (MAPS, MAPS), kind="expression", sources=(1, 0))
    assert finding_about(*_conv_norm(), skip, about="batch norm") is None


def test_a_bias_is_not_judged_where_its_readers_are_not_known() -> None:
    assert finding_about(*(replace(each, sources=None) for each in _conv_norm()), about="batch norm") is None


def test_a_bias_in_front_of_another_norm_counts() -> None:
    rows = [conv("conv", IMAGE, MAPS, sources=()), norm("norm", MAPS, "LayerNorm", sources=(0,))]
    assert finding_about(*rows, about="batch norm") is None


def test_a_linear_bias_is_lost_only_where_channels_are_features() -> None:
    flat = [linear("fc", (8, 20), 16, sources=()), norm("bn", (8, 16), "BatchNorm1d", sources=(0,))]
    assert finding_about(*flat, about="batch norm") is not None
    sequence = [linear("fc", (8, 5, 20), 16, sources=()), norm("bn", (8, 5, 16), "BatchNorm1d", sources=(0,))]
    assert finding_about(*sequence, about="batch norm") is None


# --- shared ----------------------------------------------------------------------------------------------------------


def test_a_tied_head_is_found_with_the_parameters_it_saves() -> None:
    table = row("wte", "Embedding", ((1, 5), (1, 5, 8)), {"weight": (1000, 8)})
    head = row("", "linear", ((1, 5, 8), (1, 5, 1000)), kind="expression", text="linear(prev, wte.weight)")
    finding = finding_about(table, replace(head, reads=("wte.weight",)), about="tied")
    assert finding is not None
    assert finding.path == "wte.weight"
    assert finding.text.endswith("tied weights, 8,000 parameters fewer")
    assert finding_about(table, head, about="tied") is None


def test_reading_a_parameter_of_the_file_ties_nothing() -> None:
    scale = row("scale", "Parameter", ((8,), (8,)), kind="parameter", params=8)
    product = row("", "mul", ((1, 8), (1, 8)), kind="expression", reads=("scale",))
    assert finding_about(scale, product, about="tied") is None


def test_layers_called_again_are_named_with_how_often() -> None:
    first = linear("fc", (8, 20), 20)
    again = replace(first, call=2, params=0, trainable_params=0, parameters=())
    relu = row("relu", "ReLU", ((8, 20), (8, 20)), calls=5)
    finding = finding_about(first, relu, again, about="more than once")
    assert finding is not None
    assert finding.text == "fc (2 times) runs more than once; the weights count once"
    assert finding_about(first, relu, about="more than once") is None


def test_of_a_block_called_again_only_the_block_is_named() -> None:
    block = row("encoder", "Encoder", ((8, 20), (8, 20)), kind="block", params=420)
    inside = linear("encoder.fc", (8, 20), 20, depth=2)
    again = [replace(each, call=2, params=0, parameters=()) for each in (block, inside)]
    finding = finding_about(block, inside, *again, about="more than once")
    assert finding is not None
    assert finding.text.startswith("encoder (2 times) runs")


def test_layers_in_a_loop_are_named_and_not_the_loop() -> None:
    loop = row("steps", "for", ((8, 20), (8, 20)), kind="loop", calls=25, params=420)
    finding = finding_about(loop, linear("steps.cell", (8, 20), 20, depth=2, calls=25), about="more than once")
    assert finding is not None
    assert finding.text.startswith("steps.cell (25 times) runs")


# --- the rest --------------------------------------------------------------------------------------------------------


def test_a_network_without_trainable_parameters_is_a_finding() -> None:
    frozen = linear("fc", (8, 20), 20, trainable_params=0)
    assert finding_about(frozen, about="trainable") is not None
    assert finding_about(linear("fc", (8, 20), 20), about="trainable") is None
    assert finding_about(row("relu", "ReLU", ((8, 20), (8, 20))), about="trainable") is None


def test_a_kernel_on_a_single_pixel_meets_padding_only() -> None:
    finding = finding_about(conv("late", (8, 16, 1, 1), (8, 16, 1, 1)), about="single pixel")
    assert finding is not None
    assert finding.path == "late"
    # A 1×1 kernel there is a linear layer, as in a squeeze-and-excitation.
    assert finding_about(conv("squeeze", (8, 16, 1, 1), (8, 4, 1, 1), kernel=1), about="single pixel") is None
    assert finding_about(conv("line", (8, 16, 1, 9), (8, 4, 1, 9)), about="single pixel") is None


def test_a_result_of_a_gibibyte_is_a_finding() -> None:
    finding = finding_about(linear("head", (1, 8192, 16), 2**15, output_bytes=2**30), about="largest")
    assert finding is not None
    assert finding.text == "head has the largest output: (1, 8192, 32768), 1.00 GiB"  # 2^13 · 2^15 · 4
    assert finding_about(linear("head", (1, 8192, 16), 2**15 - 1, output_bytes=2**30 - 2**15), about="largest") is None


def test_dropout_after_a_classifier_is_a_finding() -> None:
    dropout = row("drop", "Dropout", ((8, 10), (8, 10)))
    assert finding_about(linear("fc", (8, 20), 10), dropout, about="comes after") is not None
    assert finding_about(dropout, linear("fc", (8, 10), 20), about="comes after") is None
    # A feed-forward part of a transformer ends so, and is right.
    inner = row("drop", "Dropout", ((8, 5, 10), (8, 5, 10)))
    assert finding_about(linear("fc", (8, 5, 20), 10), inner, about="comes after") is None


@pytest.mark.core
def test_warnings_come_first() -> None:
    rows = [linear("a", (8, 2000), 256, trainable_params=0), linear("b", (8, 256), 10, trainable_params=0)]
    levels = [finding.level for finding in findings(network(*rows))]
    assert levels == sorted(levels, reverse=True)
    assert set(levels) == {"warning", "note"}


def test_an_empty_report_has_no_findings() -> None:
    empty = replace(network(linear("fc", (8, 2), 2)), layers=(), totals=Totals(0, 0, 0, 0, 0))
    assert findings(empty) == ()


def test_sources_out_of_range_in_a_saved_report_are_harmless() -> None:
    assert findings(network(linear("fc", (8, 2), 2, sources=(7,)))) == ()
