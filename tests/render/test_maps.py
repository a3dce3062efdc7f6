"""Pictures of tensors: plain data from tensors, and drawings of pictures made by hand."""

from __future__ import annotations

import io
import math
import os
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from fwdscope.render.colours import NO_COLOUR, colour, resampled
from fwdscope.render.images import png, svg
from fwdscope.render.maps import lines, print_picture
from fwdscope.report.pictures import Panel, Picture, parse_index, split_index
from fwdscope.run.maps import picture

GOLDEN = Path(__file__).parent / "golden_pictures"

STAIRS = Picture(
    "map", "blocks.0.attn", (Panel(((0.0, 1.0, 2.0, 3.0), (4.0, 5.0, None, 7.0))),), 0.0, 7.0,
    "dim 2 (size 2)", "dim 3 (size 4)", ("[0, 1] of (1, 2, 2, 4)",),
)  # fmt: skip
HEADS = replace(STAIRS, panels=(replace(STAIRS.panels[0], label="0"), Panel(((7.0,) * 4, (0.0,) * 4), "1")))
BARS = Picture("bars", "fc", (Panel(((2.0, -1.0, 0.0, 0.5, None),)),), -1.0, 2.0, "", "dim 1 (size 5)")


def drawn(picture: Picture, width: int = 60, color_system: str | None = None) -> str:
    file = io.StringIO()
    console = Console(width=width, file=file, color_system=color_system, force_terminal=color_system is not None)  # type: ignore[arg-type]
    print_picture(picture, console)
    return "".join(line.rstrip() + "\n" for line in file.getvalue().splitlines())


# --- from tensors ----------------------------------------------------------------------------------------------------


def test_a_row_of_values_is_drawn_as_bars() -> None:
    for tensor in (torch.tensor([1.0, -2.0]), torch.tensor([[1.0, -2.0]]), torch.tensor([[[[1.0]], [[-2.0]]]])):
        made = picture(tensor)
        assert (made.kind, made.panels, made.low, made.high) == ("bars", (Panel(((1.0, -2.0),)),), -2.0, 1.0)


def test_a_single_number_is_a_bar() -> None:
    assert picture(torch.tensor(3)).panels == (Panel(((3.0,),)),)


@pytest.mark.core
def test_activations_are_a_map_for_each_channel_of_the_first_image() -> None:
    tensor = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    made = picture(tensor, "conv1")
    assert [panel.label for panel in made.panels] == ["0", "1", "2"]
    assert made.panels[1].rows == tuple(map(tuple, tensor[0, 1].tolist()))
    assert (made.low, made.high) == (0.0, 59.0)
    assert (made.down, made.across) == ("dim 2 (size 4)", "dim 3 (size 5)")
    assert made.notes == ("the first of 2 along dim 0",)


def test_an_index_chooses() -> None:
    tensor = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    assert picture(tensor, index="[1, 2]").panels[0].rows == tuple(map(tuple, tensor[1, 2].tolist()))
    assert len(picture(tensor, index="[-1]").panels) == 3
    column = picture(tensor, index="[0, :, 3, 4]")
    assert (column.kind, column.panels[0].rows, column.across) == ("bars", ((19.0, 39.0, 59.0),), "dim 1 (size 3)")


def test_three_dimensions_are_the_map_of_the_first_item() -> None:
    tensor = torch.randn(2, 6, 7)
    assert picture(tensor).panels[0].rows == tuple(map(tuple, tensor[0].double().tolist()))
    assert len(picture(tensor, index="[:]").panels) == 2


def test_many_values_are_averaged_where_finite() -> None:
    tensor = torch.ones(1000, 600)
    tensor[:10] = 3.0
    tensor[500:520] = math.nan
    made = picture(tensor, most=50)  # cells of 20 × 12
    rows = made.panels[0].rows
    assert (len(rows), len(rows[0])) == (50, 50)
    assert rows[0][0] == 2.0
    assert rows[25] == (None,) * 50
    assert rows[30][7] == 1.0
    assert made.notes == ("means of about 20 × 12 values",)


def test_too_many_channels_are_left_out_and_that_is_said() -> None:
    made = picture(torch.randn(1, 200, 8, 8))
    assert len(made.panels) == 64
    assert made.notes == ("the first 64 of 200 along dim 1",)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.bfloat16, torch.complex64])
def test_any_dtype_can_be_drawn(dtype: torch.dtype) -> None:
    made = picture(torch.tensor([[1, 0], [0, 1]]).to(dtype))
    assert made.panels[0].rows == ((1.0, 0.0), (0.0, 1.0))


def test_nothing_finite_has_no_scale() -> None:
    made = picture(torch.full((2, 2), math.inf))
    assert (made.low, made.high, made.panels[0].rows) == (None, None, ((None, None), (None, None)))
    assert "no finite value" in drawn(made)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("[0, 1, 2]", r"the index has 3 entries, and the shape \(2, 3\) 2 dimensions"),
        ("[5]", r"index 5 is outside dimension 0 of the shape \(2, 3\)"),
        ("[0, -4]", r"index -4 is outside dimension 1 of the shape \(2, 3\)"),
        ("[0:1]", r"index \[0:1\]: found '0:1' where a whole number or : was expected"),
        ("[__import__('os')]", 'found "__import__'),
        ("[]", r"index \[\]: found nothing"),
        ("0", "'0' is no index: write it in brackets"),
    ],
)
def test_an_index_that_does_not_fit_says_why(index: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        picture(torch.zeros(2, 3), index=index)


def test_an_empty_tensor_has_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match=r"there is nothing to draw: the shape is \(2, 0\)"):
        picture(torch.empty(2, 0))


def test_an_index_stands_behind_a_path() -> None:
    assert split_index("layer1.0.conv2[0, :]") == ("layer1.0.conv2", "[0, :]")
    assert split_index("fc") == ("fc", "")
    assert parse_index("[0, :, -3]") == (0, slice(None), -3)
    with pytest.raises(ValueError, match="no path with an index"):
        split_index("fc[0")


# --- drawings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stairs", "heads", "bars"])
def test_pictures_without_colours_are_drawn_as_kept(name: str) -> None:
    made = {"stairs": STAIRS, "heads": HEADS, "bars": BARS}[name]
    golden = GOLDEN / f"picture_{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(drawn(made), encoding="utf-8")
    assert drawn(made) == golden.read_text(encoding="utf-8")


def test_a_map_in_colours_has_two_rows_of_cells_in_a_line() -> None:
    first = lines(replace(STAIRS, title="", panels=(Panel(((0.0, 7.0), (7.0, None))),)), 2, coloured=True)[1]
    assert first.plain == "▀▀"
    low, high = "#440154", "#fde725"
    styles = [(style.color.name, style.bgcolor.name) for span in first.spans if (style := span.style)]  # type: ignore[union-attr]
    assert styles == [(low, high), (high, "#808080")]


def test_the_last_of_an_odd_number_of_rows_stands_alone() -> None:
    drawn = lines(replace(STAIRS, panels=(Panel(((0.0,) * 4,) * 3),)), 4, coloured=True)[2:4]
    assert [line.plain for line in drawn] == ["▀▀▀▀"] * 2
    assert drawn[1].spans[0].style.bgcolor is None  # type: ignore[union-attr]


@pytest.mark.parametrize("width", [20, 33, 80, 200])
@pytest.mark.parametrize("coloured", [True, False])
@pytest.mark.parametrize("shape", [(30, 200), (200, 30), (3, 3), (5, 20, 20), (64, 7, 9), (500,), (3,), (1, 1, 2000)])
def test_no_line_of_a_drawing_is_wider_than_the_terminal(shape: tuple[int, ...], coloured: bool, width: int) -> None:
    made = picture(torch.linspace(-1, 1, math.prod(shape)).reshape(shape), index="[:]")
    drawn = [line for line in lines(made, width, coloured) if not re.search("dim|[0-9]  ?[█│]", line.plain)]
    assert max(line.cell_len for line in drawn) <= width


def test_sizes_change_by_repeating_and_averaging() -> None:
    assert resampled([[1.0, 3.0]], 2, 4) == [[1.0, 1.0, 3.0, 3.0]] * 2
    assert resampled([[1.0, 3.0], [None, 5.0]], 1, 1) == [[3.5]]
    assert resampled([[None, None]], 1, 1) == [[None]]


def test_colours_grow_lighter_from_end_to_end() -> None:
    # Rec. 709 luminance, to a step of 8 bits
    light = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (colour(i / 255) for i in range(256))]
    assert all(later > earlier - 1 for earlier, later in pairwise(light))
    assert light[-1] > light[0] + 150
    assert (colour(0), colour(1), colour(None)) == ((0x44, 0x01, 0x54), (0xFD, 0xE7, 0x25), NO_COLOUR)


ATTENTION = torch.softmax(torch.full((1, 12, 64, 64), -math.inf).triu(1) + torch.randn(1, 12, 64, 64), -1)
SHAPES = [
    (1, 12, 64, 64),
    (1, 64, 112, 112),
    (1, 3, 2000, 2),
    (1, 3, 2, 2000),
    (4000, 3),
    (3, 4000),
    (1, 5, 1, 1),
    (700,),
]


@pytest.mark.parametrize("size", [(80, 24), (100, 40), (140, 50)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_picture_fits_the_screen_whatever_the_tensor(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    made = picture(torch.randn(shape), "conv1", names=[""] * len(shape), own_scales=len(shape) == 4)
    for coloured in (True, False):
        found = lines(made, size[0], coloured, size[1])
        assert len(found) <= size[1]
        assert max(line.cell_len for line in found) <= size[0]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_png_fits_the_screen_whatever_the_tensor(shape: tuple[int, ...]) -> None:
    width, height = pixels(picture(torch.randn(shape), "conv1", own_scales=len(shape) == 4)).size
    assert width <= 1400
    assert height <= 1050


def test_each_head_has_its_name_and_its_own_scale() -> None:
    weights = torch.stack([torch.eye(4) * k + 0.1 for k in (0.5, 1.0, 2.0)])[None]
    made = picture(weights, names=("batch", "head", "query", "key"), own_scales=True)
    assert (made.down, made.across) == ("query (size 4)", "key (size 4)")
    assert [panel.label for panel in made.panels] == ["head 0", "head 1", "head 2"]
    assert [panel.scale and round(panel.scale[1], 3) for panel in made.panels] == [0.6, 1.1, 2.1]
    text = drawn(made, 140)
    assert "query (size 4) ↓  key (size 4) →" in text
    for scale in ("0.100 … 0.600", "0.100 … 1.10", "0.100 … 2.10"):
        assert scale in text
    # The highest of each is as bright as that of the others.
    assert len({line.count("█") for line in text.splitlines() if "█" in line and "│" not in line}) == 1


def test_a_scale_ends_where_few_cells_are_above() -> None:
    # 98 of 100 cells are at most 0.97, and one is 100.
    row = torch.arange(99) / 100
    made = picture(torch.cat([row, torch.tensor([100.0])]).reshape(1, 10, 10)[:, None], own_scales=True)
    assert made.panels[0].scale == pytest.approx((0.0, 0.97))
    assert "0 │  ░░▒▒▓▓██│ 0.970 (max 100)" in drawn(made)
    assert made.notes == ("colours end where 2 % of a map's cells are above",)


def test_causal_attention_of_many_heads_is_not_dark() -> None:
    made = picture(ATTENTION, own_scales=True)
    for panel in made.panels:
        low, high = panel.scale or (0.0, 1.0)
        # A row of n weights has a mean of 1/n: its brightest 2 % are in the first rows.
        assert high < 0.2
        assert sum(cell > (low + high) / 4 for row in panel.rows for cell in row if cell is not None) > 200


# --- files -----------------------------------------------------------------------------------------------------------


def pixels(made: Picture) -> Any:
    """The picture as PNG, read by Pillow, an optional extra."""
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(png(made)))
    assert (image.format, image.mode) == ("PNG", "RGB")
    return image


@pytest.mark.core
def test_a_png_has_the_cells_in_their_colours() -> None:
    image = pixels(STAIRS)
    # A margin of 16, a line each for the title and the label, and cells of 32 pixels.
    assert image.getpixel((0, 0)) == (255, 255, 255)
    # The axes take another line above, and one at the left.
    x, y = 16 + 20, 56 + 20
    assert image.getpixel((x, y)) == colour(0)
    assert image.getpixel((x + 3 * 32 + 31, y + 31)) == colour(3 / 7)
    assert image.getpixel((x + 2 * 32, y + 32)) == NO_COLOUR
    assert image.getpixel((x + 3 * 32, y + 32)) == colour(1)


def test_bars_of_a_png_stand_on_zero() -> None:
    image = pixels(BARS)
    # Five bars over 360 pixels, the first from 2 down to zero: two thirds of 240 pixels.
    column = [image.getpixel((30, y)) for y in range(76, 76 + 240)]
    assert column[:160] == [(49, 104, 142)] * 160
    assert column[160] == (64, 64, 64)
    assert set(column[161:]) == {(255, 255, 255)}


@pytest.mark.parametrize("made", [STAIRS, HEADS, BARS], ids=["stairs", "heads", "bars"])
def test_an_svg_is_xml_that_says_title_axes_and_scale(made: Picture) -> None:
    root = ET.fromstring(svg(replace(made, title="a < b & \x1b[31m")))
    text = " ".join("".join(root.itertext()).split())
    assert "a < b & \\x1b[31m" in text
    assert made.across in text
    assert "7.00" in text or "2.00" in text


def test_the_cells_of_an_svg_are_rectangles_in_their_colours_that_fill_the_map() -> None:
    root = ET.fromstring(svg(STAIRS))
    found = [one.attrib for one in root.iter("{http://www.w3.org/2000/svg}rect") if one.get("fill") == "#fde725"]
    # The cell with 7.0 and the end of the scale: eight characters of 8 pixels, four lines of 16.
    area = sum(int(one["width"]) * int(one["height"]) for one in found)
    assert area == 8 * 8 * 4 * 16 + 8 * 16
    assert max(int(one["x"]) + int(one["width"]) for one in found) <= int(root.attrib["width"])


def test_bars_of_an_svg_are_rectangles() -> None:
    root = ET.fromstring(svg(BARS))
    assert not any(set("▁▂▃▄▅▆▇█▀▔") & set(text) for text in root.itertext())
    first = [one for one in root.iter("{http://www.w3.org/2000/svg}rect") if one.get("x") == str(8 * 8)]
    # From 2 down to zero: two thirds of ten lines of 16 pixels, to an eighth of a line.
    assert sum(int(one.attrib["height"]) for one in first) == pytest.approx(2 / 3 * 160, abs=16)


def test_the_same_picture_gives_the_same_file() -> None:
    for made in (STAIRS, HEADS, BARS, replace(STAIRS, low=None, high=None, panels=(Panel(((None,),)),))):
        assert svg(made) == svg(made)
        assert list(pixels(made).getdata()) == list(pixels(made).getdata())
