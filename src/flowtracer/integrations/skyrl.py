"""Flow credit in SkyRL: each token's advantage times its weight.

    python -m skyrl.train.entrypoints.main_base trainer.override_entrypoint=flowtracer.integrations.skyrl \\
      flow_credit.url=http://HOST:8642 ...

SkyRL's trainer holds tensors, its workers the models, with Megatron or packed for flash attention. The
weights come from a separate scorer (`scored`).
"""

import sys
import time
from dataclasses import dataclass, field
from typing import Any

import ray
import torch
from skyrl.backends.skyrl_train.training_batch import TrainingInputBatch
from skyrl.train.config import SkyRLTrainConfig
from skyrl.train.entrypoints.main_base import BasePPOExp
from skyrl.train.trainer import RayPPOTrainer
from skyrl.train.utils import validate_cfg
from skyrl.train.utils.utils import initialize_ray

from flowtracer.credit import apply_credit
from flowtracer.integrations.scored import (
    KEY,
    ScorerSettings,
    check_server,
    own_scorer,
    read_settings,
    response_weights,
    weight_figures,
)

# Losses in which a factor on a token's advantage is a factor on its loss; tested one by one.
TOKEN_LOSSES = ("regular", "dual_clip", "gspo", "sapo", "cispo", "rollout_is", "dppo")
ENTRYPOINT = (
    "trainer.override_entrypoint="  # read by SkyRL's `main`, and no field of its configuration
)


@dataclass
class FlowTrainConfig(SkyRLTrainConfig):
    """SkyRL's configuration with `flow_credit`: see `read_settings`."""

    flow_credit: dict[str, Any] = field(default_factory=dict)


def check_settings(cfg: Any) -> ScorerSettings:
    """The settings under `flow_credit`.

    Raises ValueError, in one sentence, for what SkyRL would run without giving credit, or in which
    credit per token has no meaning.
    """
    settings = read_settings(getattr(cfg, KEY, None))
    algorithm = cfg.trainer.algorithm
    if algorithm.advantage_batch_normalize:
        raise ValueError(
            "trainer.algorithm.advantage_batch_normalize whitens the advantages after they were weighed; "
            "set it to false"
        )
    if algorithm.policy_loss_type not in TOKEN_LOSSES:
        raise ValueError(
            f"trainer.algorithm.policy_loss_type is {algorithm.policy_loss_type!r}, in which a token's "
            f"advantage may not be a factor of its loss; use one of {', '.join(TOKEN_LOSSES)}"
        )
    if cfg.generator.vision_language_generator:
        raise ValueError(
            "generator.vision_language_generator is set, but the scorer reads text only; train without credit"
        )
    return settings


class FlowCreditMixin:
    """Adds credit to a trainer of SkyRL; put it before the trainer's class.

    The weights are applied to what the trainer's own estimator gives; returns are left alone. Metrics are
    under `credit/`.
    """

    def __init__(self, cfg: Any, *args: Any, **kwargs: Any) -> None:
        self.credit_settings = check_settings(cfg)
        super().__init__(cfg, *args, **kwargs)  # type: ignore[call-arg]

    @torch.no_grad()
    def compute_advantages_and_returns(self: Any, data: TrainingInputBatch) -> TrainingInputBatch:
        data = super().compute_advantages_and_returns(data)  # type: ignore[misc]
        if self.credit_settings.neutral:
            return data
        start = time.perf_counter()
        advantages, written = data["advantages"], data["loss_mask"] > 0
        inside = data["response_mask"].bool()
        masks = [mask[real] for mask, real in zip(written, inside, strict=True)]
        result = response_weights(
            own_scorer(self.credit_settings),
            [
                row[real]
                for row, real in zip(data["sequences"], data["attention_mask"].bool(), strict=True)
            ],
            masks,
            (advantages.abs() * written).sum(1).gt(0).tolist(),
        )
        weights = torch.ones_like(advantages)
        for row, values in enumerate(result.weights):
            weights[row, inside[row]] = values.to(weights)
        data["advantages"] = apply_credit(advantages, weights, written)
        real = [
            row for row, mask in enumerate(masks) if bool(mask.any())
        ]  # and no padding of the batch
        for name, figures in weight_figures(result, masks).items():
            total = sum(figures[row] for row in real)
            self.all_metrics[f"credit/{name}"] = total / max(len(real), 1)
        self.all_metrics["credit/seconds"] = time.perf_counter() - start
        return data


class FlowRayPPOTrainer(FlowCreditMixin, RayPPOTrainer):
    """SkyRL's trainer with credit for the tokens that carry the answer."""


class FlowPPOExp(BasePPOExp):
    """SkyRL's experiment with the trainer above."""

    def get_trainer(self, *args: Any, **kwargs: Any) -> RayPPOTrainer:
        return FlowRayPPOTrainer(*args, **kwargs)


@ray.remote(num_cpus=1)
def run_experiment(cfg: FlowTrainConfig) -> None:
    FlowPPOExp(cfg).run()


def main() -> None:
    """SkyRL's own `main` with `flow_credit`; what is wrong with it ends the run before Ray is started."""
    options = [option for option in sys.argv[1:] if not option.startswith(ENTRYPOINT)]
    cfg = FlowTrainConfig.from_cli_overrides(options)
    settings = check_settings(cfg)
    validate_cfg(cfg)
    check_server(settings)
    initialize_ray(cfg)
    ray.get(run_experiment.remote(cfg))


if __name__ == "__main__":
    main()
