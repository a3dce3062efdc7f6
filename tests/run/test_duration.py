"""Estimates of how long a run takes, and the choice of a device by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fwdscope.device.local import LocalDevice
from fwdscope.inspection import make_subject
from fwdscope.report import Peaks, Totals
from fwdscope.run import choose
from fwdscope.run.duration import Work, estimate_run
from fwdscope.settings import RunSettings
from fwdscope.targets import Target

SPEC = """\
inputs: {x: "randn(2, 3, 8, 8)"}
blocks:
  Body:
    - Conv2d(3, 3, padding=1)
    - ReLU
layers:
  - 4 * Body
  - Flatten
  - Linear(10)
"""
NOTHING = Totals(0, 0, 0, 0, 0, bytes_written=0)
# One billion of everything in a second.
SPEEDS = Peaks("", "float32", 1e9, 1e9, None, "measured")


def network(tmp_path: Path, text: str = SPEC) -> Any:
    (tmp_path / "net.yaml").write_text(text)
    return make_subject(Target(str(tmp_path / "net.yaml")))


def test_the_work_of_a_trace_counts_every_copy(tmp_path: Path) -> None:
    work = Work.of(network(tmp_path).trace.root)
    # Of each of 4 copies: 2·(2·3·8·8)·(3·3·3) and the bias, 2·3·8·8.
    assert work.convolutions == 4 * (2 * 384 * 27 + 384)
    # 2·(2·10)·192 and the bias, 2·10.
    assert work.products == 2 * 20 * 192 + 20
    # Of each of 4 ReLUs 384 values of 4 bytes read and written; flatten is a view.
    assert work.moved == 4 * 2 * 384 * 4
    # Convolutions: 384 in, 384 out, 81 + 3 weights; the last layer: 384 in, 20 out, 1920 + 10 weights.
    assert work.operands == 4 * (4 * (384 + 384 + 84) + 0) + 4 * (384 + 20 + 1930)
    # A convolution and a ReLU in each copy, a view, and a product that reads its weight transposed, a view too.
    assert work.operators in (10, 11)


@pytest.mark.parametrize(
    ("work", "settings", "seconds"),
    [
        # One product of a second, observed once: 1.1.
        (Work(products=10**9, operators=0), RunSettings(latency=False), 1.1),
        # 1.5 for a convolution of a second.
        (Work(convolutions=10**9), RunSettings(latency=False), 1.5),
        # With times: observed once, as a graph once, two to warm up, at least 3 repeats though 2 s are over, one for
        # the memory, one to warm up, and then 2 / 1.1 passes over the layers.
        (Work(products=10**9), RunSettings(), 1.1 * (1 + 1 + 2 + 3 + 1 + 1 + 2 / 1.1)),
        # Short ones: 5 repeats and 5 passes.
        (Work(products=10**7), RunSettings(), 0.011 * (1 + 1 + 2 + 5 + 1 + 1 + 5)),
    ],
    ids=["product", "convolution", "timed", "short"],
)
def test_an_estimate_is_the_sum_of_the_passes(work: Work, settings: RunSettings, seconds: float) -> None:
    # 8 ms are those of any run.
    assert estimate_run(work, NOTHING, SPEEDS, "cpu", settings) == pytest.approx(seconds + 0.008)


def test_weights_and_statistics_are_part_of_an_estimate() -> None:
    totals = Totals(165_000_000, 0, 0, 0, 0, bytes_written=10**8)
    # 165 M parameters at 165 M a second, and 10 reads of 10^8 bytes at 10^9 a second.
    assert estimate_run(Work(), totals, SPEEDS, "cpu", RunSettings(latency=False)) == pytest.approx(2.008)
    assert estimate_run(Work(), totals, SPEEDS, "cpu", RunSettings(latency=False, stats=False)) == pytest.approx(1.008)


def chosen(subject: Any, speeds: Peaks | None, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, str]:
    def measure(device: LocalDevice, dtype: str) -> Peaks:
        assert speeds is not None, "measured for a network that is quick anywhere"
        return speeds

    monkeypatch.setattr(choose, "preferred", lambda: LocalDevice("cpu", "a CPU", 2**36, 2**36))
    monkeypatch.setattr(choose, "measure_speeds", measure)
    device, note = choose.choose_device(RunSettings(None), subject.report(), subject.trace.root)
    return device is not None, note


def test_a_device_is_measured_only_for_a_network_that_may_take_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = network(tmp_path), make_subject(Target("resnet50"))
    assert chosen(small, None, monkeypatch) == (True, "")
    # A CPU of two cores.
    assert chosen(large, Peaks("", "float32", 2e11, 1e10, None, "measured", 4e11), monkeypatch) == (True, "")
    runs, note = chosen(large, Peaks("", "float32", 1e10, 1e10, None, "measured"), monkeypatch)
    assert not runs
    # 1.5·8.2 GFLOPs / 10 GFLOP/s, 0.3 s more for memory, some ten times.
    assert note.startswith("not run: it would take about 1")
    assert note.endswith(" s on cpu, more than 5 s; --device cpu runs it anyway")
