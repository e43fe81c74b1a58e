"""Credit out of a forward pass that runs anyway equals that of a pass of its own."""

import pytest
import torch
from helpers.models import ARCHITECTURES, random_model
from helpers.responses import GOOD, NO_BOX, SHORT, sampled

from flowtracer.credit import Credit, ScoreOptions, score_batch, token_credit
from flowtracer.credit.riding import RiddenCredit, as_slice, fits, why_not_ridden
from flowtracer.scorers.batch import ScoreBatch

TEXTS = [GOOD, SHORT, NO_BOX, GOOD, SHORT + SHORT]


def real_batch(embedded):
    return score_batch(embedded.tokenizer, **sampled(embedded, TEXTS, width=110))


def random_batch(length=40):
    """Padding on the left of a prompt and on the right of a response, an answer in the response."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(3, 97, (6, length), generator=generator)
    mask = torch.ones_like(ids)
    answer = torch.zeros(6, length)
    for row in range(6):
        mask[row, : 2 * row] = 0
        mask[row, length - row :] = 0
        answer[row, 24 + row : 27 + row] = 1.0
    position = torch.arange(length).expand(6, -1)
    real = mask > 0
    return ScoreBatch(ids, mask, real & (position < 16), real & (position >= 16), answer)


def ride(model, batch, credit, **options):
    ridden = RiddenCredit(model, batch, credit, **options)
    with ridden.observing():
        model(batch.input_ids, attention_mask=batch.attention_mask)
    assert ridden.complete and ridden.seconds > 0
    return ridden.credit()


@pytest.mark.parametrize("scorer", ["flow", "attention_max", "answer_attention", "rollout"])
def test_every_scorer_of_mean_attention_rides(embedded, scorer):
    batch, credit = real_batch(embedded), Credit(scorer=scorer)
    actual = ride(embedded.model, batch, credit)
    expected = token_credit(embedded.model, batch, credit)
    torch.testing.assert_close(actual.scores, expected.scores, atol=1e-6, rtol=1e-5)
    assert torch.equal(actual.weights, expected.weights)
    assert torch.equal(actual.chosen, expected.chosen)
    assert actual.scored.tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("edges", ["no-sink", "value"])
def test_other_edges_ride(embedded, edges):
    batch, credit = real_batch(embedded), Credit(options=ScoreOptions(edges=edges, layers="all"))
    actual = ride(embedded.model, batch, credit)
    expected = token_credit(embedded.model, batch, credit)
    torch.testing.assert_close(actual.scores, expected.scores, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_windows_caps_and_sinks(name):
    model, batch = random_model(name), random_batch()
    actual = ride(model, batch, Credit())
    expected = token_credit(model, batch, Credit())
    assert bool(expected.scored.all())
    torch.testing.assert_close(actual.scores, expected.scores, atol=1e-6, rtol=2e-4)


def test_rows_that_learn_nothing_are_not_looked_at(embedded):
    batch = real_batch(embedded)
    rows = torch.tensor([False, True, True, True, False])
    actual = ride(embedded.model, batch, Credit(), row_mask=rows)
    expected = token_credit(embedded.model, batch, Credit(), row_mask=rows)
    torch.testing.assert_close(actual.scores, expected.scores, atol=1e-6, rtol=1e-5)
    none = RiddenCredit(embedded.model, batch, Credit(), row_mask=torch.zeros(5, dtype=torch.bool))
    before = embedded.model.config._attn_implementation
    with none.observing():
        assert embedded.model.config._attn_implementation == before
    assert none.complete and none.seconds == 0.0
    assert bool((none.credit().weights == 1).all())


def test_a_batch_may_run_in_parts_without_columns_of_padding(embedded):
    batch = real_batch(embedded)
    part = []
    ridden = RiddenCredit(embedded.model, batch, Credit(), rows_of_pass=lambda: part[-1])
    for rows, stop in ((torch.tensor([3, 0]), 100), (torch.tensor([4, 2, 1]), 140)):
        part.append(rows)
        assert not ridden.complete
        with ridden.observing():
            embedded.model(
                batch.input_ids[rows, :stop], attention_mask=batch.attention_mask[rows, :stop]
            )
    assert ridden.complete
    expected = token_credit(embedded.model, batch, Credit())
    torch.testing.assert_close(ridden.credit().scores, expected.scores, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("tokens_behind", [0, 5])
def test_packed_sequences_are_found_by_their_tokens(embedded, tokens_behind):
    """In one row without padding, in another order, with tokens behind that belong to none."""
    batch = real_batch(embedded)
    rows = [batch.input_ids[i][batch.attention_mask[i] > 0] for i in (3, 1, 4, 0, 2)]
    rows += [torch.arange(3, 3 + tokens_behind)] if tokens_behind else []
    positions = torch.cat([torch.arange(len(row)) for row in rows])[None]
    ridden = RiddenCredit(embedded.model, batch, Credit(), by_tokens=True)
    with ridden.observing():
        embedded.model(torch.cat(rows)[None], position_ids=positions, use_cache=False)
    assert ridden.complete
    expected = token_credit(embedded.model, batch, Credit())
    torch.testing.assert_close(ridden.credit().scores, expected.scores, atol=1e-6, rtol=1e-5)


def test_padded_rows_are_found_by_their_tokens_in_any_order(embedded):
    batch = real_batch(embedded)
    ridden = RiddenCredit(embedded.model, batch, Credit(), by_tokens=True)
    for rows in ([4, 1], [3, 2, 0]):
        ids, mask = batch.input_ids[rows].roll(-2, 1), batch.attention_mask[rows].roll(-2, 1)
        with ridden.observing():
            embedded.model(ids, attention_mask=mask)
    expected = token_credit(embedded.model, batch, Credit())
    torch.testing.assert_close(ridden.credit().scores, expected.scores, atol=1e-6, rtol=1e-5)


def test_a_pass_of_something_else_leaves_the_batch_incomplete(embedded):
    batch = real_batch(embedded)
    ridden = RiddenCredit(embedded.model, batch, Credit())
    with ridden.observing():
        embedded.model(batch.input_ids[:2])
    assert not ridden.complete


@pytest.mark.parametrize(
    ("credit", "reason"),
    [
        (Credit(scorer="entropy"), "'entropy' reads more"),
        (Credit(scorer="position"), "or nothing"),
        (Credit(options=ScoreOptions(heads="far")), "heads 'far'"),
    ],
)
def test_what_cannot_ride_is_told(embedded, credit, reason):
    assert why_not_ridden(embedded.model, Credit()) is None
    assert reason in why_not_ridden(embedded.model, credit)


def test_batches_that_do_not_fit_are_told(embedded):
    assert fits(embedded.model, Credit(), 192, 170)
    assert not fits(embedded.model, Credit(), 64, 1 << 20)
    assert not fits(embedded.model, Credit(options=ScoreOptions(tile_above=100)), 1, 170)


def test_rows_without_a_gap_are_not_copied():
    assert as_slice(torch.tensor([2, 3, 4])) == slice(2, 5)
    assert torch.equal(as_slice(torch.tensor([2, 4])), torch.tensor([2, 4]))
