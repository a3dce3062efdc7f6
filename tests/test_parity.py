"""Large networks of ``specs/`` at reduced sizes give the outputs of transformers' models with the same weights.

Each model of transformers is built from a config, nothing is downloaded. Its weights are drawn anew, norms and running
statistics too, so that logits are of the order of 1 and every tensor shows; they are then copied by key after a stated
renaming, with ``strict`` loading: no tensor of either side is left over. The last tests show that the comparison sees a
difference where there is one.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from paths import SPECS
from torch import Tensor, nn
from torch.testing import assert_close

from fwdscope.language import load
from fwdscope.model import Network, build
from fwdscope.model.initialise import materialise

VOCAB, T = 97, 16


def network(name: str, **variables: object) -> Network:
    return build(load(SPECS / f"{name}.yaml", variables={key: str(value) for key, value in variables.items()}))


@torch.no_grad()
def drawn(model: nn.Module) -> nn.Module:
    """The model with every tensor drawn anew: matrices so that they keep the size of what they are given."""
    generator = torch.Generator().manual_seed(5)
    tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            parameter += 0.1 * noise
        else:
            fan_in = parameter.shape[1] if parameter in tables else parameter.numel() // parameter.shape[0]
            parameter.copy_(noise / fan_in**0.5)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer += 0.1 * torch.randn(buffer.shape, generator=generator)
        elif name.endswith("running_var"):
            buffer += torch.rand(buffer.shape, generator=generator)
    return model.eval()


def carrying(spec: Network, weights: dict[str, Tensor]) -> Network:
    """The network of a spec on a CPU with these weights; a key too many or too few is an error."""
    materialise(spec, "cpu")
    spec.load_state_dict(weights, strict=True)
    return spec


@torch.no_grad()
def outputs(ours: nn.Module, theirs: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    result, expected = ours(x), theirs(x).logits
    assert expected.std() > 0.1, "logits too small for the tolerance to tell anything"
    return result, expected


def words() -> Tensor:
    return torch.randint(0, VOCAB, (2, T), generator=torch.Generator().manual_seed(6))


def image(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(7))


# --- ResNet -----------------------------------------------------------------------------------------------------------


def resnet(**config: Any) -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    return drawn(ResNetForImageClassification(ResNetConfig(num_labels=11, **config)))


def resnet_names(key: str) -> str:
    """transformers' names → torchvision's, which the specs have.

    ==========================================================  =============================
    resnet.embedder.embedder.{convolution,normalization}        {conv,bn}1
    resnet.encoder.stages.S.layers.I.layer.J.{convolution,…}    layer{S+1}.I.{conv,bn}{J+1}
    resnet.encoder.stages.S.layers.I.shortcut.{convolution,…}   layer{S+1}.I.downsample.{0,1}
    classifier.1                                                fc
    ==========================================================  =============================
    """
    short = {"convolution": "conv", "normalization": "bn"}
    key = re.sub(r"^resnet\.embedder\.embedder\.(\w+)", lambda m: f"{short[m[1]]}1", key)
    key = re.sub(r"^resnet\.encoder\.stages\.(\d+)\.layers", lambda m: f"layer{int(m[1]) + 1}", key)
    key = re.sub(r"\.layer\.(\d+)\.(\w+)", lambda m: f".{short[m[2]]}{int(m[1]) + 1}", key)
    key = re.sub(r"\.shortcut\.(\w+)", lambda m: f".downsample.{['convolution', 'normalization'].index(m[1])}", key)
    return key.replace("classifier.1", "fc")


RESNET50 = {"embedding_size": 16, "hidden_sizes": [64, 128, 256, 512], "depths": [3, 4, 6, 3]}


def test_resnet50_equals_transformers() -> None:
    """ResNetForImageClassification, bottlenecks, a quarter of the channels, images of 64 × 64."""
    theirs = resnet(**RESNET50)
    ours = network("resnet50", base=16, size=64, classes=11)
    assert ours.broken_promises == ()
    weights = {resnet_names(key): value for key, value in theirs.state_dict().items()}
    result, expected = outputs(carrying(ours, weights), theirs, image(64))
    assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_resnet18_equals_transformers() -> None:
    """ResNetForImageClassification, basic blocks, its own width, pictures as large as the paper's."""
    sizes = {"embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}
    theirs = resnet(layer_type="basic", **sizes)
    weights = {resnet_names(key): value for key, value in theirs.state_dict().items()}
    result, expected = outputs(carrying(network("resnet18", classes=11), weights), theirs, image(224))
    assert_close(result, expected, atol=1e-5, rtol=1e-5)


# --- GPT-2 ------------------------------------------------------------------------------------------------------------

GPT2 = {"vocab": VOCAB, "T": T, "context": 32, "d": 64, "heads": 4, "depth": 3}


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": VOCAB, "n_positions": 32, "n_embd": 64, "n_head": 4, "n_layer": 3}
    return drawn(GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)))


def gpt2_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefix ``transformer.`` and the head, which is the token table again; Conv1D's weights transposed."""
    linear = re.compile(r"\.(c_attn|c_fc|c_proj)\.weight$")
    return {
        key.removeprefix("transformer."): value.T if linear.search(key) else value
        for key, value in state.items()
        if key != "lm_head.weight"
    }


def test_gpt2_equals_transformers() -> None:
    """GPT2LMHeadModel: three layers of width 64 with four heads, 16 of 32 positions."""
    theirs = gpt2()
    ours = network("gpt2", **GPT2)
    assert ours.broken_promises == ()
    result, expected = outputs(carrying(ours, gpt2_weights(theirs.state_dict())), theirs, words())
    assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_gpt2_has_the_keys_and_shapes_of_the_full_model() -> None:
    """GPT2LMHeadModel as its default config makes it, the one of 124 million parameters, on meta."""
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.device("meta"):
        theirs = gpt2_weights(GPT2LMHeadModel(GPT2Config()).state_dict())
    ours = network("gpt2").state_dict()
    assert {key: tensor.shape for key, tensor in ours.items()} == {key: t.shape for key, t in theirs.items()}


# --- Llama ------------------------------------------------------------------------------------------------------------

LLAMA = {"vocab": VOCAB, "T": T, "d": 64, "heads": 8, "kv_heads": 2, "depth": 3, "d_ff": 96}


def llama_config(**sizes: int) -> Any:
    from transformers import LlamaConfig

    rope = {"rope_type": "default", "rope_theta": 500_000.0}
    return LlamaConfig(**sizes, rms_norm_eps=1e-5, rope_parameters=rope, bos_token_id=0, eos_token_id=0)


def llama() -> nn.Module:
    from transformers import LlamaForCausalLM

    width = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 8, "num_key_value_heads": 2}
    return drawn(LlamaForCausalLM(llama_config(vocab_size=VOCAB, num_hidden_layers=3, **width)))


def test_llama3_equals_transformers() -> None:
    """LlamaForCausalLM: three layers of width 64, four queries to a key, angles from a base of 500,000. No renaming."""
    theirs = llama()
    ours = network("llama3_8b", **LLAMA)
    assert ours.broken_promises == ()
    result, expected = outputs(carrying(ours, theirs.state_dict()), theirs, words())
    assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_llama3_has_the_keys_and_shapes_of_the_full_model() -> None:
    """LlamaForCausalLM with the sizes of Llama 3 8B, on meta."""
    from transformers import LlamaForCausalLM

    width = {"hidden_size": 4096, "intermediate_size": 14_336, "num_attention_heads": 32, "num_key_value_heads": 8}
    with torch.device("meta"):
        theirs = LlamaForCausalLM(llama_config(vocab_size=128_256, num_hidden_layers=32, **width)).state_dict()
    ours = network("llama3_8b").state_dict()
    assert {key: tensor.shape for key, tensor in ours.items()} == {key: t.shape for key, t in theirs.items()}


# --- Vision Transformer -----------------------------------------------------------------------------------------------

VIT_NAMES = {
    "vit.embeddings.cls_token": "class_token",
    "vit.embeddings.position_embeddings": "encoder.pos_embedding",
    "vit.embeddings.patch_embeddings.projection": "conv_proj",
    "vit.layers.": "encoder.layers.",
    "layernorm_before": "ln_1",
    "layernorm_after": "ln_2",
    "attention.o_proj": "self_attention.out_proj",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.3",
    "vit.layernorm": "encoder.ln",
    "classifier": "heads.head",
}


def vit_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``VIT_NAMES``; the projections of queries, keys and values one above the other are ``in_proj``."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        for theirs, ours in VIT_NAMES.items():
            key = key.replace(theirs, ours)
        if projection := re.fullmatch(r"(.*)\.attention\.q_proj\.(weight|bias)", key):
            layer, tensor = projection.groups()
            prefix = layer.replace("encoder.layers.", "vit.layers.")
            joined = torch.cat([state[f"{prefix}.attention.{p}_proj.{tensor}"] for p in "qkv"])
            found[f"{layer}.self_attention.in_proj_{tensor}"] = joined
        elif not re.search(r"\.[kv]_proj\.", key):
            found[key] = value
    return found


def test_vit_equals_transformers() -> None:
    """ViTForImageClassification: two layers of width 32 on 16 patches of 8 × 8, norms with torchvision's ε."""
    from transformers import ViTConfig, ViTForImageClassification

    width = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    config = ViTConfig(**width, image_size=32, patch_size=8, num_labels=11, layer_norm_eps=1e-6)
    theirs = drawn(ViTForImageClassification(config))
    ours = network("vit_b_16", image_size=32, patch=8, d=32, n_heads=4, depth=2, classes=11)
    assert ours.broken_promises == ()
    result, expected = outputs(carrying(ours, vit_weights(theirs.state_dict())), theirs, image(32))
    assert_close(result, expected, atol=1e-5, rtol=1e-5)


# --- what the comparisons see -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"theta": 10_000}, {"kv_heads": 2, "heads": 4, "head_dim": 16}], ids=str)
def test_another_llama_with_weights_of_the_same_names_is_told_apart(change: dict[str, int]) -> None:
    """Another base of the angles; half as many heads of twice the width, where only the keys and values grow."""
    theirs = llama()
    weights = theirs.state_dict()
    if "head_dim" in change:
        weights = {k: torch.cat([v, v]) if re.search(r"[kv]_proj", k) else v for k, v in weights.items()}
    ours = carrying(network("llama3_8b", **{**LLAMA, **change}), weights)
    result, expected = outputs(ours, theirs, words())
    assert (result - expected).abs().max() > 1e-2


def test_another_number_of_heads_is_told_apart_in_gpt2() -> None:
    theirs = gpt2()
    ours = carrying(network("gpt2", **{**GPT2, "heads": 8}), gpt2_weights(theirs.state_dict()))
    result, expected = outputs(ours, theirs, words())
    assert (result - expected).abs().max() > 1e-2


def test_lost_statistics_of_the_batch_norms_are_told_apart_in_resnet50() -> None:
    theirs = resnet(**RESNET50)
    ours = network("resnet50", base=16, size=64, classes=11)
    weights = {resnet_names(key): value for key, value in theirs.state_dict().items()}
    for lost, initial in (("running_mean", torch.zeros_like), ("running_var", torch.ones_like)):
        forgotten = {key: initial(value) if key.endswith(lost) else value for key, value in weights.items()}
        result, expected = outputs(carrying(ours, forgotten), theirs, image(64))
        assert (result - expected).abs().max() > 1e-2, lost
