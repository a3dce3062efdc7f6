"""What can be written at a place, what a call takes, what a name is: while the line is half typed."""

from __future__ import annotations

import time

import pytest
from paths import ROOT

from fwdscope.editor import (
    Completion,
    Document,
    TextPosition,
    completion_page,
    completions,
    folding,
    format_edits,
    hover,
    outline,
    references,
    signature_help,
)
from fwdscope.language.check import INITIALISERS
from fwdscope.language.parser import FIGURES, LAYER_FIGURES, SECTIONS
from fwdscope.layers import LAYERS, settings

SPEC = """\
vars: {B: 1, d: 64, half: d // 2}
inputs:
  image: randn(B, 3, 8, 8)
blocks:
  Up(width, n=2)(x, skip):
    - up = Linear(width)
    - up + skip
layers:
  - stem:
    - conv1 = Conv2d(8, 3)
  - fc = Linear(10)
  - LINE
  - later = ReLU
expect:
  output: (B, 10)
"""


def place(text: str) -> tuple[Document, TextPosition]:
    """A document of a text without its mark, and the place of the mark."""
    before, after = text.split("|")
    return Document(before + after), TextPosition(before.count("\n"), len(before) - before.rfind("\n") - 1)


def offered(text: str) -> dict[str, Completion]:
    found = completions(*place(text))
    assert [one.sort for one in found] == sorted(one.sort for one in found)
    return {one.label: one for one in found}


def on_a_line(line: str) -> dict[str, Completion]:
    return offered(SPEC.replace("LINE", line))


@pytest.mark.parametrize(
    "line", ["|", "Con|", "y = |", "h = 3 * Con|", "Sequential(Linear(8),\n      Con|", "cat([x, |"]
)
def test_a_line_may_have_layers_functions_blocks_and_the_names_above_it(line: str) -> None:
    found = on_a_line(line)
    assert {*LAYERS, "Sequential", "Up", "relu", "fc", "stem", "image", "B", "half", "prev", "float16"} <= found.keys()
    # Not the names below it, those inside a part or a block, methods, or what `init` alone has.
    assert not {"later", "conv1", "up", "skip", "width", "permute_", "xavier_uniform"} & found.keys()
    # Near names come before the language's own.
    order = list(found)
    assert order.index("fc") < order.index("B") < order.index("Up") < order.index("Conv2d") < order.index("relu")


def test_a_completion_replaces_the_word_that_is_typed_and_has_places_to_fill_in() -> None:
    found = on_a_line("y = Con|")
    # `  - y = Con` in line 11: the word is from column 8 to 11.
    assert found["Conv2d"].edit == ((TextPosition(11, 8), TextPosition(11, 11)), "Conv2d")
    assert found["Conv2d"].snippet == "Conv2d(${1:out_channels}, ${2:kernel_size})$0"
    assert found["ReLU"].snippet is None
    page = found["Conv2d"].page
    assert page is not None
    assert "```python\nConv2d(out_channels, kernel_size, *, stride=1" in completion_page(page)


def test_inside_a_call_its_settings_come_first_with_default_and_type() -> None:
    found = on_a_line("Conv2d(8, |")
    given = [name for name, one in found.items() if one.kind == "setting"]
    # Each that is not given yet: out_channels is, by position.
    assert given == list(found)[: len(given)]
    assert set(given) == {f"{one.name}=" for one in settings(LAYERS["Conv2d"])} - {"out_channels="}
    assert found["stride="].detail == "1: a whole number at least 1, or a tuple of 2, each a whole number at least 1"
    assert found["kernel_size="].detail.startswith("required: a whole number")
    assert "stride=" not in on_a_line("Conv2d(8, 3, stride=2, |")
    assert "stride=" not in on_a_line("Conv2d(8, 3, stride=|")
    assert [name for name in on_a_line("Up(|") if name.endswith("=")] == ["width=", "n="]
    assert [name for name in on_a_line("Up(8)(|") if name.endswith("=")] == ["x=", "skip="]
    assert [name for name in on_a_line("prev.softmax(|") if name.endswith("=")] == ["dim=", "dtype="]
    # Of the innermost call that is open.
    assert "dim=" in on_a_line("cat([relu(fc), stem], |")
    assert "dim=" not in on_a_line("cat([relu(|")


def test_a_setting_of_few_values_offers_them() -> None:
    assert list(on_a_line("Conv2d(8, 3, padding_mode='|")) == ["circular", "reflect", "replicate", "zeros"]
    assert {"'reflect'", "'same'"} & on_a_line("Conv2d(8, 3, padding_mode=|").keys() == {"'reflect'"}
    assert {"True", "False"} <= on_a_line("Conv2d(8, 3, bias=|").keys()
    assert on_a_line("pad(prev, (1, 1), 'ref|") == {}
    assert on_a_line("ReLU    # fc|") == {}


def test_behind_a_dot_there_are_the_names_inside_or_methods_and_attributes() -> None:
    assert next(iter(on_a_line("y = stem.|"))) == "conv1"
    assert {"weight", "bias", "shape", "permute"} <= on_a_line("linear(prev, fc.|").keys()
    found = on_a_line("fc.sh|")
    assert found["shape"].kind == "attribute"
    assert "Conv2d" not in found
    assert on_a_line("x = 1.|") == {}


def test_a_promise_offers_sizes() -> None:
    assert list(on_a_line("Linear(8)    -> (B, |")) == ["B", "d", "half", "_"]
    inside = SPEC.replace("up = Linear(width)", "up = Linear(width)    -> (|").replace("LINE", "ReLU")
    assert {"width", "n", "d", "_"} == offered(inside).keys() - {"B", "half"}


def test_names_of_a_loop_and_of_a_block_are_offered_inside_it() -> None:
    assert "i" in on_a_line("ys = [i * 2 + | for i in range(3)]").keys() | on_a_line("ys = [j for i in range(|").keys()
    assert "i" in on_a_line("for: i in range(3)\n    do:\n      - fc * |")
    inside = offered(SPEC.replace("up + skip", "up + |").replace("LINE", "ReLU"))
    assert {"up", "skip", "x", "width", "n", "d"} <= inside.keys()
    assert not {"fc", "image", "stem"} & inside.keys()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("name: x\n|", set(SECTIONS) - {"name"}),
        ("expect:\n  |", {"output", "layers", "training", *FIGURES}),
        ("expect: {params: 3, |", {"output", "layers", "training", *FIGURES}),
        ("expect:\n  layers:\n    fc: {|", {"output", *LAYER_FIGURES}),
        ("expect:\n  training: {optimizer: adamw, |", {"loss", "checkpoint", "train_only", "accumulate", "autocast"}),
        ("expect:\n  training:\n    loss: |", {"cross_entropy", "mse"}),
        ("inputs:\n  x: randn(8)\nlayers:\n  - fc = Linear(8)\nexpect:\n  layers:\n    |", {"fc"}),
        ("init:\n  Linear.weight: |", set(INITIALISERS)),
        ("layers:\n  - Linear(8)\ninit:\n  |", {"Linear.weight", "Linear.bias"}),
        ("layers:\n  - for: i in range(3)\n    |", {"do", "name"}),
        ("layers:\n  - if: x > 3\n    then:\n      - ReLU\n    |", {"then", "else"}),
        ("layers:\n  - |", {"for", "if", "while", "modules", "ReLU"}),
        ("defaults:\n  - Conv2d(|", {"bias=", "padding="}),
        ("vars:\n  d: 8\n  h: |", {"d", "sqrt", "max"}),
        ("inputs:\n  x: |", {"randn", "randint", "zeros"}),
        ("layers:\n  - fc = Linear(8)\nshard:\n  |", {"fsdp", "stages", "fc"}),
        ("shard:\n  fc: |", {"colwise", "rowwise", "replicate"}),
        # YAML cannot read the line; the rest of the file is known.
        ("vars: {d: 8}\nlayers:\n  - fc = Linear(d)\n  - {|\n  - ReLU\n", set()),
        ("vars: {d: 8}\nlayers:\n  - fc = Linear(d)\n  - x: 'a\n  - y = f|", {"fc", "d"}),
    ],
)
def test_each_section_offers_its_own(text: str, wanted: set[str]) -> None:
    assert wanted <= offered(text).keys()


def test_other_places_offer_nothing() -> None:
    for text in ("doc: |a", "doc: a |b", "name: |", "vars:\n  |", "inputs:\n  |", "# |", "blocks:\n  |"):
        assert offered(text.replace("|a", "|").replace("|b", "|")) == {}, text
    assert "sqrt" in offered("vars: {d: |")
    assert not {"relu", "Conv2d"} & offered("vars: {d: |").keys()
    assert list(offered("inputs:\n  x: |"))[:2] == ["zeros", "ones"]


# -- signatures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "label", "parameter"),
    [
        ("Conv2d(|", "Conv2d(out_channels, kernel_size, *, stride=1, padding=0, dilation=1,", "out_channels"),
        ("Conv2d(8, 3, stride=|", "Conv2d(", "stride=1"),
        ("Conv2d(8, 3, padding=1, |", "Conv2d(", None),
        ("Up(8)(image, sk|", "Up(8)(x, skip)", "skip"),
        ("Up(8, |", "Up(width, n=…)", "n=…"),
        ("softmax(relu(prev), |", "softmax(input, dim, *, dtype=None)", "dim"),
        ("prev.permute(0, 2, |", "permute(*dims)", "*dims"),
        ("cat([a, b], dim|=1)", "cat(tensors, dim=0)", "dim=0"),
        ("fc(|", "Linear(input)", "input"),
        ("f(x)(g(", None, None),
        ("(1, |", None, None),
        ("y = [i for i in (|", None, None),
    ],
)
def test_the_signature_of_a_call_and_its_parameter_at_the_cursor(
    line: str, label: str | None, parameter: str | None
) -> None:
    found = signature_help(*place(SPEC.replace("LINE", line if "|" in line else f"{line}|")))
    if label is None:
        assert found is None
        return
    assert found is not None
    shown = found.signatures[found.active]
    assert shown.label.startswith(label)
    active = None if found.parameter is None else shown.label[slice(*shown.parameters[found.parameter])]
    assert active == parameter


def test_the_overload_that_fits_is_the_active_one() -> None:
    found = signature_help(*place(SPEC.replace("LINE", "randint(0, 10, |")))
    assert found is not None
    assert found.signatures[found.active].label.startswith("randint(low, high, size")
    assert "whole numbers from 0" in found.signatures[0].page


# -- hover, outline, folding -------------------------------------------------------------------------------------------


def shown(text: str) -> str:
    found = hover(*place(text))
    return found.markdown if found is not None else ""


def test_a_var_shows_its_value_and_what_depends_on_it() -> None:
    text = shown(SPEC.replace("d: 64", "|d: 64").replace("LINE", "y = Linear(half) + d    -> (B, d)"))
    assert text.startswith("```python\nd = 64\n```")
    # half is d // 2 = 32, and is read by line 12 as d is.
    assert "- `half = d // 2`, 32" in text
    assert "- line 12: `y = Linear(half) + d  -> (B, d)`" in text
    assert "line 11" not in text
    assert shown(SPEC.replace("half:", "|half:")).startswith(
        "```python\nhalf = d // 2  # 32\n```\n\nnothing depends on it"
    )


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("Con|v2d(8, 3)", "Learned filters slid over an image"),
        ("Conv2d(8, 3, str|ide=2)", "**stride** of Conv2d  \na whole number at least 1"),
        ("y = GELU(approx|imate='tanh')", "'none' or 'tanh'; default `'none'`"),
        ("so|ftmax(prev, dim=1)", "softmax(input, dim, *, dtype=None)"),
        ("prev.per|mute(0, 1)", "x.permute(*dims)"),
        ("pr|ev + 1", "the value of the line above"),
        ("U|p(8)(fc, fc)", "block Up(width, n=…)(x, skip)"),
        ("y = f|c + 1", "fc = Linear(10)"),
        ("y = nothing_|known", ""),
    ],
)
def test_a_name_shows_what_it_is(line: str, text: str) -> None:
    found = shown(SPEC.replace("LINE", line))
    assert text in found if text else not found


def test_a_key_shows_what_it_holds() -> None:
    assert shown(SPEC.replace("expect:", "exp|ect:")).startswith("**expect**  \nWhat fwdscope check checks.")
    assert shown(SPEC.replace("output:", "out|put:")).startswith("**output**  \nThe shape of the result")


def test_the_outline_and_the_foldings() -> None:
    document = Document(SPEC.replace("LINE", "for: i in range(2)\n    do:\n      - z = relu(prev)"))
    found = {one.name: one for one in outline(document)}
    assert list(found) == ["vars", "inputs", "blocks", "layers", "expect"]
    assert [(one.name, one.detail) for one in found["vars"].children] == [("B", "1"), ("d", "64"), ("half", "d // 2")]
    (block,) = found["blocks"].children
    assert (block.name, [one.name for one in block.children]) == ("Up(width, n=…)(x, skip)", ["up"])
    layers = found["layers"].children
    assert [one.name for one in layers] == ["stem", "fc", "for i in range(2)", "later"]
    assert [one.name for one in layers[2].children] == ["z"]
    # A section reaches to the end of its last line; so does what can be folded.
    assert found["layers"].range.end == TextPosition(14, 16)
    lines = [(one.start.line, one.end.line) for one in folding(document)]
    assert lines == [(1, 2), (3, 6), (4, 6), (7, 14), (8, 9), (11, 13), (12, 13), (15, 16)]


def test_comments_are_folded_and_break_no_folding() -> None:
    text = "# one\n# two\nlayers:\n- ReLU\n# between\n- if: x\n  then:\n  - ReLU\n\nexpect: {}\n"
    lines = [(one.start.line, one.end.line) for one in folding(Document(text))]
    assert lines == [(0, 1), (2, 7), (5, 7), (6, 7)]


def test_a_file_that_breaks_off_still_has_an_outline_and_names() -> None:
    document = Document(SPEC.replace("LINE", "{fc"))
    assert document.parsed[0] is None
    assert [one.name for one in outline(document)] == ["vars", "inputs", "blocks", "layers", "expect"]
    assert [one.start.line for one in references(document, TextPosition(0, 13))] == [0, 0]


def test_formatting_is_the_edits_of_blanks() -> None:
    document = Document("inputs:\n  x: randn(8)\nlayers:\n  - y=relu( x )\n  - ReLU\n")
    # `  - y=relu( x )`: blanks around the equals sign come, those in the parentheses go.
    edits = [(one.range.start.column, one.range.end.column, one.text) for one in format_edits(document)]
    assert edits == [(5, 5, " "), (6, 6, " "), (11, 12, ""), (13, 14, "")]
    assert format_edits(Document("layers:\n  - relu((\n")) == []


def test_every_place_of_a_text_answers_without_fail_and_quickly() -> None:
    """Each function at each place of a spec that is cut off there, as one types it."""
    text = (ROOT / "specs/yolov8n.yaml").read_text()
    took = []
    for end in range(0, len(text), 131):
        document = Document(text[:end])
        at = document.position(end)
        document.symbols  # noqa: B018  # read once for all
        begun = time.process_time()
        (
            completions(document, at),
            signature_help(document, at),
            hover(document, at),
            outline(document),
            folding(document),
        )
        took.append(time.process_time() - begun)
    # 10 ms each for 300 lines; this has 80, and the fifth of them is measured together.
    assert sorted(took)[len(took) // 2] < 0.02
