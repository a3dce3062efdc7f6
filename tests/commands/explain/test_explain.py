"""Explanations of one layer: finding the step, its formulas and figures, and the drawing."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from functools import cache

import pytest
import torch
from torch import nn

import fwdscope
from fwdscope.arithmetic import MOST_OPERATORS, operator_costs
from fwdscope.commands.explain import Explanation, Weight
from fwdscope.commands.explain.arithmetic import explain
from fwdscope.formula import Formula
from fwdscope.language import load
from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.source import Source
from fwdscope.model import build
from fwdscope.render.explanation import draw
from fwdscope.report import OperatorCost
from fwdscope.run.subject import SpecSubject
from fwdscope.settings import TrainingSettings
from fwdscope.targets import shipped_specs
from fwdscope.trace import Recorder, Trace, rows, trace, trace_module
from fwdscope.trace.training import recorder_of


def traced(text: str) -> Trace:
    return trace(build(check(parse(Source("test.yaml", text))), {}, torch.float32), Recorder())


@cache
def spec(name: str) -> Trace:
    return trace(build(load(shipped_specs()[name], f"{name}.yaml", {}, False), {}, torch.float32), Recorder())


def lines(*lines: str, inputs: str = "x: randn(2, 8)", extra: str = "") -> str:
    body = "\n".join(f"  - {line}" for line in lines)
    return f"{extra}inputs:\n  {inputs}\nlayers:\n{body}\n"


BLOCKS = """
blocks:
  Block:
    - ln = LayerNorm
    - fc = Linear(8)
    - x + relu(fc)
inputs:
  x: randn(2, 8)
layers:
  - h = 3 * Block
  - out = Linear(4)
"""


# --- formulas and figures ---------------------------------------------------------------------------------------------


@pytest.mark.core
def test_a_convolution_is_explained_to_the_last_number() -> None:
    found = explain(spec("resnet50"), "conv1")
    assert (found.path, found.text, found.source, found.line) == ("conv1", "Conv2d 7×7 /2", "resnet50.yaml", 28)
    assert found.sentence.startswith("Learned filters slid over an image")
    (incoming,) = found.inputs
    assert (incoming.name, incoming.shape, incoming.dtype) == ("input", (1, 3, 224, 224), "float32")
    (result,) = found.outputs
    assert result.sizes is not None
    assert [size.value for size in result.sizes] == [1, 64, 112, 112]
    assert result.sizes[2].text.endswith("= ⌊(224 + 2·3 − 7) / 2⌋ + 1 = 112")
    (weight,) = found.parameters
    assert weight.count.text.endswith("= 64·3·7·7 = 9,408")
    (operator,) = found.operators
    # 64 · 112 · 112 · 3 · 7 · 7
    assert operator.macs_formula.endswith(" = 118,013,952")
    assert operator.flops_formula.endswith(" = 236,027,904")
    # 4 bytes of 3·224·224 pixels and 64·3·7·7 weights; of 64·112·112 results
    assert (found.bytes_read, found.bytes_written) == (4 * (150_528 + 9_408), 4 * 802_816)
    assert found.output_bytes == 4 * 802_816
    assert found.receptive_field == (7, 7)


def test_the_receptive_field_is_that_of_the_very_copy() -> None:
    text = lines("h = 3 * Conv2d(4, 3)", inputs="x: randn(1, 4, 16, 16)")
    found = traced(text)
    # Two pixels more with each kernel of 3.
    assert [explain(found, f"h.{i}").receptive_field for i in range(3)] == [(3, 3), (5, 5), (7, 7)]


@pytest.mark.parametrize("name", ["gpt2", "unet", "lstm", "moe_small"])
def test_an_explanation_agrees_with_the_report(name: str) -> None:
    paths = [row.path for row in rows(spec(name))]
    for row in rows(spec(name)):
        # A path that stands at several rows, as the work of a mixture between its experts, is explained by the first.
        if not row.path or row.call != 1 or row.calls != 1 or paths.count(row.path) > 1:
            continue
        found = explain(spec(name), row.path)
        assert found.type == row.type
        assert tuple(result.shape for result in found.outputs) == row.output_shapes
        if row.kind != "copies":
            assert (found.macs, found.flops) == (row.macs, row.flops)
            assert (found.bytes_read, found.bytes_written) == (row.bytes_read, row.bytes_written)
        for result in found.outputs:
            assert result.sizes is None or tuple(size.value for size in result.sizes) == result.shape


@pytest.mark.parametrize("name", ["resnet50", "lstm", "moe_small"])
def test_the_report_holds_the_arithmetic_of_an_explanation(name: str) -> None:
    found = rows(spec(name))
    paths = [row.path for row in found]
    for row, after in itertools.zip_longest(found, found[1:]):
        if not row.path or paths.count(row.path) > 1 or (after and after.depth > row.depth):
            continue
        explained = explain(spec(name), row.path)
        assert row.operators == explained.operators
        drawn = draw(explained, 500, False)
        for line in row.formulas:
            weight = line.partition(" = ")[0]
            shown = line.partition(" = ")[2] if weight in [one.name for one in row.parameters] else line
            assert re.sub(r"^output \d: ", "", shown) in drawn
    assert any(row.formulas for row in found)


@pytest.mark.core
def test_operators_and_parts_sum_to_the_whole() -> None:
    for path in ("blocks.0.moe", "blocks.0", "blocks", "embed"):
        found = explain(spec("moe_small"), path)
        inside = sum(part.flops * part.times for part in found.parts)
        between = sum((operator.flops or 0) * operator.times for operator in found.operators)
        assert inside + between == found.flops
        own = sum(weight.count.value for weight in found.parameters)
        assert own + sum(part.params * part.times for part in found.parts) == found.params


def test_each_input_names_its_source() -> None:
    found = explain(traced(lines("a = Linear(8)", "b = Linear(8)(x)", "a + b")), "add")
    assert [incoming.source for incoming in found.inputs] == ["a", "b"]
    found = explain(traced(lines("a = Linear(8)", "relu(prev)")), "a")
    assert [incoming.source for incoming in found.inputs] == ["the network's input"]


def test_a_tied_weight_is_listed_as_read_and_shared() -> None:
    assert explain(spec("gpt2"), "logits").reads == ("wte.weight",)

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.emb = nn.Embedding(10, 4)
            self.head = nn.Linear(4, 10, bias=False)
            self.head.weight = self.emb.weight

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.emb(ids))

    found, _ = trace_module(Tied(), (torch.zeros(2, 3, dtype=torch.int64),), {})
    (weight,) = explain(found, "head").parameters
    assert weight.shared == ("emb.weight",)


def test_a_parameter_that_is_not_trained_and_one_that_is_shared_say_so() -> None:
    count = Formula("weight", "n", "8", 8)
    frozen = Weight("weight", (8,), "float32", count, 32, trainable=False, shared=("emb.weight",))
    drawn = draw(
        made(parameters=(frozen,), buffers=(Weight("mean", (8,), "float32", count, 32, trainable=False),)), 90, False
    )
    assert "  weight  (8,)  float32  32 B  not trained; shared with emb.weight\n" in drawn
    assert "  mean  (8,)  float32  32 B\n" in drawn
    assert "\n    not trained; shared with emb.weight\n" in draw(made(parameters=(frozen,)), 50, False)


def test_calls_of_one_layer_are_counted_and_summed() -> None:
    found = explain(traced(lines("fc = Linear(8, bias=False)", "relu(prev)", "fc(prev)")), "fc")
    # 2 · 8 · 8 each
    assert (found.calls, found.macs, found.macs_of_calls) == (2, 128, 256)


def test_the_rounds_of_a_loop_are_one_part_with_a_number() -> None:
    text = lines("start = Linear(8)", "h = prev", "for: i in range(5)\n    do:\n      - h = Linear(8)(h)", "h + 1")
    found = traced(text)
    loop = next(row.path for row in rows(found) if row.kind == "loop")
    (part,) = explain(found, loop).parts
    assert part.times == 5
    # 2 · 8 · 8, five times
    assert explain(found, loop).macs == 5 * part.macs == 5 * 128


def test_the_experts_of_a_mixture_are_equal_parts() -> None:
    found = explain(spec("moe_small"), "blocks.0.moe")
    assert [(part.path.rpartition("moe.")[2], part.times) for part in found.parts] == [("gate", 1), ("experts.0", 4)]


def test_parameters_of_a_block_that_no_part_holds_are_its_own() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(8))
            self.fc = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x) * self.scale

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Scaled()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    found, _ = trace_module(Whole(), (torch.rand(2, 8),), {})
    told = explain(found, "inner")
    assert [weight.name for weight in told.parameters] == ["scale"]
    assert told.params == 8 + 72
    assert told.sentence.startswith("A module of your own")
    assert [operator.name for operator in told.operators] == ["mul"]


def test_an_operator_without_a_rule_is_shown_as_not_counted() -> None:
    @torch.library.custom_op("explained::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    twice.register_fake(torch.empty_like)

    class Own(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return twice(x)

    found, _ = trace_module(Own(), (torch.rand(4, 4),), {})
    path = next(row.path for row in rows(found))
    told = explain(found, path)
    assert told.uncounted == ("explained.twice",)
    drawn = draw(told, 100, False)
    assert "not counted: there is no rule for this operator" in drawn
    assert "≥ " in drawn


# --- which step is meant ---------------------------------------------------------------------------------------------


def test_a_copy_is_found_by_its_own_path_and_copies_by_the_first() -> None:
    found = traced(BLOCKS)
    assert explain(found, "h.2.fc").inputs[0].source == "h.2.ln"
    assert explain(found, "h.0–2").path == "h.0"
    assert [part.times for part in explain(found, "h").parts] == [3]


@pytest.mark.parametrize("text", ["line 10", "line10", ":10", "10"])
def test_a_line_finds_its_step(text: str) -> None:
    assert explain(traced(BLOCKS.lstrip("\n")), text).path == "out"


def test_a_line_in_a_block_finds_the_first_copy_and_the_other_steps_on_it() -> None:
    found = explain(traced(lines("a = Linear(8)", "b = x + Linear(8)(LayerNorm()(a))")), "line 5")
    assert (found.path, found.beside) == ("b", ("layernorm", "linear"))
    assert explain(traced(BLOCKS.lstrip("\n")), ":4").path == "h.0.fc"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("h.2.fcc", "there is no layer h.2.fcc; did you mean h.2.fc?"),
        ("fc", "there is no layer fc; did you mean h.0.fc?"),
        ("zzz", "there is no layer zzz; there is h, out"),
        ("line 99", "nothing runs on line 99 of test.yaml; the nearest step is on line 11"),
    ],
)
def test_a_step_that_is_not_there_suggests_one_that_is(wanted: str, message: str) -> None:
    with pytest.raises(LookupError, match=f"^{re.escape(message)}$"):
        explain(traced(BLOCKS), wanted)


def test_a_module_of_pythons_has_no_lines() -> None:
    found, _ = trace_module(nn.Sequential(nn.Linear(4, 4)), (torch.rand(2, 4),), {})
    assert explain(found, "0").type == "Linear"  # a path, though a number
    with pytest.raises(LookupError, match="no spec lines"):
        explain(found, "line 3")


# --- how it is drawn -------------------------------------------------------------------------------------------------

FORMULA = Formula("H", "⌊H / 2⌋", "⌊9 / 2⌋", 4)
OPERATOR = OperatorCost("halve", ((9,),), ((4,),), ("H′ = ⌊H / 2⌋ = ⌊9 / 2⌋ = 4",), "", "N = 4", 0, 4, 36, 16)


def made(**settings: object) -> Explanation:
    given: dict[str, object] = {
        "path": "a", "type": "Halve", "text": "Halve", "kind": "layer", "sentence": "Every other one.", "inputs": (),
        "outputs": (), "parameters": (), "buffers": (), "operators": (OPERATOR,), "parts": (), "params": 0, "macs": 0,
        "flops": 4, "bytes_read": 36, "bytes_written": 16, "output_bytes": 16,
    }  # fmt: skip
    return Explanation(**(given | settings))  # type: ignore[arg-type]


@pytest.mark.core
def test_an_explanation_is_drawn_block_by_block() -> None:
    assert draw(made(), 60, False) == (
        "a  ·  Halve\n"
        "Every other one.\n"
        "\n"
        "OPERATORS  by their ATen names\n"
        "  halve  (9,) → (4,)\n"
        "    H′ = ⌊H / 2⌋ = ⌊9 / 2⌋ = 4\n"
        "    FLOPs  N = 4\n"
        "    bytes  36 read, 16 written\n"
        "\n"
        "IN ALL\n"
        "  parameters  0\n"
        "  MACs        0\n"
        "  FLOPs       4\n"
        "  bytes       36 read, 16 written\n"
        "  intensity   0.0769 FLOPs a byte\n"
        "  output      16 bytes, 16 B\n"
    )


def test_rare_facts_are_shown() -> None:
    drawn = draw(made(receptive_field=(7, 7), calls=3, macs_of_calls=6, flops_of_calls=12, note="Once."), 100, False)
    assert "receptive field  7 × 7 of the input, for each output" in drawn
    assert "3; explained is one of them. All together: 6 MACs, 12 FLOPs" in drawn
    assert "Once." in drawn


def test_of_very_many_operators_some_are_shown_and_the_rest_is_summed() -> None:
    class Many(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for i in range(MOST_OPERATORS + 5):
                x = x.new_ones(i + 1) * 2
            return x

    found, _ = trace_module(Many(), (torch.rand(1),), {})
    records = [record for record in found.root.records() if record.op.name == "aten.mul"]
    shown = operator_costs(records)
    # The products of 41, 42, … 45 elements.
    assert (len(shown), shown[-1].name, shown[-1].flops) == (
        MOST_OPERATORS + 1,
        "5 more operators",
        41 + 42 + 43 + 44 + 45,
    )
    assert draw(made(operators=shown[-1:]), 100, False).splitlines()[4:6] == ["  5 more operators", "    FLOPs  215"]


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize(("name", "path"), [("resnet50", "layer1.0.conv2"), ("gpt2", "h.0.attn"), ("lstm", "lstm"),
    ("swin_t", "features.1.0.attn.relative_position_index"), ("swin_t", "features.1.0.attn.flatten")],
)  # fmt: skip
def test_no_line_is_wider_than_asked_for(name: str, path: str, width: int) -> None:
    for line in draw(explain(spec(name), path), width, False).splitlines():
        assert len(line) <= width, line


def test_colours_change_no_text() -> None:
    found = explain(spec("gpt2"), "h.0.attn.c_attn")
    plain, coloured = draw(found, 100, False), draw(found, 100, True)
    assert "\x1b[" in coloured
    bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in bare.splitlines()] == plain.splitlines()


def test_json_holds_all_of_it() -> None:
    found = explain(spec("resnet50"), "conv1")
    data = json.loads(found.dumps())
    assert data == json.loads(json.dumps(found.to_json()))
    assert data["outputs"][0]["sizes"][2]["value"] == 112
    assert data["operators"][0]["macs"] == 118_013_952


def test_drawing_needs_no_torch() -> None:
    script = "import sys, fwdscope.render.explanation, fwdscope.commands.explain; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# --- the backward ----------------------------------------------------------------------------------------------------


def test_the_backward_is_explained_as_the_forward_is() -> None:
    text = lines("a = Linear(6)", "ReLU", "b = Linear(4)")
    step = trace(build(check(parse(Source("test.yaml", text)))), recorder_of(TrainingSettings()))
    found = explain(step, "b")
    assert found.backward is not None
    # Of the input 2 · 4 · 6, of the weight 4 · 2 · 6; the bias sums 2 gradients for each of 4.
    inputs, weight, bias = found.backward_operators
    assert [one.macs_formula for one in (inputs, weight)] == ["M·K·N = 2·4·6 = 48", "M·K·N = 4·2·6 = 48"]
    assert bias.flops_formula == "R·(n - 1) = 4·(2 - 1) = 4"
    assert (found.backward.macs, found.backward.flops) == (96, 196)
    # The ReLU keeps its result, which b needs too.
    assert (found.backward.saved_bytes, explain(step, "relu").backward.saved_bytes) == (0, 2 * 6 * 4)
    drawn = draw(found, 100, False)
    assert "backward      96 MACs, 2 × those of the forward, 196 FLOPs" in drawn
    assert "saved for it  nothing that an earlier layer does not keep already" in drawn
    row = next(row for row in rows(step) if row.path == "b")
    assert (row.backward, row.backward_operators) == (found.backward, found.backward_operators)
    assert explain(traced(text), "b").backward is None


def test_the_forward_that_is_computed_again_is_in_the_backward() -> None:
    settings = TrainingSettings(checkpoint=("h.*",))
    step = SpecSubject(check(parse(Source("test.yaml", BLOCKS))), training=settings).trace_every_copy()
    found = explain(step, "h.1")
    # The backward has 2 · 8 · 8 MACs for the input and as many for the weight, the Linear again 2 · 8 · 8.
    assert found.backward is not None
    assert (found.backward.macs, found.backward.recomputed_macs) == (3 * 128, 128)
    assert "of these 128 MACs and" in draw(found, 100, False)


def test_every_copy_of_a_stack_has_its_backward() -> None:
    checked = check(parse(Source("test.yaml", BLOCKS)))
    subject = SpecSubject(checked, training=TrainingSettings())
    blocks = [explain(subject.trace_every_copy(), f"h.{i}").backward for i in range(3)]
    # Only the first has an input that needs no gradient: the products for it, 2 · 8 · 8 MACs, are none there.
    assert [one.macs for one in blocks if one] == [2 * 2 * 8 * 8] * 3
    assert fwdscope.explain("mnist_cnn", "conv1", training=True).backward is not None
    with pytest.raises(fwdscope.InputError, match="neither a value nor earlier positions"):
        fwdscope.explain("mnist_cnn", "conv1", training=True, value=(0, 0, 0, 0))
