"""How a TRL trainer's loss takes an advantage per token, found out by trying it on two tokens."""

import copy
import inspect
import warnings
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

ADVANTAGES = ((1.0, 1.0), (-1.0, -1.0), (0.5, 0.5))  # three responses of two tokens
FACTORS = ((1.0, 1.5), (1.5, 1.0), (2.0, 1.0))


def check_loss(trainer: Any) -> None:
    """Raise ValueError unless a factor on a token's advantage is that factor on its gradient.

    A loss that cannot be tried, because it needs more than TRL's own, causes a warning.
    """
    loss_type = getattr(trainer.args, "loss_type", None)
    name = type(trainer).__name__ + (f" with loss_type {loss_type!r}" if loss_type else "")
    device = trainer.accelerator.device
    factors = torch.tensor(FACTORS, device=device)
    advantages = torch.tensor(ADVANTAGES, device=device)
    try:
        plain = gradient(trainer, advantages)
        weighted = gradient(trainer, advantages * factors)
        takes_factors = bool((plain != 0).all()) and torch.allclose(weighted, plain * factors)
    except (RuntimeError, ValueError, IndexError):  # shapes that do not fit
        takes_factors = False
    except Exception as error:
        warnings.warn(
            f"the loss of {name} could not be tried with an advantage per token "
            f"({type(error).__name__}: {error}); check that it takes advantages (B, T)",
            stacklevel=3,
        )
        return
    if not takes_factors:
        raise ValueError(
            f"{name} does not weigh each token's loss by that token's advantage, so credit per token "
            "has no meaning in it; use GRPOTrainer with a token-level loss such as 'grpo' or 'dapo'"
        )


def reads_advantages_late(trainer: Any) -> bool:
    """Whether the loss takes advantages that are set while log-probabilities are computed.

    The trainer must be one that `check_loss` accepts.
    """
    device = trainer.accelerator.device
    advantages = torch.tensor(ADVANTAGES, device=device)
    weighted = advantages * torch.tensor(FACTORS, device=device)
    try:
        late = gradient(trainer, advantages, late=weighted)
        return torch.allclose(late, gradient(trainer, weighted))
    except Exception:  # a loss that cannot be tried
        return False


def gradient(trainer: Any, advantages: Tensor, *, late: Tensor | None = None) -> Tensor:
    """Gradient (B, T) of the trainer's loss by the tokens' log-probabilities, on policy; (B, T) each.

    late: advantages that take the place of the others while log-probabilities are computed.
    """
    logps = torch.full_like(advantages, -1.0, requires_grad=True)
    entropies = torch.ones_like(advantages)
    probe = copy.copy(trainer)  # so that neither metrics nor counters of the trainer change
    probe._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    probe.current_gradient_accumulation_steps = 1
    name = "_get_per_token_logps_and_entropies"
    methods = [vars(kind)[name] for kind in type(trainer).__mro__ if name in vars(kind)]
    with_aux_loss = any("compute_aux_loss" in inspect.signature(m).parameters for m in methods)
    outputs = (logps, entropies, *([logps.new_zeros(())] if with_aux_loss else []))

    def compute(*args: Any, **kwargs: Any) -> Any:
        if late is not None:
            inputs["advantages"] = late
        return outputs

    probe._get_per_token_logps_and_entropies = compute
    ids = torch.zeros_like(advantages, dtype=torch.long)
    inputs = {
        "prompt_ids": ids,
        "prompt_mask": torch.ones_like(ids),
        "completion_ids": ids,
        "completion_mask": torch.ones_like(ids),
        "advantages": advantages,
        "old_per_token_logps": logps.detach(),
        "ref_per_token_logps": logps.detach(),
        "sampling_per_token_logps": logps.detach(),
        "importance_sampling_ratio": torch.ones_like(advantages),
        "old_logps": logps.detach().sum(1),  # RLOO's
        "ref_logps": logps.detach().sum(1),
        "num_items_in_batch": torch.tensor(float(ids.numel()), device=ids.device),
    }
    with torch.enable_grad():
        loss = probe._compute_loss(trainer.model, inputs)
        return torch.autograd.grad(loss, logps)[0]
