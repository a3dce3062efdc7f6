"""Devices as a table: those of this computer, and those with published figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render.estimates import SOURCES, byte_rate, sold
from fwdscope.render.lines import write
from fwdscope.render.rows import UNKNOWN
from fwdscope.render.table import Column, lay_out
from fwdscope.report import Peaks

if TYPE_CHECKING:
    from fwdscope.device.links import PublishedLink
    from fwdscope.device.local import LocalDevice
    from fwdscope.device.table import Accelerator

    # A local device with its peaks for each dtype, from one source.
    Measured = tuple[LocalDevice, Sequence[Peaks]]


def draw_local(found: Sequence[Measured], width: int, color: bool) -> str:
    """The devices of this computer with their memory and peaks."""
    dtypes = list(dict.fromkeys(one.dtype for _, peaks in found for one in peaks))
    rates = [[next((p.flops for p in peaks if p.dtype == dtype), None) for dtype in dtypes] for _, peaks in found]
    cells = iter(_shared([rate for row in rates for rate in row]))
    by_row = [[next(cells) for _ in dtypes] for _ in found]
    bandwidths = [next((peak.bandwidth for peak in peaks if peak.bandwidth), None) for _, peaks in found]
    sources = [", ".join(dict.fromkeys(SOURCES[peak.source] for peak in peaks)) for _, peaks in found]
    columns = (
        Column("device", tuple(one.device for one, _ in found)),
        Column("name", tuple(printable(one.name) for one, _ in found)),
        Column("memory", tuple(_bytes(one.memory) for one, _ in found), right=True),
        Column("free", tuple(_bytes(one.free) for one, _ in found), right=True),
        *(
            # The first dtype is never left out.
            Column(dtype, tuple(row[at] for row in by_row), right=True, drop=(0, 1, 4)[min(at, 2)])
            for at, dtype in enumerate(dtypes)
        ),
        Column("bandwidth", [byte_rate(rate) if rate else UNKNOWN for rate in bandwidths], right=True, drop=2),
        Column("peaks", sources, drop=3),
    )
    notes = ["FLOP/s of matrix products, by dtype"]
    if any(peak.convolution_flops for one, peaks in found for peak in peaks if one.kind != "cpu"):
        notes.append("float32 convolutions use TF32, whose peak is higher")
    faster = [peak for one, peaks in found for peak in peaks if one.kind == "cpu" and peak.convolution_flops]
    if faster:
        texts = (f"{units.measure(peak.convolution_flops or 0.0, 'FLOP/s')} in {peak.dtype}" for peak in faster)
        notes.append(f"convolutions on the cpu are faster: {', '.join(texts)}")
    return write([*lay_out(columns, width).lines(), *[((note, "dim"),) for note in notes]], color)


def _shared(rates: Sequence[float | None]) -> list[str]:
    texts = iter(units.shared_counts([round(rate) for rate in rates if rate]))
    return [next(texts) if rate else UNKNOWN for rate in rates]


def _bytes(size: int | None) -> str:
    return UNKNOWN if size is None else units.byte_size(size)


def local_as_json(found: Sequence[Measured]) -> str:
    """The same as data, in bytes, FLOP/s and bytes a second."""
    every = [{**asdict(one), "peaks": [asdict(peak) for peak in peaks]} for one, peaks in found]
    return json.dumps({"devices": every}, indent=2, ensure_ascii=False)


# The dtypes whose peaks are published; where room is short, those with the highest number are left out first.
_DROPS = {"float32": 0, "tf32": 3, "bfloat16": 0, "float16": 2, "float8": 4, "int8": 5}


def draw_published(found: Sequence[Accelerator], width: int, color: bool) -> str:
    """The table of published figures."""
    rates = {name: [getattr(one, name) for one in found] for name in _DROPS}
    teras = {name: [UNKNOWN if one is None else f"{one / 1e12:,.1f}" for one in rates[name]] for name in rates}
    peaks = [one.peaks("bfloat16") for one in found]
    reached = {
        "bf16 reached": [one.achieved_flops for one in peaks],
        "GB/s reached": [one.achieved_bandwidth for one in peaks],
    }
    columns = (
        Column("device", tuple(one.name for one in found)),
        *(Column(name, teras[name], right=True, drop=drop) for name, drop in _DROPS.items()),
        Column("memory", tuple(sold(one.memory) if one.memory else UNKNOWN for one in found), right=True),
        Column("GB/s", tuple(f"{one.bandwidth / 1e9:,.0f}" for one in found), right=True),
        *(
            Column(title, tuple(f"{100 * one:.0f} %" if one else UNKNOWN for one in shares), right=True, drop=6)
            for title, shares in reached.items()
        ),
    )
    notes = (
        "TFLOP/s of dense matrix products, by dtype; in brackets the GPU cores of Apple's",
        *(("reached: the share of the peak that was measured and published",) if width >= 120 else ()),
        "sources and caveats: fwdscope devices --all --json",
    )
    return write([*lay_out(columns, width).lines(), *[((note, "dim"),) for note in notes]], color)


def published_as_json(found: Sequence[Accelerator]) -> str:
    """The same as data, with the sources, in bytes, FLOP/s and bytes a second."""
    every: list[dict[str, Any]] = [asdict(one) for one in found]
    return json.dumps({"accelerators": every}, indent=2, ensure_ascii=False)


# What a link's bandwidth is one of, by its shape.
_SHAPES = {"switch": "in all", "mesh": "to each", "torus": "a link", "network": "in all"}


def draw_links(found: Sequence[PublishedLink], width: int, color: bool) -> str:
    """The table of links: those within a node, then networks."""
    links = [one.link for one in found]
    latencies = [f"{1e6 * next(time for time in one.ring if time is not None):g}" for one in links]
    having = [", ".join([*one.devices[:2], *["…"] * (len(one.devices) > 2)]) for one in found]
    columns = (
        Column("link", tuple(one.name for one in links)),
        Column("--on", tuple(one.words[0] for one in found)),
        Column("GB/s each way", tuple(f"{one.bandwidth / 1e9:g}" for one in links), right=True),
        Column("of a device", tuple(_SHAPES[one.shape] for one in links), drop=2),
        Column("reached", tuple(f"{100 * one.reached:.0f} %" for one in links), right=True, drop=1),
        Column("µs a step", latencies, right=True, drop=1),
        Column("a node", tuple(f"{one.node:,}" if one.node else "" for one in found), right=True),
        Column("devices", having, drop=3),
    )
    notes = (
        "reached: the share that collectives reach; µs a step: of the fastest protocol",
        "sources and caveats: fwdscope devices --links --json",
    )
    return write([*lay_out(columns, width).lines(), *[((note, "dim"),) for note in notes]], color)


def links_as_json(found: Sequence[PublishedLink]) -> str:
    """The same as data, with the sources, in bytes a second and seconds."""
    return json.dumps({"links": [asdict(one) for one in found]}, indent=2, ensure_ascii=False)
