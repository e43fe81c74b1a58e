"""What a training run is told: a YAML file of TRL's own settings, the task's and the credit's.

TRL's classes and parser do the work; every setting can be given again on the command line.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

from trl import GRPOConfig, ModelConfig, TrlParser

from flowtracer.credit import SCORERS, Calibrated, Credit
from flowtracer.credit.arguments import CreditArguments, option
from flowtracer.credit.rules import PLAIN
from flowtracer.integrations.trl_riding import check_forward
from flowtracer.integrations.trl_rollouts import COUNT, EVERY, check_counts
from flowtracer.option_names import (
    normal_name,
    read_settings_file,
    unknown_option,
    unknown_setting,
)
from flowtracer.training.value import ValueArguments

WITHOUT_CREDIT = (*PLAIN, "value")  # methods that are no rule for weights
CALIBRATED = "calibrated"

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
    "output_dir": "runs/train",
}


@dataclass
class TaskArguments:
    """What is learned."""

    task: str = field(
        default="countdown", metadata={"help": "Name of a task, or a JSON Lines file."}
    )
    source: str | None = field(
        default=None,
        metadata={"help": "Folder of JSON Lines files (TASK/SPLIT.jsonl); default: the hub."},
    )
    split: str = field(default="train", metadata={"help": "Split to train on."})
    problems: int | None = field(default=None, metadata={"help": "Only the first so many."})
    reward: str | None = field(
        default=None,
        metadata={"help": "package.module:function(response, example) instead of the task's own."},
    )


@dataclass(frozen=True)
class MethodArguments(CreditArguments):
    """Plain GRPO or a scorer, by `method`; the other options are those of `CreditArguments`.

    TRL's own `seed` seeds the scores, and the task knows where its answers are.
    """

    scorer: str = field(init=False, default="flow")
    seed: int = field(init=False, default=0)
    answer: str = option("", "Answer rule; default: the task's.")
    method: str = option(
        "flow",
        "grpo or uniform (no credit), value (Monte-Carlo), calibrated (the rule that is measured to be "
        f"right), or a scorer: {', '.join(SCORERS)}.",
    )
    credit_forward: str = option(
        "auto", "Where attention is read: ride (the loss's forward), own (one more pass), or auto."
    )

    def credit_of_run(
        self, *, answer: str, seed: int, calibrated: Calibrated | None = None
    ) -> Credit | None:
        """The credit of these settings; None for a method without. Raises ValueError.

        answer: the task's rule, if the settings name none. calibrated: for the method of that name.
        """
        if self.method in WITHOUT_CREDIT:
            return None
        if self.method == CALIBRATED:
            return Credit(answer=self.answer or answer, question=self.question, rule=calibrated)  # type: ignore[arg-type]
        shared = {f.name: getattr(self, f.name) for f in fields(CreditArguments)}
        shared |= {"scorer": self.method, "seed": seed, "answer": self.answer or answer}
        return CreditArguments(**shared).credit()


@dataclass(frozen=True)
class CalibratedArguments:
    """The options of `Calibrated`, which explains them, as flat names."""

    calibrated_rules: str = option(
        " ".join(Calibrated.rules), "Method calibrated: rules, SCORER@OPTION=VALUE,... or SCORER."
    )
    calibrated_every: int = option(Calibrated.every, "Batches of rollouts between calibrations.")
    calibrated_first: int = option(Calibrated.first, "Batches at the start that are all measured.")
    calibrated_parts: int = option(Calibrated.parts, "Parts of a batch, compared with each other.")
    calibrated_layers: int = option(Calibrated.layers, "Last layers whose gradients are compared.")
    calibrated_coordinates: int = option(Calibrated.coordinates, "How many of their numbers.")
    calibrated_decay: float = option(Calibrated.decay, "Weight of a calibration against the next.")
    calibrated_level: float = option(
        Calibrated.level, "Chance that a rule that is no better is ever used."
    )
    calibrated_choice: str = option(Calibrated.choice, "hard (the best rule) or mixed.")
    calibrated_window: int = option(Calibrated.window, "Calibrations of a window.")
    calibrated_normalise: bool = option(Calibrated.normalise, "Whether weights have mean 1.")

    def __post_init__(self) -> None:
        self.rule()

    def rule(self) -> Calibrated:
        """These settings as a `Calibrated`. Raises ValueError for a wrong one."""
        named: dict[str, Any] = {f.name[11:]: getattr(self, f.name) for f in fields(self)}
        return Calibrated(**named | {"rules": tuple(self.calibrated_rules.split())})


@dataclass(frozen=True)
class RolloutArguments:
    """Which rollouts a run keeps; they change nothing in what it learns."""

    rollouts_every: int = option(EVERY, "Keep rollouts every so many steps; 0 for never.")
    rollouts_count: int = option(COUNT, "How many rollouts of such a step are kept.")

    def __post_init__(self) -> None:
        check_counts(self.rollouts_every, self.rollouts_count)


@dataclass(frozen=True)
class RunSettings:
    """Everything a run is told."""

    task: TaskArguments
    credit: MethodArguments
    value: ValueArguments
    calibrated: CalibratedArguments
    rollouts: RolloutArguments
    trainer: GRPOConfig
    model: ModelConfig


def read_settings(
    config: Path | None,
    overrides: Sequence[str] = (),
    *,
    allow_env: bool = False,
    others: Collection[str] = (),
) -> RunSettings:
    """Settings of a YAML file and the command line, which wins.

    allow_env: whether the file may set environment variables, which can make Python run code.
    others: options beside these, of the command that reads them, to suggest for a misspelt name.

    Raises ValueError in one sentence for a file that cannot be read, for unknown or wrong settings, and
    for a file that allows code of a model, which only the command line may.
    """
    kinds: Any = (
        TaskArguments, MethodArguments, ValueArguments, CalibratedArguments, RolloutArguments, GRPOConfig,
        ModelConfig,
    )  # fmt: skip
    parser = TrlParser(kinds, allow_abbrev=False)
    parser.set_defaults_with_config(**PAPER)
    parser.error = _refuse  # type: ignore[method-assign]
    spelled = {normal_name(option) for option in parser._option_string_actions}
    for word in overrides:
        name = word.partition("=")[0]
        if name.startswith("--") and normal_name(name) not in spelled:
            raise ValueError(
                f"{unknown_option(name, {*spelled, *others})}; see `flowtracer train --help`"
            )
    keys = {action.dest for action in parser._actions} - {"help", "config"}
    values = {} if config is None else _file_settings(config, keys, allow_env=allow_env)
    try:
        parser.set_defaults_with_config(**values)
        task, credit, value, calibrated, rollouts, trainer, model = (
            parser.parse_args_into_dataclasses(list(overrides))
        )
    except SystemExit:
        raise
    except Exception as error:  # TRL and transformers each raise kinds of their own
        where = "" if config is None else f"{config}: "
        raise ValueError(f"{where}{_first_sentence(error)}") from error
    if credit.method not in (*WITHOUT_CREDIT, CALIBRATED, *SCORERS):
        known = ", ".join([*WITHOUT_CREDIT, CALIBRATED, *SCORERS])
        raise ValueError(f"method {credit.method!r} is unknown; use one of {known}")
    credit.credit_of_run(answer="boxed", seed=0)  # refuses wrong values before work begins
    check_forward(credit.credit_forward)
    if not any(normal_name(word.partition("=")[0]) == "trust_remote_code" for word in overrides):
        _refuse_code(config, trainer, model)
    return RunSettings(task, credit, value, calibrated, rollouts, trainer, model)


def trusts_code(trainer: GRPOConfig, model: ModelConfig) -> bool:
    """Whether code that comes with the model may run; the field moved between TRL's classes."""
    return any(
        bool(getattr(arguments, "trust_remote_code", False)) for arguments in (trainer, model)
    )


def _file_settings(config: Path, known: Collection[str], *, allow_env: bool) -> dict[str, Any]:
    """Settings of a YAML file, all of them known. Sets the environment variables that it names."""
    values = read_settings_file(config)
    environment = values.pop("env", {})
    if environment and not allow_env:
        raise ValueError(
            f"{config}: env sets environment variables, which can run code; remove it, or allow it "
            "with --allow-env"
        )
    for name in values:
        if name not in known:
            raise ValueError(f"{config}: {unknown_setting(name, known)}")
    if not isinstance(environment, dict):
        raise ValueError(f"{config}: env is not a mapping of names to values")
    os.environ.update({str(name): str(value) for name, value in environment.items()})
    return values


def _refuse_code(config: Path | None, trainer: GRPOConfig, model: ModelConfig) -> None:
    """Settings with which transformers runs code out of a model's folder or out of the hub."""
    options = trainer.model_init_kwargs if isinstance(trainer.model_init_kwargs, dict) else {}
    attention = [model.attn_implementation, options.get("attn_implementation")]
    runs_code = {
        "trust_remote_code": trusts_code(trainer, model) or options.get("trust_remote_code"),
        "attn_implementation": any("/" in str(name) for name in attention if name),
        "use_kernels": options.get("use_kernels"),
    }
    for name, wanted in runs_code.items():
        if wanted:
            raise ValueError(
                f"{config or 'the settings'}: {name} runs code that comes with a model or from the hub; "
                "if you trust it, pass --trust-remote-code true on the command line"
            )


def _refuse(message: str) -> NoReturn:
    raise ValueError(f"{message}; see `flowtracer train --help`")


def _first_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:400] or type(error).__name__
