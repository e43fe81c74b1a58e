"""Metrics of a run in a JSON Lines file, one line a step, also across kills and resumes."""

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from flowtracer.storage import read_rows, write_rows

METRICS_FILE = "metrics.jsonl"


class MetricsFile(TrainerCallback):
    """Appends what the trainer logs; steps that a resumed run repeats are dropped first."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / METRICS_FILE

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        if not state.is_world_process_zero or not self.path.exists():
            return
        kept = [row for row in read_metrics(self.path) if row["step"] <= state.global_step]
        write_rows(self.path, kept)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero and logs:
            row = {"step": state.global_step} | {key: _plain(value) for key, value in logs.items()}
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a metrics file; a last line that a kill cut short is left out."""
    return [row for row in read_rows(path, ("step",)) if isinstance(row["step"], int)]


def _plain(value: Any) -> Any:
    """Numbers as numbers: the trainer formats some of them as text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
