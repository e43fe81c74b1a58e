"""What a run prints: one line per step, in place of the trainer's bar and its dictionary of figures."""

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from transformers import (
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

REPLACED = (PrinterCallback, ProgressCallback)
IN_USE = "calibrated/share/"  # and a rule's name: how much of the credit is its


class StepLines(TrainerCallback):
    """Prints a line whenever the trainer logs figures of a step."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(soft_wrap=True, highlight=False)
        self.since = time.monotonic()
        self.step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.since, self.step = time.monotonic(), state.global_step
        if state.is_world_process_zero and state.global_step:
            self.console.print(f"goes on after step {state.global_step} of {state.max_steps}")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        now = time.monotonic()
        seconds = (now - self.since) / max(state.global_step - self.step, 1)
        self.since, self.step = now, state.global_step
        line = step_line(logs, step=state.global_step, total=state.max_steps, seconds=seconds)
        self.console.print(line, markup=False)


def step_line(logs: Mapping[str, Any], *, step: int, total: int, seconds: float) -> str:
    """Step, reward, length and loss, and what credit did; figures that were not logged are left out."""
    parts = [f"step {step:>{len(str(total))}}/{total}"]
    if "reward" in logs:
        parts.append(f"reward {float(logs['reward']):.3f}")
    if "completions/mean_length" in logs:
        parts.append(f"{float(logs['completions/mean_length']):.0f} tokens")
    if "completions/clipped_ratio" in logs:
        parts.append(f"{float(logs['completions/clipped_ratio']):.0%} cut off")
    parts.append(f"loss {float(logs['loss']):+.4f}")
    if "credit/selected" in logs:
        chosen = f"credit: {float(logs['credit/selected']):.0%} chosen"
        chosen += f", mean weight {float(logs.get('credit/mean_weight', 1)):.2f}"
        chosen += f", {float(logs.get('credit/no_answer', 0)):.0%} without an answer"
        parts.append(chosen)
    ratios = {
        name.removeprefix(IN_USE): float(value)
        for name, value in logs.items()
        if name.startswith(IN_USE)
    }
    if ratios:
        parts.append("rules: " + ", ".join(f"{name} {value:.0%}" for name, value in ratios.items()))
    parts.append(f"{seconds:.1f} s")
    return "  ".join(parts)
