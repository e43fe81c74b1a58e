"""Optimizer steps on fixed rollouts, to be run by one process or several; see test_distributed.py.

torchrun --nproc_per_node 2 tests/helpers/distributed_step.py OUT.pt own [fsdp2 or zero3]
"""

import os
import sys
from pathlib import Path
from typing import ClassVar

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from flowtracer.integrations.trl import FlowCreditMixin
from flowtracer.models import load
from flowtracer.models.decoder import is_sharded
from flowtracer.watching.parts import part_path, read_part

PROMPT = "<|user|>Make 33 from 3, 7, 18.<|end|><|assistant|>"
RESPONSES = (
    "18 + 7 = 25, 25 + 3 = 28, not 33.\n18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}<|end|>",
    "18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}<|end|>",
    "18 + 7 = 25, 25 + 3 = 28, not 33.\n",
    "7 * 3 = 21, 21 + 18 = 39, not 33.\n18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}<|end|>",
)
ADVANTAGES = (1.0, -0.5, -1.5, 0.0)  # the second process has one row to score, the first has two


class FixedRollouts(GRPOTrainer):
    """Every process takes its part of the same four responses instead of sampling."""

    def _generate_and_score_completions(self, inputs):
        tokenizer = self.processing_class
        asked = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
        ids = [tokenizer(response, add_special_tokens=False)["input_ids"] for response in RESPONSES]
        width = max(map(len, ids))
        pad = tokenizer.pad_token_id
        part = len(RESPONSES) // self.accelerator.num_processes
        mine = slice(
            self.accelerator.process_index * part, (self.accelerator.process_index + 1) * part
        )
        mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in ids])[mine]
        return {
            "prompt_ids": torch.tensor([asked] * part),
            "prompt_mask": torch.ones(part, len(asked), dtype=torch.long),
            "completion_ids": torch.tensor([r + [pad] * (width - len(r)) for r in ids])[mine],
            "completion_mask": mask,
            "advantages": torch.tensor(ADVANTAGES)[mine],
            "number": torch.arange(part),  # TRL shuffles rows
            "num_items_in_batch": self.accelerator.gather(mask.sum()).sum(),
        }


class Recorded(FlowCreditMixin, FixedRollouts):
    """Keeps the weighted advantages and counts forward passes of the capture."""

    seen: ClassVar[list] = []

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        if "number" in inputs:  # not when the loss is tried out
            self.seen.append(inputs["advantages"][inputs["number"].argsort()])
        return loss


class Fsdp2(Recorded):
    """Sharded by FSDP2, which accelerate switches on for processes with GPUs only."""

    def __init__(self, *args, **kwargs):
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        super().__init__(*args, **kwargs)
        assert self.accelerator.is_fsdp2


class Zero3(Recorded):
    """Sharded by DeepSpeed's ZeRO-3."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        assert self.is_deepspeed_enabled


FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}
ZERO3 = {
    "zero_optimization": {
        "stage": 3,
        "stage3_param_persistence_threshold": 0,
        "stage3_gather_16bit_weights_on_model_save": True,
    },
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "zero_force_ds_cpu_optimizer": False,
    "zero_allow_untested_optimizer": True,
}
KINDS = {"": Recorded, "fsdp2": Fsdp2, "zero3": Zero3}


def main() -> None:
    sharding = sys.argv[3] if len(sys.argv) > 3 else ""
    if sharding == "fsdp2":
        os.environ |= FSDP2
    if sharding == "zero3":
        from deepspeed.ops import __compatible_ops__

        __compatible_ops__.update(dict.fromkeys(__compatible_ops__, False))  # compile none
    loaded = load("embedded")  # complete, even where DeepSpeed would begin with parts
    world = int(os.environ.get("WORLD_SIZE", "1"))
    arguments = GRPOConfig(
        output_dir=sys.argv[1] + ".run",
        per_device_train_batch_size=len(RESPONSES) // world,
        num_generations=2,
        max_completion_length=70,
        loss_type="grpo",
        beta=0.0,
        learning_rate=1e-2,
        optim="sgd",  # Adam would blow rounding up to the size of a step
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        max_steps=3,
        logging_steps=1,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        deepspeed=ZERO3 if sharding == "zero3" else None,
    )
    trainer = KINDS[sharding](
        model=loaded.model,
        processing_class=loaded.tokenizer,
        reward_funcs=lambda completions, **kwargs: [0.0] * len(completions),
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": ["Make 33 from 3, 7, 18."] * 8}),
        credit_forward=sys.argv[2],
    )
    forwards = []
    layer = trainer.model.model.layers[0]
    layer.register_forward_pre_hook(
        lambda module, args: None if torch.is_grad_enabled() else forwards.append(1)
    )
    trainer.train()
    assert is_sharded(trainer.model) == bool(sharding)
    weights = trainer.accelerator.gather(torch.stack(trainer.seen, 1)).transpose(0, 1)
    counts = trainer.accelerator.gather(torch.tensor([len(forwards)]))
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.is_world_process_zero():
        torch.save(
            {
                "advantages": weights,
                "forwards": counts.tolist(),
                "state": state,
                "selected": trainer.state.log_history[0]["credit/selected"],
                "rollouts": [
                    (rollout.row, rollout.advantages)
                    for rollout in read_part(part_path(Path(sys.argv[1] + ".run"), 1))
                ],
            },
            sys.argv[1],
        )


if __name__ == "__main__":
    main()
