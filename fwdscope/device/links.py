"""Links between devices, and the clusters that ``--on "H100x64 nvlink:8 ib:400G"`` means.

Each row of ``data/links.csv`` names its sources. A row of a link within a node names the devices that have it, how many
of them a node has, and the network between the nodes; the first row of a device is what is meant without a link.
"""

from __future__ import annotations

import csv
import difflib
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Literal, cast

from fwdscope.device.table import Accelerator, UnknownAcceleratorError, accelerators_in
from fwdscope.report import Report
from fwdscope.report.cluster import Cluster, Interconnect, Latencies, MeshEstimate
from fwdscope.report.mesh import MeshReport
from fwdscope.report.mesh_time import mesh_estimate
from fwdscope.report.throughput import dtype_of_products
from fwdscope.units import exact, plural


@dataclass(frozen=True)
class PublishedLink:
    """A row of the table."""

    link: Interconnect
    # What it is called in ``--on``; the first word is that of its family.
    words: tuple[str, ...]
    # The devices that have it, how many a node has, and the network between nodes; empty for a network.
    devices: tuple[str, ...]
    node: int
    network: str
    source: str
    caveats: str

    @property
    def is_network(self) -> bool:
        """Whether it links nodes rather than devices in a node."""
        return self.link.shape == "network"


class ClusterError(UnknownAcceleratorError):
    """A text that means no cluster; the message says what is known."""


@cache
def links() -> tuple[PublishedLink, ...]:
    """The whole table."""
    text = resources.files("fwdscope").joinpath("data", "links.csv").read_text(encoding="utf-8")
    return tuple(map(_published, csv.DictReader(text.splitlines())))


def _published(row: dict[str, str]) -> PublishedLink:
    def seconds(column: str) -> Latencies:
        return tuple(None if part == "-" else float(part) / 1e6 for part in row[column].split("|"))

    link = Interconnect(
        name=row["name"],
        bandwidth=float(row["GBps"]) * 1e9,
        shape=cast(Literal["switch", "mesh", "torus", "network"], row["shape"]),
        reached=float(row["reached"]),
        ring=seconds("ring_us"),
        tree=seconds("tree_us"),
        base=seconds("base_us"),
        in_switch=float(row["in_switch"]) if row["in_switch"] else None,
    )
    words, devices = (tuple(filter(None, row[column].split("|"))) for column in ("words", "devices"))
    return PublishedLink(link, words, devices, int(row["node"] or 0), row["network"], row["source"], row["caveats"])


_WORD = r"[a-z][a-z0-9-]*"
_LINK = re.compile(rf"\s+({_WORD})(?::(\S*))?$", re.IGNORECASE)
_RATE = re.compile(r"(\d+(?:\.\d+)?)(g|t|gb/s|gbps|gbit/s)?", re.IGNORECASE)
_EXAMPLE = 'as in "H100x64 nvlink:8 ib:400G"'


def cluster_of(text: str, ranks: int | None = None, part: bool = False) -> tuple[Accelerator, Cluster]:
    """The device and the cluster that a text means: ``H100x8``, ``H100x64 nvlink:8 ib:400G``.

    Without ×N there are as many devices as ``ranks``; with ``part`` these may be the first of more. Raises ClusterError
    or UnknownAcceleratorError.
    """
    rest, given = text.strip(), list[tuple[str, str | None]]()
    known = {word for row in links() for word in row.words}
    while (found := _LINK.search(rest)) and (found[2] is not None or found[1].lower() in known):
        given.insert(0, (found[1].lower(), found[2]))
        rest = rest[: found.start()]
    device, number = accelerators_in(rest)
    has_number = re.search(r"[x×*]\s*\d+$", rest) is not None and number > 1
    number = number if (has_number and not (part and ranks and ranks < number)) or ranks is None else ranks
    if ranks is not None and number != ranks:
        difference = f"the mesh has {plural(ranks, 'rank')}, and {plural(number, 'device')} are given"
        raise ClusterError(f"{difference}: write x{ranks}, or leave the number out")
    rows = [_row_of(word, device) for word, _ in given]
    if len(kinds := [row.is_network for row in rows]) > len(set(kinds)):
        raise ClusterError(f"write one link within a node and one network between nodes, {_EXAMPLE}")
    inner = next((row for row in rows if not row.is_network), None) or _usual(device)
    size = next((value for row, (_, value) in zip(rows, given, strict=True) if not row.is_network), None)
    network = next(((word, value) for row, (word, value) in zip(rows, given, strict=True) if row.is_network), None)
    if inner is None and network is None and number > 1:
        raise ClusterError(f"no link of {device.name} is known: write one, {_EXAMPLE}; {_known()}")
    node = _node_size(size, inner.node if inner is not None else 1)
    if not has_number and ranks is None and size is not None:
        number = node
    node = number if number < node and size is None else node
    if number % node:
        raise ClusterError(f"{plural(number, 'device')} do not divide into nodes of {exact(node)}")
    outer = None
    if number > node:
        word, _, usual = inner.network.partition(":") if inner is not None else ("", "", "")
        outer = _network(*(network or (word, usual)))
    return device, Cluster(device.name, number, node, inner.link if inner is not None and node > 1 else None, outer)


def _usual(device: Accelerator) -> PublishedLink | None:
    return next((row for row in links() if device.name in row.devices), None)


def _row_of(word: str, device: Accelerator) -> PublishedLink:
    """The row that a word means for a device: of NVLink its own generation."""
    rows = [row for row in links() if word in row.words]
    if not rows:
        words = [word for row in links() for word in row.words]
        near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
        did_you_mean = f"did you mean {near[0]}? " if near else ""
        raise ClusterError(f"there is no link {word!r}: {did_you_mean}{_known()}")
    mine = [row for row in rows if device.name in row.devices]
    if mine or word in ("pcie3", "pcie4", "pcie5") or rows[0].is_network:
        return (mine or rows)[0]
    has = _usual(device)
    which = f"it has {has.link.name}" if has is not None else "no link of it is known"
    raise ClusterError(f"{device.name} has no {word}: {which}; {_known()}")


def _known() -> str:
    families = {row.is_network: dict.fromkeys(one.words[0] for one in links() if one.is_network == row.is_network)
                for row in links()}  # fmt: skip
    return (
        f"within a node there are {', '.join(families[False])}, between nodes {', '.join(families[True])}; "
        "fwdscope devices --links lists them"
    )


def _node_size(value: str | None, otherwise: int) -> int:
    if value is None:
        return otherwise
    if not value.isdigit() or not 1 <= int(value) <= 10**6:
        raise ClusterError("write how many devices a node has behind the colon, as in nvlink:8")
    return int(value)


def _network(word: str, value: str | None) -> Interconnect:
    """The network of a rate: ``400G`` or ``ndr``; without one, the first of its kind."""
    rows = [row for row in links() if word in row.words]
    if not value:
        return rows[0].link
    named = [row for row in rows if value.lower() in row.words]
    if named:
        return named[0].link
    rate = _RATE.fullmatch(value)
    if rate is None or not float(rate[1]):
        raise ClusterError(f"write the bits a second of each device behind the colon, as in {word}:400G")
    bandwidth = float(rate[1]) * (1e12 if (rate[2] or "").lower() == "t" else 1e9) / 8
    closest = min(rows, key=lambda row: abs(row.link.bandwidth - bandwidth)).link
    if closest.bandwidth == bandwidth:
        return closest
    return replace(closest, name=f"{rows[0].link.name.split()[0]} {bandwidth * 8 / 1e9:g}G", bandwidth=bandwidth)


def mesh_estimates(report: Report, mesh: MeshReport, on: str, part: bool = False) -> tuple[MeshEstimate, ...]:
    """The times of a report's mesh on the clusters of ``--on H100x8,A100x8``, or with ``part`` on the first devices of
    each. Raises UnknownAcceleratorError.
    """
    dtype, found = dtype_of_products(report), []
    for text in on.split(","):
        device, cluster = cluster_of(text, mesh.ranks, part)
        try:
            found.append(mesh_estimate(report, mesh, cluster, device.peaks(dtype)))
        except ValueError as error:
            raise ClusterError(f"{error}: write one, {_EXAMPLE}") from None
    return tuple(found)
