"""Saved reports and baselines that were changed by hand or broken: a command shows them, or says what is wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reports_of_runs import report as report_of_run
from typer.testing import CliRunner, Result

import fwdscope
from fwdscope.cli import app
from fwdscope.commands.check.baselines import Baseline
from fwdscope.device.table import accelerators_of
from fwdscope.report import ActivationStats, Histogram, NonFinite, Promise, Report, ReportError, Shortfall, TensorInfo
from fwdscope.report.roofline import estimate

SPEC = "inputs:\n  x: randn(2, 4)\nlayers:\n  - linear = Linear(3)\n"
FORMATS = ("table", "tree", "json", "csv", "markdown", "graph", "dot", "mermaid", "model-explorer")
# A number for a number, a text for a text: most of what else could stand there is refused by its type.
NUMBERS = (0, 1, -1, 3, 10**6, 10**17, 10**30, 10**31, 10**400, 0.5, -2.5, 5e-324, 1e300, -1e300, float("inf"),
           float("nan"))  # fmt: skip
TEXTS = ("", "cpu", "Linear", "relu", "float16", "a.b", "\x1b[31m", "\ud800", "é" * 300)
ANYTHING = (None, True, [], {}, [[]], [-1], [1.5], ["a"], {"a": 1}, "1", 0, [None, 1])


def _full() -> dict[str, Any]:
    """A report with something in every field that holds numbers."""
    stats = ActivationStats(8, 0.5, 1.5, -1.0, 2.0, 1, 0, 0, Histogram(-1.0, 2.0, (4, 4)))
    first = NonFinite("stem", "log(x)", 3, 1, 1, (stats,))
    report = report_of_run([0.01, 0.011, 0.012])
    devices = accelerators_of(["H100", "T4"])
    report = replace(report, estimates=tuple(estimate(report, device.peaks("float32")) for device in devices))
    data = report.to_json()
    data["strips"] = [{"name": "x", "row": 0, "kind": "maps", "shape": [1, 1, 1, 2], "height": 1, "width": 2}]
    data["strips"][0] |= {"panels": ["AP8="], "numbers": [0], "low": -1.0, "high": 2.0, "zeros": 0.5}
    element = {"tensor": "x", "index": [0], "value": 2.0, "kind": "input", "output": 1}
    parts: list[Any] = [{"title": "", "columns": ["x"], "rows": [{"cells": [element, 1.0, "", None], "kind": "rest"}]}]
    grid = {"tensor": "x", "kind": "other", "output": 0, "before": [0], "rows": [[1.0, None]], "down": [0]}
    parts += [{"grids": [grid | {"across": [0, None], "marked": [0, 1]}], "results": [{"name": "sum", "value": 1.0}]}]
    parts += [{"name": "", "symbols": "x", "numbers": "2", "value": 2.0, "operands": [element], "note": ""}]
    step = {"operator": "add", "element": element, "sentence": "", "parts": parts}
    data["strips"][0]["values"] = [{"cell": 0, "element": element, "steps": [step], "notes": [""]}]
    data["run"] |= {
        "first_nonfinite": _json(first),
        "peak_memory": 4096,
        "peaks": _json(report.run and report.run.peaks),
    }
    data["shortfalls"] = [_json(Shortfall("params", "1", "2", 3, 4))]
    for row in data["layers"]:
        row |= {"stats": _json(stats), "copy_stds": [1.0, 2.0], "input_shapes": [[8, 16]], "output_shapes": [[8, 4]]}
        row |= {"output_dtypes": ["float32"], "receptive_field": [3, 3], "sources": [0], "params": 64, "line": 3}
        row |= {"promise": _json(Promise("(B, 4)", False, "(8, 4)")), "output_bytes": 128}
        row["parameters"] = [_json(TensorInfo("weight", (16, 4), "float32"))]
    return data


def _json(value: Any) -> Any:
    from fwdscope.report.report import _plain

    return _plain(value)


FULL = _full()


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


def _mutations(data: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The data with one to three places changed, removed or doubled."""

    @st.composite
    def mutated(draw: st.DrawFn) -> dict[str, Any]:
        changed = copy.deepcopy(data)
        for _ in range(draw(st.integers(1, 3))):
            *path, last = draw(st.sampled_from(list(_places(changed)) or [("version",)]))
            around = changed
            for key in path:
                around = around[key]
            old = around[last] if last in around or isinstance(around, list) else None
            like = NUMBERS if isinstance(old, int | float) else TEXTS if isinstance(old, str) else ANYTHING
            change = draw(st.sampled_from(["like", "like", "like", "other", "remove", "double"]))
            if change == "remove":
                del around[last]
            elif change == "double" and isinstance(around, list):
                around.append(copy.deepcopy(around[last]))
            else:
                around[last] = copy.deepcopy(draw(st.sampled_from(like if change == "like" else ANYTHING)))
        return changed

    return mutated()


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mutated")
    (path / "net.yaml").write_text(SPEC)
    (path / "good.json").write_text(json.dumps(FULL))
    (path / "base").mkdir()
    return path


def test_the_report_that_is_mutated_is_one(folder: Path) -> None:
    assert Report.loads((folder / "good.json").read_text()).run is not None
    for form in FORMATS:
        assert _run("inspect", str(folder / "good.json"), "--format", form).exit_code == 0


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=_mutations(FULL),
    form=st.sampled_from(FORMATS),
    more=st.sampled_from([[], ["--sort", "latency"], ["--on", "T4"]]),
)
def test_any_mutation_of_a_report_is_shown_or_refused(folder: Path, data: Any, form: str, more: list[str]) -> None:
    file = folder / "m.json"
    file.write_text(json.dumps(data))
    result = _run("inspect", str(file), "--format", form, *more)
    assert result.exit_code in (0, 1, 2), (result.exception, result.stderr)
    result = _run("inspect", str(file), "--show", "all")
    assert result.exit_code in (0, 2), (result.exception, result.stderr)
    result = _run("diff", str(file), str(folder / "good.json"))
    assert result.exit_code in (0, 1, 2), (result.exception, result.stderr)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_mutation_of_a_baseline_is_compared_or_refused(folder: Path, data: st.DataObject) -> None:
    spec, file = folder / "net.yaml", folder / "base" / "net.yaml.json"
    if not file.exists():
        assert _run("check", str(spec), "--baseline", str(folder / "base"), "--update").exit_code == 0
        (folder / "written.json").write_text(file.read_text())
    kept = json.loads((folder / "written.json").read_text())
    file.write_text(json.dumps(data.draw(_mutations(kept))))
    result = _run("check", str(spec), "--baseline", str(folder / "base"))
    assert result.exit_code in (0, 1, 2), (result.exception, result.stdout)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        # 10^400 fits no float; Infinity, NaN and 1e400 are what Python's JSON makes of such texts.
        (("totals", "params"), 10**400, "report.totals.params: expected 0 to 1e+30, found 1000"),
        (("totals", "macs"), -1, "report.totals.macs: expected 0 to 1e+30, found -1"),
        (("run", "layers_latency"), float("inf"), "report.run.layers_latency: expected 0 to 1e+30, found inf"),
        (("run", "latency", "median"), 0, "report.run.latency.median: expected 1e-30 to 1e+30, found 0"),
        (("run", "latency", "times"), [], "report.run.latency.times: expected at least one time"),
        (("run", "peaks", "bandwidth"), 5e-324, "report.run.peaks.bandwidth: expected 0 to 1e+30, found 5e-324"),
        (("estimates", 0, "peaks", "memory"), 0, "report.estimates[0].peaks.memory: expected 1 to 1e+30, found 0"),
        (("layers", 0, "stats", "mean"), float("nan"), "report.layers[0].stats.mean: expected -1.79769e+308 to 1"),
        (("layers", 0, "depth"), 10**17, "report.layers[0].depth: expected 1 to 1, found 1"),
        (("layers", 2, "output_shapes"), [[-8, 4]], "report.layers[2].output_shapes[0][0]: expected 0 to 1e+30"),
        (("name",), "\ud800", "report.name: expected text, found half of a character"),
    ],
)
def test_a_number_out_of_bounds_is_named_with_its_place(path: tuple[Any, ...], value: Any, message: str) -> None:
    data = copy.deepcopy(FULL)
    around: Any = data
    for key in path[:-1]:
        around = around[key]
    around[path[-1]] = value
    with pytest.raises(ReportError) as caught:
        Report.loads(json.dumps(data))
    assert str(caught.value).startswith(message)


def test_copies_inside_copies_without_bound_are_refused() -> None:
    data = copy.deepcopy(FULL)
    data["layers"] = [{"path": "a", "type": "b", "kind": "copies", "depth": n, "repeat": 10**20} for n in (1, 2)]
    with pytest.raises(ValueError, match=r"layers\[1\].repeat: expected at most 1e\+30 copies"):
        Report.loads(json.dumps(data))


@pytest.mark.parametrize("text", ['{"version": 1' + "0" * 5000 + "}", "[" * 100_000, "\ufeff{}", "NaN", "1e400"])
def test_a_text_that_no_report_has_is_refused(text: str) -> None:
    for loads in (Report.loads, Baseline.loads):
        with pytest.raises(ValueError, match=r"JSON|report|baseline"):
            loads(text)


def test_a_baseline_with_half_a_character_is_refused() -> None:
    data = Baseline.of(fwdscope.inspect("mlp_xor", device="meta")).to_json() | {"dtype": "\ud800"}
    with pytest.raises(ReportError, match="it holds half of a character"):
        Baseline.loads(json.dumps(data))


def test_a_report_behind_positions_that_kept_nothing_is_shown(folder: Path) -> None:
    (folder / "past.json").write_text(json.dumps(FULL | {"past": 8}))
    result = _run("inspect", str(folder / "past.json"), "--format", "tree")
    assert (result.exit_code, "KV cache" in result.stdout) == (0, False)
