"""Tasks with exact answers: questions, prompts and graders.

    from flowtracer.tasks import load_task
    task = load_task("gsm8k", split="train", limit=1000)
    trainer = GRPOTrainer(..., train_dataset=task.dataset(), reward_funcs=task.reward)

Names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowtracer.tasks.grading import (
        grade_choice,
        grade_countdown,
        grade_math,
        grade_minerva,
        grade_number,
    )
    from flowtracer.tasks.loading import TASKS, load_task
    from flowtracer.tasks.task import Example, Task

_HOME = {
    "TASKS": "loading",
    "Example": "task",
    "Task": "task",
    "grade_choice": "grading",
    "grade_countdown": "grading",
    "grade_math": "grading",
    "grade_minerva": "grading",
    "grade_number": "grading",
    "load_task": "loading",
}

__all__ = [
    "TASKS",
    "Example",
    "Task",
    "grade_choice",
    "grade_countdown",
    "grade_math",
    "grade_minerva",
    "grade_number",
    "load_task",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'flowtracer.tasks' has no attribute {name!r}")
    return getattr(import_module(f"flowtracer.tasks.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
