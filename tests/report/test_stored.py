"""Weights and caches as they are stored: bytes with scales, in memory and in what operators read."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import fwdscope
from fwdscope.cli import app
from fwdscope.errors import InputError
from fwdscope.inspection import inspect_target
from fwdscope.render.explanation import draw
from fwdscope.report import Report
from fwdscope.storage import Format, Stored, parse_format
from fwdscope.targets import Target

NONE = Stored()


@functools.cache
def report_of(name: str, stored: Stored = NONE, past: int = 0, **variables: int) -> Report:
    sizes = {key: str(value) for key, value in variables.items()}
    return inspect_target(Target(name, sizes, past=past, dtype="bfloat16", stored=stored))[0]


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("int8", 6 * 100 + 6 * 2),  # a scale of 2 bytes for each of 6 rows
        ("int4", 6 * 50 + 6 * 2),
        ("int8:g32", 6 * 100 + 6 * 4 * 2),  # 100 are 4 groups of at most 32
        ("int4:g100", 6 * 50 + 6 * 2),
        ("fp8", 6 * 100 + 4),  # one of 4 bytes
    ],
)
def test_a_format_has_its_scales(text: str, nbytes: int) -> None:
    assert parse_format(text).nbytes((6, 100), "bfloat16") == nbytes
    assert str(parse_format(text)) == text
    assert parse_format(text).nbytes((100,), "bfloat16") is None  # a bias
    assert parse_format(text).nbytes((6, 100), "int64") is None


@pytest.mark.parametrize("text", ["int9", "int4:128", "int4:g0", "fp8:g128", ""])
def test_other_formats_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no format of stored numbers: write int8, int4 or fp8"):
        parse_format(text)


def test_a_step_reads_the_weights_as_they_are_stored() -> None:
    dense, stored = (report_of("gpt2", one, T=1, depth=2) for one in (NONE, Stored(Format("int8"))))
    # Of each of 2 blocks: the four products by 768, of 768 by 3,072 four, and the head; 2 bytes become 1, and a row has
    # a scale of 2 bytes. Of the tables, a row is looked up.
    linear = 2 * 768 * (2304 + 768 + 3072 + 3072)
    rows = 2 * (2304 + 768 + 3072 + 768)
    saved = linear - 2 * rows + 50257 * 768 - 2 * 50257
    looked_up = 2 * (768 - 2)
    assert dense.totals.bytes_read - stored.totals.bytes_read == saved + looked_up
    tables = (1024 * 768 - 2 * 1024) + (50257 * 768 - 2 * 50257)
    assert dense.totals.param_bytes - stored.totals.param_bytes == linear - 2 * rows + tables
    assert dense.totals.peak_memory - stored.totals.peak_memory == linear - 2 * rows + tables
    # What is computed stays.
    assert (dense.totals.flops, dense.totals.params) == (stored.totals.flops, stored.totals.params)
    top = sum(row.bytes_read * row.repeat for row in stored.layers if row.depth == 1)
    assert top == stored.totals.bytes_read


def test_a_cache_in_fp8_is_half_of_one_in_bfloat16_and_read_so() -> None:
    dense, stored = (report_of("gpt2", one, 100, T=1, depth=2) for one in (NONE, Stored(cache=Format("fp8"))))
    # Keys and values of 2 layers, 768 wide; each tensor has a scale of 4 bytes.
    half = 2 * 2 * 100 * 768
    assert stored.totals.kv_cache == half + 2 * 2 * 4
    saved = half - 2 * 2 * 4
    assert dense.totals.kv_cache - stored.totals.kv_cache == saved
    assert dense.totals.bytes_read - stored.totals.bytes_read == saved
    assert dense.totals.peak_memory - stored.totals.peak_memory == saved
    assert stored.layers[0].kv_cache is not None


def test_a_weight_that_is_read_in_parts_is_said_to_be() -> None:
    # The packed projections of cross attention are read as those of the query and those of keys and values.
    report = report_of("transformer_decoder_layer", Stored(Format("int8")))
    assert any("1 weight read in parts" in note for note in report.notes)


def test_explain_shows_the_bytes_as_stored_with_their_scales() -> None:
    sizes = {"d": 64, "heads": 4, "kv_heads": 2, "depth": 2, "d_ff": 128, "vocab": 100, "T": 1}
    ask = functools.partial(fwdscope.explain, "llama3_8b", variables=sizes, past=10, weights_dtype="int4:g32")
    dense = fwdscope.explain("llama3_8b", "model.layers.1.self_attn.k_proj", variables=sizes, past=10)
    found = ask("model.layers.1.self_attn.k_proj", kv_dtype="int8")
    # 32 rows of 64: half a byte each, and two scales of 4 bytes a row.
    assert [one.bytes for one in found.parameters] == [32 * 64 // 2 + 32 * 2 * 4]
    assert dense.bytes_read - found.bytes_read == 4 * 32 * 64 - found.parameters[0].bytes
    product = next(one for one in found.operators if one.name == "mm")
    assert product.bytes_read == found.bytes_read
    text = draw(found, 100, color=False)
    assert "int4:g32" in text
    assert "bytes  32·64·4/8 + 32·2·4 = 1,280" in text

    whole = ask("model.layers.1.self_attn", kv_dtype="int8")
    assert "bytes  1·2·10·16 + 1·2·10·4 = 400" in draw(whole, 100, color=False)
    # Of the block: what its four products and its cache read fewer.
    before = fwdscope.explain("llama3_8b", "model.layers.1.self_attn", variables=sizes, past=10)
    weights = [(64, 64), (32, 64), (32, 64), (64, 64)]
    saved = sum(4 * n * m - n * m // 2 - n * m // 32 * 4 for n, m in weights)
    assert before.bytes_read - whole.bytes_read == saved + 2 * (4 * 320 - 400)
    attention = ask("model.layers.1.self_attn.scaled_dot_product_attention", kv_dtype="int8").operators[-1]
    # A query of 64, keys and values of 10 positions as stored and of one as computed, each of 32.
    assert attention.bytes_read == 4 * (64 + 2 * 32) + 2 * 400
    with pytest.raises(InputError, match="--kv-dtype is for what is kept"):
        fwdscope.explain("gpt2", "wte", kv_dtype="fp8")


def test_formats_are_for_what_is_counted() -> None:
    with pytest.raises(InputError, match="--kv-dtype is for what is kept"):
        report_of("gpt2", Stored(cache=Format("fp8")))


def test_products_in_eight_bits_are_estimated_at_their_peak(tmp_path: Path) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text("vars: {B: 4096}\ninputs: {x: 'randn(B, 4096)'}\nlayers:\n  - a = Linear(4096, bias=False)\n"
                    "  - b = Linear(4096, bias=False)\n")  # fmt: skip

    def run(*options: str) -> Result:
        return CliRunner().invoke(app, ["inspect", str(spec), *options])

    report = Report.loads(run("--on", "H100,A100", "--dtype", "fp8", "--format", "json").stdout)
    assert (report.dtype, report.products) == ("bfloat16", "float8")
    h100, a100 = report.estimates
    # Two products of 2 · 4096³ FLOPs at the published 1,979 TFLOP/s; an A100 has no float8.
    assert h100.compute_seconds == pytest.approx(4 * 4096**3 / 1979e12, rel=1e-3)
    assert (a100.seconds, a100.peaks.dtype) == (None, "float8")
    # Each weight in a byte for each element and 4 bytes of scale; inputs and outputs stay bfloat16, 2 bytes each. What
    # is between the products, 4096² bytes, stays in the cache of 50 MiB.
    moved = 2 * (4096**2 + 4) + 2 * 2 * 4096**2
    assert h100.memory_seconds == pytest.approx(moved / 3.35e12, rel=1e-6)
    # At a batch 8 times as large 128 MiB, written and read, lie between the products, but for those 50.
    larger = Report.loads(run("--set", "B=32768", "--on", "H100", "--dtype", "fp8", "--format", "json").stdout)
    moved += 7 * 4 * 4096**2 + 2 * (128 - 50) * 2**20
    assert larger.estimates[0].memory_seconds == pytest.approx(moved / 3.35e12, rel=1e-6)
    assert (
        "3.96 POP/s" in run("--on", "B200", "--dtype", "int8").stdout
        or "OP/s" in run("--on", "T4", "--dtype", "int8").stdout
    )
    assert "inspect " + str(spec) + " --dtype fp8 --on H100" in run("--on", "H100", "--dtype", "fp8").stdout
    for options, words in (
        (("--dtype", "fp8"), "--dtype fp8 is for estimates: add --on H100"),
        (("--dtype", "int8", "--on", "H100", "--device", "cpu"), "is estimated for a forward on meta"),
        (("--dtype", "int8", "--on", "H100", "--training"), "is estimated for a forward on meta"),
    ):
        result = run(*options)
        assert (result.exit_code, words in result.stderr) == (2, True), result.stderr
    assert (
        "fwdscope inspect --on H100 --dtype fp8"
        in CliRunner().invoke(app, ["bench", str(spec), "--dtype", "fp8"]).stderr
    )
