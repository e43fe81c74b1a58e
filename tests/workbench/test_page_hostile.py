"""The page in a real browser: hostile tokens, long texts, small screens, both themes, no other address."""

import json

import pytest
from helpers.axe import serious_faults
from helpers.serving import (
    LINE,
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
from helpers.traces import HOSTILE, made_trace

pytestmark = pytest.mark.browser
LONG = ["x" * 3000, "\u202e" * 40, "\u200b\u200c\u200d", "<img src=x onerror=window.hacked=1>"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    made = made_trace(["ask ", *HOSTILE], ["so ", *HOSTILE, *LONG, "\n", "42"], answer=-1)
    path = tmp_path_factory.mktemp("hostile") / "trace.json"
    path.write_text(json.dumps(made.to_json()))
    return made, path


def open_file(page, path):
    page.execute_script("document.getElementById('file').hidden = false")
    page.find_element("id", "file").send_keys(str(path))
    wait_for_trace(page)
    page.execute_script("document.getElementById('file').hidden = true")


def test_hostile_tokens_are_text_wherever_they_are_shown(page, hostile):
    made, path = hostile
    open_file(page, path)
    page.execute_script("flowtracer.modes.set('select')")
    for piece in range(len(made.units)):
        page.execute_script(f"flowtracer.bench.view.select({piece})")
        assert shown(page, "#token-bar .wb-token")
    page.execute_script(
        "flowtracer.bench.entry.options.spans = [[0, 30]]; flowtracer.answerSpans.draw();"
        "flowtracer.bench.entry.name = '<b>\\u202ename</b>'; flowtracer.shelf.draw()"
    )
    result = {
        "id": "0" * 12, "response_ids": [1], "tokens": [3, 40], "ignored": 0, "kept": 2,
        "changed": {"old": [[2, 9]], "new": [[0, 0]]}, "cut_off": False, "answer_old": HOSTILE[2],
        "answer_new": LONG[-1], "answer_changed": True, "note": "",
        "log_probability_old": -1.0, "log_probability_hidden": -2.0,
    }  # fmt: skip
    page.execute_script(
        "const {entry} = flowtracer.bench, result = arguments[0];"
        "flowtracer.outcome.remember({...entry.record, id: result.id});"
        "entry.trials = [{tokens: [3, 40], how: '<i>how</i>', from: 'hidden', result, controls: []}];"
        "flowtracer.trials.draw(); flowtracer.outcome.show(entry, entry.trials[0], result, false)",
        result,
    )
    wait(page, "document.querySelector('#outcome .wb-columns')")
    assert page.execute_script("return window.hacked === undefined")
    markup = "#bench :is(img, i, script), #bench .wb-token b, #shelf b, .tv-text b"
    assert page.find_elements("css selector", markup) == []
    assert "<i>how</i>" in shown(page, "#trials")
    assert "‹U+202E›" in shown(page, "#outcome")
    assert page.execute_script("return document.body.scrollWidth <= innerWidth")


def test_clicks_without_the_model_take_at_most_50_ms_in_a_text_of_2000_tokens(page):
    paste(page, LINE * 124 + SOLVED)
    assert state(page, "entry.record.roles.length") >= 2000
    times = page.execute_script(
        """
        const {bench} = flowtracer, {view} = bench, took = {};
        const measure = (name, act) => {
          let best = Infinity; // the machine may be busy: the best of five
          for (let n = 0; n < 5; n++) {
            const began = performance.now();
            act(n);
            document.body.getBoundingClientRect(); // with its layout
            best = Math.min(best, performance.now() - began);
          }
          took[name] = best;
        };
        const press = (i) => document.querySelector(`#view [data-i="${i}"]`).click();
        measure("select", (n) => press(900 + n));
        measure("slider", (n) => {
          document.getElementById("pick-ratio").value = 10 + 7 * n;
          document.getElementById("pick-ratio").dispatchEvent(new Event("change"));
        });
        flowtracer.modes.set("hide");
        measure("hide", (n) => press(700 + n));
        measure("undo", () => flowtracer.hiding.undo());
        measure("end of the ranking", (n) => view.setEnd(n % 2 ? "top" : "bottom"));
        measure("clear", () => flowtracer.hiding.clear());
        return took;
        """
    )
    print(times)
    assert all(took <= 50 for took in times.values()), times


def test_no_outside_address_is_asked_and_none_could_be(page, server):
    answer(page)
    click(page, "#pick")
    click(page, "#regenerate")
    wait(page, "document.querySelector('#outcome .wb-columns')")
    asked = page.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert asked and all(name.startswith(server.address) for name in asked)
    refused = page.execute_async_script(
        "const done = arguments[0];"
        "fetch('http://192.0.2.1/').then(() => done(''), error => done(error.name))"
    )
    assert refused == "TypeError"
    page.get_log("browser")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, theme):
    def check(where):
        assert serious_faults(page) == [], where

    media = [{"name": "prefers-color-scheme", "value": theme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    check("the first page")
    answer(page)
    click(page, "#pick")
    click(page, "#control")
    wait(page, "document.querySelector('#trials')?.textContent.includes('of 5 changed')", 60)
    wait(page, "!flowtracer.jobs.running.length")
    click(page, "#trials > button")
    choose(page, "#rule", "last-line")
    page.execute_script("flowtracer.answerSpans.add(20, 22)")
    wait(page, "flowtracer.bench.view.data.answer.rule === 'marked by hand'")
    page.execute_script("flowtracer.bench.view.select(30); flowtracer.tokenBar.alternatives()")
    wait(page, "document.querySelectorAll('.wb-alternative').length")
    check("an experiment")
    click(page, "#compare-open")
    wait(page, "document.querySelector('#compare-view .trace-view')")
    check("a comparison")
    for name in ("help", "gallery"):
        page.execute_script(f"document.getElementById('{name}-open').click()")
        check(name)
        page.execute_script(f"document.getElementById('{name}').close()")


@pytest.mark.parametrize("width", [400, 1000, 1600])
def test_nothing_stands_beyond_the_edge(page, server, width):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        open_workbench(page, server)
        fits = "return document.documentElement.scrollWidth <= innerWidth"
        assert page.execute_script(fits)
        answer(page, PROBLEM)
        click(page, "#pick")
        click(page, "#regenerate")
        wait(page, "document.querySelector('#outcome .wb-columns')")
        page.execute_script("flowtracer.bench.view.select(30)")
        assert page.execute_script(fits)
        click(page, "#compare-open")
        wait(page, "document.querySelector('#compare-view .trace-view')")
        assert page.execute_script(fits)
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
