"""``fwdscope layers``: everything that a spec may use is listed, and each name has a page."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys

import pytest

from fwdscope.functions import own_functions as own
from fwdscope.functions.functions import FUNCTIONS
from fwdscope.functions.methods import ATTRIBUTES, METHODS
from fwdscope.language.check import INITIALISERS
from fwdscope.language.problems import width as cells
from fwdscope.language.schema import example
from fwdscope.layers import LAYERS, describe, page, settings
from fwdscope.render import vocabulary
from fwdscope.render.vocabulary import as_json, listing, page_of

# Wide enough that nothing is broken: words can be looked for as they are written.
WIDE = 1_000


def words(text: str) -> list[str]:
    return text.replace("``", "`").split()


def holds(text: str, part: str) -> bool:
    return " ".join(words(part)) in " ".join(words(text))


@pytest.mark.parametrize("name", LAYERS)
def test_the_page_of_a_layer_has_its_docstring_its_settings_and_an_example(name: str) -> None:
    layer = LAYERS[name]
    text = page_of(name, 80, color=False)
    assert holds(text, page(layer))
    assert f"example  {example(layer)}\n" in text
    table = page_of(name, WIDE, color=False)
    for setting in settings(layer):
        default = (
            "inferred" if setting.inferred else "required" if setting.required else re.escape(repr(setting.default))
        )
        row = rf"^  {setting.name} +{default} +{re.escape(describe(setting.annotation))}$"
        assert re.search(row, table, re.M), setting.name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_page_of_a_function_has_its_doc_and_every_overload(name: str) -> None:
    function = FUNCTIONS[name]
    text = page_of(name, WIDE, color=False)
    assert function.doc
    if function.target != "own":
        assert holds(text, function.doc)
    for signature in function.overloads:
        assert f"  {name}{signature}\n" in text


@pytest.mark.parametrize("name", [f.name for f in FUNCTIONS.values() if f.target == "own"])
def test_the_page_of_our_own_function_has_its_whole_docstring(name: str) -> None:
    assert holds(page_of(name, 80, color=False), inspect.getdoc(getattr(own, name)) or "missing")


def test_every_method_attribute_and_initialiser_has_a_page() -> None:
    for name, method in METHODS.items():
        text = page_of(name, WIDE, color=False)
        assert holds(text, method.doc), name
        for signature in method.overloads:
            assert f"  x.{name}{signature}\n" in text, name
    for name, attribute in ATTRIBUTES.items():
        assert f"  x.{name}\n\n{attribute.doc}\n" in page_of(name, WIDE, color=False)
    for name, keywords in INITIALISERS.items():
        assert f"  {name}({', '.join(keywords)})\n" in page_of(name, WIDE, color=False)


@pytest.mark.core
def test_the_page_of_conv2d_reads_well() -> None:
    lines = page_of("Conv2d", 80, color=False).splitlines()
    assert lines[:5] == [
        "Conv2d  layer, convolution",
        "",
        "  Conv2d(out_channels, kernel_size, *, stride=1, padding=0, dilation=1,",
        "         groups=1, bias=True, padding_mode='zeros')(input)",
        "",
    ]
    assert "settings  by position: out_channels, kernel_size; the others by keyword" in lines
    start = lines.index("weight:  (out_channels, C / groups, k, k)")
    assert lines[start - 2 : start] == [
        "output:  (N, out_channels, H', W'),  H' = ⌊(H + 2 · padding − dilation ·",
        "         (kernel_size − 1) − 1) / stride⌋ + 1",
    ]
    assert lines[-1] == "see also  Conv1d, Conv3d, conv1d, conv2d, conv3d"


def test_a_name_with_several_meanings_has_all_on_its_page() -> None:
    text = page_of("ones", 80, color=False)
    assert "ones  function, creation" in text
    assert "ones  initialiser" in text
    text = page_of("softmax", 80, color=False)
    assert text.count(FUNCTIONS["softmax"].doc) == 1
    assert "as a method\n  x.softmax(dim, *, dtype=None)\n" in text
    assert "see also  Softmax" in text


@pytest.mark.parametrize("name", ["nn.Linear", "torch.nn.Linear", "Linear(64)"])
def test_a_name_may_be_written_as_torch_or_a_spec_does(name: str) -> None:
    assert page_of(name, 80, color=False) == page_of("Linear", 80, color=False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Dense", "there is no Dense; did you mean Linear?"),
        ("Conv2D", "there is no Conv2D; did you mean Conv2d?"),
        ("linaer", "there is no linaer; did you mean Linear?"),
        ("sdpa", "there is no sdpa; did you mean scaled_dot_product_attention?"),
        ("zzzz", "there is no zzzz; `fwdscope layers` lists what there is"),
        ("save", "save is left out: a spec reads and writes no files and runs no code"),
        ("relu_", "relu_ is left out: in place changes what a skip connection holds: write relu(…)"),
    ],
)
def test_the_message_of_an_unknown_name_suggests_a_similar_one(name: str, message: str) -> None:
    with pytest.raises(LookupError) as raised:
        page_of(name, 80, color=False)
    assert str(raised.value.args[0]).startswith(message)


def test_the_list_has_every_name_and_a_line_for_each_layer() -> None:
    text = listing(None, 80, color=False)
    listed = set(re.findall(r"\w+", text))
    for name in (*LAYERS, *FUNCTIONS, *METHODS, *ATTRIBUTES, *INITIALISERS, "Sequential", "Parameter", "Buffer"):
        assert name in listed, name
    assert "    Bilinear  A learned product of two inputs: every output is a weighted sum…\n" not in text
    assert "    Bilinear  A learned product of two inputs\n" in text
    assert "    cat, concat, concatenate  one after the other along dim\n" in text
    rows = re.findall(r"^ {4}\w+(?:, \w+)* {2,}\S", text, re.M)
    assert len(rows) > len(LAYERS) + len(FUNCTIONS) * 0.9


def test_a_word_lists_what_mentions_it_and_nothing_else() -> None:
    text = listing("pool", 80, color=False)
    assert page_of("pool", 80, color=False) == text
    shown = re.findall(r"^ {4}(\w+)", text, re.M)
    assert {"MaxPool2d", "AdaptiveAvgPool1d", "lp_pool3d"} <= set(shown)
    for name in shown:
        assert any(entry.mentions("pool") for entry in vocabulary.entries() if entry.name == name), name
    with pytest.raises(LookupError, match="nothing mentions zzzz"):
        listing("zzzz", 80, color=False)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_list_and_every_page_fit_the_width(width: int) -> None:
    texts = [listing(None, width, False), *(page_of(entry.name, width, False) for entry in vocabulary.entries())]
    assert [line for text in texts for line in text.splitlines() if cells(line) > width] == []
    assert [line for text in texts for line in text.splitlines() if line != line.rstrip()] == []


def test_colours_change_nothing_but_the_colours() -> None:
    for plain, drawn in (
        (listing(None, 80, color=False), listing(None, 80, color=True)),
        (page_of("LSTM", 80, color=False), page_of("LSTM", 80, color=True)),
    ):
        assert "\x1b[" in drawn
        assert "\x1b[" not in plain
        without = re.sub(r"\x1b\[[0-9;]*m", "", drawn)
        assert [line.rstrip() for line in without.splitlines()] == plain.splitlines()


def test_the_whole_vocabulary_is_there_as_data() -> None:
    assert as_json().isascii()
    data = json.loads(as_json())
    assert [layer["name"] for layer in data["layers"]] == list(LAYERS)
    assert [function["name"] for function in data["functions"]] == list(FUNCTIONS)
    assert [method["name"] for method in data["methods"]] == list(METHODS)
    conv = next(layer for layer in data["layers"] if layer["name"] == "Conv2d")
    assert conv["doc"] == page(LAYERS["Conv2d"])
    assert conv["settings"][0] == {
        "name": "in_channels",
        "type": "a whole number at least 1",
        "required": False,
        "default": "None",
        "positional": False,
        "inferred": True,
    }
    bias = next(setting for setting in conv["settings"] if setting["name"] == "bias")
    assert bias["default"] == "True"
    sizes = next(method for method in data["methods"] if method["name"] == "size")
    assert sizes["signatures"] == ["()", "(dim)"]


def test_the_list_and_the_pages_are_drawn_without_torch_and_rich() -> None:
    program = """
import sys
from fwdscope.render import vocabulary
vocabulary.listing(None, 80, True), vocabulary.page_of("Conv2d", 80, True), vocabulary.page_of("rope", 80, False)
vocabulary.as_json()
print("torch" in sys.modules, "rich" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]
