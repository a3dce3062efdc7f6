"""``fwdscope annotate`` writes shapes in terms of the file's vars and changes nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fwdscope.cli import app
from fwdscope.commands.annotate import Lines, LineShapes, annotate, shape_texts
from fwdscope.commands.annotate.sizes import KnownSize, describe_size
from fwdscope.inspection import inspect_spec
from fwdscope.language import tree
from fwdscope.language.check import Checked, check
from fwdscope.language.parser import parse
from fwdscope.language.problems import Source
from fwdscope.targets import shipped_specs

# An arrow, the blanks before it, and the shape behind it, up to a comment, a closing quote or the end of the line.
ARROW = re.compile(r" *-> [^#'\"\r\n]*?(?= *(?:#|['\"]|\r|\n|\Z))")


def checked(text: str) -> Checked:
    return check(parse(Source("spec.yaml", text)))


def annotated(text: str, lines: Lines = "changed") -> str:
    return annotate(checked(text), lines).after


def promises(text: str) -> list[str]:
    """Every promise of a text, in the file's order."""
    return [" ".join(found.split())[3:] for found in ARROW.findall(text)]


def spec(layers: str, variables: str = "B: 2", inputs: str = "x: rand(B, 8)", blocks: str = "") -> str:
    return f"name: t\nvars: {{{variables}}}\ninputs:\n  {inputs}\n{blocks}layers:\n{layers}"


def broken(text: str) -> list[str]:
    return [row.promise.text for row in inspect_spec(checked(text)).layers if row.promise and not row.promise.held]


# --- the specs that ship ---------------------------------------------------------------------------------------------


def wrong(text: str) -> str:
    """The text with a promise of nonsense wherever there was one."""
    one = checked(text).spec
    bodies = (one.layers, *(block.body for block in one.blocks))
    lines = [line for body in bodies for line in tree.statements(body) if isinstance(line, tree.Statement)]
    spans = sorted((line.promise.span for line in lines if line.promise), reverse=True)
    for span in spans:
        text = f"{text[: span.start]}(7, 7, 7, 7, 7, 7, 7, 7, 7){text[span.end :]}"
    return text


# A family each: flows, graphs, stacks, loops, branches, blocks at several shapes, several results.
SWEPT = (
    "computation_graph", "gpt2", "lstm", "mnist_cnn", "moe_small", "multi_head_attention", "norms", "resnet18",
    "simple_rnn", "squeezenet1_1", "transformer_encoder", "unet",
)  # fmt: skip


@pytest.mark.parametrize("name", SWEPT)
def test_a_shipped_spec_is_annotated_correctly_and_nothing_else_changes(name: str) -> None:
    text = shipped_specs()[name].read_text(encoding="utf-8")
    fresh = annotated(ARROW.sub("", text))
    assert promises(fresh) != []
    for before, after in ((ARROW.sub("", text), fresh), (wrong(text), annotated(wrong(text), "promised"))):
        assert broken(after) == []
        assert ARROW.sub("", after) == ARROW.sub("", before)
        assert annotated(after, "promised") == after


@pytest.mark.parametrize("name", ["lstm", "mnist_cnn", "resnet50", "unet"])
@pytest.mark.parametrize("lines", ["changed", "all"])
def test_a_second_time_changes_nothing(name: str, lines: Lines) -> None:
    once = annotated(shipped_specs()[name].read_text(encoding="utf-8"), lines)
    assert annotated(once, lines) == once


def test_the_promises_of_every_shipped_spec_are_up_to_date() -> None:
    # A third of them, unless all are asked for: building all takes long.
    chosen = list(shipped_specs().values())[:: 1 if os.environ.get("FWDSCOPE_EVERY_SPEC") else 3]
    result = run("--check", "--lines", "promised", *map(str, chosen))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.count("nothing to change") == len(chosen)


# --- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_a_size_is_named_by_the_var_that_it_follows_and_not_by_one_that_equals_it() -> None:
    text = spec("  - a = Linear(heads)\n  - b = Linear(12)(a)\n  - stack([b] * depth)\n", "B: 12, heads: 12, depth: 12")
    assert promises(annotated(text, "all")) == ["(B, heads)", "(B, 12)", "(depth, B, 12)"]


def test_products_quotients_and_sums_are_written_where_the_size_follows() -> None:
    layers = "  - 0 = Linear(4 * d)\n  - 1 = Linear(d // 2)\n  - 2 = Linear(d // heads)\n  - 3 = Linear(d + 1)\n"
    text = spec(layers + "  - 4 = Linear(heads * d)\n  - flatten(prev, 0)\n", "B: 2, d: 24, heads: 3")
    assert promises(annotated(text)) == [
        "(B, 4 * d)",
        "(B, d // 2)",
        "(B, d // heads)",
        "(B, d + 1)",
        "(B, heads * d)",
        "(144,)",  # three names in one product say less than the number
    ]


def test_a_block_promises_what_holds_in_all_of_its_copies() -> None:
    blocks = "blocks:\n  Part(width):\n    - Linear(width)\n    - Linear(5)\n    - Linear(2 * width)\n"
    after = annotated(spec("  - Part(3)\n  - Part(4)\n  - Part(6)\n", blocks=blocks))
    assert promises(after) == ["(B, width)", "(B, 5)", "(B, 2 * width)", "(B, 6)", "(B, 8)", "(B, 12)"]


def test_a_size_that_differs_between_copies_for_no_name_is_any_size() -> None:
    blocks = "blocks:\n  Half:\n    - Linear(x.shape[1] // 2)\n"
    assert promises(annotated(spec("  - a = Half\n  - b = Half\n", blocks=blocks))) == ["(B, _)", "(B, 4)", "(B, 2)"]


PYRAMID = """
  Conv(width):
    - Conv2d(width, 3, padding=1)
    - Conv2d(2 * width, 1)
  Down(width):
    - MaxPool2d(2)
    - Conv(width)
  Up(width)(x, skip):
    - up = ConvTranspose2d(width, 2, stride=2)
    - cat([up, skip], dim=1)
"""


def test_a_block_used_at_several_sizes_promises_them_in_its_own_terms() -> None:
    layers = (
        "  - a = Conv(4)\n  - b = Down(8)\n  - c = Down(6)\n  - Down(2)\n  - d = Up(5)(prev, c)\n  - e = Up(3)(d, b)\n"
    )
    layers += "  - Up(7)(e, a)\n"
    text = spec(layers, "B: 2, size: 32", "x: rand(B, 3, size, size)", f"blocks:{PYRAMID}")
    after = annotated(text)
    assert promises(after)[:6] == [
        "(B, width, x.shape[2], x.shape[3])",
        "(B, 2 * width, x.shape[2], x.shape[3])",
        "(B, x.shape[1], x.shape[2] // 2, x.shape[3] // 2)",
        "(B, 2 * width, x.shape[2] // 2, x.shape[3] // 2)",
        "(B, width, 2 * x.shape[2], 2 * x.shape[3])",
        # width and the channels of skip together: no product or quotient of two names
        "(B, _, 2 * x.shape[2], 2 * x.shape[3])",
    ]
    assert broken(after) == []
    assert broken(after.replace("size: 32", "size: 48")) == []
    assert annotated(after) == after


def test_a_size_of_an_input_is_written_for_sequences_too() -> None:
    blocks = "blocks:\n  Head(n):\n    - Linear(n)\n    - prev[:, 1:]\n"
    text = spec("  - a = Head(4)\n  - Head(6)\n", "B: 2, T: 9", "x: rand(B, T, 8)", blocks)
    assert promises(annotated(text))[:2] == ["(B, x.shape[1], n)", "(B, x.shape[1] - 1, n)"]


def test_an_input_that_a_line_gives_another_value_is_not_named() -> None:
    blocks = "blocks:\n  Half(n):\n    - x = x[:, ::2]\n    - Linear(n)(x)\n"
    text = spec("  - Half(4)\n  - Half(6)\n", "B: 2", "x: rand(B, 16, 8)", blocks)
    assert promises(annotated(text, "all"))[:2] == ["(B, _, _)", "(B, _, n)"]


@pytest.mark.parametrize("line", ["prev.permute(0, 1, 3, 2)", "prev.transpose(2, 3)", "transpose(prev, 2, 3)"])
def test_a_size_that_may_be_that_of_another_dimension_is_not_named_where_dimensions_move(line: str) -> None:
    blocks = f"blocks:\n  Turn(width):\n    - Conv2d(width, 2, stride=2)\n    - {line}\n"
    square = spec("  - Turn(4)\n  - Turn(6)\n  - Turn(5)\n", "B: 2", "x: rand(B, 3, 16, 16)", blocks)
    assert "x.shape" not in annotated(square, "all")
    # With two sizes it is known which is which.
    oblong = square.replace("16, 16", "16, 64")
    assert promises(annotated(oblong))[0] == "(B, width, x.shape[2] // 2, x.shape[3] // 2)"


def test_what_cannot_be_described_is_left_and_the_note_says_why() -> None:
    blocks = "blocks:\n  Double:\n    - cat([x, x], dim=-1)\n"
    found = annotate(checked(spec("  - a = Double\n  - b = Double()(a.unsqueeze(0))\n", blocks=blocks)))
    assert found.notes == (
        (7, "no shape is written: this line gives (2, 16) and (1, 2, 32), not the same number of sizes"),
    )
    # Rows of 8 · 3 and 8 · 5 values, by the shape of a constant.
    blocks = "blocks:\n  Take(which):\n    - x[:, arange(7 if which == 'a' else 3)].flatten()\n"
    odd = annotate(checked(spec("  - a = Take('a')\n  - b = Take('b')(x)\n  - cat([a, b])\n", blocks=blocks)))
    assert odd.notes == (
        (7, "no shape is written: this line gives (14,) and (6,), and no var, setting or input says when"),
    )


def test_a_block_used_at_several_ranks_gets_no_promise_of_its_own() -> None:
    blocks = "blocks:\n  Double:\n    - cat([x, x], dim=-1)\n"
    after = annotated(spec("  - a = Double\n  - b = Double()(a.unsqueeze(0))\n", blocks=blocks))
    assert promises(after) == ["(B, 16)", "(1, B, 32)"]


def test_a_var_that_a_line_gives_another_value_is_not_written() -> None:
    text = spec("  - n = x + 1\n  - Linear(8)(n)\n  - Linear(4)\n", "B: 2, n: 4", "x: rand(B, n)")
    assert promises(annotated(text, "all"))[0] == "(B, 4)"


def test_several_results_are_promised_together() -> None:
    text = spec("  - out, (h, c) = LSTM(4)\n  - (out, h, c)\n", "B: 2, T: 3", "x: rand(T, B, 8)")
    assert promises(annotated(text)) == [
        "((T, B, 4), ((1, B, 4), (1, B, 4)))",
        "((T, B, 4), (1, B, 4), (1, B, 4))",
    ]


def test_a_result_that_is_not_a_tensor_is_promised_as_anything() -> None:
    text = spec("  - MultiheadAttention(2)(x, x, x, need_weights=False)\n", "B: 2", "x: rand(3, B, 8)")
    assert promises(annotated(text)) == ["((3, B, 8), _)"]


def test_rounds_of_a_loop_of_different_shapes_promise_what_they_share() -> None:
    loop = "  - for: t in range(3)\n    do:\n      - cat([prev, x], dim=1)\n  - Linear(4)\n"
    assert promises(annotated(spec(loop))) == ["(B, _)", "(B, 4)"]


def test_the_right_sizes_of_a_wrong_promise_stay_as_they_were() -> None:
    text = spec("  - Linear(6)    -> (1 + 1, 7)\n  - Linear(5)    -> (_, 4)\n  - Linear(3)    -> (B, 2 + 1)\n")
    assert promises(annotated(text)) == ["(1 + 1, 6)", "(_, 5)", "(B, 2 + 1)"]


def test_a_promise_of_a_line_that_never_runs_stays_and_is_noted() -> None:
    text = spec("  - if: B > 5\n    then:\n      - Linear(4)    -> (B, 3)\n    else:\n      - Linear(5)\n")
    found = annotate(checked(text))
    assert promises(found.after) == ["(B, 3)", "(B, 5)"]
    assert found.notes == ((8, "this line never ran, so its promise is not checked"),)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [("changed", ["(B, 4)", "(B, 2)"]), ("promised", ["(B, 4)"]), ("all", ["(B, 4)", "(B, 4)", "(B, 2)"])],
)
def test_the_lines_that_get_a_promise_are_chosen(lines: Lines, expected: list[str]) -> None:
    text = spec("  - Linear(4)    -> (B, 9)\n  - ReLU\n  - Linear(2)\n")
    assert promises(annotated(text, lines)) == expected


def test_a_graph_gets_a_promise_on_every_line() -> None:
    text = spec("", blocks="").replace("layers:\n", "graph:\n  - b = relu(a)\n  - a = Linear(4)(x)\n")
    assert promises(annotated(text)) == ["(B, 4)", "(B, 4)"]


@pytest.mark.core
@pytest.mark.parametrize(
    ("now", "changed", "expected"),
    [
        ([KnownSize(12, {"B": 1, "heads": 12})], [KnownSize(12, {"B": 2, "heads": 12})], "12"),
        ([KnownSize(12, {"B": 1, "heads": 12})], [KnownSize(24, {"B": 1, "heads": 24})], "heads"),
        ([KnownSize(13, {"T": 12})], [KnownSize(25, {"T": 24})], "T + 1"),
        # A square follows no simple expression, and the number is right as the file stands.
        ([KnownSize(16, {"T": 4})], [KnownSize(64, {"T": 8})], "16"),
        ([KnownSize(16, {"T": 4}), KnownSize(25, {"T": 5})], [], "_"),
        ([KnownSize(0, {"T": 4})], [KnownSize(1, {"T": 8})], "0"),
        # Two calls of a block: 2 ** n, and 2 * n by accident.
        ([KnownSize(4, {"n": 2}), KnownSize(2, {"n": 1})], [], "_"),
        ([KnownSize(4, {"n": 4}), KnownSize(2, {"n": 2})], [], "n"),
        ([KnownSize(4, {"n": 2}), KnownSize(2, {"n": 1}), KnownSize(6, {"n": 3})], [], "2 * n"),
    ],
)
def test_the_text_of_a_size(now: list[KnownSize], changed: list[KnownSize], expected: str) -> None:
    assert describe_size(now, changed, list(now[0].names)) == expected


# --- where it is written ---------------------------------------------------------------------------------------------

MIXED = """\
name: mixed
vars: {B: 4, größe: 28}    # a\ttab, 漢字
inputs:
  image: rand(B, 1, größe, größe)
layers:
  - conv1 = Conv2d(32, 3, padding=1)    # é\there
  - "ReLU"
  - 'MaxPool2d(2)'    # quoted
  - Conv2d(64, 3,
      padding=1)    # went on
  - "BatchNorm2d  -> (B, 63, größe // 2, _)"
  - Flatten -> (B, 7)
  - fc = Linear(10)"""

MIXED_AFTER = """\
name: mixed
vars: {B: 4, größe: 28}    # a\ttab, 漢字
inputs:
  image: rand(B, 1, größe, größe)
layers:
  - conv1 = Conv2d(32, 3, padding=1)    -> (B, 32, größe, größe)    # é\there
  - "ReLU"
  - 'MaxPool2d(2)                       -> (B, 32, größe // 2, größe // 2)'    # quoted
  - Conv2d(64, 3,
      padding=1)                        -> (B, 64, größe // 2, größe // 2)    # went on
  - "BatchNorm2d                        -> (B, 64, größe // 2, _)"
  - Flatten                             -> (B, 12544)
  - fc = Linear(10)                     -> (B, 10)"""


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
def test_line_ends_marks_quotes_comments_and_tabs_are_left_as_they_were(tmp_path: Path, end: str, mark: bytes) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_bytes(mark + MIXED.replace("\n", end).encode())
    assert run("--write", str(path)).exit_code == 0
    assert path.read_bytes() == mark + MIXED_AFTER.replace("\n", end).encode()
    assert run("--write", str(path)).exit_code == 0
    assert path.read_bytes() == mark + MIXED_AFTER.replace("\n", end).encode()


@pytest.mark.core
def test_arrows_stand_under_one_another_and_in_the_column_of_those_there_are() -> None:
    bare = "  - Linear(4)\n  - one = Linear(5)\n"
    assert annotated(spec(bare)).endswith("  - Linear(4)          -> (B, 4)\n  - one = Linear(5)    -> (B, 5)\n")
    given = "  - Linear(4)       -> (B, 4)\n  - Linear(5)\n  - longer_than_that = Linear(6)\n"
    assert annotated(spec(given)).endswith(
        "  - Linear(4)                       -> (B, 4)\n"
        "  - Linear(5)                       -> (B, 5)\n"
        "  - longer_than_that = Linear(6)    -> (B, 6)\n"
    )
    # The most common column, where all lines allow it.
    two = "  - Linear(4)   -> (B, 4)\n  - Linear(5)       -> (B, 5)\n  - Linear(6)       -> (B, 6)\n  - Linear(7)\n"
    assert annotated(spec(two)).endswith("".join(f"  - Linear({n})       -> (B, {n})\n" for n in (4, 5, 6, 7)))
    # A line beyond the last column moves no other, and where nothing is new, nothing moves.
    long = f"  - {'l' * 90} = Linear(4)\n  - Linear(5)\n"
    assert annotated(spec(long)).endswith("= Linear(4)  -> (B, 4)\n  - Linear(5)    -> (B, 5)\n")
    uneven = "  - Linear(4)   -> (B, 4)\n  - Linear(5)       -> (B, 5)\n"
    assert annotated(spec(uneven)).endswith(uneven)


def test_an_arrow_on_the_line_below_is_refreshed_there() -> None:
    assert annotated(spec("  - Linear(4)\n      -> (B,\n          5)\n")).endswith("  - Linear(4)\n      -> (B, 4)\n")


def test_a_line_inside_brackets_has_no_room_for_a_shape_unless_quoted() -> None:
    after = annotated(spec("  [Linear(4), 'Linear(5)']\n"))
    assert after.endswith("[Linear(4), 'Linear(5)    -> (B, 5)']\n")


# --- the command -----------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["annotate", *arguments])


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    path = tmp_path / "mlp.yaml"
    path.write_text(spec("  - Linear(4)    -> (B, 3)\n  - Linear(2)"))
    return path


@pytest.mark.core
def test_without_write_a_patch_is_printed_that_git_applies(mlp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mlp.parent)
    before = mlp.read_text()
    result = run("mlp.yaml")
    assert result.exit_code == 0
    assert mlp.read_text() == before
    assert result.stderr == "mlp.yaml: 2 shapes (1 new, 1 refreshed) to write: add --write\n"
    subprocess.run(["git", "apply", "-"], input=result.stdout, text=True, check=True, cwd=mlp.parent)
    assert mlp.read_text() == spec("  - Linear(4)    -> (B, 4)\n  - Linear(2)    -> (B, 2)")


def test_check_exits_with_1_where_a_file_would_change_and_with_0_afterwards(mlp: Path) -> None:
    assert run("--check", str(mlp)).exit_code == 1
    assert run("--write", "--check", str(mlp)).exit_code == 1
    result = run("--check", str(mlp))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{mlp}: nothing to change\n"


def test_a_spec_that_cannot_run_is_left_as_it_is(mlp: Path) -> None:
    mlp.write_text(before := spec("  - Linear(4)    -> (B, 3)\n  - x + prev\n"))
    result = run("--write", str(mlp))
    assert (result.exit_code, mlp.read_text()) == (2, before)
    assert "mlp.yaml:7:5: error:" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report.json"], "there is no file or folder report.json"),
        (["package.module:factory"], "package.module:factory is a PyTorch model"),
        (["--write", "resnet50"], "resnet50 ships with fwdscope: copy it"),
        (["no_such.yaml"], "there is no file or folder no_such.yaml"),
        (["no_such/*.yaml"], "no file matches no_such/*.yaml"),
        ([""], "a target is empty"),
    ],
)
def test_a_file_that_is_not_a_spec_is_an_error(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_folder_is_annotated_file_by_file_and_other_yaml_is_left_alone(mlp: Path) -> None:
    (mlp.parent / "workflow.yml").write_text("on: push\njobs: {}\n")
    (mlp.parent / "broken.yaml").write_text("inputs: {x: 'rand(2, 3)'}\nlayers: [Lineer(3)]\n")
    result = run("--write", str(mlp.parent))
    assert result.exit_code == 2
    assert "unknown layer or block Lineer" in result.stderr
    assert mlp.read_text() == spec("  - Linear(4)    -> (B, 4)\n  - Linear(2)    -> (B, 2)")
    assert (mlp.parent / "workflow.yml").read_text() == "on: push\njobs: {}\n"
    (mlp.parent / "broken.yaml").unlink()
    assert run("--check", f"{mlp.parent}/*.y*ml").exit_code == 0


def test_a_folder_without_specs_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "workflow.yml").write_text("on: push\njobs: {}\n")
    result = run(str(tmp_path))
    assert (result.exit_code, result.stderr) == (
        2,
        "error: none of the 1 files is a spec: each has `inputs:` and `layers:`\n",
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
def test_where_the_patch_cannot_be_printed_or_is_not_read_the_exit_code_is_right(mlp: Path) -> None:
    command = f"{sys.executable} -m fwdscope annotate --check {mlp}"
    full = subprocess.run(f"{command} > /dev/full", shell=True, capture_output=True, text=True, check=False)
    assert (full.returncode, full.stderr) == (2, "error: stdout cannot be written: No space left on device\n")
    unread = subprocess.run(
        ["bash", "-c", f"{command} | true; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True, check=False
    )
    assert unread.returncode == 1
    assert "Traceback" not in unread.stderr
    assert "Exception ignored" not in unread.stderr


def test_texts_of_shapes_keep_what_is_right_of_earlier_ones() -> None:
    """As hints in an editor: a line whose sizes are as they were keeps its text, without a run for each var."""
    text = "vars: {B: 2, d: 8}\ninputs: {x: 'randn(B, 4)'}\nlayers:\n- Linear(d)\n- Linear(2 * d)\n- Linear(3)\n"
    first = LineShapes(checked(text))
    varied = shape_texts(first, {}, varied=True)
    assert [shape for shape, _ in varied.values()] == ["(B, d)", "(B, 2 * d)", "(B, 3)"]
    known = {key: shape for shape, key in varied.values()}
    # d is another number: `d` is right as it is. The second line is another one, and the third follows no var.
    later = LineShapes(checked(text.replace("d: 8", "d: 5").replace("2 * d", "4 * d")))
    assert [shape for shape, _ in shape_texts(later, known, varied=False).values()] == ["(B, d)", "(2, 20)", "(B, 3)"]
    assert [shape for shape, _ in shape_texts(later, known, varied=True).values()] == ["(B, d)", "(B, 4 * d)", "(B, 3)"]
