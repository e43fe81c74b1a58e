"""What trainers that run on accelerate have in common: their policy, their processes and their log."""

from typing import Any

import torch
from torch import Tensor, nn

from flowtracer.credit.summary import credit_metrics, warn_without_answers
from flowtracer.models.decoder import is_sharded


def policy_of(trainer: Any) -> nn.Module:
    """The trainer's model, unwrapped unless its parameters are sharded."""
    model: nn.Module = trainer.model
    return model if is_sharded(model) else trainer.accelerator.unwrap_model(model)


def max_over_processes(accelerator: Any, value: int) -> int:
    """The largest value of all processes, each of which has to call this."""
    if accelerator.num_processes == 1:
        return value
    values = torch.tensor([value], device=accelerator.device)
    return int(accelerator.gather(values).max())


def log_credit(trainer: Any, sums: Tensor, seconds: float, *, option: str) -> None:
    """Add a generation's credit to the trainer's metrics, as means over all processes' responses.

    Warns once if most responses have no answer.

    sums: (10,), of this process, see `flowtracer.credit.summary`; gathered, so that unequal parts weigh
        right.
    option: where the rule for answers can be chosen.
    """
    metrics = credit_metrics(trainer.accelerator.gather(sums[None]).sum(0)) | {"seconds": seconds}
    for name, value in metrics.items():
        trainer._metrics["train"][f"credit/{name}"].append(value)
    if not trainer._warned and trainer.accelerator.is_main_process:
        trainer._warned = warn_without_answers(
            metrics["no_answer"], trainer.credit.answer, option=option
        )
