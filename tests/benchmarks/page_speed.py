"""How large the page of a network of 2,000 operators is, and how fast a headless Chromium draws it.

``PYTHONPATH=tests/support python tests/benchmarks/page_speed.py`` prints the page's size in kB and, as the best of
five, the milliseconds from opening it until it is drawn folded, and from opening all its parts until they are on the
screen; then the same of a network without parts, whose graph is one layout.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import sample_runs
from browser import Browser
from made_reports import deep_network

from fwdscope.render import render
from fwdscope.report import Report

OPEN_ALL = """(() => {
  const began = performance.now();
  [...document.querySelectorAll(".table button")].find((one) => one.textContent === "Open all").click();
  document.querySelector(".view").getBoundingClientRect();
  return new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now() - began))));
})()"""


def flat(report: Report) -> Report:
    """The same operators without the parts around them."""
    around = {index for index, row in enumerate(report.layers) if row.depth < 3}
    leaves = [index for index in range(len(report.layers)) if index not in around]
    number = {index: i for i, index in enumerate(leaves)}
    rows = [replace(report.layers[i], depth=1, label=report.layers[i].path) for i in leaves]
    return replace(report, layers=tuple(replace(r, sources=tuple(number[j] for j in r.sources or ())) for r in rows))


def main() -> None:
    deep = deep_network()
    pages = {"2,000 operators": deep, "with a run": sample_runs.ran(deep), "without parts": flat(deep)}
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        browser.size(1440, 1000)
        for name, report in pages.items():
            file = Path(folder, "page.html")
            file.write_text(render(report, "html"), encoding="utf-8")
            folded, opened = [], []
            for _ in range(5):
                browser.open(file)
                folded.append(browser.run("performance.getEntriesByName('drawn')[0].startTime"))
                opened.append(browser.run(OPEN_ALL))
            print(
                f"{name}: {file.stat().st_size / 1000:.0f} kB, folded {min(folded):.0f} ms, open {min(opened):.0f} ms"
            )


if __name__ == "__main__":
    main()
