"""The page of rollouts in a real headless Chromium."""

import re

import pytest
from helpers.axe import axe_script, serious_faults
from helpers.browser import chromium, press, texts
from helpers.traces import HOSTILE
from helpers.watched import watched_rollout

from flowtracer.render.rollouts_page import rollouts_html
from flowtracer.watching.page_data import page_data
from flowtracer.watching.rollout import WatchedFile
from flowtracer.watching.run_page import save_page

WORDS = ["We", " add", " 3", " and", " 4", ",\n", "so", " 7", "."]


def run(steps=(1, 11, 21)):
    """A run with four plain responses a step and a hostile one."""
    return WatchedFile(
        [
            *(
                watched_rollout(
                    WORDS * (row + 1),
                    step=step,
                    row=row,
                    reward=float(row % 2),
                    advantage=(1.2, -0.8, 0.0, -0.2)[row],
                )
                for step in steps
                for row in range(4)
            ),
            *(
                watched_rollout(
                    [*HOSTILE, "x"], step=step, row=9, answered=False, answer=None,
                    prompt="</script><b id=hacked>", candidates=[False, *[True] * len(HOSTILE)],
                )
                for step in steps
            ),
        ],
        "run",
        ["a note about </script> what was left out"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    with chromium() as driver:
        yield driver


@pytest.fixture
def page(browser, tmp_path):
    """Opens a page; it must be ready, silent and without any request of its own."""

    def open_page(watched=None):
        path = save_page(watched or run(), tmp_path / "rollouts.html", title="test")
        browser.get(path.as_uri())
        assert browser.execute_script("return document.documentElement.dataset.ready") == "yes"
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
        assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
        return browser

    return open_page


def choose(browser, name, text):
    """Choose what a menu calls so."""
    browser.execute_script(
        "const menu = document.getElementById(arguments[0]);"
        "menu.value = [...menu.options].find((o) => o.text === arguments[1]).value;"
        "menu.dispatchEvent(new Event('input', { bubbles: true }))",
        name,
        text,
    )


def search(browser, text):
    press(browser, "/", *text, "enter")


def rows(browser):
    return texts(browser, ".facts > span:nth-child(2) > b")


def colours(browser, card=0):
    return browser.execute_script(
        "const card = document.querySelectorAll('.card')[arguments[0]];"
        "return [...card.querySelectorAll('.t')].map((token) => token.style.background)",
        card,
    )


def test_the_file_names_no_address_and_lets_no_token_out_of_its_data():
    page = rollouts_html(page_data(run()))
    assert not re.search(r"(?:https?:)?//[a-z]|\bsrc=|\bhref=|@import|url\(", page, re.IGNORECASE)
    assert page.count("<script") == page.count("</script>") == 2
    assert page == rollouts_html(page_data(run()))


@pytest.mark.browser
def test_hostile_tokens_are_text_and_nothing_else(page):
    browser = page()
    press(browser, "p")
    assert browser.execute_script("return window.hacked === undefined")
    assert browser.execute_script("return document.getElementById('hacked')") is None
    shown = browser.execute_script(
        "return [...document.querySelectorAll('.card')].at(-1).querySelector('.text').textContent"
    )
    assert "</script>" in shown or "<script>" in shown
    assert texts(browser, ".prompt")[-1] == "</script><b id=hacked>"


@pytest.mark.browser
def test_slider_and_arrow_keys_step_through_the_run(page):
    browser = page()
    assert texts(browser, "#step") == ["step 1 (1 of 3)"]
    press(browser, "right")
    assert texts(browser, "#step") == ["step 11 (2 of 3)"]
    assert all("step 11" in facts for facts in texts(browser, ".facts"))
    press(browser, "right", "right", "left", "home")
    assert texts(browser, "#step") == ["step 1 (1 of 3)"]
    press(browser, "\ue010")  # End
    assert texts(browser, "#step") == ["step 21 (3 of 3)"]
    assert browser.execute_script("return document.getElementById('next').disabled")
    assert browser.execute_script("return location.hash") == "#step=21"
    browser.refresh()
    assert texts(browser, "#step") == ["step 21 (3 of 3)"]


@pytest.mark.browser
def test_colours_say_what_becomes_more_and_less_likely(page):
    browser = page()
    above, below, none = (colours(browser, card) for card in range(3))
    red = [int(re.findall(r"\d+", colour)[0]) for colour in above]
    blue = [int(re.findall(r"\d+", colour)[2]) for colour in above]
    assert all(b > r for r, b in zip(red, blue, strict=True)) and red[1] < red[0]  # 1.5 after 1
    assert all(
        int(re.findall(r"\d+", colour)[0]) > int(re.findall(r"\d+", colour)[2]) for colour in below
    )
    assert set(none) == {""}
    assert "−1.8 less likely" in texts(browser, "#legend")[0]
    press(browser, "2")
    assert colours(browser)[0] == "" != colours(browser)[1]
    assert "no colour at 1" in texts(browser, "#meaning")[0]
    press(browser, "4")
    assert colours(browser)[0] == "" and texts(browser, "#low") == ["0"]
    light = colours(browser)
    browser.execute_script("document.getElementById('theme').click()")
    assert colours(browser) != light


@pytest.mark.browser
def test_filter_search_and_sort(page):
    browser = page()
    choose(browser, "reward", "1")
    assert rows(browser) == ["1", "3", "9"]
    choose(browser, "sort", "longest first")
    assert rows(browser)[-1] in ("1", "9")
    choose(browser, "answered", "not found")
    assert rows(browser) == ["9"]
    choose(browser, "answered", "any")
    choose(browser, "reward", "advantage below 0")
    assert sorted(rows(browser)) == ["1", "3"]
    choose(browser, "reward", "any")
    choose(browser, "sort", "as in the batch")
    search(browser, "3 and 4")  # over several tokens
    assert rows(browser) == ["0", "1", "2", "3"]
    assert texts(browser, ".card:first-child .found") == [" 3", " and", " 4"]
    press(browser, "a")
    assert len(rows(browser)) == 12 and texts(browser, "#step") == ["all steps"]
    search(browser, " nowhere")
    assert texts(browser, "#count") == ["No rollout fits the filters."]


@pytest.mark.browser
def test_keys_walk_over_rollouts_and_tokens(page):
    browser = page()
    press(browser, "down", "down", ".", ".")
    assert browser.execute_script("return document.activeElement.matches('.card:nth-child(2)')")
    assert texts(browser, ".t.chosen") == [" add"]
    tip = texts(browser, "#tip")[0]
    assert tip.startswith('" add"   token 1, id 11\nweight × advantage −1.2\nweight 1.5')
    press(browser, ",", "escape")
    assert texts(browser, ".t.chosen") == []
    press(browser, "?")
    assert browser.execute_script("return document.getElementById('help').open")


@pytest.mark.browser
def test_a_long_response_is_laid_out_when_asked_for(page):
    tokens = [f" t{i}" for i in range(9000)]
    browser = page(WatchedFile([watched_rollout(tokens, step=None)], "scores"))
    assert len(texts(browser, ".t")) == 1500
    browser.execute_script("document.querySelector('.card button').click()")
    assert len(texts(browser, ".t")) == 8192
    assert texts(browser, ".gap") == ["\n… 808 tokens left out …\n"]
    assert colours(browser)[-1] != ""
    assert browser.execute_script("return document.getElementById('steps').offsetParent === null")


@pytest.mark.browser
@pytest.mark.parametrize("width", [400, 1000, 1600])
def test_nothing_is_wider_than_the_window(page, width):
    browser = page()
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.browser
def test_a_run_without_rollouts_is_no_error(page):
    browser = page(WatchedFile([], "empty"))
    assert texts(browser, "#count") == ["No rollout fits the filters."]


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, theme):
    axe_script()  # skips where there is none
    browser = page()
    browser.execute_script(
        "document.documentElement.dataset.theme = arguments[0] === 'dark' ? 'light' : 'dark';"
        "document.getElementById('theme').click()",
        theme,
    )
    assert serious_faults(browser) == []
