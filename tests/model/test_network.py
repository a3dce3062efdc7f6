"""The network of a spec: built on meta, and run with real numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fwdscope import limits
from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.problems import SpecError
from fwdscope.language.source import Source
from fwdscope.model import Network, build
from fwdscope.model.initialise import materialise


def network(text: str, allow_import: bool = False, dtype: torch.dtype = torch.float32) -> Network:
    return build(check(parse(Source("net.yaml", text)), allow_import), dtype=dtype)


def lines(*lines: str, inputs: str = "x: randn(2, 8)", extra: str = "") -> str:
    body = "\n".join(f"  - {line}" for line in lines)
    return f"{extra}inputs:\n  {inputs}\nlayers:\n{body}\n"


def problems(text: str) -> list[str]:
    with pytest.raises(SpecError) as error:
        network(text)
    return [problem.message for problem in error.value.problems]


# --- building --------------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_building_allocates_nothing() -> None:
    built = network(lines("Linear(100_000_000)", "Linear(100_000_000)"))
    assert all(p.is_meta for p in built.parameters())
    assert sum(p.numel() for p in built.parameters()) == 8 * 10**8 + 10**8 + 10**16 + 10**8


@pytest.mark.core
def test_a_network_is_in_evaluation_mode_and_a_spec_cannot_leave_it() -> None:
    built = network(lines("Dropout(0.5)", "h = 2 * Linear(8)"))
    assert not any(module.training for module in built.modules())


@pytest.mark.core
def test_problems_of_independent_lines_are_reported_together() -> None:
    found = problems(
        lines(
            "a = Linear(4, in_features=9)(x)",
            "b = x.view(3, 5)",
            "c = a + b",
            "d = cat([x, x.T], dim=1)",
            "c + d",
        )
    )
    assert len(found) == 3


def test_a_promised_shape_lets_the_lines_after_a_mistake_be_checked() -> None:
    text = lines("fc = Linear(4, in_features=9)   -> (2, 4)", "prev.view(3, 5)")
    assert len(problems(text)) == 2
    assert len(problems(text.replace("   -> (2, 4)", ""))) == 1


def test_a_mistake_in_a_stack_is_reported_once() -> None:
    blocks = "blocks:\n  Block:\n    - cat([x, x[:1]], dim=1)\n"
    assert len(problems(lines("12 * Block", extra=blocks))) == 1


def test_a_layer_called_again_on_another_size_says_what_it_was_built_for() -> None:
    (found,) = problems(lines("fc = Linear(4)", "fc(prev)"))
    assert found == "Linear was built with in_features=8, and this input has 4"


def test_a_part_beyond_the_limit_of_layers_is_a_problem_at_its_line() -> None:
    # The network and `a` are the two that are allowed.
    text = lines("a = Linear(4)", "stem: [Linear(5)]")
    with limits.raised({"layers": 2}), pytest.raises(SpecError) as error:
        network(text)
    (found,) = error.value.problems
    assert found.message == "more than 2 layers"
    assert text[found.span.start :].startswith("stem:")


@pytest.mark.parametrize("promise", ["((2, 3), (4,))", "((2,), _)", "((8,), (8,), (8,))"])
def test_a_number_has_not_the_shapes_of_several_results(promise: str) -> None:
    (found,) = network(lines(f"x.sum() -> {promise}")).broken_promises
    assert found.message == f"promised {promise}, got ()"


def test_inputs_that_a_cpu_refuses_are_refused_on_meta() -> None:
    assert "int64" in problems(lines("Linear(4)", inputs="x: randint(0, 5, (2, 8))"))[0]
    assert "dtypes do not mix" in problems(lines("x @ ones(8, 8, dtype=float16)"))[0]
    assert problems(lines("ConvTranspose2d(4, 3, output_padding=2)", inputs="x: randn(1, 3, 8, 8)"))


def test_a_name_made_in_a_branch_that_was_not_taken_says_which() -> None:
    text = lines(
        "if: n > 1\n    then:\n      - a = Linear(8)\n    else:\n      - b = Linear(8)",
        "a + prev",
        extra="vars: {n: 1}\n",
    )
    (found,) = problems(text)
    assert found == "a is made in a branch that was not taken, at line 7"


def test_a_layer_whose_result_depends_on_data_cannot_run_on_meta() -> None:
    (found,) = problems(lines("GaussianNLLLoss()(x, x, x)"))
    assert "cannot run without data" in found


def test_torchs_defaults_are_left_alone(recwarn: pytest.WarningsRecorder) -> None:
    before = torch.get_default_dtype(), torch.get_rng_state()
    network(lines("Linear(4)", "relu(prev)"), dtype=torch.float64)
    assert torch.get_default_dtype() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_dtype_is_that_of_the_weights() -> None:
    built = network(lines("Linear(4)"), dtype=torch.float16)
    assert {p.dtype for p in built.parameters()} == {torch.float16}


# --- imports ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ownlayers.py").write_text(
        "import torch\n"
        "class Gate(torch.nn.Module):\n"
        "    def __init__(self, d, scale=1.0):\n"
        "        super().__init__()\n"
        "        self.w = torch.nn.Parameter(torch.ones(d) * scale)\n"
        "    def forward(self, x):\n"
        "        return x * self.w\n"
        "def factory():\n"
        "    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("ownlayers", None)


@pytest.mark.usefixtures("own_module")
def test_a_class_of_the_users_own_is_imported_only_if_allowed() -> None:
    text = lines("gate = ownlayers.Gate(8, scale=2.0)", "Linear(2)")
    with pytest.raises(SpecError, match="a class of your own"):
        network(text)
    assert "ownlayers" not in sys.modules
    built = network(text, allow_import=True)
    assert list(built.state_dict()) == ["gate.w", "linear.weight", "linear.bias"]


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize("line", ["ownlayers.Missing(8)", "nosuchmodule.Gate(8)"])
def test_a_class_that_cannot_be_imported_is_a_problem_with_a_position(line: str) -> None:
    with pytest.raises(SpecError) as error:
        network(lines(line), allow_import=True)
    (found,) = error.value.problems
    assert "cannot be imported" in found.message


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "ownlayers.Gate cannot be imported: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit('no GPU')", "ownlayers.Gate cannot be imported: SystemExit: no GPU"),
        ("def f(:", "ownlayers.Gate cannot be imported: SyntaxError: invalid syntax (ownlayers.py, line 1)"),
        (
            "from torch import nn\nclass Gate(nn.Module):\n    def __init__(self, n): raise OSError('no file')",
            "Gate cannot be made: OSError: no file",
        ),
    ],
)
def test_code_of_the_user_that_fails_is_a_problem_with_a_position(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ownlayers.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("ownlayers", None)
    with pytest.raises(SpecError) as error:
        network(lines("ReLU", "ownlayers.Gate(8)"), allow_import=True)
    sys.modules.pop("ownlayers", None)
    (found,) = error.value.problems
    assert (found.message, found.line) == (message, 5)


# --- running ---------------------------------------------------------------------------------------------------------


def test_a_while_runs_until_its_condition_is_false() -> None:
    built = materialise(network(lines("while: abs(prev).sum() > 1\n    do:\n      - prev / 2", "prev.sum()")))
    x = torch.full((2, 8), 3.0)
    # 48 halves to 24, 12, 6, 3, 1.5, 0.75: six rounds.
    assert built(x).item() == pytest.approx(48 / 2**6)


def test_a_while_that_never_ends_stops_at_its_limit_at_its_line() -> None:
    text = lines("while: abs(prev).sum() > 1\n    do:\n      - prev * 2\n    limit: 5 * 2", "prev.sum()")
    built = materialise(network(text))
    with pytest.raises(SpecError) as error:
        built(torch.ones(2, 8))
    (found,) = error.value.problems
    assert (found.message, found.line) == ("the loop ran 10 rounds, its limit", 4)


def test_a_while_whose_round_changes_a_shape_is_refused() -> None:
    (found,) = problems(lines("while: prev.sum() > 1\n    do:\n      - cat([prev, prev])", "prev.sum()"))
    assert found == "a round changes the shape of prev from (2, 8) to (4, 8)"


def test_weights_are_made_on_a_device_from_a_seed_and_leave_torchs_generator_alone() -> None:
    text = lines(
        "fc = Linear(4)", "scale = Parameter(0.02 * randn(4))", "table = Buffer(rand(4) + 1)", "fc * scale + table"
    )
    state = torch.get_rng_state()
    one, two, other = (materialise(network(text), seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["fc.weight"], other["fc.weight"])
    # torch's own default: uniform within 1 / sqrt(in_features) = 0.354
    assert 0 < one["fc.weight"].abs().max() <= 8**-0.5
    assert 0 < one["scale"].abs().max() < 0.2
    assert 1 <= one["table"].min() <= one["table"].max() < 2


def test_a_buffer_made_from_a_buffer_is_made_from_its_new_values() -> None:
    built = materialise(network(lines("a = Buffer(rand(8))", "b = Buffer(a * 2)", "x + a + b")))
    state = built.state_dict()
    assert torch.equal(state["b"], state["a"] * 2)


def test_tensors_that_a_line_makes_are_on_the_device_of_the_run() -> None:
    built = materialise(network(lines("x + arange(8) + causal_mask(8)[0] + zeros(8)")))
    assert torch.equal(built(torch.zeros(2, 8))[0], torch.arange(8.0) + torch.eye(8)[0])


def test_a_run_of_another_batch_is_the_same_network() -> None:
    built = materialise(network(lines("fc = Linear(4)", "relu(prev)")))
    x = torch.randn(5, 8)
    assert torch.equal(
        built(x),
        torch.relu(torch.nn.functional.linear(x, built.state_dict()["fc.weight"], built.state_dict()["fc.bias"])),
    )


def test_gradients_reach_the_parameters() -> None:
    built = materialise(network(lines("fc = Linear(4)", "scale = Parameter(ones(4))", "fc * scale")))
    built(torch.randn(2, 8)).sum().backward()
    assert all(p.grad is not None for p in built.parameters())


def test_layers_that_the_caller_fills_are_not_initialised(monkeypatch: pytest.MonkeyPatch) -> None:
    filled: list[nn.Linear] = []
    built = network(lines("a = Linear(4)", "b = Linear(4)", "c = Linear(4)"))
    monkeypatch.setattr(nn.Linear, "reset_parameters", lambda layer: filled.append(layer))
    materialise(built, given=["a.weight", "a.bias", "b.weight"])
    # Half of b is left to be initialised, so b is.
    assert filled == [built.get_submodule("b"), built.get_submodule("c")]


def test_equal_layers_share_nothing() -> None:
    # Each but the first ever built in this process is a duplicate.
    one, other = (network(lines("a = BatchNorm1d", "b = BatchNorm1d")) for _ in range(2))
    one.get_submodule("a").register_forward_hook(lambda *_: None)
    one.get_submodule("a").train()
    layers = [net.get_submodule(name) for net in (one, other) for name in "ab"]
    assert len({id(tensor) for layer in layers for tensor in layer.state_dict(keep_vars=True).values()}) == 4 * 5
    assert [(len(layer._forward_hooks), layer.training) for layer in layers] == [(1, True), *[(0, False)] * 3]
    first, second = materialise(network(lines("Linear(8)", "Linear(8)"))).children()
    assert not torch.equal(first.weight, second.weight)  # type: ignore[arg-type]


def test_each_of_two_equal_losses_fills_its_own_weights() -> None:
    text = "inputs: {x: 'randn(3, 2)', t: 'randint(0, 2, (3,))'}\nlayers:\n"
    text += "".join(f"  - {name} = CrossEntropyLoss(weight=(1, 2))(x, t)\n" for name in "abc") + "  - a + b + c\n"
    losses = materialise(network(text)).children()
    assert [loss.weight.tolist() for loss in losses] == [[1, 2]] * 3  # type: ignore[union-attr, operator]


@pytest.mark.core
def test_tied_weights_leave_meta_tied() -> None:
    built = network(lines("a = Linear(8)", "b = Linear(8)"))
    one, other = built.get_submodule("a"), built.get_submodule("b")
    assert isinstance(one, nn.Linear)
    other._parameters["weight"] = one.weight
    materialise(built)
    assert other.weight is one.weight
    assert one.weight.device.type == "cpu"
    assert other.bias is not one.bias


def test_a_problem_of_every_copy_of_a_stack_is_mended_once() -> None:
    text = """
inputs:
  x: randn(2, 8)
blocks:
  Block:
    - wide = Linear(16)
    - x + wide -> (2, 8)
layers:
  - 24 * Block
"""
    with pytest.raises(SpecError) as caught:
        build(check(parse(Source("test.yaml", text))))
    (problem,) = caught.value.problems
    assert [fix.line for fix in problem.fixes] == ["wide = Linear(8)"]
