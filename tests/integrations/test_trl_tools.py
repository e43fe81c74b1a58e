"""Tools, environments and rollout_func of TRL: what tools write is in the graph, and gets no credit."""

import copy

import pytest
import torch

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from helpers.trl_tools import (
    QUESTION,
    Calculator,
    Scripted,
    add,
    scripted_rollouts,
    tool_trainer,
    with_bonus,
)
from trl import GRPOTrainer

from flowtracer import answer_flow, mean_attention
from flowtracer.credit import Credit, Weighting, token_credit
from flowtracer.integrations.trl import FlowCreditMixin

pytestmark = pytest.mark.filterwarnings("ignore")
ASKED = [{"role": "user", "content": QUESTION}]
CASES = {
    "tools": {"tools": [add]},
    "environment": {"environment_factory": Calculator, "reward": None},
    "environments": {
        "environment_factory": {"first": Calculator, "second": Calculator},
        "dataset": [{"prompt": ASKED, "environment": name} for name in ("first", "second")] * 2,
    },
    "rollout_func": {"rollout_func": scripted_rollouts, "reward": with_bonus},
}


class Plain(Scripted, GRPOTrainer):
    pass


class Recorded(FlowCreditMixin, Scripted, GRPOTrainer):
    """Keeps the batch, its credit, the loss's inputs and the loss."""

    def _give_credit(self, inputs, batch, result, *, start):
        self.batch, self.result = batch, result
        super()._give_credit(inputs, batch, result, start=start)

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        self.inputs, self.loss = inputs, loss.detach()
        return loss


@pytest.fixture
def trained(tmp_path):
    def train(kind, case, **options):
        trainer = tool_trainer(kind, tmp_path / "out", **CASES[case], **options)
        trainer.first_model = copy.deepcopy(trainer.model)
        trainer.train()
        return trainer

    return train


def parameters(trainer):
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])


@pytest.mark.parametrize("case", CASES)
def test_a_step_with_tools(trained, case):
    trainer = trained(Recorded, case, rollouts_every=0)
    batch, inputs = trainer.batch, trainer.inputs
    completion = slice(inputs["prompt_ids"].shape[1], None)
    by_tool = (inputs["tool_mask"] == 0) & (inputs["completion_mask"] > 0)
    assert sorted(by_tool.any(1).tolist()) == [False, True, True, True]

    # The weights are those of token_credit, and what tools wrote has none.
    expected = token_credit(
        trainer.first_model, batch, trainer.credit, row_mask=inputs["advantages"].abs().amax(1) > 0
    )
    assert torch.equal(trainer.result.weights, expected.weights)
    written = batch.candidates[:, completion]
    assert torch.equal(written, (inputs["completion_mask"] * inputs["tool_mask"]) > 0)
    chosen = expected.chosen[:, completion]
    assert bool(chosen.any()) and not bool((chosen & by_tool).any())
    assert bool((expected.weights[:, completion][by_tool] == 1).all())
    share = chosen.sum(1) / written.sum(1)
    assert sorted(round(float(x), 1) for x in share) == [0.0, 0.4, 0.4, 0.4]  # one has no answer

    # A tool's box is no answer, the policy's later one is; but flow passes through the tool's tokens.
    assert not bool((batch.answer[:, completion] > 0)[by_tool].any())
    assert sorted(batch.scorable.tolist()) == [False, True, True, True]
    called = by_tool.any(1) & batch.scorable
    some = batch.take(called)
    attention = mean_attention(trainer.first_model, some.input_ids, some.attention_mask)
    flow = answer_flow(attention, some.question, some.answer)
    assert bool((flow.throughput[:, completion][by_tool[called]] > 0).all())

    # On policy every ratio is 1: the loss (DAPO) is a weighted mean of advantages over the policy's tokens.
    mask = inputs["completion_mask"] * inputs["tool_mask"]
    by_hand = -float((inputs["advantages"] * mask).sum() / mask.sum())
    assert float(trainer.loss) == pytest.approx(by_hand, rel=1e-5)
    plain = inputs["advantages"] / expected.weights[:, completion]
    torch.testing.assert_close(plain, plain[:, :1].expand_as(plain))


@pytest.mark.parametrize("case", ["tools", "rollout_func"])
def test_emphasis_one_is_plain_grpo_bit_by_bit(trained, monkeypatch, case):
    plain = trained(Plain, case)
    assert not torch.equal(parameters(plain), torch.cat(
        [weight.detach().flatten() for weight in plain.first_model.parameters()]
    ))  # fmt: skip
    monkeypatch.setattr(Weighting, "neutral", False)
    unit_credit = Credit(weighting=Weighting(emphasis=1.0))
    weighed = trained(Recorded, case, credit=unit_credit, rollouts_every=0)
    assert bool(weighed.result.chosen.any())
    assert torch.equal(parameters(weighed), parameters(plain))


def test_truncated_completions_are_left_out(trained):
    trainer = trained(
        Recorded, "tools", config={"mask_truncated_completions": True}, rollouts_every=0
    )
    truncated = trainer.inputs["completion_mask"].sum(1) == 0
    assert truncated.sum() == 1
    assert bool((trainer.inputs["advantages"][truncated].std(1) == 0).all())
    assert not bool(trainer.batch.scorable[truncated].any())


def test_the_arguments_of_a_call_can_be_the_answer(trained):
    trainer = trained(Recorded, "tools", credit=Credit(answer="tool-call"), rollouts_every=0)
    assert sorted(trainer.batch.scorable.tolist()) == [False, True, True, True]


def test_users_tokens_are_not_known_where_environments_write_prompts(trained):
    with pytest.raises(ValueError, match="an environment adds to what the user wrote"):
        trained(Recorded, "environment", credit=Credit(question="user"))
