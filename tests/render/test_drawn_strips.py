"""The strips of a report as text and as a figure, from a report made by hand."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
import sample_reports
import sample_runs
from rich.cells import cell_len

from fwdscope.render.strips import lines, png, svg
from fwdscope.report import Report, ReportError, Strip
from fwdscope.report.pictures import encode_cells

RAMP = [i / 15 for i in range(16)]


def strip(kind: str, name: str, row: int | None, height: int, width: int, panels: int = 1, **more: object) -> Strip:
    cells = encode_cells((RAMP * height * width)[: height * width], 0.0, 1.0)
    given = {
        "shape": (2, 40, height, width),
        "numbers": tuple(range(panels)),
        "of": 40,
        "low": -1.0,
        "high": 2.0,
        **more,
    }
    return Strip(name, row, kind, height=height, width=width, panels=(cells,) * panels, **given)  # type: ignore[arg-type]


def report() -> Report:
    strips = (
        strip("maps", "image <b>", None, 4, 4, zeros=0.25),
        strip("maps", "conv", 0, 4, 8, 5),
        strip("grid", "words", 1, 16, 6),
        strip("lines", "wave", 2, 1, 16, 3),
        strip("bars", "fc", 3, 1, 4, shape=(2, 4)),
    )
    return replace(sample_runs.ran(sample_reports.mlp()), strips=strips)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_text_has_every_strip_and_is_no_wider_than_asked(width: int) -> None:
    for coloured in (True, False):
        drawn = lines(report(), width, coloured)
        assert max(cell_len(line.plain) for line in drawn) <= width
        text = "\n".join(line.plain for line in drawn)
        for part in ("image <b>", "25.0 % zeros", "−1.00 … 2.00", "2×40×4×8", "channels and values evenly chosen"):
            assert part in text


def test_a_drawing_does_not_take_the_style_of_the_words_beside_it() -> None:
    for line in lines(report(), 100)[3:]:  # after the caption
        assert not line.style
        assert all(span.end <= 25 for span in line.spans if span.style == "bold")


def test_the_figure_has_the_same_words_and_an_image_a_panel() -> None:
    text = svg(report())
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    words = ["".join(one.itertext()) for one in root.iter(f"{space}text")]
    assert {"image <b>", "25.0 % zeros", "−1.00", "2.00", "conv"} <= set(words)
    # 1 and 5 maps, 1 grid, and a scale for each of the 5 strips.
    assert len(list(root.iter(f"{space}image"))) == 1 + 5 + 1 + 5
    # 3 lines of a wave, and an arrow before each strip but the first.
    assert len(list(root.iter(f"{space}polyline"))) == 3 + 4
    assert svg(report()) == text


def test_the_figure_is_at_most_as_wide_as_a_slide() -> None:
    many = replace(report(), strips=report().strips * 8)
    found = re.search(r'width="(\d+)" height="(\d+)"', svg(many))
    assert found is not None
    assert 1000 < int(found[1]) <= 1280


def test_the_png_has_twice_the_pixels_of_the_svg() -> None:
    image = pytest.importorskip("PIL.Image")
    import io

    opened = image.open(io.BytesIO(png(report())))
    found = re.search(r'width="(\d+)" height="(\d+)"', svg(report()))
    assert found is not None
    assert opened.size == (2 * int(found[1]), 2 * int(found[2]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"panels": ("AAAA",)}, r"report.strips\[0\]: a panel of image <b> has 3 cells, not 4 × 4"),
        ({"panels": ("é",)}, "is no base64"),
        ({"row": 99}, r"report.strips\[0\].row: there is no row 99"),
        ({"width": 0}, "has 16 cells, not 4 × 0"),
    ],
)
def test_a_strip_of_a_file_is_checked(change: dict[str, object], said: str) -> None:
    wrong = replace(report(), strips=(replace(report().strips[0], **change),))  # type: ignore[arg-type]
    with pytest.raises(ReportError, match=said):
        Report.loads(wrong.dumps())
