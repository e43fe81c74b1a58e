"""What a trace holds beside the flow: other scorers, layers by themselves, the rule, a cut response."""

from dataclasses import replace

import pytest
import torch

from flowtracer import answer_flow, mean_attention, trace
from flowtracer.scorers import SCORERS, score_tokens
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.tracing.scores import local_scorers

PROMPT = "Make 33 from 3, 7, 18."
RESPONSE = "18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}"


@pytest.fixture(scope="module")
def traced(embedded):
    return trace(embedded.model, embedded.tokenizer, PROMPT, RESPONSE)


def batch_of(made, stop):
    roles = made.roles[:stop]
    response = torch.tensor([[role in ("response", "answer") for role in roles]])
    texts = [made.token_text(token) for token in range(stop)]
    return ScoreBatch(
        input_ids=torch.tensor([made.ids[:stop]]),
        attention_mask=torch.ones(1, stop, dtype=torch.long),
        question=~response,
        candidates=response,
        answer=torch.tensor([made.answer_weights[:stop]]),
        structural=torch.tensor([[not any(c.isalnum() for c in text) for text in texts]]),
    )


def test_scores_are_those_of_score_tokens_on_the_text_up_to_the_answer(traced, embedded):
    stop = max(i for i, role in enumerate(traced.roles) if role == "answer") + 1
    names = local_scorers(dense=True)
    assert set(traced.scores) == set(names) >= {"attention_max", "answer_attention", "rollout"}
    assert "flow" not in names and all(SCORERS[name].needs <= {"attention"} for name in names)
    expected = score_tokens(embedded.model, batch_of(traced, stop), names)
    for name in names:
        assert traced.scores[name][:stop] == pytest.approx(expected[name][0].tolist(), rel=1e-4)
        assert set(traced.scores[name][stop:]) <= {0.0}


def test_each_layer_has_the_flow_through_its_attention_alone(traced, embedded):
    stop = max(i for i, role in enumerate(traced.roles) if role == "answer") + 1
    batch = batch_of(traced, stop)
    assert len(traced.layer_throughput) == len(traced.provenance.layers) == 2
    for layer, throughput in zip(traced.provenance.layers, traced.layer_throughput, strict=True):
        attention = mean_attention(embedded.model, batch.input_ids, layers=layer)
        alone = answer_flow(attention, batch.question, batch.answer).throughput[0]
        assert throughput[:stop] == pytest.approx(alone.tolist(), rel=1e-3, abs=1e-7)


def test_without_layers_the_rest_is_the_same(traced, embedded):
    made = trace(embedded.model, embedded.tokenizer, PROMPT, RESPONSE, by_layer=False)
    assert made.layer_throughput == ()
    assert made.throughput == pytest.approx(traced.throughput, rel=1e-4)
    assert [r.tokens for r in made.routes] == [r.tokens for r in traced.routes]


def test_in_tiles_only_scores_without_attention_and_no_layers(embedded):
    made = trace(embedded.model, embedded.tokenizer, PROMPT, RESPONSE, tile_above=10)
    assert set(made.scores) == {"random", "position", "delimiters"}
    assert made.layer_throughput == ()


@pytest.mark.parametrize(
    ("response", "rule", "expected"),
    [
        (RESPONSE, "auto", "boxed"),
        ("18 <answer>33</answer>", "auto", "tag"),
        ("18 - 7 = 11\n#### 33", "auto", "gsm8k"),
        ("The answer is 33.", "auto", "stated"),
        ("18 - 7 = 11, yes.", "auto", "last-line"),
        (RESPONSE, "last-line", "last-line"),
        (RESPONSE, [(0, 2)], "given spans"),
    ],
)
def test_a_trace_names_the_rule_that_found_its_answer(response, rule, expected, embedded):
    made = trace(embedded.model, embedded.tokenizer, PROMPT, response, answer=rule, by_layer=False)
    assert made.matched_rule == expected


def test_a_response_that_hits_its_limit_is_cut_off(embedded, traced):
    whole = trace(embedded.model, embedded.tokenizer, PROMPT)
    assert whole.cut_off is False and traced.cut_off is None
    count = len(whole.ids) - whole.response_start
    cut = trace(embedded.model, embedded.tokenizer, PROMPT, max_new_tokens=count // 2)
    assert cut.cut_off is True
    assert replace(cut, correct=False).correct is False


def test_hubs_are_of_the_response_without_its_answer(traced):
    assert traced.hubs
    assert {traced.roles[hub] for hub in traced.hubs} == {"response"}
