"""Selection, weights and credit of a batch, against slow and obvious versions."""

import math
import statistics

import pytest
import torch
from helpers.responses import GOOD, NO_BOX, SHORT, sampled
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtracer.credit import (
    CONTINUOUS,
    Credit,
    ScoreBatch,
    Selection,
    Weighting,
    apply_credit,
    concentration,
    score_batch,
    select,
    structural_vocabulary,
    token_credit,
    weigh,
)
from flowtracer.credit.chunks import chunks


def rows(seed, batch=4, length=23):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(batch, length, generator=generator)
    scores[torch.rand(batch, length, generator=generator) < 0.2] = 0.0
    scores[:, 5] = scores[:, 3]  # a tie
    candidates = torch.rand(batch, length, generator=generator) < 0.7
    return scores, candidates


def slow_choice(scores, candidates, selection):
    """One response, plain Python."""
    places = [i for i, candidate in enumerate(candidates) if candidate]
    count = math.ceil(selection.ratio * len(places) - 1e-9)
    falling = sorted(places, key=lambda i: (-scores[i], i))
    if selection.by == "mass":
        total, held, kept = sum(scores[i] for i in places), 0.0, set()
        for i in falling:
            if held >= selection.ratio * total * (1 - 1e-12) or scores[i] == 0:
                break
            kept.add(i)
            held += scores[i]
        return kept
    if selection.end == "bottom":
        return set(sorted(places, key=lambda i: (scores[i], i))[:count])
    return {i for i in falling[:count] if scores[i] > 0}


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    ratio=st.sampled_from([0.05, 0.2, 0.4, 0.6, 0.8, 1.0]),
    kind=st.sampled_from(["top", "bottom", "mass"]),
)
def test_selection_equals_the_slow_version(seed, ratio, kind):
    scores, candidates = rows(seed)
    by, end = ("mass", "top") if kind == "mass" else ("ratio", kind)
    selection = Selection(by=by, ratio=ratio, end=end)
    chosen = select(scores.double(), candidates, selection)
    for row in range(len(scores)):
        expected = slow_choice(scores[row].double().tolist(), candidates[row].tolist(), selection)
        assert set(chosen[row].nonzero()[:, 0].tolist()) == expected


@pytest.mark.parametrize("among", ["structural", "semantic"])
def test_a_subset_takes_its_own_ratio(among):
    scores, candidates = rows(1)
    structural = torch.arange(scores.shape[1]).remainder(3).eq(0).expand_as(candidates)
    chosen = select(scores, candidates, Selection(among=among), structural=structural)
    subset = candidates & (structural if among == "structural" else ~structural)
    assert torch.equal(chosen, select(scores, subset, Selection()))
    with pytest.raises(ValueError, match="needs to know"):
        select(scores, candidates, Selection(among=among))


def slow_weights(scores, rule):
    """Weights of one response's candidates, from the formulas of the docstrings."""
    count, mean = len(scores), statistics.fmean(scores)
    deviation = statistics.pstdev(scores)
    median = statistics.median(scores)
    spread = 1.4826 * statistics.median([abs(s - median) for s in scores])
    z = [(s - mean) / deviation for s in scores]
    weights = {
        "raw": scores,
        "tanh": [1 + math.tanh(score) for score in z],
        "sigmoid": [1 / (1 + math.exp(-score)) for score in z],
        "mad": [1 + max(-1.0, min(1.0, (s - median) / spread)) for s in scores],
        "log1p": [math.log1p(s / mean) for s in scores],
    }[rule]
    return [weight * count / sum(weights) for weight in weights]


@pytest.mark.parametrize("rule", CONTINUOUS)
def test_continuous_weights_follow_their_formulas_and_have_mean_one(rule):
    scores, candidates = rows(7)
    weights = weigh(scores, candidates, candidates, Weighting(rule))
    for row in range(len(scores)):
        held = scores[row][candidates[row]].double().tolist()
        expected = torch.tensor(slow_weights(held, rule), dtype=torch.float32)
        torch.testing.assert_close(weights[row][candidates[row]], expected, rtol=1e-5, atol=1e-6)
    assert bool((weights[~candidates] == 1).all())


@pytest.mark.parametrize("emphasis", [0.5, 3.0])
def test_normalised_emphasis_keeps_its_ratio_and_has_mean_one(emphasis):
    scores, candidates = rows(7)
    chosen = select(scores, candidates, Selection())
    weights = weigh(scores, chosen, candidates, Weighting("emphasis", emphasis, normalise=True))
    for row in range(len(scores)):
        inside = weights[row][candidates[row]]
        assert float(inside.mean()) == pytest.approx(1, abs=1e-5)
        if bool((chosen & candidates)[row].any()):
            others = weights[row][candidates[row] & ~chosen[row]]
            ratio = weights[row][chosen[row] & candidates[row]] / others[0]
            assert ratio.tolist() == pytest.approx([emphasis] * len(ratio))
    assert bool((weights[~candidates] == 1).all())


@pytest.mark.parametrize("rule", ["emphasis", *CONTINUOUS])
def test_weights_are_finite_and_one_where_scores_say_nothing(rule):
    scores = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1e-30], [1e30, 0.0, 2.0]])
    candidates = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 1, 1]]).bool()
    weights = weigh(scores, select(scores, candidates, Selection()), candidates, Weighting(rule))
    assert bool(torch.isfinite(weights).all()) and bool((weights >= 0).all())
    assert weights[0].tolist() == [1.0, 1.0, 1.0]
    assert weights[2].tolist() == [1.0, 1.0, 1.0]


def test_emphasis_gives_chosen_tokens_one_and_a_half():
    scores = torch.tensor([[0.0, 5.0, 1.0, 3.0, 2.0, 0.0]])
    candidates = torch.tensor([[0, 1, 1, 1, 1, 1]]).bool()
    chosen = select(scores, candidates, Selection())
    assert weigh(scores, chosen, candidates, Weighting()).tolist() == [[1, 1.5, 1, 1.5, 1, 1]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Selection(ratio=0.0), "above 0"),
        (lambda: Selection(by="rank"), "'ratio' or 'mass'"),
        (lambda: Selection(end="middle"), "'top' or 'bottom'"),
        (lambda: Selection(by="mass", end="bottom"), "from the top only"),
        (lambda: Weighting("square"), "unknown; use emphasis, raw"),
        (lambda: Weighting(emphasis=0.0), "above 0"),
        (lambda: Credit(scorer="magic"), "scorer 'magic' is unknown"),
        (lambda: Credit(answer="box"), "answer rule 'box' is unknown"),
        (lambda: Credit(question="system"), "'prompt' or 'user'"),
    ],
)
def test_wrong_settings_get_one_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_credit_of_real_responses(embedded):
    batch = score_batch(embedded.tokenizer, **sampled(embedded, [GOOD, NO_BOX, SHORT, ""]))
    credit = token_credit(embedded.model, batch, Credit())
    assert credit.answered.tolist() == [True, False, True, False]
    assert credit.scored.tolist() == [True, False, True, False]
    for row in (0, 2):
        count = int(batch.candidates[row].sum())
        assert int((credit.weights[row] == 1.5).sum()) == math.ceil(0.4 * count)
    assert bool((credit.weights[[1, 3]] == 1).all())
    assert bool((credit.weights[~batch.candidates] == 1).all())


def test_weights_do_not_depend_on_batch_mates_padding_or_chunks(embedded):
    together = score_batch(embedded.tokenizer, **sampled(embedded, [GOOD, NO_BOX, SHORT]))
    credit = token_credit(embedded.model, together, Credit())
    one_by_one = token_credit(embedded.model, together, Credit(), chunk=1)
    assert torch.equal(credit.weights, one_by_one.weights)
    for row, text in ((0, GOOD), (2, SHORT)):
        alone = score_batch(embedded.tokenizer, **sampled(embedded, [text], width=95))
        weights = token_credit(embedded.model, alone, Credit()).weights
        assert torch.equal(weights[alone.candidates], credit.weights[row][together.candidates[row]])


def test_rows_without_advantage_cost_nothing(embedded):
    batch = score_batch(embedded.tokenizer, **sampled(embedded, [GOOD, SHORT]))
    forwards = []
    hook = embedded.model.model.layers[0].register_forward_pre_hook(
        lambda module, args: forwards.append(args)
    )
    try:
        none = token_credit(embedded.model, batch, Credit(), row_mask=torch.zeros(2).bool())
        assert len(forwards) == 0 and bool((none.weights == 1).all())
        second = token_credit(embedded.model, batch, Credit(), row_mask=torch.tensor([False, True]))
        assert len(forwards) == 1 and forwards[0][0].shape[0] == 1
        assert bool((second.weights[0] == 1).all()) and bool((second.weights[1] == 1.5).any())
        token_credit(embedded.model, batch, Credit(), all_reduce_max=lambda mine: mine + 2)
        assert len(forwards) == 4
    finally:
        hook.remove()


def test_tool_output_is_in_the_graph_but_never_a_candidate_or_answer(embedded):
    parts = sampled(embedded, [GOOD + "ignored", GOOD])
    tool_mask = torch.ones_like(parts["completion_mask"])
    tool_mask[:, 4:9] = 0
    batch = score_batch(embedded.tokenizer, **parts, tool_mask=tool_mask)
    credit = token_credit(embedded.model, batch, Credit())
    width = parts["prompt_ids"].shape[1]
    assert bool((credit.weights[:, width + 4 : width + 9] == 1).all())
    assert not bool(batch.candidates[:, width + 4 : width + 9].any())
    assert bool(batch.attention_mask[:, width + 4 : width + 9].all())
    boxed = parts["completion_mask"].clone()
    boxed[:, 30:] = 0  # the box itself is tool output: then there is no answer
    assert not bool(score_batch(embedded.tokenizer, **parts, tool_mask=boxed).scorable.any())


def test_flow_can_enter_at_the_users_message_only(embedded):
    parts = sampled(embedded, [GOOD])
    conversations = [[{"role": "user", "content": "Make 33 from 3, 7, 18."}]]
    batch = score_batch(embedded.tokenizer, **parts, conversations=conversations)
    asked = embedded.tokenizer.decode(batch.input_ids[batch.question])
    assert "Make 33" in asked and "<|user|>" not in asked


def test_a_model_that_broke_gives_weight_one(embedded):
    batch = score_batch(embedded.tokenizer, **sampled(embedded, [GOOD]))
    weight = embedded.model.model.layers[0].self_attn.q_proj.weight
    saved = weight.detach().clone()
    try:
        weight.data.fill_(torch.nan)
        credit = token_credit(embedded.model, batch, Credit())
    finally:
        weight.data.copy_(saved)
    assert bool((credit.weights == 1).all()) and credit.scored.tolist() == [False]


def test_delimiters_are_tokens_without_letters_and_digits(embedded):
    known = structural_vocabulary(embedded.tokenizer)
    texts = {embedded.tokenizer.decode([i]).strip() for i in known.nonzero()[:, 0].tolist()}
    assert {".", ",", "="} <= texts and not any(any(c.isalnum() for c in t) for t in texts)
    batch = score_batch(embedded.tokenizer, **sampled(embedded, [GOOD]), delimiters=known)
    structural = token_credit(
        embedded.model, batch, Credit(selection=Selection(among="structural"))
    )
    assert not bool(structural.chosen[~batch.structural].any())
    assert bool(structural.chosen.any())


def test_credit_multiplies_advantages_of_either_shape():
    weights = torch.tensor([[1.5, 1.0, 1.5], [1.0, 1.5, 1.5]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    expected = torch.tensor([[3.0, 2.0, 3.0], [-1.0, -1.5, -1.0]])
    assert torch.equal(apply_credit(torch.tensor([2.0, -1.0]), weights, mask), expected)
    per_token = torch.tensor([[2.0], [-1.0]]).expand(2, 3)
    assert torch.equal(apply_credit(per_token, weights, mask), expected)


def test_concentration_is_the_ratio_of_the_top_fifth():
    scores = torch.tensor([[6.0, 1, 1, 1, 1, 100], [0, 0, 0, 0, 0, 0]])
    candidates = torch.tensor([[1, 1, 1, 1, 1, 0]] * 2).bool()
    assert concentration(scores, candidates).tolist() == pytest.approx([0.6, 0.0])


def test_chunks_keep_rows_whole_and_drop_columns_nobody_needs():
    length = 40
    batch = ScoreBatch(
        *(torch.zeros(5, length, dtype=torch.long) for _ in range(4)), torch.zeros(5, length)
    )
    for row, (first, answer) in enumerate([(0, 10), (5, 39), (2, 11), (9, 30), (1, 12)]):
        batch.attention_mask[row, first:] = 1
        batch.answer[row, answer] = 1.0
    parts = chunks(batch, torch.tensor([0, 1, 2, 4]), after_answer=False, most=3 * 13 * 13)
    assert sorted(torch.cat([part.rows for part in parts]).tolist()) == [0, 1, 2, 4]
    assert [(part.columns.start, part.columns.stop) for part in parts] == [(0, 13), (5, 40)]
    whole = chunks(batch, torch.tensor([0]), after_answer=True, most=1)
    assert whole[0].columns == slice(0, length)


def test_mad_takes_the_mean_of_the_middle_two():
    scores = torch.tensor([[0.0, 1.0, 2.0, 10.0, 99.0], [3.0, 1.0, 0.0, 0.0, 0.0]])
    candidates = torch.tensor([[1, 1, 1, 1, 0], [0, 0, 0, 0, 0]]).bool()
    weights = weigh(scores, candidates, candidates, Weighting("mad"))
    expected = torch.tensor([[0.0, 1 - 0.5 / 1.4826, 1 + 0.5 / 1.4826, 2.0, 1.0], [1.0] * 5])
    torch.testing.assert_close(weights, expected)
