"""The page in a real browser: hide, regenerate, and compare with random tokens."""

import pytest
from helpers.browser import press
from helpers.serving import PROBLEM, answer, choose, click, shown, state, wait, wait_for_trace

pytestmark = pytest.mark.browser


@pytest.fixture
def traced(page):
    answer(page, PROBLEM)
    return page


def hidden(page):
    return state(page, "[...entry.hidden].sort((a, b) => a - b)")


def marked(page):
    return page.execute_script(
        "return [...document.querySelectorAll('#view .u.hidden')].map(n => Number(n.dataset.i))"
    )


def test_clicks_hide_in_the_mode_for_it_and_undo_takes_back(traced):
    start = state(traced, "view.data.roles.indexOf('r')")
    click(traced, "#modes label:nth-of-type(2)")
    for piece in (start, start + 2, start + 4, start + 2):
        click(traced, f'#view [data-i="{piece}"]')
    assert marked(traced) == hidden(traced) == [start, start + 4]
    assert shown(traced, "#hidden-count") == "2 tokens hidden"
    click(traced, "#undo")
    assert marked(traced) == hidden(traced) == [start, start + 2, start + 4]
    click(traced, "#clear")
    assert marked(traced) == hidden(traced) == []
    press(traced, "z")
    assert len(hidden(traced)) == 3
    press(traced, "1")
    click(traced, f'#view [data-i="{start}"]')
    assert state(traced, "view.selected") == start
    press(traced, "x")
    assert len(hidden(traced)) == 2


def test_the_slider_hides_an_end_of_any_scorer(traced):
    size = state(traced, "view.model.members('response').length")
    choose(traced, "#pick-ratio", "30")
    top = hidden(traced)
    assert len(top) == round(0.3 * size)
    choose(traced, "#pick-end", "bottom")
    bottom = hidden(traced)
    assert len(bottom) == len(top) and not set(top) & set(bottom)
    choose(traced, "#pick-scorer", "entropy")  # which is to be computed first
    wait(traced, "flowtracer.bench.entry.how === 'bottom 30% by entropy'")
    assert set(hidden(traced)) != set(bottom)
    answers = state(traced, "view.model.members('answer')")
    assert not set(answers) & set(hidden(traced))
    press(traced, "z", "z")
    assert hidden(traced) == top


def test_regenerate_shows_the_new_text_beside_the_old(traced):
    click(traced, "#pick")
    click(traced, "#regenerate")
    wait(traced, "document.querySelectorAll('#outcome .wb-column').length === 2")
    assert "The answer changed" in shown(traced, "#outcome .wb-verdict")
    assert "a drop of" in shown(traced, "#outcome")
    old, new = (
        traced.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map(n => n.textContent).join('')",
            f"#outcome .wb-column:nth-child({n}) .{name}",
        )
        for n, name in ((1, "removed"), (2, "added"))
    )
    assert "5 * 2" in old
    assert "I stop here" in new
    assert len(traced.find_elements("css selector", "#outcome .hidden")) == len(hidden(traced))
    row = shown(traced, "#trials tbody tr")
    assert row.startswith("top 10% by flow 8 after the hidden (23 + 5) + 2 changed")


def test_from_the_answer_from_the_start_and_from_a_token(traced):
    start = state(traced, "view.data.roles.indexOf('r')")
    traced.execute_script("flowtracer.hiding.set([2, 4], 'by hand')")
    for value in ("answer", "start", "selected"):
        if value == "selected":
            traced.execute_script(f"flowtracer.bench.view.select({start + 16})")
        choose(traced, "#from", value)
        click(traced, "#regenerate")
        wait(
            traced,
            "document.querySelectorAll('#trials tbody tr').length"
            f" === {1 + ('answer', 'start', 'selected').index(value)}",
        )
        wait(traced, "!flowtracer.jobs.running.length")
    kept = state(traced, "entry.trials.map(trial => trial.result.kept)")
    assert kept[1:] == [0, 16]
    assert kept[0] == state(traced, "view.data.roles.indexOf('a')") - start


def test_random_controls_are_counted_beside_what_they_control(traced):
    click(traced, "#pick")
    click(traced, "#control")
    wait(traced, "flowtracer.bench.entry.trials[0]?.controls.length === 5", 60)
    wait(traced, "!flowtracer.jobs.running.length")
    trial = state(traced, "entry.trials[0]")
    changed = sum(control["result"]["answer_changed"] is True for control in trial["controls"])
    assert f"{changed} of 5 changed" in shown(traced, "#trials tbody tr")
    draws = {tuple(control["result"]["tokens"]) for control in trial["controls"]}
    assert len(draws) == 5 and {len(draw) for draw in draws} == {8}
    click(traced, "#trials > button")
    click(traced, "#trials .wb-control button")
    wait(traced, "document.getElementById('hidden-count').textContent === '8 tokens hidden'")
    assert hidden(traced) == trial["controls"][0]["result"]["tokens"]


def test_a_new_text_can_be_kept_and_traced(traced):
    click(traced, "#pick")
    click(traced, "#regenerate")
    wait(traced, "document.querySelector('#outcome .wb-columns')")
    click(traced, "#outcome > .wb-row button")
    wait(traced, "flowtracer.bench.entries.length === 2")
    wait_for_trace(traced)
    assert shown(traced, ".tv-answer-text") == "(23 + 5) + 2"
    assert state(traced, "entry.name") == f"{PROBLEM} › 8 tokens hidden"


def test_nothing_hidden_is_said_where_it_is_pressed(traced):
    click(traced, "#regenerate")
    assert shown(traced, "#hide-error").startswith("Nothing is hidden")
    traced.execute_script("flowtracer.hiding.set([5], 'by hand'); document.activeElement.blur()")
    press(traced, "r")
    wait(traced, "document.querySelector('#outcome .wb-columns')")
    assert shown(traced, "#hide-error") == ""
