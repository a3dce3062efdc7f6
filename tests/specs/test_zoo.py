"""The specs that ship: each keeps what it promises and expects, has the published size, and published keys fit."""

from __future__ import annotations

import csv

import pytest
from paths import TESTS
from zoo import SPECS, network

from fwdscope.inspection import inspect_spec
from fwdscope.language import load
from fwdscope.targets import shipped_specs

REFERENCE = TESTS / "reference"

# Attention of width 512: four square matrices with their biases. Feed-forward: up to 2048 and back.
ATTENTION = 4 * (512 * 512 + 512)
FEED_FORWARD = (512 + 1) * 2048 + (2048 + 1) * 512
NORM = 2 * 512
DOUBLE_CONV = {
    (i, o): 9 * i * o + 9 * o * o + 2 * 2 * o for i in (3, 64, 128, 256, 512, 1024) for o in (64, 128, 256, 512, 1024)
}

# Parameters, from the layers' definitions. Weights first, then biases, then scales and shifts of norms.
DERIVED = {
    "perceptron": 2 + 1,
    "mlp_xor": (2 * 4 + 4) + (4 * 1 + 1),
    "mlp_mnist": (784 * 128 + 128) + (128 * 10 + 10),
    "mlp_blocks": (20 * 256 + 256) + (256 * 10 + 10),
    "norms": 3 * 3 * 3 * 16 + 2 * 16 + (16 * 64 + 64) + 2 * 64,
    "mnist_cnn": (3 * 3 * 1 * 32 + 32) + (3 * 3 * 32 * 64 + 64) + (3136 * 128 + 128) + (128 * 10 + 10),
    "fixed_hidden_mlp": 20 * 20 + 20,
    "activations": 0,
    "edge_filters": 0,
    "simple_rnn": (8 * 16 + 16) + (16 * 16 + 16) + (16 * 3 + 3),
    "lstm_cell": (10 + 20) * 4 * 20 + 4 * 20,
    "lstm": 4 * 20 * (10 + 20) + 2 * 4 * 20 + 4 * 20 * (20 + 20) + 2 * 4 * 20,
    "attention_single_head": 3 * 16 * 16,
    "multi_head_attention": ATTENTION,
    "transformer_encoder": 10_000 * 512 + 6 * (ATTENTION + FEED_FORWARD + 2 * NORM),
    "transformer_decoder_layer": 2 * ATTENTION + FEED_FORWARD + 3 * NORM,
    "transformer_base": 37_000 * 512
    + 6 * (ATTENTION + FEED_FORWARD + 2 * NORM)
    + 6 * (2 * ATTENTION + FEED_FORWARD + 3 * NORM),
    "computation_graph": 6 * 5 + 5 * 3,
    "cross_entropy": 0,
    # Way down; way up (a transposed 2 × 2 convolution to half the channels, then both halves together); the 1 × 1 head.
    "unet": DOUBLE_CONV[3, 64]
    + sum(DOUBLE_CONV[i, 2 * i] for i in (64, 128, 256, 512))
    + sum(4 * 2 * o * o + o + DOUBLE_CONV[2 * o, o] for o in (64, 128, 256, 512))
    + (64 * 2 + 2),
}


def published() -> dict[str, int]:
    with (REFERENCE / "published_params.csv").open() as file:
        return {row["spec"]: int(row["params"]) for row in csv.DictReader(file)}


# The numbers that these networks are known by. A derivation above may not drift from them.
KNOWN = {
    "mlp_mnist": 101_770,
    "mnist_cnn": 421_642,
    "fixed_hidden_mlp": 420,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "gpt2": 124_439_808,
    "vit_b_16": 86_567_656,
    "llama3_8b": 8_030_261_248,
}
PARAMS = {**DERIVED, **published()}


def test_these_specs_ship_and_have_the_sizes_they_are_known_by() -> None:
    assert set(PARAMS) <= set(shipped_specs())
    assert KNOWN.items() <= PARAMS.items()


@pytest.mark.parametrize("name", sorted(PARAMS))
def test_a_spec_keeps_what_it_promises_and_expects(name: str) -> None:
    checked = load(SPECS / f"{name}.yaml")
    report = inspect_spec(checked)
    assert report.totals.params == PARAMS[name]
    assert [output.shape for output in report.outputs]
    assert report.shortfalls == ()
    assert network(name).broken_promises == ()
    # The specs are read by learners and copied: each says what it is, what comes out and how large it is.
    assert checked.spec.doc
    assert checked.spec.expect.outputs
    assert any(one.layer is None and one.name == "params" for one in checked.spec.expect.figures)
    # Nothing that the checks would note, such as a layer with weights and no name.
    assert checked.notes == ()


def test_figures_are_not_checked_where_a_var_is_replaced_but_promised_shapes_are() -> None:
    report = inspect_spec(load(SPECS / "mlp_mnist.yaml", variables={"hidden": "127"}))
    assert report.shortfalls == ()
    assert report.notes == ("expected figures are not checked, since they are for the file's own hidden",)
    assert len(network("mlp_mnist", hidden="127").broken_promises) == 1


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vit_b_16"])
def test_keys_and_shapes_are_those_of_torchvisions_weights(name: str) -> None:
    with (REFERENCE / "torchvision_state_dicts.csv").open() as file:
        theirs = {row["key"]: row["shape"] for row in csv.DictReader(file) if row["model"] == name}
    ours = {key: "x".join(map(str, tensor.shape)) for key, tensor in network(name).state_dict().items()}
    # torchvision numbers the encoder's layers in their names; a stack numbers them by place.
    assert ours == {key.replace("encoder_layer_", ""): shape for key, shape in theirs.items()}


def test_unet_has_the_keys_of_the_published_pytorch_unet() -> None:
    """Modules as milesial/Pytorch-UNet names them in unet_parts.py and unet_model.py.

    Without biases before the norms, as from its release 3.0 on (its issue 333).
    """
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    double = ["double_conv.0.weight", "double_conv.3.weight", *(f"double_conv.{i}.{t}" for i in (1, 4) for t in norm)]
    expected = {f"inc.{key}" for key in double} | {"outc.conv.weight", "outc.conv.bias"}
    for i in range(1, 5):
        expected |= {f"down{i}.maxpool_conv.1.{key}" for key in double}
        expected |= {f"up{i}.conv.{key}" for key in double} | {f"up{i}.up.weight", f"up{i}.up.bias"}
    assert set(network("unet").state_dict()) == expected
