"""``fwdscope fit``: the values of vars that meet budgets, each as the network that is built with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import fwdscope
from fwdscope.cli import app
from fwdscope.commands.scale import FitRequest, Fitted, Ratio, compute_optimal, fit, parse_axes, tokens_of
from fwdscope.targets import Target
from fwdscope.units import Figure


def fitted(text: str, *vary: str, keep: str = "", near: str = "", **budgets: str) -> Fitted:
    kept = [Ratio.parse(keep, "--keep")] if keep else []
    shape = [Ratio.parse(near, "--near")] if near else []
    figures = {name: Figure.parse(figure) for name, figure in budgets.items()}
    return fit(FitRequest(Target(text), parse_axes(vary), figures, kept, shape, 60.0))


def test_every_answer_of_an_lstm_is_found_and_is_what_the_network_has() -> None:
    got = fitted("lstm", "hidden=8:200:1", "depth=1:6", params="30_000 ± 2%")
    # 4h(h(2n − 1) + 2n + 10), the parameters of n layers of h behind 10 features.
    right = {
        (h, n) for h in range(8, 201) for n in range(1, 7)
        if 29_400 <= 4 * h * (h * (2 * n - 1) + 2 * n + 10) <= 30_600
    }  # fmt: skip
    assert got.met == len(right) > 5
    assert {(one.values["hidden"], one.values["depth"]) for one in got.answers} <= right
    for one in got.answers[:3]:
        totals = fwdscope.inspect("lstm", variables=one.values, device="meta").totals
        assert (totals.params, totals.macs) == (one.figures["params"], one.figures["macs"])
        assert totals.peak_memory == one.figures["peak_memory"]


def test_kept_ratios_and_steps_hold() -> None:
    got = fitted("multi_head_attention", "d=32:1600:8", keep="d/heads=32", params="<= 1M")
    # Heads of 32 take multiples of 32; four projections with their biases are 4d² + 4d, which is 1M at 499.
    assert all(one.values["heads"] * 32 == one.values["d"] for one in got.answers)
    assert got.met == len(range(32, 500, 32))
    assert got.answers[0].values["d"] == 480


def test_several_budgets_hold_together() -> None:
    got = fitted(
        "lstm", "hidden=8:200:1", "T=8:80:8", "B=1,2,4", params="<= 30K", macs="1M ± 10%", peak_memory="<= 1 MB"
    )
    assert got.answers
    for one in got.answers:
        assert one.figures["params"] <= 30_000
        assert 900_000 <= one.figures["macs"] <= 1_100_000


def test_the_compute_optimal_size_is_twenty_tokens_a_parameter() -> None:
    # Hoffmann et al. 2022: Chinchilla has 70 billion parameters, 1.4 trillion tokens and 5.76e23 FLOPs.
    assert compute_optimal(1.4e12) == 70e9
    assert tokens_of(5.88e23) == pytest.approx(1.4e12)


def test_the_command_takes_tokens_and_compute() -> None:
    # A million tokens for 50,000 parameters: 4h² + 48h is 50,032 at 106. With 3e11 FLOPs as many: 6 · 50,000 · 10⁶.
    for given in (["--chinchilla", "1M"], ["--compute", "3e11"]):
        result = CliRunner().invoke(app, ["fit", "lstm", "--set", "depth=1", "--vary", "hidden=8:200", *given])
        assert result.exit_code == 0, result.output
        assert "compute-optimal for" in result.stdout
        assert "50.0 K parameters" in result.stdout
        assert "beyond its range" in result.stdout


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_writes_the_spec(tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    arguments = ["fit", "lstm", "--vary", "hidden=8:64", "--params", "10K ± 5%", "-o", str(file)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert 9_500 <= fwdscope.inspect(file, device="meta").totals.params <= 10_500
    assert "# 4 * 20 * (10 + 20 + 2)" in file.read_text()  # nothing else is changed


def test_the_command_shows_options_to_copy() -> None:
    result = CliRunner().invoke(app, ["fit", "lstm", "--vary", "hidden=8:64", "--params", "10K ± 5%"])
    assert result.exit_code == 0, result.output
    assert " 1  --set hidden=" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--params", "1K"], 2, "fit needs the vars to change: --vary d=256:8192:64 --vary depth=4:96"),
        (["--vary", "hidden=8:64"], 2, "fit needs a budget"),
        (["--vary", "hidden=8:64", "--params", "one"], 2, "--params: 'one' is no number"),
        (["--vary", "hiden=8:64", "--params", "1K"], 2, "did you mean hidden?"),
        (["--vary", "hidden=8:64", "--params", "1K", "--keep", "hidden=2"], 2, "write --keep d/heads=64"),
        (["--vary", "hidden=8:64", "--params", "1K", "--chinchilla", "1G"], 2, "leave two of them out"),
        (["--vary", "hidden=8:64", "--chinchilla", "<= 1G"], 2, "write the number of tokens, as in --chinchilla 26G"),
        (["--vary", "hidden=8:64", "--compute", "-1"], 2, "--compute: write the FLOPs of the training"),
        (["--vary", "hidden=8:16", "--params", ">= 1G"], 1, ""),
    ],
)
def test_wrong_input_and_no_answer(arguments: list[str], code: int, message: str) -> None:
    result = CliRunner().invoke(app, ["fit", "lstm", *arguments])
    assert result.exit_code == code
    assert message in result.stderr
    assert code != 1 or "no values meet the budgets" in result.stdout
