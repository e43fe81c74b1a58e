"""One training run from its settings: task, model, trainer, resume, metrics, curves."""

import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import GRPOTrainer, get_peft_config

from flowtracer.integrations.trl import FlowGRPOTrainer
from flowtracer.integrations.trl_parts import LengthSortedMixin
from flowtracer.integrations.trl_rollouts import RolloutsMixin
from flowtracer.models import EMBEDDED, model_path
from flowtracer.models.decoding import decode_fast
from flowtracer.regions.prompts import render_template
from flowtracer.render.charts import save_chart
from flowtracer.storage import check_settings, is_complete, lock
from flowtracer.tasks import Task, load_task
from flowtracer.training.arguments import RunSettings, trusts_code
from flowtracer.training.calibration_picture import calibration_picture
from flowtracer.training.checkpoints import (
    CheckpointManifest,
    hand_over,
    has_run,
    is_last_step,
    last_checkpoint,
    remove_run,
)
from flowtracer.training.curves import save_curves
from flowtracer.training.metrics import METRICS_FILE, MetricsFile, read_metrics
from flowtracer.training.progress import REPLACED, StepLines
from flowtracer.training.value import ValueTrainer
from flowtracer.watching.parts import PAGE_FILE, remove_after

SETTINGS_FILE = "run.json"
CURVES_FILE, CALIBRATION_FILE = "curves.png", "rules.png"
BESIDE = ".model"  # folder of a save that is not finished


class PlainTrainer(RolloutsMixin, LengthSortedMixin, GRPOTrainer):
    """GRPO without credit."""


class WatchedValueTrainer(RolloutsMixin, ValueTrainer):
    """GRPO with the advantages of `value`."""


class CreditTrainer(LengthSortedMixin, FlowGRPOTrainer):
    """GRPO with credit."""


WatchedTrainer = PlainTrainer | WatchedValueTrainer | CreditTrainer


def train(settings: RunSettings, *, restart: bool = False) -> Path:
    """Train, or go on where a run with the same settings stopped; returns the folder of the model.

    The folder holds the trained model (for plain transformers), `metrics.jsonl`, `curves.png`, rollouts
    and their page, `run.json` with the settings, and the last checkpoints. restart: delete what an earlier
    run left.

    Raises ValueError if the folder belongs to a run with other settings, is in use, or is damaged.
    """
    folder = Path(settings.trainer.output_dir or "runs/train")
    folder.mkdir(parents=True, exist_ok=True)
    if settings.trainer.process_index != 0:
        return _train(settings, folder, restart=restart)
    with lock(folder, "another run", option="output_dir"):
        shutil.rmtree(folder / BESIDE, ignore_errors=True)  # of a save that was killed
        if restart:
            remove_after(folder, 0)
            written = METRICS_FILE, CURVES_FILE, CALIBRATION_FILE, PAGE_FILE, SETTINGS_FILE
            remove_run(folder, written)
        _check_settings(settings, folder)
        read_metrics(folder / METRICS_FILE)  # a damaged file is told before anything is loaded
        return _train(settings, folder, restart=restart)


def _check_settings(settings: RunSettings, folder: Path) -> None:
    """Write down the settings that decide what a run computes, or check that they are the folder's."""
    path = folder / SETTINGS_FILE
    option = "output_dir or pass --restart"
    if not path.exists():
        if has_run(folder):
            raise ValueError(
                f"{folder} holds checkpoints or a model but no {SETTINGS_FILE} that says of which run; "
                f"choose another {option}"
            )
        (folder / METRICS_FILE).unlink(missing_ok=True)
    trainer = settings.trainer.to_dict()
    for name in ("output_dir", "logging_dir", "run_name", "report_to", "save_total_limit"):
        trainer.pop(name, None)
    names = ["task", "credit", "model"]
    names += [name for name in ("value", "calibrated") if name == settings.credit.method]
    parts = {part: asdict(getattr(settings, part)) for part in names}
    del parts["credit"]["credit_forward"]  # how credit is computed, not what it is
    check_settings(path, parts | {"trainer": trainer}, what="a run", option=option)


def _train(settings: RunSettings, folder: Path, *, restart: bool) -> Path:
    checkpoint = None
    if not restart:
        if is_complete(folder):
            return folder
        checkpoint = last_checkpoint(folder)
        if checkpoint is not None and is_last_step(checkpoint):
            # The trainer would make one more step than it was told to.
            if settings.trainer.process_index == 0:
                hand_over(checkpoint, folder)
            return folder
    args = settings.trainer
    task = load_task(
        settings.task.task,
        split=settings.task.split,
        source=settings.task.source,
        limit=settings.task.problems,
        seed=args.seed,
        reward=settings.task.reward,
    )
    trust = trusts_code(settings.trainer, settings.model)
    source = model_path(
        settings.model.model_name_or_path or EMBEDDED,
        trust_remote_code=trust,
        option="--trust-remote-code true",
    )
    options = {
        "dtype": settings.model.dtype or "float32",
        "revision": settings.model.model_revision,
        "use_safetensors": True,
        "trust_remote_code": trust,  # False, where None would ask at the terminal
    }
    if settings.model.attn_implementation:
        options["attn_implementation"] = settings.model.attn_implementation
    kwargs = args.model_init_kwargs if isinstance(args.model_init_kwargs, dict) else {}
    args.model_init_kwargs = kwargs | options
    tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left", trust_remote_code=trust)
    task = _behind_first_prompt(task, tokenizer, args.chat_template_kwargs)
    common: dict[str, Any] = {
        "model": source,
        "args": args,
        "reward_funcs": task.reward,
        "train_dataset": task.dataset(),
        "processing_class": tokenizer,
        "peft_config": get_peft_config(settings.model),
        "callbacks": [MetricsFile(folder), CheckpointManifest()],
        **asdict(settings.rollouts),
    }
    # "auto" searches for a box first, then for the other forms that the graders accept.
    answer = "auto" if task.answer_rule == "boxed" else task.answer_rule
    trainer = _trainer(settings, common, answer=answer)
    model = trainer.accelerator.unwrap_model(trainer.model)
    adapted = getattr(model, "get_base_model", None)  # of PEFT
    decode_fast(adapted() if adapted else model)
    _make_steps(trainer, checkpoint)
    if trainer.is_world_process_zero():
        _draw(folder, settings.credit.method)
    _save(trainer, folder)
    return folder


def _draw(folder: Path, method: str) -> None:
    """Pictures of what the run's metrics hold."""
    rows = read_metrics(folder / METRICS_FILE)
    if any("reward" in row for row in rows):
        save_curves({method: rows}, folder / CURVES_FILE)
    picture = calibration_picture({method: rows})
    if picture is not None:
        save_chart(picture, folder / CALIBRATION_FILE)


def _make_steps(trainer: WatchedTrainer, checkpoint: Path | None) -> None:
    """Train from a checkpoint on; the page of rollouts is there also when that is interrupted."""
    for printed in REPLACED:
        trainer.remove_callback(printed)
    trainer.add_callback(StepLines())
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except BaseException:
        with suppress(Exception):  # what ended the run is told, not what follows from it
            trainer.rollout_log.save_page()
        raise


def _trainer(settings: RunSettings, common: dict[str, Any], *, answer: str) -> WatchedTrainer:
    """The trainer of the method. common: what all of them take."""
    if settings.credit.method == "value":
        return WatchedValueTrainer(**common, values=settings.value)
    credit = settings.credit.credit_of_run(
        answer=answer, seed=settings.trainer.seed, calibrated=settings.calibrated.rule()
    )
    if credit is None:
        return PlainTrainer(**common)
    forward: Any = settings.credit.credit_forward  # checked when it was read
    return CreditTrainer(**common, credit=credit, credit_forward=forward)


def _behind_first_prompt(task: Task, tokenizer: PreTrainedTokenizerBase, options: object) -> Task:
    """The task behind a prompt as the template writes it, which may open a thought."""
    # With either of these TRL passes on only what follows the thought.
    parsed = any(
        getattr(tokenizer, name, None) for name in ("response_template", "response_schema")
    )
    if parsed or not tokenizer.chat_template:
        return task
    named = options if isinstance(options, dict) else None
    prompt = render_template(tokenizer, task.prompt(task.examples[0]), options=named)
    return task.behind(prompt, dropped=tokenizer.all_special_tokens)


def _save(trainer: GRPOTrainer, folder: Path) -> None:
    """The trained model with its manifest; saved beside first, so that its files are known."""
    beside = folder / BESIDE
    trainer.save_model(str(beside))
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        hand_over(beside, folder)
        shutil.rmtree(beside)
