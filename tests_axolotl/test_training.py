"""GRPO runs of Axolotl's own pipeline, with sampling, rewards, advantages, credit and updates."""

import copy

import pytest
import torch

from flowtracer.credit import Credit, sequence_credit
from flowtracer.integrations.trl_loss import check_settings, where_weights_go


def weights_of(model, tokenizer, inputs, credit):
    """`sequence_credit` of each response alone, without padding: (B, C)."""
    weights = torch.ones(inputs["completion_ids"].shape)
    for row in range(len(weights)):
        parts = [
            inputs[f"{part}_ids"][row][inputs[f"{part}_mask"][row] > 0]
            for part in ("prompt", "completion")
        ]
        ids = torch.cat(parts)[None]
        written = torch.zeros_like(ids)
        written[:, len(parts[0]) :] = 1
        found = sequence_credit(model, tokenizer, ids, written, credit=credit).weights[0]
        weights[row, : len(parts[1])] = found[len(parts[0]) :]
    return weights


def by_hand(loss):
    """Equation 5 as TRL's loss `grpo`: mean over responses of the mean over tokens, negated."""
    mask, total = loss.inputs["completion_mask"] > 0, 0.0
    old = loss.inputs.get("old_per_token_logps")
    for row in range(len(mask)):
        kept = 0.0
        for token in mask[row].nonzero()[:, 0].tolist():
            new = loss.logps[row, token]
            ratio = 1.0 if old is None else float((new - old[row, token]).exp())
            advantage = float(loss.inputs["advantages"][row, token])
            kept += min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage)
        total += kept / int(mask[row].sum())
    return -total / len(mask) / 2  # two micro-batches accumulate


@pytest.mark.parametrize("forward", ["own", "ride"])
def test_weights_are_those_of_token_credit_and_the_loss_is_by_hand(train, embedded, forward):
    run = train(
        "Flow", flow_credit={"credit_forward": forward}, trl={"num_iterations": 2}, max_steps=2
    )
    losses = run.losses
    assert len(losses) == 4  # two updates of two micro-batches of one generation
    model = embedded.model.float()
    some = 0
    for number, loss in enumerate(losses):
        advantages, mask = loss.inputs["advantages"], loss.inputs["completion_mask"] > 0
        weights = weights_of(model, embedded.tokenizer, loss.inputs, Credit())
        for row in range(len(mask)):  # without weights, one advantage for each response
            values = (advantages / weights)[row, mask[row]]
            torch.testing.assert_close(values, values[:1].expand_as(values), rtol=1e-4, atol=1e-6)
            some += int(bool((weights[row] != 1).any()) and bool((values != 0).any()))
        assert loss.value == pytest.approx(by_hand(loss), rel=1e-4, abs=1e-6), number
        if number >= 2:  # the second update is off policy
            moved = (loss.logps - loss.inputs["old_per_token_logps"])[mask]
            assert moved.abs().max() > 1e-3
    assert some >= 2
    logged = run.logs[0]
    assert 0.35 < logged["credit/selected"] < 0.5
    assert {"credit/no_answer", "credit/not_scored", "credit/seconds", "credit/gini"} <= set(logged)


def test_emphasis_1_is_axolotls_own_trainer_bit_for_bit(train):
    ours = train("Flow", flow_credit={"emphasis": 1.0}).model.state_dict()
    own = train("Own").model.state_dict()
    assert all(torch.equal(ours[name], own[name]) for name in own)
    credited = train("Flow").model.state_dict()
    assert not all(torch.equal(credited[name], own[name]) for name in own)


@pytest.fixture
def trainer(train):
    return train("Flow", max_steps=1).trainer


def test_losses_of_its_trl_take_weights_in_advantages_or_are_refused(trainer):
    for name in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo"):
        probe = copy.copy(trainer)
        probe.loss_type = name
        assert where_weights_go(probe) == "advantages", name
    probe = copy.copy(trainer)
    probe.liger_loss = object()
    with pytest.raises(ValueError, match="Liger"):
        check_settings(probe)
