"""Utilisation by a training step that was measured, against published figures."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import fwdscope
from fwdscope.cli import app
from fwdscope.device.table import accelerator
from fwdscope.inspection import inspect_target
from fwdscope.report import MeasuredStep, Report, TrainingStep
from fwdscope.report.throughput import items, measured_step
from fwdscope.settings import RunSettings, TrainingSettings
from fwdscope.targets import Target

# PaLM 540B (Chowdhery et al. 2022, "PaLM: Scaling language modeling with Pathways", table 1 and section 2): attention
# and MLP side by side, one head of keys and values, SwiGLU, tied tokens, no biases. It trained with 2,048 sequences.
PALM = """
name: palm
vars: {B: 2048, T: 2048, d: 18432, heads: 48, width: 256, depth: 118, vocab: 256000}
inputs: {tokens: "randint(0, vocab, (B, T))"}
blocks:
  Block:
    - norm = LayerNorm(bias=False)
    - q = Linear(heads * width, bias=False)(norm).unflatten(-1, (heads, width)).transpose(1, 2)
    - k = Linear(width, bias=False)(norm).unsqueeze(1)
    - v = Linear(width, bias=False)(norm).unsqueeze(1)
    - scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2).flatten(2)
    - attention = Linear(d, bias=False)
    - gate = Linear(4 * d, bias=False)(norm)
    - up = Linear(4 * d, bias=False)(norm)
    - silu(gate) * up
    - mlp = Linear(d, bias=False)
    - x + attention + mlp
layers:
  - table = Embedding(vocab, d)(tokens)
  - h = depth * Block
  - norm = LayerNorm(bias=False)
  - logits = linear(norm, table.weight)
"""


def trained(text: str, variables: dict[str, Any] | None = None, **settings: Any) -> tuple[Report, TrainingStep]:
    given = {name: str(value) for name, value in (variables or {}).items()}
    target = Target(text, given, dtype="bfloat16", content=PALM.encode() if text == "-" else None)
    report = inspect_target(target, RunSettings("meta", training=TrainingSettings.of(settings)))[0]
    assert report.training is not None
    return report, report.training


def used(report: Report, tokens_a_second: float, device: str, number: int) -> MeasuredStep:
    found = items(report)
    assert found is not None
    assert report.training is not None
    seconds = found[0] / tokens_a_second
    return measured_step(report, report.training, seconds, accelerator(device).peaks("bfloat16"), number)


def test_palm_540b_has_the_utilisation_of_its_paper() -> None:
    report, step = trained("-")
    # 540.35 B parameters and the norms', which the paper rounds away: 119 · 18,432.
    assert report.totals.params == 540_354_281_472 + 119 * 18_432
    # 12·L·H·Q·T FLOPs a token, which are six for each MAC of attention.
    assert 6 * step.attention_macs == 12 * 118 * 48 * 256 * 2048 * (2048 * 2048)
    # Appendix B: 238.3 K tokens a second on 6,144 TPU v4 of 275 TFLOP/s, 46.2 %.
    found = used(report, 238_300, "TPU v4", 6144)
    assert found.mfu == pytest.approx(0.462, abs=0.0005)
    # Of T² scores causal attention needs T·(T + 1) / 2.
    assert found.model_flops - found.model_flops_needed == 6 * step.attention_macs * 2047 // (2 * 2048)


# MPT 70B, 30B and 7B of llm-foundry's table (scripts/train/benchmarking/README.md at commit 061f2c7c, H100 in BF16):
# GPT-2's network with these sizes. Parameters, tokens a second, GPUs, and MFU in percent.
MPT = [
    ({"d": 8192, "heads": 64, "depth": 80}, 64_862_437_376, 66_523, 64, 42.57),
    ({"d": 7168, "heads": 56, "depth": 48}, 29_975_214_080, 73_860, 32, 43.92),
    ({"d": 4096, "heads": 32, "depth": 32}, 6_658_859_008, 85_144, 8, 46.44),
]


@pytest.mark.parametrize(("sizes", "params", "rate", "number", "mfu"), MPT)
def test_mpt_has_the_utilisation_of_llm_foundrys_table(
    sizes: dict[str, int], params: int, rate: float, number: int, mfu: float
) -> None:
    report, _ = trained("gpt2", {**sizes, "vocab": 50368, "context": 2048, "T": 2048, "B": 64})
    assert report.totals.params == params
    found = used(report, rate, "H100", number)
    assert found.mfu == pytest.approx(mfu / 100, abs=0.0005)
    # Their HFU without checkpointing is the MFU. As counted here a fused backward has a fifth product of attention, and
    # there are norms, activations and the optimizer; the table of positions has no product.
    assert found.hfu == pytest.approx(mfu / 100, rel=0.03)


def test_a_checkpointed_step_has_the_products_of_megatrons_formula() -> None:
    b, s, h, depth, vocab = 2, 32, 64, 3, 96
    sizes = {"B": b, "T": s, "d": h, "heads": 4, "depth": depth, "vocab": vocab, "context": s}
    _, step = trained("gpt2", sizes, checkpoint="h.*")
    # Narayanan et al. 2021, "Efficient large-scale language model training on GPU clusters using Megatron-LM", section
    # 5.1: 96·B·s·l·h²·(1 + s/6h + V/16lh) FLOPs, of which half are MACs. torch stops to recompute a block behind the
    # last tensor that is saved, so before its last product, 4·h² a token; a fused backward multiplies the scores again.
    megatron = 48 * b * s * depth * h**2 + 8 * b * s**2 * depth * h + 3 * b * s * vocab * h
    assert step.macs == megatron - 4 * b * s * depth * h**2 + b * s**2 * depth * h
    # Masked of the forward's two products of scores, (s - 1) / 2s; and as much of each of the nine of the step.
    assert step.masked_macs == 2 * b * s**2 * h * depth * (s - 1) // (2 * s)
    assert step.masked_macs + step.masked_backward_macs == 9 * step.masked_macs // 2


class WrittenOut(nn.Module):
    """Attention out of products and a softmax, with experts whose weights a batched product takes."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.Parameter(torch.rand(3, 8, 8))
        self.head = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(x)
        scores = (x @ x.transpose(1, 2)).softmax(-1)
        return torch.bmm(scores @ x, self.experts)


@pytest.mark.parametrize("autocast", [None, "bf16"])
def test_products_of_two_activations_are_attention_and_those_with_weights_are_not(autocast: str | None) -> None:
    step = fwdscope.inspect(WrittenOut(), torch.rand(3, 5, 8), training={"autocast": autocast}).training
    assert step is not None
    # 3 · 5 · 5 · 8, twice.
    assert (step.attention_macs, step.masked_macs) == (2 * 600, 0)


def test_without_tokens_model_flops_are_three_times_the_forwards_products() -> None:
    report = fwdscope.inspect(nn.Linear(6, 4), torch.rand(5, 6), training=True)
    found = used(report, 5.0, "H100", 1)
    # 5 · 6 · 4 MACs.
    assert found.model_flops == 6 * 120
    assert report.training is not None
    assert found.hardware_flops == report.training.flops


def test_the_command_says_both_utilisations() -> None:
    sizes = ("--set", "depth=2", "--set", "d=64", "--set", "heads=2", "--set", "T=16")
    given = ("inspect", "gpt2", *sizes, "--training", "--dtype", "bf16", "--measured-step", "410ms", "--on", "H100x8")
    text = CliRunner().invoke(app, [*given, "--depth", "1"]).stdout
    assert "410 ms a step on 8 × H100 SXM 80GB: 39.0 tokens/s (bfloat16, 989 TFLOP/s, 3.35 TB/s each)" in text
    assert "model FLOPs a token: 6 for each parameter and for each MAC of attention (PaLM, appendix B)" in text
    assert "without the scores that causal attention masks: MFU" in text
    assert "at least" not in text  # which would be of one device
    saved = json.loads(CliRunner().invoke(app, [*given, "--format", "json"]).stdout)
    found, flops = saved["measured_step"], saved["measured_step"]["model_flops"]
    assert (found["seconds"], found["devices"], saved["estimates"]) == (0.41, 8, [])
    assert found["mfu"] == pytest.approx(flops / (0.41 * 8 * found["peaks"]["flops"]))
    assert Report.from_json(saved).to_json() == saved


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--training", "--on", "H100x8"],
            "--on H100x8: several devices are for a mesh (add --mesh tp=8) or a --measured-step",
        ),
        (["--measured-step", "1s", "--on", "H100"], "--measured-step is of a training step: add --training"),
        (["--training", "--measured-step", "1s"], "needs the device that the step ran on"),
        (["--training", "--measured-step", "1s", "--on", "H100,T4"], "needs the device that the step ran on"),
        (["--training", "--measured-step", "1s", "--on", "H1000x4"], "no published figures for H1000: did you mean"),
        (["--training", "--measured-step", "41", "--on", "H100"], "expected a time, as 0.41s or 410ms"),
        (["--training", "--measured-step", "0s", "--on", "H100"], "expected a time"),
        (["--training", "--measured-step", "1s", "--on", "H100", "--vary", "B=1,2"], "leave --measured-step out"),
    ],
)
def test_wrong_measurements_are_refused(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["inspect", "mlp_xor", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr
