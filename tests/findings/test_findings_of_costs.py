"""Findings about MACs, bytes and memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_findings import IMAGE, MAPS, conv, linear, network, row

from fwdscope.findings import Finding, findings
from fwdscope.report import LayerRow, Report, Shape


def worked(report: Report, **totals: int) -> Report:
    """The report with the costs of its rows summed up, as a trace does it."""
    sums = {
        name: sum((getattr(each, name) or 0) * each.repeat for each in report.layers if each.depth == 1)
        for name in ("macs", "flops", "bytes_read", "bytes_written")
    }
    return replace(report, totals=replace(report.totals, **(sums | totals)))


def finding_about(report: Report, about: str) -> Finding | None:
    found = [finding for finding in findings(report) if about in finding.text]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.core
def test_a_layer_with_half_of_all_macs_is_named() -> None:
    stem = conv("stem", IMAGE, MAPS, macs=600)
    rows = [stem, linear("fc", (8, 64), 1000, macs=400)]
    finding = finding_about(worked(network(*rows)), "MACs")
    assert finding == Finding("note", "stem does 60.0 % of the MACs: 600 of 1.00 K", "stem")
    assert finding_about(worked(network(replace(stem, macs=399), rows[1])), "stem") is None
    # What is not counted may be more.
    assert finding_about(replace(worked(network(*rows)), uncounted=("aten.x",)), "MACs") is None


def test_the_layer_with_most_parameters_has_no_second_finding_for_its_macs() -> None:
    rows = [linear("fc1", (8, 3136), 128, macs=99), linear("fc2", (8, 128), 10, macs=1)]
    assert finding_about(worked(network(*rows)), "MACs") is None


def test_copies_together_are_not_one_layer_with_half_of_the_macs() -> None:
    stack = row("h", "Linear", ((8, 64), (8, 64)), kind="stack", macs=300)
    copies = linear("h.0–2", (8, 64), 64, kind="copies", repeat=3, depth=2, macs=100)
    assert finding_about(worked(network(stack, copies, linear("fc", (8, 64), 2, macs=1))), "MACs (") is None


def _tables(**fields: Any) -> list[LayerRow]:
    table = {"macs": 0} | fields
    return [
        row("words", "Embedding", ((1, 5), (1, 5, 8)), {"weight": (100, 8)}, **table),
        row("places", "Embedding", ((1, 5), (1, 5, 8)), {"weight": (50, 8)}, **table),
        linear("fc", (1, 5, 8), 200, macs=8000),
    ]


def test_tables_with_a_fifth_of_the_parameters_are_a_finding() -> None:
    finding = finding_about(network(*_tables()), "looked up")
    assert finding is not None
    # 150 · 8 of 1,200 + 8 · 200 + 200
    assert finding.text.startswith("words and places have 40.0 % of the parameters and no MACs")
    assert finding_about(network(*_tables(), linear("big", (1, 5, 200), 600)), "looked up") is None
    assert finding_about(network(*_tables(macs=None)), "looked up") is None


def test_a_table_that_the_head_reads_is_no_finding() -> None:
    head = row("", "linear", ((1, 5, 8), (1, 5, 100)), kind="expression", reads=("words.weight",))
    # What is left, 400 of 3,000, is little.
    assert finding_about(network(*_tables(), head), "looked up") is None


def _low(**fields: Any) -> list[LayerRow]:
    relu = row("relu", "ReLU", (MAPS, MAPS), macs=0, flops=2**20, bytes_read=2**25, bytes_written=2**25)
    work = conv("conv", IMAGE, MAPS, macs=2**30, flops=2**31, bytes_read=2**22, bytes_written=2**22)
    return [work, replace(relu, **fields)]


def test_steps_with_most_bytes_and_few_flops_are_a_finding() -> None:
    finding = finding_about(worked(network(*_low())), "of bytes")
    assert finding is not None
    # 2^26 of 2^26 + 2^23 bytes, 2^20 of 2^31 + 2^20 FLOPs
    assert finding.text.startswith("88.9 % of bytes for <0.1 % of FLOPs: relu (88.9 %)")
    assert finding.advice == "memory-bound: fused operators move fewer bytes"


@pytest.mark.parametrize(
    "fields",
    [{"flops": 2**28}, {"bytes_read": 2**20, "bytes_written": 2**20}, {"bytes_read": 0, "bytes_written": 0}],
    ids=["much arithmetic", "few bytes", "no bytes"],
)
def test_steps_with_many_flops_or_few_bytes_are_no_finding(fields: dict[str, int]) -> None:
    assert finding_about(worked(network(*_low(**fields))), "of bytes") is None


def test_weights_used_once_need_a_larger_batch_rather_than_fusion() -> None:
    one = linear("fc", (1, 4096), 4096, macs=2**24, flops=2**25, bytes_read=2**26, bytes_written=2**14)
    finding = finding_about(worked(network(one)), "of bytes")
    assert finding is not None
    assert finding.advice == "memory-bound: a larger batch reuses each weight more"


ATTENTION = (1, 12, 9, 64)


def _attention(text: str = "is_causal=True", keys: Shape = ATTENTION, **fields: Any) -> LayerRow:
    call = f"scaled_dot_product_attention(q, k, v, {text})"
    shapes = {"input_shapes": (ATTENTION, keys, keys), "kind": "expression", "text": call, "macs": 900}
    return row("attn.sdpa", "scaled_dot_product_attention", (ATTENTION, ATTENTION), **(shapes | fields))


@pytest.mark.core
def test_causal_attention_is_found_with_its_masked_share() -> None:
    finding = finding_about(worked(network(_attention(), linear("fc", (1, 9, 64), 64, macs=100))), "causally")
    assert finding is not None
    # (9 − 1) / (2 · 9) of 900 of 1,000
    assert finding.text == "attn.sdpa: 40.0 % of MACs are causally masked"
    assert finding.path == "attn.sdpa"


@pytest.mark.parametrize(
    "other",
    [
        _attention("attn_mask=mask"),
        _attention("is_causal=False"),
        _attention(keys=(1, 12, 5, 64)),
        _attention(varies=True),
        _attention(macs=None),
        _attention(input_shapes=()),
    ],
    ids=["mask", "not causal", "other keys", "varies", "not counted", "no shapes"],
)
def test_attention_whose_masked_share_is_not_certain_is_no_finding(other: LayerRow) -> None:
    assert finding_about(network(other), "causally") is None


def test_activations_above_twice_the_weights_are_a_finding() -> None:
    report = network(linear("fc", (8, 64), 64))
    large = replace(report.totals, param_bytes=2**26, peak_activations=2**28)
    finding = finding_about(replace(report, totals=large), "activations peak")
    assert finding is not None
    assert finding.text.startswith("activations peak at 256 MiB, 4.0 times the weights")
    for peak in (2**27 - 1, None):
        assert finding_about(replace(report, totals=replace(large, peak_activations=peak)), "activations peak") is None


def test_parameters_that_nothing_reads_are_named() -> None:
    report = replace(network(linear("fc", (8, 64), 64)), unused=("aux.weight", "aux.bias"))
    finding = finding_about(report, "not used")
    assert finding is not None
    assert finding.text == "aux.weight and aux.bias are not used in this forward"
