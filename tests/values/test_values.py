"""One number of an output by hand: every layer type gives what torch gives, with numbers that lead on."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from around import Around, Calls
from function_examples import CALLS
from layer_examples import EXAMPLES, PADS, WINDOWS, Example
from torch import Tensor, nn
from typer.testing import CliRunner

import fwdscope
from fwdscope.cli import app
from fwdscope.inspection import inspect_target, make_subject
from fwdscope.layers import LAYERS
from fwdscope.ops.nested import tensors
from fwdscope.render.value import draw, lines
from fwdscope.report.value import Equation, GridRow, Subtotal, ValueExplanation, ValueTable
from fwdscope.run.explain import explain_value, parse_index
from fwdscope.run.subject import ModuleSubject, Subject
from fwdscope.settings import DeviceSettings, RunError, RunSettings
from fwdscope.targets import Target

CPU = DeviceSettings("cpu")
FIRST = {example.name: example for example in reversed(EXAMPLES)}

# Layer types whose numbers have no derivation, which their explanation says, as do projections of an LSTM's state.
LAYERS_NOT_SHOWN = {"CTCLoss", "MultiMarginLoss", "MultiLabelMarginLoss"}

NETWORK = """
inputs: {x: "randn(2, 6, 8)", ids: "randint(0, 10, (2, 6))", im: "randn(2, 3, 9, 9)"}
blocks:
  Neuron:
    - Linear(4)
    - ReLU
layers:
  - ln = LayerNorm()(x)
  - mha = MultiheadAttention(2, batch_first=True)(ln, ln, ln)
  - res = x + mha[0]
  - emb = Embedding(10, 8)(ids)
  - both = cat([res, emb], dim=-1)
  - gru = GRU(5, batch_first=True)(both)
  - moe = MixtureOfExperts(Linear(4), 4)(res)
  - hidden = Neuron()(res)
  - qkv = Linear(24)(res)
  - q, k, v = qkv.unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
  - att = scaled_dot_product_attention(q, k, v, is_causal=True)
  - conv = Conv2d(4, 3, padding=1)(im)
  - act = relu(conv)
  - pool = MaxPool2d(2)(act)
  - out = Dropout(0.5)(pool)
  - top = im.argmax(dim=1)
  - (gru, moe, hidden, att, out, top)
"""


@cache
def network(folder: Path) -> Subject:
    file = folder / "net.yaml"
    file.write_text(NETWORK)
    return make_subject(Target(str(file)))


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return network(tmp_path_factory.mktemp("values"))


@cache
def explained(subject: Subject, layer: str, text: str, output: int = 0) -> ValueExplanation:
    found = explain_value(subject, layer, parse_index(text), CPU, output)
    assert found.computed == pytest.approx(found.element.value, rel=1e-5, abs=1e-5)
    return found


def equations(found: ValueExplanation) -> list[Equation]:
    return [part for step in found.steps for part in step.parts if isinstance(part, Equation)]


# --- every layer type ------------------------------------------------------------------------------------------------


def module_of(example: Example, inputs: tuple[Any, ...]) -> nn.Module:
    # The mixture is no module of torch's.
    made = example.layer().build(*inputs) if example.name == "MixtureOfExperts" else example.torch_module()
    return made.eval()


@pytest.mark.filterwarnings("ignore:LSTM with projections", "ignore:enable_nested_tensor")
@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_number_of_every_layer_type_is_what_torch_gives(example: Example) -> None:
    torch.manual_seed(0)
    inputs = example.inputs()
    subject = ModuleSubject((Around(module_of(example, inputs)), inputs, {}))
    shape = subject.trace.outputs[0][1].shape
    # Both ends of a window's or a padding's output are borders.
    first, last = (0,) * len(shape), tuple(size - 1 for size in shape)
    is_first = FIRST[example.name] is example
    for place in (first, last) if is_first and example in WINDOWS + PADS else (first,) if is_first else (last,):
        found = explain_value(subject, "layer", place, CPU)
        assert found.computed == pytest.approx(found.element.value, rel=1e-5, abs=1e-5, nan_ok=True)
        is_hidden = any("not shown" in one.note for one in equations(found))
        assert is_hidden == (example.name in LAYERS_NOT_SHOWN or "proj_size" in str(example))


# Functions whose numbers have no derivation, which their explanation says.
NOT_SHOWN = {"scatter_add", "scatter_reduce", "angle", "cumprod", "logcumsumexp", "irfft", "irfft2"}
NOT_SHOWN |= {"multi_margin_loss", "multilabel_margin_loss"}


def test_a_number_of_every_function_is_what_torch_gives() -> None:
    hidden: set[str] = set()
    for example in {one.name: one for one in CALLS if one._receiver is None}.values():
        inputs = tensors([*example.arguments("cpu")])
        if not inputs:
            continue
        subject = ModuleSubject((Around(Calls(example)), inputs, {}))
        (layer,) = subject.trace.root.children
        for number, output in enumerate(layer.outputs):
            if output.dtype not in ("float32", "float64") or not all(output.shape):
                continue
            found = explain_value(subject, "layer", tuple(size // 2 for size in output.shape), CPU, number)
            assert found.computed == pytest.approx(found.element.value, rel=1e-5, abs=1e-5, nan_ok=True), example
            hidden |= {example.name for one in equations(found) if "not shown" in one.note}
    assert hidden == NOT_SHOWN


def test_every_layer_type_has_an_example() -> None:
    assert {example.name for example in EXAMPLES} == set(LAYERS)


# --- by hand ---------------------------------------------------------------------------------------------------------


def filled(module: nn.Module, **weights: Any) -> nn.Module:
    with torch.no_grad():
        for name, values in weights.items():
            getattr(module, name).copy_(torch.tensor(values).reshape(getattr(module, name).shape))
    return module.eval()


def test_a_neuron_is_its_inputs_times_its_weights_plus_its_bias() -> None:
    module = filled(nn.Linear(2, 2), weight=[0.0, 0.0, 1.0, 2.0], bias=[0.0, 3.0])
    found = fwdscope.explain(module, "", torch.tensor([[4.0, 5.0]]), value=(0, 1))
    assert isinstance(found, ValueExplanation)
    table = next(part for part in found.steps[0].parts if isinstance(part, ValueTable))
    # x·w: 4·1, 5·2; the sum so far: 4, 14
    assert [row.cells[2:] for row in table.rows] == [(4.0, 4.0), (10.0, 14.0)]
    assert (found.steps[-1].result.symbols, found.steps[-1].result.numbers) == ("Σ input·weight + bias", "14 + 3")
    assert found.computed == found.element.value == 17.0


def test_a_convolution_is_a_window_times_the_kernel_channel_by_channel() -> None:
    module = filled(nn.Conv2d(2, 1, 2, padding=1, bias=False), weight=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    image = torch.arange(18.0).reshape(1, 2, 3, 3)
    found = fwdscope.explain(module, "", image, value=(0, 0, 0, 1))
    assert isinstance(found, ValueExplanation)
    first, second = (part for part in found.steps[0].parts if isinstance(part, GridRow))
    # Row 0 is padding; below are x[0, 0, 0, 0:2] = 0 1 under 3 4, and x[0, 1, 0, 0:2] = 9 10 under 7 8.
    assert first.grids[0].rows == ((None, None), (0.0, 1.0))
    assert (first.grids[0].title, first.grids[0].down, first.grids[0].across) == ("input[0, 0]", (None, 0), (0, 1))
    assert first.grids[1].rows == ((1.0, 2.0), (3.0, 4.0))
    assert first.grids[2].rows == ((None, None), (0.0, 4.0))
    # 0·3 + 1·4 = 4, and 9·7 + 10·8 = 143
    assert [one.results[-1] for one in (first, second)] == [Subtotal("sum so far", 4.0), Subtotal("sum so far", 147.0)]
    assert found.computed == 147.0


def test_an_lstm_shows_its_gates_in_order_and_its_state() -> None:
    torch.manual_seed(1)
    module = nn.LSTM(3, 4).eval()
    found = fwdscope.explain(module, "", torch.rand(5, 2, 3), value=(2, 1, 3))
    assert isinstance(found, ValueExplanation)
    made = {one.name.partition(",")[0]: one for one in equations(found)}
    assert list(made) == ["i", "f", "g", "o", "c", ""]
    assert made["c"].symbols == "f·c′ + i·g"
    assert made[""].symbols == "o·tanh(c)"
    # As torch's documentation computes them, with the state of the step before.
    hidden = made["o"].value * math.tanh(made["c"].value)
    assert hidden == pytest.approx(found.element.value, abs=1e-6)


def test_negative_numbers_and_terms_are_written_as_people_write_them() -> None:
    from fwdscope.values.quantity import atom, exp, sqrt

    x, y = atom(-0.5, "x"), atom(2.0, "y")
    for made, symbols, numbers in (
        (x + y * x, "x + y·x", "−0.5 + 2·(−0.5)"),
        (y - x, "y − x", "2 + 0.5"),
        (y - (x + y), "y − (x + y)", "2 − (−0.5 + 2)"),
        (x / sqrt(y + 1) * y, "(x / √(y + 1))·y", "(−0.5 / √(2 + 1))·2"),
        ((x - y) ** 2, "(x − y)²", "(−0.5 − 2)²"),
        (1 / (1 + exp(-x)), "1 / (1 + exp(−x))", "1 / (1 + exp(−(−0.5)))"),
    ):
        assert (made.symbols.text, made.numbers.text) == (symbols, numbers)


# --- on from there ---------------------------------------------------------------------------------------------------


def operands(found: ValueExplanation) -> Iterator[tuple[str, tuple[int, ...], int, float]]:
    for one in found.operands():
        if one.kind == "layer" and one.tensor != found.element.tensor:
            yield one.tensor, one.index, one.output, one.value


@pytest.mark.parametrize(
    ("layer", "value"),
    [("mha", "0,2,3"), ("res", "0,2,3"), ("gru", "1,4,2"), ("moe", "0,2,3"), ("att", "1,1,3,2"), ("conv", "0,3,0,4"),
     ("pool", "0,3,1,2"), ("both", "1,2,9"), ("hidden", "0,1,2")],
)  # fmt: skip
def test_a_number_that_goes_in_is_the_number_at_its_address(net: Subject, layer: str, value: str) -> None:
    found = explained(net, layer, value)
    on = list(operands(found))
    assert on or layer == "conv"  # which takes an input of the network
    for tensor, index, output, number in on[:1]:
        assert explain_value(net, tensor, index, CPU, output).element.value == number


def test_the_number_is_the_one_that_inspect_shows(net: Subject, tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(NETWORK)
    settings = RunSettings("cpu", show="conv[0, 3]", latency=False, stats=False)
    picture = inspect_target(Target(str(file)), settings)[1]
    assert picture is not None
    assert explained(net, "conv", "0,3,5,6").element.value == picture.panels[0].rows[5][6]


def test_a_block_is_explained_by_its_last_step_and_an_activation_with_what_it_is_of(net: Subject) -> None:
    found = explained(net, "hidden", "0,1,2")
    assert [step.operator for step in found.steps] == ["linear", "relu"]
    assert found.notes == ("hidden is a block; its last step is hidden.relu",)
    behind = explained(net, "conv", "0,3,5,6")
    assert [step.operator for step in behind.activation] == ["relu"]
    assert behind.activation[0].result.value == max(0.0, behind.element.value)


def test_a_layer_that_computes_nothing_says_whose_number_it_passes_on(net: Subject) -> None:
    for layer, value, source in (("out", "0,3,1,2", "pool[0, 3, 1, 2]"), ("both", "1,2,9", "emb[1, 2, 1]")):
        found = explained(net, layer, value)
        assert [one.symbols for one in equations(found)] == [source]
    assert "nothing is computed" in explained(net, "out", "0,3,1,2").steps[0].sentence


def test_weights_of_a_file_and_another_seed_give_other_numbers(net: Subject) -> None:
    one, other = (explain_value(net, "conv", (0, 0, 1, 1), DeviceSettings("cpu", seed)) for seed in (0, 1))
    assert one.element.value != other.element.value


def test_what_is_written_in_place_is_seen() -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = torch.zeros(2, 3)
            y[0] = x[1]
            y[:, 1].mul_(3)
            y += 1
            return y.t()

    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    # y[0, 1] = x[1, 1]·3 + 1
    found = fwdscope.explain(Own(), "", x, value=(1, 0))
    assert isinstance(found, ValueExplanation)
    assert (found.computed, found.steps[-1].result.symbols) == (16.0, "x·3 + 1")


# --- what cannot be explained ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "value", "output", "message"),
    [
        ("conv", "0,3,5", 0, "--value 0,3,5: conv has the shape (2, 4, 9, 9), which takes 4 indices: --value 0,0,0,0"),
        ("conv", "0,3,5,9", 0, "index 9 is outside dimension 3 of (2, 4, 9, 9); there is from 0 to 8"),
        ("conv", "0,-5,0,0", 0, "index -5 is outside dimension 1"),
        ("gru", "0,0,0", 2, "--of 2: gru has the outputs 0 (2, 6, 5), 1 (1, 2, 5)"),
        ("top", "0,1,1", 0, "the output of top is int64; only real floating-point numbers are explained"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(net: Subject, layer: str, value: str, output: int, message: str) -> None:
    with pytest.raises(RunError) as error:
        explain_value(net, layer, parse_index(value), CPU, output)
    assert message in str(error.value)


def test_an_index_is_read_as_python_writes_it(net: Subject) -> None:
    assert parse_index("[0, -1,3]") == parse_index("(0,-1,3)") == parse_index(" 0, -1, 3 ") == (0, -1, 3)
    assert parse_index("") == parse_index("[]") == ()
    with pytest.raises(RunError, match="found 'a' where a whole number was expected"):
        parse_index("0,a")
    assert explained(net, "conv", "0,-1,-1,-1").element.index == (0, 3, 8, 8)
    with pytest.raises(LookupError, match="did you mean conv"):
        explain_value(net, "conf", (0,), CPU)


# --- drawing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize(
    ("layer", "value"), [("conv", "0,3,0,4"), ("mha", "0,2,3"), ("gru", "1,4,2"), ("att", "1,1,3,2")]
)
def test_the_drawing_keeps_to_its_width(net: Subject, layer: str, value: str, width: int) -> None:
    found = explained(net, layer, value)
    drawn = draw(found, width, "net.yaml {layer}")
    assert max(map(len, drawn.splitlines())) <= width
    coloured = lines(found, width, True, "net.yaml {layer}")
    assert [line.plain.rstrip() for line in coloured] == [line.rstrip() for line in drawn.splitlines()]


def test_a_notebook_shows_it_in_colours(net: Subject) -> None:
    text = explained(net, "conv", "0,3,0,4")._repr_html_()
    assert '<span class="bold cyan">conv[0, 3, 0, 4]</span>' in text
    assert len(re.findall("background:#", text)) == 3 * (
        2 * 6 + 9
    )  # of each channel two rows of x and products, a kernel


def test_a_long_sum_is_shortened_in_the_middle() -> None:
    torch.manual_seed(0)
    found = fwdscope.explain(nn.Linear(768, 2), "", torch.rand(1, 768), value=(0, 1))
    assert isinstance(found, ValueExplanation)
    table = next(part for part in found.steps[0].parts if isinstance(part, ValueTable))
    rest = next(row for row in table.rows if row.kind == "rest")
    assert rest.cells[0] == "… 761 more"
    # What is shown and what is left out make the whole.
    products = [row.cells[2] for row in table.rows]
    assert sum(products) == pytest.approx(table.rows[-1].cells[3])  # type: ignore[arg-type]


def test_the_command_line_explains_a_number(tmp_path: Path) -> None:
    def run(*args: str) -> Any:
        return CliRunner().invoke(app, ["explain", "mlp_xor", "hidden", *args], catch_exceptions=False)

    picture = tmp_path / "value.svg"
    assert run("--value", "0,-1", "-o", str(picture)).exit_code == 0
    assert picture.read_text().startswith("<svg")
    assert json.loads(run("--value", "0,-1", "--json").stdout)["element"]["index"] == [0, 3]
    made = run("--device", "meta", "--value", "0,1")
    assert made.exit_code == 2
    assert made.stderr == "error: --device meta has no numbers, only shapes: leave it out to run on the CPU\n"
    made = run("--seed", "1")
    assert made.stderr == "error: --seed is for a number of the output: add --value, as in --value 0,3,5,5\n"
