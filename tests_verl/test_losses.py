"""In every loss that is allowed, a factor on a token's advantage is a factor on its part of the loss."""

import pytest
import torch
from omegaconf import OmegaConf
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY, get_policy_loss_fn
from verl.utils.config import omega_conf_to_dataclass

from flowtracer.credit import apply_credit
from flowtracer.integrations.verl.settings import TOKEN_LOSSES

KNOWN = {
    "vanilla", "dppo_tv", "dppo_kl", "gspo", "sapo", "gpg", "clip_cov", "kl_cov", "geo_mean",
    "dro", "cispo", "bypass_mode",
}  # fmt: skip


def actor(verl_config, loss, **changes):
    config = verl_config(
        f"actor_rollout_ref.actor.policy_loss.loss_mode={loss}",
        *(f"{name}={value}" for name, value in changes.items()),
    )
    return omega_conf_to_dataclass(OmegaConf.create(config.actor_rollout_ref.actor))


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(4, 12)
    mask[1, 7:] = 0
    mask[3, 3:] = 0
    old = -torch.rand(4, 12, generator=generator) * 2
    new = (old + torch.randn(4, 12, generator=generator) * 0.4).clamp(max=-1e-3)
    advantages = torch.tensor([1.3, -0.8, -1.1, 0.6])[:, None] * mask
    weights = 1 + 0.5 * (torch.rand(4, 12, generator=generator) < 0.4)
    return old, new, advantages, weights, mask


def gradient(loss, config, old, new, advantages, mask):
    new = new.clone().requires_grad_()
    value, _ = get_policy_loss_fn(loss)(
        old_log_prob=old,
        log_prob=new,
        advantages=advantages,
        response_mask=mask,
        loss_agg_mode="seq-mean-token-mean",
        config=config,
        rollout_is_weights=None,
    )
    value.backward()
    return value.detach(), new.grad


def test_the_losses_of_verl_are_the_known_ones():
    assert set(POLICY_LOSS_REGISTRY) >= set(TOKEN_LOSSES)
    unknown = set(POLICY_LOSS_REGISTRY) - KNOWN
    assert not unknown, f"verl has new losses {unknown}: test them and extend TOKEN_LOSSES"


@pytest.mark.parametrize("loss", TOKEN_LOSSES)
def test_weighting_the_advantage_weights_the_token(verl_config, case, loss):
    old, new, advantages, weights, mask = case
    config = actor(verl_config, loss)
    if (
        loss == "gspo"
    ):  # its ratio joins the tokens of a sequence; the factor is on each token's part
        new = old + (new - old) * 0.1
    _, plain = gradient(loss, config, old, new, advantages, mask)
    _, credited = gradient(loss, config, old, new, apply_credit(advantages, weights, mask), mask)
    assert bool((plain != 0).any())
    torch.testing.assert_close(credited, plain * weights, rtol=1e-5, atol=1e-7)


def test_the_loss_is_equation_5_by_hand(verl_config, case):
    """1/G sum_i 1/N_i sum_t w min(r A, clip(r) A), negated: verl's vanilla loss as configured."""
    old, new, advantages, weights, mask = case
    config = actor(verl_config, "vanilla", **{"actor_rollout_ref.actor.clip_ratio_c": 1e6})
    value, _ = gradient("vanilla", config, old, new, apply_credit(advantages, weights, mask), mask)
    total = 0.0
    for row in range(4):
        held = 0.0
        for place in range(int(mask[row].sum())):
            ratio = float((new[row, place] - old[row, place]).exp())
            clipped = min(max(ratio, 0.8), 1.2)
            advantage = float(advantages[row, place])
            held += float(weights[row, place]) * min(ratio * advantage, clipped * advantage)
        total += held / float(mask[row].sum())
    assert float(value) == pytest.approx(-total / 4, rel=1e-5)
