"""The two places where credit enters verl, and what is relied on there.

In the worker: after the log-probability pass of a micro batch the weights of its tokens are computed
and join the outputs of the model, which verl puts back in order and hands on whatever their name. In
the trainer: weights multiply the advantages that verl has computed, as the last step.

The classes' methods are wrapped instead of registering a trainer of another name, because verl treats
every name but "sync" as asynchronous.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch

from flowtracer.integrations.verl.settings import read_credit
from flowtracer.integrations.verl.weights import nested_weights, summary, weighted

SECTION = "flowtracer"  # of the run's config; also the name of the flag that workers see
FIELD = "flowtracer_weights"  # of a batch

# Module, class or function, and what is used of it.
RELIED_ON = (
    ("verl.workers.engine.fsdp.transformer_impl", "FSDPEngineWithLMHead", "forward_step"),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer", "_compute_old_log_prob"),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer", "_compute_advantage"),
    ("verl.trainer.ppo.v1.trainer_base", "tq", "kv_batch_get"),
    ("verl.trainer.ppo.v1.trainer_base", "tq", "kv_batch_put"),
    ("verl.utils.tensordict_utils", "get_non_tensor_data", None),
    ("verl.workers.engine.utils", "postprocess_batch_func", None),
)

_log = logging.getLogger(__name__)


def install() -> None:
    """Wrap verl's methods, once. A failure is logged as an error and raised: verl must not hide it."""
    try:
        from verl.trainer.ppo.v1 import trainer_base
        from verl.workers.engine.fsdp import transformer_impl
    except Exception:
        _log.exception("flowtracer's plug-in for verl cannot be installed")
        raise
    engine, trainer = transformer_impl.FSDPEngineWithLMHead, trainer_base.PPOTrainer
    for owner, name, wrap in (
        (engine, "forward_step", _with_weights),
        (trainer, "_compute_old_log_prob", _asking_for_weights),
        (trainer, "_compute_advantage", _weighing),
    ):
        method = getattr(owner, name)
        if not hasattr(method, "_flowtracer"):
            wrapped = functools.wraps(method)(wrap(method))
            wrapped._flowtracer = True  # type: ignore[attr-defined]
            setattr(owner, name, wrapped)


def _with_weights(forward_step: Callable[..., Any]) -> Callable[..., Any]:
    """The engine's forward step, with weights among its outputs where the batch asks for them."""

    def step(self: Any, micro_batch: Any, loss_function: Any, forward_only: bool) -> Any:
        from verl.utils.tensordict_utils import get_non_tensor_data

        loss, output = forward_step(self, micro_batch, loss_function, forward_only)
        section = get_non_tensor_data(micro_batch, key=SECTION, default=None)
        if section is None or not forward_only:
            return loss, output
        if getattr(self, "use_ulysses_sp", False):
            raise ValueError(
                "flowtracer does not work with Ulysses sequence parallelism; set "
                "ulysses_sequence_parallel_size=1"
            )
        tokenizer = self.model_config.tokenizer
        output["model_output"][FIELD] = nested_weights(
            self.module,
            getattr(tokenizer, "tokenizer", tokenizer),
            micro_batch["input_ids"],
            micro_batch["response_mask"],
            read_credit(section),
            same_everywhere=_most,
        )
        return loss, output

    return step


def _asking_for_weights(compute: Callable[..., Any]) -> Callable[..., Any]:
    """The trainer's log-probability pass, with the flag that makes workers give weights."""

    def compute_old_log_prob(self: Any, batch: Any, metrics: dict[str, Any]) -> Any:
        section = section_of(self.config)
        if section is None:
            return compute(self, batch, metrics)
        read_credit(section)  # refuses wrong settings in the driver, where they are seen
        correction = self.config.algorithm.get("rollout_correction", None)
        bypassed = bool(correction and correction.get("bypass_mode", False))
        if bypassed:  # verl asks the workers for nothing: then the plug-in does
            batch = compute(self, batch, metrics)
        batch.extra_info[SECTION] = section
        try:
            if bypassed:
                temperature = self.config.actor_rollout_ref.rollout.temperature
                flags = {"calculate_entropy": False, "compute_loss": False}
                batch.extra_info.update(flags | {"temperature": temperature})
                self.actor_rollout_wg.compute_log_prob(batch)
                return batch
            result = compute(self, batch, metrics)
        finally:
            batch.extra_info.pop(SECTION, None)
        result.extra_info.pop(SECTION, None)
        return result

    return compute_old_log_prob


def _weighing(compute: Callable[..., Any]) -> Callable[..., Any]:
    """The trainer's advantages, times the weights, after everything that verl does to them."""

    def compute_advantage(self: Any, batch: Any, metrics: dict[str, Any]) -> Any:
        from verl.trainer.ppo.v1 import trainer_base

        batch = compute(self, batch, metrics)
        if section_of(self.config) is None:
            return batch
        where = {"keys": batch.keys, "partition_id": batch.partition_id}
        wanted = ["advantages", "response_mask", FIELD]
        data = trainer_base.tq.kv_batch_get(**where, select_fields=wanted)
        if FIELD not in data.keys():  # noqa: SIM118 - a TensorDict iterates over rows
            raise ValueError(
                "no weights came back from verl's workers; flowtracer needs the engine fsdp or fsdp2, "
                "and VERL_USE_EXTERNAL_MODULES=flowtracer.integrations.verl in their environment"
            )
        metrics.update(summary(data[FIELD], data["response_mask"]))
        result = weighted(data["advantages"], data[FIELD], data["response_mask"])
        fields = data.select("advantages")
        fields["advantages"] = result
        return trainer_base.tq.kv_batch_put(**where, fields=fields)

    return compute_advantage


def section_of(config: Any) -> dict[str, Any] | None:
    """The section `flowtracer` of a run's config as plain values; None if there is none."""
    section = config.get(SECTION, None)
    return None if section is None else {str(key): value for key, value in section.items()}


def _most(forwards: int) -> int:
    """The largest number of forwards that any process of the actor makes: sharded models need it."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return forwards
    on_gpu = torch.cuda.is_available() and torch.distributed.get_backend() == "nccl"
    count = torch.tensor([forwards], device="cuda" if on_gpu else "cpu")
    torch.distributed.all_reduce(count, op=torch.distributed.ReduceOp.MAX)
    return int(count)
