"""Training steps of TRL's losses with one ratio per sequence: GSPO, GMPO and RLOO."""

import copy

import pytest
import torch

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from helpers.grpo import grpo_trainer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from flowtracer.credit import Credit, Weighting, token_credit
from flowtracer.integrations.trl import FlowCreditMixin
from flowtracer.integrations.trl_gradients import WEIGHTS
from flowtracer.integrations.trl_parts import LengthSortedMixin
from flowtracer.watching.parts import part_path, read_part

GMPOTrainer = pytest.importorskip("trl.experimental.gmpo").GMPOTrainer
ANSWER = Credit(answer=lambda text: [(len(text) // 2, len(text) // 2 + 4)])
SEQUENCE = {"importance_sampling_level": "sequence", "loss_type": "grpo"}
KINDS = {
    "GSPO": (GRPOTrainer, GRPOConfig, SEQUENCE),
    "GMPO": (GMPOTrainer, GRPOConfig, {}),
    "RLOO": (RLOOTrainer, RLOOConfig, {}),
}


class Recording:
    """Keeps the batches that credit was given to, and the weights that their losses have."""

    def _give_credit(self, inputs, batch, result, *, start):
        super()._give_credit(inputs, batch, result, start=start)
        self.__dict__.setdefault("scored", []).append((batch, inputs))

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        self.__dict__.setdefault("seen", []).append(inputs.get(WEIGHTS))
        return loss


class SortedGSPO(LengthSortedMixin, FlowCreditMixin, GRPOTrainer):
    """The order of `flowtracer train`."""


@pytest.fixture
def trained(embedded, tmp_path):
    def train(kind, config=GRPOConfig, settings=None, **options):
        trainer = grpo_trainer(
            kind,
            copy.deepcopy(embedded.model),
            embedded.tokenizer,
            tmp_path / "out",
            config={"max_completion_length": 12, "per_device_train_batch_size": 4}
            | (settings or {}),
            config_class=config,
            **options,
        )
        trainer.before = parameters(trainer)
        trainer.train()
        return trainer

    return train


def parameters(trainer):
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()]).clone()


@pytest.mark.parametrize("name", KINDS)
def test_a_step_has_the_weights_of_token_credit(trained, embedded, name):
    base, config, settings = KINDS[name]
    kind = type("Recorded", (Recording, FlowCreditMixin, base), {})
    own, ride = (
        trained(kind, config, settings, credit=ANSWER, credit_forward=forward, rollouts_every=every)
        for forward, every in (("own", 1), ("ride", 0))
    )
    assert ride._rides and own.weights_in == "gradients"
    ((batch, inputs),) = own.scored
    assert inputs["advantages"].ndim == 1
    expected = token_credit(embedded.model, batch, ANSWER, row_mask=inputs["advantages"] != 0)
    weights = expected.weights[:, inputs["prompt_ids"].shape[1] :]
    assert bool((weights > 1).any())
    assert torch.equal(own.scored[0][1][WEIGHTS], weights)
    assert torch.equal(own.seen[0], ride.seen[0])
    assert torch.equal(parameters(own), parameters(ride))
    (kept,) = {len(rollout.weights) == len(rollout.advantages) for rollout in kept_rollouts(own)}
    assert kept and any(1.5 in rollout.weights for rollout in kept_rollouts(own))
    assert not torch.equal(own.before, parameters(own))


def kept_rollouts(trainer):
    return read_part(part_path(trainer.rollout_log.folder, 1))


@pytest.mark.parametrize("name", KINDS)
def test_emphasis_one_is_the_plain_trainer_bit_by_bit(trained, monkeypatch, name):
    base, config, settings = KINDS[name]
    kind = type("Flow", (FlowCreditMixin, base), {})
    unit_credit = Credit(answer=ANSWER.answer, weighting=Weighting(emphasis=1.0))
    plain = parameters(trained(base, config, settings))
    monkeypatch.setattr(Weighting, "neutral", False)
    weighed = trained(kind, config, settings, credit=unit_credit, rollouts_every=0)
    assert weighed.state.log_history[0]["credit/selected"] > 0.3
    assert torch.equal(parameters(weighed), plain)


def test_rows_in_parts_are_weighed_as_one_batch(trained):
    settings = SEQUENCE | {"max_grad_norm": 0.0}
    sorted_rows = trained(SortedGSPO, GRPOConfig, settings, credit=ANSWER, rollouts_every=0)
    flow = type("Flow", (FlowCreditMixin, GRPOTrainer), {})
    whole = trained(flow, GRPOConfig, settings, credit=ANSWER, rollouts_every=0)
    assert sorted_rows._rides and whole._rides
    torch.testing.assert_close(parameters(sorted_rows), parameters(whole), atol=2e-6, rtol=0)


def test_later_updates_keep_the_first_weights(trained):
    kind = type("Recorded", (Recording, FlowCreditMixin, GRPOTrainer), {})
    settings = SEQUENCE | {"num_iterations": 2, "max_steps": 2}
    trainer = trained(kind, GRPOConfig, settings, credit=ANSWER, rollouts_every=0)
    assert len(trainer.scored) == 1 and len(trainer.seen) == 2
    assert torch.equal(*trainer.seen)
