"""Metrics of a run in a JSON Lines file, one line a step, also across kills and resumes."""

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from flowtracer.storage import atomic_write

METRICS_FILE = "metrics.jsonl"


class MetricsFile(TrainerCallback):
    """Appends what the trainer logs; steps that a resumed run makes again are dropped first."""

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
        with atomic_write(self.path) as partial:
            partial.write_text("".join(json.dumps(row) + "\n" for row in kept))

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
    rows: list[dict[str, Any]] = []
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def _plain(value: Any) -> Any:
    """Numbers as numbers: the trainer formats some of them as text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
