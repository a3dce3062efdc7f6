"""Definition, references and renaming: a new name for one thing, at each of its places and nowhere else."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from paths import ROOT

from fwdscope.editor import Document, TextPosition, TextRange, definition, prepare_rename, references, rename
from fwdscope.errors import InputError

OK = sorted((ROOT / "tests/language/ok").glob("*.yaml"))
SHIPPED = sorted((ROOT / "specs").glob("*.yaml"))
# All kinds of names: modules, loops, parts, graphs, paths under `init` and `expect`.
SOME = [one for one in SHIPPED if one.stem in ("yolov8n", "gpt2", "computation_graph")]
EVERY = [*SHIPPED, *OK] if os.environ.get("FWDSCOPE_EVERY_SPEC") else [*SOME, *OK[::5]]

SPEC = """\
vars: {B: 1, d: 8, width: d * 2}    # d is the width
inputs:
  x: randn(B, d)
blocks:
  Gate(width, act=ReLU)(x, other):
    - conv = Linear(width, bias=False)(x)    -> (B, width)
    - act(conv) * other
layers:
  - modules:
      heads: {cls: Linear(d), box: Linear(4)}
  - stem:
    - conv = Linear(d)
    - y = conv + 1
  - y = Gate(width=d)(stem, other=x)
  - z = gelu(y, approximate='none')
  - ys = [i * z for i in range(2)]
  - w = linear(ys[0], stem.conv.weight)
  - heads.cls(w) + heads.box(z).sum()
init:
  stem.conv.weight: zeros()
expect:
  layers:
    stem.conv: {params: 72}
"""


def at(text: str, word: str) -> TextPosition:
    """The place of a text."""
    before = text[: text.index(word)]
    return TextPosition(before.count("\n"), len(before) - before.rfind("\n") - 1)


def renamed(text: str, place: TextPosition, name: str) -> str:
    document = Document(text)
    for edit in reversed(rename(document, place, name)):
        start, end = map(document.offset, edit.range)
        text = f"{text[:start]}{edit.text}{text[end:]}"
    return text


def lines_of(ranges: list[TextRange]) -> list[int]:
    return [one.start.line + 1 for one in ranges]


@pytest.mark.parametrize("file", [*SHIPPED, *OK], ids=lambda one: one.stem)
def test_a_name_stands_for_what_the_checker_says(file: Path) -> None:
    document = Document(file.read_text(), file.name, allow_import=True)
    assert document.checked is not None
    assert document.symbols is not None
    for use, given in document.checked.uses.items():
        found = document.symbols.at[use]
        # The checker gives the input of a block without named inputs the place of its head.
        places = [place for one in found for place in one.definitions]
        assert given in places or not places, (document.source.at(use.start), document.source[use])


@pytest.mark.parametrize("file", EVERY, ids=lambda one: one.stem)
def test_names_of_a_spec_can_be_renamed_and_back(file: Path) -> None:
    text = file.read_text()
    document = Document(text, file.name, allow_import=True)
    assert document.symbols is not None
    # Of each file a third, which is some of each kind.
    for symbol in document.symbols.symbols[:: 1 if os.environ.get("FWDSCOPE_EVERY_SPEC") else 3]:
        if not symbol.definitions or symbol.name.isdigit():
            continue
        name = "Zz9" if symbol.kind == "block" else "zz9"
        place = document.position(symbol.definitions[0].start)
        if file.stem == "gpt2" and symbol.name == "c_proj":
            # The key `c_proj.weight` under `init` is of both of its layers.
            with pytest.raises(InputError, match=r"line \d+ names other layers called c_proj too: those of lines"):
                rename(document, place, name)
            continue
        after = text
        for edit in reversed(rename(document, place, name)):
            start, end = map(document.offset, edit.range)
            after = f"{after[:start]}{edit.text}{after[end:]}"
        # Its own check has found the same names, and no problem.
        assert after != text
        assert after.replace(name, symbol.name) == text


@pytest.mark.parametrize(
    ("word", "name", "changes"),
    [
        # The var, not the comment, not the settings of the same letter in other words.
        ("d: 8", "dim", {1: "vars: {B: 1, dim: 8, width: dim * 2}    # d is the width", 3: "  x: randn(B, dim)"}),
        # The setting, not the var of the same name, which it hides; the keyword of its calls too.
        ("width, act", "size", {5: "  Gate(size, act=ReLU)(x, other):", 14: "  - y = Gate(size=d)(stem, other=x)"}),
        ("other)", "mask", {7: "    - act(conv) * mask", 14: "  - y = Gate(width=d)(stem, mask=x)"}),
        # The layer of the part, in paths too; not that of the block.
        ("conv = Linear(d)", "first", {12: "    - first = Linear(d)", 17: "  - w = linear(ys[0], stem.first.weight)"}),
        ("conv = Linear(d)", "first", {20: "  stem.first.weight: zeros()", 23: "    stem.first: {params: 72}"}),
        ("stem:", "body", {14: "  - y = Gate(width=d)(body, other=x)", 20: "  body.conv.weight: zeros()"}),
        ("Gate", "Mix", {5: "  Mix(width, act=ReLU)(x, other):", 14: "  - y = Mix(width=d)(stem, other=x)"}),
        ("cls", "kind", {18: "  - heads.kind(w) + heads.box(z).sum()"}),
        ("heads", "ends", {10: "      ends: {cls: Linear(d), box: Linear(4)}"}),
        ("i * z", "k", {16: "  - ys = [k * z for k in range(2)]"}),
        # The y of the layers, not that of the part.
        ("y = Gate", "gated", {13: "    - y = conv + 1", 15: "  - z = gelu(gated, approximate='none')"}),
    ],
)  # fmt: skip
def test_a_new_name_is_at_every_place_of_the_old_one_and_nowhere_else(
    word: str, name: str, changes: dict[int, str]
) -> None:
    after = renamed(SPEC, at(SPEC, word), name)
    for number, line in changes.items():
        assert after.splitlines()[number - 1] == line
    assert "'none'" in after


@pytest.mark.parametrize(
    ("word", "name", "reason"),
    [
        ("d: 8", "B", r"there is a B already \(var, line 1\)"),
        ("d: 8", "2d", "2d is not a name"),
        ("d: 8", "if", "if is a reserved word"),
        ("d: 8", "prev", "prev is a reserved word"),
        ("Gate(", "gate", "a block starts with a capital: Gate"),
        # `gelu(y)` on line 15 would call the var.
        ("d: 8", "gelu", "line 15 uses the function gelu, which this would hide"),
        ("d: 8", "Linear", "line 6 uses the layer type Linear, which this would hide"),
        # Line 6 has a conv of its own.
        ("B: 1", "conv", r"line 6 would read another conv \(layer, line 6\)"),
        ("y = conv", "d", "line 12 reads the d that is a var, line 1, which this would hide"),
        ("y = Gate", "z", r"there is a z already \(value, line 15\)"),
        ("gelu(", "silu", "only names of the file can be renamed"),
    ],
)
def test_a_name_that_would_clash_is_refused_with_the_reason(word: str, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        rename(Document(SPEC), at(SPEC, word), name)


def test_a_name_in_a_line_that_does_not_parse_is_not_renamed_half() -> None:
    broken = SPEC.replace("z = gelu(y, approximate='none')", "z = gelu(y, (")
    with pytest.raises(InputError, match="line 15 has a y and does not parse: mend it first"):
        rename(Document(broken), at(broken, "y = Gate"), "gated")
    assert rename(Document(broken), at(broken, "heads"), "ends")


def test_what_one_key_of_init_means_for_several_layers_is_not_renamed_at_one_of_them() -> None:
    text = "inputs:\n  x: randn(1, 8)\nblocks:\n  A:\n    - fc = Linear(8)\n  C:\n    - fc = Linear(8)\nlayers:\n"
    text += "  - a = A\n  - c = C\ninit:\n  fc.weight: zeros()\n"
    with pytest.raises(InputError, match=r"line 12 names other layers called fc too: those of lines \[7\]"):
        rename(Document(text), TextPosition(4, 6), "lin")
    with pytest.raises(InputError, match=r"fc here stands for several layers: rename it where one is made"):
        prepare_rename(Document(text), TextPosition(11, 3))


def test_the_rounds_of_a_loop_read_a_name_from_outside_and_from_the_last_round() -> None:
    text = "inputs:\n  x: randn(1, 8)\nlayers:\n  - h = x + 1\n  - stem:\n    - for: i in range(2)\n      do:\n"
    text += "        - h = h * 2\n    - h + x\n"
    # Lines 4 and 8 define it, 8 and 9 read it.
    assert lines_of(references(Document(text), TextPosition(7, 14))) == [4, 8, 8, 9]
    assert renamed(text, TextPosition(3, 4), "g") == text.replace("h", "g")


def test_patterns_of_shard_hold_names_too() -> None:
    text = "inputs:\n  x: randn(1, 8)\nblocks:\n  Part:\n    - up = Linear(16)\n    - down = Linear(8)\nlayers:\n"
    text += "  - h = 4 * Part\nshard:\n  h.*.up: colwise\n  h.*.down: rowwise\n  fsdp: [h.*]\n  stages: [h.2]\n"
    assert renamed(text, TextPosition(4, 7), "wide") == text.replace("up", "wide")
    starred = text.replace("h.*.up", "h.*.u*")
    with pytest.raises(InputError, match=r"line 10 has a pattern, u\*, that only one of the two names matches"):
        rename(Document(starred), TextPosition(4, 7), "wide")
    assert renamed(starred, TextPosition(4, 7), "upper") == starred.replace("up =", "upper =")
    assert renamed(text, TextPosition(7, 4), "stack") == re.sub(r"\bh\b", "stack", text)


def test_definitions_and_references() -> None:
    document = Document(SPEC)
    assert lines_of(definition(document, at(SPEC, "conv.weight"))) == [12]
    assert lines_of(references(document, at(SPEC, "conv = Linear(d)"))) == [12, 13, 17, 20, 23]
    assert lines_of(references(document, at(SPEC, "conv = Linear(d)"), declaration=False)) == [13, 17, 20, 23]
    assert definition(document, at(SPEC, "gelu")) == []
