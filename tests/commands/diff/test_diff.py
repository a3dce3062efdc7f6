"""``fwdscope diff``: what changed between two networks, matched by name and by structure, and what may not change."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import fwdscope
from fwdscope.cli import app
from fwdscope.commands.diff import FIGURES, Comparison, Condition, compare
from fwdscope.commands.diff.changes import FACTS, SUMS
from fwdscope.inspection import inspect_spec
from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.problems import Source
from fwdscope.render.diff import FORMATS, DiffOptions, render
from fwdscope.report import Latency, LayerRow, Report, Run
from fwdscope.settings import RunSettings, TrainingSettings
from fwdscope.targets import shipped_specs

GOLDEN = Path(__file__).parent / "golden"


@cache
def report_of(text: str) -> Report:
    return inspect_spec(check(parse(Source("spec.yaml", text))))


def shipped_text(name: str, *changes: tuple[str, str]) -> str:
    """A spec that ships, without what it expects, each word put in place of another throughout."""
    text = shipped_specs()[name].read_text(encoding="utf-8").partition("\nexpect:")[0] + "\n"
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def net(*layers: str, blocks: str = "") -> Report:
    lines = "".join(f"  - {layer}\n" for layer in layers)
    return report_of(f"name: t\ninputs:\n  x: randn(2, 8)\n{blocks}layers:\n{lines}")


def told(compared: Comparison) -> list[tuple[str, str | None, str | None]]:
    """Every change as its kind, where it was and where it is."""
    return [(c.kind, c.before.path if c.before else None, c.after.path if c.after else None) for c in compared.changes]


# --- whole comparisons -----------------------------------------------------------------------------------------------

NEW_NAMES = (("Bottleneck", "Unit"), ("conv1", "stem"), ("bn3", "norm"), ("layer2", "stage2"))
PAIRS = {
    "resnet50-base-96": ("resnet50", (("base: 64", "base: 96"),)),
    "gpt2-24-layers": ("gpt2", (("depth: 12", "depth: 24"),)),
    "resnet50-renamed": ("resnet50", NEW_NAMES),
    "mnist-changed": (
        "mnist_cnn",
        (("Conv2d(64, 3, padding=1)", "Conv2d(64, 5, padding=2)"), ("  - Flatten", "  - BatchNorm2d\n  - Flatten")),
    ),
}
DRAWN = [(name, width) for name in PAIRS for width in (80, 100, 140)]


def pair(name: str) -> Comparison:
    spec, changes = PAIRS[name]
    return compare(report_of(shipped_text(spec)), report_of(shipped_text(spec, *changes)))


def hold(text: str, name: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.core
@pytest.mark.parametrize(("name", "width"), DRAWN)
def test_the_terminal_draws_as_it_did(name: str, width: int) -> None:
    text = render(pair(name), "text", DiffOptions(names=(PAIRS[name][0], "changed.yaml")), width)
    assert max(map(len, text.splitlines())) <= width
    hold(text, f"{name}-{width}.txt")


@pytest.mark.core
@pytest.mark.parametrize("name", PAIRS)
def test_markdown_is_as_it_was(name: str) -> None:
    hold(render(pair(name), "markdown", DiffOptions(names=(PAIRS[name][0], "changed.yaml"))), f"{name}.md")


def test_every_golden_file_belongs_to_a_case() -> None:
    cases = {f"{name}-{width}.txt" for name, width in DRAWN} | {f"{name}.md" for name in PAIRS}
    assert {path.name for path in GOLDEN.iterdir()} == cases


def test_renamed_copies_cost_the_same_and_are_only_renamed() -> None:
    compared = pair("resnet50-renamed")
    assert {change.kind for change in compared.changes} == {"renamed"}
    assert all(not delta.change for delta in compared.totals)
    assert "the block Bottleneck is now called Unit" in compared.notes


def test_a_deeper_stack_is_more_copies_of_the_same() -> None:
    compared = pair("gpt2-24-layers")
    assert told(compared) == [("changed", "h", "h"), ("changed", "h.0", "h.0")]
    copies = compared.changes[1]
    assert copies.what == ("repeat",)
    assert (copies.delta("params").before, copies.delta("params").after) == (12 * 7_087_872, 24 * 7_087_872)


@pytest.mark.parametrize("name", ["resnet50", "gpt2", "unet", "lstm", "swin_t"])
def test_a_report_against_itself_shows_nothing(name: str) -> None:
    one = report_of(shipped_text(name))
    compared = compare(one, Report.loads(one.dumps()))
    assert compared.changes == ()
    assert "nothing changed" in render(compared, "text", DiffOptions())


@pytest.mark.parametrize(
    ("one", "other"),
    [("resnet50", "wide_resnet50_2"), ("resnet50", "resnet101"), ("unet", "gpt2"), ("vgg16", "alexnet"),
     ("llama3_8b", "mixtral_8x7b"), ("mobilenet_v2", "mobilenet_v3_large"), ("mlp_mnist", "lstm_cell")],
)  # fmt: skip
def test_every_row_of_both_stands_once_and_the_top_level_adds_up(one: str, other: str) -> None:
    before, after = report_of(shipped_text(one)), report_of(shipped_text(other))
    compared = compare(before, after)
    assert sorted(map(id, before.layers)) == sorted(id(row.before) for row in compared.rows if row.before)
    assert sorted(map(id, after.layers)) == sorted(id(row.after) for row in compared.rows if row.after)
    for name in ("params", "macs", "flops"):
        top = sum(row.delta(name).change or 0 for row in compared.rows if row.depth == 1)
        assert top == compared.total(name).change


def test_what_changes_are_told_of_is_every_figure_of_a_row() -> None:
    apart = {"path", "kind", "depth", "label", "line", "column", "input_shapes", "varies", "parameters", "sources"}
    apart |= {
        "promise",
        "note",
        "stats",
        "copy_stds",
        "copy_item_stds",
        "network_inputs",
        "network_outputs",
        "live_bytes",
    }
    apart |= {"operators", "formulas", "settings", "latency_range", "backward", "backward_operators"}
    apart |= {"cached", "kv_cache", "eager", "kernels", "rank"}
    of_backward = {"backward_macs", "saved_activations"}
    assert {f.name for f in fields(LayerRow)} - apart == {*SUMS, *FACTS} - of_backward


# --- matching --------------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_an_inserted_layer_moves_no_other_though_default_names_shift() -> None:
    before = net("a = Linear(8)", "ReLU", "b = Linear(8)", "ReLU", "c = Linear(4)")
    after = net("a = Linear(8)", "ReLU", "new = Linear(8)", "ReLU", "b = Linear(8)", "ReLU", "c = Linear(4)")
    assert told(compare(before, after)) == [("added", None, "new"), ("added", None, "relu_2")]


@pytest.mark.core
def test_a_removed_layer_is_the_only_change() -> None:
    before = net("a = Linear(8)", "LayerNorm", "ReLU", "c = Linear(4)")
    assert told(compare(before, net("a = Linear(8)", "ReLU", "c = Linear(4)"))) == [("removed", "layernorm", None)]


def test_a_layer_of_another_type_under_its_name_is_changed() -> None:
    (change,) = compare(net("a = Linear(8)", "act = ReLU"), net("a = Linear(8)", "act = GELU")).changes
    assert (change.kind, change.row.path) == ("changed", "act")
    assert {"type", "text", "flops"} <= set(change.what)


def test_another_layer_without_a_name_comes_and_goes() -> None:
    compared = compare(net("a = Linear(8)", "ReLU"), net("a = Linear(8)", "GELU"))
    assert told(compared) == [("removed", "relu", None), ("added", None, "gelu")]


def test_two_layers_of_other_names_and_sizes_are_two_layers() -> None:
    compared = compare(net("a = Linear(8)", "fc = Linear(4)"), net("a = Linear(8)", "head = Linear(9)"))
    assert told(compared) == [("removed", "fc", None), ("added", None, "head")]


def test_a_layer_put_into_a_block_has_moved_and_the_block_brings_nothing_of_it() -> None:
    before = net("a = Linear(8)", "b = Linear(4)")
    after = net("stem:\n      - a = Linear(8)\n      - n = LayerNorm", "b = Linear(4)")
    compared = compare(before, after)
    assert told(compared) == [("added", None, "stem"), ("moved", "a", "stem.a"), ("added", None, "stem.n")]
    # A LayerNorm of width 8: a scale and a shift each.
    assert [change.delta("params").change for change in compared.changes] == [16, 0, 16]
    back = compare(after, before)
    assert told(back) == [("removed", "stem", None), ("removed", "stem.n", None), ("moved", "stem.a", "a")]
    assert sum(c.delta("params").change or 0 for c in back.rows if c.depth == 1) == -16


def test_a_single_block_that_becomes_a_stack_stays_what_it_is() -> None:
    block = "blocks:\n  Part:\n    - fc = Linear(8)\n    - ReLU\n"
    compared = compare(net("h = 1 * Part", blocks=block), net("h = 3 * Part", blocks=block))
    assert told(compared) == [("changed", "h", "h"), ("changed", "h.0", "h.0")]
    assert compared.changes[1].delta("params").change == 2 * (8 * 8 + 8)


def test_a_line_that_reads_a_layer_by_its_new_name_has_not_changed() -> None:
    compared = compare(net("a = Linear(8)", "prev + a"), net("b = Linear(8)", "prev + b"))
    assert told(compared) == [("renamed", "a", "b")]


def test_another_receptive_field_or_latency_alone_is_no_change() -> None:
    one = net("a = Linear(8)")
    quiet = replace(one, layers=tuple(replace(row, receptive_field=(3,), latency=0.1) for row in one.layers))
    compared = compare(one, quiet)
    assert compared.changes == ()
    assert compared.rows[0].what == ("receptive_field", "latency")
    assert "1 other row with another receptive field" in render(compared, "text", DiffOptions())


def test_thousands_of_neighbours_are_matched_by_name() -> None:
    one = net("a = Linear(8)", "b = Linear(4)")
    rows = [replace(one.layers[0], path=f"l{i}", label=f"l{i}") for i in range(3000)]
    changed = [replace(row, params=row.params + 1) for row in rows]
    compared = compare(replace(one, layers=tuple(rows)), replace(one, layers=tuple(changed[1:])))
    assert [change.kind for change in compared.changes] == ["removed"] + ["changed"] * 2999


# --- what is said ----------------------------------------------------------------------------------------------------


def timed(report: Report, seconds: float, device: str = "A") -> Report:
    run = Run("cpu", device, "float32", 0, latency=Latency.of([seconds]))
    return replace(report, run=run, layers=tuple(replace(row, latency=seconds) for row in report.layers))


def test_latencies_are_compared_where_both_have_them() -> None:
    before, after = timed(net("a = Linear(8)"), 0.010), timed(net("a = Linear(16)"), 0.015, "B")
    compared = compare(before, after)
    assert compared.total("latency").ratio == pytest.approx(0.5)
    assert [note for note in compared.notes if "latencies" in note] == [
        "the latencies differ in how they were measured: device cpu (A) first, cpu (B) then"
    ]
    text = render(compared, "text", DiffOptions())
    assert re.search(r"latency +10\.0 ms +15\.0 ms +\+5\.00 ms +\+50\.0 %", text)


def test_notes_say_what_makes_two_reports_hard_to_compare() -> None:
    one, other = net("a = Linear(8)"), report_of(shipped_text("mlp_mnist"))
    notes = compare(one, replace(other, dtype="float16", uncounted=("aten.odd",))).notes
    assert notes == (
        "the dtypes differ: float32, then float16",
        "the inputs differ: x (2, 8), then image (64, 1, 28, 28)",
        "no rule counts aten.odd in the second: its costs are at least what is shown",
    )


def test_json_holds_the_totals_and_every_change() -> None:
    data = json.loads(render(pair("mnist-changed"), "json", DiffOptions()))
    assert data["version"] == 1
    # 64 filters over 32 channels grow from 3x3 to 5x5.
    conv = next(change for change in data["changes"] if change["path_after"] == "conv2")
    assert conv["totals"]["params"]["change"] == 64 * 32 * (5 * 5 - 3 * 3)
    assert [c["path_after"] for c in data["changes"] if c["kind"] == "added"] == ["batchnorm2d"]
    assert data["totals"]["params"]["change"] == 64 * 32 * 16 + 2 * 64


def test_depth_folds_rows_and_says_so() -> None:
    text = render(pair("resnet50-base-96"), "text", DiffOptions(depth=1))
    assert "│" not in text
    assert "depth 1 of 4  ·  100 rows folded  ·  --depth 4 shows all" in text


def test_what_has_no_room_on_a_narrow_terminal_is_named() -> None:
    text = render(pair("resnet50-base-96"), "text", DiffOptions(), 64)
    assert max(map(len, text.splitlines())) <= 64
    assert " no room for output\n" in text


def test_colour_goes_by_what_a_change_means() -> None:
    plain, text = (render(pair("mnist-changed"), "text", DiffOptions(), 100, color) for color in (False, True))
    assert "\033[33m" in text  # yellow: more
    assert "\033[32m" in text  # green: new
    assert [re.sub(r"\033\[[0-9;]*m", "", line).rstrip() for line in text.splitlines()] == plain.splitlines()


def test_markdown_keeps_bars_and_stars_of_the_file_out_of_its_table() -> None:
    before, after = net("a = Linear(8)", "x * 2 * a"), net("a = Linear(8)", "(x > 0) | (a > 0)", "prev * x")
    lines = render(compare(before, after), "markdown", DiffOptions()).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|  | layer"))
    rows = [line for line in lines[start:] if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) == 1


# --- conditions ------------------------------------------------------------------------------------------------------


@pytest.mark.core
@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("params > +0", True), ("params > 200%", False), ("params >= 200%", True), ("params > +201%", False),
        ("params >= 216", True),
        ("params < 216", False), ("params > +143", True), ("params > +144", False), ("params <= +144", True),
        ("macs < -5%", False), ("macs > −5 %", True), ("bytes > 1 KiB", True), ("peak_memory > 1 GiB", False),
        ("params>+0.1K", True),
    ],
)  # fmt: skip
def test_conditions_hold_a_value_a_change_or_a_percentage(text: str, met: bool) -> None:
    # From 8 · 8 + 8 = 72 to 24 · 8 + 24 = 216 parameters: + 144, + 200 %.
    compared = compare(net("a = Linear(8)"), net("a = Linear(24)"))
    assert Condition.parse(text).met(compared) == met


def test_growth_from_nothing_is_more_than_any_percentage() -> None:
    compared = compare(net("relu(x)"), net("Linear(8)"))
    assert Condition.parse("params > 1000%").met(compared)
    assert not Condition.parse("buffers > 0%").met(compared)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("macs", 'no condition: write "macs > +5%"'),
        ("macs = 5", 'no condition: write "macs > +5%"'),
        ("speed > 5%", "there is no figure speed; there are params"),
        ("macs > 5 MiB", "5 MiB is no amount of macs: write it with K, M, G or nothing"),
        ("peak_memory > 5 M", "5 M is no amount of peak_memory: write it with KiB, MiB or GiB"),
        ("latency > 5", "5 is no amount of latency: write it with ms or s"),
        ("macs > many", "'many' is no number"),
    ],
)
def test_a_wrong_condition_is_told_with_an_example(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Condition.parse(text)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_may_be_named(name: str) -> None:
    assert Condition.parse(f"{name} > +5%").name == name


# --- the command -----------------------------------------------------------------------------------------------------

MLP = "name: mlp\nvars: {B: 2, d: 16}\ninputs:\n  x: rand(B, 8)\nlayers:\n  - fc1 = Linear(d)\n  - fc2 = Linear(4)\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["diff", *arguments])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(MLP)
    (tmp_path / "b.yaml").write_text(MLP.replace("d: 16", "d: 32"))
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_two_specs_are_compared_and_the_exit_code_is_0(files: Path) -> None:
    result = run("a.yaml", "b.yaml")
    assert (result.exit_code, result.stderr) == (0, "")
    # 16 more columns of 8, their biases, and 4 more rows of 16.
    assert "+208" in result.stdout
    assert "fc1" in result.stdout


def test_set_replaces_a_var_of_both(files: Path) -> None:
    result = run("a.yaml", "b.yaml", "--set", "d=8")
    assert "nothing changed" in result.stdout


def test_one_target_is_compared_with_itself_at_other_vars(files: Path) -> None:
    both = run("a.yaml", "--before", "d=8", "--before", "B=4", "--after", "d=24")
    assert (both.exit_code, both.stderr) == (0, "")
    assert "a.yaml d=8 B=4  →  a.yaml d=24" in both.stdout
    # From 9 · 8 + 9 · 4 parameters to 9 · 24 + 25 · 4.
    assert re.search(r"parameters +108 +316 +\+208", both.stdout)
    # From 4 · (8 · 8 + 8 · 4) MACs to 2 · (8 · 24 + 24 · 4).
    assert re.search(r"MACs +384 +576 +\+192", both.stdout)


def test_the_vars_of_one_side_change_that_side_alone(files: Path) -> None:
    # a.yaml has 16 and b.yaml 32 columns.
    assert "nothing changed" in run("a.yaml", "b.yaml", "--before", "d=32").stdout
    assert "nothing changed" in run("a.yaml", "b.yaml", "--after", "d=16").stdout
    assert "a.yaml  →  a.yaml d=32" in run("a.yaml", "--after", "d=32", "--set", "B=3").stdout
    compared = json.loads(run("a.yaml", "--after", "d=32", "--format", "json").stdout)
    # 16 more columns of 8, their biases, and 4 more rows of 16.
    assert compared["totals"]["params"]["after"] - compared["totals"]["params"]["before"] == 208


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "diff a.yaml: with what? Name a second target, or other vars: --after depth=24"),
        (["--before", "b=4"], "--before b:1:1: error: there is no var b [name]"),
        (["--after", "d=(8"], "--after d:1:1: error: this ( is never closed"),
        (["--after", "d=0"], "  = d is 0, by --after\n"),
        (["--after", "d"], "--after d: write --after depth=12"),
        (["--after", "d=8", "--set", "d=4"], "--after d=… and --set d=… are both given: leave one of them out"),
        (["no_such.yaml", "--before", "d=8"], "no_such.yaml"),
    ],
)
def test_a_wrong_var_of_one_side_is_told_with_its_option(files: Path, arguments: list[str], message: str) -> None:
    result = run("a.yaml", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "--set" not in result.stderr or "--set" in arguments


def test_the_option_of_a_var_is_named_where_a_line_fails(files: Path) -> None:
    (files / "c.yaml").write_text(MLP + "  - prev.unflatten(-1, (d, -1))\n")
    result = run("c.yaml", "--before", "d=2", "--after", "d=3")
    assert "d is 3, by --after" in result.stderr
    assert "--set" not in result.stderr


def test_saved_reports_are_compared_without_torch(files: Path) -> None:
    for name in ("a", "b"):
        (files / f"{name}.json").write_text(fwdscope.inspect(f"{name}.yaml").dumps())
    code = (
        "import sys; from fwdscope.cli import app; sys.argv[1:] = ['diff', 'a.json', 'b.json']\n"
        "try: app()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=files)
    assert done.returncode == 0, done.stderr
    assert "+208" in done.stdout


@pytest.mark.parametrize(("condition", "code"), [("params > +5%", 1), ("params > +100%", 0), ("macs > 1G", 0)])
def test_fail_on_decides_the_exit_code(files: Path, condition: str, code: int) -> None:
    result = run("a.yaml", "b.yaml", "--fail-on", condition)
    assert result.exit_code == code
    # 8 · 16 + 16 + 16 · 4 + 4, and the same with 32.
    assert result.stderr == ("error: params > +5%: 212 → 420, +98.1 %\n" if code else "")


def test_a_condition_on_what_was_not_measured_is_an_error_and_not_a_pass(files: Path) -> None:
    result = run("a.yaml", "b.yaml", "--fail-on", "latency > +5%")
    assert result.exit_code == 2
    assert "--fail-on: latency > +5%: the second has no latency" in result.stderr


@pytest.mark.parametrize(("name", "begins"), [("d.md", "### `a.yaml`"), ("d.json", "{"), ("d.txt", "\n a.yaml  →")])
def test_the_ending_of_a_file_says_the_format(files: Path, name: str, begins: str) -> None:
    result = run("a.yaml", "b.yaml", "-o", name)
    assert (result.exit_code, result.stderr) == (0, f"wrote {name}\n")
    assert (files / name).read_text(encoding="utf-8").startswith(begins)


def test_a_file_is_compared_with_what_it_was_at_a_revision(files: Path) -> None:
    (files / "models").mkdir()
    (files / "a.yaml").rename(files / "models" / "net.yaml")
    git(files, "init", "-q")
    git(files, "add", "-A")
    git(files, "commit", "-q", "-m", "one")
    (files / "models" / "net.yaml").write_text(MLP.replace("d: 16", "d: 32"))
    result = run("models/net.yaml@HEAD", "models/net.yaml")
    assert result.exit_code == 0, result.stderr
    assert " models/net.yaml@HEAD  →  models/net.yaml" in result.stdout
    assert "+208" in result.stdout
    assert "+208" in run("models/net.yaml@HEAD@{0}", "models/net.yaml").stdout
    for target, message in (
        ("models/net.yaml@HEAD~9", "git knows no revision HEAD~9"),
        ("models/net.yaml@--all", "git knows no revision --all"),
        ("models/other.yaml@HEAD", "models/other.yaml is no file in revision HEAD"),
        ("nowhere/net.yaml@HEAD", "there is no folder nowhere"),
        ("models/net.yaml@", "write a file and a revision"),
        ("models@HEAD", "models is no file in revision HEAD"),
    ):
        result = run(target, "models/net.yaml")
        assert result.exit_code == 2
        assert message in result.stderr


def test_a_problem_of_an_old_revision_is_told_at_its_place_there(files: Path) -> None:
    (files / "a.yaml").write_text(MLP.replace("Linear(4)", "Liner(4)"))
    git(files, "init", "-q")
    git(files, "add", "-A")
    git(files, "commit", "-q", "-m", "one")
    result = run("a.yaml@HEAD", "b.yaml")
    assert result.exit_code == 2
    assert "a.yaml@HEAD:7:11: error:" in result.stderr


def test_of_two_saved_reports_the_one_that_is_none_is_named(files: Path) -> None:
    (files / "bad.json").write_text("{")
    git(files, "init", "-q")
    git(files, "add", "-A")
    git(files, "commit", "-q", "-m", "one")
    for target in ("bad.json", "bad.json@HEAD"):
        result = run("a.yaml", target)
        assert result.exit_code == 2
        assert f"error: {target}: this is not JSON" in result.stderr


def test_a_folder_and_an_empty_target_are_told(files: Path) -> None:
    assert ". is a folder; name one spec in it, as in ./NAME.yaml" in run(".", "b.yaml").stderr
    assert "the target is empty" in run("", "b.yaml").stderr


def test_a_layer_renamed_among_thousands_is_renamed_and_not_moved() -> None:
    lines = [f"  - l{i} = Linear({4 + i % 5})" for i in range(620)]
    text = "inputs: {x: 'rand(2, 3)'}\nlayers:\n" + "\n".join(lines) + "\n"
    other = text.replace("l10 =", "m10 =").replace("l600 = Linear(4)", "l600 = Linear(9)")
    changed = compare(report_of(text), report_of(other)).changes
    assert [(change.kind, change.row.path) for change in changed] == [
        ("renamed", "m10"),
        ("changed", "l600"),
        ("changed", "l601"),
    ]


def test_markdown_keeps_its_cells_apart_whatever_a_layer_is_called(files: Path) -> None:
    report = fwdscope.inspect("a.yaml")
    for path in ("a|b", "a`|`b", "a\\|b", "<b>*x*</b>"):
        row = replace(report.layers[0], path=path, label=path, text=path, params=7)
        other = replace(report, layers=(row, *report.layers[1:]))
        drawn = render(compare(report, other), "markdown", DiffOptions(names=(path, path)))
        # As GitHub reads a row: an escaped sign is no border, and a backslash escapes a backslash.
        bare = re.sub(r"\\.", "", drawn)
        tables = [table for table in re.split(r"\n\n", bare) if table.startswith("|")]
        assert len(tables) == 2
        for table in tables:
            assert len({line.count("|") for line in table.splitlines()}) == 1, drawn
        assert "<b>" not in re.sub(r"`[^`]*`", "", bare)


def test_a_revision_outside_of_a_checkout_is_told(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(files.parent))
    result = run("a.yaml@HEAD", "b.yaml")
    assert result.exit_code == 2
    assert "is in no git checkout" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fail-on", "macs"], "--fail-on: 'macs' is no condition"),
        (["--format", "markdwn"], "unknown format markdwn; did you mean markdown?"),
    ],
)
def test_wrong_options_are_told_before_anything_runs(files: Path, arguments: list[str], message: str) -> None:
    result = run("no_such.yaml", "b.yaml", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_the_python_function_takes_reports_files_and_names(files: Path) -> None:
    one = fwdscope.inspect("a.yaml")
    (files / "saved.json").write_text(one.dumps())
    for before in (one, "a.yaml", files / "saved.json"):
        assert fwdscope.diff(before, "b.yaml").total("params").change == 208
    assert callable(fwdscope.diff)


def test_formats_are_those_that_render_knows() -> None:
    with pytest.raises(ValueError, match=", ".join(FORMATS)):
        render(compare(net("Linear(8)"), net("Linear(8)")), "html", DiffOptions())


# --- training steps --------------------------------------------------------------------------------------------------


def step_of(*layers: str, optimizer: str = "adamw") -> Report:
    lines = "".join(f"  - {layer}\n" for layer in layers)
    text = f"name: t\ninputs:\n  x: randn(2, 8)\nlayers:\n{lines}"
    settings = RunSettings(training=TrainingSettings(optimizer=optimizer))
    return inspect_spec(check(parse(Source("spec.yaml", text))), settings=settings)


def test_the_figures_of_training_steps_are_compared() -> None:
    compared = compare(step_of("a = Linear(8)", "b = Linear(4)"), step_of("a = Linear(8)", "Tanh", "b = Linear(4)"))
    # Either b needs its input, 2 · 8 numbers of 4 bytes, and tanh keeps its result, which is that input.
    assert compared.total("saved_activations").change == 0
    assert compared.total("peak_memory").before is None
    (added,) = compared.changes[:1]
    assert added.delta("saved_activations").change == 2 * 8 * 4
    # 1 for each result, and 3 in the backward: y · y, 1 − that, times the gradient.
    assert compared.total("train_flops").change == 16 + 3 * 16
    text = render(compared, "text", DiffOptions())
    assert "FLOPs of a training step" in text
    assert Condition.parse("train_memory > 1").met(compared)


def test_a_step_is_not_compared_with_a_forward_or_another_step_in_silence() -> None:
    one = step_of("a = Linear(8)")
    (note,) = compare(one, net("a = Linear(8)")).notes
    assert note == "only the first is of a training step; its forward is in training mode"
    assert compare(one, net("a = Linear(8)")).changes == ()
    (note,) = compare(one, step_of("a = Linear(8)", optimizer="sgd")).notes
    assert note == "the training steps differ: adamw and sum of a, then sgd and sum of a"


def test_diff_takes_the_options_of_a_training_step(tmp_path: Path) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text("vars: {d: 8}\ninputs: {x: 'randn(2, 8)'}\nlayers:\n  - a = Linear(d)\n")
    saved = tmp_path / "net.json"
    saved.write_text(fwdscope.inspect(spec, training={"optimizer": "sgd"}).dumps())
    ran = CliRunner().invoke(app, ["diff", str(saved), str(spec), "--training", "--optimizer", "sgd"])
    assert "nothing changed" in ran.output, ran.output
    ran = CliRunner().invoke(app, ["diff", str(spec), "--after", "d=9", "--fail-on", "train_memory > 1"])
    assert "has no train_memory; add --training" in ran.output, ran.output
    ran = CliRunner().invoke(app, ["diff", str(spec), "--after", "d=9", "--loss", "mse"])
    assert "--loss is of a training step: add --training" in ran.output


def test_steps_of_generation_are_compared(tmp_path: Path) -> None:
    text = "vars: {kv: 4}\ninputs:\n  x: randn(1, 1, 32)\nlayers:\n  - q = Linear(32)(x).unflatten(-1, (4, 8))\n"
    text += "  - k, v = Linear(16 * kv)(x).unflatten(-1, (kv, 16)).chunk(2, -1)\n"
    text += "  - q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)\n"
    (tmp_path / "a.yaml").write_text(f"{text}  - scaled_dot_product_attention(q, k, v, enable_gqa=True)\n")
    spec, saved = str(tmp_path / "a.yaml"), str(tmp_path / "a.json")
    run = CliRunner().invoke
    assert run(app, ["inspect", spec, "--past", "99", "-o", saved]).exit_code == 0
    for first in (spec, saved):
        ran = run(app, ["diff", first, spec, "--past", "99", "--after", "kv=2", "--format", "json"])
        # 99 positions of keys and values, 8 of float32 for each of 4 heads, then of 2.
        found = json.loads(ran.stdout)["totals"]["kv_cache"]
        assert (found["before"], found["after"]) == (99 * 2 * 8 * 4 * 4, 99 * 2 * 8 * 4 * 2), ran.output
