"""The table of devices."""

from __future__ import annotations

import json
import re

import pytest

from fwdscope.device.links import links
from fwdscope.device.local import LocalDevice
from fwdscope.device.table import accelerators
from fwdscope.render.devices import (
    draw_links,
    draw_local,
    draw_published,
    links_as_json,
    local_as_json,
    published_as_json,
)
from fwdscope.report import Peaks

GIB = 1024**3
CPU = LocalDevice("cpu", "AMD EPYC 9654", 64 * GIB, 60 * GIB)
GPU = LocalDevice("cuda:0", "NVIDIA H100 80GB HBM3", 79 * GIB, None)
SLOW = [
    Peaks("AMD EPYC 9654", "float32", 237.8e9, 47.3e9, 64 * GIB, "measured"),
    Peaks("AMD EPYC 9654", "bfloat16", 1036.9e9, 47.3e9, 64 * GIB, "measured"),
    Peaks("AMD EPYC 9654", "float16", None, 47.3e9, 64 * GIB, "measured"),
]
FAST = [
    Peaks("H100 SXM 80GB", "float32", 67e12, 3.35e12, 79 * GIB, "table", 494.5e12),
    Peaks("H100 SXM 80GB", "bfloat16", 989.4e12, 3.35e12, 79 * GIB, "table"),
    Peaks("H100 SXM 80GB", "float16", 989.4e12, 3.35e12, 79 * GIB, "table"),
]


@pytest.mark.core
def test_the_devices_here_with_their_memory_and_peaks_in_one_unit() -> None:
    assert draw_local([(CPU, SLOW), (GPU, FAST)], 120, False).splitlines() == [
        "device  name                     memory      free  float32  bfloat16   float16  bandwidth  peaks",
        "────────────────────────────────────────────────────────────────────────────────────────────────────",
        "cpu     AMD EPYC 9654          64.0 GiB  60.0 GiB   0.24 T    1.04 T         —  47.3 GB/s  measured",
        "cuda:0  NVIDIA H100 80GB HBM3  79.0 GiB         —  67.00 T  989.40 T  989.40 T  3.35 TB/s  published",
        "FLOP/s of matrix products, by dtype",
        "float32 convolutions use TF32, whose peak is higher",
    ]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_tables_stay_within_the_width(width: int) -> None:
    for text in (
        draw_local([(CPU, SLOW), (GPU, FAST)], width, False),
        draw_published(accelerators(), width, False),
        draw_links(links(), width, False),
    ):
        assert max(map(len, text.splitlines())) <= width


def test_narrow_tables_leave_out_the_least_important_columns() -> None:
    titles = draw_published(accelerators(), 80, False).splitlines()[0].split()
    assert titles == ["device", "float32", "tf32", "bfloat16", "float16", "memory", "GB/s"]
    assert draw_published(accelerators(), 140, False).splitlines()[0].split()[1:7] == [
        "float32",
        "tf32",
        "bfloat16",
        "float16",
        "float8",
        "int8",
    ]


def test_unknown_figures_are_a_dash() -> None:
    t4 = next(one for one in accelerators() if one.name == "T4")
    row = draw_published([t4], 140, False).splitlines()[2].split()
    # float32, tf32, bfloat16, float16, float8, int8
    assert row == ["T4", "8.1", "—", "—", "65.0", "—", "130.0", "16", "GB", "320", "—", "—"]


def test_colour_changes_no_letter() -> None:
    plain = draw_local([(CPU, SLOW)], 100, False)
    assert re.sub(r"\x1b\[[0-9;]*m", "", draw_local([(CPU, SLOW)], 100, True)) == plain


def test_json_has_bytes_and_flops() -> None:
    (cpu,) = json.loads(local_as_json([(CPU, SLOW)]))["devices"]
    assert (cpu["device"], cpu["memory"], cpu["free"]) == ("cpu", 64 * GIB, 60 * GIB)
    assert [peak["flops"] for peak in cpu["peaks"]] == [237.8e9, 1036.9e9, None]
    known = json.loads(published_as_json(accelerators()))["accelerators"]
    assert len(known) == len(accelerators())
    assert all(one["source"] and one["primary_source"] for one in known)


def test_links_have_their_bandwidth_each_way_and_their_sources() -> None:
    text = draw_links(links(), 140, False)
    # 18 links of 25 GB/s; 400 Gb/s are 50 GB/s.
    assert re.search(r"^NVLink 4 +nvlink +450 +in all +82 % +0.6 +8 +H100 SXM 80GB", text, re.M)
    assert re.search(r"^InfiniBand NDR +ib +50 ", text, re.M)
    assert all(one["source"] for one in json.loads(links_as_json(links()))["links"])
