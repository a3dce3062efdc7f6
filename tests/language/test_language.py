"""The rules of the language in right files: what each line makes, and at which path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent, indent

import pytest
import torch
from torch import Tensor

from fwdscope.functions.refusals import OTHER_KEYWORDS, OTHER_WORDS
from fwdscope.language import names
from fwdscope.language.check import Checked, check
from fwdscope.language.parser import parse
from fwdscope.language.problems import Source, SpecError
from fwdscope.language.replaced import point_at_set
from fwdscope.language.source import decode
from fwdscope.model import Network, build
from fwdscope.model.initialise import materialise

X = "x: randn(2, 8)"


def checked(layers: str, head: str = "", inputs: str = X, variables: Mapping[str, str] | None = None) -> Checked:
    text = f"inputs:\n{indent(inputs, '  ')}\n{dedent(head)}\nlayers:\n{indent(dedent(layers).strip(), '  ')}\n"
    return check(parse(Source("net.yaml", text), variables))


def network(layers: str, head: str = "", inputs: str = X, variables: Mapping[str, str] | None = None) -> Network:
    built = build(checked(layers, head, inputs, variables))
    assert built.broken_promises == ()
    return built


def keys(built: Network) -> list[str]:
    return list(built.state_dict())


def weights(built: Network) -> list[str]:
    """Paths of layers with weights, in the order of running."""
    return [key.removesuffix(".weight") for key in keys(built) if key.endswith(".weight")]


def paths(built: Network) -> list[str]:
    return [path for path, _ in built.named_modules() if path]


def shape(built: Network) -> tuple[int, ...]:
    """The shape of what comes out."""
    result = built(*built.example.values())
    assert isinstance(result, Tensor)
    return tuple(result.shape)


def problems_of(layers: str, head: str = "", inputs: str = X) -> str:
    with pytest.raises(SpecError) as error:
        build(checked(layers, head, inputs))
    return "\n".join(problem.message for problem in error.value.problems)


# --- paths -----------------------------------------------------------------------------------------------------------


def test_an_unnamed_layer_is_at_its_type_numbered_among_its_kind() -> None:
    built = network("- Linear(4)\n- ReLU\n- Linear(4)\n- ReLU\n- Linear(4)")
    assert paths(built) == ["linear", "relu", "linear_2", "relu_2", "linear_3"]


def test_inserting_another_kind_moves_no_path() -> None:
    before = network("- Linear(4)\n- Linear(4)")
    after = network("- ReLU\n- LayerNorm\n- Linear(4)\n- Dropout(0.1)\n- Linear(4)")
    assert [key for key in keys(after) if "norm" not in key] == keys(before)


def test_default_paths_go_around_given_names() -> None:
    assert weights(network("- Linear(4)\n- linear = Linear(4)\n- Linear(4)")) == ["linear_2", "linear", "linear_3"]


@pytest.mark.parametrize("label", ["forward", "type", "keys", "training", "half", "_modules", "float", "größe"])
def test_any_name_is_a_path(label: str) -> None:
    built = network(f"- {label} = Linear(4)\n- ReLU")
    assert keys(built) == [f"{label}.weight", f"{label}.bias"]
    assert not built.training


def test_a_number_makes_a_path_and_nothing_else() -> None:
    assert weights(network("- 0 = Linear(4)\n- ReLU\n- 2 = Linear(4)")) == ["0", "2"]


@pytest.mark.core
def test_the_copies_of_a_stack_are_numbered_under_its_name() -> None:
    assert weights(network("- h = 3 * Linear(8)")) == ["h.0", "h.1", "h.2"]


def test_an_unnamed_stack_is_called_after_what_it_repeats() -> None:
    head = "blocks:\n  Mlp:\n    - fc = Linear(8)"
    assert weights(network("- 2 * Mlp\n- 2 * Linear(8)", head)) == ["mlp.0.fc", "mlp.1.fc", "linear.0", "linear.1"]


def test_stacks_and_series_inside_a_series_are_flattened() -> None:
    built = network("- s = Sequential(Linear(8), 2 * Linear(8), Sequential(ReLU, Linear(8)))")
    assert weights(built) == ["s.0", "s.1", "s.2", "s.4"]


def test_a_series_from_a_table_and_from_a_comprehension() -> None:
    head = """
    vars: {table: [[16, 0.1], [32, 0.2]]}
    blocks:
      Stage(width, rate):
        - fc = Linear(width)
        - Dropout(rate)
    """
    lines = "- a = Sequential(Stage(*row) for row in table)\n- b = Sequential(Linear(w) for w, _ in table)"
    built = network(lines, head)
    assert weights(built) == ["a.0.fc", "a.1.fc", "b.0", "b.1"]
    sizes = [tuple(p.shape) for name, p in built.named_parameters() if name.endswith("weight")]
    assert sizes == [(16, 8), (32, 16), (16, 32), (32, 16)]


def test_a_stack_of_0_copies_is_empty() -> None:
    assert keys(network("- 0 * Linear(8)\n- fc = Linear(4)")) == ["fc.weight", "fc.bias"]


def test_the_other_inputs_of_a_stack_stay() -> None:
    head = "blocks:\n  Cross()(x, memory):\n    - x + Linear(8)(memory)"
    built = network("- (3 * Cross())(x, y)", head, "x: randn(2, 8)\ny: randn(2, 5)")
    assert {tuple(p.shape) for p in built.parameters()} == {(8, 5), (8,)}


# --- sharing ---------------------------------------------------------------------------------------------------------


def test_a_layer_called_by_its_name_is_the_same_layer() -> None:
    built = network("- fc = Linear(8)\n- ReLU\n- fc(prev)\n- fc(prev) + fc(x)")
    assert keys(built) == ["fc.weight", "fc.bias"]


def test_the_name_of_a_layer_as_a_setting_shares_that_layer() -> None:
    head = "blocks:\n  Head(layer):\n    - h = layer(x)\n    - own = Linear(8)"
    built = network("- fc = Linear(8)\n- head = Head(fc)", head)
    assert sum(p.numel() for p in built.parameters()) == 2 * (8 * 8 + 8)
    assert weights(built) == ["fc", "head.own"]


def test_a_layer_as_a_setting_is_built_again_at_each_use() -> None:
    head = "blocks:\n  Two(act):\n    - act\n    - act(prev)"
    assert weights(network("- two = Two(Linear(8))", head)) == ["two.linear", "two.linear_2"]


def test_a_setting_may_be_a_layer_with_or_without_settings() -> None:
    head = "blocks:\n  Block(norm=LayerNorm, act=GELU(approximate='tanh')):\n    - n = norm\n    - act"
    built = network("- a = Block\n- b = Block(norm=BatchNorm1d, act=ReLU)", head)
    kinds = {path: type(module).__name__ for path, module in built.named_modules() if "." in path}
    assert kinds == {"a.n": "LayerNorm", "a.gelu": "GELU", "b.n": "BatchNorm1d", "b.relu": "ReLU"}


def test_a_layer_of_torch_takes_a_layer_as_a_setting() -> None:
    built = network("- e = TransformerEncoder(TransformerEncoderLayer(2), 3)", inputs="x: randn(2, 4, 8)")
    assert sum(key.endswith("linear1.weight") for key in keys(built)) == 3


@pytest.mark.core
def test_a_tied_weight_is_one_parameter() -> None:
    built = network(
        "- wte = Embedding(50, 8)(x)\n- ReLU\n- linear(prev, wte.weight)  -> (2, 3, 50)",
        inputs="x: randint(0, 50, (2, 3))",
    )
    assert keys(built) == ["wte.weight"]


def test_a_tensor_inside_a_stack_goes_by_the_number_of_its_copy() -> None:
    head = "blocks:\n  Mlp:\n    - fc = Linear(8)"
    built = network("- h = 2 * Mlp\n- linear(prev, h[1].fc.weight) + linear(x, h[0].fc.weight)", head)
    assert len(list(built.parameters())) == 4


def test_each_round_of_a_loop_makes_its_own_layers() -> None:
    built = network("- for: t in range(2)\n  do:\n    - cell = Linear(8)\n    - Tanh")
    assert keys(built) == ["cell.0.weight", "cell.0.bias", "cell.1.weight", "cell.1.bias"]


def test_every_round_of_a_loop_reads_the_names_outside() -> None:
    """A run keeps no value longer than its last reader needs it; in a loop that is the last round."""
    built = network(
        """
        - table = 2 * x
        - y = x
        - for: i in range(3)
          do:
            - for: j in range(2)
              do:
                - y = y + table
            - if: i > 1
              then:
                - y = y + x
            - y * 1
        - y + prev
        """
    )
    x = torch.ones(2, 8)
    for _ in range(2):
        # y = x + 3 · 2 · 2x + x = 14x, and the last line adds what flows, which is y again
        assert torch.equal(materialise(built)(x), 28 * x)


def test_a_comprehension_makes_a_layer_each_turn() -> None:
    built = network("- stack([Linear(8)(x) for _ in range(3)], dim=1)  -> (2, 3, 8)")
    assert weights(built) == ["linear", "linear_2", "linear_3"]


# --- flow ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "beside",
    [
        "mask = causal_mask(8)",
        "n = prev.shape[1]",
        "scale = Parameter(ones(8))",
        "table = Buffer(rand(8))",
        "wpe = Embedding(8, 3)(arange(8))",
        "k = 3",
        "pair = (1, 2)",
    ],
)
def test_a_line_that_depends_on_no_input_does_not_flow(beside: str) -> None:
    name = beside.split(" = ")[0]
    use = {"pair": "pair[0]", "mask": "mask.sum()", "wpe": "wpe.sum()"}.get(name, name)
    built = network(f"- fc = Linear(8)\n- {beside}\n- out = Linear(8)\n- prev * {use}")
    assert {"fc.weight", "out.weight"} <= set(keys(built))
    assert shape(built) == (2, 8)


def test_a_part_reached_by_an_input_flows() -> None:
    built = network("- y = ones(2, 3)\n- part:\n  - Linear(3)\n- cat([part, y], dim=1)\n- fc = Linear(4)")
    assert tuple(built.get_parameter("fc.weight").shape) == (4, 6)


def test_a_value_may_be_given_again_and_an_input_too() -> None:
    assert shape(network("- q = Linear(4)(x)\n- q = q * 2\n- x = x / 2\n- cat([q, x], dim=1)")) == (2, 12)


def test_the_files_own_names_hide_torchs() -> None:
    assert shape(network("- relu = Linear(4)\n- relu + relu(x)")) == (2, 4)


def test_a_block_hides_the_layer_of_its_name_with_a_note() -> None:
    one = checked("- Linear", "blocks:\n  Linear:\n    - ReLU")
    assert [note.text for note in one.notes] == ["in this file, Linear is the block and not torch's layer"]
    assert keys(build(one)) == []


def test_several_results_are_unpacked_or_indexed_or_the_first_is_used() -> None:
    inputs = "x: randn(2, 5, 8)"
    assert shape(network("- out, (h, _) = LSTM(4)\n- out + h[-1]", inputs=inputs)) == (2, 5, 4)
    assert shape(network("- lstm = LSTM(4)\n- lstm[0] + 1", inputs=inputs)) == (2, 5, 4)
    assert shape(network("- lstm = LSTM(4)\n- out, (h, c) = lstm\n- relu(out) + h[-1] + c[-1]", inputs=inputs)) == (
        2,
        5,
        4,
    )
    assert shape(network("- LSTM(4)\n- Linear(3)", inputs=inputs)) == (2, 5, 3)


def test_a_discarded_result_makes_nothing_unread() -> None:
    assert shape(network("- _, b = chunk(x, 2, dim=1)\n- b * 2")) == (2, 4)


def test_several_values_may_be_the_result() -> None:
    built = network("- a = Linear(4)\n- b = Linear(3)(x)\n- (a, b)")
    assert [tuple(value.shape) for value in built(*built.example.values())] == [(2, 4), (2, 3)]


# --- parts, choices, loops, recursion --------------------------------------------------------------------------------


def test_names_inside_a_part_are_seen_from_outside_by_their_path() -> None:
    built = network(
        "- stem:\n  - fc = Linear(8)\n  - inner:\n    - deep = Linear(8)\n  - ReLU\n"
        "- x + stem.fc + stem.inner.deep\n- linear(prev, stem.fc.weight) + stem"
    )
    assert weights(built) == ["stem.fc", "stem.inner.deep"]


def test_a_part_may_be_called_on_a_value_and_sees_the_names_outside() -> None:
    built = network("- h = Linear(4)\n- branch(x):\n  - Linear(4)\n  - prev + h\n- branch * 2")
    assert weights(built) == ["h", "branch.linear"]


def test_a_layer_inside_a_part_is_called_by_its_path() -> None:
    assert weights(network("- stem:\n  - fc = Linear(8)\n  - ReLU\n- stem.fc(prev)")) == ["stem.fc"]


@pytest.mark.core
@pytest.mark.parametrize(("stride", "expected"), [("1", []), ("2", ["down.conv"])])
def test_a_choice_builds_only_one_branch(stride: str, expected: list[str]) -> None:
    head = """
    vars: {stride: 1}
    blocks:
      Down(stride):
        - if: stride > 1
          then:
            - y = conv = Linear(8)
          else:
            - y = x
        - y + x
    """.replace("y = conv = Linear(8)", "conv = Linear(8)\n            - y = conv")
    assert weights(network("- down = Down(stride)", head, variables={"stride": stride})) == expected


def test_a_choice_without_else_leaves_the_flow() -> None:
    assert shape(network("- if: x.shape[1] > 100\n  then:\n    - Linear(3)\n- Linear(4)")) == (2, 4)


def test_a_conditional_expression_may_choose_a_layer() -> None:
    head = "vars: {deep: True}"
    assert weights(network("- fc = Linear(4) if deep else ReLU()", head)) == ["fc"]


@pytest.mark.core
def test_a_block_may_use_itself_64_deep() -> None:
    head = """
    blocks:
      U(n):
        - fc = Linear(8)
        - if: n > 1
          then:
            - inner = U(n - 1)
    """
    built = network("- u = U(64)", head)
    assert len(weights(built)) == 64
    assert weights(built)[1] == "u.inner.fc"
    assert problems_of("- u = U(65)", head) == "blocks are nested deeper than 64"


def test_the_shape_may_end_a_recursion() -> None:
    head = """
    blocks:
      Pyramid:
        - down = Linear(x.shape[1] // 2)
        - if: prev.shape[1] > 1
          then:
            - next = Pyramid
    """
    assert weights(network("- p = Pyramid", head)) == ["p.down", "p.next.down", "p.next.next.down"]


def test_a_loop_that_depends_on_data_is_built_once() -> None:
    built = network("- fc = Linear(8)\n- while: abs(prev).sum() > 1\n  do:\n    - prev / 2\n- prev.sum()  -> ()")
    assert len(built.blueprint.notes) == 1
    materialise(built)
    assert abs(built(torch.ones(2, 8))) <= 1


def test_a_loop_that_never_ends_stops_at_its_limit() -> None:
    built = materialise(network("- while: (prev * 0).sum() < 1\n  do:\n    - prev + 1\n  limit: 10 * 2"))
    with pytest.raises(SpecError, match="the loop ran 20 rounds, its limit"):
        built(torch.ones(2, 8))


# --- graph -----------------------------------------------------------------------------------------------------------


def test_the_lines_of_a_graph_are_in_any_order() -> None:
    text = "inputs: {'x': 'randn(2, 8)'}\ngraph:\n  - out = relu(b + a)\n  - b = Linear(4)(a)\n  - a = Linear(4)(x)\n"
    one = check(parse(Source("graph.yaml", text)))
    assert [line.text for line in one.layers] == ["Linear(4)(x)", "Linear(4)(a)", "relu(b + a)"]  # type: ignore[union-attr]
    assert weights(build(one)) == ["a", "b"]


# --- vars, settings, defaults ----------------------------------------------------------------------------------------


def test_vars_are_in_any_order_and_compute() -> None:
    head = """
    vars:
      head_dim: d // heads
      widths: [d, 2 * d]
      d: 8
      heads: 2
      name: 'no'
      deep: true
      rates: '0.1 * 3'
    """
    variables = checked("- Linear(d)", head).variables
    assert variables == {
        "head_dim": 4,
        "widths": [8, 16],
        "d": 8,
        "heads": 2,
        "name": "no",
        "deep": True,
        "rates": "0.1 * 3",
    }


def test_set_replaces_a_var_and_the_vars_computed_from_it() -> None:
    head = "vars: {d: 8, wide: 4 * d}"
    assert shape(network("- Linear(wide)", head, variables={"d": "2 * 5"})) == (2, 40)


@pytest.mark.core
def test_set_needs_a_var_of_the_spec() -> None:
    with pytest.raises(SpecError) as refused:
        checked("- Linear(d)", "vars: {d: 8}", variables={"D": "3"})
    assert str(refused.value).split("\n") == [
        "--set D:1:1: error: there is no var D [name]",
        "  |",
        "1 | D=3",
        "  | ^",
        "  = help: write `d`",
    ]


def test_a_value_of_set_that_does_not_parse_is_shown_in_its_own_text() -> None:
    with pytest.raises(SpecError, match=r"--set d:1:3: error: the expression ends too soon"):
        checked("- Linear(d)", "vars: {d: 8}", variables={"d": "3 +"})


def replaced_problems(layers: str, head: str, variables: Mapping[str, str], inputs: str = X) -> str:
    text = f"inputs:\n  {inputs}\n{dedent(head)}\nlayers:\n{indent(dedent(layers).strip(), '  ')}\n"
    spec = parse(Source("net.yaml", text), variables)
    with pytest.raises(SpecError) as refused, point_at_set(spec):
        build(check(spec))
    return str(refused.value)


def test_a_wrong_value_of_set_is_reported_there_and_not_in_the_file() -> None:
    shown = replaced_problems("- Linear(d)", "vars: {d: 8}", {"d": "abc"}).split("\n")
    assert shown[0] == "--set d:1:1: error: unknown name abc [name]"
    assert shown[2:4] == ["1 | abc", "  | ^^^"]
    assert shown[4] == "  = help: a string needs quotes: `'abc'`"
    # Two such values with one message are two problems.
    assert (
        replaced_problems("- Linear(d)", "vars: {d: 8, e: 8}", {"d": "abc", "e": "abc"}).count("unknown name abc") == 2
    )


def test_an_impossible_size_of_set_is_reported_there_with_the_line_that_uses_it() -> None:
    shown = replaced_problems("- Linear(3)", "vars: {B: 2}", {"B": "-1"}, "x: randn(B, 8)").split("\n")
    assert shown[0] == "--set B:1:1: error: randn: -1 is not a size [shape]"
    assert shown[4] == "  = net.yaml:2:6: x: randn(B, 8)"
    # A -1 that the file itself says is the file's.
    shown = replaced_problems("- Linear(3)", "vars: {B: 2}", {"B": "4"}, "x: randn(B, -1)").split("\n")
    assert shown[0].startswith("net.yaml:2:6: error: randn: -1 is not a size")
    assert shown[4] == "  = B is 4, by --set"


def test_a_line_that_a_value_of_set_breaks_names_that_value() -> None:
    head = "vars: {d: 8, wide: 2 * d, other: 1}"
    shown = replaced_problems("- Linear(8)(x) + Linear(wide)(x)", head, {"d": "5", "other": "2"})
    assert shown.startswith("net.yaml:5:")
    assert "= d is 5, by --set" in shown
    assert "other" not in shown
    # A block's own setting hides the var of its name.
    shown = replaced_problems("- Mine(3)", "vars: {d: 8}\nblocks:\n  Mine(d):\n    - x + Linear(d)(x)", {"d": "4"})
    assert "Linear(d)" in shown
    assert "--set" not in shown


def test_defaults_apply_to_every_use_of_a_layer_type() -> None:
    head = "vars: {rate: 0.25}\ndefaults:\n  - Linear(bias=False)\n  - Dropout(p=rate)"
    built = network("- a = Linear(8)\n- Dropout\n- b = Linear(8, bias=True)\n- Dropout(0.5)", head)
    assert keys(built) == ["a.weight", "b.weight", "b.bias"]
    assert [m.p for m in built.modules() if isinstance(m, torch.nn.Dropout)] == [0.25, 0.5]


def test_a_default_of_a_block_may_use_the_settings_before_it() -> None:
    head = "blocks:\n  Mlp(d, hidden=4 * d):\n    - up = Linear(hidden)\n    - down = Linear(d)"
    assert tuple(network("- m = Mlp(3)", head).get_parameter("m.up.weight").shape) == (12, 8)


def test_an_input_of_a_block_may_have_a_default() -> None:
    head = "blocks:\n  Add()(x, y=None):\n    - x if y is None else x + y"
    assert shape(network("- Add\n- Add()(prev, x)", head)) == (2, 8)


def test_x_is_what_came_in() -> None:
    head = "blocks:\n  Residual:\n    - Linear(8)\n    - ReLU\n    - x + prev"
    assert shape(network("- Residual", head)) == (2, 8)


def test_true_false_and_null_are_pythons_too() -> None:
    assert keys(network("- fc = Linear(4, bias=false)\n- x if null is None else prev\n- prev if true else fc")) == [
        "fc.weight"
    ]


# --- Parameters, Buffers, initialisation -----------------------------------------------------------------------------


def test_a_parameter_is_trained_and_a_buffer_is_not() -> None:
    built = network("- w = Parameter(randn(8, 4))\n- b = Buffer(full((4,), 0.5))\n- x @ w + b")
    assert [name for name, _ in built.named_parameters()] == ["w"]
    assert [name for name, _ in built.named_buffers()] == ["b"]
    materialise(built)
    assert built.get_buffer("b").tolist() == [0.5] * 4


def test_a_path_wins_over_a_type_and_a_longer_end_over_a_shorter() -> None:
    head = """
    blocks:
      Mlp:
        - fc = Linear(8)
        - proj = Linear(8)
    init:
      Linear.weight: constant(1)
      proj.weight: constant(2)
      b.proj.weight: constant(3)
      bias: zeros()
    """
    built = materialise(network("- a = Mlp\n- b = Mlp", head))
    values = {name: p.flatten()[0].item() for name, p in built.named_parameters()}
    assert values == {
        "a.fc.weight": 1,
        "a.fc.bias": 0,
        "a.proj.weight": 2,
        "a.proj.bias": 0,
        "b.fc.weight": 1,
        "b.fc.bias": 0,
        "b.proj.weight": 3,
        "b.proj.bias": 0,
    }


def test_initialisers_are_torchs() -> None:
    built = materialise(
        network("- fc = Linear(400)", "init:\n  fc.weight: normal(mean=3, std=0.1)", "x: randn(2, 400)")
    )
    weight = built.get_parameter("fc.weight")
    # 160,000 draws: the mean is within 5 · 0.1 / 400 of 3.
    assert abs(weight.mean().item() - 3) < 5 * 0.1 / math.sqrt(weight.numel())
    assert abs(weight.std().item() - 0.1) < 0.01


def test_an_initialiser_for_matrices_keeps_to_a_type() -> None:
    head = "init:\n  Linear.weight: xavier_uniform()"
    built = materialise(network("- fc = Linear(8)\n- norm = LayerNorm", head))
    assert built.get_parameter("norm.weight").tolist() == [1.0] * 8


# --- text ------------------------------------------------------------------------------------------------------------

PLAIN = "inputs:\n  x: randn(2, 8)\nlayers:\n  - größe = Linear(4)   -> (2, 4)\n  - relu(prev)\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        "\ufeff" + PLAIN,
        "# a comment\n---\n" + PLAIN + "...\n",
        PLAIN.replace("relu(prev)", "'relu(prev)'"),
        PLAIN.replace("relu(prev)", '"relu(prev)"'),
        PLAIN.replace("relu(prev)", "relu(\n      prev\n    )"),
        PLAIN.replace("Linear(4)   -> (2, 4)", "Linear(4)\n      -> (2, 4)"),
        PLAIN.replace("relu(prev)", "relu(prev)  # a comment\n  # and one more"),
        PLAIN.replace("  - ", "    - "),
        PLAIN.replace("  - ", "- "),
    ],
)
def test_yaml_may_be_written_in_many_ways(text: str) -> None:
    assert keys(build(check(parse(decode(text.encode(), "net.yaml"))))) == ["größe.weight", "größe.bias"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("25_557_032", 25_557_032),
        ("0o17", 15),
        ("0x1F", 31),
        ("-3 ** 2", -9),
        ("7 // 2 + 7 % 2", 4),
        ("(1,)", (1,)),
        ("max(1, 3) + min([4, 2])", 5),
        ("[2 * i for i in range(4) if i != 2]", [0, 2, 6]),
        ("1 < 2 < 3 and not False", True),
        ("('a' if 3 in (1, 2) else 'b')", "b"),
        ("sqrt(16) * pi", 4 * math.pi),
        ("sum(range(5)) + len('abc')", 13),
    ],
)
def test_values_are_expressions_of_the_language(text: str, value: object) -> None:
    assert checked("- ReLU", f"vars:\n  v: |-\n    {text}".replace("|-\n    ", "\n    ")).variables["v"] == value


# --- promises --------------------------------------------------------------------------------------------------------


@pytest.mark.core
@pytest.mark.parametrize(
    "line",
    [
        "Linear(4)  -> (2, 4)",
        "Linear(4)  -> 2, 4",
        "Linear(4)  -> (_, 4)",
        "Linear(4)  -> (B, 2 * 2)",
        "Linear(4)  -> _",
        "sum(x)  -> ()",
        "sum(x, dim=1)  -> (2)",
        "sum(x, dim=1)  -> (B,)",
        "LSTM(4)  -> ((B, 4), ((1, 4), _))",
        "LSTM(4)  -> ((B, 4), _)",
        "LSTM(4)  -> (_, _)",
        "LSTM(4)  -> (B, 4)",
        "chunk(x, 2, dim=1)  -> ((B, 4), (B, 4))",
    ],
)
def test_a_promise_that_holds(line: str) -> None:
    network(f"- {line}", "vars: {B: 2}")


@pytest.mark.core
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Linear(4)  -> (2, 5)", "promised (2, 5), got (2, 4)"),
        ("Linear(4)  -> (B, 4, 1)", "promised (B, 4, 1) = (2, 4, 1), got (2, 4)"),
        ("LSTM(4)  -> ((B, 4), (_, (1, 5)))", "promised ((B, 4), (_, (1, 5))), got ((2, 4), ((1, 4), (1, 4)))"),
        ("Linear(4)  -> ((2, 4), _)", "promised ((2, 4), _), got (2, 4)"),
    ],
)
def test_a_promise_that_does_not_hold(line: str, shown: str) -> None:
    built = build(checked(f"- {line}", "vars: {B: 2}"))
    assert [problem.message for problem in built.broken_promises] == [shown]


def test_a_promise_in_a_block_holds_for_every_copy() -> None:
    head = "blocks:\n  Half(n):\n    - Linear(x.shape[1] // 2)  -> (2, n)"
    assert [p.line for p in build(checked("- Half(4)\n- Half(3)", head)).broken_promises] == [5]


# --- classes of the user's own ---------------------------------------------------------------------------------------


def test_a_class_is_imported_only_where_it_is_allowed() -> None:
    text = f"inputs:\n  {X}\nlayers:\n  - act = torch_like.nn.Softsign()\n"
    with pytest.raises(SpecError, match="run with --allow-import"):
        check(parse(Source("net.yaml", text)))
    assert check(parse(Source("net.yaml", text)), allow_import=True).allow_import


def test_no_list_holds_a_word_twice() -> None:
    source = Path(names.__file__).read_text(encoding="utf-8")
    own = source.split("OTHER_FUNCTIONS = {")[1].split("}")[0] + source.split("OTHER_SETTINGS:")[1].split("\n}")[0]
    assert not [word for word in (*OTHER_WORDS, *OTHER_KEYWORDS) if f'    "{word}":' in own]


def test_a_checked_spec_knows_where_each_name_that_is_read_was_defined() -> None:
    one = checked("- fc = Linear(d)\n- fc(prev) + x", "vars: {d: 8}")
    source = one.spec.source
    uses = {(source[use], source.place(use.start)[0]): source.place(at.start)[0] for use, at in one.uses.items()}
    assert uses == {("d", 5): 3, ("fc", 6): 5, ("x", 6): 2}


def test_the_complement_of_a_truth_is_refused() -> None:
    """Python deprecates it in 3.12; it would be -2."""
    with pytest.raises(SpecError, match="~True is a number in Python"):
        checked("- ReLU", "vars:\n  v: ~true | 0")
