"""Pictures on the page: a map of patches that are pieces of the text; one item where there is no room."""

from dataclasses import replace

import pytest
from rich.console import Console

pytest.importorskip("PIL", reason="needs the extra flowtracer[vision]")
from helpers.axe import axe_script, serious_faults
from helpers.browser import open_page, selected
from helpers.processors import PROCESSORS, picture, small_model

from flowtracer import trace
from flowtracer.render.page_data import page_data
from flowtracer.render.terminal import coloured_text

RESPONSE = "the square is green . the answer is red"


@pytest.fixture(scope="module")
def pictured():
    model, processor = small_model("qwen2_5_vl"), PROCESSORS["qwen2_5_vl"]()
    images = [picture(1, 48, 32), picture(2, 16, 24)]
    return trace(model, processor, "what colour ?", RESPONSE, images=images, answer="last-line")


@pytest.fixture(params=["light", "dark"])
def theme(request, browser):
    features = [{"name": "prefers-color-scheme", "value": request.param}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    yield request.param
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_pages_data_has_the_grid_and_the_ratio_of_the_flow(pictured):
    data = page_data(pictured)
    first, second = data["pictures"]
    assert (first["rows"], first["columns"], first["tokens"]) == (3, 4, 12)
    assert data["units"][first["first"]].strip() == "<|image_pad|>"
    assert data["shown"][first["first"] + 5] == "patch 1:2,2"
    regions = {region["name"]: region for region in data["regions"]}
    assert regions["picture"]["tokens"] == first["tokens"] + second["tokens"]
    assert first["flow"] + second["flow"] == pytest.approx(regions["picture"]["flow"], abs=1e-3)


def test_terminal_and_figure_show_a_picture_as_one_item(pictured):
    text = coloured_text(pictured).plain
    assert "image_pad" not in text and text.count("[picture ") == 2
    ratio = page_data(pictured)["pictures"][0]["flow"]
    assert f"[picture 1: {100 * ratio:.2g}% of the flow]" in text
    Console(width=60, quiet=True).print(coloured_text(pictured))
    drawn = "".join(label.get_text() for label in pictured.plot().axes[0].texts)
    assert "image_pad" not in drawn and "[picture 2:" in drawn


@pytest.mark.browser
def test_patches_are_where_they_are_in_the_picture(pictured, browser, theme, tmp_path):
    open_page(browser, pictured, tmp_path)
    places = browser.execute_script(
        "return [...document.querySelectorAll('.tv-map')].map((map) => [...map.querySelectorAll('.u')]"
        ".map((cell) => { const c = cell.getBoundingClientRect(), m = map.getBoundingClientRect();"
        "return [Math.round((c.top - m.top) / c.height), Math.round((c.left - m.left) / c.width)]; }))"
    )
    for made, positions in zip(pictured.pictures, places, strict=True):
        cells = [[r, c] for r in range(made.rows) for c in range(made.columns)]
        assert positions == cells
    loaded = browser.execute_script(
        "return [...document.images].map((image) => image.complete && image.naturalWidth > 0)"
    )
    assert loaded == [True] * 4
    labels = browser.execute_script(
        "return [...document.querySelectorAll('.tv-picture')].map((one) => one.ariaLabel)"
    )
    assert labels[0].startswith("Picture 1: ") and "of the flow on" in labels[0]


@pytest.mark.browser
@pytest.mark.parametrize("width, height", [(20, 20_000), (20_000, 20)])
def test_narrow_pictures_keep_patches_that_can_be_clicked(
    pictured, browser, tmp_path, width, height
):
    narrow = replace(pictured.pictures[0], width=width, height=height)
    open_page(browser, replace(pictured, pictures=(narrow, *pictured.pictures[1:])), tmp_path)
    size = browser.find_element("class name", "tv-map").size
    assert min(size.values()) >= 40 and max(size.values()) <= 370


@pytest.mark.browser
def test_a_patch_is_selected_and_linked_as_any_token(pictured, browser, tmp_path):
    open_page(browser, pictured, tmp_path)
    patch = pictured.pictures[0].first + 9
    browser.execute_script(f"document.querySelector('[data-i=\"{patch}\"]').click()")
    assert selected(browser) == patch
    panel = browser.find_element("class name", "tv-detail").text
    assert "patch 1:3,2" in panel and "ratio of flow" in panel
    assert browser.execute_script("return document.querySelectorAll('.tv-links path').length") > 0
    strongest = browser.execute_script(
        "return [...document.querySelectorAll('.patch')].some((one) => one.style.background !== '')"
    )
    assert strongest


@pytest.mark.browser
@pytest.mark.parametrize("width", [400, 1600])
def test_no_serious_fault_and_nothing_too_wide(pictured, browser, theme, width, tmp_path):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        open_page(browser, replace(pictured, correct=False), tmp_path)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        axe_script()  # skips where there is none
        assert serious_faults(browser) == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
