"""``fwdscope lsp`` as an editor sees it: a real client types, and one server answers nearly all tests."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

types = pytest.importorskip("lsprotocol.types")
pytest.importorskip("pytest_lsp")
if not sys.platform.startswith("linux"):
    pytest.skip("reads /proc", allow_module_level=True)

from spec_editor import SpecEditor, applied  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from fwdscope.editor.document import Document  # noqa: E402
from fwdscope.targets import shipped_specs  # noqa: E402

SPEC = """\
name: small
vars: {B: 2, d: 8, classes: 10}
inputs:
  image: randn(B, 3, 32, 32)
blocks:
  Block(width):
    - conv = Conv2d(width, 3, padding=1)
    - BatchNorm2d
    - relu(prev)
layers:
  - stem = Conv2d(d, 3, stride=2, padding=1)
  - body = 2 * Block(d)
  - wide = Block(2 * d)
  - pool = AdaptiveAvgPool2d(1)
  - Flatten
  - fc = Linear(classes)     -> (B, classes)
"""
# What stands behind the lines: half of 32 behind a stride of 2. The block runs with d and with 2 * d.
SHAPES = {
    7: "(B, width, 16, 16)",
    8: "(B, width, 16, 16)",
    9: "(B, width, 16, 16)",
    11: "(B, d, 16, 16)",
    12: "(B, d, 16, 16)",
    13: "(B, 2 * d, 16, 16)",
    14: "(B, 2 * d, 1, 1)",
    15: "(B, 2 * d)",
}


@pytest.fixture(scope="module")
def spec_editor() -> Iterator[SpecEditor]:
    editor = SpecEditor()
    yield editor
    editor.close()


def codes(problems: list[types.Diagnostic]) -> list[tuple[int, str]]:
    return [(one.range.start.line + 1, one.code) for one in problems]


def test_shapes_stand_behind_lines_in_the_vars_of_the_spec(spec_editor: SpecEditor) -> None:
    uri = spec_editor.open(SPEC)
    assert spec_editor.problems(uri) == []
    # The last line has its promise.
    assert spec_editor.hints_once(uri, lambda found: found == SHAPES)
    # The server itself never loads torch.
    assert "torch" not in Path(f"/proc/{spec_editor.pid}/maps").read_text()
    assert "torch" in Path(f"/proc/{spec_editor.worker()}/maps").read_text()
    # Another value of a var moves no hint.
    spec_editor.change(uri, SPEC.replace("d: 8", "d: 12"))
    assert spec_editor.hints_once(uri, lambda found: found == SHAPES)


def test_a_line_that_is_wrong_leaves_the_others(spec_editor: SpecEditor) -> None:
    uri = spec_editor.open(SPEC)
    assert spec_editor.hints_once(uri, lambda found: found == SHAPES)
    spec_editor.change(uri, SPEC.replace("wide = Block", "wide = Blokc"))
    (problem,) = spec_editor.problems(uri, len)
    assert codes([problem]) == [(13, "name")]
    # What it would make is not known; the lines above, and those of the block, are as they were.
    left = {line: shape for line, shape in SHAPES.items() if line < 13}
    assert spec_editor.hints_once(uri, lambda found: found == left)
    (fix,) = spec_editor.fixes(uri, problem)
    assert fix.title == "Write Block"
    mended = applied(spec_editor.texts[uri], fix.edit.changes[uri])
    assert mended == SPEC
    spec_editor.change(uri, mended)
    assert spec_editor.problems(uri) == []
    assert spec_editor.hints_once(uri, lambda found: found == SHAPES)


def test_a_promise_stands_for_the_line_that_is_wrong(spec_editor: SpecEditor) -> None:
    uri = spec_editor.open(SPEC.replace("2 * Block(d)", "2 * Block(q)  -> (B, d, 16, 16)"))
    assert [line for line, _ in codes(spec_editor.problems(uri, len))] == [12]
    # The block ran with 2 * d only, of which no name says what is half.
    found = spec_editor.hints(uri)
    assert [found[line] for line in (11, 13, 14, 15)] == [
        "(2, 8, 16, 16)",
        "(2, 16, 16, 16)",
        "(2, 16, 1, 1)",
        "(2, 16)",
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [("d: 8", "d: 8 *"), ("d: 8", "d: none"), ("randn(B", "radn(B"), ("Block(width)", "Block(width")],
)
def test_what_decides_every_shape_leaves_none(spec_editor: SpecEditor, before: str, after: str) -> None:
    uri = spec_editor.open(SPEC)
    assert spec_editor.hints_once(uri, lambda found: found == SHAPES)
    spec_editor.change(uri, SPEC.replace(before, after, 1))
    assert spec_editor.problems(uri, len)
    assert spec_editor.hints(uri) == {}


def test_a_problem_of_shapes_comes_with_what_made_each_size_and_with_fixes(spec_editor: SpecEditor) -> None:
    # 64 · 12 · 12 = 9,216: 28 loses 2 at each 3 by 3 convolution, and half at the pooling.
    text = """\
inputs:
  image: randn(4, 1, 28, 28)
layers:
  - Conv2d(32, 3)
  - Conv2d(64, 3)
  - MaxPool2d(2)
  - fc = Linear(10, in_features=9216)
"""
    uri = spec_editor.open(text)
    (problem,) = spec_editor.problems(uri, len)
    assert codes([problem]) == [(7, "shape")]
    assert problem.related_information
    assert {one.location.range.start.line for one in problem.related_information} <= {1, 3, 4, 5, 6}
    # The line that fails has no hint, those above do.
    assert spec_editor.hints(uri) == {4: "(4, 32, 26, 26)", 5: "(4, 64, 24, 24)", 6: "(4, 64, 12, 12)"}
    fixes = spec_editor.fixes(uri, problem)
    assert any("Flatten" in fix.title for fix in fixes)
    for fix in fixes:
        spec_editor.change(uri, applied(text, fix.edit.changes[uri]))
        assert spec_editor.hints_once(uri, lambda found: "(4, 10)" in found.values())
        assert spec_editor.problems(uri, lambda found: not found) == []


# A mistake, and the lines that the first fix makes of it.
MENDS = [
    ("- Conv2d(3, 8, 3)", "- Conv2d(8, 3)"),
    ("- Convd2(8, 3)", "- Conv2d(8, 3)"),
    ("- Conv2d(8, kernel=3)", "- Conv2d(8, kernel_size=3)"),
    ("- Conv2d(8, 3, paddin=1)", "- Conv2d(8, 3, padding=1)"),
    ("- Conv2d(8, 3", "- Conv2d(8, 3)"),
    ("- rleu(image)", "- relu(image)"),
    ("- imgae * 2", "- image * 2"),
    ("- image.vew(2, -1)", "- image.view(2, -1)"),
    ("- conv: Conv2d(8, 3)", "- conv = Conv2d(8, 3)"),
    ("- ReLU    -> (2, 3, 9, 9)", "- ReLU    -> (2, 3, 8, 8)"),
    ("- Conv2d(8, 3)    -> (2, 8, 6)", "- Conv2d(8, 3)    -> (2, 8, 6, 6)"),
    ("- Dense(8)", "- Linear(8)"),
]


@pytest.mark.parametrize(("wrong", "right"), MENDS)
def test_each_fix_is_right(spec_editor: SpecEditor, wrong: str, right: str) -> None:
    text = f"inputs:\n  image: randn(2, 3, 8, 8)\nlayers:\n  {wrong}\n"
    uri = spec_editor.open(text)
    problem = spec_editor.problems(uri, len)[0]
    fixes = spec_editor.fixes(uri, problem)
    assert fixes, problem.message
    assert applied(text, fixes[0].edit.changes[uri]) == text.replace(wrong, right)


def test_a_layer_of_a_loop_moves_under_modules(spec_editor: SpecEditor) -> None:
    text = """\
inputs:
  x: randn(2, 8)
layers:
  - while: prev.sum() > 1
    do:
      - Linear(8)
"""
    uri = spec_editor.open(text)
    (problem,) = spec_editor.problems(uri, len)
    (fix,) = spec_editor.fixes(uri, problem)
    mended = text.replace("  - while", "  - modules:\n      linear: Linear(8)\n  - while").replace(
        "- Linear(8)", "- linear(prev)"
    )
    assert applied(text, fix.edit.changes[uri]) == mended
    spec_editor.change(uri, mended)
    assert spec_editor.problems(uri) == []


def test_hover_has_the_figures_of_a_line_and_how_they_come_about(spec_editor: SpecEditor) -> None:
    uri = spec_editor.open(SPEC)
    page = spec_editor.ask("hover", uri, 11, 12).contents.value
    # 8 · 3 · 3 · 3 weights and 8 biases; 2 · 8 · 16 · 16 outputs of 3 · 3 · 3 products each.
    assert "**stem**" in page
    assert "224 parameters" in page
    assert "2·8·16·16·3·3·3 = 110,592" in page
    assert "`(2, 3, 32, 32)`" in page
    assert "`(2, 8, 16, 16)`" in page
    # The words of the type stand below.
    assert page.index("224 parameters") < page.index("settings  by position")
    # A var: its value and what reads it.
    page = spec_editor.ask("hover", uri, 2, 14).contents.value
    assert "8" in page
    # While the text is wrong there are no numbers.
    spec_editor.change(uri, SPEC.replace("wide = Block", "wide = Blokc"))
    assert "224" not in spec_editor.ask("hover", uri, 11, 12).contents.value


def test_figures_stand_above_the_file_and_its_blocks(spec_editor: SpecEditor, tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(SPEC)
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    uri = spec_editor.open(SPEC, file.as_uri())
    spec_editor.problems(uri)
    lenses = spec_editor.lenses(uri)
    # stem 224; each Block(d): 8 · 8 · 9 + 8 + 16 = 600; wide: 16 · 8 · 9 + 16 + 32 = 1,200; fc 170: 2,794.
    assert [(one.range.start.line, one.command.title.partition("  ·  ")[0]) for one in lenses] == [
        (0, "2.79 K params"),
        (5, "× 3"),
    ]
    assert "since" not in lenses[0].command.title
    assert "600–1.20 K params" in lenses[1].command.title
    # Twice as many channels of the last block than in HEAD: 1,200 → 32 · 8 · 9 + 32 + 64 = 2,400; fc 170 → 330.
    spec_editor.change(uri, SPEC.replace("2 * d", "4 * d"))
    lenses = spec_editor.lenses(uri)
    assert "since HEAD: +1.36 K params" in lenses[0].command.title
    assert "since HEAD: +1.20 K params" in lenses[1].command.title
    # A click on it opens the page, at the block.
    page = spec_editor.command(lenses[1].command.command, *lenses[1].command.arguments)
    assert page == spec_editor.shown[-1].uri
    assert page.endswith("/model.html#body.0")
    assert "<html" in Path(page.removeprefix("file://").partition("#")[0]).read_text()


def test_words_are_answered_from_the_text(spec_editor: SpecEditor) -> None:
    uri = spec_editor.open(SPEC)
    text = types.TextDocumentIdentifier(uri)
    labels = [one.label for one in spec_editor.ask("completion", uri, 11, 12)]
    assert "Conv2d" in labels
    item = next(one for one in spec_editor.ask("completion", uri, 11, 12) if one.label == "Conv2d")
    page = spec_editor.run(spec_editor.client.completion_item_resolve_async(item)).documentation
    assert "kernel_size" in page.value
    help = spec_editor.ask("signature_help", uri, 11, 21)
    assert help.signatures[help.active_signature].label.startswith("Conv2d(")
    # `d` of Block(d) is the var of line 2; it is read on lines 11 to 13.
    (found,) = spec_editor.ask("definition", uri, 12, 22)
    assert found.range.start == types.Position(1, 13)
    context = types.ReferenceContext(True)
    places = spec_editor.ask("references", uri, 12, 22, context=context)
    assert [one.range.start.line + 1 for one in places] == [2, 11, 12, 13]
    assert spec_editor.ask("prepare_rename", uri, 12, 22).start == types.Position(11, 21)
    edit = spec_editor.run(
        spec_editor.client.text_document_rename_async(types.RenameParams(text, types.Position(11, 21), "width_of_stem"))
    )
    assert applied(SPEC, edit.changes[uri]) == re.sub(r"\bd\b", "width_of_stem", SPEC)
    with pytest.raises(Exception, match="classes"):
        spec_editor.run(
            spec_editor.client.text_document_rename_async(types.RenameParams(text, types.Position(11, 21), "classes"))
        )
    names = [one.name for one in spec_editor.ask("document_symbol", uri)]
    assert {"vars", "inputs", "blocks", "layers"} <= set(names)
    spec_editor.change(uri, SPEC.replace("Conv2d(width, 3, padding=1)", "Conv2d(width,3,padding = 1)"))
    edits = spec_editor.ask("formatting", uri, options=types.FormattingOptions(2, True))
    assert applied(spec_editor.texts[uri], edits) == SPEC
    assert (9, 15) in [(one.start_line, one.end_line) for one in spec_editor.ask("folding_range", uri)]


def test_columns_count_utf_16_units_and_lines_may_end_in_crlf(spec_editor: SpecEditor) -> None:
    # 😀 is one character and two units.
    lines = ["inputs: {x: 'randn(2, 4)'}", "layers:", "- Linear(3)  # 😀", "- Linear(3, bias='😀', units=4)", ""]
    uri = spec_editor.open("\r\n".join(lines))
    before = "- Linear(3, bias='😀', "
    places = [one.range.start for one in spec_editor.problems(uri, len) if "units" in one.message]
    assert places == [types.Position(3, len(before) + 1)]
    hints = spec_editor.run(
        spec_editor.client.text_document_inlay_hint_async(
            types.InlayHintParams(
                types.TextDocumentIdentifier(uri), types.Range(types.Position(0, 0), types.Position(9, 0))
            )
        )
    )
    assert [(one.position.line, one.position.character) for one in hints] == [(2, len("- Linear(3)"))]


def test_of_many_changes_the_last_counts(spec_editor: SpecEditor) -> None:
    uri = spec_editor.open(SPEC)
    spec_editor.hints(uri)
    for width in range(20, 60):
        spec_editor.change(uri, SPEC.replace("32, 32", f"{width}, {width}"))
    # 59 at a stride of 2 is 30.
    found = spec_editor.hints_once(uri, lambda found: bool(found))
    assert found[11] == "(B, d, 30, 30)"
    assert codes(spec_editor.problems(uri)) == []


def test_a_request_that_is_cancelled_ends(spec_editor: SpecEditor) -> None:
    uri = spec_editor.open(shipped_specs()["densenet121"].read_text(), "file:///tests/densenet.yaml")
    params = types.HoverParams(types.TextDocumentIdentifier(uri), types.Position(20, 10))

    async def cancelled() -> str:
        future = spec_editor.client.protocol.send_request(types.TEXT_DOCUMENT_HOVER, params, msg_id="one")
        spec_editor.client.cancel_request(types.CancelParams("one"))
        import asyncio

        try:
            await asyncio.wrap_future(future)
        except Exception as error:
            return str(error)
        return ""

    assert "cancel" in spec_editor.run(cancelled()).lower()


def test_a_worker_that_dies_is_started_again(spec_editor: SpecEditor) -> None:
    uri = spec_editor.open(SPEC)
    assert spec_editor.hints_once(uri, lambda found: found == SHAPES)
    dead = spec_editor.worker()
    os.kill(dead, signal.SIGKILL)
    spec_editor.change(uri, SPEC.replace("stride=2", "stride=4"))
    # 32 at a stride of 4 is 8.
    found = spec_editor.hints_once(uri, lambda found: bool(found))
    assert found[11] in ("(B, d, 8, 8)", "(2, 8, 8, 8)")
    assert spec_editor.worker() != dead


def test_a_file_of_2000_lines(spec_editor: SpecEditor) -> None:
    lines = [f"  - l{i} = relu(prev)" for i in range(2000)]
    text = "inputs:\n  x: randn(2, 4)\nlayers:\n" + "\n".join(lines) + "\n"
    wrong = text.replace("l1500 = relu(prev)", "l1500 = relu(perv)")
    uri = spec_editor.open(wrong, "file:///tests/long.yaml")
    assert codes(spec_editor.problems(uri, len)) == [(1504, "name")]
    assert set(spec_editor.hints_once(uri, bool).values()) == {"(2, 4)"}
    assert set(spec_editor.hints(uri)) == set(range(4, 1504))
    spec_editor.change(uri, text)
    assert spec_editor.problems(uri) == []
    spec_editor.open(SPEC)


def test_other_files_are_left_alone(spec_editor: SpecEditor) -> None:
    uri = spec_editor.open("services:\n  web: {image: nginx}\n", "file:///tests/docker-compose.yaml")
    assert spec_editor.problems(uri) == []
    assert spec_editor.hints(uri) == {}
    assert spec_editor.ask("document_symbol", uri) in (None, [])


def test_a_file_that_is_not_open_is_an_error(spec_editor: SpecEditor) -> None:
    with pytest.raises(Exception, match="is not open"):
        spec_editor.command("fwdscope.annotate", "file:///nowhere.yaml")


def test_settings_are_of_the_folder(spec_editor: SpecEditor, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "pyproject.toml").write_text('[tool.fwdscope]\nhints = ["params", "macs"]\n')
    a, b = ((tmp_path / name / "spec.yaml").as_uri() for name in "ab")
    spec_editor.settings[b] = {"hints": ["shapes", "params"], "allowImport": True}
    spec_editor.open(SPEC, a)
    spec_editor.open(SPEC, b)
    # Of 2 · 8 · 16 · 16 · 27 + 2 · 2 · 8 · 16 · 16 · 72 + 2 · 16 · 16 · 16 · 72 + 2 · 160 MACs stem has 110,592, 8.6 %.
    assert spec_editor.hints_once(a, lambda found: 11 in found)[11] == "224 params  8.6 % of MACs"
    assert spec_editor.hints_once(b, lambda found: found.get(11) == "(B, d, 16, 16)  224 params")
    # Only the client's settings allow a model in code to be imported.
    text = "model: torch.nn:Linear(in_features=4, out_features=3)\ninputs:\n  x: randn(2, 4)\n"
    spec_editor.change(a, text)
    assert codes(spec_editor.problems(a, len)) == [(1, "import")]
    model = "torch.nn:TransformerEncoderLayer(d_model=8, nhead=2, dim_feedforward=16)"
    # 8 · 16 weights and 16 biases.
    text = f"model: {model}\ninputs:\n  x: randn(2, 4, 8)\nexpect:\n  layers:\n    linear1: {{params: 143}}  # 144\n"
    spec_editor.change(b, text)
    assert spec_editor.hints_once(b, bool) == {6: "(2, 4, 16)"}
    (problem,) = spec_editor.problems(b, len)
    assert (problem.range.start.line, problem.message) == (5, "linear1 params: expected 143, found 144")


def test_promises_are_written_by_a_command(spec_editor: SpecEditor) -> None:
    uri = spec_editor.open(SPEC)
    spec_editor.hints(uri)
    at = types.Range(types.Position(10, 4), types.Position(10, 4))
    offered = spec_editor.ask("code_action", uri, range=at, context=types.CodeActionContext([]))
    # The client takes an action with a command for a command, whose text then is the action's.
    commands = [types.Command(**ast.literal_eval(one.command)) for one in offered]
    assert [one.title for one in commands] == [
        "Write the shapes as promises",
        "Open the report",
        "Show line 11 in the report",
    ]
    assert spec_editor.command(commands[2].command, *commands[2].arguments).endswith("/spec.html#stem")
    spec_editor.command(commands[0].command, *commands[0].arguments)
    written = spec_editor.until(lambda: spec_editor.texts[uri] != SPEC and spec_editor.texts[uri])
    assert re.search(r"stem = Conv2d\(d, 3, stride=2, padding=1\) +-> \(B, d, 16, 16\)", written)
    assert spec_editor.problems(uri) == []
    assert 11 not in spec_editor.hints(uri)  # a promise needs no hint


def broken_lines(name: str, text: str) -> Iterator[tuple[int, str]]:
    """A spec with each line that computes broken in turn: a letter more in a name, or a bracket less."""
    inside = False
    for i, line in enumerate(text.split("\n")):
        if re.match(r"\w", line):
            inside = line.startswith(("layers:", "blocks:", "graph:"))
        code = re.match(r"(\s*- (?:\w+ = )?)([A-Z]\w+)(.*)", line)
        if inside and code is not None and not line.endswith(":"):  # a part may have any name
            lines = text.split("\n")
            lines[i] = f"{code[1]}{code[2]}q{code[3]}"
            yield i + 1, "\n".join(lines)
            if "(" in code[3] and ")" in code[3] and "->" not in line:
                at = line.rindex(")")
                lines[i] = line[:at] + line[at + 1 :]
                yield i + 1, "\n".join(lines)


def test_each_line_of_each_spec_broken_in_turn(spec_editor: SpecEditor) -> None:
    names = sorted(shipped_specs())
    every = os.environ.get("FWDSCOPE_EVERY_SPEC")
    slow = {"deepseek_v2_lite", "mamba_130m", "stable_diffusion_unet", "swin_t", "t5_small", "wavenet"}
    for number, name in enumerate(names if every else [one for one in names if one not in slow][::6]):
        text = shipped_specs()[name].read_text()
        uri = spec_editor.open(text, f"file:///tests/{name}.yaml")
        before = spec_editor.hints_once(uri, lambda _: True)
        layers = text[: text.index("layers:")].count("\n") + 1 if "\nlayers:" in text else 0
        broken = list(broken_lines(name, text))
        for line, changed in broken if every else broken[number % 3 :: max(1, len(broken) // 2)]:
            spec_editor.change(uri, changed)
            problems = spec_editor.problems(uri, len)
            assert line in [place for place, _ in codes(problems)], (name, line, problems)
            kept = {one for one in before if layers < one < line} if line > layers > 0 else set()
            found = spec_editor.hints_once(uri, lambda found, kept=kept: kept <= found.keys())
            # A line of a block may gain one: where its calls differ it has none, and fewer of them run now.
            assert {one for one in found if one > layers} <= before.keys() | {line}, (name, line)


def test_a_file_of_many_is_read_again_where_it_is_asked_about(spec_editor: SpecEditor) -> None:
    document = Document(SPEC.replace("Linear", "Linera"))
    problems, spec = document.problems, document.spec
    document.forget()
    assert document.problems is problems
    assert document.spec is not spec
    first = spec_editor.open(SPEC, "file:///tests/first.yaml")
    outline = spec_editor.ask("document_symbol", first)
    for number in range(10):
        spec_editor.open(SPEC, f"file:///tests/{number}.yaml")
    assert spec_editor.ask("document_symbol", first) == outline
    assert outline


def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from fwdscope.cli import app, lsp

    monkeypatch.setattr(lsp, "find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["lsp"])
    assert result.exit_code == 2
    assert result.stderr == "error: the language server needs pygls: pip install 'fwdscope[editor]'\n"


def test_an_unknown_hint_is_an_error() -> None:
    from fwdscope.cli import app

    result = CliRunner().invoke(app, ["lsp", "--hints", "shape"])
    assert result.exit_code == 2
    assert "did you mean shapes?" in result.stderr
