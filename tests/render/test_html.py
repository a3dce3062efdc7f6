"""The page: what it holds, and how it behaves in a headless Chromium, where there is one."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import replace

import pytest
import sample_reports
import sample_runs
from browser import Browser, Opened
from made_reports import deep_network

from fwdscope.render import render
from fwdscope.render.colours import colour
from fwdscope.render.columns import shapes_cell
from fwdscope.render.value import draw
from fwdscope.report import PHASES, Report, Strip, TensorInfo
from fwdscope.report.pictures import encode_cells
from fwdscope.report.value import (
    Element,
    Equation,
    Grid,
    GridRow,
    KeptValue,
    Subtotal,
    TableRow,
    ValueExplanation,
    ValueStep,
    ValueTable,
)

# Where HTML would do harm if it were read as such.
HOSTILE = "<script>document.title='owned'</script>"


def hostile() -> Report:
    """A report whose every text is HTML."""
    report = sample_reports.mlp()
    rows = [
        replace(
            row, path=f"{HOSTILE}{i}", label=HOSTILE, type=HOSTILE, text=f"<b>{HOSTILE}", note="</script><img src=x>"
        )
        for i, row in enumerate(report.layers)
    ]
    image = TensorInfo("<svg onload=alert(1)>", (1, 3), "float32")
    return replace(report, name=HOSTILE, doc=HOSTILE, notes=(HOSTILE,), layers=tuple(rows), inputs=(image,))


def packed(page: str, id: str) -> str:
    found = re.search(rf'id="page-{id}">([A-Za-z0-9+/=]*)</script>', page)
    assert found is not None
    return zlib.decompress(base64.b64decode(found[1])).decode()


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_the_report_in_the_page_is_the_report() -> None:
    for report in (sample_reports.resnet50(), sample_runs.overflown(), hostile()):
        assert Report.loads(packed(render(report, "html"), "report")) == report


def test_the_policy_lets_the_pages_own_script_and_style_alone() -> None:
    page = render(sample_reports.mlp(), "html")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    script = re.search(r'<script type="module">(.*?)</script>', page, re.S)
    style = re.search(r"<style>(.*?)</style>", page, re.S)
    assert policy is not None
    assert script is not None
    assert style is not None
    assert policy[1].startswith("default-src 'none'; ")
    for part in (script[1], style[1]):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" in policy[1]
    assert "unsafe" not in policy[1]


def test_no_text_of_a_report_is_html() -> None:
    page = render(hostile(), "html")
    assert page.count("<script") == page.count("</script>") == 3
    assert "<title>&lt;script&gt;document.title=&#x27;owned&#x27;&lt;/script&gt;</title>" in page


def test_the_page_names_no_address_but_that_of_svg() -> None:
    page = render(sample_runs.ran(sample_reports.resnet50()), "html")
    assert set(re.findall(r"https?://[^\"' )<]+", page)) == {"http://www.w3.org/2000/svg"}


def test_pages_are_small() -> None:
    report = deep_network()
    assert sum(not row.depth < 3 for row in report.layers) == 2_000
    assert len(render(report, "html").encode()) < 400_000
    assert len(render(sample_runs.ran(report), "html").encode()) < 400_000
    assert len(render(sample_runs.ran(sample_reports.resnet50()), "html").encode()) < 250_000


def test_every_message_leads_to_its_row() -> None:
    report = sample_reports.troubled()
    messages = json.loads(packed(render(report, "html"), "words"))["messages"]
    wrong = next(index for index, row in enumerate(report.layers) if row.promise and not row.promise.held)
    assert any(one["level"] == "problem" and one["row"] == wrong for one in messages)
    assert [one["level"] for one in messages] == sorted(
        [one["level"] for one in messages], key=["problem", "warning", "note"].index
    )


def test_a_tied_weight_leads_to_its_layer_and_a_note_on_a_line_to_the_row_there() -> None:
    report = sample_reports.gpt2()
    rows = tuple(replace(row, line=7 + index) for index, row in enumerate(report.layers))
    report = replace(report, layers=rows, notes=("line 9: the data decide how often this runs",))
    messages = json.loads(packed(render(report, "html"), "words"))["messages"]
    leads = {one["text"].partition(":")[0]: one["row"] for one in messages}
    wte = next(index for index, row in enumerate(rows) if row.path == "wte")
    assert next(row for text, row in leads.items() if text.endswith("wte.weight")) == wte
    assert leads["line 9"] == 2


# --- in a browser ----------------------------------------------------------------------------------------------------

Shown = Callable[..., Browser]


@pytest.fixture
def shown(opened: Opened) -> Shown:
    """Opens a report's page at a size."""

    def show(report: Report, width: int = 1440, dark: bool = False, link: str = "") -> Browser:
        return opened(render(report, "html"), width, dark, link)

    return show


# Expressions in the page.
ROWS = "section.table tbody tr:not(.gap)"
NAMES = f"[...document.querySelectorAll('{ROWS} .name')].map((cell) => cell.textContent.replace('▸', ''))"
NODES = "[...document.querySelectorAll('.view .node .name')].map((name) => name.textContent)"
CHOSEN = "document.querySelector('.panel h2')?.textContent"
OPEN_ALL = "[...document.querySelectorAll('.table button')].find((one) => one.textContent === 'Open all').click()"
WIDTH = "+document.querySelector('.view svg').getAttribute('width')"


def cells(browser: Browser, number: int) -> list[str]:
    """The texts of a column of the table."""
    found: list[str] = browser.run(
        f"[...document.querySelectorAll('{ROWS} td:nth-child({number})')].map((cell) => cell.textContent)"
    )
    return found


def test_the_numbers_of_the_table_are_those_of_the_report(shown: Shown) -> None:
    report = sample_reports.gpt2()
    browser = shown(report)
    browser.run(OPEN_ALL)
    assert browser.run("document.querySelector('h1').textContent") == report.name
    titles = browser.run("[...document.querySelectorAll('section.table th')].map((one) => one.textContent)")
    assert [text.replace(",", "") or "0" for text in cells(browser, titles.index("params") + 1)] == [
        str(row.params) for row in report.layers
    ]
    assert cells(browser, titles.index("output") + 1) == [shapes_cell(row.output_shapes) for row in report.layers]
    assert f"{report.totals.params:,}" in browser.run("document.querySelector('.tiles').textContent")


def test_parts_open_and_close_in_the_network_and_the_table_alike(shown: Shown) -> None:
    browser = shown(sample_reports.resnet50())
    before = browser.run(NAMES)
    place = before.index("layer1") + 1
    twist = f"section.table tbody tr:nth-child({place}) .twist"
    was_open = browser.run(f"document.querySelector('{twist}').closest('tr').ariaExpanded") == "true"
    browser.click(twist)
    after = browser.run(NAMES)
    assert len(after) < len(before) if was_open else len(after) > len(before)
    assert len(browser.run(NODES)) == len(after)
    browser.click(twist)
    assert browser.run(NAMES) == before
    browser.run(OPEN_ALL)
    assert len(browser.run(NODES)) == len(sample_reports.resnet50().layers)


def test_a_row_and_a_node_choose_each_other(shown: Shown) -> None:
    report = sample_reports.resnet50()
    browser = shown(report)
    browser.click("section.table tbody tr:nth-child(1) .name")
    assert browser.run(CHOSEN) == report.layers[0].path
    assert browser.run("document.querySelector('.node.chosen .name').textContent") == report.layers[0].label
    browser.click(".view .node:not(.chosen)")
    name = browser.run(CHOSEN)
    assert name != report.layers[0].path
    assert browser.run("document.querySelector('tr[aria-selected=true] .name').title") == name
    assert browser.run("decodeURIComponent(location.hash)") == f"#{name}"
    browser.press("Escape")
    assert browser.run("document.querySelector('.panel').hidden")


def test_a_link_opens_the_parts_around_its_layer(shown: Shown) -> None:
    report = sample_reports.resnet50()
    deepest = max(report.layers, key=lambda row: row.depth)
    browser = shown(report, link=f"#{deepest.path}")
    assert browser.run(CHOSEN).startswith(deepest.path)
    assert browser.run("document.querySelector('.node.chosen .name').textContent").startswith(deepest.label)


def test_the_search_filters_the_table_marks_nodes_and_goes_on_with_enter(shown: Shown) -> None:
    report = sample_reports.resnet50()
    browser = shown(report)
    browser.run("document.querySelector('input[type=search]').focus()")
    browser.send("Input.insertText", text="conv2")
    found = [row.path for row in report.layers if "conv2" in f"{row.path} {row.type} {row.text}".lower()]
    listed = browser.run(
        "[...document.querySelectorAll('section.table tbody tr:not(.gap):not(.around) .name')].map((one) => one.title)"
    )
    assert listed == found
    for path in (*found[:2],):
        browser.press("Enter")
        assert browser.run(CHOSEN).startswith(path)
    assert browser.run("document.querySelectorAll('.view .node.found').length") > 0


def test_a_title_sorts_the_layers_without_nesting_then_the_other_way_then_not(shown: Shown) -> None:
    report = sample_reports.resnet50()
    browser = shown(report)
    tree = browser.run(NAMES)
    title = "section.table th:nth-child(4) button"
    assert browser.run(f"document.querySelector('{title}').textContent") == "params"
    browser.click(title)
    params = [int(text.replace(",", "") or 0) for text in cells(browser, 4)]
    assert params == sorted(params, reverse=True)
    # Equal rows count together in a list, so that all of it is the network: 25,557,032 parameters.
    assert sum(params) == report.totals.params
    browser.click(title)
    assert [int(text.replace(",", "") or 0) for text in cells(browser, 4)] == params[::-1]
    browser.click(title)
    assert browser.run(NAMES) == tree


def test_keys_move_open_and_zoom(shown: Shown) -> None:
    browser = shown(sample_reports.gpt2())
    names = browser.run(NAMES)
    browser.run("document.querySelector('.view').focus()")
    browser.press("ArrowDown")
    browser.press("ArrowDown")
    assert browser.run("document.querySelector('tr[aria-selected=true] .name').textContent") == names[1]
    width = browser.run("+document.querySelector('.view svg').getAttribute('width')")
    browser.press("+")
    assert browser.run("+document.querySelector('.view svg').getAttribute('width')") == pytest.approx(
        1.25 * width, abs=2
    )
    browser.press("f")
    fits = "(() => { const v = document.querySelector('.view'); return v.scrollHeight <= v.clientHeight + 1 })()"
    assert browser.run(fits)


def test_an_edge_that_skips_layers_goes_around_them(shown: Shown) -> None:
    browser = shown(deep_network())
    browser.run(OPEN_ALL)
    lanes, crossed = browser.run(
        """(() => {
          const boxes = [...document.querySelectorAll('.view .node:not(.open) > rect:last-of-type')]
            .map((rect) => rect.getBoundingClientRect());
          const lanes = [...document.querySelectorAll('.view .wire.skip')];
          const crosses = (path) => [0.3, 0.4, 0.5, 0.6, 0.7].some((part) => {
            const { x, y } = path.getPointAtLength(path.getTotalLength() * part).matrixTransform(path.getScreenCTM());
            return boxes.some((box) => x > box.left && x < box.right && y > box.top && y < box.bottom);
          });
          return [lanes.length, lanes.filter(crosses).length];
        })()"""
    )
    # Each of the 250 blocks but the first takes its input around the seven layers that its sum adds it to.
    assert (lanes, crossed) == (249, 0)


def test_a_layers_panel_holds_its_statistics_and_links(shown: Shown) -> None:
    report = sample_runs.ran(sample_reports.resnet50())
    browser = shown(report, link=f"#{report.layers[0].path}")
    text = browser.run("document.querySelector('.panel').textContent")
    weight = report.layers[0].parameters[0]
    assert " ".join(map(str, weight.shape)) in text
    stats = report.layers[0].stats
    assert stats is not None
    assert stats.histogram is not None
    bars = browser.run("document.querySelectorAll('.panel .histogram rect').length")
    assert bars == sum(count > 0 for count in stats.histogram.counts)


def test_a_run_is_drawn_as_charts(shown: Shown) -> None:
    browser = shown(sample_runs.ran(sample_reports.resnet50()))
    titles = browser.run("[...document.querySelectorAll('.chart h2')].map((one) => one.textContent)")
    assert {"Roofline", "Values through the depth"} <= set(titles)
    browser.click(".chart .slab")
    assert browser.run(CHOSEN)


def test_values_through_the_depth_leave_out_indices_and_keep_small_values_visible(shown: Shown) -> None:
    report = sample_runs.ran(sample_reports.gpt2())
    rows = list(report.layers)
    indices = sample_reports.expression("arange(T)", 1, (1024,), output_dtypes=("int64",), sources=())
    rows.append(replace(indices, stats=sample_runs.bell(1024, 5e6, 1e6)))
    loud = next(i for i, row in enumerate(rows) if row.path == "ln_f")
    rows[loud] = replace(rows[loud], stats=sample_runs.bell(9, 0.0, 3000.0))
    browser = shown(replace(report, layers=tuple(rows)))
    tall, *labels = browser.run(
        """(() => {
          const card = [...document.querySelectorAll('.chart')].find((one) => one.textContent.startsWith('Values'));
          const path = card.querySelector('.area').getAttribute('d');
          const points = path.split(/[ML]/).slice(1).map((one) => +one.split(' ')[1]);
          const half = points.length / 2;
          const spans = points.slice(0, half).map((y, index) => points.at(-1 - index) - y).sort((a, b) => a - b);
          return [spans[half >> 1], ...[...card.querySelectorAll('text')].map((one) => one.textContent)];
        })()"""
    )
    # A typical row is drawn as asinh(1) of asinh(3000 / 0.6) = 9.2, on either side: a tenth of the height of 182.
    assert tall > 10
    assert "1,000" in labels
    assert "−1,000" in labels
    assert "1.00e6" not in labels


@pytest.mark.parametrize("width", [768, 1024, 1400, 1920])
def test_no_column_of_the_table_is_cut(shown: Shown, width: int) -> None:
    browser = shown(sample_runs.ran(sample_reports.resnet50()), width)
    assert browser.run("(() => { const r = document.querySelector('.rows'); return r.scrollWidth <= r.clientWidth })()")
    titles = browser.run("[...document.querySelectorAll('section.table th')].map((one) => one.textContent)")
    assert {"layer", "type", "latency", "share of latency"} <= set(titles)
    assert ("histogram" in titles) == (width == 1920)


def test_colour_is_by_the_figure_chosen(shown: Shown) -> None:
    browser = shown(sample_reports.resnet50())
    fills = "[...document.querySelectorAll('.view .node > rect:last-of-type')].map((one) => one.style.fill).join()"
    before = browser.run(fills)
    browser.run(
        "{ const s = document.querySelector('select'); s.value = 'params'; s.dispatchEvent(new Event('change')) } 0"
    )
    assert browser.run(fills) != before


def test_everything_from_a_report_is_text_to_the_page(shown: Shown) -> None:
    browser = shown(hostile())
    browser.run(OPEN_ALL)
    assert browser.run("document.title") == HOSTILE
    assert browser.run("document.querySelector('h1').textContent") == HOSTILE
    assert browser.run(NAMES) == [HOSTILE] * len(hostile().layers)
    browser.click("section.table tbody tr:nth-child(1) .name")
    assert browser.run(CHOSEN) == f"{HOSTILE}0"
    assert browser.run("document.querySelectorAll('img, script').length") == 3


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1440])
def test_nothing_is_wider_than_the_window(shown: Shown, width: int, dark: bool) -> None:
    browser = shown(
        sample_runs.ran(sample_reports.resnet50()), width, dark, f"#{sample_reports.resnet50().layers[0].path}"
    )
    assert browser.run("document.documentElement.scrollWidth") <= width
    colour = browser.run("getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).map(Number)")
    assert (max(colour[:3]) < 60) == dark
    browser.click(".tools button")
    colour = browser.run("getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).map(Number)")
    assert (max(colour[:3]) < 60) != dark


def test_the_outputs_of_a_run_are_drawn_as_strips(shown: Shown) -> None:
    # A map of two cells, at the ends of the scale; and two bars, from −1 and to 3.
    cells = encode_cells([0.0, 1.0], 0.0, 1.0)
    strips = (
        Strip("x <b>", None, "maps", (1, 1, 1, 2), 1, 2, (cells,), (0,), 1, 0.0, 1.0, 0.5),
        Strip("fc1", 0, "bars", (1, 2), 1, 2, (cells,), low=-1.0, high=3.0),
    )
    browser = shown(replace(sample_runs.ran(sample_reports.mlp()), strips=strips))
    texts = browser.run(
        "[...document.querySelectorAll('.strips li')].map((one) => one.innerText.split('\\n').map((t) => t.trim()))"
    )
    assert [text[0] for text in texts] == ["x <b>", "fc1"]
    assert texts[0][1:3] == ["input", "1×1×1×2"]
    assert "50.0 % zeros" in texts[0]
    pixels = "[...document.querySelector('.strips canvas').getContext('2d').getImageData(0, 0, 2, 1).data]"
    assert browser.run(pixels) == [*colour(0.0), 255, *colour(1.0), 255]
    widths = browser.run("[...document.querySelectorAll('.strips rect')].map((one) => +one.getAttribute('width'))")
    assert widths == [19, 57]  # of 76 pixels for 4
    browser.click(".strips li:nth-child(2) button")
    assert browser.run(CHOSEN) == sample_reports.mlp().layers[0].path
    assert browser.run("document.querySelectorAll('.strips li.chosen').length") == 1


def test_a_click_on_a_number_shows_how_it_is_computed_as_the_terminal_does(shown: Shown) -> None:
    report = sample_runs.ran(sample_reports.mlp())
    first, second = (row.path for row in report.layers[:2])
    x, w = (
        Element(name, (0, i), v, kind) for i, name, v, kind in ((0, "x<b>", 0.25, "input"), (1, first, -3.0, "layer"))
    )
    result = Element(second, (0, 1), -1234.5678, "layer")
    products = ValueTable(
        "terms", ("x<b>", "w", "product"), (TableRow((x, w, 0.75)), TableRow(("… 9 more", None, 1e-9), "rest"))
    )
    window = Grid("x<b>", "input", 0, (0,), ((0.25, None), (2.0, -1.0)), (0, 1), (4, 5), (1, 1))
    parts = (products, GridRow((window,), (Subtotal("sum of the products", 7.0),)))
    step = ValueStep("linear", result, "summed", (*parts, Equation("", "x·w", "0.25·3", result.value, (x, w), "so")))
    bars = Strip(first, 0, "bars", (1, 2), 1, 2, (encode_cells([0.0, 1.0], 0.0, 1.0),), low=-3.0, high=3.0)
    kept = KeptValue(1, replace(w, index=(0, 1)), (replace(step, operator="relu"),))
    strips = (replace(bars, values=(kept,)), replace(bars, name=second, row=1, values=(KeptValue(1, result, (step,)),)))
    browser = shown(replace(report, strips=strips), 390, True)
    # The second of two bars.
    browser.run(
        "(() => { const panel = document.querySelectorAll('.explained')[1]; const box = panel.getBoundingClientRect();"
        "panel.dispatchEvent(new MouseEvent('click', {clientX: box.x + 5, clientY: box.y + 0.75 * box.height})); })()"
    )
    assert browser.run(CHOSEN) == second
    text = browser.run("document.querySelector('.steps').innerText")
    explanation = ValueExplanation(result, result.value, "", "", (1, 2), "float32", "cpu", 0, None, (step,))
    terminal = draw(explanation, 100).split("linear", 1)[1]

    def numbers(text: str) -> list[str]:
        return sorted(re.findall(r"−?[0-9][0-9.,e−]*", text))

    assert numbers(text) == numbers(terminal)
    assert not [
        words for words in ("linear", "summed", "terms", "so", "pad", "x<b>[0]", "… 9 more") if words not in text
    ], text
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert {"color-contrast", "button-name", "scrollable-region-focusable"} <= browser.passed_by_axe()
    # An operand leads to its own layer, and there to how it came about; the keyboard is where it leads.
    browser.run(f"document.querySelector('.steps [aria-label=\"{first}[0, 1]\"]').click()")
    assert browser.run(CHOSEN) == first
    assert browser.run("document.activeElement.getAttribute('aria-label')") == f"{first}[0, 1] = −3"
    assert browser.run("document.querySelector('.steps b').textContent.trim()") == "relu"
    assert browser.run("decodeURIComponent(location.hash)") == f"#{first}[0, 1]"


def test_the_report_can_be_downloaded(shown: Shown) -> None:
    report = sample_reports.mlp()
    browser = shown(report)
    # A download of the browser's own would leave this test's folder.
    keep = "(blob) => { done(blob.text()); return '#'; }"
    browser.run(f"window.saved = new Promise((done) => {{ URL.createObjectURL = {keep}; }}); 0")
    browser.click(".download")
    assert Report.loads(browser.run("window.saved")) == report


def test_a_network_without_layers_and_one_of_thousands_are_drawn(shown: Shown) -> None:
    assert "no layers" in shown(replace(sample_reports.mlp(), layers=())).run("document.body.textContent")
    browser = shown(deep_network())
    browser.run(OPEN_ALL)
    assert len(browser.run(NODES)) == len(deep_network().layers)


def test_the_memory_of_a_training_step_is_drawn_by_what_it_is_made_of(shown: Shown) -> None:
    browser = shown(sample_reports.trained())
    chart = "[...document.querySelectorAll('.chart')].find((one) => one.textContent.startsWith('Memory over a train'))"

    def texts(selector: str) -> list[str]:
        found: list[str] = browser.run(f"[...{chart}.querySelectorAll('{selector}')].map((one) => one.textContent)")
        return found

    # The most is held in the backward of relu: 2 MiB each of state, gradients and saved activations, and 1 more.
    assert "in the backward of relu" in texts("p")[0]
    state, gradients, saved, other = texts(".legend span")[1:]
    assert (state, gradients) == ("optimizer state 2.00 MiB", "gradients 2.00 MiB")
    assert (saved, other) == ("saved activations 2.00 MiB", "other 1.00 MiB")
    assert [one for one in texts("text") if one in PHASES] == list(PHASES)
    # A stretch leads to its row.
    browser.click(".chart .hit:last-of-type")
    assert not browser.run(CHOSEN)
    browser.run(f"{chart}.querySelectorAll('.hit')[5].dispatchEvent(new MouseEvent('click', {{ bubbles: true }}))")
    assert browser.run(CHOSEN) == "fc2"
    assert "backward MACs" in browser.run("document.querySelector('.panel').textContent")
    assert "color-contrast" in browser.passed_by_axe()
