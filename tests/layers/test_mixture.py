"""A mixture of experts as DeepSeek has it, compared with transformers' modules of the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fwdscope.inspection import inspect_spec
from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.problems import SpecError
from fwdscope.language.source import Source
from fwdscope.layers.mixture import choose
from fwdscope.model import build
from fwdscope.model.initialise import materialise

SPEC = """
vars: {{B: 2, T: 16, d: 24, width: 8}}
inputs: {{x: "randn(B, T, d)"}}
defaults: [Linear(bias=False)]
blocks:
  Expert(width):
    - gate_proj = Linear(width)
    - up_proj = Linear(width)(x)
    - silu(gate_proj) * up_proj
    - down_proj = Linear(d)
layers:
  - mlp = MixtureOfExperts(Expert(width), 16, top_k=4, shared=Expert(2 * width), {settings})
"""
V3 = "router='sigmoid', correction_bias=True, "
COMMON = {
    "hidden_size": 24,
    "moe_intermediate_size": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 4,
    "num_attention_heads": 4,
}
# The settings of the layer, and DeepSeek's in their config: V3 has a sigmoid and the bias, V2 neither.
CASES = [
    (V3 + "groups=4, topk_group=2, scale=2.5", 3, {"n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5}),
    (V3 + "scale=1.5", 3, {"n_group": 1, "topk_group": 1, "routed_scaling_factor": 1.5}),
    (V3 + "normalize=False", 3, {"norm_topk_prob": False, "routed_scaling_factor": 1.0, "n_group": 1, "topk_group": 1}),
    (V3 + "groups=8, topk_group=3, scale=2.5", 3, {"n_group": 8, "topk_group": 3, "routed_scaling_factor": 2.5}),
    ("normalize=False", 2, {"topk_method": "greedy", "routed_scaling_factor": 1.0}),
    (
        "normalize=False, groups=4, topk_group=1, scale=16",
        2,
        {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 1, "routed_scaling_factor": 16.0},
    ),
]


def published(version: int, settings: dict[str, Any]) -> torch.nn.Module:
    """transformers' mixture with random weights, and a random correction bias where it has one."""
    pytest.importorskip("transformers")
    if version == 3:
        from transformers.models.deepseek_v3 import modeling_deepseek_v3 as v3

        config: Any = v3.DeepseekV3Config(n_routed_experts=16, **COMMON, **settings)
        module: Any = v3.DeepseekV3MoE
    else:
        from transformers.models.deepseek_v2 import modeling_deepseek_v2 as v2

        config, module = v2.DeepseekV2Config(n_routed_experts=16, **COMMON, **settings), v2.DeepseekV2Moe
    config._experts_implementation = "eager"
    made: torch.nn.Module = module(config).eval()
    with torch.no_grad():
        for name, tensor in made.state_dict().items():
            tensor.normal_(std=1.0 if name == "gate.weight" else 0.3)
    return made


def renamed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights under the names of the published checkpoint, which has the experts apart."""
    found = {f"mlp.{name}": w for name, w in weights.items() if not name.startswith("experts.")}
    for number in range(16):
        gate, up = weights["experts.gate_up_proj"][number].chunk(2)
        parts = {"gate_proj": gate, "up_proj": up, "down_proj": weights["experts.down_proj"][number]}
        found |= {f"mlp.experts.{number}.{name}.weight": w for name, w in parts.items()}
    return found


@pytest.mark.parametrize(("settings", "version", "config"), CASES, ids=[settings for settings, *_ in CASES])
def test_a_mixture_is_deepseeks(settings: str, version: int, config: dict[str, Any]) -> None:
    torch.manual_seed(0)
    theirs = published(version, config)
    checked = check(parse(Source("moe.yaml", SPEC.format(settings=settings))))
    ours = materialise(build(checked))
    ours.load_state_dict(renamed(theirs.state_dict()))
    x = torch.randn(2, 16, 24)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        expected = theirs(x)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), expected)
    totals = inspect_spec(checked).totals
    # 32 rows · (24 · 16 of the router + 4 experts · 3 · 24 · 8 + 3 · 24 · 16 shared); 32 · 4 / 16 = 8 rows an expert.
    assert totals.macs == counter.get_total_flops() // 2 == 32 * (24 * 16 + 4 * 3 * 24 * 8 + 3 * 24 * 16)
    # 24 · 16 + 16 · 3 · 24 · 8 + 3 · 24 · 16
    assert totals.params == sum(p.numel() for p in theirs.parameters()) == 384 + 9216 + 1152
    # Of the experts 4 of 16; the router and the shared one always.
    assert totals.active_params == 384 + 9216 // 4 + 1152


def test_the_correction_bias_starts_at_zero_and_chooses_without_weighing() -> None:
    ours = materialise(build(check(parse(Source("moe.yaml", SPEC.format(settings=V3 + "scale=2.0"))))))
    mixture: Any = ours.get_submodule("mlp")
    bias, rows = mixture.gate.e_score_correction_bias, torch.randn(5, 24)
    assert bias.tolist() == [0.0] * 16
    bias[3] = 10.0
    with torch.no_grad():
        weights, chosen = choose(mixture.gate(rows), bias, mixture.settings)
        scores = mixture.gate(rows).sigmoid()
    assert (chosen == 3).any(dim=-1).all()
    of_chosen = scores.gather(-1, chosen)
    torch.testing.assert_close(weights, 2.0 * of_chosen / of_chosen.sum(-1, keepdim=True))


@pytest.mark.parametrize("width", [1, 12, 24])
def test_a_shared_network_of_another_width_is_refused(width: int) -> None:
    text = f"inputs: {{x: 'randn(2, 3, 6)'}}\nlayers:\n  - MixtureOfExperts(Linear(8), 4, shared=Linear({width}))\n"
    with pytest.raises(SpecError) as refused:
        build(check(parse(Source("moe.yaml", text))))
    (problem,) = refused.value.problems
    # 2 · 3 rows.
    assert problem.message == f"MixtureOfExperts: the shared network gives (6, {width}), and the experts (6, 8)"


def test_one_row_runs_through_its_experts_alone() -> None:
    # Of a single row, 4 of 16 experts of 3 · 24 · 8 weights, the shared one of 3 · 24 · 16, and the router's 24 · 16.
    report = inspect_spec(check(parse(Source("mixture.yaml", SPEC.format(settings="")), {"B": "1", "T": "1"})))
    assert report.totals.macs == 4 * 3 * 24 * 8 + 3 * 24 * 16 + 24 * 16
    # The weights of the others are not read, and still are the network's.
    experts = [row for row in report.layers if row.type == "Expert" and row.path.startswith("mlp.experts")]
    assert [(row.repeat, bool(row.bytes_read)) for row in experts] == [(4, True), (12, False)]
    assert report.totals.params == 16 * 3 * 24 * 8 + 3 * 24 * 16 + 24 * 16
    assert not report.unused
