"""A model's own greedy solutions of a task: the input of every study but the training study."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from flowtracer.evaluation.run import reward_of
from flowtracer.intervention import attention_knockout, decode, prefill
from flowtracer.models import Loaded
from flowtracer.models.generation import end_tokens
from flowtracer.regions import (
    TokenizedText,
    answer_weights,
    decode_text,
    decode_with_offsets,
    find_answer,
    render_prompt,
    tokenize_prompt,
)
from flowtracer.regions.prompts import Message
from flowtracer.storage import append_rows, check_settings, lock, read_rows
from flowtracer.tasks import Task

SOLUTIONS_FILE = "solutions.jsonl"
SETTINGS_FILE = "solutions.json"
FIELDS = {"problem": int, "id": str, "prompt_ids": list, "response_ids": list, "before": int,
          "answer_tokens": int, "answer": str, "reward": float}  # fmt: skip
BATCH = 32  # solutions generated together, our choice
LEAST_BEFORE = 20  # response tokens in front of the answer, our choice: enough to choose from

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SolutionSettings:
    """What decides which solutions a model gives."""

    model: str
    task: str
    split: str = "test"
    max_new_tokens: int = 512
    seed: int = 0  # of generated tasks
    dtype: str = "auto"


@dataclass(frozen=True)
class Solution:
    """One response. `before` is the number of its tokens in front of the answer, -1 without answer."""

    problem: int  # its index in the task
    id: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    before: int
    answer_tokens: int
    answer: str
    reward: float

    @property
    def usable(self) -> bool:
        """Whether it has an answer and something in front of it."""
        return self.before >= LEAST_BEFORE


@dataclass(frozen=True)
class SolutionSet:
    """The solutions that a study is about, and what it takes to run the model on them again."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: Task
    solutions: tuple[Solution, ...]
    structural: Tensor  # `structural_vocabulary`, (V,) bool


def collect_solutions(
    loaded: Loaded,
    task: Task,
    folder: Path,
    *,
    settings: SolutionSettings,
    count: int,
    progress: Progress | None = None,
) -> list[Solution]:
    """The first `count` usable solutions in the task's order; the folder keeps all that were generated.

    Solutions are generated in fixed batches, so that a run that was killed continues to the same result,
    and several studies can share a folder.

    Raises ValueError if the folder holds solutions of other settings or is in use, or if the task has
    too few problems that the model answers.
    """
    with lock(folder, "another study"):
        check_settings(folder / SETTINGS_FILE, asdict(settings), what="solutions")
        path = folder / SOLUTIONS_FILE
        solutions = _read_solutions(loaded, task, path)
        with append_rows(path, map(asdict, solutions)) as append:
            while (usable := sum(solution.usable for solution in solutions)) < count:
                if progress:
                    progress(usable, count)
                start, problems = len(solutions), len(task.examples)
                if start >= problems:
                    raise ValueError(
                        f"task {task.name}: only {usable} of {start} problems have a solution with an "
                        f"answer; use fewer than {count} or raise --max-new-tokens"
                    )
                batch = range(start, min(start + BATCH, problems))
                new = _solve(loaded, task, batch, settings)
                append(map(asdict, new))
                solutions += new
    if progress:
        progress(count, count)
    return [solution for solution in solutions if solution.usable][:count]


def read_solution(
    loaded: Loaded, task: Task, problem: int, prompt_ids: Sequence[int], ids: Sequence[int]
) -> Solution:
    """A response to a problem with its answer and its reward; prompt and response as token ids."""
    example = task.examples[problem]
    text = decode_with_offsets(loaded.tokenizer, list(ids))
    task = task.behind(decode_text(loaded.tokenizer, list(prompt_ids)))
    thinking = bool(task.opening)
    weights = torch.zeros(0)
    if ids:
        weights = answer_weights(task.answer_rule, text, thinking=thinking)
    answer_tokens = weights.nonzero()[:, 0].tolist()
    first, last = (answer_tokens[0], answer_tokens[-1]) if answer_tokens else (-1, -2)
    # By its characters: its first token can begin in front of it, as in `{-`.
    spans = find_answer(text.text, task.answer_rule, thinking=thinking)
    return Solution(
        problem=problem,
        id=example.id,
        prompt_ids=tuple(prompt_ids),
        response_ids=tuple(ids),
        before=first,
        answer_tokens=last - first + 1,
        answer=text.text[spans[0].start : spans[-1].stop] if answer_tokens else "",
        reward=reward_of(task, text.text, example),
    )


def _read_solutions(loaded: Loaded, task: Task, path: Path) -> list[Solution]:
    """The solutions of a file in complete batches, without what a kill cut short."""
    rows = read_rows(path, FIELDS)
    kept = len(rows) - len(rows) % BATCH if len(rows) < len(task.examples) else len(rows)
    return [_check_solution(loaded, task, row, path) for row in rows[:kept]]


def _check_solution(loaded: Loaded, task: Task, row: dict[str, Any], path: Path) -> Solution:
    """The solution in a row. Raises ValueError if it is damaged, or of another question or answer."""
    number, prompt_ids, ids = row["problem"], row["prompt_ids"], row["response_ids"]
    if not 0 <= number < len(task.examples) or _prompt(loaded, task, number).ids != prompt_ids:
        raise ValueError(
            f"{path} holds the solution of another problem {number} than task {task.name} has; "
            "choose another folder for the solutions"
        )
    try:
        solution = read_solution(loaded, task, number, prompt_ids, ids)
    except (IndexError, OverflowError, TypeError):
        solution = None
    if solution is None or json.loads(json.dumps(asdict(solution))) != row:
        raise ValueError(
            f"{path}: the solution of problem {number} is damaged, or the task has another answer now; "
            "choose another folder for the solutions"
        )
    return solution


def _prompt(loaded: Loaded, task: Task, number: int) -> TokenizedText:
    """A problem as its prompt poses it."""
    return tokenize_conversation(loaded.tokenizer, task.prompt(task.examples[number]))


def tokenize_conversation(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]
) -> TokenizedText:
    """A conversation as the tokens of a prompt; a base model gets the last message only."""
    chat = bool(getattr(tokenizer, "chat_template", None))
    return tokenize_prompt(
        tokenizer, render_prompt(tokenizer, messages if chat else messages[-1]["content"])
    )


def _solve(
    loaded: Loaded, task: Task, numbers: range, settings: SolutionSettings
) -> list[Solution]:
    """Greedy responses to some problems, generated together."""
    model, tokenizer = loaded.model, loaded.tokenizer
    prompts = [_prompt(loaded, task, number).ids for number in numbers]
    with attention_knockout(model) as knockout:
        texts = [
            prefill(model, knockout, ids, torch.zeros(1, len(ids), dtype=torch.bool))
            for ids in prompts
        ]
        limits = [settings.max_new_tokens] * len(texts)
        responses = decode(model, knockout, texts, limits=limits, ends=end_tokens(model, tokenizer))
    return [
        read_solution(loaded, task, number, ids, response)
        for number, ids, response in zip(numbers, prompts, responses, strict=True)
    ]
