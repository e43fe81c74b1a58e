"""In every loss that is allowed, a factor on a token's advantage is a factor on its part of the loss."""

import copy
import inspect
import re

import pytest
import torch
from swift.rl_core.data import GRPOBatch
from swift.rlhf_trainers import GRPOTrainer

from flowtracer.credit import Credit, ScoreOptions, apply_credit
from flowtracer.integrations.swift.settings import TOKEN_LOSSES, check_settings

REFUSED = {"real"}  # takes the sign of a sequence's mean advantage


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(4, 12, dtype=torch.bool)
    mask[1, 7:] = False
    mask[3, 3:] = False
    old = -torch.rand(4, 12, generator=generator) * 2
    new = (old + torch.randn(4, 12, generator=generator) * 0.4).clamp(max=-1e-3)
    advantages = torch.tensor([1.3, -0.8, -1.1, 0.6])[:, None] * mask
    weights = 1 + 0.5 * (torch.rand(4, 12, generator=generator) < 0.4)
    return old, new, advantages, weights, mask


def gradient(trainer, old, new, advantages, mask):
    """Of swift's own loss by the tokens' log-probabilities."""
    new = new.clone().requires_grad_()
    probe = copy.copy(trainer)
    probe._get_per_token_logps_and_entropies = lambda *_, **__: (new, None)
    batch = GRPOBatch(
        completion_mask=mask,
        truncated_mask=torch.zeros(4, dtype=torch.bool),
        seq_lengths=mask.sum(1),
        old_per_token_logps=old,
        advantages=advantages,
        num_items_in_batch=mask.sum(),
    )
    loss, _ = probe._compute_loss_and_metrics(trainer.model, {}, batch)
    return torch.autograd.grad(loss, new)[0]


def test_every_loss_of_swift_is_known():
    code = inspect.getsource(GRPOTrainer._compute_loss_and_metrics)
    known = re.findall(r"loss_type (?:==|in) (\[.*?\]|'\w+')", code)
    names = {name for one in known for name in re.findall(r"'(\w+)'", one)}
    assert names == set(TOKEN_LOSSES) | REFUSED


@pytest.mark.parametrize("level", ["token", "sequence_token"])
@pytest.mark.parametrize("loss", TOKEN_LOSSES)
def test_the_factor_of_an_advantage_is_that_of_its_gradient(trainer, case, loss, level):
    old, new, advantages, weights, mask = case
    probe = copy.copy(trainer)
    probe.loss_type, probe.importance_sampling_level = loss, level
    probe.epsilon_high = probe.epsilon_high or 0.2
    probe._has_teacher = (
        False  # with which swift 4.6.0 refuses `fipo`, and sets it without a teacher too
    )
    check_settings(probe)
    plain = gradient(probe, old, new, advantages, mask)
    credited = gradient(probe, old, new, apply_credit(advantages, weights, mask), mask)
    assert bool((plain != 0).any())
    torch.testing.assert_close(credited, plain * weights, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("loss_type", "real", "loss_type is 'real'"),
        ("importance_sampling_level", "sequence", "one ratio per sequence"),
        ("use_liger_loss", True, "takes one advantage for a sequence"),
        ("is_multimodal", True, "takes pictures"),
        ("advantage_reweight", "rlsd", "a teacher"),
        ("sdar_loss_coef", 0.1, "a teacher"),
        ("_teacher_use_disable_adapter", True, "a teacher"),
        ("credit", Credit(options=ScoreOptions(layers="9-12")), "layers"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_trained(trainer, name, value, message):
    probe = copy.copy(trainer)
    setattr(probe, name, value)
    with pytest.raises(ValueError, match=message) as refused:
        check_settings(probe)
    assert "\n" not in str(refused.value)


def test_sequence_parallelism_is_refused(trainer):
    probe = copy.copy(trainer)
    probe.template = copy.copy(trainer.template)
    probe.template.sequence_parallel_size = 2
    with pytest.raises(ValueError, match="all of a response on one device"):
        check_settings(probe)
