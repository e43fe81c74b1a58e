"""Tasks with exact answers: questions, prompts and graders.

from flowtracer.tasks import load_task
task = load_task("gsm8k", split="train", limit=1000)
trainer = GRPOTrainer(..., train_dataset=task.dataset(), reward_funcs=task.reward)
"""

from flowtracer.tasks.grading import (
    grade_choice,
    grade_countdown,
    grade_math,
    grade_minerva,
    grade_number,
)
from flowtracer.tasks.loading import TASKS, load_task
from flowtracer.tasks.task import Example, Task

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
