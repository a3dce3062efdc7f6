"""Models of transformers run behind their own caches: the bytes of these, and the numbers of a spec by the rule."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import fwdscope
from fwdscope.report.generation import bytes_kept, kept_tensors
from fwdscope.trace.duplicate import tensors_inside

transformers = pytest.importorskip("transformers")

PAST = 40
SMALL = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 100}
LLAMA = {**SMALL, "num_key_value_heads": 2, "intermediate_size": 128, "head_dim": 16}
LATENT = {
    **SMALL, "num_key_value_heads": 4, "intermediate_size": 128, "kv_lora_rank": 24, "q_lora_rank": None,
    "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "first_k_dense_replace": 2,
}  # fmt: skip
# The values that a position keeps, and those that are kept whatever the positions.
CASES: dict[str, tuple[dict[str, Any], int, int]] = {
    # Keys and values of 2 heads of 16 in each of 2 layers.
    "llama": (LLAMA, 2 * 2 * 2 * 16, 0),
    "qwen2": ({key: value for key, value in LLAMA.items() if key != "head_dim"}, 2 * 2 * 2 * 16, 0),
    # A window of 17 positions keeps 16 of them, and the last one is new.
    "mistral": ({**LLAMA, "sliding_window": 17}, 0, 2 * 2 * 2 * 16 * 16),
    # Every second layer has a window.
    "gemma2": ({**LLAMA, "sliding_window": 17, "attn_logit_softcapping": 50.0}, 2 * 2 * 16, 2 * 2 * 16 * 16),
    # All 4 heads of 16 have keys of their own.
    "gpt2": ({"n_embd": 64, "n_head": 4, "n_layer": 2, "vocab_size": 100}, 2 * 2 * 4 * 16, 0),
    # The latent of 24, and a rotated key of 8 for all heads.
    "deepseek_v2": ({**LATENT, "num_experts_per_tok": 2}, 2 * (24 + 8), 0),
    "deepseek_v3": (LATENT, 2 * (24 + 8), 0),
    # 4 heads of 16 in each of 2 layers of the decoder, and those of the encoder's 32 positions.
    "t5": ({"d_model": 64, "num_heads": 4, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_decoder_layers": 2,
            "vocab_size": 100}, 2 * 2 * 64, 2 * 2 * 64 * 32),
    # As t5, but with 32 positions of the encoder's 64 values in 4 heads.
    "bart": ({"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "decoder_attention_heads": 4, "vocab_size": 100,
              "encoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128},
             2 * 2 * 64, 2 * 2 * 64 * 32),
    # Five numbers for each of 64 channels in each of 2 layers: what two shifts saw last, and three of the recurrence.
    "rwkv": ({"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 100}, 0, 5 * 2 * 64),
    # 4 inputs of the convolution and 8 numbers of the state for each of 2 · 64 channels in each of 2 layers.
    "mamba": ({"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8, "vocab_size": 100}, 0, 2 * 128 * (4 + 8)),
}  # fmt: skip


@functools.cache
def inspect(name: str, past: int = PAST, **more: Any) -> fwdscope.report.Report:
    return fwdscope.inspect(f"transformers:{name}", arguments={**CASES[name][0], **more}, past=past)


@pytest.mark.parametrize("name", CASES)
def test_a_model_keeps_what_its_own_cache_keeps(name: str) -> None:
    _, each, fixed = CASES[name]
    report, longer = inspect(name), inspect(name, 2 * PAST)
    assert report.totals.kv_cache == 4 * (each * PAST + fixed)
    assert longer.totals.kv_cache == 4 * (each * 2 * PAST + fixed)
    assert bytes_kept(report, "past") == 4 * each * PAST
    # Nothing of it is left out of the rows.
    assert sum(one.nbytes * times for one, times in kept_tensors(report)) == report.totals.kv_cache


@pytest.mark.parametrize("name", ["llama", "qwen2", "mistral", "gemma2", "gpt2", "deepseek_v3", "t5", "bart"])
def test_a_step_behind_its_own_cache_costs_what_torch_counts(name: str) -> None:
    # The model on the CPU: it fills its cache with PAST positions, and takes one more.
    settings, _, _ = CASES[name]
    config = transformers.AutoConfig.for_model(name, **settings)
    model = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
    ids = torch.zeros(1, PAST, dtype=torch.int64)
    encoder = {"input_ids": torch.zeros(1, 32, dtype=torch.int64)} if name in ("t5", "bart") else {}
    new = "decoder_input_ids" if encoder else "input_ids"
    with torch.no_grad():
        first = model(**encoder, **{new: ids}, use_cache=True)
        # The bytes of its cache are those that are counted, but for the lengths that windows hold.
        held = sum(one.numel() * one.element_size() for one in tensors_inside(first.past_key_values) if one.dim())
        assert held == inspect(name).totals.kv_cache
        given = {"encoder_outputs": (first.encoder_last_hidden_state,)} if encoder else {}
        with FlopCounterMode(display=False) as counter:
            model(**given, **{new: ids[:, :1]}, cache=first.past_key_values)
    assert 2 * inspect(name).totals.macs == counter.get_total_flops()


def test_a_llama_behind_its_own_cache_costs_what_the_rule_counts_of_the_same_spec() -> None:
    # The spec's head and embedding are larger: the model of transformers is without its head.
    sizes = {"d": 64, "heads": 4, "kv_heads": 2, "depth": 2, "d_ff": 128, "vocab": 100, "T": 1}
    spec = fwdscope.inspect("llama3_8b", variables=sizes, past=PAST)
    model = inspect("llama")
    head = next(row for row in spec.layers if row.path == "lm_head")
    assert model.totals.macs == spec.totals.macs - head.macs
    assert model.totals.kv_cache == spec.totals.kv_cache
    # DynamicCache copies keys and values into longer ones: it reads and writes them once more, all of two layers.
    copied = spec.totals.kv_cache + 2 * 2 * 2 * 16 * 4
    attention = [row for row in model.layers if "scaled_dot_product_attention" in row.text]
    own = [row for row in spec.layers if "scaled_dot_product_attention" in row.text]
    read = sum(row.bytes_read * row.repeat for row in attention)
    assert read > 2 * sum(row.bytes_read for row in own)
    assert copied == 4 * (PAST + 1) * 2 * 2 * 2 * 16


def test_the_cache_is_there_once_and_what_is_copied_twice_for_a_moment() -> None:
    # While keys are copied, or values, old and new are there: a quarter of what 2 layers keep, and one position.
    report = inspect("llama", 4000)
    copied = report.totals.kv_cache / 4 * 4001 / 4000
    assert copied <= report.totals.peak_activations <= 1.1 * copied
    assert report.totals.peak_memory < report.totals.param_bytes + 1.3 * report.totals.kv_cache


def test_mamba_keeps_a_state_in_float32_whatever_the_model() -> None:
    states = kept_tensors(inspect("mamba", dtype="bfloat16"))
    assert {(one.name, one.dtype) for one, _ in states} == {
        ("conv_states", "bfloat16"),
        ("recurrent_states", "float32"),
    }


def test_a_cache_of_its_own_is_counted_as_stored() -> None:
    whole, stored = (
        inspect("mistral"),
        fwdscope.inspect("transformers:mistral", arguments=CASES["mistral"][0], past=PAST, kv_dtype="int8"),
    )
    # Keys and values of 16 positions, 2 heads of 16, 2 layers: a byte each, and a scale of 4 for each row of 16.
    values = 2 * 2 * 2 * 16 * 16
    assert stored.totals.kv_cache == values + values // 16 * 4
    assert whole.totals.bytes_read - stored.totals.bytes_read == 4 * values - stored.totals.kv_cache


def test_a_model_without_a_cache_is_refused() -> None:
    with pytest.raises(fwdscope.InputError, match="--past: BertModel gives no cache of earlier positions"):
        fwdscope.inspect("transformers:bert", arguments={"num_hidden_layers": 1}, past=PAST)
