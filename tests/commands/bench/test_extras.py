"""Requests, conditions and figures in CSV, as the command gives them; and what excludes one another."""

from __future__ import annotations

import csv
import json
import re
import signal
import zlib
from base64 import b64decode
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from known_peaks import remember_peaks
from typer.testing import CliRunner, Result

from fwdscope.cli import app
from fwdscope.commands.bench.extras import time_transfers
from fwdscope.render import html
from fwdscope.render.bench import draw
from fwdscope.render.sweep import knee_of
from fwdscope.report import Energy, Latency, Load, Report, Transfers
from fwdscope.report.speedup import differences
from fwdscope.report.sweep import Sweep
from fwdscope.timing.clock import HostClock

QUICK = ("--device", "cpu", "--threads", "1", "--repeats", "3", "--warmup", "1", "--budget", "0.3")


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(remember_peaks(tmp_path_factory.mktemp("cache"))))
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def bench(*options: str) -> Result:
    return CliRunner().invoke(app, ["bench", "mlp_xor", *QUICK, *options])


def test_requests_and_conditions_stand_in_text_json_and_csv(tmp_path: Path) -> None:
    result = bench("--rate", "200/s", "--energy", "--format", "json", "-o", str(tmp_path / "x.json"))
    assert result.exit_code == 0, result.stderr
    report = Report.loads((tmp_path / "x.json").read_text())
    assert report.run is not None
    load = report.run.load
    assert load is not None
    # 60 are expected in 0.3 s; the seed draws as many each time.
    assert (load.rate, load.concurrency, load.served) == (200.0, 1, load.sent)
    assert 40 < load.sent < 80
    assert load.latency.median >= load.service * 0.2
    text = CliRunner().invoke(app, ["view", str(tmp_path / "x.json"), "--no-open"])
    assert text.exit_code == 0
    table = bench("--concurrency", "2", "--no-layers").stdout
    assert "requests" in table
    assert "one after the other, 2 workers" in table
    assert "peak (measured);" in table
    cold = bench("--flush-l2", "--no-layers", "--rate", "90/min", "--format", "csv")
    assert (cold.exit_code, "--flush-l2 is for forwards one by one" in cold.stderr) == (2, True)
    rows = list(csv.DictReader(StringIO(bench("--flush-l2", "--format", "csv").stdout)))
    report = Report.loads(bench("--flush-l2", "--format", "json").stdout)
    assert {row["device"] for row in rows} == {"cpu"}
    assert {(row["is_cold"], row["threads"], row["whole_repeats"]) for row in rows} == {("true", "1", "3")}
    layer = next(row for row in rows if row["type"] == "Linear")
    # What the table shows of a layer: its share, rate, intensity and what bounds it.
    flops = float(layer["flops"]) / float(layer["latency"])
    assert float(layer["flops_per_second"]) == pytest.approx(flops)
    assert float(layer["share_of_time"]) > 0
    assert layer["bound"] in ("compute", "memory")
    assert "cold caches" in bench("--flush-l2", "--no-layers").stdout


def test_a_sweep_has_every_setting_in_each_row_of_csv_and_names_the_knee() -> None:
    result = bench("--vary", "B=1,2,4", "--format", "csv")
    rows = list(csv.DictReader(StringIO(result.stdout)))
    assert [row["B"] for row in rows] == ["1", "2", "4"]
    for name in ("device", "device_name", "dtype", "threads", "is_graph", "is_cold", "repeats_are", "of_peak", "iqr"):
        assert all(row[name] for row in rows), name
    sweep = Sweep.from_json(json.loads(bench("--vary", "B=1,2,4", "--format", "json").stdout))
    assert with_medians(sweep, 1.0, 1.0, 1.0) == "no knee up to B=4: items/s still grow"
    # 1, 1.9 and 2 items a second: the second has 95 % of the most, in 1.05 of 2 seconds.
    assert with_medians(sweep, 1.0, 2 / 1.9, 2.0) == (
        "knee of the curve: B=2 reaches 95.0 % of the items/s of B=4, whose forward takes 1.9 × as long"
    )
    assert with_medians(sweep, 1.0, 1.0, 2.1) == "knee of the curve: B=2, with the most items/s"


def with_medians(sweep: Sweep, *medians: float) -> str:
    points = []
    for point, median in zip(sweep.points, medians, strict=True):
        assert point.report is not None
        assert point.report.run is not None
        run = replace(point.report.run, latency=Latency.of([median]))
        points.append(replace(point, report=replace(point.report, run=run)))
    return knee_of(replace(sweep, points=tuple(points)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--rate", "fast"), "write the requests a second, as in 100/s"),
        (("--rate", "0/s"), "write the requests a second"),
        (("--rate", "5/day"), "write the requests a second"),
        (("--concurrency", "0"), "greater than or equal to 1"),
        (("--compile-mode", "fast"), "--compile-mode fast: expected one of default, reduce-overhead"),
        (("--graph",), "--graph is for CUDA devices, and --device is cpu"),
        (("--transfers",), "--transfers is for CUDA devices"),
        (("--graph", "--compile-mode", "max-autotune"), "replays CUDA graphs of its own: leave --graph out"),
        (("--concurrency", "2", "--compile-mode", "reduce-overhead"), "leave --concurrency out"),
        (("--concurrency", "2", "--past", "8"), "one cache of earlier positions"),
        (("--flush-l2", "--concurrency", "2"), "--flush-l2 is for forwards one by one: leave it or --concurrency out"),
        (("--vary", "B=1,2", "--rate", "5/s"), "--vary measures the forward alone at each size: leave --rate out"),
        (("--vs-set", "B=2", "--energy"), "leave --energy out"),
    ],
)
def test_options_that_exclude_one_another_say_so(options: tuple[str, ...], words: str) -> None:
    result = bench(*options)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split()), result.stderr


def test_transfers_count_all_tensors_of_inputs_and_outputs() -> None:
    inputs = ({"a": [torch.zeros(10, 10)]}, torch.zeros(3, dtype=torch.int64))
    found = time_transfers(inputs, (torch.zeros(7), None), torch.device("cpu"), HostClock())
    # 100 floats of 4 bytes and 3 whole numbers of 8; 7 floats.
    assert (found.input_bytes, found.output_bytes) == (424, 28)
    assert min(found.input_seconds, found.output_seconds) > 0


def test_each_option_has_a_line_and_none_where_it_was_not_asked_for() -> None:
    report = Report.loads(bench("--no-layers", "--format", "json").stdout)
    assert report.run is not None
    assert not {"compile", "requests", "transfers", "energy"} & set(draw(report).split())
    latency = Latency.of([0.010, 0.030, 0.050])
    run = replace(
        report.run, is_graph=True, is_cold=True, compiled=True, compile_mode="max-autotune", compile_seconds=12.5,
        # 90 a second where 60 can be served.
        load=Load(2, 90.0, 100, 80, 58.0, 60.0, latency, 1 / 30),
        transfers=Transfers(2**20, 1e-4, 4000, 1e-5), energy=Energy(1.5, 250.0, "NVML"),
    )  # fmt: skip
    drawn = " ".join(draw(replace(report, run=run)).split())
    assert "compiled (max-autotune) · CUDA graph · cold caches" in drawn
    assert "compile 12.5 s for the first forward" in drawn
    # Of three, the 90th percentile is 0.8 of the way from the second to the third.
    assert "p50 30.0 ms p90 46.0 ms p99 49.6 ms 90/s, queueing included, 2 workers" in drawn
    assert "80 served, 58/s, 33.3 ms a forward; the rate cannot be kept, at most 60/s" in drawn
    assert "inputs 1.00 MiB in 100 µs (10.5 GB/s), outputs 3.91 KiB in 10.0 µs (400 MB/s)" in drawn
    assert "1.50 J a forward, 250 W of the whole GPU (NVML)" in drawn
    packed = re.search(r'id="page-words">([A-Za-z0-9+/=]*)', html.draw(replace(report, run=run)))
    assert packed is not None
    assert "energy: 1.50" in zlib.decompress(b64decode(packed[1])).decode()
    assert differences(report, replace(report, run=run)) == (
        "compiled False then, True now", "compile mode None then, max-autotune now", "CUDA graph False then, True now",
        "cold caches False then, True now",
    )  # fmt: skip


def test_a_mode_of_torch_compile_is_passed_on_and_its_time_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def compile(module: Any, mode: str | None = None) -> Any:
        modes.append(mode)
        return module

    monkeypatch.setattr(torch, "compile", compile)
    drawn = bench("--no-layers", "--compile-mode", "max-autotune").stdout
    assert modes == ["max-autotune"]
    assert "compiled (max-autotune)" in drawn
    assert "for the first forward" in drawn
    assert "--compile-mode max-autotune" in drawn  # the command that measures it again
