"""A step of generation behind earlier positions: what is kept of them, and what the step costs."""

from __future__ import annotations

import functools
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode

import fwdscope
from fwdscope.errors import InputError
from fwdscope.language.check import Checked
from fwdscope.report import Report, multiplicities
from fwdscope.report.generation import bytes_a_position, bytes_kept, kept_tensors
from fwdscope.run.batch import with_variables
from fwdscope.targets import Target
from fwdscope.trace.network import build_and_trace, trace
from fwdscope.trace.past import Past, smallest_cut
from fwdscope.trace.record import Recorder
from fwdscope.trace.replay import EarlierRuns


@functools.cache
def report_of(spec: str, past: int, dtype: str = "bfloat16", **variables: int) -> Report:
    return fwdscope.inspect(spec, variables=variables, past=past, dtype=dtype)


def kept(report: Report) -> Counter[tuple[str, str, tuple[int, ...]]]:
    found: Counter[tuple[str, str, tuple[int, ...]]] = Counter()
    for one, times in kept_tensors(report):
        found[one.name, one.kind, one.shape] += times
    return found


def test_llama_3_8b_keeps_128_kib_a_position() -> None:
    # Llama 3 8B: 32 layers, 8 heads of keys and values, 128 features a head (Grattafiori et al. 2024, table 3), so
    # 2 · 32 · 8 · 128 values of 2 bytes are 128 KiB a position. vLLM and NVIDIA's "Mastering LLM Techniques" give
    # 2 · layers · heads · head_dim · bytes for it.
    report = report_of("llama3_8b", 8192, T=1)
    assert bytes_a_position(report) == 2 * 32 * 8 * 128 * 2 == 128 * 1024
    assert report.totals.kv_cache == 8192 * 128 * 1024
    assert kept(report) == {
        ("keys", "past", (1, 8, 8192, 128)): 32,
        ("values", "past", (1, 8, 8192, 128)): 32,
    }
    # Queries meet 8,192 keys more in 32 heads of 128 features, and so the values: 2 · 32 · 8,192 · 128 a layer.
    alone = report_of("llama3_8b", 0, T=1)
    assert report.totals.macs - alone.totals.macs == 32 * 2 * 32 * 8192 * 128
    # They are read once, whatever the number of queries that share a head.
    assert report.totals.bytes_read - alone.totals.bytes_read == report.totals.kv_cache
    assert report.totals.bytes_written == alone.totals.bytes_written
    assert report.totals.peak_memory - alone.totals.peak_memory == report.totals.kv_cache
    assert alone.totals.kv_cache is None
    rows = zip(report.layers, multiplicities(report.layers), strict=True)
    assert sum(one.nbytes * times for row, times in rows for one in row.cached) == report.totals.kv_cache
    assert next(row for row in report.layers if row.path == "model").kv_cache == report.totals.kv_cache


def test_multi_head_latent_attention_keeps_the_latent_and_makes_keys_and_values_of_it() -> None:
    # DeepSeek-V2 keeps a latent of 512 values and a rotated key of 64, shared by all heads, in each layer: 576
    # values (DeepSeek-AI 2024, section 2.1.3 and table 1: (4 + 1/2)·d_h = 576 with d_h = 128).
    report, alone = (report_of("deepseek_v2_lite", past, T=1, depth=3) for past in (1000, 0))
    assert bytes_a_position(report) == 3 * 576 * 2
    assert kept(report) == {("latent", "past", (1000, 512)): 3, ("keys", "past", (1, 1000, 64)): 3}
    # A layer, for 1,000 positions more: kv_b_proj makes 16 · (128 + 128) values of the 512, and 16 queries meet keys of
    # 192 features and values of 128.
    assert report.totals.macs - alone.totals.macs == 3 * 1000 * (512 * 16 * 256 + 16 * (192 + 128))
    # The keys and values that are made are alive for a moment: 4,096 values, and 16 · 192 of the keys put together.
    assert report.totals.peak_activations > 1000 * (4096 + 3072) * 2
    row = next(row for row in report.layers if row.path.endswith("kv_b_proj"))
    assert row.note == "over all positions, 1,000 of them from the cache"


def test_the_latent_is_kept_for_each_sequence_of_a_batch() -> None:
    # Where a linear layer takes a batch and its positions as one dimension.
    report = report_of("deepseek_v2_lite", 1000, B=3, T=2, depth=2, experts=2, top_k=1)
    assert kept(report) == {("latent", "past", (3 * 1000, 512)): 2, ("keys", "past", (3, 1000, 64)): 2}
    assert report.totals.kv_cache == 2 * 3 * 2 * 1000 * 576


@pytest.mark.parametrize(
    ("spec", "sizes", "past", "encoder"),
    [
        # 6 layers, 8 heads of 64 for keys and as many for values; those of the encoder's 64 positions once.
        ("t5_small", {"T": 1}, 6 * 2 * 8 * 64, 6 * 2 * 8 * 64 * 64),
        # 4 layers, 6 heads of 64, 1,500 positions of the encoder.
        ("whisper_tiny", {"T": 1}, 4 * 2 * 6 * 64, 4 * 2 * 6 * 64 * 1500),
        # 6 layers, 8 heads of 64, 30 positions of the encoder, a batch of 2.
        ("transformer_base", {"T": 1, "B": 1}, 6 * 2 * 8 * 64, 6 * 2 * 8 * 64 * 30),
    ],
)  # fmt: skip
def test_cross_attention_keeps_the_encoders_keys_which_do_not_grow(
    spec: str, sizes: dict[str, int], past: int, encoder: int
) -> None:
    short, long = (report_of(spec, n, **sizes) for n in (100, 1100))
    assert bytes_a_position(short) == bytes_a_position(long) == past * 2
    assert bytes_kept(short, "encoder") == bytes_kept(long, "encoder") == encoder * 2
    # The encoder does not run in the step, nor do the projections of what it gave.
    for row in long.layers:
        if ".encoder." in f".{row.path}." or row.path.endswith(
            ("EncDecAttention.k", "cross_attn.k", "encoder_attn.k_proj")
        ):
            assert not row.macs, row.path
    assert any("alone decides ran with the first position" in note for note in long.notes)


def test_recurrent_layers_have_a_state_whatever_the_positions() -> None:
    # h and c of 2 layers, 20 wide, for a batch of 3.
    report = report_of("lstm", 1000, dtype="float32", T=1)
    assert bytes_kept(report, "state") == report.totals.kv_cache == 2 * 2 * 3 * 20 * 4
    assert bytes_a_position(report) == 0
    assert report.totals.macs == report_of("lstm", 0, dtype="float32", T=1).totals.macs


def test_what_a_loop_over_positions_carries_is_the_state() -> None:
    sizes = {"depth": 2, "d": 64, "vocab": 100, "T": 1}
    report, longer = (report_of("mamba_130m", past, **sizes) for past in (100, 1000))
    # 128 channels with 16 numbers each, in float32 whatever the model, and the last 3 inputs of a convolution of 4. The
    # published code keeps 4 inputs, of which its next step reads 3.
    assert kept(report) == {("s", "state", (1, 128, 16)): 2, ("conv state", "state", (1, 128, 3)): 2}
    assert report.totals.kv_cache == longer.totals.kv_cache == 2 * (128 * 16 * 4 + 128 * 3 * 2)
    # The projections of a layer, the convolution for one position, and the state's 16 numbers by c.
    layer = 64 * 256 + 128 * 4 + 128 * (48 + 2 * 16) + 48 * 128 + 128 * 16 + 128 * 64
    assert report.totals.macs == 2 * layer + 64 * 100
    # The forward alone pads the convolution to four results, and writes the zeros that the state begins with.
    alone = report_of("mamba_130m", 0, **sizes)
    assert alone.totals.macs - report.totals.macs == 2 * 3 * 128 * 4
    assert alone.totals.bytes_written - report.totals.bytes_written == 2 * (3 * 128 * 2 + 128 * 16 * 4)
    assert "for t in range(T) carries s from one position to the next" in report.notes
    assert not any("rotary" in note for note in report.notes)


RWKV = "tests/specs/networks/rwkv4_169m.yaml"


def test_a_shift_by_one_position_keeps_one() -> None:
    # As the model of transformers, whose state is five tensors (1, d, layers): what the two shifts saw last, the
    # numerator, the denominator and the largest exponent (tests/run/test_own_cache.py).
    report = report_of(RWKV, 100, dtype="float32", depth=2, d=64, vocab=100, T=1)
    assert report.totals.kv_cache == 5 * 2 * 64 * 4
    assert Counter(one.name for one, _ in kept_tensors(report)) == {"shift state": 4, "num": 2, "den": 2, "top": 2}


def test_causal_convolutions_keep_their_window() -> None:
    # 4 stacks of dilations 1, 2, 4 … 512 over 32 channels, two convolutions a layer, and the first one.
    report = report_of("wavenet", 100, dtype="float32", T=1)
    assert report.totals.kv_cache == (4 * 1023 + 1) * 32 * 4
    assert report.new_positions == 1
    assert report.totals.macs == 2_726_297_600 // 4096  # of the file's 4,096 positions


def test_a_decoders_loop_does_not_run_its_encoder_again() -> None:
    report = report_of("tests/specs/networks/bahdanau.yaml", 10, dtype="float32", T=1)
    assert bytes_kept(report, "encoder") == 30 * (2000 + 1000) * 4  # its states, and the keys made of them
    assert bytes_kept(report, "state") == 1000 * 4
    assert not next(row for row in report.layers if row.path == "encoder").macs
    # query, scores of 30 states, the context, the cell, the readout and the output.
    cell = 3 * 1000 * (620 + 2000 + 1000)
    assert report.totals.macs == 10**6 + 30 * 1000 + 30 * 2000 + cell + 3620 * 1000 + 500 * 30_000


def test_a_loop_that_takes_up_no_inputs_is_no_recurrence(tmp_path) -> None:  # type: ignore[no-untyped-def]
    spec = tmp_path / "refine.yaml"
    spec.write_text("""
name: refine
vars: {B: 1, T: 3, d: 8}
inputs: {x: "randn(B, T, d)"}
layers:
  - modules: {step: Linear(d)}
  - y = x
  - for: t in range(T)
    do:
      - y = y + step(y)
  - y * 2
""")
    with pytest.raises(InputError, match="refine keeps nothing of earlier positions"):
        fwdscope.inspect(spec, past=3)


class Heads(nn.Module):
    """Attention of four heads that share two of keys and values, as ``way`` writes it."""

    def __init__(self, way: str, width: int = 32) -> None:
        super().__init__()
        self.way, self.q, self.kv = way, nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q = self.q(x).unflatten(-1, (4, 8)).transpose(1, 2)
        k, v = self.kv(x).unflatten(-1, (4, 8)).transpose(1, 2).chunk(2, 1)
        if self.way == "gqa":
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        elif self.way == "mask":
            y = F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
        else:
            if self.way == "interleaved":
                k, v = (t.repeat_interleave(2, 1) for t in (k, v))
            else:
                k, v = (t[:, :, None].expand(-1, -1, 2, -1, -1).reshape(t.shape[0], 4, -1, 8) for t in (k, v))
            scores = q @ k.mT / 8**0.5
            scores = 50 * torch.tanh(scores / 50) if self.way == "capped" else scores
            y = torch.softmax(scores if mask is None else scores + mask, -1) @ v
        return y.transpose(1, 2).flatten(2)


class Cached(Heads):
    """The same with keys and values of earlier positions, for torch's own counter."""

    def forward(self, x: Tensor, mask: Tensor | None = None, past: int = 7) -> Tensor:
        with torch.no_grad():
            earlier = torch.zeros(x.shape[0], past, x.shape[2])
            q = self.q(x).unflatten(-1, (4, 8)).transpose(1, 2)
            k, v = self.kv(x).unflatten(-1, (4, 8)).transpose(1, 2).chunk(2, 1)
            more = earlier.unflatten(-1, (4, 8)).transpose(1, 2).chunk(2, 1)
            k, v = (torch.cat([one, t], 2).repeat_interleave(2, 1) for one, t in zip(more, (k, v), strict=True))
            return (torch.softmax(q @ k.mT / 8**0.5, -1) @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("way", ["gqa", "mask", "interleaved", "expanded", "capped"])
@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("batch", [1, 2])
def test_heads_that_queries_share_are_kept_once_however_attention_is_written(way: str, length: int, batch: int) -> None:
    x = torch.randn(batch, length, 32)
    mask = torch.zeros(length, length) if way in ("mask", "interleaved") else None
    report = (
        fwdscope.inspect(Heads(way), x, mask, past=7) if mask is not None else fwdscope.inspect(Heads(way), x, past=7)
    )
    assert kept(report) == {("keys", "past", (batch, 2, 7, 8)): 1, ("values", "past", (batch, 2, 7, 8)): 1}
    with FlopCounterMode(display=False) as counter:
        Cached(way)(x)
    assert 2 * report.totals.macs == counter.get_total_flops()  # torch's counts products alone
    assert report.outputs[0].shape == (batch, length, 32)


def test_repeated_heads_are_made_of_all_positions() -> None:
    # k and v of 2 heads of 8 are repeated to 4: 4 · 8 · (7 + 1) values each are written, by the copy and nothing else.
    alone, behind = (fwdscope.inspect(Heads("interleaved"), torch.randn(1, 1, 32), past=n) for n in (0, 7))
    scores = 3 * 4 * 7 * 4  # products, quotients and softmax, of 4 heads
    assert behind.totals.bytes_written - alone.totals.bytes_written == 2 * 4 * 8 * 7 * 4 + scores
    # 7 positions more: the repeated keys and values are alive together.
    assert behind.totals.peak_activations - alone.totals.peak_activations == 2 * 4 * 8 * 7 * 4 + 2 * 4 * 7 * 4


@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention_keeps_keys_and_values(need_weights: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(32, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
            return self.attention(x, x, x, attn_mask=mask, need_weights=need_weights)[0]

    alone, behind = (fwdscope.inspect(Model(), torch.randn(2, 3, 32), past=n) for n in (0, 5))
    assert bytes_a_position(behind) == 2 * 32 * 4
    # 5 keys and values more for 3 queries of each of 2 sequences, 32 features.
    assert behind.totals.macs - alone.totals.macs == 2 * 2 * 3 * 5 * 32


def test_attention_that_is_not_recognised_is_said_not_to_be() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            weights = torch.softmax(x @ x.mT, -1)
            return F.scaled_dot_product_attention(x, x, x, is_causal=True) + weights.cumsum(-1) @ x

    report = fwdscope.inspect(Odd(), torch.randn(1, 3, 8), past=4)
    assert any("a softmax over a product is not recognised as attention" in note for note in report.notes)


def test_a_network_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="--past: resnet18 keeps nothing of earlier positions"):
        fwdscope.inspect("resnet18", past=10)
    with pytest.raises(InputError, match="have no numbers for a run"):
        fwdscope.inspect("gpt2", past=10, device="cpu")


def test_attention_that_is_not_causal_is_said() -> None:
    assert any("is not causal" in note for note in report_of("bert_base", 10).notes)
    assert not any("is not causal" in note for note in report_of("gpt2", 10, T=2).notes)


def test_what_the_query_is_made_of_too_is_not_kept_in_place_of_larger_keys_and_values() -> None:
    class FusedKeysAndValues(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.kv = nn.Linear(32, 32), nn.Linear(32, 64)

        def forward(self, x: Tensor) -> Tensor:
            k, v = self.kv(x).unflatten(-1, (4, 16)).transpose(1, 2).chunk(2, -1)
            return F.scaled_dot_product_attention(self.q(x).unflatten(-1, (4, 8)).transpose(1, 2), k, v)

    # Keys and values are 64 numbers a position, their input 32, which Linear sees in another shape than the query.
    report = fwdscope.inspect(FusedKeysAndValues(), torch.empty(1, 1, 32), past=99)
    assert bytes_a_position(report) == 64 * 4
    assert all(row.note is None for row in report.layers)


NESTED = """
name: nested
vars: {B: 1, T: 4, S: 3, d: 8}
inputs: {tokens: "randint(0, 9, (B, T))", memory: "randn(B, S, d)"}
blocks:
  Own:
    - q, k, v = Linear(3 * d)(x).chunk(3, -1)
    - x + scaled_dot_product_attention(q, k, v, is_causal=True)
  Scan:
    - s = zeros(B, d)
    - for: t in range(T)
      do:
        - s = s / 2 + x[:, t]
    - x + s.unsqueeze(1)
  Window:
    - Conv1d(d, 3, padding=2)
    - prev[..., :-2].contiguous()
  Layer()(x, k, v):
    - Window()(x.mT).mT.contiguous()
    - 3 * Own
    - prev + scaled_dot_product_attention(Linear(d)(prev), k, v)
    - Scan
layers:
  - x = Embedding(9, d)(tokens)
  - k, v = Linear(2 * d)(memory).chunk(2, -1)
  - Layer()(x, k, v)
  - Layer()(prev, k, v)
  - y = (3 * Layer())(prev, k, v)
  - z = (3 * Layer())(x, k, v)
  - (4 * Window)((y + z).mT.contiguous())
"""


# The first layer's queries depend on no input, so that it keeps no keys and values of its own.
LEARNED = (
    NESTED[: NESTED.index("layers:")]
    + """layers:
  - x = Embedding(9, d)(tokens)
  - (3 * Layer())(zeros(B, T, d), x, x)
  - prev + memory.sum()
"""
)
# The first layer's sum with what the encoder gave runs with the first position; the second's reads it in each step.
READ_LATER = """
name: later
vars: {B: 1, T: 4, d: 8}
inputs: {tokens: "randint(0, 9, (B, T))", memory: "randn(B, T, d)"}
blocks:
  Layer()(x, encoded, query):
    - mid = x + encoded
    - keys = Linear(d)(encoded)
    - mid + scaled_dot_product_attention(query, keys, keys)
layers:
  - query = Embedding(9, d)(tokens)
  - encoded = Linear(d)(memory)
  - (3 * Layer())(zeros(B, T, d), encoded, query)
"""


def kept_in_one_run_and_in_full(checked: Checked, earlier: EarlierRuns | None = None) -> tuple[list[str], list[str]]:
    """What is kept of a position by a run in which equal copies and blocks run once, and by one of all."""

    def tensors(past: Past) -> list[str]:
        return sorted(str(one) for several in past.cached.values() for one in several)

    built = build_and_trace(checked, earlier=earlier or EarlierRuns())
    assert built is not None
    network, brief = built
    assert brief.find_past is not None
    full = Recorder()
    outputs = [tensor for _, tensor in trace(network, full).outputs]
    return tensors(brief.find_past(1)), tensors(full.find_past(outputs, 1))


@pytest.mark.parametrize(
    ("spec", "sizes"),
    [
        *[(name, {}) for name in ("bert_base", "clip", "gpt2", "llama3_8b", "moe_small", "t5_small", "whisper_tiny")],
        *[(name, {}) for name in ("transformer_base", "transformer_encoder", "wavenet", "stable_diffusion_unet")],
        *[(name, {"depth": "3"}) for name in ("llama3_405b", "mamba_130m", "mixtral_8x7b")],
        ("deepseek_v2_lite", {"depth": "3", "experts": "8", "B": "2"}),
        ("mamba_130m", {"depth": "1", "T": "5"}),
        ("gpt2", {"T": "1", "B": "3"}),
    ],
)
def test_copies_and_blocks_that_do_not_run_keep_what_the_one_that_ran_keeps(spec: str, sizes: dict[str, str]) -> None:
    once, full = kept_in_one_run_and_in_full(Target(spec, sizes).load_spec()[0])
    assert once == full
    assert once


@pytest.mark.parametrize(("spec", "name", "values"), [("t5_small", "S", (64, 5)), ("wavenet", "values", (8, 5))])
def test_blocks_of_an_earlier_network_keep_what_they_kept(spec: str, name: str, values: tuple[int, ...]) -> None:
    checked, earlier = Target(spec).load_spec()[0], EarlierRuns()
    for value in values:
        before = dict(earlier.calls)
        once, full = kept_in_one_run_and_in_full(with_variables(checked, {name: value}), earlier)
        assert once == full
    assert any(
        now is not was and now.flows is was.flows for was, now in ((before[k], earlier.calls[k]) for k in before)
    )


def test_copies_in_copies_keep_each_their_own_and_share_what_is_made_outside(tmp_path) -> None:  # type: ignore[no-untyped-def]
    spec = tmp_path / "nested.yaml"
    spec.write_text(NESTED)
    once, full = kept_in_one_run_and_in_full(Target(str(spec)).load_spec()[0])
    assert once == full
    # Eight layers, each with three pairs of keys and values, a state and the last two inputs of a convolution, d values
    # of 4 bytes; for all layers one pair of keys and values of S positions; and four convolutions more.
    report = fwdscope.inspect(spec, past=1)
    assert report.totals.kv_cache == 4 * 8 * (8 * (3 * 2 + 1 + 2) + 2 * 3 + 4 * 2)
    assert len(once) == 8 * (3 * 2 + 1 + 1) + 2 + 4


# What all layers attend to; each layer's state, and in two of three keys, values and inputs of the convolution. And of
# the encoder what it gave, the first layer's sum with that, and each layer's keys.
@pytest.mark.parametrize(
    ("text", "count"), [(LEARNED, 1 + 3 + 2 * (3 * 2 + 1)), (READ_LATER, 1 + 1 + 3)], ids=["learned", "later"]
)
def test_a_first_copy_may_keep_less_than_those_after_it(tmp_path, text: str, count: int) -> None:  # type: ignore[no-untyped-def]
    spec = tmp_path / "learned.yaml"
    spec.write_text(text)
    once, full = kept_in_one_run_and_in_full(Target(str(spec)).load_spec()[0])
    assert once == full
    assert len(once) == count


def test_the_smallest_cut_nearest_to_the_end() -> None:
    # 0 → 1 → 2 → 4 and 1 → 3 → 4: the middle is one node of 5, and behind it two of 2 each are less; 4 has 9.
    edges = {0: [1], 1: [2, 3], 2: [4], 3: [4]}
    assert smallest_cut(edges, {0: 8, 1: 5, 2: 2, 3: 2, 4: 9}, [0], [4]) == ([2, 3], {4})
    # Of equals, the one nearest to the end.
    assert smallest_cut(edges, {0: 4, 1: 4, 2: 2, 3: 2, 4: 4}, [0], [4]) == ([4], set())


def test_expectations_speak_of_one_position(tmp_path) -> None:  # type: ignore[no-untyped-def]
    text = """
name: tiny
vars: {B: 1, T: 4, d: 8}
inputs: {x: "randn(B, T, d)"}
layers:
  - q, k, v = Linear(3 * d)(x).chunk(3, -1)
  - scaled_dot_product_attention(q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1), is_causal=True)
expect:
  kv_cache: 64
"""
    spec = tmp_path / "tiny.yaml"
    spec.write_text(text)  # keys and values of 8 numbers of 4 bytes
    assert fwdscope.check(spec, cached=False).exit_code == 0
    spec.write_text(text.replace("64", "65"))
    assert fwdscope.check(spec, cached=False).exit_code == 1
    assert fwdscope.inspect(spec).shortfalls[0].what == "kv_cache"
    assert not fwdscope.inspect(spec, past=3).shortfalls


def test_a_sweep_takes_numbers_of_positions() -> None:
    from fwdscope.report.sweep import parse

    assert parse("past=1k:8k:x2").values == ("1024", "2048", "4096", "8192")
    assert parse("past=500,2k").values == ("500", "2048")
    with pytest.raises(ValueError, match="10x is no number of positions: write 8192 or 8k"):
        parse("past=10x")


def test_explain_shows_what_is_kept_and_the_arithmetic_with_it() -> None:
    found = fwdscope.explain("llama3_8b", "model.layers.0.self_attn", variables={"T": 1, "depth": 1}, past=1024)
    assert [(one.name, one.shape, times) for one, times in found.cached] == [
        ("keys", (1, 8, 1024, 128), 1),
        ("values", (1, 8, 1024, 128), 1),
    ]
    # Four projections of 4,096 by 4,096, 1,024, 1,024 and 4,096, and 32 heads that meet 1,025 keys and values of 128.
    assert found.macs == 4096 * (4096 + 1024 + 1024 + 4096) + 2 * 32 * 1025 * 128
