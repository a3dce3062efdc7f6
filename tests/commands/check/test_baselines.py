"""Baselines: small files that diff well, and the differences of a network that changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_check import MLP, data, run, write

from fwdscope.commands.check.baselines import Baseline, Differences, compare
from fwdscope.commands.check.one import CheckSettings, check_source
from fwdscope.language.problems import Source
from fwdscope.report import ReportError

NET = """\
inputs:
  x: rand(2, 3, 8, 8)
blocks:
  Stage(width):
    - conv = Conv2d(width, 3, padding=1)
    - ReLU
layers:
  - stem = Conv2d(8, 3, padding=1)
  - body = 4 * Stage(8)
  - MaxPool2d(2)
  - head = Conv2d(4, 1)
"""


def baseline(text: str = NET) -> Baseline:
    result = check_source(Source("net.yaml", text), CheckSettings())
    assert result.kept is not None, result.outcome.problems
    return result.kept


def differences(text: str, tolerance: float = 0.0) -> list[str]:
    found = compare(baseline(), baseline(text), tolerance)
    return [str(row) for row in found.rows]


# --- the file --------------------------------------------------------------------------------------------------------


def test_a_file_loads_back_and_contains_nothing_about_the_machine() -> None:
    kept = baseline()
    text = kept.dumps()
    assert Baseline.loads(text).dumps() == text
    assert compare(Baseline.loads(text), kept) == Differences()
    for word in ("torch", "python", "platform", "seconds", '"line"'):
        assert word not in text


def test_a_layer_is_a_line_so_that_a_change_of_one_is_a_change_of_one_line() -> None:
    before, now = baseline().dumps().splitlines(), baseline(NET.replace("Conv2d(4, 1)", "ReLU")).dumps().splitlines()
    rows = [line for line in before if '"path"' in line]
    assert [json.loads(line.strip().rstrip(","))["path"] for line in rows[:2]] == ["stem", "body"]
    assert sum(a != b for a, b in zip(rows, [line for line in now if '"path"' in line], strict=True)) == 1


def test_a_layer_moved_down_a_line_changes_nothing() -> None:
    assert baseline("# a comment\n" + NET).dumps() == baseline().dumps()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "this is not JSON"),
        ("[]", "no baseline of fwdscope"),
        ('{"version": 1}', "no baseline of fwdscope"),
        ('{"version": 9, "convention": "", "layers": []}', "it has version 9; this fwdscope reads version 1"),
        ('{"version": 1, "convention": "", "layers": [{"path": 3}]}', "no baseline of fwdscope: KeyError"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_none_is_refused(text: str, words: str) -> None:
    with pytest.raises(ReportError, match=words):
        Baseline.loads(text)


# --- what differs ----------------------------------------------------------------------------------------------------


def test_of_nested_rows_that_differ_the_innermost_is_reported() -> None:
    # 8 · 8 · 9 + 8 and 8 · 8 · 25 + 8 parameters; · 2 · 64 places
    assert differences(NET.replace("width, 3, padding=1", "width, 5, padding=2")) == [
        "body.0.conv: params 584 → 1,608 (+175.3 %); macs 73,728 → 204,800 (+177.8 %)"
    ]


@pytest.mark.core
def test_a_layer_that_is_gone_is_placed_before_the_next_one() -> None:
    first, *_ = compare(baseline(), baseline(NET.replace("  - MaxPool2d(2)\n", ""))).rows
    assert str(first) == "maxpool2d (MaxPool2d) is gone, it was before head"
    assert (first.line, first.column) == (10, 12)


def test_the_last_layer_of_a_block_that_is_gone_is_placed_in_the_block() -> None:
    first, *_ = compare(baseline(), baseline(NET.replace("    - ReLU\n", ""))).rows
    assert str(first) == "body.0.relu (ReLU) is gone, it was after body.0.conv"
    assert first.line == 5


def test_a_block_that_is_new_or_gone_is_one_move() -> None:
    assert differences(NET.replace("  - head", "  - tail = Stage(8)\n  - head")) == ["tail (Stage) is new"]
    without = differences(NET.replace("  - body = 4 * Stage(8)\n", ""))
    assert "body (Stage) is gone, it was before maxpool2d" in without
    assert not any("body.0" in row for row in without)


def test_default_paths_that_an_insertion_moved_are_the_same_layers() -> None:
    text = NET.replace("  - body", "  - MaxPool2d(1)\n  - body")
    assert differences(text) == ["maxpool2d (MaxPool2d) is new"]


def test_a_deeper_stack_is_reported_by_its_number_of_copies() -> None:
    assert differences(NET.replace("4 * Stage", "5 * Stage")) == ["body.0: repeat 4 → 5"]


def test_another_type_at_the_same_path_is_a_difference() -> None:
    assert differences(NET.replace("head = Conv2d(4, 1)", "head = ConvTranspose2d(4, 1)"))[0].startswith(
        "head: type Conv2d → ConvTranspose2d"
    )


def test_costs_may_move_within_the_tolerance_and_parameters_may_not() -> None:
    wider = NET.replace("Conv2d(4, 1)", "Conv2d(4, 1, bias=False)")
    found = compare(baseline(), baseline(wider), tolerance=0.5)
    assert [one.what for row in found.rows for one in row.details] == ["params"]
    # A batch of 3 for 2: half as much again, and other shapes.
    batch = compare(baseline(), baseline(NET.replace("rand(2,", "rand(3,")), tolerance=0.5)
    assert {one.what for row in batch.rows for one in row.details} == {"output"}
    assert {change.what for change in batch.whole} == {"inputs", "outputs"}
    strict = compare(baseline(), baseline(NET.replace("rand(2,", "rand(3,")), tolerance=0.49)
    assert {"macs", "flops"} <= {change.what for change in strict.whole}


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_a_baseline_is_written_compared_and_updated() -> None:
    write("specs/a.yaml")
    missing = run("--baseline", "base")
    assert missing.exit_code == 1
    assert "there is no baseline base/specs/a.yaml.json" in missing.stdout
    assert "`--baseline base --update` writes it" in missing.stdout
    written = run("--baseline", "base", "--update")
    assert written.exit_code == 0
    assert "wrote 1 of 1 baselines in base" in written.stdout
    assert run("--baseline", "base").exit_code == 0
    write("specs/a.yaml", MLP.replace("fc1 = Linear(6) ", "fc1 = Linear(6, bias=False) ").replace("75", "69"))
    moved = run("--baseline", "base")
    assert moved.exit_code == 1
    assert "specs/a.yaml:5:11: error: differs from the baseline, first fc1: params 54 → 48 (-11.1 %)" in moved.stdout
    run("--baseline", "base", "--update")
    assert run("--baseline", "base").exit_code == 0


def test_an_update_leaves_files_alone_that_did_not_change() -> None:
    write("specs/a.yaml")
    write("specs/b.yaml")
    run("--baseline", "base", "--update")
    write("specs/b.yaml", MLP.replace("B: 4", "B: 5"))
    times = {path: path.stat().st_mtime_ns for path in Path("base").rglob("*.json")}
    assert "wrote 1 of 2 baselines" in run("--baseline", "base", "--update").stdout
    assert {path.name for path, time in times.items() if path.stat().st_mtime_ns != time} == {"b.yaml.json"}


def test_equal_names_do_not_meet_wherever_the_command_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    write("work/a/net.yaml")
    write("work/b/net.yaml", MLP.replace("B: 4", "B: 5"))
    write("work/b/net.yml", MLP.replace("B: 4", "B: 6"))
    write("net.yaml", MLP.replace("B: 4", "B: 7"))
    targets = ("work", "net.yaml")
    assert run(*targets, "--baseline", "work/base", "--update").exit_code == 0
    assert len(list(Path("work/base").rglob("*.json"))) == 4
    assert run(*targets, "--baseline", "work/base").exit_code == 0
    monkeypatch.chdir("work")
    assert run("a", "b", "../net.yaml", "--baseline", "base").exit_code == 0


def test_a_baseline_of_a_missing_spec_is_noted() -> None:
    write("specs/a.yaml")
    write("specs/b.yaml")
    run("--baseline", "base", "--update")
    Path("specs/b.yaml").unlink()
    result = run("--baseline", "base")
    assert result.exit_code == 0
    assert "base/specs/b.yaml.json is the baseline of a spec that is gone: delete it" in result.stdout


def test_a_spec_with_mistakes_writes_no_baseline_and_one_that_falls_short_does() -> None:
    write("a.yaml", MLP.replace("ReLU", "Relux"))
    write("b.yaml", MLP.replace("75", "74"))
    assert run("a.yaml", "b.yaml", "--baseline", "base", "--update").exit_code == 2
    assert [path.name for path in Path("base").rglob("*.json")] == ["b.yaml.json"]


@pytest.mark.parametrize("text", ["{}", "\ufffe", '{"version": 1}'])
def test_a_file_that_is_no_baseline_is_wrong_input_with_a_way_out(text: str) -> None:
    write("a.yaml")
    write("base/a.yaml.json", text)
    (problem,) = data("a.yaml", "--baseline", "base")["specs"][0]["problems"]
    assert "cannot be read" in problem["message"]
    assert problem["detail"] == ["help: `--baseline base --update` writes it"]
    assert run("a.yaml", "--baseline", "base").exit_code == 2


@pytest.mark.parametrize(("old", "place"), [('"type": "Linear"', "fc1, type"), ('"dtype": "float32"', "dtype")])
def test_a_field_of_another_type_is_named(old: str, place: str) -> None:
    write("a.yaml")
    run("a.yaml", "--baseline", "base", "--update")
    file = Path("base/a.yaml.json")
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, old.partition(" ")[0] + " 3"))
    assert f"{place}: expected text, found 3" in run("a.yaml", "--baseline", "base").stdout


def test_another_convention_is_one_problem_rather_than_one_a_layer() -> None:
    write("a.yaml")
    run("a.yaml", "--baseline", "base", "--update")
    file = Path("base/a.yaml.json")
    file.write_text(file.read_text().replace("bias excluded", "bias included"))
    result = run("a.yaml", "--baseline", "base")
    assert result.exit_code == 1
    assert "counts by another convention" in result.stdout


def test_a_folder_that_cannot_be_written_is_an_error_of_the_input() -> None:
    write("a.yaml")
    write("base/a.yaml.json/inside", "")
    result = run("a.yaml", "--baseline", "base")
    assert result.exit_code == 2
    assert "--baseline base" in result.stderr


def test_the_baseline_of_a_shipped_spec_has_the_same_path_on_every_machine() -> None:
    assert run("mlp_xor", "--baseline", "b", "--update").exit_code == 0
    assert [file.as_posix() for file in Path("b").rglob("*.json")] == ["b/__shipped__/mlp_xor.yaml.json"]
    held = run("mlp_xor", "--baseline", "b")
    assert (held.exit_code, "gone" in held.stdout) == (0, False)
    Path("b/__shipped__/mlp_xor.yaml.json").rename("b/__shipped__/no_such.yaml.json")
    assert "no_such.yaml.json is the baseline of a spec that is gone" in run("mlp_xor", "--baseline", "b").stdout


def test_the_figures_of_an_expected_training_step_are_kept_and_compared() -> None:
    text = NET + "expect:\n  train_memory: <= 1 MiB\n"
    kept = baseline(text)
    assert set(kept.step_figures) <= set(kept.to_json()["totals"])
    assert Baseline.loads(kept.dumps()).dumps() == kept.dumps()
    # SGD keeps nothing, AdamW two numbers a parameter and the number of steps a tensor.
    params, tensors = kept.to_json()["totals"]["params"], 2 * 6
    other = text.replace("expect:", "expect:\n  training: {optimizer: sgd}")
    (memory, flops) = compare(kept, baseline(other)).whole
    before, after = (int(one.replace(",", "")) for one in (memory.before, memory.now))
    assert (memory.what, flops.what) == ("train_memory", "train_flops")
    assert before - after >= 4 * (2 * params + tensors)
    assert str(compare(kept, baseline()).whole[0]).endswith("→ none")
