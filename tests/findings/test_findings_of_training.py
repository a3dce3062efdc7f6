"""Findings about a training step."""

from __future__ import annotations

from dataclasses import replace

import sample_reports

from fwdscope.findings import findings
from fwdscope.report import Alternative, Report

# MiB of the sample's step: 24 of 84.4 at the peak are saved, of 48 in all, of which each of four layers keeps 12.
SCALE, MEGA = 12, 2**20


def step(*alternatives: Alternative) -> Report:
    report = sample_reports.trained(SCALE)
    assert report.training is not None
    return replace(report, training=replace(report.training, alternatives=alternatives))


def texts(report: Report) -> list[tuple[str, str | None]]:
    words = ("saved for the backward", "the optimizer's state", "checkpointing")
    return [(one.text, one.advice) for one in findings(report) if any(word in one.text for word in words)]


def test_what_saves_most_is_named_where_it_decides_the_peak() -> None:
    report = step()
    assert report.training is not None
    assert texts(sample_reports.trained()) == []  # of a peak that any device has
    (found,) = texts(report)
    # Of four layers of one MiB times 12 each.
    assert found[0].startswith("48.0 MiB saved for the backward: ")
    assert "(50.0 %)" in found[0]  # both Linear
    # At another peak the optimizer decides.
    assert texts(replace(report, training=replace(report.training, peak_saved=8 * MEGA))) == []


def test_other_steps_are_named_where_they_hold_less() -> None:
    report = step(
        Alternative("--optimizer sgd", "optimizer", 40 * MEGA, 48 * MEGA, 60),
        Alternative("--optimizer momentum", "optimizer", 50 * MEGA, 48 * MEGA, 70),
        Alternative("--optimizer adafactor", "optimizer", 90 * MEGA, 48 * MEGA, 80),
        Alternative("--checkpoint 'h.*'", "checkpoint", 60 * MEGA, 8 * MEGA, 100),
    )
    assert report.training is not None
    large = replace(report.training, peak_memory=80 * MEGA, peak_saved=0)
    # A state of 2 · 12 MiB, and four phases of 20 FLOPs, 80 in all.
    optimizer, checkpoint = texts(replace(report, training=large))
    share = "the optimizer's state is 30.0 % of the peak of 80.0 MiB"
    assert optimizer[0] == f"{share}, which would be 50.0 MiB with momentum, 40.0 MiB with sgd"
    saves = "checkpointing the blocks keeps 8.00 MiB of 48.0 MiB: 20.0 MiB less at the peak, for 20 FLOPs more (25.0 %)"
    assert checkpoint == (saves, "--checkpoint 'h.*'")
    # One that holds as much is no advice.
    assert texts(replace(report, training=replace(large, peak_memory=40 * MEGA))) == []
