"""``fwdscope fit``: the values of vars that meet budgets, each as the network that is built with them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fwdscope
from fwdscope.cli import app
from fwdscope.commands.scale import (
    FitRequest,
    Fitted,
    Ratio,
    Speed,
    compute_optimal,
    fit,
    grow,
    parse_axes,
    tokens_of,
)
from fwdscope.commands.scale.probe import Probe
from fwdscope.commands.scale.speed import speed_formula
from fwdscope.device.table import accelerator
from fwdscope.errors import InputError
from fwdscope.inspection import inspect_target
from fwdscope.report.roofline import estimate
from fwdscope.settings import TrainingSettings
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


def test_an_answer_for_training_has_the_memory_of_that_step() -> None:
    # SGD holds no state: weights, gradients and what is alive.
    step = TrainingSettings.of({"optimizer": "sgd"})
    budgets = {"train_memory": Figure.parse("<= 300 KiB"), "peak_memory": Figure.parse("<= 150 KiB")}
    got = fit(FitRequest(Target("lstm"), parse_axes(["hidden=8:200:1", "B=1:8"]), budgets, training=step, seconds=60))
    assert len(got.answers) == 10
    for one in (got.answers[0], got.answers[-1]):
        report = fwdscope.inspect("lstm", variables=one.values, training={"optimizer": "sgd"}, device="meta")
        assert report.training is not None
        assert one.figures["train_memory"] == report.training.peak_memory <= 300 * 1024
        totals = fwdscope.inspect("lstm", variables=one.values, device="meta").totals
        assert one.figures["peak_memory"] == totals.peak_memory


def test_the_formula_of_tokens_a_second_is_the_estimate() -> None:
    target = Target("gpt2", {"T": "1", "depth": "2"}, dtype="bfloat16", past=64)
    growth, probe = grow(target, ["B", "d"], 2, times=True), Probe(target)
    there, here = ({"B": 40, "d": 6144}, {"B": 1, "d": 768})
    for is_fused in (False, True):
        speed = Speed(accelerator("H100").peaks("bfloat16"), is_fused)
        formula = speed_formula(speed, growth, probe.make(here).report())
        assert formula is not None
        # As the report of a network of another size has it, which is not bound by launches.
        assert float(formula(there)) == pytest.approx(speed.of(probe.make(there).report()), rel=1e-12)


def test_tokens_a_second_are_those_of_the_estimate_of_inspect() -> None:
    arguments = ["fit", "gpt2", "--set", "T=1", "--set", "depth=2", "--past", "256", "--dtype", "bf16"]
    arguments += ["--vary", "d=768:6144:768", "--tokens-per-second", ">= 100", "--on", "H100", "--format", "json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    answers = json.loads(result.stdout)["answers"]
    assert len(answers) == 8
    target = Target("gpt2", {"T": "1", "depth": "2", "d": str(answers[0]["values"]["d"])}, dtype="bfloat16", past=256)
    one = estimate(inspect_target(target)[0], accelerator("H100").peaks("bfloat16"))
    assert one.eager_seconds is not None
    assert answers[0]["figures"]["tokens_per_second"] == 1 / one.eager_seconds


@pytest.mark.parametrize(
    ("text", "vary", "why"),
    [
        ("transformer_encoder", "depth=1:2", "none of its attention is causal, and it keeps no state"),
        ("cross_entropy", "B=1:2", "it keeps nothing of earlier positions"),
        ("lstm", "B=1:2", "it takes no tokens"),
    ],
)
def test_what_generates_nothing_has_no_cache_to_fit(text: str, vary: str, why: str) -> None:
    with pytest.raises(InputError, match=f"--kv-cache: {text} has none: {why}"):
        fitted(text, vary, kv_cache="1 MB")


def test_a_budget_of_the_cache_is_of_one_position_or_of_those_given() -> None:
    # Keys and values of 768 numbers of 4 bytes, in one layer, for two sequences.
    for past, budget in ((0, "12 KiB"), (50, "600 KiB")):
        target = Target("gpt2", {"T": "1", "depth": "1"}, past=past)
        got = fit(FitRequest(target, parse_axes(["B=1:3"]), {"kv_cache": Figure.parse(budget)}))
        assert [one.values["B"] for one in got.answers] == [2]
        assert got.answers[0].figures["kv_cache"] == (past or 1) * 2 * 2 * 4 * 768


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


def test_a_search_ends_in_its_time_with_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = parse_axes(["hidden=1:100", "T=1:100", "B=1:100", "d=1:100"])
    monkeypatch.setattr(sys.modules["fwdscope.commands.scale.fit"], "_OF_FORMULAS", 100.0)  # on a busy machine too
    got = fit(FitRequest(Target("lstm"), axes, {"macs": Figure.parse(">= 1M")}, seconds=0.3))
    assert got.combinations == 10**8
    assert 0 < got.tried < got.combinations
    assert not got.is_whole
    assert all(one.figures["macs"] >= 1_000_000 for one in got.answers)
    assert got.answers


def test_without_time_for_formulas_combinations_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["fwdscope.commands.scale.fit"], "_OF_FORMULAS", 0.0)
    got = fitted("lstm", "hidden=8:64", params="10K ± 5%")
    # 12h² + 56h of two layers: 9,568 at 26, 10,260 at 27.
    assert [(one.values["hidden"], one.figures["params"]) for one in got.answers] == [(26, 9_568), (27, 10_260)]
    assert (got.unknown, got.in_time) == (("params",), False)


def test_without_a_formula_combinations_are_built(tmp_path: Path) -> None:
    (tmp_path / "floor.yaml").write_text(
        "vars: {size: 37}\ninputs: {x: 'randn(2, size)'}\nlayers: [Linear(size // 7)]\n"
    )  # fmt: skip
    got = fitted(str(tmp_path / "floor.yaml"), "size=30:60", params=">= 400")
    # (size + 1) · ⌊size / 7⌋: at 55 it is 56 · 7 = 392, at 56 57 · 8.
    assert got.unknown == ("params",)
    assert {one.values["size"] for one in got.answers} == {56, 57, 58, 59, 60}
    assert got.answers[0].figures["params"] == (got.answers[0].values["size"] + 1) * 8


def test_formulas_are_sought_around_the_values_to_try(tmp_path: Path) -> None:
    (tmp_path / "floor.yaml").write_text(
        "vars: {size: 37}\ninputs: {x: 'randn(2, size)'}\nlayers: [Linear(size // 7)]\n"
    )  # fmt: skip
    got = fitted(str(tmp_path / "floor.yaml"), "size=7:700:7", params="<= 1000")
    # (7n + 1) · n with n = 11 is 858, with 12 it is 1,020: eleven sizes, which 37 is none of.
    assert (got.met, got.unknown, got.answers[0].values) == (11, (), {"size": 77})


def test_a_formula_for_one_value_of_a_var_serves_there(tmp_path: Path) -> None:
    spec = "vars: {size: 37, n: 5}\ninputs: {x: 'randn(2, size)'}\nlayers: [Linear(size // 7), Linear(n)]\n"
    (tmp_path / "floor.yaml").write_text(spec)
    got = fitted(str(tmp_path / "floor.yaml"), "size=37,38", "n=1:100", params="280 ± 12")
    # 38 · 5 + 6n with size = 37, 39 · 5 + 6n with 38: from n = 13 to 17, and from 13 to 16.
    assert {(one.values["size"], one.values["n"]) for one in got.answers} == {
        (37, 13), (37, 14), (37, 15), (37, 16), (37, 17), (38, 13), (38, 14), (38, 15), (38, 16),
    }  # fmt: skip
    assert got.unknown == ("params",)


def test_the_nearest_is_shown_where_nothing_meets_the_budgets() -> None:
    got = fitted("lstm", "hidden=8:64:x2", params="10K ± 5%", macs=">= 1K")
    # 12h² + 56h: 3,968 at 16, 14,080 at 32, which is nearer in parts of the budget.
    assert not got.answers
    assert got.nearest is not None
    assert (got.nearest.values, got.nearest.figures["params"]) == ({"hidden": 32}, 14_080)


def test_a_kept_ratio_need_not_divide_the_own_value() -> None:
    # 20 is no multiple of 3.
    got = fitted("lstm", "hidden=8:64", keep="hidden/d=3", params="<= 10K")
    assert got.answers
    assert all(one.values["hidden"] == 3 * one.values["d"] for one in got.answers)


def test_values_off_the_steps_are_named() -> None:
    got = fitted("gpt2", "d=100:2000:5", params="100M ± 5%")
    assert got.left_out == ("searched: multiples of 12 of d, 32 of its 381 values",)


def test_tokens_a_second_bound_by_launches_are_known_everywhere() -> None:
    # Fused kernels alone depend on which results stay on the chip.
    target = Target("gpt2", {"T": "1", "depth": "2"}, dtype="bfloat16", past=64)
    got = fit(
        FitRequest(
            target, parse_axes(["d=768:3072:768"]), {"tokens_per_second": Figure.parse(">= 1G")},
            speed=Speed(accelerator("H100").peaks("bfloat16")), seconds=60,
        )
    )  # fmt: skip
    assert (got.met, got.dropped, got.unknown) == (0, 0, ())
    assert got.nearest is not None


def test_the_command_writes_the_spec(tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    arguments = ["fit", "lstm", "--vary", "hidden=8:64", "--params", "10K ± 5%", "-o", str(file)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert 9_500 <= fwdscope.inspect(file, device="meta").totals.params <= 10_500
    assert "# 4 * 20 * (10 + 20 + 2)" in file.read_text()  # comments stay
    # What it expects is what it has.
    assert CliRunner().invoke(app, ["check", str(file)]).exit_code == 0


def test_arguments_of_a_model_in_code_are_options_to_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fitted_mlp.py").write_text(
        "from torch import nn\n\n\nclass Mlp(nn.Sequential):\n    def __init__(self, width):\n"
        "        super().__init__(nn.Linear(4, width), nn.Linear(width, 5))\n"
    )  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    arguments = ["fit", "fitted_mlp:Mlp", "--arg", "width=8", "--input", "input=2,4", "--vary", "width=4:64"]
    result = CliRunner().invoke(app, [*arguments, "--params", "205"])
    # 5w of the first layer, 5w + 5 of the second.
    assert " 1  --arg width=20\n" in result.stdout, result.output


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
        (["--vary", "hidden=8:16", "--params", ">= 2K", "--params", "<= 1K"], 2, "no number is >= 2K and <= 1K"),
        (
            ["--vary", "hidden=8:16", "--params", "1K", "--keep", "hidden/e=2"],
            2,
            "--keep hidden/e: e is no var of lstm",
        ),
        (["--vary", "hidden=8:16", "--params", "1K", "--keep", "d/hidden=2"], 2, "d has to be varied, by --vary"),
        (["--vary", "hidden=8:9", "--params", "1K", "--keep", "hidden/d=20"], 2, "is a multiple of that"),
        (["--vary", "hidden=8:16", "--kv-cache", "1K"], 2, "--kv-cache: lstm has none: it takes no tokens"),
        (
            ["--vary", "hidden=8:16", "--params", "5 GB"],
            2,
            "--params 5 GB: these are bytes; write a number, as in 1.3G",
        ),
        (["--vary", "hidden=8:16", "--memory", "5 ms"], 2, "--memory 5 ms: these are seconds; write bytes, as in 80"),
        (["--vary", "hidden=8", "--vary", "hidden=9", "--params", "5"], 2, "--vary hidden is given twice"),
        (["--vary", "hidden=1:20000", "--params", "5"], 2, "more than 10,000 values; give fewer, or a wider step"),
        (["--vary", "hidden=8:16", "--params", "1K", "--optimizer", "sgd"], 2, "add a budget for it, --train-memory"),
        (["--vary", "hidden=8:16", "--params", "1K", "--on", "H100"], 2, "add --tokens-per-second"),
        (["--vary", "hidden=8:16", "--tokens-per-second", "50"], 2, "needs the device: --on H100"),
        (["--vary", "hidden=8:16", "--tokens-per-second", "50", "--on", "H1000"], 2, "did you mean H100"),
        (
            ["--vary", "hidden=8:16", "--tokens-per-second", "50", "--on", "H100"],
            2,
            "first input of lstm has no tokens",
        ),
    ],
)
def test_wrong_input_and_no_answer(arguments: list[str], code: int, message: str) -> None:
    result = CliRunner().invoke(app, ["fit", "lstm", *arguments])
    assert result.exit_code == code
    assert message in result.stderr
    # 12h² + 56h parameters of two layers, from h = 8 to 16.
    assert code != 1 or "no values meet the budgets\n params from 1.22 K to 3.97 K with these values" in result.stdout
