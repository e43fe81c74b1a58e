"""The page in a real browser: the answer, and everything by which a flow can be traced."""

import pytest
from helpers.browser import press
from helpers.serving import PROBLEM, answer, choose, click, shown, state, wait, wait_for_trace

pytestmark = pytest.mark.browser
COUNT_JOBS = (
    "window.posted = []; const before = window.fetch; window.fetch = (path, options) => {"
    " if (path === '/api/jobs') posted.push(JSON.parse(options.body)); return before(path, options); }"
)


@pytest.fixture
def traced(page):
    answer(page, PROBLEM)
    page.execute_script(COUNT_JOBS)
    return page


def drag(page, first, last):
    """Press the mouse on one piece, move it to another, and let go."""
    from selenium.webdriver import ActionChains

    pieces = page.find_elements("css selector", "#view .u")
    page.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", pieces[first]
    )
    actions = ActionChains(page).move_to_element(pieces[first]).click_and_hold()
    actions.move_to_element(pieces[last]).release().perform()


def first_of_response(page):
    return state(page, "view.data.roles.search(/[ra]/)")


def answers(page):
    """What stands in the trace as answer."""
    return state(page, "view.data.answer.text")


def test_the_answer_is_found_by_the_rule_of_the_list(traced):
    choose(traced, "#rule", "last-line")
    wait(traced, "flowtracer.bench.view.data.answer.rule === 'last-line'")
    assert answers(traced).startswith("\\boxed")
    choose(traced, "#rule", "gsm8k")
    wait(traced, "document.getElementById('trace-error').textContent.includes('No answer found')")
    assert "mark the answer" in shown(traced, "#trace-error")


def test_spans_are_dragged_over_and_taken_away(traced):
    start = first_of_response(traced)
    click(traced, "#modes label:nth-of-type(3)")
    drag(traced, start, start + 2)
    wait(traced, "flowtracer.bench.view.data.answer.tokens === 3")
    drag(traced, start + 5, start + 6)
    wait(traced, "flowtracer.bench.view.data.answer.tokens === 5")
    assert len(traced.find_elements("css selector", "#spans .wb-chip")) == 2
    assert "…" in answers(traced)
    assert shown(traced, "#rule option:checked") == "marked by hand"
    click(traced, "#spans button")
    wait(traced, "flowtracer.bench.view.data.answer.tokens === 2")
    click(traced, "#spans button")
    wait(traced, "flowtracer.bench.view.data.answer.text === '23 + (5 * 2)'")
    assert shown(traced, "#rule option:checked") == "by rule: auto"


def test_a_span_that_is_dragged_while_looking_asks_what_to_do_with_it(traced):
    start = first_of_response(traced)
    drag(traced, start, start + 3)
    assert "4 tokens" in shown(traced, "#token-bar")
    press(traced, "m")
    wait(traced, "flowtracer.bench.view.data.answer.tokens === 4")


def test_marks_in_the_prompt_are_no_answer(traced):
    click(traced, "#modes label:nth-of-type(3)")
    click(traced, "#view .u")
    assert "stands in the response" in shown(traced, "#trace-error")


def test_layers_edges_entry_and_answer_tokens_change_the_flow(traced):
    scores = [state(traced, "view.data.scorers.flow.score.join()")]
    for selector, value, key in (
        ("#layers", "0,2-4", "layers"),
        ("#edges", "value", "edges"),
        ("#question", "user", "question"),
        ("#answer-tokens", "relay", "answer_tokens"),
    ):
        before = state(traced, "view.data.trace")
        choose(traced, selector, value)
        wait(traced, f"flowtracer.bench.view.data.trace !== '{before}'")
        wait_for_trace(traced)
        assert traced.execute_script(f"return posted.at(-1).{key}") == value
        scores.append(state(traced, "view.data.scorers.flow.score.join()"))
    assert len(set(scores)) == 5
    choose(traced, "#layers", "0-99")
    wait(traced, "document.getElementById('trace-error').textContent.includes('does not exist')")


def test_a_scorer_is_computed_once_and_then_switched_without_the_model(traced):
    choose(traced, ".tv-scorer", "gradient")
    wait(traced, "flowtracer.bench.view.scorer === 'gradient'")
    assert traced.execute_script("return posted.length") == 1
    choose(traced, ".tv-scorer", "flow")
    choose(traced, ".tv-scorer", "gradient")
    choose(traced, ".tv-end", "bottom")
    assert traced.execute_script("return posted.length") == 1
    assert state(traced, "view.scorer + ' ' + view.end") == "gradient bottom"
    assert "scorer=gradient" in wait(traced, "location.hash.includes('bottom') && location.hash")


def test_alternatives_have_probabilities_and_one_can_go_on(traced):
    start = first_of_response(traced)
    traced.execute_script(f"flowtracer.bench.view.select({start + 1})")
    press(traced, "v")
    wait(traced, "document.querySelectorAll('.wb-alternative').length >= 8")
    shares = traced.execute_script(
        "return [...document.querySelectorAll('.wb-alternative')]"
        ".map(node => Number(node.style.getPropertyValue('--p')))"
    )
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1.001
    assert len(traced.find_elements("css selector", ".wb-alternative:disabled")) == 1  # what stands
    click(traced, ".wb-alternative:not(:disabled)")
    wait(traced, "flowtracer.bench.entries.length === 2")
    wait_for_trace(traced)
    assert state(traced, "entry.name").startswith(f"{PROBLEM} › ")
    old, new = (
        state(traced, f"bench.entries[{n}].record.response_ids.slice(0, 2)") for n in (0, 1)
    )
    assert old[0] == new[0] and old[1] != new[1]
