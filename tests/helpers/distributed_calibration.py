"""A calibration on fixed rollouts, by one process or several; see test_trl_calibrated_distributed.py.

torchrun --nproc_per_node 2 tests/helpers/distributed_calibration.py OUT.json
"""

import json
import os
import sys
from pathlib import Path

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from flowtracer.credit import Calibrated, Credit
from flowtracer.integrations.trl import FlowCreditMixin
from flowtracer.integrations.trl_calibrated import STATE
from flowtracer.models import load

MEASURED = ("calibrated/alignment/", "calibrated/low/")
TARGETS = (33, 24, 28, 14)
RIGHT = "18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}<|end|>"
WRONG = "18 + 7 = 25, 25 + 3 = 28, not 33.\n\\boxed{18 + 7 + 3}<|end|>"


class FixedRollouts(GRPOTrainer):
    """Two responses to each of four prompts; every process takes its part of them."""

    def _generate_and_score_completions(self, inputs):
        tokenizer = self.processing_class
        asked = [
            tokenizer(f"<|user|>Make {target} from 3, 7, 18.<|end|><|assistant|>")["input_ids"]
            for target in TARGETS
            for _ in range(2)
        ]
        completions = [
            tokenizer(text, add_special_tokens=False)["input_ids"] for text in (RIGHT, WRONG)
        ]
        width = max(map(len, completions))
        mask = torch.tensor(
            [[1] * len(r) + [0] * (width - len(r)) for r in completions] * len(TARGETS)
        )
        ids = [r + [tokenizer.pad_token_id] * (width - len(r)) for r in completions] * len(TARGETS)
        part = len(asked) // self.accelerator.num_processes
        mine = slice(
            self.accelerator.process_index * part, (self.accelerator.process_index + 1) * part
        )
        return {
            "prompt_ids": torch.tensor(asked)[mine],
            "prompt_mask": torch.ones(part, len(asked[0]), dtype=torch.long),
            "completion_ids": torch.tensor(ids)[mine],
            "completion_mask": mask[mine],
            "advantages": torch.tensor([0.7, -0.7] * len(TARGETS))[mine],
            "num_items_in_batch": mask.sum(),
        }


class Trainer(FlowCreditMixin, FixedRollouts):
    """Calibrated credit on these rollouts."""


def main() -> None:
    loaded = load("embedded")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    trainer = Trainer(
        model=loaded.model,
        processing_class=loaded.tokenizer,
        reward_funcs=lambda completions, **kwargs: [0.0] * len(completions),
        args=GRPOConfig(
            output_dir=sys.argv[1] + ".run", per_device_train_batch_size=8 // world,
            num_generations=2, max_completion_length=70, loss_type="grpo", beta=0.0, max_steps=1,
            logging_steps=1, use_cpu=True, bf16=False, report_to=[], save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict({"prompt": ["Make 33 from 3, 7, 18."] * 8}),
        credit=Credit(rule=Calibrated(("flow", "position"), parts=4, coordinates=5000)),
    )  # fmt: skip
    trainer.train()
    logged = trainer.state.log_history[0]
    known = {name: value for name, value in logged.items() if name.startswith(MEASURED)}
    saved = {"state": trainer.state.stateful_callbacks[STATE], "known": known}
    Path(f"{sys.argv[1]}.{trainer.accelerator.process_index}").write_text(json.dumps(saved))


if __name__ == "__main__":
    main()
