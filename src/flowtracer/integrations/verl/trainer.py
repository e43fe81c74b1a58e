"""verl's synchronous trainer, with every token's advantage times its weight.

The weights come from a pass of their own after verl has computed the advantages: the rows that learn
nothing are known and cost nothing, and it makes no difference whether
`rollout_correction.bypass_mode` leaves verl's pass for log-probabilities out. Or, with
`credit_forward=ride`, they are captured in that pass, of all rows. The policy is the same in both: the
update comes later. In both they are applied after verl's GRPO (one number per session, spread over its
tokens), which could undo them.
"""

import time
from typing import Any

import ray
import torch
import transfer_queue as tq
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1 import PPOTrainerSync, register_trainer
from verl.utils.config import omega_conf_to_dataclass

from flowtracer.credit import apply_credit
from flowtracer.credit.summary import credit_metrics, of_rows, warn_without_answers
from flowtracer.integrations.verl.settings import KEY, check_model, check_settings, rides
from flowtracer.integrations.verl.weights import FIELDS, jagged
from flowtracer.integrations.verl.worker import SUMS, WEIGHTS, FlowActorWorker

MODE = "flow_sync"
ACTOR_ROLES = (Role.Actor, Role.ActorRollout, Role.ActorRolloutRef)


@register_trainer(MODE)
class FlowPPOTrainerSync(PPOTrainerSync):
    """`trainer.v1.trainer_mode=flow_sync`. Metrics are under `credit/`, as in the TRL trainer.

    Raises ValueError for settings under which credit would not be given.
    """

    def __init__(self, config: DictConfig) -> None:
        self.credit = check_settings(config)
        self._rides = rides(config) and not self.credit.neutral
        self._warned = False
        self.credit_settings = plain_settings(config)
        with open_dict(config):
            # verl compares this name with "sync" in many places and takes any other for asynchronous.
            config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)

    def _init_tokenizer(self) -> None:
        """verl's own, which reads the model's config before any worker is started, then a check of it."""
        super()._init_tokenizer()
        model = omega_conf_to_dataclass(self.config.actor_rollout_ref.model)
        check_model(self.credit, model.hf_config)

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        for role in ACTOR_ROLES:
            if role in self.role_worker_mapping:
                self.role_worker_mapping[role] = ray.remote(FlowActorWorker)

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        """verl's own; where credit rides on it, the workers are told of which."""
        if not self._rides:
            return super()._compute_old_log_prob(batch, metrics)
        told = batch.extra_info
        told[KEY] = self.credit_settings
        try:
            batch = super()._compute_old_log_prob(batch, metrics)
        finally:
            told.pop(KEY)  # the reference policy may be called by the same method
        batch.extra_info.pop(KEY, None)
        return batch

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        batch = super()._compute_advantage(batch, metrics)
        if self.credit.neutral:
            return batch
        start = time.perf_counter()
        if not self._rides:
            request = KVBatchMeta(
                keys=batch.keys,
                tags=batch.tags,
                partition_id=batch.partition_id,
                fields=list(FIELDS),
                extra_info={KEY: self.credit_settings},
            )
            self.actor_rollout_wg.compute_flow_weights(request)
        where = {"keys": batch.keys, "partition_id": batch.partition_id}
        data = tq.kv_batch_get(
            **where, select_fields=["advantages", "response_mask", WEIGHTS, SUMS]
        )
        informative = torch.tensor([bool(row.any()) for row in data["advantages"].unbind()])
        data["advantages"] = weighted(data["advantages"], data[WEIGHTS], data["response_mask"])
        tq.kv_batch_put(**where, fields=data.select("advantages"))
        sums = torch.stack(list(data[SUMS].unbind()))  # the queue makes every field jagged
        sums = of_rows(sums, informative).sum(0)
        values = credit_metrics(sums) | {"seconds": time.perf_counter() - start}
        self._warned = self._warned or warn_without_answers(
            values["no_answer"], self.credit.answer, option=f"{KEY}.answer"
        )
        metrics.update({f"credit/{name}": value for name, value in values.items()})
        return batch


def weighted(advantages: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
    """Advantages times weights where the mask is set, as they were elsewhere; all jagged alike."""
    padded = [
        pad_sequence(list(rows.unbind()), batch_first=True) for rows in (advantages, weights, mask)
    ]
    return jagged(apply_credit(*padded), [len(row) for row in advantages.unbind()])


def plain_settings(config: DictConfig) -> dict[str, Any]:
    """The key `flow_credit` as plain values that can be sent to workers."""
    options = config.get(KEY)
    return {} if options is None else dict(OmegaConf.to_container(options, resolve=True))
