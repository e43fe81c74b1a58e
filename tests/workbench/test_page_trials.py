"""The page's experiments count what belongs together, and its choices are of what can be hidden."""

import pytest
from helpers.serving import (
    LINE,
    PROBLEM,
    SOLVED,
    answer,
    choose,
    click,
    shown,
    state,
    wait,
    wait_for_trace,
)

pytestmark = pytest.mark.browser

TALLY = """
const control = (answer_changed) => ({ seed: 0, result: { answer_changed } });
return flowtracer.trials.sentence({
  how: "top", result: { answer_changed: true }, controls: [true, false, null, null].map(control) });
"""


@pytest.fixture
def traced(page):
    answer(page, PROBLEM)
    return page


def test_controls_of_one_answer_are_not_counted_for_another(traced):
    traced.execute_script("flowtracer.hiding.set([2, 4], 'by hand')")
    click(traced, "#regenerate")
    wait(traced, "flowtracer.bench.entry.trials.length === 1 && !flowtracer.jobs.running.length")
    choose(traced, "#rule", "last-line")
    wait_for_trace(traced)
    click(traced, "#regenerate")
    wait(traced, "!flowtracer.jobs.running.length")
    wait(traced, "flowtracer.bench.entry.trials.length === 2")
    assert state(traced, "entry.trials.map(one => one.answer)") == ['"auto"', '"last-line"']


def test_controls_without_a_readable_answer_are_said_to_be_so(traced):
    said = traced.execute_script(TALLY)
    assert said == "top: changed, random: 1 of 4 changed, 2 none readable"


def test_tokens_behind_the_answer_are_not_chosen(page):
    page.execute_script(
        "const { byId } = flowtracer.bench; byId('prompt').value = arguments[0];"
        "flowtracer.ask.openPaste(true); byId('response').value = arguments[1];",
        PROBLEM,
        f"{SOLVED}\n{LINE}",
    )
    click(page, "#paste")
    wait_for_trace(page)
    last = state(page, "view.data.roles.lastIndexOf('a')")
    assert last < state(page, "view.data.units.length") - 5
    choose(page, "#pick-end", "bottom")
    choose(page, "#pick-ratio", "30")
    hidden = state(page, "[...entry.hidden]")
    choose(page, "#pick-end", "top")
    assert hidden and max(hidden) < last


def test_a_trace_that_is_cancelled_leaves_a_view_that_is_marked_as_old(traced):
    traced.execute_script(
        "const box = flowtracer.bench.byId('layers'); box.value = 'all';"
        "box.dispatchEvent(new Event('change')); flowtracer.jobs.cancel('trace');"
    )
    wait(traced, "flowtracer.bench.view.root.classList.contains('stale')")
    assert shown(traced, "#trace-error") == ""
