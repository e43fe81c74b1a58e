"""Every loss of TRL with weights of tokens: its value and its gradient, written out by hand."""

import copy
import inspect
import re
from dataclasses import replace

import pytest
import torch

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from helpers.grpo import grpo_trainer
from helpers.trl_losses import (
    Settings,
    gmpo_loss,
    grpo_loss,
    made_rows,
    made_weights,
    rloo_loss,
)
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from flowtracer.credit import Calibrated, Credit
from flowtracer.integrations.trl import FlowCreditMixin, FlowGRPOTrainer, FlowRLOOTrainer
from flowtracer.integrations.trl_gradients import METHOD, WEIGHTS
from flowtracer.integrations.trl_loss import METHODS, check_settings, where_weights_go

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo")
OF_TOKENS = {
    **{name: {"loss_type": name} for name in LOSSES},
    "cispo, sequence": {"loss_type": "cispo", "importance_sampling_level": "sequence"},
    "vespo, sequence": {"loss_type": "vespo", "importance_sampling_level": "sequence"},
    "delta": {"loss_type": "grpo", "delta": 1.3},
    "clip higher": {"high": 0.4},
    "KL": {"beta": 0.1},
    "KL, corrected": {"beta": 0.1, "use_bias_correction_kl": True},
    "entropy quantile": {"top_entropy_quantile": 0.4},
    "off-policy mask": {"off_policy_mask_threshold": 0.01},
    "entropy bonus": {"entropy_coef": 0.05},
    "vLLM's ratio": {"vllm": True},
    "vLLM's ratio, vespo": {"vllm": True, "loss_type": "vespo"},
    "vLLM's ratio, cispo": {"vllm": True, "loss_type": "cispo"},
}  # fmt: skip
OF_SEQUENCES = ("grpo", "bnpo", "dr_grpo", "dapo", "sapo", "luspo")


@pytest.fixture(scope="module")
def trainers(embedded, tmp_path_factory):
    """Trainers of each kind, which no test changes."""
    made = {}

    def of(kind, config=GRPOConfig):
        if kind not in made:
            model = copy.deepcopy(embedded.model)
            folder = tmp_path_factory.mktemp("trainer")
            made[kind] = grpo_trainer(kind, model, embedded.tokenizer, folder, config_class=config)
            made[kind].model.train()
            made[kind].current_gradient_accumulation_steps = 1
        trainer = copy.copy(made[kind])
        trainer.args = copy.copy(trainer.args)
        return trainer

    return of


def configured(trainer, settings):
    """A trainer with these settings, which TRL reads from the trainer or from its arguments."""
    names = (
        "loss_type", "importance_sampling_level", "beta", "top_entropy_quantile",
        "off_policy_mask_threshold", "entropy_coef",
    )  # fmt: skip
    for name in names:
        setattr(trainer, name, getattr(settings, name))
    trainer._entropy_bonus_enabled = settings.entropy_coef > 0
    trainer.epsilon_low, trainer.epsilon_high = settings.low, settings.high
    trainer.use_vllm = trainer.vllm_importance_sampling_correction = settings.vllm
    trainer.args.delta = None if settings.delta == float("inf") else settings.delta
    trainer.args.use_bias_correction_kl = settings.use_bias_correction_kl
    trainer.weights_in = where_weights_go(trainer)
    return trainer


def loss_and_gradient(trainer, rows, advantages, weights=None):
    """TRL's own loss of these log-probabilities, and its gradient by them."""
    logps = rows.logps.clone().requires_grad_()
    setattr(trainer, METHOD, lambda *args, **kwargs: (logps, rows.entropies, None))
    ids = torch.zeros_like(rows.mask, dtype=torch.long)
    inputs = {
        "prompt_ids": ids,
        "prompt_mask": torch.ones_like(ids),
        "completion_ids": ids,
        "completion_mask": torch.ones_like(ids),
        "tool_mask": rows.mask.long(),
        "advantages": advantages,
        "old_per_token_logps": rows.old,
        "ref_per_token_logps": rows.reference,
        "old_logps": (rows.old * rows.mask).sum(1),
        "num_items_in_batch": rows.mask.sum(),
    }
    if getattr(trainer, "use_vllm", False):
        inputs["importance_sampling_ratio"] = rows.correction
    if isinstance(trainer, RLOOTrainer):  # it has no mask of tools
        inputs["completion_mask"] = rows.mask.long()
    if weights is not None:
        inputs[WEIGHTS] = weights
    loss = trainer._compute_loss(trainer.model, inputs)
    return loss.detach(), torch.autograd.grad(loss, logps)[0]


def by_hand(loss, rows, *args):
    logps = rows.logps.clone().requires_grad_()
    value = loss(replace(rows, logps=logps), *args)
    return value.detach(), torch.autograd.grad(value, logps)[0]


@pytest.mark.parametrize("case", OF_TOKENS)
def test_a_loss_of_tokens_is_the_weighted_one_written_out(trainers, case):
    trainer = trainers(FlowGRPOTrainer)
    settings = replace(Settings(max_length=trainer.max_completion_length), **OF_TOKENS[case])
    trainer = configured(trainer, settings)
    assert trainer.weights_in == "advantages"
    rows = made_rows()
    weights = made_weights(rows)
    actual = loss_and_gradient(trainer, rows, rows.advantages[:, None] * weights)
    torch.testing.assert_close(actual, by_hand(grpo_loss, rows, settings, weights))
    plain = loss_and_gradient(trainer, rows, rows.advantages)
    assert not torch.allclose(actual[1], plain[1])
    neutral = loss_and_gradient(trainer, rows, rows.advantages[:, None] * torch.ones_like(weights))
    assert all(torch.equal(a, b) for a, b in zip(neutral, plain, strict=True))


@pytest.mark.parametrize("vllm", [False, True])
@pytest.mark.parametrize("loss_type", OF_SEQUENCES)
def test_a_loss_of_sequences_weighs_gradients_only(trainers, loss_type, vllm):
    trainer = trainers(FlowGRPOTrainer)
    settings = Settings(
        loss_type=loss_type,
        importance_sampling_level="sequence",
        vllm=vllm,
        max_length=trainer.max_completion_length,
    )
    check_weighed_gradients(configured(trainer, settings), grpo_loss, settings)


class FlowGMPOTrainer(FlowCreditMixin, pytest.importorskip("trl.experimental.gmpo").GMPOTrainer):
    pass


def test_gmpo_weighs_gradients_only(trainers):
    settings = Settings(low=0.4, high=0.4)
    check_weighed_gradients(configured(trainers(FlowGMPOTrainer), settings), gmpo_loss, settings)


def test_rloo_weighs_gradients_only(trainers):
    trainer = trainers(FlowRLOOTrainer, RLOOConfig)
    assert trainer.weights_in == "gradients"
    check_weighed_gradients(trainer, rloo_loss, Settings())


def check_weighed_gradients(trainer, loss, settings):
    assert trainer.weights_in == "gradients"
    rows = made_rows()
    rows = replace(rows, old=rows.logps - (rows.logps - rows.old) / 4)  # some within the clip range
    weights = made_weights(rows)
    value, gradient = by_hand(loss, rows, settings)
    assert 0 < int((gradient == 0).all(1).sum()) < len(gradient) or not gradient.eq(0).all(1).any()
    actual = loss_and_gradient(trainer, rows, rows.advantages, weights)
    torch.testing.assert_close(actual, (value, gradient * weights))
    assert not torch.allclose(actual[1], gradient)
    plain = loss_and_gradient(trainer, rows, rows.advantages)
    neutral = loss_and_gradient(trainer, rows, rows.advantages, torch.ones_like(weights))
    assert all(torch.equal(a, b) for a, b in zip(neutral, plain, strict=True))


@pytest.mark.parametrize("kind", [FlowGRPOTrainer, FlowGMPOTrainer])
def test_a_loss_of_sequences_with_a_kl_term_is_refused(trainers, kind):
    settings = Settings(loss_type="grpo", importance_sampling_level="sequence", beta=0.1)
    with pytest.raises(ValueError, match="its KL term would be weighed with them; set beta to 0"):
        configured(trainers(kind), settings)


def test_a_calibrated_rule_of_a_loss_of_sequences_is_refused(trainers):
    trainer = trainers(FlowGRPOTrainer)
    trainer.importance_sampling_level, trainer.loss_type = "sequence", "grpo"
    trainer.credit = Credit(rule=Calibrated())
    with pytest.raises(ValueError, match="Calibrated compares gradients of token-level losses"):
        check_settings(trainer)


@pytest.mark.parametrize(
    ("home", "name", "method"),
    [
        ("online_dpo", "OnlineDPOTrainer", "_generate_and_score"),
        ("a2po", "A2POTrainer", "_generate_and_score"),
        ("tpo", "TPOTrainer", "_generate_and_score"),
        ("distillation", "DistillationTrainer", "_get_per_token_logps"),
    ],
)
def test_trainers_without_grpos_methods_are_refused(home, name, method):
    base = getattr(pytest.importorskip(f"trl.experimental.{home}"), name)
    kind = type(f"Flow{name}", (FlowCreditMixin, base), {})
    with pytest.raises(ValueError, match=f"Flow{name} has no {method}"):
        kind(model=None)


def test_what_is_relied_on_in_trl():
    """The methods that credit overrides, of both trainers, and the inputs of their losses."""
    for kind in (GRPOTrainer, RLOOTrainer):
        assert all(callable(getattr(kind, name)) for name in METHODS)
        source = inspect.getsource(kind._compute_loss)
        assert source.count(f"self.{METHOD}(") == 1, "the policy runs more than once in a loss"
    known = set(re.findall(r'"([a-z_]*(?:po|pto))"', inspect.getsource(GRPOTrainer._compute_loss)))
    assert known == set(LOSSES), "TRL has other losses than those in docs/trl.md"
