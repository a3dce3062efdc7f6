"""``fwdscope bench`` as a whole, on small networks and a CPU: what it measures, says and refuses."""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from known_peaks import remember_peaks
from typer.testing import CliRunner, Result

from fwdscope import units
from fwdscope.cli import app
from fwdscope.render import summary
from fwdscope.report import Report, multiplicities
from fwdscope.report.sweep import saved_points

QUICK = ("--device", "cpu", "--threads", "1", "--repeats", "3", "--warmup", "1")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder that remembers peaks of the CPU with any number of threads, so that none is measured."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(remember_peaks(tmp_path_factory.mktemp("cache"))))
        yield


@pytest.fixture(autouse=True)
def _as_a_command(cache: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    gc.freeze()  # what all tests loaded, which a command has not
    yield
    gc.unfreeze()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments])


def saved(tmp_path: Path, *arguments: str) -> Report:
    file = tmp_path / "report.json"
    result = run(*arguments, "-o", str(file))
    assert result.exit_code == 0, result.output
    return Report.loads(file.read_text())


def test_a_report_has_every_repeat_and_a_time_for_each_layer(tmp_path: Path) -> None:
    report = saved(tmp_path, "mlp_mnist", *QUICK)
    found = report.run
    assert found is not None
    assert found.latency is not None
    assert len(found.latency.times) == 3
    assert (found.device, found.threads, found.dtype, found.batch, found.seed) == ("cpu", 1, "float32", 64, 0)
    assert found.peaks is not None
    assert found.peaks.bandwidth == 1e10, "what the cache remembers"
    assert all(row.latency is not None for row in report.layers)
    together = sum(
        (row.latency or 0.0) * n for row, n in zip(report.layers, multiplicities(report.layers), strict=True)
    )
    # The sum of the medians and the median of the sums.
    assert found.layers_latency == pytest.approx(together, rel=0.9)


def test_shapes_and_counts_are_those_of_the_static_report(tmp_path: Path) -> None:
    import fwdscope

    for name in ("mlp_mnist", "lstm", "transformer_encoder"):
        report, static = saved(tmp_path, name, *QUICK), fwdscope.inspect(name)
        assert report.totals == static.totals
        assert [(row.path, row.output_shapes, row.params, row.flops) for row in report.layers] == [
            (row.path, row.output_shapes, row.params, row.flops) for row in static.layers
        ]


LLAMA = [f"--set={size}" for size in ("T=1", "d=64", "heads=4", "kv_heads=2", "depth=2", "d_ff=128", "vocab=100")]


def test_a_step_of_generation_is_measured_behind_a_real_cache(tmp_path: Path) -> None:
    import fwdscope

    report = saved(tmp_path, "llama3_8b", *LLAMA, "--set=B=2", "--past", "100", *QUICK)
    variables = dict(one.removeprefix("--set=").split("=") for one in (*LLAMA, "--set=B=2"))
    assert report.totals == fwdscope.inspect("llama3_8b", variables=variables, past=100).totals
    assert (report.past, report.new_positions) == (100, 1)
    assert report.run is not None
    assert any("written in place behind 100 earlier positions" in note for note in report.run.notes)
    assert all(row.latency is not None for row in report.layers)
    # Two tokens a step, one of each sequence.
    rate = 2 / report.run.latency.median if report.run.latency else 0.0
    text = run(
        "llama3_8b", *LLAMA, "--set=B=2", "--past", "8", *QUICK, "--against", str(tmp_path / "report.json")
    ).output
    assert "differs: earlier positions 100 then, 8 now" in text
    assert "tokens/s" in text
    assert "a user" in text
    assert f"{units.count(rate)} tokens/s" in summary.times(report)


def test_a_sweep_measures_steps_behind_several_numbers_of_positions() -> None:
    result = run("llama3_8b", *LLAMA, *QUICK, "--vary", "past=8,16", "--format", "csv")
    assert result.exit_code == 0, result.output
    assert [line.split(",")[0] for line in result.output.splitlines()] == ["past", "8", "16"]


def test_a_step_is_not_measured_under_autocast() -> None:
    result = run("llama3_8b", *LLAMA, "--past", "8", "--autocast", "--dtype", "bf16")
    assert result.exit_code == 2
    assert "--autocast is not for a step behind earlier positions" in result.output


def test_what_the_data_decide_is_counted_as_it_ran(tmp_path: Path) -> None:
    report = saved(tmp_path, "fixed_hidden_mlp", *QUICK)
    assert report.run is not None
    assert any("the data decide" in note for note in report.run.notes)
    assert all(row.latency is not None for row in report.layers)


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        (("--dtype", "bfloat16"), "precision", "cast"),
        (("--dtype", "bfloat16", "--autocast"), "precision", "autocast"),
        (("--channels-last",), "channels_last", True),
        (("--seed", "7"), "seed", 7),
        (("--batch", "5"), "batch", 5),
        (("--set", "B=6"), "batch", 6),
        (("--no-layers",), "layers_latency", None),
    ],
)
def test_options_are_heeded_and_said(tmp_path: Path, options: tuple[str, ...], field: str, value: object) -> None:
    report = saved(tmp_path, "mnist_cnn", *QUICK, *options)
    assert getattr(report.run, field) == value


def test_the_whole_report_is_drawn() -> None:
    result = run("mlp_mnist", *QUICK, "--layers", "2")
    assert result.exit_code == 0, result.output
    for word in ("mlp-mnist", "cpu", "1 thread", "median", "items/s", "FLOP/s", "of the whole", "fc1", "3 more:"):
        assert word in result.output


def test_a_benchmark_is_held_against_an_earlier_one(tmp_path: Path) -> None:
    saved(tmp_path, "mlp_mnist", *QUICK, "--no-layers")
    result = run("mlp_mnist", *QUICK, "--no-layers", "--batch", "32", "--against", str(tmp_path / "report.json"))
    assert result.exit_code == 0, result.output
    assert "× the time" in result.output
    assert "differs: inputs image (64, 1, 28, 28) then, image (32, 1, 28, 28) now" in result.output


def test_a_sweep_is_a_table_and_loads_again(tmp_path: Path) -> None:
    file = tmp_path / "sweep.json"
    arguments = ("mlp_mnist", *QUICK, "--vary", "B=1,2,4", "--vary", "dtype=float32,bfloat16")
    assert run(*arguments, "-o", str(file)).exit_code == 0
    points = saved_points(file.read_text())
    assert [dict(point.values)["B"] for point in points] == ["1", "1", "2", "2", "4", "4"]
    assert all(point.report and point.report.run and point.report.run.latency for point in points)
    assert {point.report.dtype for point in points if point.report} == {"float32", "bfloat16"}
    flops = [point.report.totals.flops or 0 for point in points if point.report and point.report.dtype == "float32"]
    # Twice the batch is twice the work.
    assert flops == [flops[0], 2 * flops[0], 4 * flops[0]]
    result = run(*arguments, "--against", str(file))
    assert "× before" in result.output
    assert run(*arguments[:-2], "--format", "csv").output.splitlines()[0].startswith("B,median,")


def test_a_size_that_cannot_run_says_why_and_the_others_run() -> None:
    small = [piece for item in ("T=8", "depth=1", "vocab=50", "d=48") for piece in ("--set", item)]
    result = run("gpt2", *QUICK, *small, "--vary", "heads=5,4")
    assert result.exit_code == 0, result.output
    five, four = [line.split() for line in result.output.splitlines() if line.split()[:1] in (["5"], ["4"])]
    # 48 features do not divide among 5 heads.
    assert "5" in five
    assert "ms" not in five
    assert "ms" in four or "µs" in four
    assert run("gpt2", *QUICK, *small, "--vary", "heads=5").exit_code == 2


def test_a_module_of_pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "measured_module.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef made():\n"
        "    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)), torch.randn(4, 8)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    report = saved(tmp_path, "measured_module:made", *QUICK)
    assert [row.path for row in report.layers] == ["0", "1", "2"]
    assert all(row.latency is not None for row in report.layers)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mlp_mnist", "--device", "tpu"), "here"),
        (("mlp_mnist", "--vary", "B=4:2"), "does not grow"),
        (("mlp_mnist", "--device", "meta"), "--device meta computes nothing"),
        (("mlp_mnist", "--threads", "100000"), "more threads only wait"),
        (("mlp_mnist", "--vary", "threads=1,100000"), "--vary threads=100000: this computer has"),
        (("mlp_mnist", "--vary", "threads=1,2", "--threads", "1"), "--vary threads and --threads are both given"),
        (("mlp_mnist", "--vary", "dtype=bf16", "--dtype", "bf16"), "--vary dtype and --dtype are both given"),
        (("mlp_mnist", "--vary", "batch=1,2", "--batch", "3"), "--vary batch and --batch are both given"),
        (("mlp_mnist", "--vary", "B=1,2", "--set", "B=3"), "--vary B and --set B=… are both given"),
        (("mlp_mnist", "--vary", "batch=1,2", "--vary", "B=3,4"), "the batch is the var B of mlp_mnist"),
        (("mlp_mnist", "--batch", "2", "--set", "B=3"), "the batch is the var B of mlp_mnist"),
        (("mlp_mnist", "--layers", "3", "--no-layers"), "contradict each other"),
        (("mlp_mnist", "-o", "nowhere/x.json"), "there is no folder nowhere"),
        (("mlp_mnist", "-o", "."), "it is a folder"),
        (("mlp_mnist", "--vary", "threads=0"), "whole number above 0"),
        (("mlp_mnist", "--vary", "dtype=int8"), "is not one of"),
        (("mlp_mnist", "--vary", "nope=1"), "there is no var nope"),
        (("mlp_mnist", "--autocast"), "--autocast needs --dtype"),
        (("mlp_mnist", "--against", "nowhere.json"), "cannot be read"),
        (("mlp_mnist", "--format", "svg"), "unknown format svg"),
        (("nowhere", ), "there is no file nowhere"),
        (("saved.json",), "saved.json cannot be read: No such file"),
        (("llama3_405b", "--device", "cpu"), "free"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused_with_what_to_do(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert said in result.output


def test_a_report_without_a_latency_is_nothing_to_hold_against(tmp_path: Path) -> None:
    import fwdscope

    file = tmp_path / "static.json"
    file.write_text(fwdscope.inspect("mlp_mnist").dumps())
    result = run("mlp_mnist", "--against", str(file))
    assert result.exit_code == 2
    assert "has no latency" in result.output


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another thing there")
def test_ctrl_c_prints_what_was_measured_so_far(tmp_path: Path) -> None:
    """A process of its own, stopped once its progress has said that it repeats."""
    script = tmp_path / "stopped.py"
    script.write_text(
        "import os, signal, sys, threading\n"
        "from fwdscope import cli\n"
        "import contextlib, fwdscope.cli.bench\n"
        "@contextlib.contextmanager\n"
        "def telling(text=''):\n"
        "    def say(text):\n"
        "        if text.startswith('20 repeats'):\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "    yield say\n"
        "sys.modules['fwdscope.cli.bench'].show_progress = telling\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "sys.argv = ['fwdscope', 'bench', 'mlp_mnist', '--device', 'cpu', '--threads', '1', '--format', 'json',\n"
        "            '--repeats', '20000', '--budget', '1000']\n"
        "sys.exit(cli.run())\n"
    )
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 130, result.stderr
    report = json.loads(result.stdout)
    assert 20 <= len(report["run"]["latency"]["times"]) < 20_000
    assert any("interrupted after" in note for note in report["run"]["notes"])


@pytest.mark.core
def test_from_python_a_module_is_left_as_it_was() -> None:
    import torch
    from torch import nn

    import fwdscope

    module, x = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)), torch.randn(3, 8)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    report = fwdscope.bench(module, x, device="cpu", budget=0.1)
    assert report.run is not None
    assert report.run.latency is not None
    assert module.training
    assert not any(inner._forward_hooks or inner._forward_pre_hooks for inner in module.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert fwdscope.bench("mlp_mnist", variables={"B": 2}, device="cpu", budget=0.1).run is not None


def test_a_sweep_is_no_report_and_holds_against_the_same_sizes_alone(tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    quick = (*QUICK, "--no-layers")
    assert CliRunner().invoke(app, ["bench", "mlp_mnist", *quick, "--vary", "B=1,2", "-o", str(path)]).exit_code == 0
    for more in ((), ("--vary", "B=3,4"), ("--vary", "hidden=1,2")):
        result = CliRunner().invoke(app, ["bench", "mlp_mnist", *quick, *more, "--against", str(path)])
        assert result.exit_code == 2
        assert "is a sweep over B, of other sizes" in result.stderr
    same = CliRunner().invoke(app, ["bench", "mlp_mnist", *quick, "--vary", "B=2", "--against", str(path)])
    assert "× before" in same.stdout
    shown = CliRunner().invoke(app, ["inspect", str(path)])
    assert shown.exit_code == 2
    assert "it is a sweep, a report for each size" in shown.stderr
