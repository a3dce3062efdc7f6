"""Specs of known networks, held against what others published of them: sizes, work, keys, outputs.

The tables are in ``tests/reference``; its README says where each number comes from.
"""

from __future__ import annotations

import csv
import hashlib
import math
import re
import zlib
from functools import cache

import pytest
import torch
from paths import TESTS
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from zoo import SPECS, network, ready, results, run, words

from fwdscope.inspection import inspect_spec
from fwdscope.language import load
from fwdscope.model import Network
from fwdscope.model.initialise import materialise

REFERENCE = TESTS / "reference"


def table(name: str) -> dict[str, dict[str, str]]:
    with (REFERENCE / f"{name}.csv").open() as file:
        return {row["spec"]: row for row in csv.DictReader(file)}


VISION = table("torchvision")
LANGUAGE = table("language_models")
OUTPUTS = table("torchvision_outputs")
# A small mixture is nobody's publication: a table, two blocks of attention, a router, experts and two norms, one norm.
MOE_SMALL = 256 * 64 + 2 * (4 * (64 + 1) * 64 + 4 * 64 + 4 * ((64 + 1) * 256 + (256 + 1) * 64) + 2 * 128) + 128
PARAMS = {name: int(row["num_params"]) for name, row in (VISION | LANGUAGE).items()} | {"moe_small": MOE_SMALL}


@cache
def on_meta(name: str) -> Network:
    return network(name)


@cache
def macs(name: str) -> int:
    """Multiply-accumulates of one forward on meta, as torch's own counter sees them: convolutions and products."""
    net = on_meta(name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(*net.example.values())
    flops: int = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PARAMS))
def test_a_spec_has_the_parameters_that_are_published(name: str) -> None:
    checked = load(SPECS / f"{name}.yaml")
    report = inspect_spec(checked)
    assert report.totals.params == PARAMS[name]
    assert report.shortfalls == ()
    # What it promises line by line holds, nothing is left that the checks would note, and it says what it is.
    assert on_meta(name).broken_promises == ()
    assert checked.notes == ()
    assert re.search(r"\(.*\d{4}", checked.spec.doc or "", re.DOTALL), "who made it, and when"
    assert checked.spec.expect.outputs
    assert any(one.layer is None and one.name == "params" for one in checked.spec.expect.figures)


# --- work ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(VISION))
def test_a_spec_has_the_macs_that_torchvision_publishes(name: str) -> None:
    row = VISION[name]
    # Published in units of 10⁹, to three places; where the network was built and counted, exactly.
    assert f"{macs(name) / 1e9:.3f}" == f"{float(row['ops_G']):.3f}"
    if row["built_macs"]:
        assert macs(name) == int(row["built_macs"])


def _attention_macs(tokens: int, d: int, kv: int) -> int:
    """Projections of queries and results (d), of keys and values (kv); two products over all pairs of tokens."""
    return tokens * (2 * d * d + 2 * d * kv) + 2 * tokens * tokens * d


# Layers · (attention + feed-forward) + what stands behind the layers; embeddings look up and multiply nothing.
LANGUAGE_MACS = {
    # a pooled first token
    "bert_base": 12 * (_attention_macs(512, 768, 768) + 512 * 2 * 768 * 3072) + 768 * 768,
    # the router; 8 experts of three matrices, each with its share of 512 · 2 choices; a head
    "mixtral_8x7b": 32 * (_attention_macs(512, 4096, 1024) + 512 * 4096 * 8 + 8 * (512 * 2 // 8) * 3 * 4096 * 14_336)
    + 512 * 4096 * 32_000,
    "llama3_405b": 126 * (_attention_macs(8192, 16_384, 1024) + 8192 * 3 * 16_384 * 53_248) + 8192 * 16_384 * 128_256,
    # two sentences of 32 tokens
    "moe_small": 2 * (2 * _attention_macs(32, 64, 64) + 64 * 64 * 4 + 4 * (64 * 2 // 4) * 2 * 64 * 256) + 64 * 64 * 256,
}


@pytest.mark.parametrize("name", sorted(LANGUAGE_MACS))
def test_a_language_model_has_the_macs_of_its_sizes(name: str) -> None:
    assert macs(name) == LANGUAGE_MACS[name]


@pytest.mark.parametrize("name", sorted(VISION.keys() | LANGUAGE_MACS.keys()))
def test_the_macs_that_a_spec_expects_hold(name: str) -> None:
    figures = load(SPECS / f"{name}.yaml").spec.expect.figures
    for one in figures:
        if one.layer is None and one.name == "macs":
            assert one.figure.holds(macs(name))
    if name not in ("resnet18", "resnet50", "vit_b_16"):
        assert any(one.layer is None and one.name == "macs" for one in figures)


# --- keys ------------------------------------------------------------------------------------------------------------


def torchvisions_key(name: str, key: str) -> str:
    """A key as torchvision spells it: some of its names of layers in a row hold numbers that count from 1, or two."""
    if name == "densenet121":
        return re.sub(r"(denseblock\d)\.(\d+)", lambda found: f"{found[1]}.denselayer{int(found[2]) + 1}", key)
    if name == "regnet_y_400mf":
        return re.sub(r"(trunk_output\.(block\d))\.(\d+)", r"\1.\2-\3", key)
    if name == "vit_b_16":
        return key.replace("encoder.layers.", "encoder.layers.encoder_layer_")
    return key


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the lines ``key shape dtype`` in the order of the keys."""
    lines = (f"{key} {tuple(tensor.shape)} {tensor.dtype}\n" for key, tensor in sorted(tensors.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("name", sorted(VISION))
def test_the_state_dict_is_torchvisions(name: str) -> None:
    ours = {torchvisions_key(name, key): tensor for key, tensor in on_meta(name).state_dict().items()}
    assert (str(len(ours)), digest(ours)) == (VISION[name]["tensors"], VISION[name]["state_dict_sha256"])


def test_a_key_or_a_shape_that_differs_changes_the_digest() -> None:
    one = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}
    assert digest(one) == digest(dict(reversed(one.items())))
    assert digest(one) != digest({"a": one["a"].T, "b": one["b"]})
    assert digest(one) != digest({"a": one["a"], "c": one["b"]})


# --- outputs ---------------------------------------------------------------------------------------------------------


def drawn(key: str, tensor: Tensor) -> Tensor:
    """What stands in a tensor of a network in place of trained weights: from its key alone, and neither 0 nor 1."""
    if not tensor.is_floating_point():
        return tensor
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    uniform = torch.rand(tensor.shape, generator=generator)
    if key.endswith("layer_scale"):
        return 0.5 + uniform
    if key.endswith("relative_position_bias_table"):
        return 4 * uniform - 2
    if tensor.dim() > 1:  # a variance of 2 / inputs, which keeps signals alive through activations
        return math.sqrt(6 / tensor[0].numel()) * (2 * uniform - 1)
    # Scales and variances about 1, shifts and means about 0.
    return (0.5 if key.endswith(("weight", "running_var")) else -0.5) + uniform


def logits(model: nn.Module) -> list[float]:
    """Every 125th of a thousand logits of one image drawn from a seed."""
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    return run(model, image)[0, ::125].tolist()


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_with_the_same_weights_the_outputs_are_torchvisions(name: str) -> None:
    net = materialise(network(name))
    net.load_state_dict({key: drawn(torchvisions_key(name, key), value) for key, value in net.state_dict().items()})
    expected = [float(value) for value in OUTPUTS[name]["logits"].split()]
    assert_close(logits(net), expected, rtol=0, atol=1e-4 * max(map(abs, expected)))


def test_bert_equals_transformers_where_padding_is_masked() -> None:
    from transformers import BertConfig, BertModel

    net = ready("bert_base", B="2", T="10", vocab="50", context="12", d="24", heads="3", depth="2")
    theirs = BertModel(
        BertConfig(
            vocab_size=50,
            max_position_embeddings=12,
            hidden_size=24,
            num_attention_heads=3,
            num_hidden_layers=2,
            intermediate_size=96,
        )
    ).eval()
    theirs.load_state_dict(net.state_dict())
    tokens, sentence = words(50, 2, 10), words(2, 2, 10, seed=4)
    mask = torch.ones(2, 10, dtype=torch.bool)
    mask[1, 7:] = False
    with torch.no_grad():
        expected = theirs(input_ids=tokens, token_type_ids=sentence, attention_mask=mask)
    states, pooled = results(net, tokens, sentence, mask[:, None, None])
    assert_close(states, expected.last_hidden_state, atol=1e-5, rtol=1e-5)
    assert_close(pooled, expected.pooler_output, atol=1e-5, rtol=1e-5)


SMALL_DECODER = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "rms_norm_eps": 1e-5,
}
SMALL = {"B": "2", "vocab": "50", "d": "32", "depth": "2", "heads": "4", "kv_heads": "2", "d_ff": "48", "theta": "100"}


def test_llama_3_1_equals_transformers_on_positions_beyond_the_first_context() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    net = ready("llama3_405b", T="40", trained="16", **SMALL)
    rope = {
        "rope_type": "llama3",
        "rope_theta": 100.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    }
    theirs = LlamaForCausalLM(LlamaConfig(**SMALL_DECODER, rope_parameters=rope, max_position_embeddings=128)).eval()
    theirs.load_state_dict(net.state_dict())
    tokens = words(50, 2, 40)
    with torch.no_grad():
        expected = theirs(tokens).logits
    assert_close(run(net, tokens), expected, atol=1e-5, rtol=1e-5)


def test_mixtral_equals_transformers() -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    net = ready("mixtral_8x7b", T="10", **SMALL)
    theirs = MixtralForCausalLM(MixtralConfig(**SMALL_DECODER, rope_theta=100.0, num_local_experts=8)).eval()
    theirs.load_state_dict(_experts_together(net.state_dict()))
    tokens = words(50, 2, 10)
    with torch.no_grad():
        expected = theirs(tokens).logits
    assert_close(run(net, tokens), expected, atol=1e-5, rtol=1e-5)


def _experts_together(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published keys as transformers holds them once loaded: the experts of a layer in one tensor, w1 above w3."""
    found = {key.replace("block_sparse_moe", "mlp"): value for key, value in weights.items() if ".experts." not in key}
    for i in range(2):
        expert = f"model.layers.{i}.block_sparse_moe.experts.{{}}.{{}}.weight".format
        rows = [torch.cat([weights[expert(e, "w1")], weights[expert(e, "w3")]]) for e in range(8)]
        found[f"model.layers.{i}.mlp.experts.gate_up_proj"] = torch.stack(rows)
        found[f"model.layers.{i}.mlp.experts.down_proj"] = torch.stack([weights[expert(e, "w2")] for e in range(8)])
    return found
