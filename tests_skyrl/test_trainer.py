"""The advantages of SkyRL's trainer with weights, and the loss that its workers make of them."""

import copy

import pytest
import torch
from conftest import make_batch, make_trainer
from helpers.plug_ins import RESPONSES, TOOL, sequence_ids, weights_alone

pytest.importorskip("skyrl", reason="SkyRL is not installed; `make test-skyrl` does that")

from skyrl.backends.skyrl_train.utils.ppo_utils import PolicyLossRegistry
from skyrl.train.trainer import RayPPOTrainer

from flowtracer.credit import Credit
from flowtracer.integrations.skyrl import TOKEN_LOSSES, FlowRayPPOTrainer

ESTIMATORS = ("grpo", "rloo", "gae", "reinforce++", "maxrl")


def row_by_row(embedded, data, credit):
    """Every response alone, without any padding: `token_credit` itself."""
    found = []
    for row in range(len(RESPONSES)):
        ids = data["sequences"][row][data["attention_mask"][row].bool()]
        mask = data["loss_mask"][row][data["response_mask"][row].bool()].long()
        found.append(weights_alone(embedded, ids, mask, credit))
    return found


def computed(cls, cfg, embedded, **batch):
    trainer = make_trainer(cls, cfg, embedded.tokenizer)
    data = trainer.compute_advantages_and_returns(make_batch(trainer, **batch))
    return trainer, data


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_advantages_are_skyrls_times_the_weights_of_token_credit(embedded, config, estimator):
    cfg = config(f"trainer.algorithm.advantage_estimator={estimator}")
    _, before = computed(RayPPOTrainer, cfg, embedded)
    trainer, after = computed(FlowRayPPOTrainer, cfg, embedded)
    weights = row_by_row(embedded, before, Credit())
    assert len(after["advantages"]) == 6  # two of padding
    for row in range(4):
        inside = before["response_mask"][row].bool()
        expected = before["advantages"][row][inside] * weights[row]
        torch.testing.assert_close(after["advantages"][row][inside], expected)
        assert torch.equal(after["advantages"][row][~inside], before["advantages"][row][~inside])
    assert torch.equal(after["advantages"][4:], before["advantages"][4:])
    assert torch.equal(after["returns"], before["returns"])
    assert bool((weights[0] == 1.5).any()) and bool((weights[1] == 1).all())
    assert bool((weights[3][TOOL] == 1).all()) and bool((weights[3] == 1.5).any())
    assert trainer.all_metrics["credit/not_weighted"] == 0.25
    assert 1 < trainer.all_metrics["credit/mean_weight"] < 1.2
    assert 0 < trainer.all_metrics["credit/selected"] < 0.4


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_emphasis_one_is_skyrl_bit_for_bit(embedded, config, estimator):
    cfg = config(
        f"trainer.algorithm.advantage_estimator={estimator}",
        "flow_credit.emphasis=1",
        "flow_credit.model=one-that-would-not-load",
    )
    before, after = (computed(cls, cfg, embedded) for cls in (RayPPOTrainer, FlowRayPPOTrainer))
    assert before[1].keys() == after[1].keys()
    for name, value in before[1].items():
        assert value is None or torch.equal(after[1][name], value), name
    assert before[0].all_metrics == after[0].all_metrics


def test_a_batch_without_any_advantage_makes_no_forward(embedded, config, monkeypatch):
    trainer = make_trainer(FlowRayPPOTrainer, config("flow_credit.ratio=0.3"), embedded.tokenizer)
    monkeypatch.setattr("flowtracer.integrations.skyrl.own_scorer", lambda settings: None)
    data = trainer.compute_advantages_and_returns(make_batch(trainer, rewards=(1.0, 1.0, 0.0, 0.0)))
    assert not data["advantages"][:4].any() and trainer.all_metrics["credit/selected"] == 0


@pytest.mark.filterwarnings("ignore:a response has weight 1")
def test_odd_responses_have_weight_one(embedded, config):
    """An id that the scorer does not have, and a response taken out of the loss."""
    masks = [[1] * len(response) for response in sequence_ids(embedded.tokenizer)[1]]
    masks[2] = [0] * len(masks[2])
    results = []
    for cls in (RayPPOTrainer, FlowRayPPOTrainer):
        trainer = make_trainer(cls, config(), embedded.tokenizer)
        data = make_batch(trainer, masks=copy.deepcopy(masks))
        data["sequences"][0, -3] = 10**6
        results.append((trainer, trainer.compute_advantages_and_returns(data)))
    (_, before), (trainer, after) = results
    assert torch.equal(after["advantages"][:3], before["advantages"][:3])
    assert not torch.equal(after["advantages"][3], before["advantages"][3])
    assert trainer.all_metrics["credit/not_weighted"] == pytest.approx(2 / 3)


def loss_inputs(data):
    """Log-probabilities of the update as a leaf, and what is fixed; as a worker calls its loss."""
    draw = torch.Generator().manual_seed(3)
    old = data["rollout_logprobs"]
    new = (old + 0.3 * torch.randn(old.shape, generator=draw)).requires_grad_()
    return new, old


@pytest.mark.parametrize("loss", TOKEN_LOSSES)
def test_each_tokens_gradient_is_its_weight_times_skyrls(embedded, config, loss):
    """Through SkyRL's own normalisation of advantages, whatever the loss."""
    cfg = config(
        f"trainer.algorithm.policy_loss_type={loss}",
        "trainer.algorithm.loss_reduction=sequence_mean",
    )
    gradients, batches = [], []
    for cls in (RayPPOTrainer, FlowRayPPOTrainer):
        trainer, data = computed(cls, cfg, embedded)
        batches.append(data)
        data = trainer._normalize_advantages(copy.copy(data), [(0, 4)])
        new, old = loss_inputs(data)
        function = PolicyLossRegistry.get(loss)
        value, _ = function(
            new[:4],
            old[:4],
            data["advantages"][:4],
            config=cfg.trainer.algorithm,
            loss_mask=data["loss_mask"][:4],
            rollout_logprobs=data["rollout_logprobs"][:4],
        )
        gradients.append(torch.autograd.grad(value, new)[0])
    weights = row_by_row(embedded, batches[0], Credit())
    for row in range(4):
        inside = batches[0]["response_mask"][row].bool()
        expected = gradients[0][row][inside] * weights[row]
        torch.testing.assert_close(gradients[1][row][inside], expected)
    assert not torch.equal(*gradients)


def test_the_loss_is_the_one_computed_by_hand(embedded, config):
    """Equation 5: the clipped surrogate of each token times its weight, mean of each response."""
    cfg = config(
        "trainer.algorithm.loss_reduction=sequence_mean", "trainer.algorithm.grpo_norm_by_std=false"
    )
    trainer, data = computed(FlowRayPPOTrainer, cfg, embedded)
    weights = row_by_row(embedded, data, Credit())
    data = trainer._normalize_advantages(data, [(0, 4)])
    new, old = loss_inputs(data)
    value, _ = PolicyLossRegistry.get("regular")(
        new[:4],
        old[:4],
        data["advantages"][:4],
        config=cfg.trainer.algorithm,
        loss_mask=data["loss_mask"][:4],
    )
    by_hand = 0.0
    for row, advantage in enumerate((0.5, -0.5, 0.5, -0.5)):  # rewards 1 and 0 less their mean
        inside = data["response_mask"][row].bool()
        mask = data["loss_mask"][row][inside]
        ratio = (new[row][inside] - old[row][inside]).exp()
        surrogate = (
            torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage) * weights[row]
        )
        by_hand = by_hand - (surrogate * mask).sum() / mask.sum() / 4
    torch.testing.assert_close(value, by_hand)
