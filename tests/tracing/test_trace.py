"""trace() end to end on a real model: the numbers are those of the parts, the regions are right."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Lfm2Config

from flowtracer import AnswerNotFound, TokenPositions, answer_flow, mean_attention, trace
from flowtracer.flow import smallest_edge_set

PROMPT = "Make 33 from 3, 7, 18."
RESPONSE = (
    "18 + 7 = 25, 25 + 3 = 28, not 33.\n18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}"
)


@pytest.fixture(scope="module")
def traced(embedded):
    return trace(embedded.model, embedded.tokenizer, PROMPT, RESPONSE)


def words(made, role):
    return [
        made.token_text(i).strip() for i, token_role in enumerate(made.roles) if token_role == role
    ]


def test_the_numbers_are_those_of_capture_and_flow(traced, embedded):
    ids = torch.tensor([traced.ids])
    question = torch.arange(len(traced.ids))[None] < traced.response_start
    answer = torch.tensor([[role == "answer" for role in traced.roles]])
    flow = answer_flow(mean_attention(embedded.model, ids), question, answer)
    for name in ("potential", "inflow", "throughput"):
        expected = getattr(flow, name)[0].tolist()
        assert list(getattr(traced, name)) == pytest.approx(expected, rel=1e-3, abs=1e-7)
    edges = flow.edges()[0]
    kept = {(edge.source, edge.target): edge.flow for edge in traced.edges}
    for (source, target), value in kept.items():
        assert value == pytest.approx(float(edges[source, target]), rel=1e-3, abs=1e-9)
    backbone = {(edge.source, edge.target) for edge in smallest_edge_set(flow, ratio=0.85)}
    assert backbone <= set(kept)
    flows = [edge.flow for edge in traced.edges]
    assert flows == sorted(flows, reverse=True)


def test_regions_are_found(traced):
    assert words(traced, "user") == ["Make", "33", "from", "3", ",", "7", ",", "18", "."]
    assert words(traced, "template") == ["<|user|>", "<|end|>", "<|assistant|>"]
    assert words(traced, "answer") == ["(", "18", "-", "7", ")", "*", "3"]
    assert traced.response == RESPONSE
    assert traced.text == "<|user|>Make 33 from 3, 7, 18.<|end|><|assistant|>" + RESPONSE


def test_routes_pass_the_response_in_order_and_with_the_direct_way_are_one_unit_at_most(traced):
    assert len({len(route.tokens) > 1 for route in traced.routes}) == 2
    for route in traced.routes:
        assert {traced.roles[token] for token in route.tokens} == {"response"}
        assert list(route.tokens) == sorted(set(route.tokens))
    assert 0 < traced.direct + traced.through_one < 1
    longer = sum(route.probability for route in traced.routes if len(route.tokens) > 1)
    assert traced.direct + traced.through_one + longer <= 1


def test_nothing_after_the_answer_changes_or_carries_anything(traced, embedded):
    longer = trace(embedded.model, embedded.tokenizer, PROMPT, RESPONSE + " not 7, not 8.")
    count = len(traced.ids)
    assert longer.throughput[:count] == pytest.approx(traced.throughput, rel=1e-4)
    assert set(longer.throughput[count:]) == {0.0}


def test_a_trace_in_tiles_is_the_trace(traced, embedded):
    steps = []
    tiled = trace(
        embedded.model,
        embedded.tokenizer,
        PROMPT,
        RESPONSE,
        tile_above=10,
        progress=lambda *step: steps.append(step),
    )
    for name in ("potential", "inflow", "throughput"):
        assert getattr(tiled, name) == pytest.approx(getattr(traced, name), rel=1e-4, abs=1e-9)
    assert tiled.routes[0].tokens == traced.routes[0].tokens
    assert [route.probability for route in tiled.routes] == pytest.approx(
        [route.probability for route in traced.routes], rel=1e-4
    )
    edges = [{(edge.source, edge.target) for edge in made.edges} for made in (tiled, traced)]
    assert len(edges[0] ^ edges[1]) <= 4  # ties
    rows = [step for step in steps if step[0] == "reading"]
    answer_end = max(i for i, role in enumerate(traced.roles) if role == "answer") + 1
    assert rows[-1][1] == rows[-1][2] == 6 * answer_end


def test_ids_and_text_of_a_response_give_the_same_trace(traced, embedded):
    ids = list(traced.ids[traced.response_start :])
    assert trace(embedded.model, embedded.tokenizer, PROMPT, ids) == traced
    conversation = [{"role": "user", "content": PROMPT}]
    assert trace(embedded.model, embedded.tokenizer, conversation, RESPONSE) == traced


def test_flow_can_enter_at_the_users_words_only(embedded):
    made = trace(embedded.model, embedded.tokenizer, PROMPT, RESPONSE, question="user")
    users = [i for i, role in enumerate(made.roles) if role == "user"]
    assert made.inflow[0] == 0.0
    assert made.inflow[users[0]] == pytest.approx(1 / len(users), rel=1e-3)
    assert sum(
        f for f, role in zip(made.inflow, made.roles, strict=True) if role == "answer"
    ) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("last-line", ["\\boxed{", "(", "18", "-", "7", ")", "*", "3", "}"]),
        ("regex:11 . 3", ["11", "*", "3"]),
        (TokenPositions((0, 2)), ["18", "7"]),
        ([(0, 2, 1.0), (5, 6, 3.0)], ["18", "7"]),
        (lambda text: (text.index("yes"), text.index("yes") + 1), ["yes"]),
    ],
)
def test_any_answer_rule_sets_the_target(rule, expected, embedded):
    made = trace(embedded.model, embedded.tokenizer, PROMPT, RESPONSE, answer=rule)
    assert words(made, "answer") == expected


def test_weighted_spans_draw_in_proportion(embedded):
    made = trace(
        embedded.model, embedded.tokenizer, PROMPT, RESPONSE, answer=[(0, 2, 1.0), (5, 6, 3.0)]
    )
    drawn = [i for i, role in enumerate(made.roles) if role == "answer"]
    assert [made.answer_weights[i] for i in drawn] == [1.0, 3.0]
    assert [made.potential[i] for i in drawn] == [1.0, 3.0]


def test_without_a_response_the_model_answers(embedded):
    seen = []
    made = trace(
        embedded.model, embedded.tokenizer, PROMPT, temperature=1.0, seed=2, answer="auto",
        progress=lambda stage, done, most: seen.append((stage, done, most)),
    )  # fmt: skip
    answered = len(made.ids) - made.response_start
    assert ("answering", answered, 1024) in seen
    assert seen[-1] == ("tracing", 4, 4)
    assert "\\boxed{" in made.response


def test_a_response_without_answer_is_told_with_its_end(embedded):
    with pytest.raises(AnswerNotFound, match=r"rule 'boxed'.*ends in 'not 33\.'.*last-line"):
        trace(embedded.model, embedded.tokenizer, PROMPT, "not 33.", answer="boxed")


def test_without_an_answer_of_a_known_form_the_last_line_is_traced_and_said_so(embedded):
    made = trace(embedded.model, embedded.tokenizer, PROMPT, "18 - 7 = 11.\n11 * 3 = 33, yes.")
    assert made.provenance.answer_rule == "last-line"
    answer = [token for token, role in zip(made.ids, made.roles, strict=True) if role == "answer"]
    assert embedded.tokenizer.decode(answer).strip() == "11 * 3 = 33, yes."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"response": ""}, "response is empty"),
        ({"response": []}, "response is empty"),
        ({"question": "all"}, "question is 'all'"),
        ({"layers": "7"}, "7 does not exist"),
        ({"answer_tokens": "both"}, "answer_tokens is 'both'"),
    ],
)
def test_choices_that_make_no_sense_are_refused(options, message, embedded):
    arguments = {"response": RESPONSE, **options}
    with pytest.raises(ValueError, match=message):
        trace(embedded.model, embedded.tokenizer, PROMPT, **arguments)


@pytest.mark.parametrize("name", ["smollm2", "gemma3-270m"])
def test_real_models_carry_the_whole_unit_to_the_answer(name, real_model):
    loaded = real_model(name)
    made = trace(
        loaded.model,
        loaded.tokenizer,
        "Tom has 3 bags of 4 apples and eats 2 🙂. How many are left?",
        "3 * 4 = 12 apples.\n12 - 2 = 10 are left 🙂.\nThe answer is \\boxed{10}.",
    )
    arrived = sum(f for f, role in zip(made.inflow, made.roles, strict=True) if role == "answer")
    assert arrived == pytest.approx(1.0, abs=1e-4)
    assert "10" in "".join(words(made, "answer"))
    assert any(unit.text.strip() == "🙂" for unit in made.units)


def test_layers_that_cannot_be_read_are_told_before_the_model_answers(embedded):
    config = Lfm2Config(
        vocab_size=len(embedded.tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, layer_types=["conv", "full_attention"],
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    kept = []
    with pytest.raises(ValueError, match="no softmax attention"):
        trace(
            model, embedded.tokenizer, PROMPT, layers="0", max_new_tokens=2,
            keep_response=lambda **response: kept.append(response),
        )  # fmt: skip
    assert kept == []
