"""The page in a real browser when the server is busy, gone, or shared."""

import pytest
from helpers.browser import chromium, press
from helpers.serving import (
    LINE,
    PROBLEM,
    SOLVED,
    Server,
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


@pytest.fixture
def busy(server):
    """A function that gives the model work for some seconds, and returns its job."""
    prompt = {"prompt": PROBLEM, "response": LINE * 120 + SOLVED}

    def work():
        job = server.post("api/jobs", {"kind": "paste", **prompt})["job"]
        record = server.events(job).split("data: ")[-1]
        name = record.split('"id":"')[1][:12]
        request = {"kind": "trace", "text": name, "scorer": "rollout", "layers": "all"}
        return server.post("api/jobs", request | {"edges": "value"})["job"]

    return work


def test_a_job_waits_its_turn_shows_it_and_can_be_cancelled(page, server, busy):
    choose(page, "#prompt", PROBLEM)
    job = busy()
    click(page, "#answer")
    wait(page, "document.getElementById('jobs').textContent.includes('waits for 1 other')")
    click(page, "#jobs button")
    wait(page, "!flowtracer.jobs.running.length")
    assert state(page, "bench.entries.length") == 0
    assert shown(page, "#ask-error") == ""
    assert "event: result" in server.events(job)  # of somebody else
    answer(page)
    assert shown(page, ".tv-verdict") == "✓ right"


def test_escape_cancels_what_runs(page, busy):
    answer(page)
    busy()
    choose(page, "#layers", "all")
    wait(page, "flowtracer.jobs.running.length")
    page.execute_script("document.activeElement.blur()")
    press(page, "escape")
    wait(page, "!flowtracer.jobs.running.length", 2)


def test_a_client_that_goes_away_leaves_the_model_to_others(browser, server, page):
    answer(page)
    page.execute_script(
        "window.jobs = []; flowtracer.jobs.run('Answering', {kind: 'hide', text: flowtracer.bench.entry.id,"
        " tokens: [3], from: 'start', control: null, max_new_tokens: 4000}, () => { window.began = true; })"
        ".catch(() => {})"
    )
    wait(page, "window.began")
    page.get("about:blank")
    request = {"kind": "paste", "prompt": PROBLEM, "response": SOLVED}
    assert "event: result" in server.events(server.post("api/jobs", request)["job"])


def test_two_browsers_work_at_once_and_do_not_see_each_other(page, server):
    with chromium() as other:
        open_workbench(other, server)
        for browser, prompt in ((page, PROBLEM), (other, "Make 4 from 16, 20, 24.")):
            choose(browser, "#prompt", prompt)
            browser.execute_script("document.getElementById('answer').click()")
        for browser, text in ((page, "23 + (5 * 2)"), (other, "16 / (24 - 20)")):
            wait_for_trace(browser, 40)
            assert shown(browser, ".tv-answer-text") == text
            assert state(browser, "bench.entries.length") == 1


def test_a_server_that_is_killed_and_started_again_gets_its_texts_back(browser):
    own = Server()
    try:
        open_workbench(browser, own)
        answer(browser)
        click(browser, "#pick")
        own.kill()
        click(browser, "#regenerate")
        wait(browser, "document.getElementById('banner').textContent.includes('does not answer')")
        assert "does not answer" in shown(browser, "#hide-error")
        own.start()
        wait(browser, "document.getElementById('banner').textContent.includes('is back')", 30)
        click(browser, "#regenerate")
        wait(browser, "document.querySelector('#outcome .wb-columns')")
        assert "The answer changed" in shown(browser, "#outcome")
        own.kill()  # nobody presses anything: the page notices
        wait(browser, "document.getElementById('banner').classList.contains('bad')", 15)
        own.start()
        wait(browser, "!document.getElementById('banner').classList.contains('bad')", 30)
    finally:
        browser.get_log("browser")
        own.kill()


def test_a_server_that_dies_in_the_middle_of_an_answer_is_said_to(browser):
    own = Server()
    open_workbench(browser, own)
    paste(browser, LINE * 100 + SOLVED)
    browser.execute_script("document.getElementById('layers').value = 'all'")
    choose(browser, "#edges", "value")
    wait(browser, "flowtracer.jobs.running.some(job => job.id)")
    own.kill()
    wait(browser, "document.getElementById('trace-error').textContent !== ''")
    said = shown(browser, "#trace-error")
    assert "broke off" in said or "does not answer" in said
    assert browser.find_element("id", "banner").is_displayed()
    browser.get_log("browser")


def test_the_secret_of_an_open_server_leaves_the_address(browser):
    own = Server("--token", "a-secret+of/20=chars")
    try:
        browser.get(own.address)
        assert "token" in own.address
        wait(browser, "document.documentElement.dataset.ready === 'yes'")
        assert browser.execute_script("return location.hash") == ""
        answer(browser)
        browser.refresh()
        wait_for_trace(browser)
        browser.execute_script("sessionStorage.clear()")
        browser.get("about:blank")
        browser.get(own.address.partition("#")[0])
        wait(browser, "document.getElementById('file-error').textContent.includes('token')")
    finally:
        browser.get_log("browser")
        own.kill()
