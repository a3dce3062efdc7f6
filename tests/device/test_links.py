"""Published links, and what ``--on "H100x64 nvlink:8 ib:400G"`` means."""

from __future__ import annotations

import pytest

from fwdscope.device.links import cluster_of, links
from fwdscope.device.table import UnknownAcceleratorError, accelerators


def test_every_link_has_its_sources_and_links_devices_of_the_table() -> None:
    names = {one.name for one in accelerators()}
    assert len(links()) == len({row.link.name for row in links()}) >= 30
    for row in links():
        assert row.source, row.link.name
        assert row.link.bandwidth >= 1e9, row.link.name
        assert 0 < row.link.reached <= 1, row.link.name
        assert len(row.link.ring) == len(row.link.tree) == len(row.link.base) == 3, row.link.name
        assert row.is_network == (not row.devices) == (not row.node), row.link.name
        assert set(row.devices) <= names, row.link.name
        if row.network:
            outer = cluster_of(f"{row.devices[0]}x{2 * row.node} {row.words[-1]} {row.network}")[1].outer
            assert outer is not None, row.link.name
            assert outer.shape == "network", row.link.name


# Bytes a second each way of one device, of the makers' data sheets: NVLink 18 · 25 GB/s, InfiniBand 400 Gb/s / 8.
@pytest.mark.parametrize(
    ("text", "number", "node", "inner", "outer"),
    [
        ("H100x8", 8, 8, ("NVLink 4", 450e9), None),
        ("H100x4", 4, 4, ("NVLink 4", 450e9), None),
        ("H100x64 nvlink:8 ib:400G", 64, 8, ("NVLink 4", 450e9), ("InfiniBand NDR", 50e9)),
        ("H100x64", 64, 8, ("NVLink 4", 450e9), ("InfiniBand NDR", 50e9)),
        ("H100 SXM × 16 nvlink:4 roce:200G", 16, 4, ("NVLink 4", 450e9), ("RoCE 200G", 25e9)),
        ("A100x16 ib:hdr", 16, 8, ("NVLink 3", 300e9), ("InfiniBand HDR", 25e9)),
        ("A100x16 ib:300G", 16, 8, ("NVLink 3", 300e9), ("InfiniBand 300G", 37.5e9)),
        ("B200x16 ib:1.6T", 16, 8, ("NVLink 5", 900e9), ("InfiniBand 1600G", 200e9)),
        ("GB200x72", 72, 72, ("NVLink 5 (NVL72)", 900e9), None),
        ("L40Sx4", 4, 4, ("PCIe 4 x16", 31.5e9), None),
        ("H100x16 nvlink:1 ib:400G", 16, 1, None, ("InfiniBand NDR", 50e9)),
        ("M3x4 pcie4:2 ethernet:10G", 4, 2, ("PCIe 4 x16", 31.5e9), ("Ethernet 10G", 1.25e9)),
    ],
)
def test_a_cluster_is_devices_in_nodes_and_two_links(
    text: str, number: int, node: int, inner: tuple[str, float] | None, outer: tuple[str, float] | None
) -> None:
    found = cluster_of(text)[1]
    assert (found.number, found.node) == (number, node)
    for link, expected in ((found.inner, inner), (found.outer, outer)):
        assert (link and (link.name, link.bandwidth)) == expected


def test_a_device_without_a_number_is_as_many_as_the_mesh_has_ranks() -> None:
    assert cluster_of("H100", 32)[1].number == 32
    assert cluster_of("H100 nvlink:4 ib:200G", 32)[1].node == 4
    assert cluster_of("H100 nvlink:4 ib:200G")[1].number == 4
    with pytest.raises(
        UnknownAcceleratorError,
        match="the mesh has 8 ranks, and 4 devices are given: write x8",
    ):
        cluster_of("H100x4", 8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("H10x8", "did you mean H100"),
        ("H100x8 nvlnk:8", "there is no link 'nvlnk': did you mean nvlink. within a node there are nvlink, pcie"),
        ("T4x8 nvlink:8", "T4 has no nvlink: it has PCIe 3 x16"),
        ("M3x4", "no link of Apple M3 .10. is known: write one"),
        ("H100x12", "12 devices do not divide into nodes of 8"),
        ("H100x8 nvlink:many", "how many devices a node has behind the colon"),
        ("H100x32 ib:fast", "bits a second of each device behind the colon, as in ib:400G"),
        ("H100x32 ib:400G roce:400G", "one link within a node and one network"),
    ],
)
def test_a_wrong_cluster_says_what_is_known(text: str, words: str) -> None:
    with pytest.raises(UnknownAcceleratorError, match=words):
        cluster_of(text)
