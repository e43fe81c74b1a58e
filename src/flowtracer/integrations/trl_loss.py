"""Where a TRL trainer's loss takes the weights of tokens, found out by trying it on two tokens."""

import copy
import inspect
import warnings
from collections import defaultdict
from typing import Any, Literal

import torch
from torch import Tensor

from flowtracer.integrations.trl_gradients import METHOD, WEIGHTS, gradients_weighed

ADVANTAGES = ((1.0, 1.0), (-1.0, -1.0), (0.5, 0.5))  # three responses of two tokens
FACTORS = ((1.0, 1.5), (1.5, 1.0), (2.0, 1.0))
METHODS = ("_generate_and_score_completions", "_compute_loss", METHOD)

WeightsIn = Literal["advantages", "gradients"]


def check_methods(trainer: Any, name: str) -> None:
    """Raise ValueError for a trainer without the methods that credit overrides.

    trainer: without credit. name: of the class with it, for the error.
    """
    missing = [method for method in METHODS if not hasattr(trainer, method)]
    if missing:
        raise ValueError(
            f"{name} has no {missing[0]}, which credit per token overrides; put FlowCreditMixin before "
            "GRPOTrainer, RLOOTrainer or a subclass of them"
        )


def check_settings(trainer: Any) -> WeightsIn:
    """Refuse what token-level credit cannot work with, before anything is trained.

    Returns where the trainer's loss takes the weights of tokens.
    """
    fused = ("liger_grpo_loss", "liger_loss")  # of older and newer versions of TRL
    if getattr(trainer.args, "use_liger_loss", False) or any(hasattr(trainer, n) for n in fused):
        raise ValueError(
            "the Liger GRPO loss takes one advantage per sequence; switch it off to use credit"
        )
    trainer.credit.check_model(trainer.accelerator.unwrap_model(trainer.model))
    if trainer.credit.question == "user" and getattr(trainer, "environment_factories", None):
        raise ValueError(
            "question is 'user', but an environment adds to what the user wrote; use 'prompt'"
        )
    weights_in = where_weights_go(trainer)
    if weights_in == "gradients" and trainer.credit.rule is not None:
        raise ValueError(
            f"Calibrated compares gradients of token-level losses, and {type(trainer).__name__} has one "
            "ratio per sequence; use one rule, or importance_sampling_level='token'"
        )
    return weights_in


def where_weights_go(trainer: Any) -> WeightsIn:
    """Where a factor on a token is that factor on its gradient: in its advantage, or in its gradient.

    Raises ValueError where it is in neither. A loss that cannot be tried, because it needs more than
    TRL's own, causes a warning.
    """
    loss_type = getattr(trainer.args, "loss_type", None)
    name = type(trainer).__name__ + (f" with loss_type {loss_type!r}" if loss_type else "")
    device = trainer.accelerator.device
    advantages = torch.tensor(ADVANTAGES, device=device)
    factors = torch.tensor(FACTORS, device=device)
    try:
        if takes_factors(trainer, advantages, factors):
            return "advantages"
        in_gradients, clean = weighs_gradients(trainer, advantages[:, 0], factors)
    except Exception as error:
        warnings.warn(
            f"the loss of {name} could not be tried with an advantage per token "
            f"({type(error).__name__}: {error}); check that it takes advantages (B, T)",
            stacklevel=3,
        )
        return "advantages"
    if in_gradients and not clean:
        raise ValueError(
            f"{name} takes one advantage per sequence, so weights go into the gradients of "
            "log-probabilities, and its KL term would be weighed with them; set beta to 0"
        )
    if not in_gradients:
        raise ValueError(
            f"{name} weighs tokens neither by their advantages nor by the gradients of their "
            "log-probabilities, so credit per token has no meaning in it; use GRPOTrainer or RLOOTrainer"
        )
    return "gradients"


def check_loss(trainer: Any) -> None:
    """Raise ValueError unless a factor on a token's advantage is that factor on its gradient."""
    if where_weights_go(trainer) != "advantages":
        raise ValueError(
            f"{type(trainer).__name__} with importance_sampling_level "
            f"{getattr(trainer, 'importance_sampling_level', 'sequence')!r} takes one advantage per "
            "sequence, but this method gives one to each token; use a token-level loss such as 'grpo'"
        )


def takes_factors(trainer: Any, advantages: Tensor, factors: Tensor) -> bool:
    """Whether advantages (B, T) times factors (B, T) give gradients times factors."""
    try:
        plain = gradient(trainer, advantages)
        weighted = gradient(trainer, advantages * factors)
    except (RuntimeError, ValueError, IndexError):  # shapes that do not fit
        return False
    return bool((plain != 0).all()) and torch.allclose(weighted, plain * factors)


def weighs_gradients(trainer: Any, advantages: Tensor, factors: Tensor) -> tuple[bool, bool]:
    """Whether weighed log-probabilities give gradients times factors, and nothing else is weighed.

    advantages: (B,). Nothing else is if no gradient is left without advantages.
    """
    plain = gradient(trainer, advantages)
    weighted = gradient(trainer, advantages, weights=factors)
    rest = gradient(trainer, torch.zeros_like(advantages))
    weighs = bool((plain - rest != 0).all()) and torch.allclose(weighted, plain * factors)
    return weighs, not bool(rest.any())


def reads_advantages_late(trainer: Any) -> bool:
    """Whether the loss takes advantages that are set while log-probabilities are computed.

    The trainer must be one whose weights are in its advantages.
    """
    device = trainer.accelerator.device
    advantages = torch.tensor(ADVANTAGES, device=device)
    weighted = advantages * torch.tensor(FACTORS, device=device)
    try:
        late = gradient(trainer, advantages, late=weighted)
        return torch.allclose(late, gradient(trainer, weighted))
    except Exception:  # a loss that cannot be tried
        return False


def gradient(
    trainer: Any,
    advantages: Tensor,
    *,
    late: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Gradient (B, 2) of the trainer's loss by the tokens' log-probabilities, on policy.

    advantages: (B, 2) or (B,). late: those that take their place while log-probabilities are computed.
    weights: (B, 2), of the gradients.
    """
    shape = torch.Size((len(advantages), 2))
    logps = torch.full(shape, -1.0, device=advantages.device, requires_grad=True)
    probe = copy.copy(trainer)  # so that neither metrics nor counters of the trainer change
    probe._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    probe.current_gradient_accumulation_steps = 1
    probe.weights_in = "advantages"  # or a trainer with credit would weigh gradients once more
    methods = [vars(kind)[METHOD] for kind in type(trainer).__mro__ if METHOD in vars(kind)]
    with_aux_loss = any("compute_aux_loss" in inspect.signature(m).parameters for m in methods)
    outputs = (
        logps,
        torch.ones_like(logps),
        *([logps.new_zeros(())] if with_aux_loss else []),
    )

    def compute(*args: Any, **kwargs: Any) -> Any:
        if late is not None:
            inputs["advantages"] = late
        return outputs

    setattr(probe, METHOD, compute)
    ids = torch.zeros(shape, dtype=torch.long, device=advantages.device)
    inputs = {
        "prompt_ids": ids,
        "prompt_mask": torch.ones_like(ids),
        "completion_ids": ids,
        "completion_mask": torch.ones_like(ids),
        "advantages": advantages,
        "old_per_token_logps": logps.detach(),
        # Where the reference is another model, its KL term has a gradient without any advantage.
        "ref_per_token_logps": logps.detach() - (advantages.dim() == 1) * 0.5,
        "sampling_per_token_logps": logps.detach(),
        "importance_sampling_ratio": torch.ones_like(logps).detach(),
        "old_logps": logps.detach().sum(1),  # RLOO's
        "ref_logps": logps.detach().sum(1),
        "num_items_in_batch": torch.tensor(float(ids.numel()), device=ids.device),
    }
    if weights is not None:
        inputs[WEIGHTS] = weights
    with torch.enable_grad(), gradients_weighed(probe, inputs):
        loss = probe._compute_loss(trainer.model, inputs)
        return torch.autograd.grad(loss, logps)[0]
