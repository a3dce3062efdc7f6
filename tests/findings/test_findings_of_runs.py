"""Findings about a run: NaN and infinity, dead and growing values, and times."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from paths import TESTS
from test_findings import linear, network, row

import fwdscope
from fwdscope.findings import Finding, findings, first_broken
from fwdscope.report import ActivationStats, LayerRow, NonFinite, Peaks, Report, Run

SHAPE = (8, 64)


def stats(low: float, high: float, zeros: int = 0, **fields: Any) -> ActivationStats:
    """512 values from one number to another."""
    given = {"mean": (low + high) / 2, "std": (high - low) / 4, "nans": 0, "infs": 0} | fields
    return ActivationStats(512, min=low, max=high, zeros=zeros, **given)


def ran(*rows: LayerRow, **run: Any) -> Report:
    report = replace(network(*rows), source="net.yaml")
    return replace(report, run=Run("cpu", "a processor", "float32", 0, **run))


def step(path: str, type: str, text: str | None = None, **fields: Any) -> LayerRow:
    return row(path, type, (SHAPE, SHAPE), text=text or type, **fields)


def finding_about(report: Report, about: str) -> Finding | None:
    found = [finding for finding in findings(report) if about in finding.text]
    assert len(found) <= 1
    return found[0] if found else None


# --- the first NaN ---------------------------------------------------------------------------------------------------


def _broken(
    type: str, text: str, *inputs: ActivationStats, nans: int = 0, infs: int = 0, dtype: str = "float32"
) -> Finding:
    bad = stats(0, 1, nans=nans, infs=infs)
    rows = [linear("fc", SHAPE, 64), step("", type, text, line=7, kind="expression", stats=bad, output_dtypes=(dtype,))]
    first = NonFinite("", text, 7, nans, infs, inputs, (type,), inputs)
    found = finding_about(ran(*rows, first_nonfinite=first), "is the first with")
    assert found is not None
    return found


@pytest.mark.core
def test_the_first_step_that_broke_is_the_first_finding_with_its_line_and_its_inputs() -> None:
    finding = _broken("exp", "exp(a)", stats(-210.4, 130.2), infs=17)
    assert finding == Finding(
        "warning",
        "exp(a) (line 7) is the first with 17 Inf, from inputs −210 … 130: exp overflows float32 from 88.7 on",
        "exp(a)",
        "subtract the maximum first, as softmax and logsumexp do",
    )


@pytest.mark.parametrize(
    ("type", "text", "inputs", "bad", "dtype", "cause"),
    [
        ("exp", "exp(a)", [stats(0, 12)], {"infs": 1}, "float16", "exp overflows float16 from 11.1 on"),
        ("exp2", "exp2(a)", [stats(0, 130)], {"infs": 1}, "float32", "exp2 overflows float32 from 128 on"),
        ("sinh", "a.sinh()", [stats(0, 90)], {"infs": 1}, "float32", "sinh overflows float32 from 89.4 on"),
        ("div", "exp(a * 2) / b", [stats(0, 1), stats(0, 1, zeros=2)], {"infs": 2}, "float32", "a division by 0"),
        (
            "pow",
            "a ** 0.5",
            [stats(-2, 1), stats(0.5, 0.5)],
            {"nans": 3},
            "float32",
            "power of 0.5: the root of a negative",
        ),
        ("pow", "a ** -2", [stats(0, 1, zeros=2), stats(-2, -2)], {"infs": 2}, "float32", "power of −2 is one over 0"),
        ("pow", "a ** 20", [stats(0, 1e3), stats(20, 20)], {"infs": 2}, "float32", "1,000 to the power of 20 exceeds"),
        ("acos", "acos(a)", [stats(-4, 3)], {"nans": 2}, "float32", "from −4.00 to 3.00 is NaN outside [−1, 1]"),
        ("atanh", "atanh(a)", [stats(-1, 0.5)], {"infs": 2}, "float32", "atanh of −1.00 is −∞"),
        (
            "xlogy",
            "xlogy(a, b)",
            [stats(1, 2), stats(-1, 2)],
            {"nans": 2},
            "float32",
            "logarithm of values down to −1.00",
        ),
        ("log", "log(a)", [stats(0, 1, zeros=3)], {"infs": 3}, "float32", "the logarithm of 0 is −∞"),
        ("log", "log(a)", [stats(-2, 1)], {"nans": 3}, "float32", "of values down to −2.00 is NaN"),
        ("log1p", "log1p(a)", [stats(-1, 1)], {"infs": 3}, "float32", "the logarithm of −1.00 is −∞"),
        ("sqrt", "a.sqrt()", [stats(-0.5, 1)], {"nans": 3}, "float32", "root of values down to −0.500"),
        ("rsqrt", "rsqrt(a)", [stats(0, 1, zeros=1)], {"infs": 1}, "float32", "one over 0 is infinite"),
        ("softmax", "softmax(a, -1)", [stats(0, 1, infs=64)], {"nans": 64}, "float32", "all −∞ is 0 / 0"),
        ("Linear", "Linear", [stats(-900, 900)], {"infs": 5}, "float16", "a result beyond 65,504, the largest float16"),
        ("Linear", "Linear", [stats(-1e25, 1e25)], {"infs": 5}, "float32", "products of values of 1.00e25 exceed"),
        ("div", "a / b", [stats(0, 1), stats(0, 1, zeros=2)], {"infs": 2}, "float32", "a division by 0"),
        ("sub", "a - b", [stats(0, 1, infs=1), stats(0, 1)], {"nans": 1}, "float32", "∞ − ∞ and 0 · ∞"),
        ("Linear", "Linear", [stats(0, 1, nans=1)], {"nans": 8}, "float32", "its inputs contain NaN"),
    ],
)
def test_the_likely_cause_of_nan_follows_from_the_inputs(
    type: str, text: str, inputs: list[ActivationStats], bad: dict[str, int], dtype: str, cause: str
) -> None:
    finding = _broken(type, text, *inputs, **bad, dtype=dtype)
    assert cause in finding.text
    assert finding.advice


@pytest.mark.parametrize(
    ("type", "text", "inputs", "bad"),
    [
        ("exp", "exp(a)", [stats(0, 12)], {"infs": 1}),
        ("exp", "a.exp()", [stats(0, 12)], {"infs": 1}),
        ("log", "log(a)", [stats(0.1, 1)], {"infs": 1}),
        # Its divisor, the second, holds no zero.
        ("div", "a / b", [stats(0, 1, zeros=2), stats(1, 2)], {"nans": 1}),
        ("prologue", "prologue(a)", [stats(0, 1)], {"nans": 1}),
    ],
)
def test_a_cause_that_the_inputs_contradict_is_not_named(
    type: str, text: str, inputs: list[ActivationStats], bad: dict[str, int]
) -> None:
    finding = _broken(type, text, *inputs, **bad)
    assert finding.text.endswith(f"… {'12.0' if type == 'exp' else '1.00' if type != 'div' else '2.00'}")
    assert finding.advice is None


def test_under_autocast_the_type_that_overflows_is_that_of_the_run() -> None:
    first = NonFinite("fc", "Linear", 3, 0, 4, (stats(-900, 900),))
    fc = linear("fc", SHAPE, 64, stats=stats(0, 1, infs=4), line=3)
    report = ran(fc, first_nonfinite=first)
    assert report.run is not None
    cast = replace(report, run=replace(report.run, dtype="float16", precision="autocast"))
    finding, without = finding_about(cast, "is the first with"), finding_about(report, "is the first with")
    assert finding is not None
    assert "the largest float16" in finding.text
    assert without is not None
    assert "the largest" not in without.text


def test_the_row_that_broke_is_found_by_path_else_by_text_and_line() -> None:
    bad = stats(0, 1, nans=1)
    block = row("h", "Block", (SHAPE, SHAPE), kind="copies", repeat=3, stats=bad)
    rows = [
        block,
        linear("h.0.a", SHAPE, 64, depth=2, line=4),
        linear("h.0.b", SHAPE, 64, depth=2, line=5, stats=bad),
        linear("out", SHAPE, 64, line=9, stats=bad),
    ]
    assert first_broken(ran(*rows)) is None
    assert first_broken(ran(*rows, first_nonfinite=NonFinite("out", "Linear", 9, 1, 0, ()))) == 3
    # A copy that the report does not list.
    assert first_broken(ran(*rows, first_nonfinite=NonFinite("h.2.b", "Linear", 5, 1, 0, ()))) == 2
    # Nothing but the order of execution tells: a mask before it, all of it −∞, is not where NaN began.
    masked = replace(rows[1], stats=stats(0, 1, infs=512))
    assert first_broken(ran(block, masked, *rows[2:], first_nonfinite=NonFinite("x", "y", 1, 1, 0, ()))) == 2


# --- layers that say nothing -----------------------------------------------------------------------------------------


@pytest.mark.core
def test_a_relu_of_zeros_is_dead() -> None:
    dead = step("relu", "ReLU", stats=stats(0, 0, zeros=512))
    finding = finding_about(ran(linear("fc", SHAPE, 64), dead), "dead")
    assert finding is not None
    assert finding.level == "warning"
    assert finding.path == "relu"
    assert finding.text == "relu gives only zeros: dead, nearly all inputs are negative"
    # 508 of 512 are 99.2 %, 506 are 98.8 %.
    nearly = finding_about(ran(step("relu", "ReLU", stats=stats(0, 1, zeros=508))), "dead")
    assert nearly is not None
    assert "gives 99.2 % zeros" in nearly.text
    assert finding_about(ran(step("relu", "ReLU", stats=stats(0, 1, zeros=506))), "dead") is None


def test_several_dead_relus_are_one_finding() -> None:
    rows = [step(f"relu_{i}", "ReLU", stats=stats(0, 0, zeros=512)) for i in range(5)]
    finding = finding_about(ran(*rows), "dead")
    assert finding is not None
    assert finding.path is None
    assert finding.text.startswith("relu_0, relu_1, relu_2 and 2 more give only zeros")


def test_a_saturated_tanh_is_found_with_the_least_share_that_must_be() -> None:
    # A mean square of 0.95 leaves at least (0.95 − 0.81) / 0.19 of the values beyond ±0.9.
    seen = stats(-1, 1, mean=0.0, std=math.sqrt(0.95))
    finding = finding_about(ran(step("tanh", "Tanh", stats=seen)), "saturated")
    assert finding is not None
    assert finding.level == "warning"
    assert "at least 73.7 % of its values" in finding.text
    assert finding_about(ran(step("tanh", "Tanh", stats=replace(seen, std=math.sqrt(0.9)))), "saturated") is None
    assert finding_about(ran(step("id", "Linear", stats=seen)), "saturated") is None


def test_a_sigmoid_is_saturated_at_both_ends_of_its_own_range() -> None:
    # As tanh(x / 2), which is 2 y − 1, its mean is 0 and its mean square 0.96.
    seen = stats(0, 1, mean=0.5, std=math.sqrt(0.96) / 2)
    assert finding_about(ran(step("gate", "Sigmoid", stats=seen)), "saturated") is not None
    assert finding_about(ran(step("gate", "Sigmoid", stats=replace(seen, std=0.2))), "saturated") is None


def test_a_trained_network_may_be_sure() -> None:
    seen = stats(0, 1, mean=0.5, std=0.495)
    finding = finding_about(ran(step("gate", "Sigmoid", stats=seen), weights="trained.safetensors"), "saturated")
    assert finding is not None
    assert finding.level == "note"


def test_a_layer_of_one_number_loses_the_input() -> None:
    flat = linear("fc", SHAPE, 64, stats=stats(0, 0, zeros=512))
    report = ran(flat, step("norm", "LayerNorm", stats=stats(0, 0)))
    outputs = tuple(replace(tensor, stats=stats(0, 1)) for tensor in report.outputs)
    finding = finding_about(replace(report, outputs=outputs), "everywhere")
    assert finding == Finding(
        "note",
        "fc gives 0 everywhere, and so does 1 layer after it",
        "fc",
        "its weight is zero, which some residual branches start with",
    )
    assert finding_about(ran(linear("fc", SHAPE, 64, stats=stats(0, 1))), "everywhere") is None


def test_a_network_whose_results_are_one_number_is_a_warning() -> None:
    report = ran(linear("fc", SHAPE, 64, stats=stats(0.5, 0.5)))
    outputs = tuple(replace(tensor, stats=stats(0.5, 0.5)) for tensor in report.outputs)
    finding = finding_about(replace(report, outputs=outputs), "everywhere")
    assert finding is not None
    assert (finding.level, finding.advice) == ("warning", None)


# --- values that grow or shrink ---------------------------------------------------------------------------------------


def _stack(stds: tuple[float | None, ...], inside: str = "Linear", **run: Any) -> Report:
    copies = row(
        "h.0", "Block", (SHAPE, SHAPE), kind="copies", depth=2, repeat=len(stds), copy_stds=stds, stats=stats(0, 1)
    )
    rows = [
        row("h", "Block", (SHAPE, SHAPE), kind="stack"),
        copies,
        linear("h.0.fc", SHAPE, 64, depth=3, macs=4096, stats=stats(0, 1)),
        row("h.0.act", inside, (SHAPE, SHAPE), depth=3),
    ]
    return ran(*rows, **run)


def test_an_exploding_stack_is_found_with_its_factor_and_a_better_initialisation() -> None:
    # √64 at each of 64 layers is beyond float32 behind the 42nd.
    finding = finding_about(_stack((*(8.0**n for n in range(1, 43)), *[None] * 22)), "grow")
    assert finding is not None
    assert finding.level == "warning"
    assert finding.path == "h"
    assert finding.text == (
        "values grow 8.00-fold a layer over 42 layers of h: std 8.00 after the first, 8.51e37 after the last finite one"
    )
    # √(2 / (64 + 64)) = 1/8
    assert finding.advice is not None
    assert finding.advice.startswith("init: Linear.weight: xavier_normal() (std √(2 / (64 + 64)) = 0.125)")


def test_behind_a_relu_the_initialisation_makes_up_for_the_half_it_drops() -> None:
    finding = finding_about(_stack(tuple(4.0**n for n in range(8)), "ReLU"), "grow")
    # √(2 / 64)
    assert finding is not None
    assert "kaiming_normal() (std √(2 / 64) = 0.177)" in (finding.advice or "")


def test_a_vanishing_stack_is_a_finding() -> None:
    finding = finding_about(_stack(tuple(0.08 * 12.5**-n for n in range(12))), "shrink")
    assert finding is not None
    assert "shrink 12.5-fold a layer over 12 layers of h" in finding.text
    assert finding.text.endswith("after the last")


@pytest.mark.parametrize(
    "stds",
    [
        # As the residual stream of 126 blocks at initialisation.
        tuple(math.sqrt(n) for n in range(1, 127)),
        (1.0,) * 64,
        # One jump is no trend, and three layers are none.
        (*[1.0] * 30, *[1e6] * 2),
        (1.0, 1e3, 1e6),
        (None, None, None, None, None),
        (0.0, 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_values_that_do_not_grow_by_a_factor_a_layer_are_no_finding(stds: tuple[float | None, ...]) -> None:
    assert finding_about(_stack(stds), "-fold") is None


def test_the_residual_stream_of_trained_weights_may_grow() -> None:
    finding = finding_about(_stack(tuple(2.0**n for n in range(24)), weights="gpt2.safetensors"), "grow")
    assert finding is not None
    assert (finding.level, finding.advice) == ("note", None)


def test_a_module_of_pythons_may_have_been_trained() -> None:
    finding = finding_about(replace(_stack(tuple(2.0**n for n in range(24))), source=None), "grow")
    assert finding is not None
    assert finding.level == "note"
    assert (finding.advice or "").startswith("if untrained: torch.nn.init.xavier_normal_ (std")
    # What breaks is wrong in either case.
    broken = finding_about(replace(_stack((*(8.0**n for n in range(1, 43)), *[None] * 22)), source=None), "grow")
    assert broken is not None
    assert broken.level == "warning"


def test_batch_norms_that_never_trained_are_named_as_the_likely_reason() -> None:
    stds = tuple(0.5**n for n in range(20))
    finding = finding_about(_stack(stds, "BatchNorm2d"), "shrink")
    assert finding is not None
    assert finding.level == "note"
    assert "--train" in (finding.advice or "")
    trained = finding_about(_stack(stds, "BatchNorm2d", mode="train"), "shrink")
    assert trained is not None
    assert trained.level == "warning"


def test_layers_written_one_by_one_are_seen_as_a_stack_is() -> None:
    rows = [linear(f"fc{i}", SHAPE, 64, macs=1, stats=stats(-1, 1, std=10.0**i)) for i in range(6)]
    finding = finding_about(ran(*rows), "grow")
    assert finding is not None
    assert "grow 10.0-fold a layer over 6 layers of fc0 to fc5" in finding.text


# --- where the time went ---------------------------------------------------------------------------------------------

PEAKS = Peaks("a processor", "float32", 1e9, 1e8, None, "measured")


def _timed(*rows: LayerRow, peaks: Peaks | None = None) -> Report:
    report = ran(*rows, peaks=peaks)
    flops = sum((one.flops or 0) * one.repeat for one in rows if one.depth == 1)
    return replace(report, totals=replace(report.totals, flops=flops))


def test_a_layer_slow_for_its_flops_is_a_finding() -> None:
    rows = [
        linear("fc", SHAPE, 64, flops=9900, latency=0.7e-3),
        step("norm", "LayerNorm", flops=100, latency=0.3e-3),
    ]
    finding = finding_about(_timed(*rows), "of the FLOPs")
    assert finding == Finding("note", "norm takes 30.0 % of the time for 1.0 % of the FLOPs", "norm")
    # 5 % of the time is not much, and 4 % of the FLOPs in 15 % of it not far from them.
    assert finding_about(_timed(rows[0], replace(rows[1], latency=0.03e-3)), "of the FLOPs") is None
    assert finding_about(_timed(rows[0], replace(rows[1], latency=0.12e-3, flops=400)), "of the FLOPs") is None


def test_layers_of_one_type_are_slow_together() -> None:
    norms = [step(f"norm{i}", "LayerNorm", flops=10, latency=0.05e-3) for i in range(6)]
    norms[0] = replace(norms[0], kind="copies", repeat=3)
    finding = finding_about(_timed(linear("fc", SHAPE, 64, flops=99000, latency=0.6e-3), *norms), "of the FLOPs")
    assert finding is not None
    # (3 + 5) · 0.05 of 0.6 + 0.4
    assert finding.text.startswith("LayerNorm × 8 take 40.0 % of the time")


def test_with_uncounted_operators_no_finding_mentions_flops() -> None:
    rows = [linear("fc", SHAPE, 64, flops=9900, latency=0.7e-3), step("norm", "Norm", flops=1, latency=0.3e-3)]
    assert finding_about(replace(_timed(*rows), uncounted=("aten.x",)), "of the FLOPs") is None


def _moving(path: str, latency: float, flops: int = 1000, moved: int = 10_000) -> LayerRow:
    fields = {"flops": flops, "bytes_read": moved, "bytes_written": 0, "latency": latency}
    return step(path, "Sum" if flops == 1000 else "Product", **fields)


def test_memory_bound_layers_with_most_of_the_time_are_a_finding() -> None:
    # 10,000 bytes at 10^8 a second are 0.1 ms; the ridge is at 10 FLOPs a byte.
    rows = [_moving("a", 0.3e-3), _moving("b", 0.2e-3), _moving("c", 0.4e-3, flops=10**6)]
    finding = finding_about(_timed(*rows, peaks=PEAKS), "memory-bound")
    assert finding is not None
    assert finding.text == ("55.6 % of the time is memory-bound: Sum × 2 (55.6 %)")
    assert finding_about(_timed(*rows[1:], peaks=PEAKS), "memory-bound") is None
    assert finding_about(_timed(*rows), "memory-bound") is None


def test_a_layer_far_below_its_roofline_is_a_finding() -> None:
    # At least 0.1 ms for the bytes: 5 % of the 2 ms taken.
    rows = [_moving("slow", 2e-3), _moving("fast", 0.11e-3), _moving("product", 1e-3, flops=10**6)]
    finding = finding_about(_timed(*rows, peaks=PEAKS), "of roofline")
    assert finding is not None
    assert finding.path == "slow"
    assert "slow (5.0 % of roofline) takes 64.3 % of the time" in finding.text
    assert finding_about(_timed(replace(rows[0], latency=0.9e-3), *rows[1:], peaks=PEAKS), "of roofline") is None


@pytest.mark.parametrize(
    ("latency", "calls", "device", "longest"),
    [
        # A launch takes some 10 µs, and a layer is one to three of them: 2 ms have another reason.
        (2e-3, 1, "cpu", None),
        (20e-6, 1, "cpu", "20.0 µs"),
        (50e-6, 1, "cpu", None),
        (50e-6, 1, "cuda:0", "50.0 µs"),
        (2e-3, 100, "cpu", "20.0 µs"),
    ],
)
def test_a_layer_is_launch_bound_only_if_a_call_takes_as_long_as_a_launch(
    latency: float, calls: int, device: str, longest: str | None
) -> None:
    advice = longest and f"launch-bound, a call takes {longest} at most: use a larger batch or --compile"
    rows = [replace(_moving("slow", latency, moved=8), calls=calls), _moving("fast", 0.01 * latency, flops=10**3)]
    report = _timed(*rows, peaks=PEAKS)
    assert report.run is not None
    finding = finding_about(replace(report, run=replace(report.run, device=device)), "of roofline")
    assert finding is not None
    assert finding.advice == advice


def test_the_static_word_on_bytes_gives_way_to_the_measured_one() -> None:
    rows = [_moving("a", 0.3e-3, moved=10**9), _moving("b", 1e-4, flops=10**6)]
    report = _timed(*rows, peaks=PEAKS)
    report = replace(report, totals=replace(report.totals, bytes_read=10**9 + 10_000, bytes_written=0))
    assert finding_about(report, "of bytes") is None
    still = replace(report, layers=tuple(replace(one, latency=None) for one in report.layers))
    assert finding_about(still, "of bytes") is not None


def test_warnings_of_a_run_come_before_those_of_the_structure() -> None:
    rows = [
        linear(f"fc{i}", SHAPE, 64, macs=1, stats=stats(-1, 1, std=10.0**i), sources=(i - 1,) * (i > 0))
        for i in range(6)
    ]
    assert "grow" in findings(ran(*rows))[0].text
    assert "nothing between" in findings(ran(*rows))[1].text


def test_a_report_without_a_run_has_no_findings_about_runs() -> None:
    rows = [linear(f"fc{i}", SHAPE, 64) for i in range(2)]
    assert all("nothing between" in one.text or "of the parameters" in one.text for one in findings(network(*rows)))


# --- whole networks, run on the processor ----------------------------------------------------------------------------

SPECS = TESTS / "run" / "specs"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("softmax_overflow", ["e (line 8) is the first with 32 Inf", "exp overflows float32 from 88.7 on"]),
        ("log_of_zero", ["logs (line 8) is the first with", "Inf, from inputs 0 …", "the logarithm of 0 is −∞"]),
        ("dead_relu", ["dead gives only zeros"]),
        ("exploding_stack", ["is the first with", "the largest float32"]),
        ("exploding_stack", ["layers of stack: items differ by", "-fold a layer over 4"]),
    ],
)
def test_the_first_layer_with_nan_of_a_real_run_is_named(spec: str, words: list[str]) -> None:
    report = fwdscope.inspect(SPECS / f"{spec}.yaml", device="cpu", latency=False)
    warnings = [finding.text for finding in findings(report) if finding.level == "warning"]
    assert any(all(word in text for word in words) for text in warnings), warnings


def test_a_network_with_a_mask_of_infinities_has_nothing_wrong_with_its_values() -> None:
    report = fwdscope.inspect(SPECS / "masked.yaml", device="cpu", latency=False)
    assert any(row.stats and row.stats.infs for row in report.layers)
    assert not [finding for finding in findings(report) if finding.level == "warning"]
    assert first_broken(report) is None
