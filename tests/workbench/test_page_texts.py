"""The page in a real browser: several texts, side by side, in the address, in files, and by the keyboard."""

import json
import time

import pytest
from helpers.browser import press
from helpers.serving import (
    PROBLEM,
    answer,
    choose,
    click,
    open_workbench,
    shown,
    state,
    wait,
    wait_for_trace,
)

pytestmark = pytest.mark.browser
OTHER = "Make 4 from 16, 20, 24."


@pytest.fixture
def two(page):
    answer(page, OTHER)
    answer(page, PROBLEM)
    return page


@pytest.fixture
def downloads(browser, tmp_path):
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )

    def newest(ending):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            for path in tmp_path.glob(f"*{ending}"):
                return path
            time.sleep(0.05)
        pytest.fail(f"no file *{ending} was downloaded")

    return newest


def test_two_traces_of_one_text_are_compared_with_linked_selection(two):
    click(two, "#compare-open")
    wait(two, "document.querySelector('#compare-view .trace-view')")
    assert "Rank correlation" in shown(two, "#compare-note")
    two.execute_script("flowtracer.bench.view.select(30)")
    there = "document.querySelector('#compare-view .selected')?.dataset.i"
    assert two.execute_script(f"return {there}") == "30"
    two.execute_script("document.querySelector('#compare-view [data-i=\"41\"]').click()")
    assert state(two, "view.selected") == 41
    choose(two, "#compare-scorer", "entropy")
    wait(two, "document.querySelector('#compare-view .tv-scorer').value === 'entropy'")
    wait(two, "location.hash.includes(';mean;entropy')")
    two.refresh()
    wait(two, "document.querySelector('#compare-view .tv-scorer')?.value === 'entropy'")
    wait_for_trace(two)
    marks = "document.querySelectorAll('#view .differs, #compare-view .differs').length"
    assert two.execute_script(f"return {marks}") > 0
    press(two, "escape", "escape", "d")
    assert two.execute_script(f"return {marks}") == 0
    assert not two.find_element("id", "compare").is_displayed()


def test_two_texts_are_compared_by_their_tokens(two):
    click(two, "#compare-open")
    wait(two, "document.querySelector('#compare-view .trace-view')")
    choose(two, "#compare-text", state(two, "bench.entries[0].id"))
    wait(two, "document.getElementById('compare-note').textContent.includes('only the left')")
    left, right = (
        two.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map(n => n.textContent.trim())",
            f"#{name} .differs",
        )
        for name in ("view", "compare-view")
    )
    assert "33" in left and "33" not in right
    assert "160" in right and "160" not in left


def test_texts_are_renamed_and_removed(two):
    click(two, "#texts li:last-child .wb-tools button")
    two.find_element("css selector", ".wb-rename").send_keys("<b>mine</b>")
    press(two, "enter")
    assert shown(two, "#texts li:last-child .wb-text-name") == "<b>mine</b>"
    click(two, "#texts li:last-child .wb-tools button:last-child")
    wait(two, "flowtracer.bench.entry === flowtracer.bench.entries[0]")
    click(two, "#texts .wb-tools button:last-child")
    wait(two, "!document.getElementById('welcome').hidden")
    assert not two.find_element("id", "bench").is_displayed()


def test_the_address_brings_back_everything_and_so_does_a_reload(two, server, browser):
    choose(two, "#layers", "all")
    wait(two, "flowtracer.bench.view.data.meta.layers === '0-5'")
    wait_for_trace(two)
    two.execute_script(
        "flowtracer.hiding.set([12, 13, 14, 20], ''); flowtracer.bench.view.select(25)"
    )
    wait(two, "location.hash.includes('selected=25')")
    fragment = two.execute_script("return location.hash")
    assert "hidden=12-14,20" in fragment and "layers=all" in fragment

    def check():
        wait_for_trace(browser)
        wait(browser, "flowtracer.bench.view.selected === 25")
        assert state(browser, "[...entry.hidden]") == [12, 13, 14, 20]
        assert state(browser, "view.data.meta.layers") == "0-5"

    two.refresh()
    wait(two, "document.documentElement.dataset.ready === 'yes'")
    check()
    assert state(two, "bench.entries.length") == 2
    open_workbench(browser, server, fragment)  # a tab that has no list of its own
    check()
    open_workbench(browser, server, "#text=0123456789ab")
    assert "not known here" in shown(browser, "#file-error")


def test_a_session_is_saved_as_one_file_and_opened_again(two, server, browser, downloads):
    click(two, "#pick")
    click(two, "#regenerate")
    wait(two, "document.querySelector('#outcome .wb-columns')")
    press(two, "w")  # by its key: the page may still be scrolling to the new text
    path = downloads(".session.json")
    assert len(json.loads(path.read_text())["texts"]) == 2
    open_workbench(browser, server)
    browser.execute_script("document.getElementById('file').hidden = false")
    browser.find_element("id", "file").send_keys(str(path))
    wait_for_trace(browser)
    assert state(browser, "bench.entries.map(one => one.name)") == [OTHER, PROBLEM]
    assert state(browser, "entry.name") == PROBLEM
    assert shown(browser, "#trials tbody tr").startswith("top 10% by flow 8")
    assert shown(browser, "#hidden-count") == "8 tokens hidden"


def test_files_that_are_no_session_are_refused_in_a_sentence(page, tmp_path):
    page.execute_script("document.getElementById('file').hidden = false")
    for content, said in (("no", "is not JSON"), ('{"texts": [1]}', "neither a session")):
        path = tmp_path / "odd.json"
        path.write_text(content)
        page.find_element("id", "file").send_keys(str(path))
        wait(page, f"document.getElementById('file-error').textContent.includes('{said}')")


def test_a_trace_is_exported_as_a_page_and_as_json(two, downloads):
    click(two, "#export-page")
    assert "<!doctype html>" in downloads(".html").read_text()
    click(two, "#export-json")
    assert json.loads(downloads(".trace.json").read_text())["ids"]


def test_every_example_of_the_gallery_opens(page):
    names = [example["name"] for example in state(page, "bench.info.gallery")]
    assert len(names) >= 4
    for number, _ in enumerate(names):
        press(page, "escape", "g")
        cards = page.find_elements("css selector", "#gallery-list button")
        cards[number].click()
        wait(page, "!document.getElementById('gallery').open")
        wait_for_trace(page)
    foreign = state(page, "bench.entries.filter(bench.isForeign).length")
    assert foreign >= 1
    assert "not loaded" in shown(page, "#foreign")
    for control in ("#pick", "#regenerate", "#control"):
        assert not page.find_element("css selector", control).is_enabled()
    click(page, "#compare-open")  # two models, compared by the words of their tokens
    choose(page, "#compare-text", state(page, "bench.entries[0].id"))
    wait(page, "document.getElementById('compare-note').textContent.includes('only the left')")


def test_everything_has_a_key_and_the_help_lists_them(two):
    press(two, "?")
    keys = two.execute_script(
        "return [...document.querySelectorAll('#keys dt')].map(n => n.textContent)"
    )
    assert {"r", "c", "x", "v", "d", "z", "k", "/", "[", "]", "w", "o", "e", "g"} <= set(keys)
    press(two, "escape", "[")
    wait(two, "flowtracer.bench.entry === flowtracer.bench.entries[0]")
    wait_for_trace(two)
    press(two, "k")
    assert state(two, "entry.hidden.size") > 0
    press(two, "0", "2", "home", "right", " ")
    assert state(two, "[...entry.hidden]") == [1]
    press(two, "r")
    wait(two, "document.querySelector('#trials tbody tr')")
    press(two, "/")
    assert two.execute_script("return document.activeElement.id") == "prompt"
    press(two, "escape", "]")
    wait(two, "flowtracer.bench.entry === flowtracer.bench.entries[1]")
