"""Published peaks: the table is complete, and a device is found by any of its names."""

from __future__ import annotations

import pytest

from fwdscope.device.table import UnknownAcceleratorError, accelerator, accelerators, accelerators_of, published


def test_every_row_has_a_name_of_its_own_a_bandwidth_and_its_sources() -> None:
    rows = accelerators()
    assert len(rows) == len({row.name for row in rows}) >= 75
    for row in rows:
        assert row.bandwidth > 1e10, row.name
        assert row.source, row.name
        assert row.primary_source, row.name
        assert row.float32 or row.bfloat16, row.name
        assert (row.achieved_bfloat16 or 0) <= (row.bfloat16 or 0), row.name
        assert (row.achieved_bandwidth or 0) < row.bandwidth, row.name


def test_rates_are_dense_and_of_plausible_proportions() -> None:
    """A figure of 2:4 sparsity that slipped in would be twice as high as it may be."""
    for row in accelerators():
        if row.tf32 and row.bfloat16 and row.vendor != "AWS":  # whose units take TF32 at the same rate
            # Half the rate of bfloat16 on what has units for TF32, a little more where a data sheet rounds.
            assert row.tf32 <= row.bfloat16 * 0.51, row.name
        if row.float8 and row.bfloat16:
            assert row.float8 <= row.bfloat16 * 2.03, row.name
        if row.float16 and row.bfloat16 and row.name != "Gaudi3":
            assert row.float16 == row.bfloat16, row.name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("H100", "H100 SXM 80GB"),
        ("h100 sxm", "H100 SXM 80GB"),
        ("H100 SXM5", "H100 SXM 80GB"),
        ("h100-pcie", "H100 PCIe 80GB"),
        ("h100 nvl", "H100 NVL (per GPU)"),
        ("A100", "A100 80GB SXM"),
        ("A100-80G", "A100 80GB SXM"),
        ("a100 40 GB", "A100 40GB SXM"),
        ("a100 pcie 80gb", "A100 80GB PCIe"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM 80GB"),
        ("Tesla T4", "T4"),
        ("t4", "T4"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("rtx4090", "RTX 4090"),
        ("4090", "RTX 4090"),
        ("V100", "V100 SXM2 32GB"),
        ("v100 16gb", "V100 SXM2 16GB"),
        ("L40", "L40"),
        ("l40s", "L40S"),
        ("M3", "Apple M3 (10)"),
        ("m3 max", "Apple M3 Max (40)"),
        ("Apple M1", "Apple M1 (8-core GPU)"),
        ("tpuv4", "TPU v4"),
        ("TPU v5e", "TPU v5e"),
        ("mi300x", "MI300X"),
        ("Ironwood", "TPU v7x (Ironwood)"),
        ("tpu7x", "TPU v7x (Ironwood)"),
        ("v5 lite", "TPU v5e"),
        ("MI250X GCD", "MI250X (one GCD)"),
        ("Gaudi 3", "Gaudi3"),
        ("trn2", "Trainium2"),
        ("Jetson Orin", "Jetson AGX Orin 64GB"),
        ("Jetson Thor", "Jetson AGX Thor"),
        ("RTX 6000 Ada", "RTX 6000 Ada"),
        ("RTX PRO 6000", "RTX PRO 6000 Blackwell"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("GH200", "GH200 96GB"),
        ("2080 ti", "RTX 2080 Ti"),
        ("A10", "A10"),
        ("A10G", "A10G"),
    ],
)
def test_a_device_is_found_by_what_people_call_it(text: str, name: str) -> None:
    assert accelerator(text).name == name


@pytest.mark.parametrize("row", accelerators(), ids=lambda row: row.name)
def test_every_row_is_found_by_its_own_name(row: object) -> None:
    name = getattr(row, "name", "")
    assert accelerator(name).name == name
    assert accelerator(name.upper().replace(" ", "-")).name == name


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("H10", "H100 SXM 80GB"),
        ("H100 40GB", "H100 SXM 80GB"),
        ("RTX 4070", "RTX 4090"),
        ("RTX 2080", "RTX 2080 Ti"),
        ("RTX 3060 Ti", "RTX 3060"),
        ("Jetson Orin Nano", "Jetson AGX Orin 64GB"),
        ("Gaudi", "Gaudi2"),
        ("M5 Max", "Apple M5"),
        ("MI300", "MI300X"),
        ("TPU", "TPU v4"),
        ("80GB", "A100 80GB SXM"),
        ("RTX 3090 Ti", "RTX 3090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "RTX 4090"),
    ],
)
def test_an_unknown_device_gets_the_nearest_names_and_never_anothers_figures(text: str, nearest: str) -> None:
    with pytest.raises(UnknownAcceleratorError, match="did you mean") as error:
        accelerator(text)
    assert nearest in str(error.value)


@pytest.mark.parametrize("text", ["Cerebras", "", "M9", "sxm64"])
def test_a_name_like_none_is_sent_to_the_list(text: str) -> None:
    with pytest.raises(UnknownAcceleratorError, match="devices --all lists"):
        accelerator(text)


@pytest.mark.parametrize(
    ("torch_name", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100 SXM 80GB"),
        ("NVIDIA H100 PCIe", "H100 PCIe 80GB"),
        ("NVIDIA H200", "H200 SXM"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB SXM"),
        ("NVIDIA A100-SXM-80GB", "A100 80GB SXM"),
        ("A100-PCIE-40GB", "A100 40GB PCIe"),
        ("NVIDIA A100 80GB PCIe", "A100 80GB PCIe"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100 SXM2 16GB"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA GeForce RTX 3090", "RTX 3090"),
        ("AMD Instinct MI300X", "MI300X"),
        # Other devices than those whose names theirs begin with; their figures are not known.
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        # One process sees half of the package that is published.
        ("AMD Instinct MI250X", None),
        ("NVIDIA H100", None),
        ("", None),
    ],
)
def test_a_device_that_is_here_has_published_figures_only_under_its_exact_name(
    torch_name: str, name: str | None
) -> None:
    found = published(torch_name)
    assert (found.name if found else None) == name


@pytest.mark.core
def test_peaks_follow_the_dtype() -> None:
    h100, t4 = accelerator("H100"), accelerator("T4")
    # The data sheet's 1,979 TFLOP/s is with 2:4 sparsity: dense is half.
    assert h100.peaks("bfloat16").flops == h100.peaks("float16").flops == 989.4e12
    assert h100.peaks("float32").flops == 67e12
    assert h100.peaks("float8_e4m3fn").flops == 1979e12
    assert h100.peaks("int8").flops == 1979e12
    assert h100.peaks("float64").flops is None
    assert t4.peaks("float16").flops == 65e12
    assert t4.peaks("bfloat16").flops is None, "Turing has no units for bfloat16"
    assert accelerator("V100").peaks("bfloat16").flops is None
    assert accelerator("A100").peaks("float8_e4m3fn").flops is None, "Ampere has no units for float8"
    assert accelerator("TPU v5e").peaks("float32").flops is None


@pytest.mark.core
def test_the_ridge_of_an_h100_is_where_its_data_sheet_puts_it() -> None:
    from fwdscope.report.roofline import ridge

    # 989.4e12 FLOP/s over 3.35e12 bytes/s = 295.3
    assert ridge(accelerator("H100").peaks("bfloat16")) == pytest.approx(295.3, abs=0.05)
    # 312e12 / 2.039e12 = 153.0
    assert ridge(accelerator("A100").peaks("bfloat16")) == pytest.approx(153.0, abs=0.05)
    assert ridge(accelerator("T4").peaks("bfloat16")) is None


def test_float32_convolutions_have_a_roof_of_their_own_only_on_nvidias_tf32_units() -> None:
    assert accelerator("A100").peaks("float32").convolution_flops == 156e12
    assert accelerator("A100").peaks("bfloat16").convolution_flops is None
    assert accelerator("T4").peaks("float32").convolution_flops is None
    assert accelerator("MI300X").peaks("float32").convolution_flops is None


def test_what_was_reached_is_a_share_of_the_peak() -> None:
    # An H200 reaches 788 of 989.4 TFLOP/s in bfloat16 and 4.3 of 4.8 TB/s.
    h200 = accelerator("H200").peaks("float16")
    assert (h200.achieved_flops, h200.achieved_bandwidth) == (0.796, 0.896)
    assert accelerator("T4").peaks("float16").achieved_flops is None


def test_several_devices_are_listed_once_in_the_order_given() -> None:
    assert [one.name for one in accelerators_of(["t4", "H100", "Tesla T4"])] == ["T4", "H100 SXM 80GB"]
    assert accelerators_of(["T4", "ALL"])[0].name == "T4"
    assert len(accelerators_of(["all"])) == len(accelerators())
