"""swift's trainer and the one with credit, which keep what they compute their losses from."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from swift.rlhf_trainers import GRPOTrainer
from torch import Tensor

from flowtracer.integrations.swift.trainer import FlowGRPOTrainer


@dataclass
class Loss:
    """One call of the loss."""

    inputs: dict[str, Tensor]
    batch: Any
    logps: Tensor  # of a plain forward pass, all columns but the first
    value: float


@dataclass
class Seen:
    """What one run computed."""

    losses: list[Loss] = field(default_factory=list)
    logs: list[dict[str, float]] = field(default_factory=list)
    trainer: Any = None


class Recording:
    """Keeps what it sees in `seen`, of the last run."""

    seen = Seen()

    def __init__(self, *args, **kwargs):
        type(self).seen = Seen(trainer=self)
        super().__init__(*args, **kwargs)

    def compute_loss(self, model, inputs, *args, **kwargs):
        batch = copy.deepcopy(inputs["grpo_batch"])
        tensors = dict(inputs["model_inputs"])
        ids = tensors["input_ids"]
        plain = {
            name: tensors[name]
            for name in ("input_ids", "attention_mask", "position_ids")
            if tensors.get(name) is not None
        }
        with torch.no_grad():
            logits = model(**plain, use_cache=False).logits[:, :-1] / self.temperature
        logps = logits.log_softmax(-1).gather(2, ids[:, 1:, None])[:, :, 0]
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        self.seen.losses.append(Loss(tensors, batch, logps, float(loss.detach())))
        return loss

    def log(self, logs, *args, **kwargs):
        self.seen.logs.append(dict(logs))
        super().log(logs, *args, **kwargs)
        self.seen.logs[-1] |= logs  # swift adds its metrics to them


class Own(Recording, GRPOTrainer):
    """swift's own trainer."""


class Flow(Recording, FlowGRPOTrainer):
    """The trainer with credit."""
