"""Whole reports, held against ``golden/``. To accept new ones, run with UPDATE_GOLDEN=1 and read the difference."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sample_reports
import sample_runs

from fwdscope.render import COLUMNS, Options, render

GOLDEN = Path(__file__).parent / "golden"
COSTS = ("layer", "flops", "read", "written", "intensity", "memory", "uncounted", "share")
VALUES = ("layer", "mean", "std", "min", "max", "zeros", "nans", "infs", "histogram", "bound", "roof")

REPORTS = {
    "resnet50": sample_reports.resnet50(),
    "gpt2": sample_reports.gpt2(),
    "mlp": sample_reports.mlp(),
    "troubled": sample_reports.troubled(),
    "mlp-not-counted": sample_reports.uncounted(sample_reports.mlp()),
    "resnet50-ran": sample_runs.ran(sample_reports.resnet50()),
    "resnet50-ran-without-times": sample_runs.ran(sample_reports.resnet50(), latency=False),
    "gpt2-overflown": sample_runs.overflown(),
    "deep": sample_runs.exploding(),
}

# What is drawn, at which width, with which options.
DRAWN = {
    "resnet50-80": ("resnet50", 80, Options()),
    "resnet50-100": ("resnet50", 100, Options(target="resnet50 --set B=1")),
    "resnet50-100-depth-3": ("resnet50", 100, Options(depth=3)),
    "resnet50-80-all-columns": ("resnet50", 80, Options(columns=tuple(COLUMNS))),
    "gpt2-60": ("gpt2", 60, Options()),
    "gpt2-80": ("gpt2", 80, Options()),
    "gpt2-160": ("gpt2", 160, Options(saved=True)),
    "gpt2-100-depth-1": ("gpt2", 100, Options(depth=1)),
    "mlp-80": ("mlp", 80, Options()),
    "mlp-140-columns": ("mlp", 140, Options(columns=("layer", "input", "output", "trainable"))),
    "resnet50-100-top": ("resnet50", 100, Options(top=8)),
    "resnet50-120-costs": ("resnet50", 120, Options(depth=1, columns=COSTS)),
    "gpt2-80-sorted-by-memory": ("gpt2", 80, Options(sort="memory", top=6)),
    "gpt2-140-sorted-by-params": ("gpt2", 140, Options(sort="params")),
    "mlp-80-not-counted": ("mlp-not-counted", 80, Options()),
    "troubled-100-costs": ("troubled", 100, Options(columns=COSTS)),
    "troubled-80": ("troubled", 80, Options()),
    "troubled-50": ("troubled", 50, Options()),
    "resnet50-ran-80": ("resnet50-ran", 80, Options()),
    "resnet50-ran-100": ("resnet50-ran", 100, Options(target="resnet50 --device cpu")),
    "resnet50-ran-140": ("resnet50-ran", 140, Options()),
    "resnet50-ran-100-by-zeros": ("resnet50-ran", 100, Options(sort="zeros", top=6)),
    "resnet50-ran-100-top": ("resnet50-ran", 100, Options(top=8)),
    "resnet50-ran-120-values": ("resnet50-ran", 120, Options(depth=1, columns=VALUES)),
    "resnet50-ran-without-times-100": ("resnet50-ran-without-times", 100, Options()),
    "gpt2-overflown-100": ("gpt2-overflown", 100, Options()),
    "gpt2-overflown-80-depth-1": ("gpt2-overflown", 80, Options(depth=1)),
    "deep-120": ("deep", 120, Options()),
    "troubled-80-depth-1": ("troubled", 80, Options(depth=1)),
}
WRITTEN = {
    f"{name}.{ending}": (name, form)
    for name in ("mlp", "gpt2", "troubled", "deep")
    for form, ending in (("table", "txt"), ("tree", "tree"), ("markdown", "md"), ("csv", "csv"))
}


def _hold(text: str, name: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8", newline="")
    assert text == path.read_bytes().decode()


@pytest.mark.core
@pytest.mark.parametrize("case", DRAWN)
def test_the_terminal_draws_as_it_did(case: str) -> None:
    name, width, options = DRAWN[case]
    _hold(render(REPORTS[name], "table", options._replace(width=width)), f"{case}.drawn")


@pytest.mark.core
@pytest.mark.parametrize("case", WRITTEN)
def test_every_format_writes_as_it_did(case: str) -> None:
    name, form = WRITTEN[case]
    _hold(render(REPORTS[name], form, Options()), case)


def test_every_golden_file_belongs_to_a_case() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"{case}.drawn" for case in DRAWN} | set(WRITTEN)
