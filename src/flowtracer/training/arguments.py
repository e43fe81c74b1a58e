"""What a training run is told: a YAML file of TRL's own settings, the task's and the credit's.

TRL's classes and parser do the work; every setting can be given again on the command line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from trl import GRPOConfig, ModelConfig, TrlParser

from flowtracer.credit import SCORERS, Credit, Selection, Weighting
from flowtracer.credit.weighting import EMPHASIS
from flowtracer.flow import BACKBONE_RATIO

# Section 4 of the paper, where it differs from TRL's defaults; method.md names what is open. TRL's
# "grpo" loss is the mean per sequence, then over sequences; its learning rate otherwise decays.
PAPER: dict[str, Any] = {
    "loss_type": "grpo",
    "scale_rewards": "group",
    "beta": 0.0,
    "epsilon": 0.2,
    "temperature": 0.99,
    "top_p": 1.0,
    "top_k": 100,
    "learning_rate": 1e-6,
    "lr_scheduler_type": "constant",
    "vllm_importance_sampling_correction": False,
    "model_name_or_path": "embedded",
    "report_to": "none",
    "logging_steps": 1,
    "save_steps": 25,
    "save_total_limit": 2,
}


@dataclass
class TaskArguments:
    """What is learned."""

    task: str = field(
        default="countdown", metadata={"help": "Name of a task, or a JSON Lines file."}
    )
    task_source: str | None = field(
        default=None,
        metadata={"help": "Folder of JSON Lines files (TASK/SPLIT.jsonl); default: the hub."},
    )
    task_split: str = field(default="train", metadata={"help": "Split to train on."})
    task_limit: int | None = field(default=None, metadata={"help": "Use only so many problems."})
    reward: str | None = field(
        default=None,
        metadata={"help": "package.module:function(response, example) instead of the task's own."},
    )


@dataclass
class CreditArguments:
    """Who gets the credit; the defaults are the paper's."""

    method: str = field(
        default="flow",
        metadata={
            "help": f"'grpo' (the same advantage everywhere) or one of {', '.join(SCORERS)}."
        },
    )
    emphasis: float = field(default=EMPHASIS, metadata={"help": "Weight of chosen tokens."})
    weighting: str = field(
        default="emphasis",
        metadata={"help": "emphasis, or a continuous rule: raw, tanh, sigmoid, mad, log1p."},
    )
    select_ratio: float = field(default=BACKBONE_RATIO, metadata={"help": "Ratio that is chosen."})
    select_by: str = field(default="ratio", metadata={"help": "ratio (of tokens) or mass."})
    select_end: str = field(default="top", metadata={"help": "top or bottom."})
    select_among: str = field(default="all", metadata={"help": "all, structural or semantic."})
    credit_layers: str = field(
        default="middle", metadata={"help": "early, middle, late, all, or such as 15-25."}
    )
    answer: str = field(default="", metadata={"help": "Answer rule; default: the task's."})
    answer_tokens: str = field(default="absorb", metadata={"help": "absorb or relay."})
    question: str = field(default="prompt", metadata={"help": "prompt or user."})

    def credit(self, *, answer: str, seed: int) -> Credit | None:
        """The credit of these settings; None for plain GRPO. Raises ValueError."""
        if self.method == "grpo":
            return None
        return Credit(
            scorer=self.method,
            selection=Selection(
                by=self.select_by,  # type: ignore[arg-type]
                ratio=self.select_ratio,
                end=self.select_end,  # type: ignore[arg-type]
                among=self.select_among,  # type: ignore[arg-type]
            ),
            weighting=Weighting(self.weighting, self.emphasis),
            layers=self.credit_layers,
            answer=self.answer or answer,
            answer_tokens=self.answer_tokens,  # type: ignore[arg-type]
            question=self.question,  # type: ignore[arg-type]
            seed=seed,
        )


@dataclass(frozen=True)
class RunSettings:
    """Everything a run is told."""

    task: TaskArguments
    credit: CreditArguments
    trainer: GRPOConfig
    model: ModelConfig


def read_settings(config: Path | None, overrides: Sequence[str] = ()) -> RunSettings:
    """Settings of a YAML file and the command line, which wins.

    Raises ValueError in one sentence for a file that cannot be read and for unknown or wrong settings.
    """
    kinds: Any = (TaskArguments, CreditArguments, GRPOConfig, ModelConfig)
    parser = TrlParser(kinds)
    parser.set_defaults_with_config(**PAPER)
    parser.error = _refuse  # type: ignore[method-assign]
    arguments = list(overrides)
    if config is not None:
        if not config.is_file():
            raise ValueError(f"{config} is not a file; give the YAML file of a training run")
        arguments += ["--config", str(config)]
    try:
        task, credit, trainer, model = parser.parse_args_and_config(arguments)
    except SystemExit:
        raise
    except Exception as error:  # YAML, TRL and transformers each raise kinds of their own
        where = "" if config is None else f"{config}: "
        raise ValueError(f"{where}{_first_sentence(error)}") from error
    if credit.method != "grpo" and credit.method not in SCORERS:
        known = ", ".join(["grpo", *SCORERS])
        raise ValueError(f"method {credit.method!r} is unknown; use one of {known}")
    credit.credit(
        answer=credit.answer or "boxed", seed=0
    )  # refuses wrong values before work begins
    return RunSettings(task, credit, trainer, model)


def effective_batch(trainer: GRPOConfig, *, processes: int) -> int:
    """Completions per optimizer step: device batch x accumulation x processes."""
    return trainer.per_device_train_batch_size * trainer.gradient_accumulation_steps * processes


def _refuse(message: str) -> NoReturn:
    raise ValueError(f"{message}; see `flowtracer train --help`")


def _first_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:400] or type(error).__name__
