"""Benchmark tasks by name, and the user's own from a .jsonl file."""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from flowtracer.records import read_records
from flowtracer.tasks.countdown import (
    Problem,
    all_problems,
    held_out_problems,
    reachable,
    sampled_problems,
)
from flowtracer.tasks.grading import (
    grade_choice,
    grade_countdown,
    grade_math,
    grade_minerva,
    grade_number,
)
from flowtracer.tasks.sources import Hub, example_of, rows_of_folder, rows_of_hub
from flowtracer.tasks.task import Example, Task

DATA_VARIABLE = "FLOWTRACER_DATA"  # environment variable that names the data folder
TEST_PROBLEMS = 1000  # generated problems to test on; our choice, as many as the model card uses
TRAINING_PROBLEMS = 5000  # generated problems with four numbers to train on; our choice

# Wordings are our choice; the box is the paper's.
BOXED = "\n\nReason step by step and put the final answer in \\boxed{}."
CHOICE = "\n\nReason step by step and put the letter of the right option in \\boxed{}."
COUNTDOWN = (
    "\n\nUse every given number exactly once, with +, -, *, / and parentheses, so that the result "
    "is the target. Reason step by step and put the final expression, such as (1 + 2) * 3, in "
    "\\boxed{}."
)

Grader = Callable[[str, Example], float]
Generator = Callable[[bool, int | None, int], tuple[Example, ...]]


@dataclass(frozen=True)
class Source:
    """An entry of `TASKS`: how to ask and grade, and where the rows come from.

    rows: a data set on the hub, or a function that generates the examples, of (held out, limit,
    seed). Without rows the task is the user's own file.
    """

    instruction: str
    grade: Grader
    rows: Hub | Generator | None = None
    answer_rule: str = "boxed"


def three_numbers(held_out: bool, limit: int | None, seed: int) -> tuple[Example, ...]:
    """Countdown problems with three numbers: 1,000 held out, all others to train on."""
    if held_out:
        pool = sum(problem.held_out for problem in all_problems())
        problems = held_out_problems(min(limit or TEST_PROBLEMS, pool), seed)
    else:
        problems = [problem for problem in all_problems() if not problem.held_out]
        random.Random(seed).shuffle(problems)
        problems = problems[:limit]
    solutions = {numbers: reachable(numbers) for numbers in {*map(_sorted, problems)}}
    return tuple(
        _countdown(problem, solutions[_sorted(problem)][problem.target]) for problem in problems
    )


def four_numbers(held_out: bool, limit: int | None, seed: int) -> tuple[Example, ...]:
    """Countdown problems with four numbers: 1,000 held out, 5,000 to train on."""
    count = limit or (TEST_PROBLEMS if held_out else TRAINING_PROBLEMS)
    sampled = sampled_problems(count, seed, held_out=held_out)
    return tuple(_countdown(problem, solution) for problem, solution in sampled)


def _sorted(problem: Problem) -> tuple[int, ...]:
    return tuple(sorted(problem.numbers))


def _countdown(problem: Problem, solution: str) -> Example:
    name = f"{'-'.join(map(str, problem.numbers))}-to-{problem.target}"
    extra = {"numbers": list(problem.numbers), "target": problem.target}
    return Example(name, problem.prompt, solution, extra)


_TRAIN_ONLY = {"test": "train"}  # benchmarks whose only split on the hub is called train
TASKS: dict[str, Source] = {
    # The embedded model, and its kind for four numbers, know the bare question only.
    "countdown": Source("", grade_countdown, three_numbers),
    "countdown4": Source(COUNTDOWN, grade_countdown, four_numbers),
    "countdown4-bare": Source("", grade_countdown, four_numbers),
    "gsm8k": Source(BOXED, grade_number, Hub("openai/gsm8k", "main")),
    "math500": Source(BOXED, grade_math, Hub("HuggingFaceH4/MATH-500")),
    "math": Source(BOXED, grade_math, Hub("nlile/hendrycks-MATH-benchmark")),
    "aime24": Source(BOXED, grade_number, Hub("HuggingFaceH4/aime_2024", splits=_TRAIN_ONLY)),
    "aime25": Source(BOXED, grade_number, Hub("math-ai/aime25")),
    "amc23": Source(BOXED, grade_number, Hub("math-ai/amc23")),
    "olympiadbench": Source(
        BOXED, grade_math, Hub("Hothan/OlympiadBench", "OE_TO_maths_en_COMP", _TRAIN_ONLY)
    ),
    "minerva_math": Source(BOXED, grade_minerva, Hub("math-ai/minervamath")),
    "crossthink_qa": Source(
        CHOICE,
        grade_choice,
        Hub("nvidia/Nemotron-CrossThink", splits={"train": "train_qa"}),
        answer_rule="choice",
    ),
}


def load_task(
    name: str | Path,
    *,
    split: str = "test",
    source: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    reward: str | Grader | None = None,
) -> Task:
    """Load a benchmark task, or the user's own from a .jsonl file.

    name: one out of `TASKS`, or a path to a .jsonl file whose rows have a question (or problem, or
        prompt) and an answer; those are graded as mathematics unless `reward` says otherwise.
    split: "test" (default, so that nobody trains on held-out rows by accident) or "train".
    source: a folder with `<task>/<split>.jsonl`; by default the one in the environment variable
        FLOWTRACER_DATA, else the Hugging Face hub.
    limit: only the first so many examples; by default all, in the order of the source.
        Generated tasks: 1,000 to test on, all (three numbers) or 5,000 (four) to train on.
    seed: of generated problems; default 0, our choice.
    reward: a grader in place of the task's own: a function of (response, example) that returns a
        number, or its name as "package.module:function".

    Countdown problems are split by a hash (`Problem.held_out`), so that no seed mixes the splits.

    Raises ValueError for an unknown task, split, folder or reward, a damaged line, or a row without
    question or answer; ImportError if `datasets` is needed and missing.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit {limit} is not a number of examples; give 1 or more")
    is_file = Path(name).suffix == ".jsonl"
    if not is_file and name not in TASKS:
        raise ValueError(
            f"task {str(name)!r} is unknown; use {', '.join(TASKS)} or a path to a .jsonl file"
        )
    entry = Source(BOXED, grade_math) if is_file else TASKS[str(name)]
    grade = entry.grade if reward is None else _function(reward)
    if isinstance(entry.rows, Hub):
        folder = source or os.environ.get(DATA_VARIABLE)
        rows = (
            rows_of_folder(Path(folder).expanduser(), str(name), split)
            if folder
            else rows_of_hub(entry.rows, str(name), split)
        )
        examples = tuple(_examples(rows, f"task {name}")[:limit])
    elif entry.rows is not None:
        if split not in ("train", "test"):
            raise ValueError(f"task {name}: has no split {split!r}; use train or test")
        examples = entry.rows(split == "test", limit, seed)
    else:
        path = Path(name).expanduser()
        examples = tuple(_examples(read_records(path), str(path))[:limit])
        name = path.stem
    return Task(str(name), examples, entry.instruction, grade, entry.answer_rule)


def _examples(rows: Iterator[tuple[str, dict[str, Any]]], what: str) -> list[Example]:
    examples = [example_of(where, row, number) for number, (where, row) in enumerate(rows)]
    if not examples:
        raise ValueError(f"{what}: has no rows; give a source with at least one")
    return examples


def _function(reward: str | Grader) -> Grader:
    """The user's function, imported if it is named."""
    if callable(reward):
        return reward
    module, sign, function = reward.partition(":")
    if not sign or not module or not function:
        raise ValueError(f"reward {reward!r} is not a name; write it as package.module:function")
    try:
        grader: Grader = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"reward {reward!r} cannot be imported ({error}); check the name and the Python path"
        ) from error
    if not callable(grader):
        raise ValueError(f"reward {reward!r} is not a function; name one of (response, example)")
    return grader
