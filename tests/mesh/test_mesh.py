"""What one rank of a mesh holds, computes and sends, against closed forms."""

from __future__ import annotations

from functools import cache

import pytest

from fwdscope.inspection import inspect_subject
from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.plan import Mesh
from fwdscope.language.problems import Source
from fwdscope.report import Report
from fwdscope.report.mesh import Collective, MeshReport
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
