"""``expect``: an expectation that is not met is reported with the expected and the actual value."""

from __future__ import annotations

import dataclasses

import pytest

from fwdscope.commands.check.expectations import MeasuredLatency, Verdict, distance, verdicts
from fwdscope.commands.check.one import CheckSettings, check_source
from fwdscope.inspection import inspect_spec
from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.problems import SpecError
from fwdscope.language.source import Source
from fwdscope.report import Shortfall
from fwdscope.run.subject import SpecSubject
from fwdscope.settings import RunSettings, TrainingSettings
from fwdscope.units import Figure

SPEC = """\
vars: {{B: 4, T: 6, d: 8}}
inputs:
  x: randn(B, T, d)
layers:
  - h = 3 * Linear(d)
  - out, (hidden, cell) = LSTM(5, batch_first=True)
  - (out, hidden + cell)
expect:
{expect}
"""


def shortfalls(*expect: str) -> tuple[Shortfall, ...]:
    text = SPEC.format(expect="\n".join(f"  {line}" for line in expect))
    return inspect_spec(check(parse(Source("e.yaml", text)))).shortfalls


# 3 · (8 · 8 + 8) + LSTM: 4 · 5 · (8 + 5) + 2 · 4 · 5
PARAMS = 3 * 72 + 260 + 40


@pytest.mark.core
@pytest.mark.parametrize(
    "expect",
    [
        f"params: {PARAMS}",
        f"params: {PARAMS:_}",
        "params: 516 +- 0",
        "params: 0.5K",
        "params: <= 600",
        "params: '>= 500'",
        "params: 500 +- 5%",
        "trainable_params: 516",
        "buffers: 0",
        "param_bytes: <= 3 KiB",
        "output: ((B, T, 5), (1, B, 5))",
        "output: ((B, T, 5), _)",
        "output: (_, _)",
        "output: (B, T, 5)",
        "output: (B, _, 5)",
        "layers: {h.0: {params: 72, output: '(B, T, d)'}}",
        "layers: {h.2: {params: 72}, h: {params: 216}}",
    ],
)
def test_met_expectations_print_nothing(expect: str) -> None:
    assert shortfalls(expect) == ()


@pytest.mark.core
@pytest.mark.parametrize(
    ("expect", "what", "got"),
    [
        ("params: 515", "params", "516"),
        ("params: 0.6K", "params", "516"),
        ("params: < 516", "params", "516"),
        ("param_bytes: <= 2 KiB", "param_bytes", "2,064"),
        ("output: ((B, T, 5), (1, B, 6))", "output", "((4, 6, 5), (1, 4, 5))"),
        ("output: (B, T)", "output", "((4, 6, 5), (1, 4, 5))"),
        ("layers: {h.2: {params: 73}}", "h.2 params", "72"),
        ("layers: {h.1: {output: '(B, T)'}}", "h.1 output", "(4, 6, 8)"),
    ],
)
def test_a_failed_expectation_is_reported_with_the_actual_value(expect: str, what: str, got: str) -> None:
    (found,) = shortfalls(expect)
    assert (found.what, found.got, found.line) == (what, got, 9)


def test_all_totals_may_be_named() -> None:
    expect = ("input_bytes: 768", "active_params: 516", "peak_activations: <= 10 KiB", "buffer_bytes: 0")
    assert shortfalls(*expect) == ()  # 4 · 6 · 8 · 4 bytes
    assert [one.what for one in shortfalls("input_bytes: 767", "active_params: 515")] == [
        "input_bytes",
        "active_params",
    ]


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ("params: <= 3 MiB", "params is a count, found a number of bytes: <= 3 MiB"),
        ("latency: <= 40 on cpu", "latency is a time, found a number without a unit: <= 40"),
        ("peak_memory: 40 ms", "peak_memory is bytes, found a time: 40 ms"),
        ("layers: {h.0: {peak_memory: 40}}", "peak_memory is a figure of the whole network, not of a layer"),
    ],
)
def test_a_figure_of_another_kind_is_refused(expect: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        shortfalls(expect)
    assert [problem.message for problem in error.value.problems] == [message]


@pytest.mark.parametrize(
    ("figure", "value", "words"),
    [
        ("100", 101, "1 (1.0 %) too many"),
        ("25_557_032", 25_557_031, "1 too few"),
        ("<= 5", 7, "2 (40.0 %) too many"),
        (">= 5", 3, "2 (40.0 %) too few"),
        ("< 5", 5, "1 (20.0 %) too many"),
        ("4.09G", 4_200_000_000, "105,000,000 (2.6 %) too many"),  # it holds up to 4.095 G
        ("100 +- 5%", 110, "5 (4.8 %) too many"),
        ("<= 2 KiB", 2050, "2 bytes (0.1 %) too much"),
        ("<= 40 ms", 0.05, "10.0 ms (25.0 %) too much"),
        ("0", 3, "3 too many"),
    ],
)
def test_the_distance_of_a_value_from_its_figure(figure: str, value: float, words: str) -> None:
    assert distance(Figure.parse(figure), value) == words


def latency_verdicts(measured: MeasuredLatency) -> tuple[Verdict, ...]:
    text = SPEC.format(expect="  latency: <= 40 ms on cuda\n  layers: {h.1: {latency: <= 1 ms on cuda}}")
    checked = check(parse(Source("e.yaml", text)))
    report = inspect_spec(checked)
    if measured.times:
        rows = tuple(dataclasses.replace(row, latency=0.002, latency_range=(0.002, 0.002)) for row in report.layers)
        measured = dataclasses.replace(measured, rows=rows)
    return verdicts(checked, report, latencies={"cuda": measured})


def test_latencies_are_compared_if_they_were_measured() -> None:
    whole, layer = latency_verdicts(MeasuredLatency((0.0301,) * 5))
    assert (whole.state, whole.got) == ("met", "30.1 ms")
    # h.1 goes by the row of the three copies.
    assert (layer.what, layer.state) == ("h.1 latency", "failed")
    assert (layer.got, layer.by) == ("2.00 ms", "1.00 ms (100 %) too much")


def test_a_latency_that_one_process_cannot_tell_from_its_limit_is_skipped() -> None:
    # A fifth over 40 ms, where single processes differ by a quarter; and half over it, in the fastest tenth too.
    near, _ = latency_verdicts(MeasuredLatency((0.048, 0.048, 0.049, 0.09)))
    assert near.state == "skipped"
    assert near.reason == "48.0 ms is 8.00 ms (20.0 %) too much, which one process cannot tell from noise"
    over, _ = latency_verdicts(MeasuredLatency((0.06, 0.06, 0.061, 0.09)))
    assert (over.state, over.by) == ("failed", "20.0 ms (50.0 %) too much")
    # Other programs stopped two of five forwards.
    met, _ = latency_verdicts(MeasuredLatency((0.039, 0.039, 0.039, 0.9, 0.9)))
    assert met.state == "met"


def test_latencies_are_skipped_without_their_device_and_short_where_nothing_runs_on_it() -> None:
    missing = latency_verdicts(MeasuredLatency(missing="there is no cuda here"))
    assert {(one.state, one.reason) for one in missing} == {("skipped", "there is no cuda here")}
    failed = latency_verdicts(MeasuredLatency(failed="it needs 80 GiB"))
    assert {(one.state, one.got) for one in failed} == {("failed", "nothing: it needs 80 GiB")}


def test_costs_are_compared() -> None:
    # 3 · 24 · 8 · 8 + LSTM: 24 steps · 4 · 5 · (8 + 5)
    assert shortfalls("macs: 10_848", "layers: {h.1: {macs: 1536}}") == ()
    (found,) = shortfalls("macs: <= 10K")
    assert (found.what, found.got) == ("macs", "10,848")


def test_latencies_that_were_not_measured_are_skipped() -> None:
    assert shortfalls("latency: <= 1 ms on cpu") == ()


def test_a_layer_that_a_replaced_var_took_away_is_not_checked() -> None:
    text = SPEC.format(
        expect="  layers: \n    h.1: (9, 9)\n    h.2:\n      params: 72\n      output: (9, 9)\n"
    ).replace("3 * L", "n * L")
    text = text.replace("{B: 4,", "{n: 3, B: 4,")
    checked = check(parse(Source("e.yaml", text), {"n": "2"}))
    assert [one.what for one in inspect_spec(checked).shortfalls] == ["h.1 output"]


def test_several_fall_short_in_the_files_order() -> None:
    assert [s.what for s in shortfalls("params: 1", "output: (B,)", "buffers: 2")] == ["params", "output", "buffers"]


# --- a training step -------------------------------------------------------------------------------------------------

STEP = """\
inputs:
  x: randn(4, 8)
layers:
  - fc1 = Linear(16)
  - ReLU
  - fc2 = Linear(3)
expect:
  training: {optimizer: sgd:momentum=0.9, loss: cross_entropy}
"""
# Kept when the forward ends: the ReLU's result, which it and fc2 need, the log-probabilities, and the sum of the
# classes' weights of the loss; x and the targets are there anyway.
SAVED = 4 * (4 * 16 + 4 * 3 + 1)
PARAMETERS_OF_STEP = 8 * 16 + 16 + 16 * 3 + 3


def points(text: str) -> dict[str, str]:
    """The actual value of each expectation, or the first problem."""
    found = check_source(Source("step.yaml", text), CheckSettings()).outcome
    return {one.what: one.got for one in found.points} or {"problem": found.problems[0].text}


def test_figures_of_a_training_step_are_those_of_inspect() -> None:
    text = STEP + f"  saved_activations: {SAVED}\n  train_memory: <= 4 KiB\n  train_flops: 1\n"
    checked = check(parse(Source("step.yaml", text)))
    settings = TrainingSettings("cross_entropy", "sgd:momentum=0.9")
    report = inspect_spec(checked, settings=RunSettings(training=settings))
    assert report.training is not None
    assert [(one.what, one.line) for one in report.shortfalls] == [("train_flops", 11)]
    values = {name: f"{value:,}" for name, value in report.training.figures.items()}
    assert points(text) == values
    assert values["saved_activations"] == str(SAVED)
    # Without momentum one number fewer a parameter is kept over the whole step.
    plain = points(text.replace(":momentum=0.9", ""))["train_memory"]
    assert report.training.peak_memory - int(plain.replace(",", "")) == 4 * PARAMETERS_OF_STEP


def with_settings(settings: str, figure: str = "train_flops: 1") -> str:
    return STEP.replace("optimizer: sgd:momentum=0.9, loss: cross_entropy", settings) + f"  {figure}\n"


def test_a_step_is_expected_with_the_settings_of_the_command_line() -> None:
    given = "checkpoint: ['fc?'], accumulate: 2, autocast: bf16, train_only: 'fc2', master_weights: false"
    spec = parse(Source("step.yaml", with_settings(given)))
    settings = TrainingSettings.of({one.name: one.value for one in spec.expect.training})
    assert settings == TrainingSettings(
        train_only=("fc2",), checkpoint=("fc?",), accumulate=2, autocast="bfloat16", master_weights=False
    )
    # Of fc2 alone its input is kept, as 4 · 16 numbers, and nothing of the loss, which is a sum.
    step = points(with_settings("train_only: fc2", "saved_activations: 1"))
    assert step == {"saved_activations": f"{4 * 4 * 16}"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("accumulate: 0", "accumulate=0: the number of micro-batches is 1 or more"),
        ("autocast: int8", "autocast 'int8': expected bfloat16 or float16"),
        ("master_weights: 3", "master_weights='3': expected True or False"),
    ],
)
def test_a_wrong_setting_of_a_step_is_shown_at_its_place(settings: str, message: str) -> None:
    column = 14 + len(settings.partition(": ")[0]) + 2
    assert points(with_settings(settings))["problem"].startswith(f"step.yaml:8:{column}: error: {message}")


def test_a_step_runs_only_where_it_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    again = SpecSubject.again
    monkeypatch.setattr(SpecSubject, "again", lambda *given: looked.append(given[1]) or again(*given))
    text = STEP.partition("  training")[0]
    points(text + "  params: 195\n")
    assert not looked
    points(text + "  train_flops: 1\n")
    assert looked == [TrainingSettings()]


def test_figures_of_another_step_are_not_compared() -> None:
    checked = check(parse(Source("step.yaml", STEP + "  train_flops: 1\n  peak_memory: 1\n")))
    of_forward = inspect_spec(checked)
    assert [one.what for one in of_forward.shortfalls] == ["peak_memory"]
    assert not of_forward.notes
    of_step = inspect_spec(checked, settings=RunSettings(training=TrainingSettings()))
    assert not of_step.shortfalls
    reasons = [note.partition("since they are for ")[2] for note in of_step.notes]
    assert reasons == ["a step with the file's own settings", "a forward without --training"]


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("sgdd", "step.yaml:8:25: error: there is no optimizer 'sgdd' [training]"),
        ("sgd:momentum=-1", "step.yaml:8:25: error: Invalid momentum value: -1 [training]"),
    ],
)
def test_a_wrong_optimizer_is_shown_at_its_place(optimizer: str, message: str) -> None:
    text = STEP.replace("sgd:momentum=0.9", optimizer) + "  train_flops: 1\n"
    assert points(text)["problem"].startswith(message)


def test_a_network_that_has_nothing_to_train_is_shown_at_the_figure() -> None:
    problem = points("inputs: {x: 'randn(2)'}\nlayers:\n  - x + 1\nexpect:\n  train_flops: 1\n")["problem"]
    assert problem.startswith("step.yaml:5:16: error: there is nothing to train")


def test_a_cache_is_expected_of_a_number_of_positions() -> None:
    text = """
vars: {B: 1, T: 4, d: 8}
inputs: {x: "randn(B, T, d)"}
layers:
  - q, k, v = Linear(3 * d)(x).chunk(3, -1)
  - scaled_dot_product_attention(q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1), is_causal=True)
expect:
  kv_cache: 64 KiB past 1k
"""  # keys and values of 8 numbers of 4 bytes
    assert points(text) == {"kv_cache": "65,536"}
