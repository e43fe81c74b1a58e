"""axe-core finds no serious fault in the page, in light and dark, wide and narrow."""

from dataclasses import replace

import pytest
from helpers.axe import axe_script, serious_faults
from helpers.browser import open_page

pytestmark = pytest.mark.browser


@pytest.fixture
def narrow(browser):
    """Makes the window as wide as said, and as it was again."""

    def to(width):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    yield to
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_no_serious_fault(theme, width, layered, browser, narrow, tmp_path):
    axe_script()  # skips where there is none
    narrow(width)
    open_page(browser, replace(layered, correct=False, cut_off=True), tmp_path)
    browser.execute_script(
        "document.documentElement.dataset.theme = arguments[0] === 'dark' ? 'light' : 'dark';"
        "document.getElementById('theme').click();"
        "document.querySelector('.tv-layers').open = true;"
        "document.querySelector('.u.hub').click()",
        theme,
    )
    assert serious_faults(browser) == []
    browser.execute_script("document.getElementById('help').showModal()")
    assert serious_faults(browser) == []


def test_nothing_is_wider_than_a_narrow_window(layered, browser, narrow, tmp_path):
    narrow(400)
    open_page(browser, layered, tmp_path)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
