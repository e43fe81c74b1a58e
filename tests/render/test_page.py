"""The page: what its file holds, and what it does in a real headless Chromium."""

import json
import re

import pytest
from helpers.browser import open_page, press, selected, texts

from flowtracer import trace
from flowtracer.render import notebook_frame, page_html


@pytest.fixture(scope="module")
def long_trace(embedded):
    """8,000 tokens and more of real text through a real model."""
    line = "7 * 3 = 21, 21 + 18 = 39, not 33.\n"
    response = line * (8000 // 15) + "\\boxed{(18 - 7) * 3}"
    made = trace(embedded.model, embedded.tokenizer, "Make 33 from 3, 7, 18.", response)
    assert len(made.ids) > 8000
    return made


def data_in(page):
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(block.group(1))


def test_the_file_names_no_address_and_lets_no_token_out_of_its_data(hostile):
    page = page_html(hostile)
    assert not re.search(r"(?:https?:)?//[a-z]|\bsrc=|\bhref=|@import|url\(", page, re.IGNORECASE)
    assert page.count("<script") == page.count("</script>") == 2
    assert "\x00" not in page
    assert data_in(page)["units"] == [unit.text for unit in hostile.units]


def test_the_same_trace_gives_the_same_page(hostile):
    assert page_html(hostile) == page_html(hostile)


def test_a_notebook_shows_the_page_in_a_frame(hostile):
    frame = hostile._repr_html_()
    assert frame == notebook_frame(hostile)
    assert frame.count("<iframe") == 1
    assert "<script" not in frame


@pytest.mark.browser
def test_hostile_tokens_are_text_and_nothing_else(hostile, browser, tmp_path):
    open_page(browser, hostile, tmp_path)
    assert browser.execute_script("return window.hacked === undefined")
    shown = texts(browser, ".u")
    assert len(shown) == len(hostile.units)
    for unit, text in zip(hostile.units, shown, strict=True):
        if unit.text.isprintable() and unit.text.strip():
            assert text == unit.text
    assert "␀" in shown
    assert any("‹U+202E›right to left" in text for text in shown)
    assert (
        browser.execute_script(
            "return document.querySelectorAll('#view .tv-text b, #view script').length"
        )
        == 0
    )


@pytest.mark.browser
def test_click_and_keys_show_where_flow_comes_from(hostile, browser, tmp_path):
    open_page(browser, hostile, tmp_path)
    answer = hostile.roles.index("answer")
    browser.execute_script(f"document.querySelector('[data-i=\"{answer}\"]').click()")
    assert selected(browser) == answer
    best = max((e for e in hostile.edges if e.target == answer), key=lambda e: e.flow)
    panel = browser.find_element("class name", "tv-detail").text
    assert "rank\nnot ranked: the answer" in panel
    assert f"\n{answer}" in panel
    rows = browser.execute_script(
        "return [...document.querySelectorAll('.tv-detail tr')].map(r => Number(r.cells[1].textContent))"
    )
    assert rows[0] == best.source
    assert browser.execute_script("return document.querySelectorAll('.tv-links path').length") > 0

    press(browser, "up")  # up: to the strongest source
    assert selected(browser) == best.source
    press(browser, "right", "left")  # right and left again
    assert selected(browser) == best.source
    press(browser, "h")
    assert selected(browser) in hostile.hubs
    press(browser, "home")
    assert selected(browser) == 0
    press(browser, "a")
    assert selected(browser) == answer
    press(browser, "escape")
    assert selected(browser) == -1
    press(browser, "?")
    assert browser.execute_script("return document.getElementById('help').open")


@pytest.mark.browser
def test_hover_tells_position_id_score_and_rank(hostile, browser, tmp_path):
    from selenium.webdriver import ActionChains

    open_page(browser, hostile, tmp_path)
    answer = hostile.roles.index("answer")
    ActionChains(browser).move_to_element(
        browser.find_element("css selector", f'[data-i="{answer}"]')
    ).perform()
    tip = browser.find_element("class name", "tv-tip").text
    assert f"position {answer}" in tip
    assert f"id {hostile.ids[answer]}" in tip
    assert "throughput 2.0000" in tip
    assert "rank not ranked: the answer" in tip


@pytest.mark.browser
def test_light_and_dark_are_both_readable(hostile, browser, tmp_path):
    open_page(browser, hostile, tmp_path)
    contrast = """
      const lum = (css) => { const c = css.match(/[\\d.]+/g).slice(0, 3).map(Number)
        .map(v => v <= 10 ? v / 3294 : ((v / 255 + 0.055) / 1.055) ** 2.4);
        return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2]; };
      return Math.min(...[...document.querySelectorAll('.u')].filter(u => u.style.background).map(u => {
        const s = getComputedStyle(u), a = lum(s.color), b = lum(s.backgroundColor);
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }));"""
    papers = set()
    for _ in range(2):
        browser.execute_script("document.getElementById('theme').click()")
        papers.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
        assert browser.execute_script(contrast) >= 4.5
    assert len(papers) == 2


@pytest.mark.browser
def test_roles_are_shown_by_more_than_colour(hostile, browser, tmp_path):
    open_page(browser, hostile, tmp_path)
    style = "const s = getComputedStyle(document.querySelector('.role-%s')); return s.%s"
    assert browser.execute_script(style % ("a", "fontWeight")) == "700"
    assert "underline" in browser.execute_script(style % ("u", "textDecorationLine"))
    assert texts(browser, ".tv-region span:first-child") == ["prompt: user", "response"]


@pytest.mark.browser
def test_copy_buttons_give_json_and_csv(hostile, browser, tmp_path):
    open_page(browser, hostile, tmp_path)
    browser.execute_script(
        "window.copied = []; Object.defineProperty(navigator, 'clipboard',"
        " {value: {writeText: async (t) => { window.copied.push(t); }}})"
    )
    browser.execute_script("document.getElementById('copy-json').click()")
    browser.execute_script("document.getElementById('copy-csv').click()")
    as_json, as_csv = browser.execute_script("return window.copied")
    assert json.loads(as_json)["units"] == [unit.text for unit in hostile.units]
    assert as_csv.startswith("position,ids,text,role,throughput")
    assert '"""quoted"""' in as_csv


@pytest.mark.browser
def test_eight_thousand_tokens_stay_small_and_usable(long_trace, browser, tmp_path):
    import time

    started = time.monotonic()
    path = open_page(browser, long_trace, tmp_path)
    assert time.monotonic() - started < 30
    assert path.stat().st_size < 3_000_000
    assert browser.execute_script("return document.querySelectorAll('.u').length") == len(
        long_trace.units
    )
    assert (
        0
        < browser.execute_script("return document.querySelectorAll('.tv-arcs path').length")
        <= 616
    )
    took = browser.execute_script(
        "const t = performance.now(); document.querySelector('[data-i=\"4000\"]').click();"
        " document.body.offsetHeight; return performance.now() - t"
    )
    assert selected(browser) == 4000
    assert took < 2000
    press(browser, "a")
    assert long_trace.roles[selected(browser)] == "answer"
