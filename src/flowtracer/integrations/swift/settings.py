"""What a run of ms-swift says about credit, and what cannot work with it.

swift has no arguments for plug-ins, and its examples take theirs from the file itself or from the
environment. Here both name the options of `flowtracer.credit.arguments.CreditArguments`.
"""

from pathlib import Path
from typing import Any

import yaml

from flowtracer.credit import Credit, arguments

VARIABLE = "FLOW_CREDIT"
PLUGIN = Path(__file__).parent / "plugin" / "flow_credit.py"
# Losses of swift in which a factor on a token's advantage is a factor on its loss; tested one by one.
TOKEN_LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "fipo")
TOKEN_LEVELS = ("token", "sequence_token")


def options_in(text: str) -> dict[str, Any]:
    """Options written as JSON or as a flow mapping of YAML: `{answer: gsm8k, ratio: 0.4}`."""
    try:
        options = yaml.safe_load(text) or {}
    except yaml.YAMLError:
        options = None
    if not isinstance(options, dict):
        raise ValueError(
            f"{VARIABLE} is {text!r}; write options such as '{{answer: gsm8k, ratio: 0.4}}'"
        )
    return options


def read_credit(options: dict[str, Any]) -> Credit:
    """The credit of these options. Raises ValueError in one sentence."""
    credit = arguments.read_credit(options, key="options of credit", page="docs/swift.md")
    credit.check_token_ids()
    return credit


def check_settings(trainer: Any) -> None:
    """Raise ValueError, before anything is trained, for settings under which credit is not given."""
    if trainer.use_liger_loss:
        raise ValueError(
            "use_liger_kernel computes the loss in a kernel that takes one advantage for a sequence; "
            "set it to false to use credit"
        )
    size = trainer.template.sequence_parallel_size
    if size > 1:
        raise ValueError(
            f"sequence_parallel_size is {size}: credit needs all of a response on one device; set it to 1"
        )
    if trainer.is_multimodal:
        raise ValueError(
            "the model takes pictures, and credit in ms-swift reads text only; train without credit"
        )
    if trainer.loss_type not in TOKEN_LOSSES:
        raise ValueError(
            f"loss_type is {trainer.loss_type!r}, in which a token's advantage is not a factor of its "
            f"loss; use one of {', '.join(TOKEN_LOSSES)}"
        )
    level = trainer.importance_sampling_level
    if level not in TOKEN_LEVELS:
        raise ValueError(
            f"importance_sampling_level is {level!r}: one ratio per sequence leaves no place for credit "
            f"per token; use {' or '.join(TOKEN_LEVELS)}"
        )
    if has_teacher(trainer):
        raise ValueError(
            "a teacher (teacher_model, teacher_model_server, advantage_reweight, sdar_loss_coef, or a "
            "column teacher_prompt) already tells tokens apart, and credit on top of it was never tried; "
            "use one of the two"
        )
    trainer.credit.check_model(trainer.accelerator.unwrap_model(trainer.model))


def has_teacher(trainer: Any) -> bool:
    """Whether swift would add a teacher's signal for each token."""
    columns = getattr(trainer.train_dataset, "column_names", None) or ()
    return bool(
        trainer._has_teacher_explicit()
        or trainer.advantage_reweight
        or trainer.sdar_loss_coef
        or "teacher_prompt" in columns
    )
