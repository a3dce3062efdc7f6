"""What ``--show`` calls the dimensions of an output."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwdscope.inspection import inspect_target
from fwdscope.settings import RunSettings
from fwdscope.targets import Target

SPEC = """
vars: {B: 2, T: 5, d: 8, heads: 2}
inputs: {image: "randn(B, 3, 6, 7)", x: "randn(B, T, d)"}
blocks:
  Stem:
    - conv = Conv2d(4, 3, padding=1)
    - BatchNorm2d
  Attention:
    - q = Linear(d)                             -> (B, T, d)
    - h = q.unflatten(-1, (heads, -1)).transpose(1, 2)  -> (B, heads, T, _)
    - att = scaled_dot_product_attention(h, h, h)
    - prev.transpose(1, 2).flatten(2)
layers:
  - stem = Stem
  - act = relu(stem)
  - pool = AvgPool2d(2)
  - volume = Conv3d(2, 1)(act)
  - fc = Linear(9)(x)
  - attn = Attention()(x)
  - (pool, volume, fc, attn)
"""


@pytest.mark.parametrize(
    ("path", "down", "across", "label"),
    [
        ("stem.conv", "height (size 6)", "width (size 7)", "channel 0"),
        ("stem", "height (size 6)", "width (size 7)", "channel 0"),
        ("act", "height (size 6)", "width (size 7)", "channel 0"),
        ("act[1, :, 3]", "channel (size 4)", "width (size 7)", ""),
        ("pool", "height (size 3)", "width (size 3)", "channel 0"),
        ("volume", "height (size 6)", "width (size 7)", "depth 0"),
        ("fc", "dim 1 (size 5)", "feature (size 9)", ""),
        ("attn.q", "T (size 5)", "d (size 8)", ""),
        ("attn.h", "T (size 5)", "dim 3 (size 4)", "heads 0"),
        ("attn.weights", "query (size 5)", "key (size 5)", "head 0"),
        ("attn.weights[1]", "query (size 5)", "key (size 5)", "head 0"),
    ],
)
def test_dimensions_have_the_names_that_are_known(
    path: str, down: str, across: str, label: str, tmp_path: Path
) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(SPEC)
    settings = RunSettings(device="cpu", show=path, latency=False, stats=False)
    made = inspect_target(Target(str(file)), settings)[1]
    assert made is not None
    assert (made.down, made.across, made.panels[0].label) == (down, across, label)
    assert all((panel.scale is not None) == path.startswith("attn.weights") for panel in made.panels)
