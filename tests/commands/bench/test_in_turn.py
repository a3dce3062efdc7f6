"""``bench --vs``: two networks in turn, as a command."""

from __future__ import annotations

import csv
import json
import signal
import sys
from pathlib import Path

import pytest
from known_peaks import remember_peaks
from typer.testing import CliRunner, Result

from fwdscope.cli import app
from fwdscope.render.html.saved import page_of
from fwdscope.report import Report, ReportError
from fwdscope.report.versus import Versus

QUICK = ("--device", "cpu", "--threads", "1", "--repeats", "8", "--warmup", "1")


@pytest.fixture(autouse=True)
def _as_a_command(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    # With the peaks of a CPU, so that none is measured.
    monkeypatch.setenv("XDG_CACHE_HOME", str(remember_peaks(tmp_path_factory.mktemp("cache"))))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments])


def test_many_times_the_work_is_slower_and_the_data_say_why(tmp_path: Path) -> None:
    file = tmp_path / "vs.json"
    result = run("mlp_mnist", *QUICK, "--vs-set", "hidden=2048", "-o", str(file))
    assert result.exit_code == 0, result.output
    data = json.loads(file.read_text())
    assert data["answer"] == "slower"
    assert len(data["rounds"]) == 8
    found = Versus.from_json(data)
    assert found.labels == ("mlp_mnist", "mlp_mnist, hidden=2048")
    assert found.dumps() == file.read_text()
    one, other = (report.totals.flops or 0 for report in found.reports)
    assert other > 10 * one
    assert [report.run.threads for report in found.reports if report.run] == [1, 1]
    name, page = page_of(file.read_text())
    assert name == "mlp_mnist vs mlp_mnist, hidden=2048"
    assert page.startswith("<!doctype html>")
    with pytest.raises(ReportError, match="measured in turn"):
        Report.loads(file.read_text())
    data["rounds"][0] = [0, 1]
    with pytest.raises(ReportError, match="without a time"):
        Versus.from_json(data)


@pytest.mark.core
def test_another_network_with_other_settings_is_a_table_with_what_differs() -> None:
    result = run("mlp_mnist", *QUICK, "--vs", "mlp_xor", "--vs-set", "dtype=bf16")
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    for words in ("B mlp_xor, dtype=bf16", "B takes 0.", "faster", "model mlp-mnist of A, mlp-xor of B",
                  "dtype float32 of A, bfloat16 of B", "8, both in turn in random order"):  # fmt: skip
        assert words in text


def test_as_csv_both_have_a_row_with_their_settings() -> None:
    rows = list(csv.DictReader(run("mlp_mnist", *QUICK, "--vs-set", "B=2", "--format", "csv").output.splitlines()))
    assert [(row["network"], row["batch"], row["threads"], row["dtype"]) for row in rows] == [
        ("A", "64", "1", "float32"), ("B", "2", "1", "float32"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--vs-set", "hiden=3"), "vs-set"),
        (("--vs-set", "hidden"), "write --vs-set B=8"),
        (("--vs-set", "threads=0"), "--vs-set threads=0: write a whole number above 0"),
        (("--vs-set", "compile=maybe"), "--vs-set compile=maybe: write yes or no"),
        (("--vs-set", "past=x"), "--vs-set: x is no number of positions"),
        (("--vs-set", "autocast=yes"), "--autocast needs --dtype"),
        (("--vs", "nowhere"), "there is no file nowhere"),
        (("--vs", "mlp_xor", "--vary", "B=1,2"), "leave --vary out"),
        (("--vs-set", "latency=yes"), "both are timed alike: --latency"),
        (("--vs-set", "tf32=yes"), "--tf32 and --cudnn-benchmark are for CUDA devices: on cpu leave them out"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments: tuple[str, ...], message: str) -> None:
    result = run("mlp_mnist", *QUICK, *arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())


def test_processes_measure_the_same_and_keep_what_each_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run_here(command: list[str], *_: object, **__: object) -> tuple[int, bytes]:
        commands.append(command)
        result = CliRunner().invoke(app, command[3:])
        return result.exit_code, result.stdout.encode()

    monkeypatch.setattr(sys.modules["fwdscope.cli.bench"], "run_command", run_here)
    file = tmp_path / "several.json"
    options = (*QUICK, "--set", "hidden=9", "--dtype", "bf16", "--seed", "3", "--processes", "5", "--no-layers")
    assert run("mlp_mnist", *options, "-o", str(file)).exit_code == 0
    assert commands == [commands[0]] * 4, "the first is this process"
    words = "bench mlp_mnist --set hidden=9 --device cpu --dtype bfloat16 --threads 1 --seed 3 --warmup 1 --repeats 8"
    assert commands[0][2:] == ["fwdscope", *words.split(), "--no-layers", "--format", "json"]
    found = Report.loads(file.read_text()).run
    assert found is not None
    assert found.latency is not None
    assert (len(found.processes), len(found.latency.times)) == (5, 40)
    text = " ".join(run("mlp_mnist", *options, "--against", str(file)).output.split())
    assert "processes 5, p10" in text
    assert "99 %:" in text
    monkeypatch.setattr(sys.modules["fwdscope.cli.bench"], "run_command", lambda *_, **__: (7, b""))
    failed = run("mlp_mnist", *options)
    assert failed.exit_code == 2
    assert "process 2 of --processes ended with code 7" in failed.output
