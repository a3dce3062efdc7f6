"""Sizes that the data decide, and batches that training cannot normalize: said in the words of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

import fwdscope


def error(tmp_path: Path, input: str, *lines: str, train: bool = False) -> str:
    file = tmp_path / "net.yaml"
    file.write_text(f"inputs:\n  x: {input}\nlayers:\n" + "".join(f"  - {line}\n" for line in lines))
    with pytest.raises(fwdscope.SpecError) as caught:
        fwdscope.inspect(file, device="cpu", latency=False, train=train)
    return str(caught.value)


@pytest.mark.parametrize(
    "line", ["sel = x[x > 10]", "x[mean(x, dim=1) > 0]", "x[x.sum(1) > 0, 1]", "x[relu(x) > 0].mean()"]
)
def test_a_mask_as_an_index_makes_a_size_that_the_data_decide(tmp_path: Path, line: str) -> None:
    text = error(tmp_path, "randn(8, 32)", line)
    assert "the data decide this size: the mask says how many elements are left" in text
    assert "`where(mask, x, 0)`" in text
    assert "register_meta" not in text


def test_repeats_that_are_data_decide_a_size(tmp_path: Path) -> None:
    assert "the data decide this size" in error(tmp_path, "randn(8, 4)", "repeat_interleave(x, ones(8).long(), dim=0)")


@pytest.mark.parametrize(
    ("input", "lines", "shape"),
    [
        ("randn(1, 32)", ["Linear(64)", "BatchNorm1d"], "(1, 64)"),
        ("randn(1, 3, 8, 8)", ["Conv2d(8, 3)", "AdaptiveAvgPool2d(1)", "BatchNorm2d"], "(1, 8, 1, 1)"),
        ("randn(1, 3, 4, 4, 4)", ["Conv3d(8, 4)", "BatchNorm3d"], "(1, 8, 1, 1, 1)"),
        ("randn(1, 8, 1)", ["BatchNorm1d"], "(1, 8, 1)"),
    ],
)
def test_a_batch_of_one_has_no_spread_in_training(tmp_path: Path, input: str, lines: list[str], shape: str) -> None:
    text = error(tmp_path, input, *lines, train=True)
    assert f"a batch of 1 has no spread to normalize by: each channel of {shape} is one value" in text
    assert "batch of 2 or more" in text


@pytest.mark.parametrize("input", ["randn(2, 8)", "randn(1, 8, 2)"])
def test_several_values_per_channel_are_enough(tmp_path: Path, input: str) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(f"inputs:\n  x: {input}\nlayers:\n  - BatchNorm1d\n")
    assert fwdscope.inspect(file, device="cpu", latency=False, train=True).run is not None
