"""What one rank of a mesh holds, computes and sends, against closed forms."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner, Result

from fwdscope.cli import app
from fwdscope.commands.check.one import CheckSettings, check_source
from fwdscope.commands.diff import compare
from fwdscope.errors import InputError
from fwdscope.inspection import inspect_module, inspect_subject
from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.plan import Mesh
from fwdscope.language.plan_parser import read_plan
from fwdscope.language.problems import Source, SpecError
from fwdscope.mesh.experts import spread_experts
from fwdscope.mesh.propose import propose
from fwdscope.mesh.sharding import ShardError
from fwdscope.mesh.world import fake_world
from fwdscope.model import build
from fwdscope.render import Options, render
from fwdscope.render.sweep_costs import render as render_sweep
from fwdscope.report import Report
from fwdscope.report.mesh import Collective, MeshReport
from fwdscope.report.sweep import Sweep, SweepPoint
from fwdscope.report.sweep import parse as parse_axis
from fwdscope.run.subject import SpecSubject
from fwdscope.settings import RunSettings, TrainingSettings

# Two blocks of Llama 3 8B, and a plan of its own.
D, HEADS, KV_HEADS, FF, T, DEPTH = 4096, 32, 8, 14336, 2048, 2
LLAMA = f"""
name: llama
vars: {{B: 1, T: {T}, d: {D}, heads: {HEADS}, kv_heads: {KV_HEADS}, head_dim: d // heads, d_ff: {FF}}}
inputs: {{x: 'randn(B, T, d)'}}
defaults:
  - Linear(bias=False)
blocks:
  Attention:
    - q = Linear(heads * head_dim)(x)
    - k = Linear(kv_heads * head_dim)(x)
    - v = Linear(kv_heads * head_dim)(x)
    - query = q.unflatten(-1, (heads, head_dim)).transpose(1, 2)
    - key = k.unflatten(-1, (kv_heads, head_dim)).transpose(1, 2)
    - value = v.unflatten(-1, (kv_heads, head_dim)).transpose(1, 2)
    - scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    - prev.transpose(1, 2).flatten(2)
    - o = Linear(d)
  MLP:
    - gate = Linear(d_ff)(x)
    - up = Linear(d_ff)(x)
    - silu(gate) * up
    - down = Linear(d)
  Layer:
    - norm1 = RMSNorm
    - attn = Attention
    - mid = x + attn
    - norm2 = RMSNorm
    - mlp = MLP
    - mid + mlp
layers:
  - layers = {DEPTH} * Layer
shard:
  layers.*.attn.q: colwise
  layers.*.attn.k: colwise
  layers.*.attn.v: colwise
  layers.*.attn.o: rowwise
  layers.*.mlp.gate: colwise
  layers.*.mlp.up: colwise
  layers.*.mlp.down: rowwise
  fsdp: [layers.*]
"""
SEQUENCE = LLAMA.replace("  fsdp:", "  layers.*.norm*: sequence\n  fsdp:")
STEP = TrainingSettings()


@cache
def report(spec: str, mesh: str, step: TrainingSettings | None = None, dtype: str = "bfloat16") -> Report:
    def subject() -> SpecSubject:
        return SpecSubject(check(parse(Source("test.yaml", spec))), dtype=dtype, training=step or False)

    return inspect_subject(subject, RunSettings(training=step), Mesh.parse(mesh))[0]


def run_command(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def on_mesh(spec: str, mesh: str, step: TrainingSettings | None = None, dtype: str = "bfloat16") -> MeshReport:
    found = report(spec, mesh, step, dtype).mesh
    assert found is not None
    return found


def sums(found: MeshReport) -> dict[tuple[str, str, str], tuple[int, int]]:
    """How often each kind of collective runs over each dimension, and the bytes of all of them."""
    result: dict[tuple[str, str, str], tuple[int, int]] = {}
    for one in found.collectives:
        key = one.dimension, one.kind, one.direction
        number, nbytes = result.get(key, (0, 0))
        result[key] = number + one.times, nbytes + one.times * one.nbytes
    return result


# Of a block: q and o, k and v, gate and up and down, and the norms, in elements; bfloat16 takes two bytes.
MATRICES = 2 * D * D + 2 * D * D * KV_HEADS // HEADS + 3 * D * FF
NORMS = 2 * D
# MACs of a block: its matrices for T positions, and scores and values of T × T for each head.
MACS = T * MATRICES + 2 * T * T * D
# Activations of a position are d numbers.
X = T * D * 2


def test_tensor_parallel_splits_matrices_and_heads_and_reduces_twice_a_block() -> None:
    found = on_mesh(LLAMA, "tp=8")
    assert found.rank.param_bytes == 2 * DEPTH * (MATRICES // 8 + NORMS) == 109_084_672
    assert found.rank.macs == DEPTH * MACS // 8 == 120_259_084_288  # 0.2405 TFLOPs of products
    # o_proj and down_proj leave partial sums of all activations.
    assert sums(found) == {("tp", "all-reduce", "forward"): (2 * DEPTH, 2 * DEPTH * X)}
    assert 2 * DEPTH * X == 67_108_864


def test_sequence_parallel_gathers_and_scatters_what_tensor_parallel_reduces() -> None:
    found = on_mesh(SEQUENCE, "tp=8")
    assert found.rank.param_bytes == 109_084_672
    assert found.rank.macs == DEPTH * MACS // 8
    # Each all-reduce is an all-gather before the matrices and a reduce-scatter behind them.
    assert sums(found) == {
        ("tp", "reduce-scatter", "forward"): (2 * DEPTH, 2 * DEPTH * X),
        ("tp", "all-gather", "forward"): (2 * DEPTH, 2 * DEPTH * X),
    }
    # Between them, a rank has T / 8 positions: norms and additions of one.
    norm = next(row.rank for row in report(SEQUENCE, "tp=8").layers if row.path == "layers.0.norm2")
    whole = next(row for row in report(SEQUENCE, "tp=8").layers if row.path == "layers.0.norm2")
    assert norm is not None
    assert 8 * norm.flops == whole.flops


def test_fsdp_gathers_each_block() -> None:
    found = on_mesh(LLAMA, "fsdp=8")
    assert found.rank.param_bytes == 2 * DEPTH * (MATRICES + NORMS) // 8 == 109_056_000
    assert found.rank.macs == DEPTH * MACS
    assert sums(found) == {("fsdp", "all-gather", "forward"): (DEPTH, 872_448_000)}
    (one,) = found.collectives
    assert (one.path, one.times, one.nbytes) == ("layers.0", DEPTH, 2 * (MATRICES + NORMS))
    assert one.sent == one.nbytes * 7 // 8


def test_fsdp_shards_what_tensor_parallel_leaves() -> None:
    found = on_mesh(LLAMA, "fsdp=2,tp=4")
    assert found.rank.param_bytes == 2 * DEPTH * (MATRICES // 8 + NORMS // 2) == 109_068_288
    assert found.rank.macs == DEPTH * MACS // 4 == 240_518_168_576  # 0.4810 TFLOPs
    assert sums(found) == {
        ("tp", "all-reduce", "forward"): (2 * DEPTH, 2 * DEPTH * X),
        ("fsdp", "all-gather", "forward"): (DEPTH, 2 * DEPTH * (MATRICES // 4 + NORMS)),
    }


def test_a_step_reduces_as_often_in_the_backward() -> None:
    found = on_mesh(LLAMA, "tp=8", STEP)
    # The gradients of q, k and v's input are added up before ranks add theirs, as are those of gate's and up's.
    assert sums(found) == {
        ("tp", "all-reduce", "forward"): (2 * DEPTH, 2 * DEPTH * X),
        ("tp", "all-reduce", "backward"): (2 * DEPTH, 2 * DEPTH * X),
    }
    assert found.rank.gradient_bytes == found.rank.param_bytes
    # AdamW has two numbers for each parameter, and a count of four bytes for each of the nine tensors of a block.
    assert found.rank.state_bytes == 2 * found.rank.param_bytes + 4 * 9 * DEPTH


def test_a_checkpointed_block_reduces_again_what_its_backward_needs() -> None:
    found = on_mesh(LLAMA, "tp=8", TrainingSettings(checkpoint=("layers.*",)))
    # Of each block what attention gives is computed, and added up, again; the last product's result is not needed.
    assert sums(found)["tp", "all-reduce", "backward"] == (3 * DEPTH, 3 * DEPTH * X)
    again = [one for one in found.collectives if one.path in ("layers.0", "layers.1")]
    assert [(one.times, one.nbytes, one.direction) for one in again] == [(1, X, "backward")] * DEPTH
    # Only the input of each block is kept: that of the first is the network's.
    assert found.rank.saved_bytes == (DEPTH - 1) * X
    rank = found.rank
    parts = rank.param_bytes, rank.input_bytes, rank.state_bytes or 0, rank.peak_activations, rank.peak_gradients
    assert rank.peak_memory == sum(parts)


def test_hybrid_sharding_scatters_over_one_dimension_and_reduces_over_the_other() -> None:
    found = on_mesh(LLAMA, "dp=2,fsdp=4", STEP)
    whole = 2 * DEPTH * (MATRICES + NORMS)
    assert sums(found) == {
        ("fsdp", "all-gather", "forward"): (DEPTH, whole),
        ("fsdp", "all-gather", "backward"): (DEPTH, whole),
        ("fsdp", "reduce-scatter", "backward"): (DEPTH, whole),
        ("dp", "all-reduce", "backward"): (DEPTH, whole // 4),
    }
    assert found.rank.gradient_bytes == whole // 4
    assert found.total_flops == 8 * found.rank.flops


@pytest.mark.parametrize(
    ("kind", "nbytes", "sent"),
    # In a ring of n ranks each sends n − 1 of n parts; an all-reduce is a reduce-scatter and an all-gather.
    [("all-reduce", 800, 1400), ("all-gather", 800, 700), ("reduce-scatter", 800, 700), ("send", 800, 800)],
)
def test_bytes_that_a_rank_sends_in_a_ring(kind: str, nbytes: int, sent: int) -> None:
    assert Collective(kind, "tp", 8, nbytes, 1, "").sent == sent  # type: ignore[arg-type]


# --- other networks ---------------------------------------------------------------------------------------------------

GPT2 = """
name: gpt2
vars: {B: 2, T: 64, vocab: 2048, d: 96, heads: 12, depth: 2}
inputs: {tokens: 'randint(0, vocab, (B, T))'}
blocks:
  Attention:
    - c_attn = Linear(3 * d)
    - q, k, v = c_attn.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    - scaled_dot_product_attention(q, k, v, is_causal=True)
    - prev.transpose(1, 2).flatten(2)
    - c_proj = Linear(d)
  Block:
    - ln_1 = LayerNorm
    - attn = Attention
    - mid = x + attn
    - ln_2 = LayerNorm
    - mlp = Sequential(Linear(4 * d), GELU, Linear(d))
    - mid + mlp
layers:
  - wte = Embedding(vocab, d)
  - h = depth * Block
  - ln_f = LayerNorm
  - logits = linear(ln_f, wte.weight)
"""


def test_projections_in_one_layer_are_split_by_heads_and_tied_tables_by_rows() -> None:
    # Nothing says how: the plan is proposed.
    found = on_mesh(GPT2, "tp=4", TrainingSettings(loss="cross_entropy"), "float32")
    assert "h.*.attn.c_attn: colwise 3\nh.*.attn.c_proj: rowwise\n" in found.plan
    # Split: the table, 12 d² of each block, and biases of 3 d and 4 d. Whole: biases behind rows (2 d), norms (4 d).
    d, vocab, x = 96, 2048, 2 * 64 * 96 * 4
    split = vocab * d + 2 * (12 * d * d + 7 * d)
    assert found.rank.params == split // 4 + 2 * 6 * d + 2 * d
    found_sums = sums(found)
    # Forward: the table, twice a block; and of the loss three numbers, or one, a position: the largest logit, the sum
    # of exponentials, and the logit of the target. Backward: twice a block, and the gradient of the last norm.
    number, nbytes = found_sums["tp", "all-reduce", "forward"]
    assert number == 1 + 2 * 2 + 3
    assert nbytes == 5 * x + 3 * 2 * 64 * 4
    assert found_sums["tp", "all-reduce", "backward"] == (2 * 2 + 1, 5 * x)


def test_a_vision_transformer_keeps_attention_whole_that_torch_does_not_split() -> None:
    spec = """
vars: {d: 64}
inputs: {image: 'randn(1, 3, 32, 32)'}
blocks:
  Block:
    - ln_1 = LayerNorm
    - attn = MultiheadAttention(4, batch_first=True)(ln_1, ln_1, ln_1, need_weights=False)
    - mid = x + attn
    - ln_2 = LayerNorm
    - mlp = Sequential(Linear(4 * d), GELU, Linear(d))
    - mid + mlp
layers:
  - conv = Conv2d(d, 8, stride=8)
  - conv.flatten(2).transpose(1, 2)
  - pos = Parameter(zeros(1, 16, d))
  - prev + pos
  - layers = 3 * Block
"""
    found, whole = on_mesh(spec, "tp=2", dtype="float32"), report(spec, "tp=1", dtype="float32").totals
    # Half of the matrices of the two Linears of each block and of the bias of 4 d.
    assert found.rank.params == whole.params - 3 * (8 * 64 * 64 + 4 * 64) // 2
    assert found.rank.macs == (whole.macs or 0) - 3 * 16 * 8 * 64 * 64 // 2
    assert sums(found) == {("tp", "all-reduce", "forward"): (3, 3 * 16 * 64 * 4)}


MOE = """
vars: {B: 2, T: 32, d: 64, experts: 6}
inputs: {x: 'randn(B, T, d)'}
blocks:
  Expert:
    - up = Linear(4 * d, bias=False)
    - GELU
    - down = Linear(d, bias=False)
  Block:
    - moe = MixtureOfExperts(Expert(), experts, top_k=2)
    - x + moe
layers:
  - blocks = 2 * Block
shard:
  blocks.*.moe: expert
"""


def test_experts_are_spread_and_positions_are_sent_to_them_and_back() -> None:
    found = on_mesh(MOE, "ep=3", STEP, "float32")
    expert, gate, x = 8 * 64 * 64, 6 * 64, 2 * 32 * 64 * 4
    # Each rank has two of six experts, and all ranks' positions that go there: as much work as without.
    assert found.rank.params == 2 * (2 * expert + gate)
    assert found.rank.flops < report(MOE, "ep=1", STEP, "float32").training.flops  # type: ignore[union-attr]  # AdamW
    forward = next(row.rank for row in report(MOE, "ep=3", STEP, "float32").layers if row.path == "blocks.0.moe")
    assert forward is not None
    # The router for 64 positions, and each of six experts for ⌈64 · 2 / 6⌉ = 22 of them.
    assert forward.macs == 64 * gate + 6 * 22 * expert
    # Two choices of each position go there and come back; gradients likewise. Gates are added up over all batches.
    # First goes how many positions each of six experts gets, as int64.
    assert sums(found) == {
        ("ep", "all-to-all", "forward"): (2 * 3, 2 * (2 * 2 * x + 6 * 8)),
        ("ep", "all-to-all", "backward"): (2 * 2, 2 * 2 * 2 * x),
        ("ep", "all-reduce", "backward"): (1, 2 * gate * 4),
    }


def test_the_rank_with_most_experts_is_reported() -> None:
    # 4 ranks have 2, 2, 2 and 0 of 6 experts: 4/3 of the mean.
    found, even = on_mesh(MOE, "ep=4", dtype="float32"), on_mesh(MOE, "ep=3", dtype="float32")
    assert found.rank.params == even.rank.params
    (one,) = [row.rank for row in report(MOE, "ep=4", dtype="float32").layers if row.path == "blocks.0.moe.experts.0"]
    (other,) = [row.rank for row in report(MOE, "ep=3", dtype="float32").layers if row.path == "blocks.0.moe.experts.0"]
    assert one is not None
    assert other is not None
    assert 3 * one.macs == pytest.approx(4 * other.macs, rel=1e-6)


def test_experts_over_tp_add_up_what_they_make() -> None:
    found = on_mesh(MOE, "tp=3", STEP, "float32")
    x = 2 * 32 * 64 * 4
    # Gradients of the positions, and of the weights of 64 · 2 choices.
    assert sums(found) == {
        ("tp", "all-reduce", "forward"): (2, 2 * x),
        ("tp", "all-reduce", "backward"): (2 * 2, 2 * (x + 64 * 2 * 4)),
    }


class Routed(torch.nn.Module):
    """A mixture that calls its experts itself."""

    def __init__(self) -> None:
        super().__init__()
        self.experts, self.top_k = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(4)), 2


def test_a_mixture_that_leaves_a_rank_without_experts_is_refused_by_real_ranks() -> None:
    # 4 ranks have 2, 2, 2 and 0.
    module = build(check(parse(Source("moe.yaml", MOE))))
    with fake_world("ep", 4) as ranks, pytest.raises(ShardError) as refused:
        spread_experts(module, read_plan(Source("plan.yaml", "shard: {blocks.*.moe: expert}")), ranks)
    few = "blocks.0.moe: of 6 experts, 2 a rank, the last of 4 ranks has none; take fewer"
    assert str(refused.value) == few


def test_a_mixture_that_calls_its_experts_itself_is_refused_by_real_ranks() -> None:
    plan = read_plan(Source("plan.yaml", "shard: {moe: expert}"))
    with fake_world("ep", 4) as ranks, pytest.raises(ShardError) as refused:
        spread_experts(torch.nn.ModuleDict({"moe": Routed()}), plan, ranks)
    assert str(refused.value).startswith("moe: the forward of Routed calls its experts itself, one after another; ")


MLP = """
inputs: {x: 'randn(16, 30)'}
layers:
  - up = Linear(50)
  - ReLU
  - down = Linear(10)
"""


def test_uneven_splits_are_those_of_the_rank_with_most() -> None:
    # 50 columns over 4 ranks are 13, 13, 13 and 11: weights 13 · 30 + 13 and 10 · 13, and a whole bias of 10.
    found = on_mesh(MLP, "tp=4", dtype="float32")
    assert found.rank.params == 13 * 30 + 13 + 10 * 13 + 10
    assert found.rank.macs == 16 * (30 * 13 + 13 * 10)
    # fsdp gathers what is padded to equal parts: 13 · 30, 13, ⌈10 / 4⌉ · 50 and 3 numbers from each of 4.
    found = on_mesh(MLP, "fsdp=4", dtype="float32")
    assert found.rank.params == 13 * 30 + 13 + 3 * 50 + 3
    assert sums(found) == {("fsdp", "all-gather", "forward"): (1, 4 * 4 * found.rank.params)}


def test_stages_have_their_layers_and_send_what_flows_between_them() -> None:
    spec = LLAMA.replace("  fsdp:", "  stages: [layers.1]\n  fsdp:")
    found = on_mesh(spec, "pp=2,tp=8", TrainingSettings(accumulate=4))
    block = 2 * (MATRICES // 8 + NORMS)
    assert [(one.path, one.param_bytes) for one in found.stages] == [("layers.0.norm1", block), ("layers.1", block)]
    assert found.micro_batches == 4
    # Each stage runs one block for each micro-batch.
    whole = on_mesh(LLAMA, "tp=8", TrainingSettings(accumulate=4))
    assert sum(one.macs for one in found.stages) == whole.rank.macs
    # The first stage keeps the activations of two micro-batches on their way, the second of one.
    assert found.stage == 0
    assert sums(found)["pp", "send", "forward"] == (4, 4 * X)
    assert ("pp", "send", "backward") not in sums(found)
    assert sums(found)["tp", "all-reduce", "forward"] == (2 * 4, 2 * 4 * X)


def test_tied_weights_are_in_each_stage_that_reads_them() -> None:
    spec = GPT2 + "shard:\n  stages: [h.1]\n"
    found, d, vocab = on_mesh(spec, "pp=2", STEP, "float32"), 96, 2048
    block = 12 * d * d + 13 * d
    assert [one.params for one in found.stages] == [vocab * d + block, vocab * d + block + 2 * d]
    assert sums(found)["pp", "all-reduce", "backward"] == (1, 4 * vocab * d)
    assert "tied weights are in several stages: wte.weight" in found.notes


def test_the_cache_of_earlier_positions_is_split_by_heads() -> None:
    def subject() -> SpecSubject:
        return SpecSubject(check(parse(Source("test.yaml", LLAMA))), dtype="bfloat16", past=100)

    whole = inspect_subject(subject, RunSettings(), Mesh.parse("tp=4"))[0]
    assert whole.mesh is not None
    # Keys and values of 8 heads of 128 numbers for 100 positions, in each block.
    assert whole.totals.kv_cache == DEPTH * 2 * 100 * KV_HEADS * 128 * 2
    assert whole.mesh.rank.kv_cache == whole.totals.kv_cache // 4


def test_micro_batches_add_up_gradients_of_packed_and_split_layers() -> None:
    # Of each of 4 micro-batches, split by position: gradients of norms and of biases behind rows are added over ranks.
    spec = (
        GPT2
        + """shard:
  h.*.attn.c_attn: colwise 3
  h.*.attn.c_proj: rowwise
  h.*.mlp.0: colwise
  h.*.mlp.2: rowwise
  h.*.ln_*: sequence
"""
    )
    found, once = (on_mesh(spec, "tp=4", TrainingSettings(accumulate=n), "float32") for n in (4, 1))
    for key, (number, nbytes) in sums(once).items():
        assert sums(found)[key] == (4 * number, 4 * nbytes)
    # Of each block two biases of d, and weight and bias of two norms; and those of the last norm.
    small = [one for one in once.collectives if one.kind == "all-reduce" and one.nbytes == 4 * 96]
    assert sum(one.times for one in small) == 2 * (2 + 2 * 2) + 2
    assert found.rank.gradient_bytes == once.rank.gradient_bytes == 4 * found.rank.params


# --- what cannot be sharded ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mesh", "spec", "message"),
    [
        ("tp=16", LLAMA, r"13:13: error: dimension 2 of \(1, 2048, 1024\) is split over 16 ranks of tp, and unflatten"),
        ("tp=2", LLAMA.replace("attn.q:", "attn.qq:"), r"layers\.\*\.attn\.qq: no layer has this path"),
        ("tp=2", LLAMA.replace("attn.q:", "attn:"), "colwise splits a Linear or an Embedding, and this is an Att"),
        ("ep=2", LLAMA.replace("mlp.up: colwise", "mlp: expert"), "layers.0.mlp is no mixture of experts"),
        ("tp=2", f"{MOE}  blocks.*.moe.experts.*.up: colwise\n", "spread over tp, which cannot split each of them too"),
        ("pp=2", LLAMA, "pp=2: the plan has no stages"),
        ("pp=2", LLAMA.replace("  fsdp:", "  stages: [layers.7]\n  fsdp:"), "layers.7: no stage can begin here"),
        ("tp=2", "inputs: {x: 'randn(2, 8)'}\nlayers: [Linear(8)]", "no layers of test are seen that can be split"),
    ],
)  # fmt: skip
def test_what_cannot_be_sharded_is_an_error_that_says_where(mesh: str, spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        on_mesh(spec, mesh)


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(24, 24), nn.Linear(24, 24)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(x).view(2, 6, 4)
        return self.down(y.flatten(1))


def test_a_module_names_the_layer_that_cannot_be_split() -> None:
    plan = read_plan(Source("plan.yaml", "shard:\n  0.up: colwise\n  0.down: rowwise\n"))
    module, x = nn.Sequential(Heads()), torch.empty(2, 24, device="meta")
    found = inspect_module(module, (x,), mesh=Mesh.parse("tp=3"), plan=plan).mesh
    assert found is not None
    # A third of 24 · 24 + 24 and of 24 · 24, and a bias of 24; an all-reduce of 2 · 24 float32.
    assert found.rank.params == 24 * 24 // 3 + 8 + 24 * 24 // 3 + 24
    assert sums(found) == {("tp", "all-reduce", "forward"): (1, 2 * 24 * 4)}
    with pytest.raises(InputError, match=r"^0: dimension 1 of \(2, 24\) is split over 4 ranks of tp, and view makes 6"):
        inspect_module(module, (x,), mesh=Mesh.parse("tp=4"), plan=plan)
    wrong = read_plan(Source("plan.yaml", "shard:\n  0.up: colwise\n  0.dawn: rowwise\n"))
    with pytest.raises(SpecError, match=r"plan.yaml:3:3: error: 0.dawn: no layer has this path"):
        inspect_module(module, (x,), mesh=Mesh.parse("tp=2"), plan=wrong)


def test_nothing_of_the_process_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = sys.excepthook
    subject = SpecSubject(check(parse(Source("test.yaml", MLP))))
    before = dict(subject.network.named_parameters())
    inspect_subject(lambda: subject, RunSettings(), Mesh.parse("tp=2"))
    assert sys.excepthook is hook
    assert not torch.distributed.is_initialized()
    assert {name: id(p) for name, p in subject.network.named_parameters()} == {n: id(p) for n, p in before.items()}
    # A process group of the caller's is left as it is.
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    for name in ("get_rank", "get_world_size", "get_backend"):
        monkeypatch.setattr(torch.distributed, name, lambda name=name: name)
    with pytest.raises(InputError, match="this process is rank get_rank of get_world_size of a process group"):
        inspect_subject(lambda: subject, RunSettings(), Mesh.parse("tp=2"))


# --- commands ---------------------------------------------------------------------------------------------------------


def test_a_budget_of_a_rank_is_checked_for_a_forward_and_for_a_step() -> None:
    # 4 ranks: (512 · 2048 + 2048) / 4 and 512 · 2048 / 4, and a bias of 512; an all-reduce of 16 · 512 float32.
    spec = """
inputs: {x: 'randn(16, 512)'}
layers:
  - up = Linear(2048)
  - down = Linear(512)
mesh: {tp: 4}
shard:
  up: colwise
  down: rowwise
expect:
  per_rank: {params: 525_312, memory: <= 2 MB, sent: 49_152, train_memory: <= 4 MB}
  training: {optimizer: sgd}
"""
    outcome = check_source(Source("test.yaml", spec), CheckSettings()).outcome
    states = {point.what: point.state for point in outcome.points}
    assert states == {
        "per_rank.params": "met", "per_rank.memory": "failed", "per_rank.sent": "met",
        "per_rank.train_memory": "failed",
    }  # fmt: skip
    (failed,) = [point for point in outcome.points if point.what == "per_rank.memory"]
    # Weights of 525,312 float32, the input, and at least what up and down make: 16 · 512 and 16 · 512.
    assert int(str(failed.got).replace(",", "")) >= 4 * (525_312 + 3 * 16 * 512)
    shown = report(spec, "tp=4", dtype="float32")
    assert [one.what for one in shown.shortfalls] == ["per_rank.memory"]


def test_meshes_are_compared() -> None:
    tp, fsdp = report(MLP, "tp=2", dtype="float32"), report(MLP, "fsdp=2", dtype="float32")
    compared = compare(tp, fsdp)
    assert compared.total("rank_params").before == 25 * 30 + 25 + 25 * 10 + 10
    assert compared.total("rank_macs").after == 2 * compared.total("rank_macs").before  # type: ignore[operator]
    assert "the meshes differ: tp=2, then fsdp=2" in compared.notes
    alone = compare(tp, replace(fsdp, mesh=None))
    assert "only the first is on a mesh, tp=2" in alone.notes


def test_meshes_are_varied() -> None:
    assert parse_axis("mesh=tp=1,2,4").values == ("tp=1", "tp=2", "tp=4")
    assert parse_axis("mesh=tp=8; dp=2,tp=4").values == ("tp=8", "dp=2,tp=4")
    points = []
    for mesh in parse_axis("mesh=tp=1,2").values:
        points.append(SweepPoint((("mesh", mesh),), report(MLP, mesh, dtype="float32")))
    drawn = render_sweep(Sweep((parse_axis("mesh=tp=1,2"),), tuple(points)), "table")
    assert "params a rank" in drawn
    assert "a rank sends" in drawn


def test_a_proposed_plan_is_written_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gpt2.yaml").write_text(GPT2)
    monkeypatch.chdir(tmp_path)
    found = run_command("inspect", "gpt2.yaml", "--mesh", "tp=4", "--shard", "auto:plan.yaml", "--format", "json")
    assert found.exit_code == 0
    plan = read_plan(Source("plan.yaml", (tmp_path / "plan.yaml").read_text()))
    trace = SpecSubject(check(parse(Source("gpt2.yaml", GPT2)))).trace
    assert (plan, ()) == propose(trace, Mesh.parse("tp=4"))
    # 12 heads over 5 ranks.
    uneven, whole = propose(trace, Mesh.parse("tp=5"))
    assert "attn" not in str(uneven)
    assert whole == ("h.*.attn is left whole: its 12 heads do not divide among 5 ranks",)
    again = run_command("inspect", "gpt2.yaml", "--mesh", "tp=4", "--shard", "plan.yaml", "--format", "json")
    assert Report.loads(again.stdout).mesh == replace(Report.loads(found.stdout).mesh, notes=())  # type: ignore[type-var]
    refused = run_command("inspect", "gpt2.yaml", "--mesh", "tp=4", "--shard", "auto:plan.yaml")
    assert (refused.exit_code, "the file is there" in refused.stderr) == (2, True)


def test_the_table_of_a_mesh_fits_its_width() -> None:
    shown = report(LLAMA, "dp=2,fsdp=2,tp=2", STEP)
    for width in (80, 100, 140):
        text = render(shown, "table", Options(width=width))
        assert max(map(len, text.splitlines())) <= width
        assert "on a mesh of 8 ranks: dp 2 (batches), fsdp 2 (batches and parameters)" in text
    assert "fsdp  all-gather      forward   layers.0" in text
    assert "a rank sends" in render(shown, "markdown", Options())
