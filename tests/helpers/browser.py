"""A real headless Chromium, and what tests ask of it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flowtracer.render import save_page

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
KEYS = {
    "left": "\ue012", "up": "\ue013", "right": "\ue014", "down": "\ue015", "home": "\ue011",
    "escape": "\ue00c", "enter": "\ue007",
}  # fmt: skip


@contextmanager
def chromium(width: int = 1300, height: int = 900, *more: str) -> Iterator[Any]:
    """A browser without any connection of its own; skips where none is installed."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium or chromedriver; apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--disable-background-networking", "--no-first-run", f"--window-size={width},{height}",
        *more,
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


def open_page(browser: Any, trace: Any, folder: Path) -> Path:
    """Load a trace's page; it must be ready, silent and without any request of its own."""
    path = folder / "page.html"
    save_page(trace, path)
    browser.get(path.as_uri())
    assert browser.execute_script("return document.documentElement.dataset.ready") == "yes"
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    return path


def press(browser: Any, *keys: str) -> None:
    """Press keys one after the other, by a name of KEYS or as they are."""
    from selenium.webdriver import ActionChains

    for key in keys:
        ActionChains(browser).send_keys(KEYS.get(key, key)).perform()


def texts(browser: Any, selector: str) -> list[str]:
    """The text of every element that fits."""
    script = "return [...document.querySelectorAll(arguments[0])].map(node => node.textContent)"
    return browser.execute_script(script, selector)


def selected(browser: Any) -> int:
    """The selected piece, -1 for none."""
    return browser.execute_script(
        "const s = document.querySelector('.selected'); return s ? Number(s.dataset.i) : -1"
    )
