"""The small modules that counters miscount, as the README's table has them. The benchmark peers.py asks the others."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from paths import ROOT, TESTS

import fwdscope

sys.path.insert(0, str(TESTS / "benchmarks"))

from small_modules import MODULES


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_small_module_has_its_right_counts_and_its_row(module: Any, device: str) -> None:
    if device == "meta" and "experts" in module.name:
        pytest.skip("which expert a token goes to is decided by the data")
    with torch.device(device):
        found = fwdscope.inspect(module.make().eval(), *module.example())
    assert (found.totals.macs, found.totals.params, found.uncounted) == (module.macs, module.params, ())
    row = f"| {module.name} | {module.derivation} = {module.macs:,} | {module.params:,} | ✓ |"
    assert row in (ROOT / "README.md").read_text(encoding="utf-8")
