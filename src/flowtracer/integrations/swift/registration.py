"""The trainer with credit in swift's table of trainers, which its GRPO runs look theirs up in."""

import sys
from typing import Any

from flowtracer.integrations.swift.settings import read_credit

TRAINER = "flowtracer.integrations.swift.trainer.FlowGRPOTrainer"


def use_credit(**options: Any) -> None:
    """Give credit in the GRPO runs of this process; to be called in a plug-in file.

    options: those of `CreditArguments`; left out, the paper's.

    Raises ValueError, in one sentence, for unknown or impossible options, and under Megatron.
    """
    credit = read_credit(options)
    if "swift.megatron" in sys.modules:
        raise ValueError(
            "Megatron's models have no attention that transformers could show; use `swift rlhf` for "
            "credit, not `megatron rlhf`"
        )
    from swift.trainers import TrainerFactory

    from flowtracer.integrations.swift.trainer import FlowGRPOTrainer

    FlowGRPOTrainer.credit = credit
    TrainerFactory.TRAINER_MAPPING["grpo"] = TRAINER
