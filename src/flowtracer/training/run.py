"""One training run from its settings: task, model, trainer, resume, metrics, curves."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from trl import GRPOTrainer, get_peft_config

from flowtracer.integrations.trl import FlowGRPOTrainer
from flowtracer.models import EMBEDDED, model_path
from flowtracer.storage import atomic_write, check_settings, lock
from flowtracer.tasks import load_task
from flowtracer.training.arguments import RunSettings
from flowtracer.training.curves import save_curves
from flowtracer.training.metrics import METRICS_FILE, MetricsFile, read_metrics

SETTINGS_FILE = "run.json"


def train(settings: RunSettings, *, restart: bool = False) -> Path:
    """Train, or go on where a run with the same settings stopped; returns the folder of the model.

    The folder holds the trained model (for plain transformers), `metrics.jsonl`, `curves.png`,
    `run.json` with the settings, and the last checkpoints.

    Raises ValueError if the folder belongs to a run with other settings or is in use.
    """
    folder = Path(settings.trainer.output_dir or "trainer_output")
    folder.mkdir(parents=True, exist_ok=True)
    if settings.trainer.process_index != 0:
        return _train(settings, folder, None if restart else last_checkpoint(folder))
    with lock(folder, "another run", option="output_dir"):
        _check_settings(settings, folder, restart=restart)
        return _train(settings, folder, None if restart else last_checkpoint(folder))


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end."""
    found = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdigit()]
    for path in sorted(found, key=lambda one: int(one.name[11:]), reverse=True):
        if _complete(path):
            return path
    return None


def _complete(checkpoint: Path) -> bool:
    """The trainer writes its state last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return True


def _at_the_end(checkpoint: Path) -> bool:
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return bool(state["global_step"] >= state["max_steps"])


def _hand_over(checkpoint: Path, folder: Path) -> Path:
    """The model of the last step, should a kill have come before it was saved."""
    state = ("optimizer", "scheduler", "rng_state", "trainer_state", "training_args", "scaler")
    for path in checkpoint.iterdir():
        if path.is_file() and not path.name.startswith(state) and not (folder / path.name).exists():
            with atomic_write(folder / path.name) as partial:
                shutil.copyfile(path, partial)
    return folder


def _check_settings(settings: RunSettings, folder: Path, *, restart: bool) -> None:
    """Write down the settings that decide what a run computes, or check that they are the folder's."""
    path = folder / SETTINGS_FILE
    trainer = settings.trainer.to_dict()
    for name in ("output_dir", "logging_dir", "run_name", "report_to", "save_total_limit"):
        trainer.pop(name, None)
    parts = {part: asdict(getattr(settings, part)) for part in ("task", "credit", "model")}
    if restart:
        path.unlink(missing_ok=True)
    if not path.exists():
        (folder / METRICS_FILE).unlink(missing_ok=True)
    check_settings(
        path, parts | {"trainer": trainer}, what="a run", option="output_dir or pass --restart"
    )


def _train(settings: RunSettings, folder: Path, checkpoint: Path | None) -> Path:
    if checkpoint is not None and _at_the_end(checkpoint):
        # The trainer would make one more step than it was told to.
        return _hand_over(checkpoint, folder)
    args = settings.trainer
    task = load_task(
        settings.task.task,
        split=settings.task.task_split,
        source=settings.task.task_source,
        limit=settings.task.task_limit,
        seed=args.seed,
        reward=settings.task.reward,
    )
    source = model_path(settings.model.model_name_or_path or EMBEDDED)
    given = args.model_init_kwargs if isinstance(args.model_init_kwargs, dict) else {}
    chosen = {
        "dtype": settings.model.dtype or "float32",
        "revision": settings.model.model_revision,
        "use_safetensors": True,
    }
    if settings.model.attn_implementation:
        chosen["attn_implementation"] = settings.model.attn_implementation
    args.model_init_kwargs = given | chosen
    common: dict[str, Any] = {
        "model": source,
        "args": args,
        "reward_funcs": task.reward,
        "train_dataset": task.dataset(),
        "processing_class": AutoTokenizer.from_pretrained(source, padding_side="left"),
        "peft_config": get_peft_config(settings.model),
        "callbacks": [MetricsFile(folder)],
    }
    # "auto" looks for a box first, then for the other forms that the graders accept.
    answer = "auto" if task.answer_rule == "boxed" else task.answer_rule
    credit = settings.credit.credit_of_run(answer=answer, seed=args.seed)
    trainer = GRPOTrainer(**common) if credit is None else FlowGRPOTrainer(**common, credit=credit)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    trainer.save_model(str(folder))
    if trainer.is_world_process_zero():
        rows = read_metrics(folder / METRICS_FILE)
        if any("reward" in row for row in rows):
            save_curves({settings.credit.method: rows}, folder / "curves.png")
    return folder
