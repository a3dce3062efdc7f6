"""One headless Chromium for all tests of pages, where there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import PROGRAM, Browser, Opened


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser, started once."""
    if PROGRAM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with Browser() as started:
        yield started


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opened]:
    """Opens a page. Whatever a test does there, nothing is logged, nothing asked for, nothing wider than the window."""
    file = tmp_path / "page.html"

    def open_page(page: str, width: int = 1440, dark: bool = False, link: str = "") -> Browser:
        file.write_text(page, encoding="utf-8")
        browser.size(width, 900, dark)
        browser.open(file, link)
        return browser

    yield open_page
    assert browser.complaints == []
    assert set(browser.requests) == {file.absolute().as_uri()}
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of pages are kept to look at: in $FWDSCOPE_PICTURES, else beside the tests' other files."""
    folder = Path(os.environ.get("FWDSCOPE_PICTURES") or tmp_path_factory.getbasetemp() / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
