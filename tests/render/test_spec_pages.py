"""The pages of specs that ship and of a network of 5,000 nodes, used from end to end in a headless Chromium."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sample_reports
import sample_runs
from browser import Browser, Opened
from made_reports import deep_network

from fwdscope import inspect, units
from fwdscope.render import render
from fwdscope.report import Report, parents

SPECS = (
    "densenet121", "fixed_hidden_mlp", "gpt2", "llama3_405b", "lstm", "mixtral_8x7b", "resnet50", "simple_rnn",
    "t5_small", "unet", "whisper_tiny", "yolov8n",
)  # fmt: skip

# Shows all columns of all rows, and reads the table while it is scrolled: the titles, and cells by the row's number.
TABLE = """(() => {
  const table = document.querySelector("section.table");
  table.style.display = "none";
  for (const box of document.querySelectorAll(".pick input:not(:checked)")) box.click();
  table.style.display = "";
  [...document.querySelectorAll(".table button")].find((one) => one.textContent === "Open all").click();
  const [scroll, rows] = [document.querySelector(".rows"), []];
  for (let top = 0; top <= scroll.scrollHeight + 9000; top += 9000) {
    scroll.scrollTop = top;
    scroll.dispatchEvent(new Event("scroll"));
    for (const row of scroll.querySelectorAll("tbody tr:not(.gap)")) rows[row.index] = [...row.cells].map((cell) => cell.textContent);
  }
  scroll.scrollTop = 0;
  return [[...document.querySelectorAll(".rows th")].map((title) => title.textContent), rows];
})()"""  # noqa: E501
FILLS = "[...document.querySelectorAll('.view .node > rect:last-of-type')].map((one) => one.style.fill).join()"
CLEAR = """{
  const search = document.querySelector("input[type=search]");
  search.value = "";
  search.dispatchEvent(new Event("input"));
} 0"""
CLOSE_ALL = "[...document.querySelectorAll('.table button')].find((one) => one.textContent === 'Close all').click()"
# The least contrast of text in a node with the node's colour, by WCAG's formula.
CONTRAST = """(() => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const light = (...layers) => {
    for (const [fill, alpha] of layers) {
      [paint.fillStyle, paint.globalAlpha] = [fill, alpha];
      paint.fillRect(0, 0, 1, 1);
    }
    const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].map((one) => one / 255)
      .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  return Math.min(...[...document.querySelectorAll(".view .node")].flatMap((node) => {
    const under = getComputedStyle(node.querySelector(":scope > rect:last-of-type")).fill;
    return [...node.querySelectorAll(":scope > text, :scope > text > tspan")].map((text) => {
      const { fill, fillOpacity } = getComputedStyle(text);
      const [one, other] = [light([under, 1]), light([under, 1], [fill, +fillOpacity])];
      return Math.max(one, other) / Math.min(one, other);
    });
  }));
})()"""
CHOSEN = "document.querySelector('.panel h2')?.textContent ?? null"


def texts(browser: Browser, selector: str) -> list[str]:
    found: list[str] = browser.run(f"[...document.querySelectorAll({selector!r})].map((one) => one.textContent)")
    return found


def check_numbers(browser: Browser, report: Report) -> None:
    """Every number of the table, read from the page, is that of the report."""
    titles, rows = browser.run(TABLE)
    assert len(rows) == len(report.layers)
    exact: dict[str, Any] = {"params": "params", "trainable": "trainable_params", "buffers": "buffers"}
    scaled = {"MACs": ("macs", units.count), "FLOPs": ("flops", units.count), "read": ("bytes_read", units.byte_size),
              "written": ("bytes_written", units.byte_size), "memory": ("output_bytes", units.byte_size)}  # fmt: skip
    for row, cells in zip(report.layers, rows, strict=True):
        shown = dict(zip(titles, cells, strict=True))
        for title, field in exact.items():
            assert (shown[title].replace(",", "") or "0") == str(getattr(row, field)), (row.path, title)
        for title, (field, text) in scaled.items():
            value = getattr(row, field)
            assert shown[title] == (text(value) if value else ""), (row.path, title)
        assert shown["calls"] == f"{row.calls:,}"
        assert shown["line"] == ("—" if row.line is None else str(row.line))
        assert shown["receptive field"] == "×".join(map(str, row.receptive_field or ()))


def use(browser: Browser, report: Report) -> None:
    """Search, unfold, choose by a click, sort, change the colour."""
    leaf = next(row for row in reversed(report.layers) if row.parameters)
    browser.run("document.querySelector('input[type=search]').focus()")
    browser.send("Input.insertText", text=leaf.path)
    browser.press("Enter")
    assert leaf.path in texts(browser, ".rows tr:not(.around) .name") or leaf.label in browser.run(CHOSEN)
    browser.run(CLEAR)
    browser.run(CLOSE_ALL)
    if any(around is not None for around in parents(report.layers)):
        before = browser.run("document.querySelectorAll('.view .node').length")
        browser.click(".rows tr[aria-expanded] .twist")
        assert browser.run("document.querySelectorAll('.view .node').length") > before
    browser.click(".rows tbody tr:not(.gap) .name")
    assert browser.run(CHOSEN)
    title = "[...document.querySelectorAll('.rows th button')].find((one) => one.textContent.startsWith('params'))"
    browser.run(f"{title}.click()")
    column = texts(browser, ".rows th").index("params ↓") + 1
    params = [
        int(text.replace(",", "") or 0) for text in texts(browser, f".rows tbody tr:not(.gap) td:nth-child({column})")
    ]
    assert params == sorted(params, reverse=True)
    browser.run(f"{title}.click(), {title}.click()")
    before = browser.run(FILLS)
    browser.run(
        "{ const s = document.querySelector('select'); s.value = 'memory'; s.dispatchEvent(new Event('change')) } 0"
    )
    assert browser.run(FILLS) != before or len(report.layers) < 3


@pytest.mark.parametrize("name", SPECS)
def test_the_page_of_a_spec(name: str, opened: Opened, pictures: Path) -> None:
    report = inspect(name, device="meta")
    page = render(report, "html")
    browser = opened(page)
    assert browser.run("document.querySelector('h1').textContent") == report.name
    browser.picture(pictures / f"{name}.png")
    check_numbers(browser, report)
    use(browser, report)
    leaf = max((row for row in report.layers if row.label), key=lambda row: len(row.formulas))
    opened(page, width=390, dark=True, link=f"#{leaf.path}")
    assert browser.run(CHOSEN).startswith(leaf.path)
    panel = re.sub(r"\W", "", browser.run("document.querySelector('.panel').textContent"))
    for line in (*leaf.formulas, *(one.flops_formula for one in leaf.operators)):
        assert re.sub(r"\W", "", re.sub(r"^output \d: ", "", line)) in panel
    browser.picture(pictures / f"{name}-phone.png")


def test_the_page_of_a_network_of_5_000_nodes(opened: Opened, pictures: Path) -> None:
    report = deep_network(stages=56)
    assert len(report.layers) > 5_000
    browser = opened(render(report, "html"))
    use(browser, report)
    browser.run("[...document.querySelectorAll('.table button')].find((one) => one.textContent === 'Open all').click()")
    assert browser.run("document.querySelectorAll('.view .node').length") == len(report.layers)
    browser.click(".tools button")
    browser.size(390, 900)
    browser.picture(pictures / "5000-phone.png")


# --- for everybody ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)])
def test_axe_finds_no_violation(opened: Opened, width: int, dark: bool) -> None:
    report = sample_runs.ran(sample_reports.resnet50())
    browser = opened(render(report, "html"), width, dark, f"#{report.layers[0].path}")
    assert {"color-contrast", "button-name", "label", "svg-img-alt"} <= browser.passed_by_axe()
    # axe leaves text in drawings out.
    assert browser.run(CONTRAST) > 4.5
