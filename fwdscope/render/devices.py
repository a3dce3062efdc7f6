"""Devices as a table: those that are here, and those of which figures are published."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fwdscope import units
from fwdscope.render.estimates import byte_rate, sold
from fwdscope.render.lines import Line, write
from fwdscope.render.rows import UNKNOWN, printable
from fwdscope.render.table import Column, lay_out
from fwdscope.report import Peaks

if TYPE_CHECKING:
    from fwdscope.device.local import LocalDevice
    from fwdscope.device.table import Accelerator

    # A device here with its roofs, at one dtype after another, from one source.
    Measured = tuple[LocalDevice, Sequence[Peaks]]


def draw_local(found: Sequence[Measured], width: int, color: bool) -> str:
    """The devices here: what they are, their memory, and their roofs."""
    return write(_local(found, width), color)


def _local(found: Sequence[Measured], width: int) -> Iterator[Line]:
    dtypes = list(dict.fromkeys(one.dtype for _, roofs in found for one in roofs))
    rates = [[next((p.flops for p in roofs if p.dtype == dtype), None) for dtype in dtypes] for _, roofs in found]
    cells = iter(_shared([rate for row in rates for rate in row]))
    by_row = [[next(cells) for _ in dtypes] for _ in found]
    columns = (
        Column("device", tuple(one.device for one, _ in found)),
        Column("name", tuple(printable(one.name) for one, _ in found)),
        Column("memory", tuple(_bytes(one.memory) for one, _ in found), right=True),
        Column("free", tuple(_bytes(one.free) for one, _ in found), right=True),
        *(
            # What a program computes in most often stays.
            Column(dtype, tuple(row[at] for row in by_row), right=True, drop=(0, 1, 4)[min(at, 2)])
            for at, dtype in enumerate(dtypes)
        ),
        Column("bandwidth", tuple(_bandwidth(roofs) for _, roofs in found), right=True, drop=2),
        Column("peaks", tuple(_source(roofs) for _, roofs in found), drop=3),
    )
    yield from lay_out(columns, width).lines()
    yield (("at a dtype: FLOP/s of matrix products", "dim"),)
    if any(roof.convolution_flops for one, roofs in found for roof in roofs if one.kind != "cpu"):
        yield (("float32 convolutions run in TF32 and have a higher roof", "dim"),)
    faster = [roof for one, roofs in found for roof in roofs if one.kind == "cpu" and roof.convolution_flops]
    if faster:
        said = ", ".join(f"{units.measure(roof.convolution_flops or 0.0, 'FLOP/s')} in {roof.dtype}" for roof in faster)
        yield ((f"convolutions on the cpu are faster: {said}", "dim"),)


def _shared(rates: Sequence[float | None]) -> list[str]:
    texts = iter(units.shared_counts([round(rate) for rate in rates if rate]))
    return [next(texts) if rate else UNKNOWN for rate in rates]


def _bytes(size: int | None) -> str:
    return UNKNOWN if size is None else units.byte_size(size)


def _bandwidth(roofs: Sequence[Peaks]) -> str:
    known = next((one.bandwidth for one in roofs if one.bandwidth), None)
    return byte_rate(known) if known else UNKNOWN


def _source(roofs: Sequence[Peaks]) -> str:
    words = {"table": "published", "measured": "measured"}
    return ", ".join(dict.fromkeys(words[one.source] for one in roofs))


def local_as_json(found: Sequence[Measured]) -> str:
    """The same as data, in bytes, FLOP/s and bytes a second."""
    every = [{**asdict(one), "peaks": [asdict(roof) for roof in roofs]} for one, roofs in found]
    return json.dumps({"devices": every}, indent=2, ensure_ascii=False)


# --- published figures -----------------------------------------------------------------------------------------------

_RATES = (("float32", 0), ("tf32", 3), ("bfloat16", 0), ("float16", 2), ("float8", 4), ("int8", 5))


def draw_published(found: Sequence[Accelerator], width: int, color: bool) -> str:
    """The table of published figures."""
    return write(_published(found, width), color)


def _published(found: Sequence[Accelerator], width: int) -> Iterator[Line]:
    columns = (
        Column("device", tuple(one.name for one in found)),
        *(
            Column(name, tuple(_tera(getattr(one, name)) for one in found), right=True, drop=order)
            for name, order in _RATES
        ),
        Column("memory", tuple(sold(one.memory) if one.memory else UNKNOWN for one in found), right=True),
        Column("bandwidth", tuple(f"{text}B/s" for text in _shared([one.bandwidth for one in found])), right=True),
    )
    yield from lay_out(columns, width).lines()
    yield (("at a dtype: FLOP/s of dense matrix products; of Apple's in brackets the cores", "dim"),)
    yield (("sources and caveats of each: fwdscope devices --all --json", "dim"),)


def _tera(rate: float | None) -> str:
    return UNKNOWN if rate is None else f"{rate / 1e12:,.1f} T"


def published_as_json(found: Sequence[Accelerator]) -> str:
    """The same as data, with the sources, in bytes, FLOP/s and bytes a second."""
    every: list[dict[str, Any]] = [asdict(one) for one in found]
    return json.dumps({"accelerators": every}, indent=2, ensure_ascii=False)
