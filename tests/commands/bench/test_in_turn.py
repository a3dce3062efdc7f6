"""``bench --vs``: two networks in turn, as a command."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fwdscope.cli import app
from fwdscope.render.html.saved import page_of
from fwdscope.report import Report, ReportError
from fwdscope.report.versus import Versus

QUICK = ("--device", "cpu", "--threads", "1", "--repeats", "8", "--warmup", "1")


@pytest.fixture(autouse=True)
def _as_a_command(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return


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
        (("--vs", "mlp_xor", "--layers", "3"), "leave --layers out"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments: tuple[str, ...], message: str) -> None:
    result = run("mlp_mnist", *QUICK, *arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())
