"""GRPO runs of swift's own pipeline, with sampling, rewards, advantages, credit and updates."""

import pytest
import torch
from recording import Flow

from flowtracer.credit import Credit, Weighting, sequence_credit
from flowtracer.integrations.swift.rows import last_columns, rows_of


def weights_of(model, tokenizer, loss, credit):
    """`sequence_credit` of each response alone, without padding, in the batch's completion columns."""
    ids, mask = loss.inputs["input_ids"], loss.inputs["attention_mask"]
    written = rows_of(loss.inputs, loss.batch.completion_mask, padding_free=False).response_mask
    weights = torch.ones(written.shape)
    for row in range(len(ids)):
        real = mask[row] > 0
        found = sequence_credit(
            model, tokenizer, ids[row, real][None], written[row, real][None], credit=credit
        )
        weights[row, real] = found.weights[0]
    return last_columns(weights, loss.batch.completion_mask.shape[1], fill=1.0)


def by_hand(loss):
    """Equation 5 of swift's loss `grpo`: mean over responses of the mean over tokens, negated."""
    batch, total = loss.batch, 0.0
    mask = batch.completion_mask
    for row in range(len(mask)):
        kept = 0.0
        for token in mask[row].nonzero()[:, 0].tolist():
            new = float(loss.logps[row, token - mask.shape[1]])
            ratio = torch.tensor(new - float(batch.old_per_token_logps[row, token])).exp().item()
            advantage = float(batch.advantages[row, token])
            kept += min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage)
        total += kept / int(mask[row].sum())
    return -total / len(mask)


def test_weights_are_those_of_token_credit_and_the_loss_is_by_hand(train, embedded):
    Flow.credit = Credit()
    run = train("Flow", num_iterations=2)
    assert len(run.losses) == 4  # two updates of two micro-batches of one generation
    model = embedded.model.float()
    some = 0
    for number, loss in enumerate(run.losses):
        batch = loss.batch
        mask = batch.completion_mask
        weights = weights_of(model, embedded.tokenizer, loss, Credit())
        informative = (batch.advantages.abs() * mask).sum(1) > 0
        plain = batch.advantages / weights
        for row in range(len(mask)):  # without weights, one advantage for each response
            values = plain[row, mask[row]]
            torch.testing.assert_close(values, values[:1].expand_as(values), rtol=1e-4, atol=1e-6)
        some += int(((weights != 1).any(1) & informative).sum())
        torch.testing.assert_close(
            plain.mean(1)[mask.any(1)].sum(), torch.tensor(0.0), atol=1e-4, rtol=0
        )
        assert loss.value == pytest.approx(by_hand(loss), rel=1e-4, abs=1e-6)
        moved = (loss.logps[:, -mask.shape[1] :] - batch.old_per_token_logps)[mask].abs().max()
        assert (moved > 1e-3) == (number >= 2)  # the second update is off policy
    assert some >= 2
    logged = run.logs[0]
    assert 0.35 < logged["credit/selected"] < 0.5
    assert logged["credit/mean_weight"] == pytest.approx(1 + logged["credit/selected"] / 2)
    assert {"credit/no_answer", "credit/not_scored", "credit/seconds", "credit/gini"} <= set(logged)


def test_emphasis_1_is_swifts_own_trainer_bit_for_bit(train):
    Flow.credit = Credit(weighting=Weighting(emphasis=1.0))
    ours, own = train("Flow").model.state_dict(), train("Own").model.state_dict()
    assert all(torch.equal(ours[name], own[name]) for name in own)
    Flow.credit = Credit()
    credited = train("Flow").model.state_dict()
    assert not all(torch.equal(credited[name], own[name]) for name in own)
