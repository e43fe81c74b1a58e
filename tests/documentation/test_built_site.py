"""The built site in a browser, from files: nothing from another address, search, equations.

`make docs` builds it; without it these tests are skipped.
"""

from pathlib import Path

import pytest
from helpers.browser import chromium

SITE = Path(__file__).resolve().parents[2] / "build" / "site"
PAGES = ["index.html", "equations.html", "api/trace.html", "results/referee/index.html"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not SITE.is_dir(), reason="no build/site; `make docs` builds it"),
]


@pytest.fixture(scope="module")
def browser():
    with chromium() as driver:
        yield driver


@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_files_only_and_reports_no_error(browser, page):
    browser.get((SITE / page).as_uri())
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert all(address.startswith(("file:", "data:", "blob:")) for address in loaded)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_equations_are_shown_without_a_script(browser):
    browser.get((SITE / "equations.html").as_uri())
    heights = browser.execute_async_script(
        "const done = arguments[0]; document.fonts.ready.then(() => done("
        "[...document.querySelectorAll('math')].map(e => e.getBoundingClientRect().height)))"
    )
    assert len(heights) > 20
    assert min(heights) > 5, heights
    assert "$" not in browser.execute_script("return document.querySelector('h2 + p').textContent")


def test_search_finds_a_page_from_files(browser):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get((SITE / "index.html").as_uri())
    box = browser.find_element("css selector", "input.md-search__input")
    box.click()
    box.send_keys("triangular solve")
    links = WebDriverWait(browser, 30).until(
        lambda driver: driver.find_elements("css selector", ".md-search-result__link")
    )
    assert any("equations.html" in link.get_attribute("href") for link in links)
