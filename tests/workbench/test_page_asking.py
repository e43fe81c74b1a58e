"""The page in a real browser: the first minute, answers that stream, responses that are pasted."""

import time

import pytest
from helpers.browser import press
from helpers.serving import (
    PROBLEM,
    SOLVED,
    answer,
    choose,
    click,
    open_workbench,
    paste,
    shown,
    state,
    wait,
    wait_for_trace,
)

pytestmark = pytest.mark.browser


def test_the_first_page_says_what_it_is_and_of_which_model(page):
    assert "hide them, and watch the model answer again" in shown(page, "#welcome")
    assert "embedded" in shown(page, "#model")
    assert shown(page, "#examples button") == PROBLEM


def test_a_newcomer_gets_from_an_example_to_a_changed_answer_in_four_clicks(page):
    began = time.monotonic()
    click(page, "#examples button")
    wait_for_trace(page)
    assert shown(page, ".tv-verdict") == "✓ right"
    click(page, "#pick")
    assert shown(page, "#hidden-count") == "8 tokens hidden"
    click(page, "#regenerate")
    wait(page, "document.querySelector('#outcome .wb-verdict')")
    assert shown(page, "#outcome .wb-verdict").startswith("The answer changed: 23 + (5 * 2) →")
    click(page, "#control")
    wait(page, "document.querySelector('#trials')?.textContent.includes('of 5 changed')", 60)
    assert "top 10% by flow: changed, random: 1 of 5 changed" in shown(page, "#outcome")
    assert time.monotonic() - began < 60  # of the five minutes that a newcomer has


def test_tokens_appear_as_they_are_written_and_the_first_one_soon(page):
    choose(page, "#prompt", PROBLEM)
    page.execute_script(
        "performance.clearMarks(); window.counts = new Set(); window.asked = performance.now();"
        "new MutationObserver(() => counts.add(document.getElementById('written').childNodes.length))"
        ".observe(document.getElementById('written'), {childList: true})"
    )
    click(page, "#answer")
    wait_for_trace(page)
    assert page.execute_script("return counts.size") > 5
    first = page.execute_script(
        "return performance.getEntriesByName('first token')[0].startTime - asked"
    )
    assert first < 1500  # 500 ms is the bar; this machine may be busy
    assert shown(page, "#texts li").startswith(PROBLEM)


def test_stop_ends_the_model_and_what_is_written_can_be_traced(page):
    choose(page, "#prompt", PROBLEM)
    page.execute_script(
        "new MutationObserver((_, seen) => { if (document.getElementById('written').childNodes.length > 6) {"
        " document.getElementById('stop').click(); seen.disconnect(); } })"
        ".observe(document.getElementById('written'), {childList: true});"
        "document.getElementById('answer').click()"
    )
    wait(page, "document.getElementById('writing-title').textContent.startsWith('Stopped')")
    assert state(page, "bench.entries.length") == 0
    click(page, "#written button")
    wait_for_trace(page)
    assert state(page, "entry.record.cut_off") is True
    assert state(page, "entry.record.response_ids.length") < 40


def test_a_pasted_response_is_traced(page):
    paste(page, SOLVED)
    assert shown(page, ".tv-answer-text") == "23 + (5 * 2)"
    assert "(pasted)" in shown(page, "#texts li")


def test_the_chat_template_temperature_and_limit_are_what_the_server_gets(page):
    click(page, "#chat")
    choose(page, "#temperature", "1.5")
    choose(page, "#seed", "3")
    choose(page, "#most", "9")
    answer(page)
    assert not state(page, "entry.record.prompt").startswith("<|user|>")
    assert state(page, "entry.record.response_ids.length") <= 9
    assert state(page, "entry.name").endswith("(temperature 1.5, seed 3)")


def test_errors_are_one_sentence_where_they_belong(page):
    click(page, "#answer")
    assert shown(page, "#ask-error") == "The prompt is empty; write one, or press an example."
    choose(page, "#prompt", "What is <script>window.hacked=1</script>?")
    click(page, "#answer")
    wait(page, "document.getElementById('ask-error').textContent.includes('--model')")
    assert page.execute_script("return window.hacked === undefined")
    answer(page)
    assert shown(page, "#ask-error") == ""


def test_a_second_prompt_is_typed_and_sent_by_a_click(page):
    answer(page)
    field = page.find_element("id", "prompt")
    field.clear()
    field.send_keys("Make 4 from 16, 20, 24.")  # the field has the focus when the button is pressed
    click(page, "#answer")
    wait(page, "flowtracer.bench.entries.length === 2")
    wait_for_trace(page)
    press(page, "[")
    wait(page, f"document.getElementById('prompt').value === '{PROBLEM}'")  # the open text's prompt
    field.send_keys(" Or 5")
    press(page, "escape", "]")
    assert field.get_property("value") == f"{PROBLEM} Or 5"  # what was typed stays


def test_control_and_enter_ask(page):
    page.find_element("id", "prompt").send_keys(PROBLEM)
    page.execute_script(
        "document.getElementById('prompt').dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'Enter', ctrlKey: true, bubbles: true, cancelable: true}))"
    )
    wait_for_trace(page)
    press(page, "a")  # the text has the focus now
    assert state(page, "view.selected") == state(page, "view.data.roles.indexOf('a')")


def test_the_page_is_usable_at_once(browser, server):
    open_workbench(browser, server)
    ready = browser.execute_script(
        "return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
    )
    assert ready < 5000
