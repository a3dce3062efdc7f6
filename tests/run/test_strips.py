"""Small pictures of all outputs of a run."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fwdscope.inspection import inspect_module, inspect_target, make_subject
from fwdscope.report import Report, Strip
from fwdscope.run.explain import explain_value
from fwdscope.run.strips import evenly, strip_of
from fwdscope.settings import DeviceSettings, RunSettings
from fwdscope.targets import Target

SPEC = """
vars: {B: 2}
inputs: {image: "arange(B * 16).float().reshape(B, 1, 4, 4)"}
blocks:
  Block:
    - up = prev + 1
    - ReLU
layers:
  - shifted = image - 21
  - ReLU
  - blocks = 3 * Block
  - pool = AvgPool2d(4)
  - flat = Flatten
  - flat
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[int | None, Report]:
    file = tmp_path_factory.mktemp("strips") / "net.yaml"
    file.write_text(SPEC)
    return {
        depth: inspect_target(Target(str(file)), RunSettings(device="cpu", latency=False, show="all", depth=depth))[0]
        for depth in (None, 1, 3)
    }


def values(strip: Strip) -> list[float | None]:
    """The cells of the first panel, as values."""
    assert strip.low is not None
    assert strip.high is not None
    low, high = strip.low, strip.high
    cells = [one for line in strip.shares()[0] for one in line]
    return [None if one is None else low + one * (high - low) for one in cells]


def test_a_strip_shows_each_step_in_order_and_each_copy(reports: dict[int | None, Report]) -> None:
    def names(depth: int | None) -> list[str]:
        return [strip.name for strip in reports[depth].strips]

    assert names(1) == ["image", "shifted", "relu", "blocks", "pool", "flat"]
    # The deepest level outside copies; below it the first copy stands for the others.
    assert names(None) == ["image", "shifted", "relu", "blocks.0", "blocks.1", "blocks.2", "pool", "flat"]
    assert names(3) == ["image", "shifted", "relu", "blocks.0.up", "blocks.0.relu", "pool", "flat"]
    assert [strip.row for strip in reports[1].strips] == [
        None,
        0,
        1,
        2,
        *[strip.row for strip in reports[1].strips[4:]],
    ]


def test_a_strip_holds_the_first_item_and_the_zeros_of_all(reports: dict[int | None, Report]) -> None:
    image, shifted, relu, first, *_, last, pool, flat = reports[None].strips
    assert (image.kind, image.shape, image.height, image.width) == ("maps", (2, 1, 4, 4), 4, 4)
    assert values(image) == pytest.approx([*range(16)], abs=15 / 254 / 2)
    # Of 0 to 31 one is 0; of those less 21 one; after the ReLU 0 to 21.
    assert (image.zeros, shifted.zeros, relu.zeros) == (1 / 32, 1 / 32, 22 / 32)
    assert (shifted.low, shifted.high, relu.low, relu.high) == (-21, -6, 0, 0)
    assert (first.low, last.high) == (1, 3)
    # One value a channel is a vector.
    assert (pool.kind, pool.width, flat.kind) == ("bars", 1, "bars")
    assert Report.loads(reports[None].dumps()) == reports[None]
    assert inspect_target(Target("mlp_xor"), RunSettings(device="cpu", latency=False))[0].strips == ()


def test_the_numbers_of_small_outputs_keep_how_they_are_computed() -> None:
    settings = RunSettings(device="cpu", latency=False, show="all")
    report, _ = inspect_target(Target("mlp_xor"), settings)
    x, hidden, relu, output = report.strips
    # 4 numbers of the first of 4 items, which are drawn one below the other.
    assert [(one.cell, one.element.text) for one in hidden.values] == [(i, f"hidden[0, {i}]") for i in range(4)]
    assert (len(x.values), len(relu.values), len(output.values)) == (0, 4, 1)
    subject = make_subject(Target("mlp_xor"))
    for strip, index in ((hidden, (0, 2)), (relu, (0, 2)), (output, (0, 0))):
        assert strip.values[index[1]].steps == explain_value(subject, strip.name, index, DeviceSettings("cpu")).steps
    # In JSON, strips without such numbers have no place for them.
    assert Report.loads(report.dumps()) == report
    assert '"values": []' not in report.dumps()


def test_numbers_that_another_run_would_not_give_are_not_explained() -> None:
    class Counts(nn.Module):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return x + torch.arange(5) * self.calls

    settings = RunSettings(device="cpu", latency=False, show="all")
    report = inspect_module(nn.Sequential(Counts()), (torch.zeros(1, 5),), settings=settings)
    assert [len(strip.values) for strip in report.strips] == [0, 0]


def test_of_a_large_output_nothing_is_explained() -> None:
    # 129 numbers of the one item, and 128 that fewer bars are drawn of.
    settings = RunSettings(device="cpu", latency=False, show="all")
    for size, count in ((129, 0), (128, 32)):
        report = inspect_module(nn.Sequential(nn.Tanh()), (torch.zeros(1, size),), settings=settings)
        assert len(report.strips[1].values) == count
    # The last bar is the last number.
    assert report.strips[1].values[-1].element.index == (0, 127)


def test_large_maps_are_means_and_of_many_channels_some_are_drawn() -> None:
    image = torch.arange(64.0).repeat(1, 9, 64, 1)  # each row from 0 to 63
    strip = strip_of(image)
    assert strip is not None
    assert (strip.height, strip.width, strip.numbers, strip.of) == (32, 32, (0, 2, 4, 6, 8), 9)
    # Means of two: 0.5, 2.5, … 62.5.
    assert (strip.low, strip.high) == (0.5, 62.5)
    assert values(strip)[:32] == pytest.approx([0.5 + 2 * i for i in range(32)], abs=62 / 254 / 2)


def test_sequences_vectors_lines_and_values_that_are_not_finite() -> None:
    def kind(tensor: torch.Tensor, names: tuple[str, ...] = (), batch: int | None = None) -> tuple[str, int, int, int]:
        strip = strip_of(tensor, names, batch)
        assert strip is not None
        return strip.kind, len(strip.panels), strip.height, strip.width

    assert kind(torch.ones(3, 7, 200), batch=3) == ("grid", 1, 7, 32)
    assert kind(torch.ones(3, 7, 20), ("batch", "channel", "width"), 3) == ("lines", 5, 1, 20)
    assert kind(torch.ones(1, 100)) == ("bars", 1, 1, 32)
    assert kind(torch.ones(5, 2, 3, 4, 4)) == ("maps", 2, 4, 4)
    assert kind(torch.tensor(3)) == ("bars", 1, 1, 1)
    assert strip_of(torch.ones(0, 4)) is None
    strip = strip_of(torch.tensor([[1.0, float("nan"), float("inf"), 3.0]]))
    assert strip is not None
    assert values(strip) == [1, None, None, 3]
    nothing = strip_of(torch.full((1, 2, 2, 2), float("nan")))
    assert nothing is not None
    assert (nothing.low, nothing.shares()[0]) == (None, [[None, None], [None, None]])


def test_evenly_chosen_values_begin_with_the_first_and_end_with_the_last() -> None:
    assert evenly(range(12), 4) == [0, 4, 7, 11]
    assert evenly(range(3), 4) == [0, 1, 2]
    assert evenly(range(3), 1) == [0]
