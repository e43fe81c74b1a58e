"""Targets beyond one box: weighted spans, tool calls, several turns, process rewards."""

import pytest
import torch
from helpers.byte_tokenizer import ByteTokenizer
from helpers.responses import GOOD, NO_BOX, sampled

from flowtracer import answer_flow, find_answer, mean_attention
from flowtracer.credit import Credit, Weighting, score_batch, token_credit

TWO_CALLS = (
    'Let me look.\n<tool_call>\n{"name": "find", "arguments": {"city": "Bern"}}\n</tool_call>\n'
    '<tool_response>7 degrees</tool_response>\n<tool_call>{"arguments": {"a": [1, 2]}, "name": "add"}'
    "</tool_call>"
)


def test_the_arguments_of_every_tool_call_are_a_target():
    spans = find_answer(TWO_CALLS, "tool-call")
    assert TWO_CALLS[spans[0].start : spans[0].stop] == '{"city": "Bern"}'
    assert TWO_CALLS[spans[1].start : spans[1].stop].startswith('{"a": [1, 2]}')
    assert len(spans) == 2
    for odd in (
        "",
        "<tool_call></tool_call>",
        "<tool_call>{}",
        '<tool_call>{"arguments":}</tool_call>',
    ):
        assert find_answer(odd, "tool-call") == []
    assert find_answer("<tool_call>" * 20_000, "tool-call") == []  # in bounded time


def box_and_steps(text):
    """The box draws twice as strongly as the first line."""
    start = text.find("\\boxed{") + len("\\boxed{")
    return [(start, text.find("}"), 2.0), (0, text.find("\n"), 1.0)] if start > 7 else None


def test_several_weighted_spans_draw_flow_by_their_weight(embedded):
    parts = sampled(embedded, [GOOD, NO_BOX])
    batch = score_batch(embedded.tokenizer, **parts, answer=box_and_steps)
    assert set(batch.answer[0].tolist()) == {0.0, 1.0, 2.0}
    credit = Credit(answer=box_and_steps)
    computed = token_credit(embedded.model, batch, credit)
    assert computed.answered.tolist() == [True, False]
    row = batch.take(torch.tensor([0]))
    attention = mean_attention(embedded.model, row.input_ids, row.attention_mask)
    flow = answer_flow(attention, row.question, row.answer)
    expected = torch.where(row.candidates, flow.throughput, 0.0)
    torch.testing.assert_close(computed.scores[:1], expected, rtol=1e-4, atol=1e-7)


def test_tool_output_passes_flow_on_without_being_a_candidate(embedded):
    parts = sampled(embedded, [GOOD])
    tool_mask = torch.ones_like(parts["completion_mask"])
    tool_mask[:, 4:12] = 0
    batch = score_batch(embedded.tokenizer, **parts, tool_mask=tool_mask)
    attention = mean_attention(embedded.model, batch.input_ids, batch.attention_mask)
    flow = answer_flow(attention, batch.question, batch.answer)
    width = parts["prompt_ids"].shape[1]
    assert bool((flow.throughput[:, width + 4 : width + 12] > 0).all())
    computed = token_credit(embedded.model, batch, Credit())
    assert bool((computed.weights[:, width + 4 : width + 12] == 1).all())


def lines_as_steps(text):
    """Every second line counts double, the others nothing."""
    spans, start = [], 0
    for number, line in enumerate(text.splitlines(keepends=True)):
        spans.append((start, start + len(line), 2.0 * (number % 2)))
        start += len(line)
    return spans


def test_step_scores_multiply_in_also_without_an_answer(embedded):
    parts = sampled(embedded, [GOOD, NO_BOX])
    plain = token_credit(embedded.model, score_batch(embedded.tokenizer, **parts), Credit())
    batch = score_batch(embedded.tokenizer, **parts, steps=lines_as_steps)
    credit = Credit(steps=lines_as_steps)
    computed = token_credit(embedded.model, batch, credit)
    torch.testing.assert_close(computed.weights, plain.weights * batch.steps)
    inside = batch.candidates[0]
    assert set(computed.weights[0][inside].tolist()) <= {0.0, 1.0, 1.5, 2.0, 3.0}
    assert {0.0, 3.0} <= set(computed.weights[0][inside].tolist())
    assert bool((computed.weights[1][batch.candidates[1]] == 0).sum() > 5)
    assert bool((computed.weights[~batch.candidates] == 1).all())


def test_a_function_that_fails_on_a_response_costs_that_response_only(embedded):
    def broken(text):
        if "\\boxed" not in text:
            raise KeyError("box")
        return box_and_steps(text)

    parts = sampled(embedded, [GOOD, NO_BOX])
    with pytest.warns(UserWarning, match="function for answer failed on a response.*KeyError"):
        batch = score_batch(embedded.tokenizer, **parts, answer=broken)
    assert batch.scorable.tolist() == [True, False]
    with pytest.warns(UserWarning, match="step score -1"):
        batch = score_batch(embedded.tokenizer, **parts, steps=lambda text: [(0, 3, -1.0)])
    assert bool((batch.steps == 1).all())


def test_step_scores_alone_are_not_neutral():
    assert Credit(weighting=Weighting(emphasis=1.0)).neutral
    assert not Credit(weighting=Weighting(emphasis=1.0), steps=lines_as_steps).neutral
    with pytest.raises(ValueError, match="answer rule 'box' is unknown"):
        Credit(answer="box")


CASES = {
    "boxed": ("\\boxed{33}", "33", "\\boxed{7}"),
    "line": ("so \\boxed{33}", "so \\boxed{33}", "so \\boxed{7}"),
    "explained": ("so \\boxed{33}", "so \\boxed{33}", "so \\boxed{7}"),
    "choice": ("The answer is B", "B", "The answer is C"),
    "tag": ("<answer>33</answer>", "33", "<answer>7</answer>"),
    "gsm8k": ("#### 33", "33", "#### 7"),
    "stated": ("The answer is 33.", "33", "The answer is 7."),
    "tool-call": (
        '<tool_call>{"arguments": {"a": 33}}</tool_call>',
        '{"a": 33}',
        '<tool_call>{"arguments": {"a": 7}}</tool_call>',
    ),
    "last-line": ("33 at last", "33 at last", "7 apples"),
    "auto": ("#### 33", "33", "\\boxed{7}"),
    r"regex:\d+ yes": ("33 yes", "33 yes", "7 yes"),
}


def characters(texts):
    """Ids of a byte each, and a mask of what the policy wrote, (1, T)."""
    ids = [ord(c) for text, _ in texts for c in text]
    mask = [int(own) for text, own in texts for _ in text]
    return torch.tensor([ids]), torch.tensor([mask])


@pytest.mark.parametrize("rule", CASES)
def test_a_match_in_later_tool_output_does_not_hide_the_policys_answer(rule):
    written, answer, tool = CASES[rule]
    tokenizer = ByteTokenizer()
    ids, mask = characters([("I ask.\n\n", 1), (written, 1), ("\n\n" + tool + "\n", 0), ("\n", 1)])
    batch = score_batch(
        tokenizer,
        prompt_ids=torch.tensor([[65, 66]]),
        prompt_mask=torch.ones(1, 2, dtype=torch.long),
        completion_ids=ids,
        completion_mask=torch.ones_like(ids),
        tool_mask=mask,
        answer=rule,
    )
    answer_text = "".join(chr(token_id) for token_id in batch.input_ids[batch.answer > 0].tolist())
    assert answer_text.strip() == answer
    assert bool(batch.scorable)


def test_a_function_sees_tool_output_blanked():
    seen = []
    ids, mask = characters([("ask", 1), ("tool", 0), ("done", 1)])
    score_batch(
        ByteTokenizer(),
        prompt_ids=torch.tensor([[65]]),
        prompt_mask=torch.ones(1, 1, dtype=torch.long),
        completion_ids=ids,
        completion_mask=torch.ones_like(ids),
        tool_mask=mask,
        answer=lambda text: seen.append(text),
    )
    assert seen == ["ask\n\n\n\ndone"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("6 * 7 = 42.\nThe answer is 42.", "42"),
        ("6 * 7 = 42\n#### 42", "42"),
        ("so <answer>42</answer>", "42"),
        ("so \\boxed{42}", "42"),
        ("6 * 7 = 42, so ", ""),  # cut off
    ],
)
def test_the_default_rule_knows_the_forms_of_the_tasks(text, answer):
    ids, mask = characters([(text, 1)])
    batch = score_batch(
        ByteTokenizer(),
        prompt_ids=torch.tensor([[65, 66]]),
        prompt_mask=torch.ones(1, 2, dtype=torch.long),
        completion_ids=ids,
        completion_mask=mask,
    )
    assert (
        "".join(chr(token_id) for token_id in batch.input_ids[batch.answer > 0].tolist()) == answer
    )
    assert Credit().answer == "auto"
