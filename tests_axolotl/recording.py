"""Axolotl's trainer and the one with credit, which keep what they compute their losses from."""

from dataclasses import dataclass, field
from typing import Any

from axolotl.core.trainers.grpo.trainer import AxolotlGRPOTrainer
from torch import Tensor

from flowtracer.integrations.axolotl import FlowGRPOTrainer


@dataclass
class Loss:
    """One call of the loss."""

    inputs: dict[str, Any]  # as the loss left them
    logps: Tensor
    value: float


@dataclass
class Seen:
    """What one run computed."""

    losses: list[Loss] = field(default_factory=list)
    logs: list[dict[str, float]] = field(default_factory=list)


class Recording:
    """Keeps what it sees in `seen`, of the last run."""

    seen = Seen()

    def __init__(self, *args, **kwargs):
        type(self).seen = Seen()
        super().__init__(*args, **kwargs)

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        outputs = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        self._last = outputs[0].detach().clone()
        return outputs

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        if bool(inputs["completion_ids"].any()):  # and not the two tokens on which losses are tried
            self.seen.losses.append(Loss(dict(inputs), self._last, float(loss.detach())))
        return loss

    def log(self, logs, *args, **kwargs):
        super().log(logs, *args, **kwargs)
        self.seen.logs.append(dict(self.state.log_history[-1]))


class Own(Recording, AxolotlGRPOTrainer):
    """Axolotl's own trainer."""


class Flow(Recording, FlowGRPOTrainer):
    """The trainer with credit."""
